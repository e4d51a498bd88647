"""Add events to a rollup's tables: outcomes into cells, and what was said of them into labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from operator import add, itemgetter
from typing import Any, TypeAlias, TypeVar

from smartroute.analytics.figures import beside_judge, confidence_bin
from smartroute.analytics.rollup.batch import Batch
from smartroute.analytics.rollup.cells import DAY, HOUR, MONTH, NOBODY, TOTAL_HOUR, YEAR
from smartroute.analytics.rollup.lines import compact
from smartroute.analytics.rollup.outcome_pages import HELD as WAS_HELD
from smartroute.analytics.rollup.outcome_pages import Counted
from smartroute.analytics.rollup.tables import (
    ANY_WORD,
    HELD,
    ROUTED,
    UNKNOWN_CONFIDENCE,
    WITH_JUDGE,
    LabelPlace,
    LabelSums,
    Said,
    Tables,
    WordPlace,
)

T = TypeVar("T")

Verdict: TypeAlias = tuple[float | None, str | None]
"""Quality and label."""


class Events:
    """Events on their way into the tables. Many at once cost less: most of them fall into the same cells."""

    def __init__(self) -> None:
        self._outcomes = Batch()
        self._said: dict[tuple[bytes, str], Said] = {}
        self._of_talks: dict[tuple[str, str], Said] = {}

    def __len__(self) -> int:
        return len(self._outcomes) + len(self._said) + len(self._of_talks)

    def add(self, found: Iterable[Mapping[str, Any]]) -> None:
        """Take events, as `feed.records` gives them."""
        outcomes = []
        for record in found:
            if record["type"] == "outcome":
                outcomes.append(record)
                continue
            word = Said(record["time"], record["id"], record.get("quality"), record.get("label"))
            source = record.get("source") or "user"
            if outcome_id := record["outcome_id"]:
                _latest(self._said, (compact(outcome_id), source), word)
            elif (conversation := record.get("conversation_id")) is not None:
                _latest(self._of_talks, (conversation, source), word)
        self._outcomes.add(outcomes)

    def store(self, tables: Tables) -> None:
        """Add the events to the tables. Those that are there already change nothing."""
        outcomes, said, of_talks = self._outcomes, self._said, self._of_talks
        if known := tables.known(outcomes.ids):
            outcomes.leave_out(known)
        if outcomes:
            keys = outcomes.keys(tables.key)
            tables.add_outcomes(outcomes.laid_out(keys))
            added = outcomes.added(keys)
            tables.put_cells(added.cells.with_stored(tables.cells_at(added.cells.places)))
            tables.add_users(added.users)
        open_pairs = set(said)
        if outcomes:  # what was said before they came; few of them are older than the last of that
            open_pairs |= tables.words(outcomes.ids).keys()
        if said or of_talks:
            tables.hear(said, of_talks)
        for conversation, members in tables.outcomes_of({talk for talk, _ in of_talks}).items():
            open_pairs |= {
                (each, source) for talk, source in of_talks if talk == conversation for each in members
            }
        if outcomes and tables.anything_said():
            conversations: defaultdict[str, list[bytes]] = defaultdict(list)
            for each, talk in zip(outcomes.ids, outcomes.talks, strict=True):
                if talk is not None:
                    conversations[talk].append(each)
            for conversation, source in tables.talk_words(conversations.keys()):
                open_pairs |= {(each, source) for each in conversations[conversation]}
        if open_pairs:
            _settle(tables, open_pairs)


def _latest(words: dict[Any, Said], place: tuple[Any, str], word: Said) -> None:
    known = words.get(place)
    if known is None or word[:2] > known[:2]:
        words[place] = word


def _settle(tables: Tables, pairs: Iterable[tuple[bytes, str]]) -> None:
    """Make the labels hold what counts now of what was said about some outcomes."""
    wanted = sorted(pairs)
    counted = tables.outcomes({each for each, _ in wanted})
    own = tables.words(counted)
    talks = tables.talk_words({c.conversation for c in counted.values() if c.conversation is not None})
    before: defaultdict[bytes, dict[str, Verdict]] = defaultdict(dict)
    for (each, source), verdict in tables.applied(counted).items():
        before[each][source] = verdict
    changed: dict[tuple[bytes, str], Verdict] = {}
    change = _Change()
    for each, together in groupby(wanted, itemgetter(0)):
        outcome = counted.get(each)
        if outcome is None:  # its own event is still to come
            continue
        now = dict(before[each])
        for _, source in together:
            word = own.get((each, source))
            if word is None and outcome.conversation is not None:
                word = talks.get((outcome.conversation, source))
                if word is not None and word.time < outcome.time:
                    word = None
            if word is not None and now.get(source) != (word.quality, word.label):
                changed[each, source] = now[source] = (word.quality, word.label)
        if now != before[each]:
            change.move(outcome, before[each], -1)
            change.move(outcome, now, 1)
    if changed:
        tables.apply(changed, change.labels, change.words)


class _Change:
    """What is to be added to the labels, where some outcomes are judged otherwise than before."""

    def __init__(self) -> None:
        self._labels: dict[LabelPlace, LabelSums] = {}
        self._words: defaultdict[WordPlace, int] = defaultdict(int)

    def move(self, outcome: Counted, verdicts: Mapping[str, Verdict], sign: int) -> None:
        """Put in what is said of an outcome, as `Figures.hear` does, or with a sign of -1 take it out."""
        for source, (quality, label) in verdicts.items():
            self._add(outcome, source, ANY_WORD, sign, LabelSums(1))
            if label is not None:
                self._words[HOUR, outcome.hour, outcome.key, source, label] += sign
            if quality is None:
                continue
            confidence = outcome.confidence
            place = UNKNOWN_CONFIDENCE if confidence is None else confidence_bin(confidence)
            self._add(outcome, source, place, sign, _pair(quality, confidence or 0.0))
            if outcome.holdback:
                held = HELD if outcome.holdback == WAS_HELD else ROUTED
                self._add(outcome, source, held, sign, _pair(quality, 0.0))
        for source, mine, judged in beside_judge({source: word[0] for source, word in verdicts.items()}):
            self._add(outcome, source, WITH_JUDGE, sign, _pair(mine, judged))

    def _add(self, outcome: Counted, source: str, place: int, sign: int, sums: LabelSums) -> None:
        where = (HOUR, outcome.hour, outcome.key, source, place)
        if sign < 0:
            sums = LabelSums(*(-value for value in sums))
        known = self._labels.get(where)
        self._labels[where] = sums if known is None else _both(known, sums)

    @property
    def labels(self) -> dict[LabelPlace, LabelSums]:
        """Return what is to be added, by place: the hours, and from them what is coarser."""
        return _with_coarser(self._labels, _both)

    @property
    def words(self) -> dict[WordPlace, int]:
        """Return how many words are to be added, likewise."""
        return _with_coarser(self._words, add)


def _with_coarser(hours: Mapping[Any, T], both: Callable[[T, T], T]) -> dict[Any, T]:
    """Return sums by place, with those of days, months and years, and of whole hours."""
    found = dict(hours)
    found |= _grouped(
        (((TOTAL_HOUR, b, NOBODY, *rest), sums) for (_, b, _, *rest), sums in hours.items()), both
    )
    for grain in (DAY, MONTH, YEAR):
        hours = _grouped((((grain, b[:grain], *rest), sums) for (_, b, *rest), sums in hours.items()), both)
        found |= hours
    return found


def _grouped(pairs: Iterable[tuple[Any, T]], both: Callable[[T, T], T]) -> dict[Any, T]:
    found: dict[Any, T] = {}
    for place, sums in pairs:
        known = found.get(place)
        found[place] = sums if known is None else both(known, sums)
    return found


def _both(one: LabelSums, other: LabelSums) -> LabelSums:
    a, b, c, d, e, f = one
    u, v, w, x, y, z = other
    return LabelSums(a + u, b + v, c + w, d + x, e + y, f + z)


def _pair(value: float, other: float) -> LabelSums:
    return LabelSums(1, value, value * value, other, other * other, value * other)
