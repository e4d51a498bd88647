"""Keep the sums of a log of files in SQLite beside it, so that a query reads only what is new in the log."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TypeVar

from smartroute.analytics.rollup.ingest import Ingest
from smartroute.analytics.rollup.lines import records
from smartroute.analytics.rollup.log import Block, Log, Progress, Segment, SegmentedLog
from smartroute.analytics.rollup.tables import VERSION, SegmentState, Tables

T = TypeVar("T")

_UNNAMED = "? "
_MAX_STARTS = 10
_TOO_FAST = "the log or its rollup changes faster than it is read"


class FileRollup:
    """The rollup of a log of files. Any number of processes may keep and query it at the same time.

    What a load of lines adds, and how far the log was read, are committed in one transaction: no event
    counts twice, and none is left out. The rollup can be rebuilt from the log at any time. Each rebuild
    starts a new generation with a random name, by which a reader recognizes the tables that it filled.
    """

    def __init__(self, log: SegmentedLog) -> None:
        self.log = log

    def ask(self, question: Callable[[Log], T], progress: Progress | None = None) -> T:
        """Return the answer of the complete rollup, never of one that another reader has just cleared.

        Raises what `catch_up` does.
        """
        for _ in range(_MAX_STARTS):
            generation = self.catch_up(progress)
            try:
                answer = question(self.log)
            except self.log.failures:  # another reader may have dropped the tables
                if self.is_current(generation):
                    raise
            else:
                if self.is_current(generation):
                    return answer
        raise OSError(errno.EAGAIN, _TOO_FAST)

    def catch_up(self, progress: Progress | None = None) -> str:
        """Read what is new, and return the name of the generation, for `is_current`.

        Raises OSError when the log cannot be read, and the database's errors when the tables cannot.
        """
        with closing(self.log.connect()) as tables:
            for _ in range(_MAX_STARTS):
                traffic = self.log.traffic()
                facts = {"version": str(VERSION), "traffic": str(traffic)}
                with tables.transaction(write=False):
                    stored = tables.facts()
                generation = stored.get("generation", "")
                # Other processes may rebuild the rollup or remove segments meanwhile: then try again.
                with suppress(_RebuiltError, FileNotFoundError):
                    fitting = generation and stored.items() >= facts.items()
                    if fitting and self._read_on(tables, generation, traffic, progress):
                        return generation
                    self._start_again(tables, facts, instead_of=stored)
        raise OSError(errno.EAGAIN, _TOO_FAST)

    def is_current(self, generation: str) -> bool:
        """Return whether no process has rebuilt the rollup since, so that it has all that was read."""
        with closing(self.log.connect()) as tables, tables.transaction(write=False):
            return tables.facts().get("generation") == generation

    def rebuild(self, progress: Progress | None = None) -> None:
        """Delete all sums, and read the whole log again. Raises what `catch_up` does."""
        with closing(self.log.connect()) as tables:
            self._start_again(tables, {"version": "0"}, instead_of=None)
        self.catch_up(progress)

    @staticmethod
    def _start_again(
        tables: Tables, facts: Mapping[str, str], *, instead_of: Mapping[str, str] | None
    ) -> None:
        with tables.transaction(write=True):
            if instead_of is not None and tables.facts() != instead_of:
                return  # another reader has already done it
            tables.clear()
            tables.note(**facts, generation=secrets.token_hex(8))

    def _read_on(
        self, tables: Tables, generation: str, traffic: bool | None, progress: Progress | None
    ) -> bool:
        """Read what is new. Returns False when events that were counted are no longer in the log.

        Raises _RebuiltError when another process has rebuilt the rollup.
        """
        with tables.transaction(write=False):
            _check_generation(tables, generation)
            stored = tables.segments()
        changes = _changes(self.log.segments(), stored)
        if changes is None:
            return False
        if changes.unnamed:
            with tables.transaction(write=True):
                tables.remove_segments(changes.unnamed)
        steps = _Steps(changes.changed, stored, progress)
        while not self._read_segments(tables, generation, changes.changed, traffic, steps):
            pass  # another reader has stored some of it: go on from there
        with tables.transaction(write=False):
            _check_generation(tables, generation)
        return True

    @staticmethod
    def _read_segments(
        tables: Tables,
        generation: str,
        changed: Iterable[tuple[Segment, str]],
        traffic: bool | None,
        steps: _Steps,
    ) -> bool:
        """Read segments to their ends. Returns False when another reader has stored some of it meanwhile."""
        load = _Load(traffic)
        for segment, identity in changed:
            with tables.transaction(write=False):
                position = _state(tables, segment, identity).position
            load.start(segment, identity, position)
            for block in segment.blocks(position):
                load.take(identity, block)
                steps.at(segment, block.end)
                if load.full:
                    if not load.store(tables, generation):
                        return False
                    load = _Load(traffic)
                    load.start(segment, identity, block.end)
            load.end(identity)
            steps.end(segment)
        return load.store(tables, generation)


@dataclass(frozen=True, slots=True)
class _Changes:
    """The segments to read, with the identity of each, and stored states that are to be deleted."""

    changed: list[tuple[Segment, str]]
    unnamed: set[str]


def _changes(segments: list[Segment], stored: Mapping[str, SegmentState]) -> _Changes | None:
    """Compare segments with how far they were read. None when events that were counted are gone."""
    by_name = {state.name: state for state in stored.values()}
    names = {segment.name for segment in segments}
    live: set[str] = set()
    changed: list[tuple[Segment, str]] = []
    for segment in segments:
        known = by_name.get(segment.name)
        if known and (known.size, known.changed_ns) == (segment.size, segment.changed_ns):
            live.add(known.id)
            continue
        try:
            identity = segment.identity()
        except FileNotFoundError:  # removed since it was listed
            continue
        copy = f"{identity} {segment.name}"
        if identity is None:
            identity = f"{_UNNAMED}{segment.name}"
        elif known is not None and known.id == copy:
            identity = copy
        elif identity in live or (known is None and identity in stored and stored[identity].name in names):
            identity = copy  # a copy of another segment: their events have the same ids, and count once
        live.add(identity)
        if identity in stored and segment.shorter_than(stored[identity].position):
            return None
        changed.append((segment, identity))
    gone = stored.keys() - live
    # No event was counted of a segment whose first line was not whole yet.
    unnamed = {key for key in gone if key.startswith(_UNNAMED) and not stored[key].position}
    return _Changes(changed, unnamed) if gone == unnamed else None


@dataclass(slots=True)
class _Read:
    """What was read of a segment: from which position to which, and how many lines could not be used."""

    segment: Segment
    start: int
    end: int
    blocks: int = 0
    bad_lines: int = 0
    foreign_lines: int = 0
    torn: bool = False
    ended: bool = False

    def fits(self, state: SegmentState) -> bool:
        """Return whether no other reader has stored what was read here."""
        if self.blocks:
            return state.position == self.start
        return state.position >= self.start

    def added_to(self, state: SegmentState) -> SegmentState:
        """Return how far the segment is read now."""
        if self.blocks:
            state = state._replace(
                size=-1,
                position=self.end,
                bad_lines=state.bad_lines + self.bad_lines,
                foreign_lines=state.foreign_lines + self.foreign_lines,
                torn=int(self.torn),
            )
        if not self.ended:
            return state
        segment = self.segment
        return state._replace(name=segment.name, size=segment.size, changed_ns=segment.changed_ns)


class _Load:
    """What was read of one or several segments, to be stored in one transaction."""

    def __init__(self, traffic: bool | None) -> None:
        self._traffic = traffic
        self._read: dict[str, _Read] = {}
        self._events = Ingest()

    @property
    def full(self) -> bool:
        """Return whether there are enough events to store them."""
        return len(self._events) >= _LOAD_EVENTS

    def start(self, segment: Segment, identity: str, position: int) -> None:
        """Start to read a segment from a position."""
        self._read[identity] = _Read(segment, position, position)

    def end(self, identity: str) -> None:
        """Note that a segment was read to its present end."""
        self._read[identity].ended = True

    def take(self, identity: str, block: Block) -> None:
        """Add a block of a segment. A torn line is read again later."""
        read = self._read[identity]
        read.blocks += 1
        bad_lines = 0
        for start in range(0, len(block.lines), _LINES):
            valid, bad = records(block.lines[start : start + _LINES])
            kept = [record for record in valid if record["simulated"] is self._traffic]
            self._events.add(kept)
            bad_lines += bad
            if not block.torn or not bad:
                read.foreign_lines += len(valid) - len(kept)
        read.torn = block.torn and bad_lines > 0
        if not read.torn:
            read.bad_lines += bad_lines
            read.end = block.end

    def store(self, tables: Tables, generation: str) -> bool:
        """Store the load. Returns False, and stores nothing, when another reader has stored some of it.

        Raises _RebuiltError when the rollup was rebuilt: it may be for other traffic now.
        """
        with tables.transaction(write=True):
            _check_generation(tables, generation)
            states = {key: _state(tables, read.segment, key) for key, read in self._read.items()}
            if not all(read.fits(states[key]) for key, read in self._read.items()):
                return False
            self._events.store(tables)
            for key, read in self._read.items():
                tables.put_segment(read.added_to(states[key]))
        return True


_LOAD_EVENTS = 1 << 16
"""How many events are stored in one transaction."""

_LINES = 128
"""How many lines are parsed at once. Their records take much more memory than the sums made of them."""


class _Steps:
    """Reports how far the reading has come, in bytes on the disk."""

    def __init__(
        self,
        changed: Iterable[tuple[Segment, str]],
        stored: Mapping[str, SegmentState],
        progress: Progress | None,
    ) -> None:
        self._progress = progress
        self._left = {}
        for segment, identity in changed:
            state = stored.get(identity)
            self._left[segment.name] = max(0, segment.size - (state.position if state else 0))
        self._whole = sum(self._left.values())

    def at(self, segment: Segment, position: int) -> None:
        self._report(segment, max(0, segment.size - position))

    def end(self, segment: Segment) -> None:
        self._report(segment, 0)

    def _report(self, segment: Segment, left: int) -> None:
        self._left[segment.name] = min(self._left[segment.name], left)
        if self._progress is not None:
            self._progress(self._whole - sum(self._left.values()), self._whole)


class _RebuiltError(Exception):
    """Another process has rebuilt the rollup."""


def _check_generation(tables: Tables, generation: str) -> None:
    if tables.facts().get("generation") != generation:
        raise _RebuiltError


def _state(tables: Tables, segment: Segment, identity: str) -> SegmentState:
    return tables.segment(identity) or SegmentState(identity, segment.name, -1, 0, 0, 0, 0, 0)
