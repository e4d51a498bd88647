"""Sums of outcomes in cells: one for each hour, day, month and year, and combination of fields.

A cell is a row of the rollup's table, and is read back as a Figures. `cell_columns` writes many at once.
"""

from __future__ import annotations

import functools
import json
import struct
from collections import defaultdict
from operator import add
from typing import NamedTuple, TypeAlias

from smartroute.analytics.figures import Figures, Measured
from smartroute.analytics.sums import TOKEN_PRODUCTS, TOKEN_SUMS, LogHistogram, Paired, TokenSums
from smartroute.stats.moments import Moments

HOUR, DAY, MONTH, YEAR = 13, 10, 7, 4
"""The grains of time: how many characters of an event's time name the hour, the day, the month, the year."""

TOTAL_HOUR = -HOUR
"""The grain of cells that hold the sums of a whole hour, over all combinations of fields."""

NO_KEY = 0
"""The key of a whole hour's cell, which is not of one combination of fields."""

FIELDS = ("kind", "complexity", "model", "tenant", "strategy", "arm", "baseline_model")
"""The fields of an event that a cell's key holds."""

Key: TypeAlias = tuple[str | None, ...]
CellId: TypeAlias = tuple[int, str, int]
"""A cell's grain, its bucket (the hour, day, month or year), and its key."""

COUNTS = (
    *("answered", "escalated", "attempts", "failed_attempts", "unpriced", "long"),
    *("comparable", "changed"),
)
_MOMENTS = ("latency", "confidence", "held", "routed", "climbs")
_PAIRED = ("n", "unanswered", "cost", "baseline", "cost_squares", "baseline_squares", "products")
SHOWN = ("requests", "cost_usd")
"""The numbers of a cell that have columns of their own, for people who look into the tables."""

PACKED = (
    *COUNTS,
    "rejected_usd",
    "cost_squares",
    *(f"{name}_{field}" for name in _MOMENTS for field in ("n", "total", "squares")),
    *(f"compared_{field}" for field in _PAIRED),
    "tokens_n",
    *(f"tokens_sum_{index}" for index in range(TOKEN_SUMS)),
    *(f"tokens_product_{index}" for index in range(TOKEN_PRODUCTS)),
)
"""The numbers that are packed into one value. It starts with a mask of 8 bytes: the lowest bit of the first
byte is set where the first number is not 0, and so on. The others follow as little-endian doubles."""

NUMBERS = (*SHOWN, *PACKED)
"""All numbers of a cell that add up."""

MASK_BYTES = 8
HISTOGRAMS = ("costs", "latencies", "confidences")
ENTRY = struct.Struct("<BhI")
"""The entries of packed histograms: which histogram, a slot, and its count; sorted in this order."""

ZEROS = -32_768
"""The slot of values of 0."""


class UserSums(NamedTuple):
    """Sums over the requests of one user. The last two are the `cost` and the `baseline` of Paired."""

    requests: int = 0
    answered: int = 0
    escalated: int = 0
    unpriced: int = 0
    cost_usd: float = 0.0
    compared_usd: float = 0.0
    baseline_usd: float = 0.0


def of_user(outcome: Measured, known: UserSums | None = None) -> UserSums:
    """Return an outcome's sums, added to those known of its user."""
    compared = outcome.unanswered or outcome.baseline_usd is not None
    more = (
        *(1, int(outcome.answered), int(outcome.escalated), int(outcome.unpriced), outcome.usd),
        *(outcome.usd if compared else 0.0, outcome.baseline_usd or 0.0),
    )
    return UserSums(*(more if known is None else map(add, known, more)))


class StoredCell(NamedTuple):
    """A cell as the tables store it."""

    first: str
    last: str
    requests: float
    cost_usd: float
    numbers: bytes
    histograms: bytes
    overhead_usd: str


class Cell:
    """A sum of stored cells, which becomes figures."""

    __slots__ = ("_counts", "_first", "_last", "_numbers", "_overhead_usd")

    def __init__(self) -> None:
        self._numbers = [0.0] * len(NUMBERS)
        self._first, self._last = "~", ""  # sort after and before any time
        self._counts: tuple[defaultdict[int, int], ...] = tuple(defaultdict(int) for _ in HISTOGRAMS)
        self._overhead_usd: defaultdict[str, float] = defaultdict(float)

    def add(self, stored: StoredCell) -> None:
        """Add a stored cell. Raises ValueError, LookupError or struct.error for damaged values."""
        numbers, counts = self._numbers, self._counts
        numbers[0] += stored.requests
        numbers[1] += stored.cost_usd
        indexes, values = _layout(stored.numbers[:MASK_BYTES])
        for index, value in zip(indexes, values.unpack_from(stored.numbers, MASK_BYTES), strict=True):
            numbers[index] += value
        for which, slot, count in ENTRY.iter_unpack(stored.histograms):
            counts[which][slot] += count
        if stored.overhead_usd != NO_OVERHEAD:
            for purpose, usd in json.loads(stored.overhead_usd).items():
                self._overhead_usd[purpose] += usd
        self._first, self._last = min(self._first, stored.first), max(self._last, stored.last)

    def figures(self) -> Figures:
        """Return the sum as figures, without labels, which are stored in tables of their own."""
        numbers = iter(self._numbers)
        figures = Figures(requests=round(next(numbers)))
        cost_usd = next(numbers)
        for name in COUNTS:
            setattr(figures, name, round(next(numbers)))
        figures.rejected_usd = next(numbers)
        figures.cost = Moments(figures.requests, cost_usd, next(numbers))
        for name in _MOMENTS:
            setattr(figures, name, Moments(round(next(numbers)), next(numbers), next(numbers)))
        figures.compared = Paired(
            round(next(numbers)), round(next(numbers)), *(next(numbers) for _ in range(5))
        )
        figures.tokens = TokenSums(
            round(next(numbers)),
            [next(numbers) for _ in range(TOKEN_SUMS)],
            [next(numbers) for _ in range(TOKEN_PRODUCTS)],
        )
        for name, counts in zip(HISTOGRAMS, self._counts, strict=True):
            histogram: LogHistogram = getattr(figures, name)
            histogram.counts.update(counts)
            histogram.zeros = histogram.counts.pop(ZEROS, 0)
        figures.overhead_usd = dict(self._overhead_usd)
        figures.first, figures.last = self._first, self._last
        return figures


NO_OVERHEAD = "{}"


@functools.lru_cache(maxsize=1_024)
def _layout(mask: bytes) -> tuple[list[int], struct.Struct]:
    """Return the indexes of the numbers that follow a mask, and their layout. Similar cells share a mask."""
    bits = int.from_bytes(mask, "little")
    indexes = [len(SHOWN) + bit for bit in range(MASK_BYTES * 8) if bits >> bit & 1]
    return indexes, struct.Struct(f"<{len(indexes)}d")
