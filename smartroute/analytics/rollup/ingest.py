"""Add events to a rollup's tables: outcomes to cells, and feedback to the sums and counts of labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from operator import add, itemgetter
from typing import Any, TypeVar

from smartroute.analytics.figures import confidence_bin, pairs_with_judge
from smartroute.analytics.rollup.batch import Batch
from smartroute.analytics.rollup.cells import DAY, HOUR, MONTH, NO_KEY, TOTAL_HOUR, YEAR
from smartroute.analytics.rollup.lines import compact
from smartroute.analytics.rollup.outcome_pages import HELD as OUTCOME_HELD
from smartroute.analytics.rollup.outcome_pages import StoredOutcome
from smartroute.analytics.rollup.tables import (
    ANY_FEEDBACK,
    HELD,
    ROUTED,
    UNKNOWN_CONFIDENCE,
    WITH_JUDGE,
    LabelCountId,
    LabelId,
    LabelSums,
    Rating,
    StoredFeedback,
    Tables,
)

T = TypeVar("T")


class Ingest:
    """Events to be added to the tables. Many at once cost less, because most fall into the same cells."""

    def __init__(self) -> None:
        self._outcomes = Batch()
        self._feedback: dict[tuple[bytes, str], StoredFeedback] = {}
        self._conversation_feedback: dict[tuple[str, str], StoredFeedback] = {}

    def __len__(self) -> int:
        return len(self._outcomes) + len(self._feedback) + len(self._conversation_feedback)

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Take events, as `lines.records` returns them."""
        outcomes = []
        for record in records:
            if record["type"] == "outcome":
                outcomes.append(record)
                continue
            feedback = StoredFeedback(
                record["time"], record["id"], record.get("quality"), record.get("label")
            )
            source = record.get("source") or "user"
            if outcome_id := record["outcome_id"]:
                _keep_latest(self._feedback, (compact(outcome_id), source), feedback)
            elif (conversation := record.get("conversation_id")) is not None:
                _keep_latest(self._conversation_feedback, (conversation, source), feedback)
        self._outcomes.add(outcomes)

    def store(self, tables: Tables) -> None:
        """Add the events to the tables. Events that are stored already change nothing."""
        outcomes = self._outcomes
        if stored := tables.known(outcomes.ids):
            outcomes.leave_out(stored)
        if outcomes:
            keys = outcomes.keys(tables.key)
            tables.add_outcomes(outcomes.columns(keys))
            sums = outcomes.sums(keys)
            tables.put_cells(sums.cells.with_stored(tables.cells_of(sums.cells.ids)))
            tables.add_users(sums.users)
        affected = set(self._feedback)
        if outcomes:
            # Feedback can come before its outcome. This query precedes add_feedback because it is cheap only
            # while few of the new outcomes are older than the last one that has feedback.
            affected |= tables.feedback(outcomes.ids).keys()
        if self._feedback or self._conversation_feedback:
            tables.add_feedback(self._feedback, self._conversation_feedback)
        affected |= self._affected_by_conversations(tables)
        if affected:
            _update_ratings(tables, affected)

    def _affected_by_conversations(self, tables: Tables) -> set[tuple[bytes, str]]:
        """Return the outcomes, by id and source, whose ratings feedback about a conversation may change."""
        affected: set[tuple[bytes, str]] = set()
        sources: defaultdict[str, list[str]] = defaultdict(list)
        for conversation, source in self._conversation_feedback:
            sources[conversation].append(source)
        for conversation, ids in tables.outcomes_of(sources.keys()).items():
            affected |= {(outcome_id, source) for source in sources[conversation] for outcome_id in ids}
        outcomes = self._outcomes
        if outcomes and tables.has_feedback():
            outcome_ids: defaultdict[str, list[bytes]] = defaultdict(list)
            for outcome_id, name in zip(outcomes.ids, outcomes.conversations, strict=True):
                if name is not None:
                    outcome_ids[name].append(outcome_id)
            for conversation, source in tables.conversation_feedback(outcome_ids.keys()):
                affected |= {(outcome_id, source) for outcome_id in outcome_ids[conversation]}
        return affected


def _keep_latest(kept: dict[Any, StoredFeedback], key: tuple[Any, str], feedback: StoredFeedback) -> None:
    known = kept.get(key)
    if known is None or feedback[:2] > known[:2]:
        kept[key] = feedback


def _update_ratings(tables: Tables, affected: Iterable[tuple[bytes, str]]) -> None:
    """Bring the labels' sums and counts up to date with the stored feedback about some outcomes."""
    pairs = sorted(affected)
    outcomes = tables.outcomes({outcome_id for outcome_id, _ in pairs})
    own = tables.feedback(outcomes)
    shared = tables.conversation_feedback(
        {outcome.conversation for outcome in outcomes.values() if outcome.conversation is not None}
    )
    before: defaultdict[bytes, dict[str, Rating]] = defaultdict(dict)
    for (outcome_id, source), rating in tables.ratings(outcomes).items():
        before[outcome_id][source] = rating
    ratings: dict[tuple[bytes, str], Rating] = {}
    change = _LabelChange()
    for outcome_id, group in groupby(pairs, itemgetter(0)):
        outcome = outcomes.get(outcome_id)
        if outcome is None:  # feedback can come before its outcome
            continue
        after = dict(before[outcome_id])
        for _, source in group:
            feedback = own.get((outcome_id, source))
            if feedback is None and outcome.conversation is not None:
                feedback = shared.get((outcome.conversation, source))
                # Feedback about a conversation does not concern what was answered after it.
                if feedback is not None and feedback.time < outcome.time:
                    feedback = None
            if feedback is not None and after.get(source) != feedback.rating:
                ratings[outcome_id, source] = after[source] = feedback.rating
        if after != before[outcome_id]:
            change.add(outcome, before[outcome_id], -1)
            change.add(outcome, after, 1)
    if ratings:
        tables.change_ratings(ratings, change.sums, change.counts)


class _LabelChange:
    """What changed ratings of outcomes add to the labels' sums and counts, and what they subtract."""

    def __init__(self) -> None:
        self._sums: dict[LabelId, LabelSums] = {}
        self._counts: defaultdict[LabelCountId, int] = defaultdict(int)

    def add(self, outcome: StoredOutcome, ratings: Mapping[str, Rating], sign: int) -> None:
        """Add an outcome's ratings by source, as `Figures.add_feedback` does. A sign of -1 subtracts them."""
        for source, (quality, label) in ratings.items():
            self._add(outcome, source, ANY_FEEDBACK, sign, LabelSums(1))
            if label is not None:
                self._counts[HOUR, outcome.hour, outcome.key, source, label] += sign
            if quality is None:
                continue
            confidence = outcome.confidence
            tenth = UNKNOWN_CONFIDENCE if confidence is None else confidence_bin(confidence)
            self._add(outcome, source, tenth, sign, _pair(quality, confidence or 0.0))
            if outcome.holdback:
                side = HELD if outcome.holdback == OUTCOME_HELD else ROUTED
                self._add(outcome, source, side, sign, _pair(quality, 0.0))
        qualities = {source: quality for source, (quality, _) in ratings.items()}
        for source, quality, judged in pairs_with_judge(qualities):
            self._add(outcome, source, WITH_JUDGE, sign, _pair(quality, judged))

    def _add(self, outcome: StoredOutcome, source: str, label_bin: int, sign: int, sums: LabelSums) -> None:
        label_id = (HOUR, outcome.hour, outcome.key, source, label_bin)
        if sign < 0:
            sums = LabelSums(*(-value for value in sums))
        known = self._sums.get(label_id)
        self._sums[label_id] = sums if known is None else _sum(known, sums)

    @property
    def sums(self) -> dict[LabelId, LabelSums]:
        """Return what to add to the sums: those of hours, and the coarser ones made from them."""
        return _with_coarser(self._sums, _sum)

    @property
    def counts(self) -> dict[LabelCountId, int]:
        """Return what to add to the counts, in the same way."""
        return _with_coarser(self._counts, add)


def _with_coarser(hours: Mapping[Any, T], plus: Callable[[T, T], T]) -> dict[Any, T]:
    """Return values by grain, bucket and key: of hours, and their sums by whole hour, day, month and year."""
    every = dict(hours)
    every |= _grouped(
        (((TOTAL_HOUR, bucket, NO_KEY, *rest), value) for (_, bucket, _, *rest), value in hours.items()),
        plus,
    )
    for grain in (DAY, MONTH, YEAR):
        hours = _grouped(
            (((grain, bucket[:grain], *rest), value) for (_, bucket, *rest), value in hours.items()), plus
        )
        every |= hours
    return every


def _grouped(pairs: Iterable[tuple[Any, T]], plus: Callable[[T, T], T]) -> dict[Any, T]:
    groups: dict[Any, T] = {}
    for key, value in pairs:
        known = groups.get(key)
        groups[key] = value if known is None else plus(known, value)
    return groups


def _sum(one: LabelSums, other: LabelSums) -> LabelSums:
    a, b, c, d, e, f = one
    u, v, w, x, y, z = other
    return LabelSums(a + u, b + v, c + w, d + x, e + y, f + z)


def _pair(value: float, other: float) -> LabelSums:
    return LabelSums(1, value, value * value, other, other * other, value * other)
