"""Add many outcomes up at once, into cells and into the sums of users.

The same sums as `Figures.add` makes one by one; here outcomes are laid out in columns and added by numpy,
which takes a fifth of the time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from smartroute.analytics.cells import (
    DAY,
    FIELDS,
    HOUR,
    MONTH,
    NOBODY,
    SLOT,
    TOTAL_HOUR,
    YEAR,
    ZEROS,
    Cell,
    Key,
    Place,
    UserSums,
)
from smartroute.analytics.figures import GROWTH, LONG_PROMPT, TOKEN_SUMS, climb_usd, of_calls

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
    Places = npt.NDArray[np.int64]

_LOG_GROWTH = math.log(GROWTH)
_NONE = math.nan
_LATEST = "~"  # behind any time

_NUMBERS = (
    *("unpriced_attempts", "cost_usd", "baseline_cost_usd", "latency_s", "confidence"),
    *("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
)
_COLUMNS = (
    "time",
    "unit",
    "conversation_id",
    "holdback",
    "model",
    "error",
    "escalated",
    "answer_changed",
    *_NUMBERS,
)
_columns_of = itemgetter(*_COLUMNS)
_calls_of = itemgetter("attempts", "model", "kind", "answer_changed")
_key_of = itemgetter(*FIELDS)


class Added(NamedTuple):
    """What outcomes add to cells, and to what is known of users by day and user."""

    cells: dict[Place, Cell]
    users: dict[tuple[str, str], UserSums]


class _Row(NamedTuple):
    """One outcome, as it is laid out in columns: what `measure` finds, with NaN for what is unknown."""

    answered: Any
    escalated: Any
    attempts: Any
    failed_attempts: Any
    unpriced: Any
    long: Any
    comparable: Any
    changed: Any
    rejected_usd: Any
    climb_usd: Any
    usd: Any
    latency_s: Any
    confidence: Any
    unanswered: Any
    baseline_usd: Any
    holdback: Any
    tokens: Any
    """Rows in the order of Tokens."""


class _Called(NamedTuple):
    """What there is to say of the calls of an outcome."""

    failed: int
    overhead_usd: tuple[tuple[str, float], ...]
    rejected_usd: float
    climb_usd: float


def _places() -> defaultdict[Any, int]:
    """Return a table that gives each new name the next number."""
    places: defaultdict[Any, int] = defaultdict()
    places.default_factory = places.__len__
    return places


class Batch:
    """Outcomes on their way into cells, each once."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self._seen: set[bytes] = set()
        self._columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        self._attempts: list[int] = []
        # Nearly all requests are one call that was answered; what there is to say of the others, by place.
        self._calls: dict[int, _Called] = {}
        self._keys: list[int] = []
        self._key_places: defaultdict[Key, int] = _places()

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, found: Mapping[bytes, Mapping[str, Any]]) -> None:
        """Take outcomes that have all of their fields, by id; those that are here already change nothing."""
        fresh = found.keys() - self._seen
        if len(fresh) < len(found):
            found = {each: record for each, record in found.items() if each in fresh}
        if not found:
            return
        self._seen |= fresh
        records = found.values()
        self._keys += map(self._key_places.__getitem__, map(_key_of, records))
        for number, (made, model, kind, changed) in enumerate(map(_calls_of, records), start=len(self.ids)):
            if made and len(made) == 1 and model is not None:
                (call,) = made
                if "failure" not in call and call.get("purpose") == "answer":
                    self._attempts.append(1)
                    continue
            self._attempts.append(len(made or ()))
            made = made or ()
            climbed = 0.0 if changed is None else climb_usd(made)
            self._calls[number] = _Called(*of_calls(made, model is None, kind), climbed)
        self.ids += found
        for name, values in zip(_COLUMNS, zip(*map(_columns_of, records), strict=True), strict=True):
            self._columns[name] += values

    def column(self, name: str) -> Sequence[Any]:
        """Return a field of each outcome."""
        return self._columns[name]

    @property
    def hours(self) -> list[str]:
        """Return the hour of each outcome."""
        return [time[:HOUR] for time in self._columns["time"]]

    def leave_out(self, known: Collection[bytes]) -> None:
        """Forget the outcomes of some ids."""
        keep = [place for place, each in enumerate(self.ids) if each not in known]
        self._calls = {new: self._calls[old] for new, old in enumerate(keep) if old in self._calls}
        lists: tuple[list[Any], ...] = (self.ids, self._attempts, self._keys, *self._columns.values())
        for values in lists:
            values[:] = [values[place] for place in keep]

    def keys(self, number_of: Callable[[Key], int]) -> list[int]:
        """Return the key of each outcome. `number_of` gives the number of a combination of fields."""
        used = set(self._keys)
        numbers = {place: number_of(key) for key, place in self._key_places.items() if place in used}
        return [numbers[place] for place in self._keys]

    def added(self, keys: Sequence[int]) -> Added:
        """Return what the outcomes add up to, by the key of each."""
        if not self.ids:
            return Added({}, {})
        row = self._laid_out()
        return Added(self._cells(row, keys), self._users(row))

    def _laid_out(self) -> _Row:
        """Return what `measure` says of each outcome."""
        import numpy as np

        unpriced, usd, baseline, latency_s, confidence, read, written, cached, stored, reasoned = (
            np.array(self._columns[name], dtype=np.float64) for name in _NUMBERS
        )
        unanswered = np.array([model is None for model in self._columns["model"]])
        unpriced = np.nan_to_num(unpriced) != 0
        failed, rejected, climbed = np.zeros(len(usd)), np.zeros(len(usd)), np.zeros(len(usd))
        for number, called in self._calls.items():
            failed[number], rejected[number] = called.failed, called.rejected_usd
            climbed[number] = called.climb_usd
        cached = np.minimum(np.nan_to_num(cached), read)
        stored = np.minimum(np.nan_to_num(stored), read - cached)
        reasoned = np.minimum(np.nan_to_num(reasoned), written)
        tokens = np.stack((read - cached - stored, cached, stored, written - reasoned, reasoned))
        tokens[:, np.isnan(read) | np.isnan(written) | unpriced] = _NONE
        tokens[:, unanswered] = 0.0
        held = [0 if word is None else 1 if word == "held" else 2 for word in self._columns["holdback"]]
        return _Row(
            answered=~unanswered & np.array([error is None for error in self._columns["error"]]),
            escalated=np.array(self._columns["escalated"], dtype=bool),
            attempts=np.array(self._attempts, dtype=np.float64),
            failed_attempts=failed,
            unpriced=unpriced,
            long=(read > LONG_PROMPT) & ~np.isnan(tokens[0]),
            comparable=np.array([changed is not None for changed in self._columns["answer_changed"]]),
            changed=np.array([changed is True for changed in self._columns["answer_changed"]]),
            rejected_usd=rejected,
            climb_usd=climbed,
            usd=np.nan_to_num(usd),
            latency_s=latency_s,
            confidence=confidence,
            unanswered=unanswered,
            baseline_usd=np.where(unanswered | unpriced, _NONE, baseline),
            holdback=np.where(unpriced, 0, held),
            tokens=tokens,
        )

    def _users(self, row: _Row) -> dict[tuple[str, str], UserSums]:
        import numpy as np

        places: defaultdict[tuple[str, str], int] = _places()
        times, units = self._columns["time"], self._columns["unit"]
        numbers = [number for number, unit in enumerate(units) if unit is not None]
        users = [places[times[number][:DAY], units[number]] for number in numbers]
        if not users:
            return {}
        baseline = np.nan_to_num(row.baseline_usd)
        compared = np.where(row.unanswered | ~np.isnan(row.baseline_usd), row.usd, 0.0)
        columns = (
            np.ones_like(row.usd),
            row.answered,
            row.escalated,
            row.unpriced,
            row.usd,
            compared,
            baseline,
        )
        sums = _summed([column[numbers] for column in columns], np.array(users), len(places)).tolist()
        return {user: UserSums(*sums[place]) for user, place in places.items()}

    def _cells(self, row: _Row, keys: Sequence[int]) -> dict[Place, Cell]:
        import numpy as np

        hours: defaultdict[tuple[str, int], int] = _places()
        places = list(map(hours.__getitem__, zip(self.hours, keys, strict=True)))
        first, last = [_LATEST] * len(hours), [""] * len(hours)
        for time, place in zip(self._columns["time"], places, strict=True):
            if time > last[place]:
                last[place] = time
            if time < first[place]:
                first[place] = time
        overheads: defaultdict[int, list[tuple[str, float]]] = defaultdict(list)
        for number, called in self._calls.items():
            if called.overhead_usd:
                overheads[places[number]] += called.overhead_usd
        own = np.array(places, dtype=np.int64)
        by_hour = _summed(_numbers(row), own, len(hours))
        slots = [_counted(own, _slots(each)) for each in (row.usd, row.latency_s, row.confidence)]
        found: dict[Place, Cell] = {}
        for grain, place_of in _GRAINS:
            coarser: dict[tuple[str, int], int] = {}
            parents = [coarser.setdefault(place_of(hour), len(coarser)) for hour in hours]
            n, cells = len(coarser), np.array(parents, dtype=np.int64)
            sums = (by_hour if grain == HOUR else _summed(by_hour.T, cells, n)).tolist()
            blobs = [_histograms(each if grain == HOUR else each.within(cells), n) for each in slots]
            made = [
                Cell(numbers, "", "", list(packed), {}) for numbers, *packed in zip(sums, *blobs, strict=True)
            ]
            for place, parent in enumerate(parents):
                cell = made[parent]
                if not cell.first or first[place] < cell.first:
                    cell.first = first[place]
                if last[place] > cell.last:
                    cell.last = last[place]
                for purpose, usd in overheads.get(place, ()):
                    cell.overhead_usd[purpose] = cell.overhead_usd.get(purpose, 0.0) + usd
            for (bucket, key), cell in zip(coarser, made, strict=True):
                found[grain, bucket, key] = cell
        return found


_GRAINS: tuple[tuple[int, Callable[[tuple[str, int]], tuple[str, int]]], ...] = (
    (HOUR, lambda place: place),
    (DAY, lambda place: (place[0][:DAY], place[1])),
    (MONTH, lambda place: (place[0][:MONTH], place[1])),
    (YEAR, lambda place: (place[0][:YEAR], place[1])),
    (TOTAL_HOUR, lambda place: (place[0], NOBODY)),
)


def _numbers(row: _Row) -> list[Array]:
    """Return the columns in the order of NUMBERS, one value for each outcome."""
    import numpy as np

    def moments(values: Array, counts: Array) -> list[Array]:
        kept = np.where(counts, values, 0.0)
        return [counts.astype(np.float64), kept, kept * kept]

    usd = row.usd
    everyone = np.ones_like(usd)
    compared = ~np.isnan(row.baseline_usd)
    baseline = np.where(compared, row.baseline_usd, 0.0)
    paid = np.where(compared | row.unanswered, usd, 0.0)
    known = ~np.isnan(row.tokens[0])
    tokens = [np.where(known, each, 0.0) for each in (usd, *row.tokens)]
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
        *moments(row.climb_usd, row.comparable & ~row.unpriced),
        *(compared.astype(np.float64), row.unanswered, paid, baseline, paid * paid),
        *(baseline * baseline, paid * baseline),
        (known & ~row.unanswered).astype(np.float64),
        *tokens,
        *(tokens[one] * tokens[other] for one in range(TOKEN_SUMS) for other in range(one, TOKEN_SUMS)),
    ]


def _summed(numbers: Iterable[Array], cells: Places, n: int) -> Array:
    """Return the sums by cell: shape (cells, columns)."""
    import numpy as np

    return np.stack([np.bincount(cells, weights=column, minlength=n) for column in numbers], axis=1)


def _slots(values: Array) -> Places:
    """Return the slot of each value in its histogram; one beyond all of them for an unknown value."""
    import numpy as np

    slots = np.full(len(values), _UNKNOWN, dtype=np.int64)
    positive = values > 0
    slots[positive] = np.floor(np.log(values[positive]) / _LOG_GROWTH).astype(np.int64)
    slots[values <= 0] = ZEROS
    return slots


_UNKNOWN = 1 << 15
_SLOTS = 1 << 16


class _Counts(NamedTuple):
    """How many values lie in each slot of each cell, in order: codes are cell * _SLOTS + slot - ZEROS."""

    codes: Places
    counts: Places

    def within(self, cells: Places) -> _Counts:
        """Return the counts of coarser cells, by the one that each of ours lies in."""
        import numpy as np

        codes, place = np.unique(
            cells[self.codes // _SLOTS] * _SLOTS + self.codes % _SLOTS, return_inverse=True
        )
        return _Counts(codes, np.bincount(place, weights=self.counts).astype(np.int64))


def _counted(cells: Places, slots: Places) -> _Counts:
    import numpy as np

    known = slots != _UNKNOWN
    return _Counts(*np.unique(cells[known] * _SLOTS + (slots[known] - ZEROS), return_counts=True))


def _histograms(found: _Counts, n: int) -> list[bytes]:
    """Return the packed histogram of each of n cells."""
    import numpy as np

    pairs = np.empty(len(found.codes), dtype=[("slot", "<i2"), ("count", "<u4")])
    pairs["slot"] = found.codes % _SLOTS + ZEROS
    pairs["count"] = found.counts
    ends = (np.searchsorted(found.codes, np.arange(1, n + 1) * _SLOTS) * SLOT.size).tolist()
    blob = pairs.tobytes()
    return [blob[start:end] for start, end in zip([0, *ends], ends, strict=False)]
