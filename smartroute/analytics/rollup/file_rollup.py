"""Keep the sums of a log beside it, so that a question need not read the log: only what is new in it."""

from __future__ import annotations

import errno
import secrets
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from smartroute.analytics.rollup.ingest import Events
from smartroute.analytics.rollup.lines import records
from smartroute.analytics.rollup.log import Block, Part
from smartroute.analytics.rollup.tables import VERSION, Stored, Tables

T = TypeVar("T")

Progress: TypeAlias = Callable[[int, int], None]
"""Called with how much of what is new has been read, and how much there is."""

_UNNAMED = "? "
_MOST_BEGINNINGS = 10
_TOO_FAST = "the log or its rollup changes faster than it is read"


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
        while not self._read_parts(tables, begun, changed, traffic, steps):
            pass  # another reader has come in between: go on from where that is
        with tables.transaction(write=False):
            _check_begun(tables, begun)
        return True

    @staticmethod
    def _read_parts(
        tables: Tables,
        begun: str,
        changed: Iterable[tuple[Part, str]],
        traffic: bool | None,
        steps: _Steps,
    ) -> bool:
        """Read parts to their ends. Returns False when another reader has come in between."""
        load = _Load(traffic)
        for part, identity in changed:
            with tables.transaction(write=False):
                position = _stored(tables, part, identity).position
            load.begin(part, identity, position)
            for block in part.blocks(position):
                load.take(identity, block)
                steps.at(part, block.end)
                if load.full:
                    if not load.store(tables, begun):
                        return False
                    load = _Load(traffic)
                    load.begin(part, identity, block.end)
            load.end(identity)
            steps.done(part)
        return load.store(tables, begun)


@dataclass(slots=True)
class _Read:
    """What was read of a part: from where to where, and what could not be used."""

    part: Part
    start: int
    end: int
    blocks: int = 0
    bad_lines: int = 0
    foreign_lines: int = 0
    torn: bool = False
    ended: bool = False

    def fits(self, stored: Stored) -> bool:
        """Return whether nobody else has read on in it, or begun it anew."""
        if self.blocks:
            return stored.position == self.start
        return stored.position >= self.start

    def added_to(self, stored: Stored) -> Stored:
        """Return how far the part is read now."""
        if self.blocks:
            stored = stored._replace(
                size=-1,
                position=self.end,
                bad_lines=stored.bad_lines + self.bad_lines,
                foreign_lines=stored.foreign_lines + self.foreign_lines,
                torn=int(self.torn),
            )
        if not self.ended:
            return stored
        return stored._replace(name=self.part.name, size=self.part.size, changed_ns=self.part.changed_ns)


class _Load:
    """What was read of one or several parts, to be stored in one transaction."""

    def __init__(self, traffic: bool | None) -> None:
        self._traffic = traffic
        self._read: dict[str, _Read] = {}
        self._events = Events()

    @property
    def full(self) -> bool:
        """Return whether it is time to store it."""
        return len(self._events) >= _LOAD

    def begin(self, part: Part, identity: str, position: int) -> None:
        """Go on in a part from a position."""
        self._read[identity] = _Read(part, position, position)

    def end(self, identity: str) -> None:
        """Note that a part is read up to what it is now."""
        self._read[identity].ended = True

    def take(self, identity: str, block: Block) -> None:
        """Add a block of a part. A torn line is looked at again later."""
        read = self._read[identity]
        read.blocks += 1
        all_bad = 0
        for start in range(0, len(block.lines), _LINES):
            found, bad = records(block.lines[start : start + _LINES])
            kept = [record for record in found if record["simulated"] is self._traffic]
            self._events.add(kept)
            all_bad += bad
            if not block.torn or not bad:
                read.foreign_lines += len(found) - len(kept)
        read.torn = block.torn and all_bad > 0
        if not read.torn:
            read.bad_lines += all_bad
            read.end = block.end

    def store(self, tables: Tables, begun: str) -> bool:
        """Store it, unless another reader has stored some of it meanwhile: then return False.

        Raises _BegunAnewError when the rollup was begun anew: it may be for other traffic now.
        """
        with tables.transaction(write=True):
            _check_begun(tables, begun)
            stored = {each: _stored(tables, read.part, each) for each, read in self._read.items()}
            if not all(read.fits(stored[each]) for each, read in self._read.items()):
                return False
            self._events.store(tables)
            for each, read in self._read.items():
                tables.put_segment(read.added_to(stored[each]))
        return True


_LOAD = 1 << 16
"""How many events are stored at once."""

_LINES = 128
"""How many lines are taken apart at once. What they become is small; what they are in between is not."""


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
