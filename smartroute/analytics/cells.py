"""Add many outcomes up at once, into cells: one for each hour, day and month and each combination of fields.

The same sums as `Figures.add` makes one by one; here a batch is laid out in columns and added by numpy,
which takes a fifth of the time. A cell is a row of the rollup's table, and becomes a Figures again.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from smartroute.analytics.figures import (
    GROWTH,
    TOKEN_PRODUCTS,
    TOKEN_SUMS,
    Figures,
    LogHistogram,
    Measured,
    Moments,
    Paired,
    TokenSums,
    measure,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

HOUR, DAY, MONTH = 13, 10, 7
"""The grains of time: how many characters of an event's time name the hour, the day, the month."""

TOTAL_HOUR = -HOUR
"""The grain of cells that add up a whole hour, whatever its requests were."""

NOBODY = 0
"""The key of a whole hour's cell: no combination of fields."""

FIELDS = ("kind", "complexity", "model", "tenant", "strategy", "arm", "baseline_model")
"""The fields of an event that a cell's key holds."""

Key: TypeAlias = tuple[str | None, ...]
Place: TypeAlias = tuple[int, str, int]
"""A cell's grain, its hour, day or month, and its key."""

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
_SLOT = struct.Struct("<hI")
_ZEROS = -32_768
_LOG_GROWTH = math.log(GROWTH)


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
            mine if not theirs else packed(unpacked(mine + theirs)) if mine else theirs
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
    pairs = [_SLOT.pack(slot, count) for slot, count in sorted(histogram.counts.items())]
    return b"".join(([_SLOT.pack(_ZEROS, histogram.zeros)] if histogram.zeros else []) + pairs)


def unpacked(blob: bytes) -> LogHistogram:
    """Return the histogram of some bytes."""
    found = LogHistogram()
    counts = found.counts
    for slot, count in _SLOT.iter_unpack(blob):
        counts[slot] += count
    found.zeros = counts.pop(_ZEROS, 0)
    return found


class _Row(NamedTuple):
    """One outcome, as it is laid out in columns."""

    cell: int
    answered: bool
    escalated: bool
    attempts: int
    failed_attempts: int
    unpriced: bool
    long: bool
    comparable: bool
    changed: bool
    rejected_usd: float
    climb_usd: float
    usd: float
    latency_s: float
    confidence: float
    unanswered: bool
    baseline_usd: float
    holdback: int
    fresh: float
    cached: float
    stored: float
    answer: float
    reasoned: float


_NONE = math.nan
_UNKNOWN_TOKENS = (_NONE,) * 5


class Batch:
    """Outcomes on their way into cells."""

    def __init__(self, key_of: Callable[[Key], int]) -> None:
        self._key_of = key_of
        self._keys: dict[Key, int] = {}
        self._cells: dict[tuple[str, int], int] = {}
        self._first: list[str] = []
        self._last: list[str] = []
        self._overheads: dict[int, dict[str, float]] = {}
        self._rows: list[tuple[Any, ...]] = []
        self.users: dict[tuple[str, str], UserSums] = {}
        """What the users' requests add up to, by day and user."""

    def add(self, record: Mapping[str, Any]) -> tuple[str, int]:
        """Take one outcome, and return the hour and the key that it counts in."""
        get = record.get
        key = (
            *(get("kind"), get("complexity"), get("model"), get("tenant"), get("strategy")),
            *(get("arm"), get("baseline_model")),
        )
        number = self._keys.get(key)
        if number is None:
            number = self._keys[key] = self._key_of(key)
        time: str = record["time"]
        place = (time[:HOUR], number)
        cell = self._cells.get(place)
        if cell is None:
            cell = self._cells[place] = len(self._first)
            self._first.append(time)
            self._last.append(time)
        elif time > self._last[cell]:
            self._last[cell] = time
        elif time < self._first[cell]:
            self._first[cell] = time
        seen = measure(get)
        self._rows.append(
            (
                *(cell, seen.answered, seen.escalated, seen.attempts, seen.failed_attempts, seen.unpriced),
                *(seen.tokens is not None and seen.long, seen.changed is not None, bool(seen.changed)),
                *(seen.rejected_usd, seen.climb_usd, seen.usd),
                _NONE if seen.latency_s is None else seen.latency_s,
                _NONE if seen.confidence is None else seen.confidence,
                seen.unanswered,
                _NONE if seen.baseline_usd is None else seen.baseline_usd,
                0 if seen.holdback is None else 1 if seen.holdback == "held" else 2,
                *(seen.tokens or _UNKNOWN_TOKENS),
            )
        )
        if seen.overhead_usd:
            mine = self._overheads.setdefault(cell, {})
            for purpose, usd in seen.overhead_usd:
                mine[purpose] = mine.get(purpose, 0.0) + usd
        if (unit := get("unit")) is not None:
            user = (time[:DAY], unit)
            self.users[user] = of_user(seen, self.users.get(user))
        return place

    def cells(self) -> dict[Place, Cell]:
        """Return what all outcomes add to the cells of every grain."""
        import numpy as np

        if not self._rows:
            return {}
        table = np.array(self._rows, dtype=np.float64)
        columns = _Row(*table.T)
        own = columns.cell.astype(np.int64)  # type: ignore[attr-defined]
        numbers = _numbers(columns)
        values = [getattr(columns, name) for name in ("usd", "latency_s", "confidence")]
        slots = [_slots(each) for each in values]
        found: dict[Place, Cell] = {}
        hours = list(self._cells)
        for grain, place_of in _GRAINS:
            places: dict[tuple[str, int], int] = {}
            parents = [places.setdefault(place_of(place), len(places)) for place in hours]
            cells = np.array(parents, dtype=np.int64)[own]
            sums = _summed(numbers, cells, len(places)).tolist()
            blobs = [_histograms(slot, cells, len(places)) for slot in slots]
            made = [Cell(sums[n], "", "", [blob[n] for blob in blobs], {}) for n in range(len(places))]
            for number, parent in enumerate(parents):
                cell = made[parent]
                first, last = self._first[number], self._last[number]
                cell.first = min(cell.first, first) if cell.first else first
                cell.last = max(cell.last, last)
                for purpose, usd in self._overheads.get(number, {}).items():
                    cell.overhead_usd[purpose] = cell.overhead_usd.get(purpose, 0.0) + usd
            for (bucket, key), number in places.items():
                found[grain, bucket, key] = made[number]
        return found


_GRAINS: tuple[tuple[int, Callable[[tuple[str, int]], tuple[str, int]]], ...] = (
    (HOUR, lambda place: place),
    (DAY, lambda place: (place[0][:DAY], place[1])),
    (MONTH, lambda place: (place[0][:MONTH], place[1])),
    (TOTAL_HOUR, lambda place: (place[0], NOBODY)),
)


def _numbers(row: Any) -> list[Array]:
    """Return the columns in the order of NUMBERS, one value for each outcome."""
    import numpy as np

    def moments(values: Array, counts: Array) -> list[Array]:
        kept = np.where(counts, values, 0.0)
        return [counts.astype(np.float64), kept, kept * kept]

    usd = row.usd
    everyone = np.ones_like(usd)
    compared = ~np.isnan(row.baseline_usd)
    baseline = np.where(compared, row.baseline_usd, 0.0)
    paid = np.where(compared | (row.unanswered > 0), usd, 0.0)
    known = ~np.isnan(row.fresh)
    tokens = [
        np.where(known, each, 0.0)
        for each in (usd, row.fresh, row.cached, row.stored, row.answer, row.reasoned)
    ]
    return [
        everyone,
        *(row.answered, row.escalated, row.attempts, row.failed_attempts, row.unpriced, row.long),
        *(row.comparable, row.changed),
        row.rejected_usd,
        *moments(usd, everyone),
        *moments(row.latency_s, ~np.isnan(row.latency_s)),
        *moments(row.confidence, ~np.isnan(row.confidence)),
        *moments(usd, row.holdback == 1),
        *moments(usd, row.holdback == 2),
        *moments(row.climb_usd, (row.comparable > 0) & (row.unpriced == 0)),
        *(compared.astype(np.float64), row.unanswered, paid, baseline, paid * paid),
        *(baseline * baseline, paid * baseline),
        (known & (row.unanswered == 0)).astype(np.float64),
        *tokens,
        *(tokens[one] * tokens[other] for one in range(TOKEN_SUMS) for other in range(one, TOKEN_SUMS)),
    ]


def _summed(numbers: list[Array], cells: npt.NDArray[np.int64], n: int) -> Array:
    """Return the sums by cell: shape (cells, columns)."""
    import numpy as np

    return np.stack([np.bincount(cells, weights=column, minlength=n) for column in numbers], axis=1)


def _slots(values: Array) -> npt.NDArray[np.int64]:
    """Return the slot of each value in its histogram; one beyond all of them for an unknown value."""
    import numpy as np

    slots = np.full(len(values), _UNKNOWN, dtype=np.int64)
    positive = values > 0
    slots[positive] = np.floor(np.log(values[positive]) / _LOG_GROWTH).astype(np.int64)
    slots[values <= 0] = _ZEROS
    return slots


_UNKNOWN = 1 << 15


def _histograms(slots: npt.NDArray[np.int64], cells: npt.NDArray[np.int64], n: int) -> list[bytes]:
    """Return the packed histogram of each cell."""
    import numpy as np

    known = slots != _UNKNOWN
    codes, counts = np.unique(cells[known] * 65_536 + (slots[known] - _ZEROS), return_counts=True)
    packed_all = np.empty(len(codes), dtype=[("slot", "<i2"), ("count", "<u4")])
    packed_all["slot"] = codes % 65_536 + _ZEROS
    packed_all["count"] = counts
    ends = np.searchsorted(codes, np.arange(1, n + 1) * 65_536)
    blob, size = packed_all.tobytes(), _SLOT.size
    starts = [0, *ends[:-1].tolist()]
    return [blob[start * size : end * size] for start, end in zip(starts, ends.tolist(), strict=True)]
