"""Read on in a JSONL log from where one stopped: its segments by what they are, not by where they lie."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from smartroute.analytics.rollup.log import Block, Part
from smartroute.analytics.rollup.outcome_pages import ID_BYTES
from smartroute.analytics.rollup.tables import VERSION, Tables
from smartroute.errors import ConfigError
from smartroute.events.event import line_reader
from smartroute.sinks.jsonl_source import no_log_because, recover, segments_of, traffic_at
from smartroute.sinks.locations import is_single_file
from smartroute.sinks.segments import COMPRESSED

BLOCK_BYTES = 1 << 17  # what was just read is taken apart while the processor has it at hand
_BUFFER_BYTES = 256 << 10
_CACHE_KB = 64 << 10  # what a load touches stays in memory until it is stored
_PATIENCE_S = 60.0
_MOST_FIRST_LINE = 16 << 20
_ID_CHARACTERS = 2 * ID_BYTES


@dataclass(frozen=True, slots=True)
class Segment:
    """A file of the log as it is now. Its size is that on the disk, compressed or not."""

    file: Path
    size: int
    changed_ns: int

    @property
    def name(self) -> str:
        """Return its name, which stays when it is compressed, as text that any database takes."""
        return os.fsencode(self.file.name.removesuffix(COMPRESSED)).decode(errors="backslashreplace")

    def identity(self) -> str | None:
        """Return what it is known by wherever it lies: a hash of its first line. None before that is whole.

        Raises OSError.
        """
        with self._damage_told(), self._open(0, io.DEFAULT_BUFFER_SIZE) as stream:
            line = stream.readline(_MOST_FIRST_LINE)
        return hashlib.sha256(line).hexdigest()[:_ID_CHARACTERS] if line.endswith(b"\n") else None

    def shorter_than(self, position: int) -> bool:
        """Return whether it certainly ends before a position: somebody cut it."""
        return not self.file.name.endswith(COMPRESSED) and self.size < position

    def blocks(self, start: int) -> Iterator[Block]:
        """Yield what stands behind a position. What is written meanwhile waits. Raises OSError."""
        most = None if self.file.name.endswith(COMPRESSED) else self.size
        rest, read = b"", start
        with self._damage_told(), self._open(start, _BUFFER_BYTES) as stream:
            while (hint := BLOCK_BYTES if most is None else min(BLOCK_BYTES, most - read)) > 0:
                if not (lines := stream.readlines(hint)):
                    break
                read += sum(map(len, lines))
                if rest:
                    lines[0] = rest + lines[0]
                rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
                if lines:
                    end = read - len(rest)
                    yield Block(lines, start, end)
                    start = end
        if rest:
            yield Block([rest], start, start + len(rest), torn=True)

    def _open(self, offset: int, buffer_bytes: int) -> BinaryIO:
        """Open it at an offset into what it holds uncompressed.

        Lines are taken most cheaply out of a buffer that holds many.
        """
        file = self.file
        packed = file.name.endswith(COMPRESSED)
        try:
            stream = _unpacked(file, buffer_bytes) if packed else file.open("rb", buffering=buffer_bytes)
        except FileNotFoundError:
            if packed:
                raise
            # Somebody has just compressed it.
            stream = _unpacked(file.with_name(file.name + COMPRESSED), buffer_bytes)
        stream.seek(offset)
        return stream

    @contextlib.contextmanager
    def _damage_told(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, zlib.error) as error:
            raise OSError(errno.EIO, f"damaged: {error}", str(self.file)) from error


def _unpacked(file: Path, buffer_bytes: int) -> BinaryIO:
    return io.BufferedReader(cast("io.RawIOBase", gzip.open(file, "rb")), buffer_bytes)


class JsonlLog:
    """A log of JSONL, whose rollup stands beside it in SQLite: in its folder, or next to the single file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        name = f"rollup-{VERSION}.sqlite"
        self.file = path.with_name(f"{path.name}.{name}") if is_single_file(path) else path / name

    failures: tuple[type[Exception], ...] = (OSError, ConfigError, sqlite3.Error)

    def __str__(self) -> str:
        return f"the log at {self.path}"

    def exists(self) -> bool:
        """Return whether there is a log: beside anything else nothing is written."""
        try:
            return no_log_because(self.path) is None
        except FileNotFoundError:
            return False
        except (OSError, ConfigError):
            return True  # whoever reads on is told why it cannot be read

    def traffic(self) -> bool | None:
        """Return whether it holds simulated events, None when it holds none."""
        return traffic_at(self.path)

    def parts(self) -> list[Part]:
        """Return its segments, oldest day first."""
        found: list[Part] = []
        for file in segments_of(self.path):
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                found.append(_segment(file))
        return found

    def connect(self) -> Tables:
        """Open the rollup; it is as private as the log is. Raises sqlite3.Error or OSError."""
        if not self.file.exists():
            os.close(os.open(self.file, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self.file, timeout=_PATIENCE_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        except sqlite3.Error:
            connection.close()
            raise
        return Tables(connection)

    def discard(self) -> None:
        """Delete a rollup that is damaged. The log has all that was in it."""
        for file in (self.file, *(self.file.with_name(self.file.name + end) for end in ("-wal", "-shm"))):
            file.unlink(missing_ok=True)


def _segment(file: Path) -> Segment:
    try:
        state = file.stat()
    except FileNotFoundError:
        if file.name.endswith(COMPRESSED):
            raise
        file = file.with_name(file.name + COMPRESSED)  # it has just been compressed
        state = file.stat()
    return Segment(file, state.st_size, state.st_mtime_ns)


def records(lines: Iterable[bytes]) -> tuple[list[Mapping[str, Any]], int]:
    """Return what the lines say that figures need, and how many of them are no whole events.

    Each record has all of the fields that figures need, but for those in RARE; what is unknown is None.
    """
    from pydantic import ValidationError

    validate = line_reader(_NAMES, _ATTEMPT_NAMES, RARE).validator.validate_json
    lines = list(lines)
    try:
        return list(map(validate, lines)), 0
    except ValidationError:
        pass  # nearly never; then one by one
    found: list[Mapping[str, Any]] = []
    bad = 0
    for line in lines:
        try:
            found.append(validate(line))
        except ValidationError:
            if line.strip():
                bad += 1
                found += [_UNKNOWN | event.__dict__ for event in recover(line)]
    return found, bad


_NAMES = frozenset(
    (
        *("schema", "type", "id", "outcome_id", "time", "simulated"),
        *("kind", "complexity", "strategy", "arm", "model", "baseline_model", "tenant", "unit"),
        *("conversation_id", "error", "holdback", "label", "source", "quality"),
        *("escalated", "answer_changed"),
        *("cost_usd", "baseline_cost_usd", "latency_s", "confidence", "unpriced_attempts", "attempts"),
        *("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
    )
)
RARE = frozenset(
    (
        *("unit", "conversation_id", "error", "holdback", "answer_changed"),
        *("label", "source", "quality"),
    )
)
"""The fields that a record has only where the line says something of them."""

_ATTEMPT_NAMES = frozenset(("purpose", "rung", "cost_usd", "failure"))
_UNKNOWN: dict[str, Any] = dict.fromkeys(_NAMES)


def compact_all(event_ids: Sequence[str]) -> list[bytes]:
    """Return what `compact` does of each, at a third of the cost where all are our own."""
    together = "".join(event_ids)
    if set(map(len, event_ids)) == {_ID_CHARACTERS}:
        with contextlib.suppress(ValueError):
            found = bytes.fromhex(together)
            if found.hex() == together:
                return [found[start : start + ID_BYTES] for start in range(0, len(found), ID_BYTES)]
    return list(map(compact, event_ids))


def compact(event_id: str) -> bytes:
    """Return an id as 16 bytes: our own are 32 hexadecimal digits; of others it is a hash."""
    if len(event_id) == _ID_CHARACTERS:
        try:
            found = bytes.fromhex(event_id)
        except ValueError:
            pass
        else:
            if found.hex() == event_id:
                return found
    return hashlib.blake2b(event_id.encode(), digest_size=ID_BYTES).digest()
