"""Keep the sums of a log beside it, so that a question need not read the log: only what is new in it."""

from __future__ import annotations

import errno
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol, TypeAlias, TypeVar

from smartroute.analytics.cells import DAY, HOUR, MONTH, NOBODY, TOTAL_HOUR, Batch
from smartroute.analytics.feed import Block, compact, records
from smartroute.analytics.figures import beside_judge, confidence_bin
from smartroute.analytics.rollup_tables import (
    ANY_WORD,
    HELD,
    ROUTED,
    UNKNOWN_CONFIDENCE,
    VERSION,
    WITH_JUDGE,
    Counted,
    LabelPlace,
    LabelSums,
    Said,
    Stored,
    Tables,
    WordPlace,
    hour_number,
)

T = TypeVar("T")

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how much of what is new has been read, and how much there is."""

Verdict: TypeAlias = tuple[float | None, str | None]
"""Quality and label."""


_UNNAMED = "? "
_MOST_BEGINNINGS = 10
_TOO_FAST = "the log or its rollup changes faster than it is read"


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


class Log(Protocol):
    """A log that a rollup can be kept of."""

    @property
    def failures(self) -> tuple[type[Exception], ...]:
        """What is raised where the log or its rollup cannot be used."""

    def exists(self) -> bool:
        """Return whether there is anything to keep a rollup of."""

    def discard(self) -> None:
        """Delete a rollup that is damaged."""

    def traffic(self) -> bool | None:
        """Return whether it holds simulated events, None when it holds none."""

    def connect(self) -> Tables:
        """Return the rollup's tables on a connection of the caller's own."""


class PartedLog(Log, Protocol):
    """A log that lies beside its rollup, in pieces."""

    def parts(self) -> list[Part]:
        """Return what it consists of now."""


class Keeper(Protocol):
    """What keeps the rollup of a log."""

    @property
    def log(self) -> Log:
        """Whose rollup it is."""

    def ask(self, question: Callable[[Log], T], progress: Progress | None = None) -> T:
        """Read what is new, and return the answer. Raises one of the log's failures where that cannot be."""

    def rebuild(self, progress: Progress | None = None) -> None:
        """Forget everything, and read the whole log again. Raises what `ask` does."""


class Rollup:
    """The rollup of a log in pieces. Any number of processes may keep and ask it at once.

    What a part of the log adds, and how far it was read, are written in one transaction: no event counts
    twice, and none is left out. It can be built anew from the log at any time.
    """

    def __init__(self, log: PartedLog) -> None:
        self.log = log

    def ask(self, question: Callable[[Log], T], progress: Progress | None = None) -> T:
        """Return the answer of the whole rollup: none of one that another reader began anew meanwhile.

        Raises what `catch_up` does.
        """
        for _ in range(_MOST_BEGINNINGS):
            begun = self.catch_up(progress)
            try:
                answer = question(self.log)
            except self.log.failures:  # the tables may just be gone
                if self.stands(begun):
                    raise
            else:
                if self.stands(begun):
                    return answer
        raise OSError(errno.EAGAIN, _TOO_FAST)

    def catch_up(self, progress: Progress | None = None) -> str:
        """Read what is new, and return the name of the present beginning, for `stands`.

        Raises OSError when the log, and the database's errors when its tables fail.
        """
        with closing(self.log.connect()) as tables:
            for _ in range(_MOST_BEGINNINGS):
                traffic = self.log.traffic()
                facts = {"version": str(VERSION), "traffic": str(traffic)}
                with tables.transaction(write=False):
                    known = tables.facts()
                begun = known.get("begun", "")
                # Others may begin it anew meanwhile, or let segments go: then it is looked at once more.
                with suppress(_BegunAnewError, FileNotFoundError):
                    fitting = begun and known.items() >= facts.items()
                    if fitting and self._read_on(tables, begun, traffic, progress):
                        return begun
                    self._start_anew(tables, facts, instead_of=known)
        raise OSError(errno.EAGAIN, _TOO_FAST)

    def stands(self, begun: str) -> bool:
        """Return whether nobody has begun the rollup anew, so that all that was read is in it."""
        with closing(self.log.connect()) as tables, tables.transaction(write=False):
            return tables.facts().get("begun") == begun

    def rebuild(self, progress: Progress | None = None) -> None:
        """Forget everything, and read the whole log again. Raises what `catch_up` does."""
        with closing(self.log.connect()) as tables:
            self._start_anew(tables, {"version": "0"}, instead_of=None)
        self.catch_up(progress)

    @staticmethod
    def _start_anew(
        tables: Tables, facts: Mapping[str, str], *, instead_of: Mapping[str, str] | None
    ) -> None:
        with tables.transaction(write=True):
            if instead_of is not None and tables.facts() != instead_of:
                return  # another reader has just done it
            tables.clear()
            tables.note(**facts, begun=secrets.token_hex(8))

    def _read_on(self, tables: Tables, begun: str, traffic: bool | None, progress: Progress | None) -> bool:
        """Read what is new. Returns False when something that counted is there no more.

        Raises _BegunAnewError when what was stored at first does not hold any more.
        """
        with tables.transaction(write=False):
            _check_begun(tables, begun)
            stored = tables.segments()
        by_name = {each.name: each for each in stored.values()}
        live: set[str] = set()
        changed: list[tuple[Part, str]] = []
        parts = self.log.parts()
        names = {part.name for part in parts}
        for part in parts:
            known = by_name.get(part.name)
            if known and (known.size, known.changed_ns) == (part.size, part.changed_ns):
                live.add(known.id)
                continue
            try:
                identity = part.identity()
            except FileNotFoundError:  # removed since it was listed
                continue
            copy = f"{identity} {part.name}"
            if identity is None:
                identity = f"{_UNNAMED}{part.name}"
            elif known is not None and known.id == copy:
                identity = copy
            elif identity in live or (
                known is None and identity in stored and stored[identity].name in names
            ):
                identity = copy  # both are there; their events are the same, and count once
            live.add(identity)
            if identity in stored and part.shorter_than(stored[identity].position):
                return False
            changed.append((part, identity))
        gone = stored.keys() - live
        # Of a part whose first line was still half there, nothing was counted.
        halves = {each for each in gone if each.startswith(_UNNAMED) and not stored[each].position}
        if gone != halves:
            return False
        if halves:
            with tables.transaction(write=True):
                tables.remove_segments(halves)
        steps = _Steps(changed, stored, progress)
        for part, identity in changed:
            self._read_part(tables, begun, part, identity, traffic, steps)
        with tables.transaction(write=False):
            _check_begun(tables, begun)
        return True

    def _read_part(
        self, tables: Tables, begun: str, part: Part, identity: str, traffic: bool | None, steps: _Steps
    ) -> None:
        while True:
            with tables.transaction(write=False):
                position = _stored(tables, part, identity).position
            for block in part.blocks(position):
                if not self._take(tables, begun, part, identity, block, traffic):
                    break  # another reader has come in between: go on from where that is
                position = block.end
                steps.at(part, position)
            else:
                if self._end(tables, part, identity, position):
                    break
        steps.done(part)

    @staticmethod
    def _end(tables: Tables, part: Part, identity: str, position: int) -> bool:
        """Note that a part is read up to what it is now; returns False when somebody has begun it anew."""
        with tables.transaction(write=True):
            stored = _stored(tables, part, identity)
            if stored.position < position and not stored.torn:
                return False
            tables.put_segment(stored._replace(name=part.name, size=part.size, changed_ns=part.changed_ns))
        return True

    @staticmethod
    def _take(
        tables: Tables, begun: str, part: Part, identity: str, block: Block, traffic: bool | None
    ) -> bool:
        """Count a block, unless it has been counted meanwhile. A torn line is looked at again later."""
        found, bad = records(block.lines)
        kept = [record for record in found if record["simulated"] is traffic]
        unfinished = block.torn and bad > 0
        with tables.transaction(write=True):
            _check_begun(tables, begun)  # it may be for other traffic now
            stored = _stored(tables, part, identity)
            if stored.position != block.start:
                return False
            count(tables, kept)
            tables.put_segment(
                stored._replace(
                    size=-1,
                    position=block.start if unfinished else block.end,
                    bad_lines=stored.bad_lines + (0 if unfinished else bad),
                    foreign_lines=stored.foreign_lines + (0 if unfinished else len(found) - len(kept)),
                    torn=int(unfinished),
                )
            )
        return True


class _Steps:
    """Tells how far the reading has come, in bytes on the disk."""

    def __init__(
        self,
        changed: Iterable[tuple[Part, str]],
        stored: Mapping[str, Stored],
        progress: Progress | None,
    ) -> None:
        self._progress = progress
        self._left = {}
        for part, identity in changed:
            known = stored.get(identity)
            self._left[part.name] = max(0, part.size - (known.position if known else 0))
        self._whole = sum(self._left.values())

    def at(self, part: Part, position: int) -> None:
        self._tell(part, max(0, part.size - position))

    def done(self, part: Part) -> None:
        self._tell(part, 0)

    def _tell(self, part: Part, left: int) -> None:
        self._left[part.name] = min(self._left[part.name], left)
        if self._progress is not None:
            self._progress(self._whole - sum(self._left.values()), self._whole)


class _BegunAnewError(Exception):
    """Somebody has begun the rollup anew."""


def _check_begun(tables: Tables, begun: str) -> None:
    if tables.facts().get("begun") != begun:
        raise _BegunAnewError


def _stored(tables: Tables, part: Part, identity: str) -> Stored:
    return tables.segment(identity) or Stored(identity, part.name, -1, 0, 0, 0, 0, 0)


def count(tables: Tables, found: Iterable[Mapping[str, Any]]) -> None:
    """Add events to the tables. Those that are there already change nothing."""
    outcomes: dict[bytes, Mapping[str, Any]] = {}
    said: dict[tuple[bytes, str], Said] = {}
    of_talks: dict[tuple[str, str], Said] = {}
    for record in found:
        if record["type"] == "outcome":
            outcomes.setdefault(compact(record["id"]), record)
            continue
        get = record.get
        word = Said(record["time"], record["id"], get("quality"), get("label"))
        source = get("source") or "user"
        if record["outcome_id"]:
            _latest(said, (compact(record["outcome_id"]), source), word)
        elif (conversation := get("conversation_id")) is not None:
            _latest(of_talks, (conversation, source), word)
    if known := tables.known([*outcomes]):
        outcomes = {each: record for each, record in outcomes.items() if each not in known}
    conversations = _add_outcomes(tables, outcomes)
    if said or of_talks:
        tables.hear(said, of_talks)
    open_pairs = set(said)
    for conversation, members in tables.outcomes_of({talk for talk, _ in of_talks}).items():
        open_pairs |= {
            (each, source) for talk, source in of_talks if talk == conversation for each in members
        }
    if outcomes and tables.anything_said():
        open_pairs |= tables.words([*outcomes]).keys()
        for conversation, source in tables.talk_words([*conversations]):
            open_pairs |= {(each, source) for each in conversations[conversation]}
    if open_pairs:
        _settle(tables, open_pairs)


def _latest(words: dict[Any, Said], place: tuple[Any, str], word: Said) -> None:
    known = words.get(place)
    if known is None or word[:2] > known[:2]:
        words[place] = word


def _add_outcomes(tables: Tables, outcomes: Mapping[bytes, Mapping[str, Any]]) -> dict[str, list[bytes]]:
    """Add new outcomes, and return them by conversation."""
    if not outcomes:
        return {}
    conversations: defaultdict[str, list[bytes]] = defaultdict(list)
    batch = Batch(tables.key)
    rows = []
    for each, record in outcomes.items():
        hour, key = batch.add(record)
        talk = record.get("conversation_id")
        if talk is not None:
            conversations[talk].append(each)
        time = None if talk is None else record["time"]
        confidence, holdback = record.get("confidence"), record.get("holdback")
        rows.append((each, hour_number(hour), key, confidence, talk, time, holdback))
    tables.add_outcomes(rows)
    tables.add_cells(batch.cells())
    tables.add_users(batch.users)
    return dict(conversations)


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
                if word is not None and word.time < (outcome.time or ""):
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
        self.labels: dict[LabelPlace, LabelSums] = {}
        self.words: defaultdict[WordPlace, int] = defaultdict(int)

    def move(self, outcome: Counted, verdicts: Mapping[str, Verdict], sign: int) -> None:
        """Put in what is said of an outcome, as `Figures.hear` does, or with a sign of -1 take it out."""
        for source, (quality, label) in verdicts.items():
            self._add(outcome, source, ANY_WORD, sign, LabelSums(1))
            if label is not None:
                for grain, bucket, key in _places(outcome):
                    self.words[grain, bucket, key, source, label] += sign
            if quality is None:
                continue
            confidence = outcome.confidence
            place = UNKNOWN_CONFIDENCE if confidence is None else confidence_bin(confidence)
            self._add(outcome, source, place, sign, _pair(quality, confidence or 0.0))
            if outcome.holdback is not None:
                held = HELD if outcome.holdback == "held" else ROUTED
                self._add(outcome, source, held, sign, _pair(quality, 0.0))
        for source, mine, judged in beside_judge({source: word[0] for source, word in verdicts.items()}):
            self._add(outcome, source, WITH_JUDGE, sign, _pair(mine, judged))

    def _add(self, outcome: Counted, source: str, place: int, sign: int, sums: LabelSums) -> None:
        for grain, bucket, key in _places(outcome):
            where = (grain, bucket, key, source, place)
            known = self.labels.get(where, LabelSums())
            self.labels[where] = LabelSums._make(a + sign * b for a, b in zip(known, sums, strict=True))


def _pair(value: float, other: float) -> LabelSums:
    return LabelSums(1, value, value * value, other, other * other, value * other)


def _places(outcome: Counted) -> Iterator[tuple[int, str, int]]:
    for grain in (HOUR, DAY, MONTH):
        yield grain, outcome.hour[:grain], outcome.key
    yield TOTAL_HOUR, outcome.hour, NOBODY
