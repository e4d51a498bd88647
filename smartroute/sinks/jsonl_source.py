"""Read a JSONL log: a folder of segments or one file, with torn and damaged lines."""

from __future__ import annotations

import contextlib
import errno
import heapq
import os
import re
import stat
from collections.abc import Iterator
from itertools import groupby, pairwise
from operator import attrgetter
from pathlib import Path

from smartroute.errors import ConfigError, SinkError
from smartroute.events.event import RECORD_START, Event
from smartroute.sinks.locations import is_single_file, log_place, read_small
from smartroute.sinks.segments import COMPRESSED

MARKER = "holds.txt"
"""The file that says whether a folder holds real or simulated traffic."""

_BLOCK_BYTES = 65_536
_LEAST_BLOCK_BYTES = 4_096
_DAY_BYTES = 32 << 20
"""How much of a day's segments is held at once, since they are all read in parallel."""
_SEGMENT = re.compile(r"\d{4}-\d\d-\d\d-.+\.jsonl(\.gz)?")
_OF_A_LOG = re.compile(rf"{_SEGMENT.pattern}|{re.escape(MARKER)}|hash\.key")
"""Names of files that make a folder a log, even if none of its lines is whole."""


class JsonlSource:
    """The events of a log: a folder of segments, or a file. A log that does not exist yet has none.

    Oldest first: days follow one another and the segments of a day are merged by time; within a segment
    events keep the order in which they were written. After a pass `bad_lines` says how many lines were torn,
    damaged or not events, and `foreign_lines` how many were skipped for mixing simulated with real traffic.
    Two records that a crash joined into one line count as one bad line, and both are read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = log_place(path)
        self.bad_lines = 0
        self.foreign_lines = 0

    def events(self) -> Iterator[Event]:
        """Yield the whole events. Raises SinkError when the log cannot be read, or is removed meanwhile."""
        self.bad_lines = self.foreign_lines = 0
        try:
            was_there = self.path.exists()
            holds = traffic_at(self.path)
            for event in self._merged():
                if holds is None or event.simulated is holds:
                    yield event
                else:
                    self.foreign_lines += 1
            if was_there and not self.path.exists():
                raise SinkError(f"the log at {self.path} was removed while it was being read")
        except (OSError, ConfigError) as error:
            raise SinkError(f"the log at {self.path} cannot be read: {error}") from error

    def __repr__(self) -> str:
        return f"JsonlSource({str(self.path)!r})"

    def _merged(self) -> Iterator[Event]:
        for segments in _days(self.path):
            size = max(_LEAST_BLOCK_BYTES, min(_DAY_BYTES // len(segments), _BLOCK_BYTES))
            yield from heapq.merge(*(self._read(file, size) for file in segments), key=attrgetter("time"))

    def _read(self, file: Path, block_bytes: int = _BLOCK_BYTES) -> Iterator[Event]:
        for line in _lines(file, block_bytes):
            try:
                yield Event.from_line(line)
            except SinkError:
                if line.strip():
                    self.bad_lines += 1
                    yield from recover(line)


def marked_traffic(folder: Path) -> bool | None:
    marker = folder / MARKER
    try:
        content = read_small(marker).strip()
    except FileNotFoundError:
        return None
    if not content:  # its writer was killed
        return None
    if content not in (b"real", b"simulated"):
        raise ConfigError(
            f"{marker} must hold real or simulated, got {content[:40]!r}; write the right word into it"
        )
    return content == b"simulated"


def traffic_at(path: Path) -> bool | None:
    """Return whether the log holds simulated events, None when it holds nothing yet."""
    if not is_single_file(path) and (marked := marked_traffic(path)) is not None:
        return marked
    for segments in _days(path):
        for segment in segments:
            if (traffic := first_traffic(segment)) is not None:
                return traffic
    return None


def no_log_because(path: Path) -> str | None:
    """Return why a path is not a log; None for a log, which need not hold an event yet.

    Raises OSError when it cannot be read, ConfigError when the file that says what a folder holds is damaged.
    """
    state = path.stat()
    if stat.S_ISREG(state.st_mode):
        path.open("rb").close()
        return None if not state.st_size or traffic_at(path) is not None else "none of its lines is an event"
    if not stat.S_ISDIR(state.st_mode):
        return "it is neither a file nor a folder"
    with os.scandir(path) as entries:
        if any(_OF_A_LOG.fullmatch(entry.name) for entry in entries):
            return None
    return None if traffic_at(path) is not None else "it has no segment that holds an event"


def first_traffic(file: Path) -> bool | None:
    """Return whether the first event of a file is simulated, None when none can be read."""
    try:
        if not file.is_file():
            return None
        source = JsonlSource(file)
        return next((event.simulated for event in source._read(file)), None)
    except OSError:  # reading its events reports this; the other segments still show what the log holds
        return None


def segments_of(path: Path) -> list[Path]:
    """Return the files of a log, oldest day first; a compressed one in place of its plain twin."""
    return [file for day in _days(path) for file in day]


def _days(path: Path) -> Iterator[list[Path]]:
    """Yield the segments of a log, day by day; files of other names come first, as one day."""
    if is_single_file(path):
        if path.exists():
            yield [path]
        return
    if not path.exists():
        return
    # Plain ones first: one that is compressed meanwhile is then seen as both, never as neither. The
    # compressed one is whole; the plain one was about to go.
    plain = list(path.glob("*.jsonl"))
    packed = [file for file in path.glob(f"*.jsonl{COMPRESSED}") if file.is_file()]
    names = {file.name.removesuffix(COMPRESSED) for file in packed}
    files = [file for file in plain if file.name not in names and file.is_file()] + packed
    files.sort(key=lambda file: (_day_of(file), file.name))
    for _, segments in groupby(files, _day_of):
        yield list(segments)


def _day_of(file: Path) -> str:
    return file.name[:10] if _SEGMENT.fullmatch(file.name) else ""


def _lines(file: Path, block_bytes: int) -> Iterator[bytes]:
    """Yield the lines that are there now, without their newlines."""
    pending: list[bytes] = []
    for block in _blocks(file, block_bytes):
        first, *others = block.split(b"\n")
        pending.append(first)
        if others:
            yield b"".join(pending)
            yield from others[:-1]
            pending = [others[-1]]
    if any(pending):
        yield b"".join(pending)


def _blocks(file: Path, block_bytes: int) -> Iterator[bytes]:
    """Yield the bytes that are there now.

    Goes no further than the file's present end, or a reader could chase a writer for ever. Holds no plain
    file open, for a day may have thousands of segments; one that is compressed meanwhile is read on there,
    and one that is removed ends.
    """
    offset = 0
    if not file.name.endswith(COMPRESSED):
        try:
            end = file.stat().st_size
            while offset < end:
                with file.open("rb") as stream:
                    stream.seek(offset)
                    block = stream.read(min(block_bytes, end - offset))
                if not block:
                    return
                offset += len(block)
                yield block
            return
        except FileNotFoundError:
            file = file.with_name(file.name + COMPRESSED)
    with contextlib.suppress(FileNotFoundError):
        yield from _packed_blocks(file, offset, block_bytes)


def _packed_blocks(file: Path, offset: int, block_bytes: int) -> Iterator[bytes]:
    """Yield what a compressed segment holds from an offset on. Raises OSError when it is damaged."""
    import gzip
    import zlib

    try:
        with gzip.open(file, "rb") as stream:
            stream.seek(offset)
            while block := stream.read(block_bytes):
                yield block
    except (EOFError, zlib.error) as error:
        raise OSError(errno.EIO, f"damaged: {error}", str(file)) from error


def recover(line: bytes) -> Iterator[Event]:
    """Yield the whole records in a bad line: a torn write may come before, after or between them."""
    starts = [match.start() for match in re.finditer(re.escape(RECORD_START), line)]
    for start, end in pairwise([*starts, len(line)]):
        with contextlib.suppress(SinkError):
            yield Event.from_line(line[start:end].rstrip(b"\0\r\t "))
