"""Hold sums of outcomes in cells: one for each hour, day, month and year, and combination of fields.

A cell is a row of the rollup's table, and becomes a Figures again. `Columns` makes them, many at once.
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
"""The grain of cells that add up a whole hour, whatever its requests were."""

NOBODY = 0
"""The key of a whole hour's cell: no combination of fields."""

FIELDS = ("kind", "complexity", "model", "tenant", "strategy", "arm", "baseline_model")
"""The fields of an event that a cell's key holds."""

Key: TypeAlias = tuple[str | None, ...]
Place: TypeAlias = tuple[int, str, int]
"""A cell's grain, its hour, day, month or year, and its key."""

COUNTS = (
    *("answered", "escalated", "attempts", "failed_attempts", "unpriced", "long"),
    *("comparable", "changed"),
)
_MOMENTS = ("latency", "confidence", "held", "routed", "climbs")
_PAIRED = ("n", "unanswered", "cost", "baseline", "cost_squares", "baseline_squares", "products")
SHOWN = ("requests", "cost_usd")
"""The numbers of a cell that have a column each, for whoever looks into the tables."""

PACKED = (
    *COUNTS,
    "rejected_usd",
    "cost_squares",
    *(f"{name}_{part}" for name in _MOMENTS for part in ("n", "total", "squares")),
    *(f"compared_{part}" for part in _PAIRED),
    "tokens_n",
    *(f"tokens_sum_{place}" for place in range(TOKEN_SUMS)),
    *(f"tokens_product_{place}" for place in range(TOKEN_PRODUCTS)),
)
"""The numbers that are packed into one value: 8 bytes that tell by a bit each which of them are not 0, the
first in the lowest bit of the first byte, and then those, as floats of 8 bytes with the lowest first."""

NUMBERS = (*SHOWN, *PACKED)
"""All that adds up in a cell."""

MASK_BYTES = 8
HISTOGRAMS = ("costs", "latencies", "confidences")
ENTRY = struct.Struct("<BhI")
"""How histograms are packed, one behind the other: which one, a slot, and its count; in that order."""

ZEROS = -32_768
"""The slot that stands for values of 0."""


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


class StoredCell(NamedTuple):
    """A cell as the tables have it."""

    first: str
    last: str
    requests: float
    cost_usd: float
    numbers: bytes
    histograms: bytes
    overhead_usd: str


class Cell:
    """Cells that are added up, to become figures."""

    __slots__ = ("_counts", "_first", "_last", "_numbers", "_overhead_usd")

    def __init__(self) -> None:
        self._numbers = [0.0] * len(NUMBERS)
        self._first, self._last = "~", ""  # behind any time, and before any
        self._counts: tuple[defaultdict[int, int], ...] = tuple(defaultdict(int) for _ in HISTOGRAMS)
        self._overhead_usd: defaultdict[str, float] = defaultdict(float)

    def add(self, stored: StoredCell) -> None:
        """Add one. Raises ValueError, LookupError or struct.error for rubbish."""
        numbers, counts = self._numbers, self._counts
        numbers[0] += stored.requests
        numbers[1] += stored.cost_usd
        places, values = _layout(stored.numbers[:MASK_BYTES])
        for place, value in zip(places, values.unpack_from(stored.numbers, MASK_BYTES), strict=True):
            numbers[place] += value
        for which, slot, count in ENTRY.iter_unpack(stored.histograms):
            counts[which][slot] += count
        if stored.overhead_usd != NO_OVERHEAD:
            for purpose, usd in json.loads(stored.overhead_usd).items():
                self._overhead_usd[purpose] += usd
        self._first, self._last = min(self._first, stored.first), max(self._last, stored.last)

    def figures(self) -> Figures:
        """Return the sum as figures, without labels: those stand elsewhere."""
        numbers = iter(self._numbers)
        found = Figures(requests=round(next(numbers)))
        cost_usd = next(numbers)
        for name in COUNTS:
            setattr(found, name, round(next(numbers)))
        found.rejected_usd = next(numbers)
        found.cost = Moments(found.requests, cost_usd, next(numbers))
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
        for name, counts in zip(HISTOGRAMS, self._counts, strict=True):
            histogram: LogHistogram = getattr(found, name)
            histogram.counts.update(counts)
            histogram.zeros = histogram.counts.pop(ZEROS, 0)
        found.overhead_usd = dict(self._overhead_usd)
        found.first, found.last = self._first, self._last
        return found


NO_OVERHEAD = "{}"


@functools.lru_cache(maxsize=1_024)
def _layout(mask: bytes) -> tuple[list[int], struct.Struct]:
    """Return which numbers follow a mask, and how. Cells of a kind have the same."""
    bits = int.from_bytes(mask, "little")
    places = [len(SHOWN) + place for place in range(MASK_BYTES * 8) if bits >> place & 1]
    return places, struct.Struct(f"<{len(places)}d")
