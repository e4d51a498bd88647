"""Compress and delete old segments of a log.

A writer holds a shared lock on its segment while that is open. A process that compresses or deletes a segment
takes the exclusive lock first, and skips the segment when it cannot get it: no event is written into a file
that is being removed. Where the system has no such locks (Windows), only segments of earlier days are
touched.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

from smartroute.clock import Clock
from smartroute.errors import ConfigError, SinkError
from smartroute.number_checks import checked_whole
from smartroute.sinks.locations import is_same_file, is_single_file, log_place

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

COMPRESSED = ".gz"
MOST_KEEP_DAYS = 100_000  # some 270 years: much further back is no date
_DATE_CHARACTERS = 10


@dataclass(frozen=True, slots=True)
class Tended:
    """What was done: how many segments, and their size in bytes before and after. `busy` were still open."""

    segments: int
    bytes_before: int
    bytes_after: int
    busy: int


def share(handle: int) -> bool:
    """Take the shared lock on an open segment, which its writer keeps until it closes the file.

    False while another process compresses or removes it. Never waits.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks: no other process gets one either
    return True


def compress_segments(path: str | Path, *, clock: Clock | None = None) -> Tended:
    """Compress the closed segments of a log with gzip; sources still read them.

    A crash in between loses nothing: the compressed segment appears whole, under its own name, before the
    plain one is removed. Raises ConfigError when the log is one file, SinkError when it cannot be read or
    written.
    """
    count = busy = before = after = 0
    try:
        for file in _segments(path, "*.jsonl"):
            with _alone(file, _today(clock)) as free:
                if not free:
                    busy += file.exists()
                    continue
                if _is_left_over(file):
                    file.unlink()
                    continue
                size, smaller = _compress(file)
                count, before, after = count + 1, before + size, after + smaller
    except OSError as error:
        raise SinkError(f"the log at {path} cannot be compressed: {error}") from error
    return Tended(count, before, after, busy)


def remove_segments(path: str | Path, *, keep_days: int, clock: Clock | None = None) -> Tended:
    """Remove the closed segments whose day is more than `keep_days` days ago. Their events are lost.

    Raises ConfigError when the log is one file, or `keep_days` is less than 1 or more than 100,000, SinkError
    when it cannot be read or written.
    """
    checked_whole(keep_days, "keep_days", least=1, most=MOST_KEEP_DAYS)
    oldest = (_today(clock) - timedelta(days=keep_days)).isoformat()
    count = busy = before = 0
    try:
        for file in (*_segments(path, "*.jsonl"), *_segments(path, f"*.jsonl{COMPRESSED}")):
            if file.name[:_DATE_CHARACTERS] >= oldest:
                continue
            with _alone(file, _today(clock)) as free:
                if not free:
                    busy += file.exists()
                    continue
                before += file.stat().st_size
                file.unlink()
                count += 1
    except OSError as error:
        raise SinkError(f"segments of the log at {path} cannot be removed: {error}") from error
    return Tended(count, before, 0, busy)


def _segments(path: str | Path, pattern: str) -> list[Path]:
    folder = log_place(path)
    if is_single_file(folder):
        raise ConfigError(f"{folder} is one file, which has no segments; use a folder as log_path")
    files = [file for file in folder.glob(pattern) if file.is_file() and _is_dated(file)]
    return sorted(files, key=lambda file: file.name)


def _is_dated(file: Path) -> bool:
    try:
        date.fromisoformat(file.name[:_DATE_CHARACTERS])
    except ValueError:
        return False
    return True


def _today(clock: Clock | None) -> date:
    return date(1970, 1, 1) + timedelta(days=int((clock or Clock()).now() // 86_400))


@contextlib.contextmanager
def _alone(file: Path, today: date) -> Iterator[bool]:
    """Hold the exclusive lock on a segment; yield whether no writer has it open, and it still exists."""
    if fcntl is None:
        yield file.name[:_DATE_CHARACTERS] < today.isoformat()
        return
    try:
        handle = os.open(file, os.O_RDONLY)
    except FileNotFoundError:  # another process removed it
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield is_same_file(handle, file)
    finally:
        os.close(handle)


def _is_left_over(file: Path) -> bool:
    """Return whether a segment is an empty twin of a compressed one, which it must not replace.

    A writer creates it for a moment, when it opens its segment again just after that was compressed.
    """
    return file.stat().st_size == 0 and file.with_name(file.name + COMPRESSED).exists()


def _compress(file: Path) -> tuple[int, int]:
    packed = file.with_name(file.name + COMPRESSED)
    draft = file.with_name(f".{packed.name}.{os.getpid()}.tmp")
    try:
        handle = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0), 0o600)
        with os.fdopen(handle, "wb") as raw, file.open("rb") as plain:
            # No name and no time in the header: equal events make equal bytes.
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as stream:
                shutil.copyfileobj(plain, stream, 1 << 20)
            raw.flush()
            os.fsync(raw.fileno())
        size = file.stat().st_size
        draft.replace(packed)
        file.unlink()
        return size, packed.stat().st_size
    finally:
        draft.unlink(missing_ok=True)
