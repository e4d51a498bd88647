"""Read the segments of a JSONL log from where a reader stopped, even after they were compressed or moved."""

from __future__ import annotations

import contextlib
import errno
import gzip
import hashlib
import io
import os
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from smartroute.analytics.rollup.log import Block, Segment
from smartroute.analytics.rollup.tables import VERSION, Tables
from smartroute.errors import ConfigError
from smartroute.sinks.jsonl_source import no_log_because, segments_of, traffic_at
from smartroute.sinks.locations import is_single_file
from smartroute.sinks.segments import COMPRESSED

BLOCK_BYTES = 1 << 17  # a block is parsed while it is still in the processor's cache
_BUFFER_BYTES = 256 << 10
_CACHE_KB = 64 << 10  # the pages of the rollup that a load changes stay in memory until they are stored
_LOCK_TIMEOUT_S = 60.0
_MAX_FIRST_LINE_BYTES = 16 << 20
_IDENTITY_CHARACTERS = 32


@dataclass(frozen=True, slots=True)
class JsonlSegment:
    """A file of the log as it is now. `size` is its size on the disk, compressed or not."""

    file: Path
    size: int
    changed_ns: int

    @property
    def name(self) -> str:
        """Return the file's name without the ending of compression, as text that any database takes."""
        return os.fsencode(self.file.name.removesuffix(COMPRESSED)).decode(errors="backslashreplace")

    def identity(self) -> str | None:
        """Return a hash of the first line, wherever the file is stored. None before that line is whole.

        Raises OSError.
        """
        with self._damage_as_os_error(), self._open(0, io.DEFAULT_BUFFER_SIZE) as stream:
            line = stream.readline(_MAX_FIRST_LINE_BYTES)
        return hashlib.sha256(line).hexdigest()[:_IDENTITY_CHARACTERS] if line.endswith(b"\n") else None

    def shorter_than(self, position: int) -> bool:
        """Return whether it certainly ends before a position, which means that it was truncated."""
        return not self.file.name.endswith(COMPRESSED) and self.size < position

    def blocks(self, start: int) -> Iterator[Block]:
        """Yield the lines after a position. What is appended meanwhile is left for later. Raises OSError."""
        most = None if self.file.name.endswith(COMPRESSED) else self.size
        rest, read = b"", start
        with self._damage_as_os_error(), self._open(start, _BUFFER_BYTES) as stream:
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
        """Open the file at an offset into its uncompressed content. `readlines` needs a large buffer."""
        file = self.file
        packed = file.name.endswith(COMPRESSED)
        try:
            stream = _unpacked(file, buffer_bytes) if packed else file.open("rb", buffering=buffer_bytes)
        except FileNotFoundError:
            if packed:
                raise
            # Another process has compressed it since it was listed.
            stream = _unpacked(file.with_name(file.name + COMPRESSED), buffer_bytes)
        stream.seek(offset)
        return stream

    @contextlib.contextmanager
    def _damage_as_os_error(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, zlib.error) as error:
            raise OSError(errno.EIO, f"damaged: {error}", str(self.file)) from error


def _unpacked(file: Path, buffer_bytes: int) -> BinaryIO:
    return io.BufferedReader(cast("io.RawIOBase", gzip.open(file, "rb")), buffer_bytes)


class JsonlLog:
    """A JSONL log. Its rollup is an SQLite file in the log's folder, or next to a log of a single file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        name = f"rollup-{VERSION}.sqlite"
        self.file = path.with_name(f"{path.name}.{name}") if is_single_file(path) else path / name

    failures: tuple[type[Exception], ...] = (OSError, ConfigError, sqlite3.Error)

    def __str__(self) -> str:
        return f"the log at {self.path}"

    def exists(self) -> bool:
        """Return whether there is a log. No rollup is written where there is none."""
        try:
            return no_log_because(self.path) is None
        except FileNotFoundError:
            return False
        except (OSError, ConfigError):
            return True  # reading it will raise an error that says why it cannot be read

    def traffic(self) -> bool | None:
        """Return whether the log holds simulated events, None when it holds no events."""
        return traffic_at(self.path)

    def segments(self) -> list[Segment]:
        """Return the segments, oldest day first."""
        segments: list[Segment] = []
        for file in segments_of(self.path):
            with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                segments.append(_segment(file))
        return segments

    def connect(self) -> Tables:
        """Open the rollup. Its file is as private as the log. Raises sqlite3.Error or OSError."""
        if not self.file.exists():
            os.close(os.open(self.file, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(self.file, timeout=_LOCK_TIMEOUT_S, isolation_level=None)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(f"PRAGMA cache_size = -{_CACHE_KB}")
        except sqlite3.Error:
            connection.close()
            raise
        return Tables(connection)

    def discard(self) -> None:
        """Delete a damaged rollup. Everything in it can be read from the log again."""
        for file in (self.file, *(self.file.with_name(self.file.name + end) for end in ("-wal", "-shm"))):
            file.unlink(missing_ok=True)


def _segment(file: Path) -> JsonlSegment:
    try:
        state = file.stat()
    except FileNotFoundError:
        if file.name.endswith(COMPRESSED):
            raise
        file = file.with_name(file.name + COMPRESSED)  # compressed since it was listed
        state = file.stat()
    return JsonlSegment(file, state.st_size, state.st_mtime_ns)
