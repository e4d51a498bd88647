"""Add many outcomes up at once, into cells and into the sums of users.

The same sums as `Figures.add` makes one by one; here outcomes are laid out in columns and added by numpy,
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
from smartroute.analytics.rollup.cells import DAY, FIELDS, HOUR, NOBODY, TOTAL_HOUR, ZEROS, Key
from smartroute.analytics.rollup.instants import LENGTHS, instants_of, texts_of
from smartroute.analytics.rollup.lines import compact_all
from smartroute.analytics.rollup.outcome_pages import HELD, ROUTED, Outcomes
from smartroute.analytics.sums import GROWTH, TOKEN_SUMS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
    Places = npt.NDArray[np.int64]

_LOG_GROWTH = math.log(GROWTH)
_NONE = math.nan
_PACK = 4_096  # values as objects take several times as much memory as in arrays

_NUMBERS = (
    *("unpriced_attempts", "cost_usd", "baseline_cost_usd", "latency_s", "confidence"),
    *("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
    "escalated",
)
_key_of = itemgetter(*FIELDS)
_rest_of = itemgetter("time", "model", "attempts", *_NUMBERS)
_HOLDBACKS = {None: 0, "held": HELD}  # any other is ROUTED


class Added(NamedTuple):
    """What outcomes add to cells, and to what is known of users: rows of day, user and UserSums."""

    cells: Cells
    users: Iterator[tuple[Any, ...]]


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


def _places() -> defaultdict[Any, int]:
    """Return a table that gives each new name the next number."""
    places: defaultdict[Any, int] = defaultdict()
    places.default_factory = places.__len__
    return places


class Batch:
    """Outcomes on their way into cells, each once."""

    def __init__(self) -> None:
        self.ids: list[bytes] = []
        self.talks: list[str | None] = []
        self._seen: set[bytes] = set()
        # What calls other than answers cost, of the few outcomes that have such, by place.
        self._overheads_usd: dict[int, Sequence[tuple[str, float]]] = {}
        self._key_places: defaultdict[Key, int] = _places()
        self._unit_places: defaultdict[str | None, int] = _places()
        self._unit_places[None] = _NO_UNIT
        self._fresh: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
        self._packed: dict[str, list[Any]] = {name: [] for name in _COLUMNS}

    def __len__(self) -> int:
        return len(self.ids)

    def add(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Take outcomes, as `feed.records` gives them; those that are here already change nothing."""
        ids = compact_all([record["id"] for record in records])
        if not self._seen.isdisjoint(ids) or len(set(ids)) < len(ids):
            found = dict(zip(reversed(ids), reversed(records), strict=True))  # of several the first one stays
            new = [each for each in dict.fromkeys(ids) if each not in self._seen]
            ids, records = new, [found[each] for each in new]
        if not ids:
            return
        self._seen.update(ids)
        fresh = self._fresh
        fresh["key"] += map(self._key_places.__getitem__, map(_key_of, records))
        times, models, calls, *numbers = zip(*map(_rest_of, records), strict=True)
        # Nearly all requests are one call that was answered.
        attempts, failed, rejected_usd, climbs_usd = ([each] * len(ids) for each in (1, 0, 0.0, 0.0))
        for place, (made, model) in enumerate(zip(calls, models, strict=True)):
            if made and len(made) == 1 and model is not None:
                (call,) = made
                if "failure" not in call and call.get("purpose") == "answer":
                    continue
            made, record = made or (), records[place]
            attempts[place] = len(made)
            failed[place], overhead_usd, rejected_usd[place] = of_calls(made, model is None, record["kind"])
            if overhead_usd:
                self._overheads_usd[len(self.ids) + place] = overhead_usd
            if record.get("answer_changed") is not None:
                climbs_usd[place] = climb_usd(made)
        fresh["attempts"] += attempts
        fresh["failed"] += failed
        fresh["rejected_usd"] += rejected_usd
        fresh["climb_usd"] += climbs_usd
        self.ids += ids
        self.talks += [record.get("conversation_id") for record in records]
        fresh["time"] += times
        fresh["unit"] += [self._unit_places[record.get("unit")] for record in records]
        fresh["unanswered"] += [model is None for model in models]
        fresh["error"] += [record.get("error") is not None for record in records]
        fresh["holdback"] += [_HOLDBACKS.get(record.get("holdback"), ROUTED) for record in records]
        fresh["answer_changed"] += [record.get("answer_changed") for record in records]
        for name, values in zip(_NUMBERS, numbers, strict=True):
            fresh[name] += values
        if len(fresh["time"]) >= _PACK:
            self._pack()

    def _pack(self) -> None:
        import numpy as np

        for name, values in self._fresh.items():
            if values:
                kind = _KINDS.get(name, np.float64)
                self._packed[name].append(
                    instants_of(values) if name == "time" else np.array(values, dtype=kind)
                )
                self._fresh[name] = []

    def _column(self, name: str) -> Any:
        """Return a column of all outcomes."""
        import numpy as np

        self._pack()
        if len(self._packed[name]) > 1:
            self._packed[name] = [np.concatenate(self._packed[name])]
        return self._packed[name][0]

    def laid_out(self, keys: Places) -> Outcomes:
        """Return where each outcome counts."""
        columns = (self._column("time"), keys, self._column("confidence"), self._column("holdback"))
        return Outcomes.of(self.ids, *columns, self.talks)

    def leave_out(self, known: Collection[bytes]) -> None:
        """Forget the outcomes of some ids."""
        keep = [place for place, each in enumerate(self.ids) if each not in known]
        overheads_usd = self._overheads_usd
        self._overheads_usd = {n: overheads_usd[old] for n, old in enumerate(keep) if old in overheads_usd}
        self.ids = [self.ids[place] for place in keep]
        self.talks = [self.talks[place] for place in keep]
        for name in _COLUMNS:
            self._packed[name] = [self._column(name)[keep]]

    def keys(self, number_of: Callable[[Key], int]) -> Places:
        """Return the key of each outcome. `number_of` gives the number of a combination of fields."""
        import numpy as np

        places = self._column("key")
        used = set(np.unique(places).tolist())
        numbers = [number_of(key) if place in used else 0 for key, place in self._key_places.items()]
        found: Places = np.array(numbers, dtype=np.int64)[places]
        return found

    def _laid_out(self) -> _Row:
        """Return what `measure` says of each outcome."""
        import numpy as np

        columns = [self._column(name) for name in _NUMBERS]
        unpriced, usd, baseline, latency_s, confidence, *columns = columns
        read, written, cached, stored, reasoned, escalated = columns
        changed = self._column("answer_changed")
        unanswered = self._column("unanswered")
        unpriced = np.nan_to_num(unpriced) != 0
        cached = np.minimum(np.nan_to_num(cached), read)
        stored = np.minimum(np.nan_to_num(stored), read - cached)
        reasoned = np.minimum(np.nan_to_num(reasoned), written)
        tokens = np.stack((read - cached - stored, cached, stored, written - reasoned, reasoned))
        tokens[:, np.isnan(read) | np.isnan(written) | unpriced] = _NONE
        tokens[:, unanswered] = 0.0
        return _Row(
            answered=~unanswered & ~self._column("error"),
            escalated=np.nan_to_num(escalated) != 0,
            attempts=self._column("attempts"),
            failed_attempts=self._column("failed"),
            unpriced=unpriced,
            long=(read > LONG_PROMPT) & ~np.isnan(tokens[0]),
            comparable=~np.isnan(changed),
            changed=changed == 1,
            rejected_usd=self._column("rejected_usd"),
            climb_usd=self._column("climb_usd"),
            usd=np.nan_to_num(usd),
            latency_s=latency_s,
            confidence=confidence,
            unanswered=unanswered,
            baseline_usd=np.where(unanswered | unpriced, _NONE, baseline),
            holdback=np.where(unpriced, 0, self._column("holdback")),
            tokens=tokens,
        )

    def added(self, keys: Places) -> Added:
        """Return what the outcomes add up to, by the key of each."""
        import numpy as np

        with np.errstate(over="ignore", invalid="ignore"):  # a damaged digit may make any number
            row = self._laid_out()
            return Added(self._cells(row, keys), self._users(row))

    def _users(self, row: _Row) -> Iterator[tuple[Any, ...]]:
        import numpy as np

        units = self._column("unit")
        there = units != _NO_UNIT
        many = len(self._unit_places) + 1
        days = self._column("time")[there] // LENGTHS[DAY]
        codes, users = np.unique(days * many + units[there], return_inverse=True)
        columns = (
            *(np.ones_like(row.usd), row.answered, row.escalated, row.unpriced, row.usd),
            np.where(row.unanswered | ~np.isnan(row.baseline_usd), row.usd, 0.0),
            np.nan_to_num(row.baseline_usd),
        )
        sums = summed((column[there] for column in columns), users, len(codes))
        names = list(self._unit_places)
        return zip(
            _buckets(codes // many, DAY),
            # The first of the names is that of nobody, whose place is before all others'.
            [names[place] for place in (codes % many).tolist()],
            *sums.T.tolist(),
            strict=True,
        )

    def _cells(self, row: _Row, keys: Places) -> Cells:
        import numpy as np

        times = self._column("time")
        many = int(keys.max()) + 1
        codes, own = np.unique(times // LENGTHS[HOUR] * many + keys, return_inverse=True)
        n = len(codes)
        first, last = np.full(n, times.max()), np.zeros(n, dtype=np.int64)
        np.minimum.at(first, own, times)
        np.maximum.at(last, own, times)
        overheads: defaultdict[int, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
        for place, overhead_usd in self._overheads_usd.items():
            for purpose, usd in overhead_usd:
                overheads[int(own[place])][purpose] += usd
        slots = [_slots(each) for each in (row.usd, row.latency_s, row.confidence)]
        hourly = Columns(
            summed(_numbers(row), own, n), first, last, Slots.counted(own, slots, _UNKNOWN), overheads
        )
        totals, parents = np.unique(codes // many * many + NOBODY, return_inverse=True)
        places = [(HOUR, codes), (TOTAL_HOUR, totals)]
        grains = [hourly, hourly.within(parents, len(totals))]
        finer = hourly
        # Each grain out of the one before it, which has fewer cells than there are hours.
        for before, grain in pairwise(LENGTHS):
            ratio = LENGTHS[grain] // LENGTHS[before]
            codes, parents = np.unique(codes // many // ratio * many + codes % many, return_inverse=True)
            finer = finer.within(parents, len(codes))
            places.append((grain, codes))
            grains.append(finer)
        return Cells(
            [
                (grain, bucket, key)
                for grain, among in places
                for bucket, key in zip(
                    _buckets(among // many, abs(grain)), (among % many).tolist(), strict=True
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
"""The columns that are no floats."""


def _buckets(numbers: Places, grain: int) -> list[str]:
    """Return how hours, days, months or years are written, by how many there were before."""
    import numpy as np

    known, places = np.unique(numbers, return_inverse=True)
    texts = [text[:grain] for text in texts_of(known * LENGTHS[grain])]
    return [texts[place] for place in places.tolist()]


def _numbers(row: _Row) -> Iterator[Array]:
    """Yield the columns in the order of NUMBERS, one value for each outcome: one by one, for memory."""
    import numpy as np

    usd = row.usd
    squares = usd * usd
    compared = ~np.isnan(row.baseline_usd)
    baseline = np.where(compared, row.baseline_usd, 0.0)
    paid = np.where(compared | row.unanswered, usd, 0.0)
    known = ~np.isnan(row.tokens[0])
    tokens = [np.where(known, each, 0.0) for each in (usd, *row.tokens)]
    yield np.ones_like(usd)
    yield usd
    yield from (row.answered, row.escalated, row.attempts, row.failed_attempts, row.unpriced, row.long)
    yield from (row.comparable, row.changed)
    yield row.rejected_usd
    yield squares
    for values, counts in (
        (row.latency_s, ~np.isnan(row.latency_s)),
        (row.confidence, ~np.isnan(row.confidence)),
        (usd, row.holdback == HELD),
        (usd, row.holdback == ROUTED),
        (row.climb_usd, row.comparable & ~row.unpriced),
    ):
        kept = np.where(counts, values, 0.0)
        yield from (counts, kept, kept * kept)
    yield from (compared, row.unanswered, paid, baseline, paid * paid, baseline * baseline, paid * baseline)
    yield known & ~row.unanswered
    yield from tokens
    for one in range(TOKEN_SUMS):
        for other in range(one, TOKEN_SUMS):
            yield tokens[one] * tokens[other]


def _slots(values: Array) -> Places:
    """Return the slot of each value in its histogram; one beyond all of them for an unknown value."""
    import numpy as np

    slots = np.full(len(values), _UNKNOWN, dtype=np.int64)
    positive = values > 0
    slots[positive] = np.floor(np.log(values[positive]) / _LOG_GROWTH).astype(np.int64)
    slots[values <= 0] = ZEROS
    return slots


_UNKNOWN = 1 << 15
