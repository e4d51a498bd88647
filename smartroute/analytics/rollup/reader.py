"""Query a log's rollup. Where none can be kept, say so once, so that callers scan the log instead."""

from __future__ import annotations

import logging
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Protocol, TypeVar

from smartroute.analytics.rollup.file_rollup import FileRollup
from smartroute.analytics.rollup.jsonl_log import JsonlLog
from smartroute.analytics.rollup.sql_rollup import SqlRollup
from smartroute.errors import ConfigError, SinkError
from smartroute.sinks import JsonlSource, SqlSource

if TYPE_CHECKING:
    from smartroute.analytics.rollup.log import Log, Progress
    from smartroute.protocols import EventSource

T = TypeVar("T")
_log = logging.getLogger("smartroute")


class Rollup(Protocol):
    """The rollup of a log, of files or in a database."""

    @property
    def log(self) -> Log:
        """The log that this is the rollup of."""

    def ask(self, question: Callable[[Log], T], progress: Progress | None = None) -> T:
        """Read what is new, and return the answer. Raises one of the log's `failures` where it cannot."""

    def rebuild(self, progress: Progress | None = None) -> None:
        """Delete all sums, and read the whole log again. Raises what `ask` does."""


class RollupReader:
    """Queries the rollup of a source, and brings it up to date before each query.

    Where it cannot be kept, in a read-only folder for instance, a query returns None, and its caller reads
    the log. A damaged rollup is rebuilt.
    """

    def __init__(self, rollup: Rollup) -> None:
        self._rollup = rollup
        self._warned = False

    @classmethod
    def of(cls, source: EventSource) -> RollupReader | None:
        """Return a reader of a source's rollup, None for a kind of source that has no rollup."""
        if isinstance(source, JsonlSource):
            return cls(FileRollup(JsonlLog(source.path)))
        return cls(SqlRollup(source.schema)) if isinstance(source, SqlSource) else None

    def ask(self, question: Callable[[Log], T], progress: Progress | None = None) -> T | None:
        """Return the answer of an up-to-date rollup, None where none can be kept.

        Raises SinkError when the log goes away meanwhile.
        """
        log = self._rollup.log
        if not log.exists():
            return None
        try:
            try:
                return self._rollup.ask(question, progress)
            except _DAMAGE as error:
                if not _is_damage(error):
                    raise
                log.discard()
                return self._rollup.ask(question, progress)
        except log.failures as error:
            # Reading the log in full would now find no events, and report figures of zero.
            if not log.exists():
                raise SinkError(f"{log} went away while it was read") from error
            if not self._warned:
                self._warned = True
                _log.warning(
                    "%s is read in full for every query, because no rollup can be kept of it: %s", log, error
                )
            return None

    def catch_up(self, progress: Progress | None = None, *, rebuild: bool = False) -> bool:
        """Read what is new, or everything again. Returns False where no rollup can be kept."""
        log = self._rollup.log
        if rebuild and log.exists():
            failures: tuple[type[Exception], ...] = (*log.failures, *_DAMAGE)
            try:
                self._rollup.rebuild(progress)
            except failures as error:
                if _is_damage(error):
                    log.discard()
        return self.ask(lambda _: True, progress) is not None

    def unreadable(self) -> tuple[int, int] | None:
        """Return how many lines could not be read, and how many mix simulated with real traffic."""
        return self.ask(_unreadable)


_DAMAGE: tuple[type[Exception], ...] = (
    sqlite3.DatabaseError,
    struct.error,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
)
"""The exceptions that damaged numbers and texts lead to, besides those that SQLite raises itself."""

_UNAVAILABLE = frozenset(
    (
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT),
        *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH),
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM),
    )
)
"""The errors of a database that is sound but cannot be used at the moment.

A disk error (SQLITE_IOERR) is not among them, because a truncated file leads to the same.
"""


def _is_damage(error: BaseException) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        # The low byte is the primary code, without what an extended code adds to it.
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF not in _UNAVAILABLE
    return isinstance(error, _DAMAGE) and not isinstance(error, OSError | ConfigError)


def _unreadable(log: Log) -> tuple[int, int]:
    with closing(log.connect()) as tables, tables.transaction(write=False):
        states = tables.segments().values()
    return sum(s.bad_lines + s.torn for s in states), sum(s.foreign_lines for s in states)
