"""Ask a log's rollup where there is one that can be kept, and say so where there is not."""

from __future__ import annotations

import logging
import sqlite3
import struct
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, TypeVar

from smartroute.analytics.rollup.file_rollup import Rollup
from smartroute.analytics.rollup.lines import JsonlLog
from smartroute.analytics.rollup.sql_rollup import SqlRollup
from smartroute.errors import ConfigError, SinkError
from smartroute.sinks import JsonlSource, SqlSource

if TYPE_CHECKING:
    from smartroute.analytics.rollup.file_rollup import Keeper, Log, Progress
    from smartroute.protocols import EventSource

T = TypeVar("T")
_log = logging.getLogger("smartroute")


class Rolled:
    """The rollup of a source, brought up to date before every question.

    Where it cannot be kept (in a folder that may only be read, say) a question finds None: whoever asked
    then reads the log. One that is damaged is made anew.
    """

    def __init__(self, rollup: Keeper) -> None:
        self._rollup = rollup
        self._warned = False

    @classmethod
    def of(cls, source: EventSource) -> Rolled | None:
        """Return the rollup of a source, None for one that has none."""
        if isinstance(source, JsonlSource):
            return cls(Rollup(JsonlLog(source.path)))
        return cls(SqlRollup(source.schema)) if isinstance(source, SqlSource) else None

    def ask(self, question: Callable[[Log], T], progress: Progress | None = None) -> T | None:
        """Return the answer of a rollup that is up to date, None where none can be kept.

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
            if not log.exists():  # to read it in full would be to find nothing, and to say so
                raise SinkError(f"{log} went away while it was read") from error
            if not self._warned:
                self._warned = True
                _log.warning(
                    "%s is read in full for every question, for no rollup can be kept of it: %s", log, error
                )
            return None

    def catch_up(self, progress: Progress | None = None, *, anew: bool = False) -> bool:
        """Read what is new, or everything anew. Returns False where no rollup can be kept."""
        log = self._rollup.log
        if anew and log.exists():
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
"""What comes of rubbish where numbers and texts should be, besides what SQLite finds itself."""

_AWAY = frozenset(
    (
        *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_INTERRUPT),
        *(sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH),
        *(sqlite3.SQLITE_FULL, sqlite3.SQLITE_NOMEM),
    )
)
"""The errors of a database that is sound and cannot be used just now.

A disk's own (SQLITE_IOERR) is not among them, for a file that was cut gives the same.
"""


def _is_damage(error: BaseException) -> bool:
    if isinstance(error, sqlite3.OperationalError):
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF not in _AWAY
    return isinstance(error, _DAMAGE) and not isinstance(error, OSError | ConfigError)


def _unreadable(log: Log) -> tuple[int, int]:
    with closing(log.connect()) as tables, tables.transaction(write=False):
        stored = tables.segments().values()
    return sum(s.bad_lines + s.torn for s in stored), sum(s.foreign_lines for s in stored)
