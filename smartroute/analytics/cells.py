"""Hold sums of outcomes in cells: one for each hour, day, month and year, and combination of fields.

A cell is a row of the rollup's table, and becomes a Figures again. `Batch` fills them.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import chain
from operator import add
from typing import NamedTuple, TypeAlias

from smartroute.analytics.figures import (
    TOKEN_PRODUCTS,
    TOKEN_SUMS,
    Figures,
    LogHistogram,
    Measured,
    Moments,
    Paired,
    TokenSums,
)

HOUR, DAY, MONTH, YEAR = 13, 10, 7, 4
"""The grains of time: how many characters of an event's time name the hour, the day, the month, the year."""

TOTAL_HOUR = -HOUR
"""The grain of cells that add up a whole hour, whatever its requests were."""

NOBODY = 0
"""The key of a whole hour's cell: no combination of fields."""

FIELDS = ("kind", "complexity", "model", "tenant", "strategy", "arm", "baseline_model")
"""The fields of an event that a cell's key holds."""

Key: TypeAlias = tuple[str | None, ...]
Place: TypeAlias = tuple[int, str, int]
"""A cell's grain, its hour, day, month or year, and its key."""

COUNTS = (
    *("requests", "answered", "escalated", "attempts", "failed_attempts", "unpriced", "long"),
    *("comparable", "changed"),
)
_MOMENTS = ("cost", "latency", "confidence", "held", "routed", "climbs")
_PAIRED = ("n", "unanswered", "cost", "baseline", "cost_squares", "baseline_squares", "products")
NUMBERS = (
    *COUNTS,
    "rejected_usd",
    *(f"{name}_{part}" for name in _MOMENTS for part in ("n", "total", "squares")),
    *(f"compared_{part}" for part in _PAIRED),
    "tokens_n",
    *(f"tokens_sum_{place}" for place in range(TOKEN_SUMS)),
    *(f"tokens_product_{place}" for place in range(TOKEN_PRODUCTS)),
)
"""The columns of a cell that add up."""

HISTOGRAMS = ("costs", "latencies", "confidences")
SLOT = struct.Struct("<hI")
ZEROS = -32_768
"""How a histogram is packed: slots with their counts, and the slot that stands for values of 0."""


class UserSums(NamedTuple):
    """What the requests of one user add up to; the last two as `cost` and `baseline` of Paired."""

    requests: int = 0
    answered: int = 0
    escalated: int = 0
    unpriced: int = 0
    cost_usd: float = 0.0
    compared_usd: float = 0.0
    baseline_usd: float = 0.0


def of_user(seen: Measured, known: UserSums | None = None) -> UserSums:
    """Return what an outcome adds up to, with what is known of its user."""
    compared = seen.unanswered or seen.baseline_usd is not None
    more = (
        *(1, int(seen.answered), int(seen.escalated), int(seen.unpriced), seen.usd),
        *(seen.usd if compared else 0.0, seen.baseline_usd or 0.0),
    )
    return UserSums(*(more if known is None else map(add, known, more)))


@dataclass(slots=True)
class Cell:
    """What a cell holds: NUMBERS, the first and last time, a packed histogram of each kind, and overheads."""

    numbers: list[float]
    first: str
    last: str
    histograms: list[bytes]
    overhead_usd: dict[str, float]

    def merge(self, other: Cell) -> None:
        """Add another."""
        self.numbers = [mine + theirs for mine, theirs in zip(self.numbers, other.numbers, strict=True)]
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.histograms = [
            mine if not theirs else _joined(mine, theirs) if mine else theirs
            for mine, theirs in zip(self.histograms, other.histograms, strict=True)
        ]
        for purpose, usd in other.overhead_usd.items():
            self.overhead_usd[purpose] = self.overhead_usd.get(purpose, 0.0) + usd

    def copy(self) -> Cell:
        """Return another with the same sums."""
        return Cell([*self.numbers], self.first, self.last, [*self.histograms], {**self.overhead_usd})

    def figures(self) -> Figures:
        """Return the cell as figures, without labels: those stand elsewhere."""
        numbers = iter(self.numbers)
        found = Figures()
        for name in COUNTS:
            setattr(found, name, round(next(numbers)))
        found.rejected_usd = next(numbers)
        for name in _MOMENTS:
            setattr(found, name, Moments(round(next(numbers)), next(numbers), next(numbers)))
        found.compared = Paired(
            round(next(numbers)), round(next(numbers)), *(next(numbers) for _ in range(5))
        )
        found.tokens = TokenSums(
            round(next(numbers)),
            [next(numbers) for _ in range(TOKEN_SUMS)],
            [next(numbers) for _ in range(TOKEN_PRODUCTS)],
        )
        for name, blob in zip(HISTOGRAMS, self.histograms, strict=True):
            setattr(found, name, unpacked(blob))
        found.overhead_usd = dict(self.overhead_usd)
        found.first, found.last = self.first, self.last
        return found


def packed(histogram: LogHistogram) -> bytes:
    """Return a histogram as bytes: pairs of a slot and its count. Joined bytes are the sum."""
    pairs = [SLOT.pack(slot, count) for slot, count in sorted(histogram.counts.items())]
    return b"".join(([SLOT.pack(ZEROS, histogram.zeros)] if histogram.zeros else []) + pairs)


def _joined(mine: bytes, theirs: bytes) -> bytes:
    """Return the sum of two packed histograms, without unpacking them: there are many to add up."""
    counts: dict[int, int] = dict(SLOT.iter_unpack(mine))
    for slot, count in SLOT.iter_unpack(theirs):
        counts[slot] = counts.get(slot, 0) + count
    return struct.pack("<" + "hI" * len(counts), *chain.from_iterable(sorted(counts.items())))


def unpacked(blob: bytes) -> LogHistogram:
    """Return the histogram of some bytes."""
    found = LogHistogram()
    counts = found.counts
    for slot, count in SLOT.iter_unpack(blob):
        counts[slot] += count
    found.zeros = counts.pop(ZEROS, 0)
    return found
