"""Protocols of a log that a rollup can be kept of, and of the segments that a log of files consists of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeAlias

from smartroute.analytics.rollup.tables import Tables

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how much of what is new has been read, and how much there is: bytes of files, or rows."""


class Log(Protocol):
    """A log that a rollup can be kept of."""

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """The exceptions that are raised where the log or its rollup cannot be used."""

    def exists(self) -> bool:
        """Return whether there is a log."""

    def discard(self) -> None:
        """Delete a damaged rollup."""

    def traffic(self) -> bool | None:
        """Return whether the log holds simulated events, None when it holds no events."""

    def connect(self) -> Tables:
        """Return the rollup's tables on a new connection, which the caller closes."""


class Block(NamedTuple):
    """Some lines of a segment, and the positions before and after them.

    `torn`: the last line has no newline yet, so it may be half a record.
    """

    lines: list[bytes]
    start: int
    end: int
    torn: bool = False


class Segment(Protocol):
    """A file of the log, which grows at its end."""

    @property
    def name(self) -> str:
        """Its present name."""

    @property
    def size(self) -> int:
        """Its present size. A segment with the size and time of the last reading is not read again."""

    @property
    def changed_ns(self) -> int:
        """When it was last changed."""

    def identity(self) -> str | None:
        """Return an id that never changes, None while the segment has no whole line."""

    def shorter_than(self, position: int) -> bool:
        """Return whether it certainly ends before a position, which means that it was truncated."""

    def blocks(self, start: int) -> Iterator[Block]:
        """Yield the lines after a position. Raises OSError."""


class SegmentedLog(Log, Protocol):
    """A log of files, with its rollup in a file next to them."""

    def segments(self) -> list[Segment]:
        """Return the present segments."""
