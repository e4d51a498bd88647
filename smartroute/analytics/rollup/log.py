"""What a log in pieces looks like to whoever keeps a rollup of it: parts that grow, and their lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, Protocol


class Block(NamedTuple):
    """Some lines of a log, and the positions before and behind them.

    `torn`: the newline is not there yet, and what stands there may be half a record.
    """

    lines: list[bytes]
    start: int
    end: int
    torn: bool = False


class Part(Protocol):
    """A piece of a log that grows at its end: a segment."""

    @property
    def name(self) -> str:
        """What it is called now."""

    @property
    def size(self) -> int:
        """How large it is now. What is not larger, and has not changed since, is not looked into."""

    @property
    def changed_ns(self) -> int:
        """When it changed last."""

    def identity(self) -> str | None:
        """Return what it is known by for good, None while it cannot be told."""

    def shorter_than(self, position: int) -> bool:
        """Return whether it certainly ends before a position: somebody cut it."""

    def blocks(self, start: int) -> Iterator[Block]:
        """Yield what stands behind a position. Raises OSError."""
