"""Write events to a database: PostgreSQL for many hosts, SQLite in one file. Needs the extra `sql`."""

from __future__ import annotations

import logging
import os
import signal
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from smartroute.concurrency.background import Background, Retry, finish
from smartroute.concurrency.forks import after_fork
from smartroute.errors import SinkError
from smartroute.events.event import Event
from smartroute.number_checks import checked_number, checked_whole
from smartroute.sinks.jsonl_source import recover
from smartroute.sinks.losses import Losses
from smartroute.sinks.sql_schema import COLUMNS, Schema, engine_for, printable_url
from smartroute.unicode import well_formed

_log = logging.getLogger("smartroute")
_RETRY = Retry(first_s=0.2, longest_s=10.0)
_STOP_S = 5.0


class SqlSink:
    """A sink that writes events in batches, on a thread of its own.

    `emit` only queues, and neither waits for the database nor raises. An event is acknowledged when the
    commit of its batch returned; `flush` waits for that. Each id is stored once. A batch is written when
    `batch` events wait, or `linger_s` seconds after the first of them. While the database is away events
    wait, at most `most_pending` of them; then the newest are lost, counted and logged.

    What waits is written at exit, and when SIGTERM ends the process. For that the main thread sets the
    handler of SIGTERM: with the sink where there was none, and with the first event otherwise. It calls the
    handler that it replaced. `simulated` declares what the log is for; None leaves it to the first event.

    `url` is SQLAlchemy's: "postgresql://user:password@host/base", "sqlite:///events.sqlite".
    Raises ImportError naming the extra, and ConfigError for an invalid url or number.
    """

    def __init__(
        self,
        url: str,
        *,
        simulated: bool | None = None,
        batch: int = 500,
        linger_s: float = 0.5,
        most_pending: int = 100_000,
    ) -> None:
        checked_whole(batch, "batch", least=1)
        checked_number(linger_s, "linger_s", least=0)
        checked_whole(most_pending, "most_pending", least=1)
        self._engine = engine_for(url)
        self._schema = Schema(self._engine)
        self._simulated = simulated
        self._queue = Background(
            self._write,
            self._lose,
            name="smartroute-sql",
            pending=most_pending,
            batch=batch,
            linger_s=linger_s,
            retry=_RETRY,
            wording=f"events still wait for {printable_url(self._engine)}",
        )
        self._reset()
        after_fork(self, SqlSink._after_fork)
        _sinks.add(self)
        _catch_sigterm(only_default=True)

    def _reset(self) -> None:
        # Reentrant, for the handler of a signal may flush while its own thread counts a loss.
        self._lock = threading.RLock()
        self._losses = Losses()
        self._ready = False
        self._holds: bool | None = None
        self._failing = False

    def emit(self, event: Event) -> None:
        """Queue the event. Returns at once."""
        if self._queue.put(event):
            _catch_sigterm()

    @property
    def lost(self) -> int:
        """Return how many events this process could not keep."""
        return self._losses.count

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until every event is committed. Raises SinkError when it takes longer, or some were lost.

        Where no thread can start (Python 3.12 starts none at exit) this one writes, and a batch that fails is
        an error at once.
        """
        self._queue.flush(timeout_s)
        with self._lock:
            self._losses.report()

    def close(self) -> None:
        """Write what waits, and close the connection. The next event opens it again."""
        try:
            if not self._queue.idle:
                self.flush()
        finally:
            self._queue.stop(_STOP_S)
            self._engine.dispose()
            self._ready = False

    def _lose(self, event: Event, why: str) -> None:
        with self._lock:
            self._losses.add(f"{why} for {printable_url(self._engine)}")

    def _write(self, events: Sequence[Event]) -> None:
        """Commit a batch. Whatever a driver raises passes through, and the events wait for it to pass."""
        try:
            strangers = self._commit(events)
        except Exception as error:
            self._ready = False  # the database may come back without its tables
            if not self._failing:
                # A driver's message may hold a password.
                reason = str(error) if isinstance(error, SinkError) else type(error).__name__
                _log.warning("events wait: %s (%s)", printable_url(self._engine), reason)
            self._failing = True
            raise
        self._failing = False
        with self._lock:
            for _ in range(strangers):
                word = "real" if self._holds is False else "simulated"
                self._losses.add(
                    f"{printable_url(self._engine)} holds {word} events and this one is not; use another "
                    "database for it"
                )
            if not strangers and self._losses.spell:
                self._losses.end_spell()

    def _commit(self, events: Sequence[Event]) -> int:
        """Commit a batch; return how many of it are of the other traffic, and were left out."""
        if not self._ready:
            self._schema.migrate()
            declared = events[0].simulated if self._simulated is None else self._simulated
            self._holds = self._schema.settle(declared)
            self._ready = True
        rows = [_row(event) for event in events if event.simulated is self._holds]
        if rows:
            self._insert(rows)
        return len(events) - len(rows)

    def _insert(self, rows: Sequence[dict[str, Any]]) -> None:
        """Commit rows. One that the database will never take must not hold up the others: it is lost."""
        try:
            self._schema.insert(rows)
        except self._schema.refusals as error:
            if len(rows) == 1:
                with self._lock:
                    self._losses.add(f"{printable_url(self._engine)} refuses it: {type(error).__name__}")
                return
            for row in rows:
                self._insert([row])

    def _after_fork(self) -> None:
        """Start afresh in a forked child, whose queue is empty: what waits is the parent's to write."""
        self._engine.dispose(close=False)
        self._reset()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"SqlSink({printable_url(self._engine)!r})"


class SqlSource:
    """The events of a database, oldest first. One without tables yet has none.

    `url` is as for `SqlSink`.
    """

    def __init__(self, url: str) -> None:
        self._engine = engine_for(url)
        self.schema = Schema(self._engine)
        self.bad_lines = 0
        self.foreign_lines = 0

    def events(self) -> Iterator[Event]:
        """Yield the events, in constant memory. Raises SinkError when the database cannot be read.

        After a pass `bad_lines` says how many rows hold no event, and `foreign_lines` how many were skipped
        for mixing simulated with real traffic: the sink writes neither.
        """
        from sqlalchemy.exc import SQLAlchemyError

        self.bad_lines = self.foreign_lines = 0
        try:
            holds = self.schema.traffic() if self.schema.version() else None
            for line in self.schema.lines():
                for event in self._read(line):
                    if event.simulated is holds:
                        yield event
                    else:
                        self.foreign_lines += 1
        except SQLAlchemyError as error:
            raise self._unreadable(error) from error

    def _read(self, line: str) -> Iterable[Event]:
        try:
            return (Event.from_line(line),)
        except SinkError:
            self.bad_lines += bool(line.strip())
            return recover(line.encode())

    def check(self) -> None:
        """Raise SinkError when the database cannot be reached, or has no log that can be read."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            version = self.schema.version()
        except SQLAlchemyError as error:
            raise self._unreadable(error) from error
        if not version:
            raise SinkError(f"there is no log at {printable_url(self._engine)}; route a request first")

    def _unreadable(self, error: Exception) -> SinkError:
        cure = (
            "check that the server answers there, and that this user may read it"
            if self.schema.postgres
            else "check that the file is an SQLite database, and that this user may read it"
        )
        return SinkError(
            f"the log at {printable_url(self._engine)} cannot be read: {type(error).__name__}; {cure}"
        )

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def __repr__(self) -> str:
        return f"SqlSource({self.address!r})"

    @property
    def address(self) -> str:
        """Where the database is, without a password."""
        return printable_url(self._engine)


def _row(event: Event) -> dict[str, Any]:
    row = {name: getattr(event, name) for name in COLUMNS if name != "line"}
    row["line"] = event.to_line().decode().rstrip("\n")
    # PostgreSQL's text holds no NUL; in the line JSON writes one as an escape.
    return {
        name: well_formed(value).replace("\0", "\ufffd") if isinstance(value, str) else value
        for name, value in row.items()
    }


_sinks: weakref.WeakSet[SqlSink] = weakref.WeakSet()
_handler: Callable[[int, Any], None] | None = None


def _catch_sigterm(*, only_default: bool = False) -> None:
    """Have SIGTERM write what waits before it does what it did. Only the main thread may set handlers.

    Each handler calls the one that it replaced, so that an application's own, set before or between,
    is called once. One that is set without Python cannot be called, and is left alone.
    """
    global _handler
    if threading.current_thread() is not threading.main_thread():
        return
    before: Any = signal.getsignal(signal.SIGTERM)
    if before is None or before is _handler or (only_default and before != signal.SIG_DFL):
        return

    def flush_and_pass_on(number: int, frame: Any) -> None:
        finish([sink._queue for sink in list(_sinks)])
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    _handler = flush_and_pass_on
    signal.signal(signal.SIGTERM, _handler)
