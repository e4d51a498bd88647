"""Add up many outcomes at once, into cells and into the sums of users.

The sums are those that `Figures.add` makes one by one. Here outcomes are kept in columns and added by numpy,
which takes a fifth of the time.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from smartroute.analytics.figures import LONG_PROMPT, climb_usd, of_calls
from smartroute.analytics.rollup.cell_columns import Cells, Columns, Slots, summed
from smartroute.analytics.rollup.cells import DAY, FIELDS, HOUR, NO_KEY, TOTAL_HOUR, ZEROS, Key
from smartroute.analytics.rollup.instants import LENGTHS, instants_of, texts_of
from smartroute.analytics.rollup.lines import compact_all
from smartroute.analytics.rollup.outcome_pages import HELD, ROUTED, Outcomes
from smartroute.analytics.sums import GROWTH, TOKEN_SUMS
from smartroute.events.event import names_for

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

_LOG_GROWTH = math.log(GROWTH)
_UNKNOWN = math.nan
_PACK = 4_096  # values take several times as much memory as objects than in arrays

_NUMBERS = names_for("number")
_key_of = itemgetter(*FIELDS)
_rest_of = itemgetter("time", "model", "attempts", *_NUMBERS)
_HOLDBACKS = {None: 0, "held": HELD}  # any other is ROUTED


class Sums(NamedTuple):
    """What outcomes add to cells, and to the sums of users: rows of day, user and UserSums."""

    cells: Cells
    users: Iterator[tuple[Any, ...]]


class _Measures(NamedTuple):
    """Outcomes in columns: the fields of Measured, with NaN for unknown values."""

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


def _numbering() -> defaultdict[Any, int]:
    """Return a table that gives each new name the next number."""
    numbers: defaultdict[Any, int] = defaultdict()
    numbers.default_factory = numbers.__len__
    return numbers


class Batch:
    """Outcomes to be added to cells, each id once."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self.conversations: list[str | None] = []
        self._seen: set[bytes] = set()
        # What calls other than answers cost, by index, of the few outcomes that have such calls.
        self._overheads_usd: dict[int, Sequence[tuple[str, float]]] = {}
        self._key_numbers: defaultdict[Key, int] = _numbering()
        self._unit_numbers: defaultdict[str | None, int] = _numbering()
        self._unit_numbers[None] = _NO_UNIT
        self._new: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        self._packed: dict[str, list[Any]] = {name: [] for name in _COLUMNS}

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Take outcomes, as `lines.records` returns them. An id that was taken before changes nothing."""
        ids = compact_all([record["id"] for record in records])
        if not self._seen.isdisjoint(ids) or len(set(ids)) < len(ids):
            # Of several records with one id the first counts.
            by_id = dict(zip(reversed(ids), reversed(records), strict=True))
            ids = [outcome_id for outcome_id in dict.fromkeys(ids) if outcome_id not in self._seen]
            records = [by_id[outcome_id] for outcome_id in ids]
        if not ids:
            return
        self._seen.update(ids)
        new = self._new
        new["key"] += map(self._key_numbers.__getitem__, map(_key_of, records))
        times, models, calls, *numbers = zip(*map(_rest_of, records), strict=True)
        # Nearly all requests are one call that was answered.
        attempts, failed, rejected_usd, climbs_usd = ([usual] * len(ids) for usual in (1, 0, 0.0, 0.0))
        for index, (own_calls, model) in enumerate(zip(calls, models, strict=True)):
            if own_calls and len(own_calls) == 1 and model is not None:
                (call,) = own_calls
                if "failure" not in call and call.get("purpose") == "answer":
                    continue
            own_calls, record = own_calls or (), records[index]
            attempts[index] = len(own_calls)
            costs = of_calls(own_calls, model is None, record["kind"])
            failed[index], overhead_usd, rejected_usd[index] = costs
            if overhead_usd:
                self._overheads_usd[len(self.ids) + index] = overhead_usd
            if record.get("answer_changed") is not None:
                climbs_usd[index] = climb_usd(own_calls)
        new["attempts"] += attempts
        new["failed"] += failed
        new["rejected_usd"] += rejected_usd
        new["climb_usd"] += climbs_usd
        self.ids += ids
        self.conversations += [record.get("conversation_id") for record in records]
        new["time"] += times
        new["unit"] += [self._unit_numbers[record.get("unit")] for record in records]
        new["unanswered"] += [model is None for model in models]
        new["error"] += [record.get("error") is not None for record in records]
        new["holdback"] += [_HOLDBACKS.get(record.get("holdback"), ROUTED) for record in records]
        new["answer_changed"] += [record.get("answer_changed") for record in records]
        for name, values in zip(_NUMBERS, numbers, strict=True):
            new[name] += values
        if len(new["time"]) >= _PACK:
            self._pack()

    def _pack(self) -> None:
        import numpy as np

        for name, values in self._new.items():
            if values:
                kind = _KINDS.get(name, np.float64)
                self._packed[name].append(
                    instants_of(values) if name == "time" else np.array(values, dtype=kind)
                )
                self._new[name] = []

    def _column(self, name: str) -> Any:
        """Return a column of all outcomes."""
        import numpy as np

        self._pack()
        if len(self._packed[name]) > 1:
            self._packed[name] = [np.concatenate(self._packed[name])]
        return self._packed[name][0]

    def columns(self, keys: Ints) -> Outcomes:
        """Return the outcomes for the table of outcomes, given the key of each."""
        columns = (self._column("time"), keys, self._column("confidence"), self._column("holdback"))
        return Outcomes.of(self.ids, *columns, self.conversations)

    def leave_out(self, stored: Collection[bytes]) -> None:
        """Remove the outcomes that have one of these ids."""
        keep = [index for index, outcome_id in enumerate(self.ids) if outcome_id not in stored]
        overheads_usd = self._overheads_usd
        self._overheads_usd = {n: overheads_usd[old] for n, old in enumerate(keep) if old in overheads_usd}
        self.ids = [self.ids[index] for index in keep]
        self.conversations = [self.conversations[index] for index in keep]
        for name in _COLUMNS:
            self._packed[name] = [self._column(name)[keep]]

    def keys(self, number_of: Callable[[Key], int]) -> Ints:
        """Return the key of each outcome. `number_of` gives the number of a combination of fields."""
        import numpy as np

        column = self._column("key")
        used = set(np.unique(column).tolist())
        numbers = [number_of(key) if index in used else 0 for key, index in self._key_numbers.items()]
        keys: Ints = np.array(numbers, dtype=np.int64)[column]
        return keys

    def _measures(self) -> _Measures:
        """Return what `figures.measure` returns of each outcome, in columns."""
        import numpy as np

        changed = self._column("answer_changed")
        unanswered = self._column("unanswered")
        unpriced = np.nan_to_num(self._column("unpriced_attempts")) != 0
        read, written = self._column("input_tokens"), self._column("output_tokens")
        cached = np.minimum(np.nan_to_num(self._column("cached_tokens")), read)
        stored = np.minimum(np.nan_to_num(self._column("cache_write_tokens")), read - cached)
        reasoned = np.minimum(np.nan_to_num(self._column("reasoning_tokens")), written)
        tokens = np.stack((read - cached - stored, cached, stored, written - reasoned, reasoned))
        tokens[:, np.isnan(read) | np.isnan(written) | unpriced] = _UNKNOWN
        tokens[:, unanswered] = 0.0
        return _Measures(
            answered=~unanswered & ~self._column("error"),
            escalated=np.nan_to_num(self._column("escalated")) != 0,
            attempts=self._column("attempts"),
            failed_attempts=self._column("failed"),
            unpriced=unpriced,
            long=(read > LONG_PROMPT) & ~np.isnan(tokens[0]),
            comparable=~np.isnan(changed),
            changed=changed == 1,
            rejected_usd=self._column("rejected_usd"),
            climb_usd=self._column("climb_usd"),
            usd=np.nan_to_num(self._column("cost_usd")),
            latency_s=self._column("latency_s"),
            confidence=self._column("confidence"),
            unanswered=unanswered,
            baseline_usd=np.where(unanswered | unpriced, _UNKNOWN, self._column("baseline_cost_usd")),
            holdback=np.where(unpriced, 0, self._column("holdback")),
            tokens=tokens,
        )

    def sums(self, keys: Ints) -> Sums:
        """Return the sums of the outcomes, given the key of each."""
        import numpy as np

        with np.errstate(over="ignore", invalid="ignore"):  # a damaged digit may make any number
            measures = self._measures()
            return Sums(self._cells(measures, keys), self._users(measures))

    def _users(self, measures: _Measures) -> Iterator[tuple[Any, ...]]:
        import numpy as np

        units, usd = self._column("unit"), measures.usd
        known = units != _NO_UNIT
        many = len(self._unit_numbers) + 1
        days = self._column("time")[known] // LENGTHS[DAY]
        codes, users = np.unique(days * many + units[known], return_inverse=True)
        columns = (
            *(np.ones_like(usd), measures.answered, measures.escalated, measures.unpriced, usd),
            np.where(measures.unanswered | ~np.isnan(measures.baseline_usd), usd, 0.0),
            np.nan_to_num(measures.baseline_usd),
        )
        sums = summed((column[known] for column in columns), users, len(codes))
        names = list(self._unit_numbers)
        return zip(
            _buckets(codes // many, DAY),
            # The first name is None, whose number _NO_UNIT (-1) was excluded above.
            [names[index] for index in (codes % many).tolist()],
            *sums.T.tolist(),
            strict=True,
        )

    def _cells(self, measures: _Measures, keys: Ints) -> Cells:
        import numpy as np

        times = self._column("time")
        many = int(keys.max()) + 1
        codes, cells = np.unique(times // LENGTHS[HOUR] * many + keys, return_inverse=True)
        n = len(codes)
        first, last = np.full(n, times.max()), np.zeros(n, dtype=np.int64)
        np.minimum.at(first, cells, times)
        np.maximum.at(last, cells, times)
        overheads: defaultdict[int, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
        for index, overhead_usd in self._overheads_usd.items():
            for purpose, usd in overhead_usd:
                overheads[int(cells[index])][purpose] += usd
        slots = [_slots(values) for values in (measures.usd, measures.latency_s, measures.confidence)]
        hourly = Columns(
            summed(_numbers(measures), cells, n),
            *(first, last, Slots.counted(cells, slots, _NO_SLOT), overheads),
        )
        totals, parents = np.unique(codes // many * many + NO_KEY, return_inverse=True)
        grain_codes = [(HOUR, codes), (TOTAL_HOUR, totals)]
        grains = [hourly, hourly.within(parents, len(totals))]
        finer = hourly
        # Each grain is added up from the one before it, which has fewer cells than there are hours.
        for before, grain in pairwise(LENGTHS):
            ratio = LENGTHS[grain] // LENGTHS[before]
            codes, parents = np.unique(codes // many // ratio * many + codes % many, return_inverse=True)
            finer = finer.within(parents, len(codes))
            grain_codes.append((grain, codes))
            grains.append(finer)
        return Cells(
            [
                (grain, bucket, key)
                for grain, own_codes in grain_codes
                for bucket, key in zip(
                    _buckets(own_codes // many, abs(grain)), (own_codes % many).tolist(), strict=True
                )
            ],
            grains[0].joined(*grains[1:]),
        )


_NO_UNIT = -1
_COLUMNS = (
    *("time", "key", "unit", "unanswered", "error", "holdback", "answer_changed"),
    *("attempts", "failed", "rejected_usd", "climb_usd"),
    *_NUMBERS,
)
_KINDS = {"key": "i4", "unit": "i4", "unanswered": "?", "error": "?", "holdback": "i1"}
"""The types of the columns that are not floats."""


def _buckets(numbers: Ints, grain: int) -> list[str]:
    """Return the names of hours, days, months or years, given the number of each."""
    import numpy as np

    distinct, indexes = np.unique(numbers, return_inverse=True)
    texts = [text[:grain] for text in texts_of(distinct * LENGTHS[grain])]
    return [texts[index] for index in indexes.tolist()]


def _numbers(measures: _Measures) -> Iterator[Floats]:
    """Yield the columns in the order of NUMBERS, with a value for each outcome.

    They are made one by one, which takes less memory.
    """
    import numpy as np

    usd = measures.usd
    squares = usd * usd
    compared = ~np.isnan(measures.baseline_usd)
    baseline = np.where(compared, measures.baseline_usd, 0.0)
    paid = np.where(compared | measures.unanswered, usd, 0.0)
    known = ~np.isnan(measures.tokens[0])
    tokens = [np.where(known, column, 0.0) for column in (usd, *measures.tokens)]
    yield np.ones_like(usd)
    yield usd
    yield from (measures.answered, measures.escalated, measures.attempts, measures.failed_attempts)
    yield from (measures.unpriced, measures.long, measures.comparable, measures.changed)
    yield measures.rejected_usd
    yield squares
    for values, counts in (
        (measures.latency_s, ~np.isnan(measures.latency_s)),
        (measures.confidence, ~np.isnan(measures.confidence)),
        (usd, measures.holdback == HELD),
        (usd, measures.holdback == ROUTED),
        (measures.climb_usd, measures.comparable & ~measures.unpriced),
    ):
        kept = np.where(counts, values, 0.0)
        yield from (counts, kept, kept * kept)
    yield from (compared, measures.unanswered, paid, baseline)
    yield from (paid * paid, baseline * baseline, paid * baseline)
    yield known & ~measures.unanswered
    yield from tokens
    for one in range(TOKEN_SUMS):
        for other in range(one, TOKEN_SUMS):
            yield tokens[one] * tokens[other]


def _slots(values: Floats) -> Ints:
    """Return the slot of each value in its histogram, _NO_SLOT for an unknown value."""
    import numpy as np

    slots = np.full(len(values), _NO_SLOT, dtype=np.int64)
    positive = values > 0
    slots[positive] = np.floor(np.log(values[positive]) / _LOG_GROWTH).astype(np.int64)
    slots[values <= 0] = ZEROS
    return slots


_NO_SLOT = 1 << 15
"""Not a slot: marks an unknown value."""
