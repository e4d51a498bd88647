"""Keep events in a database: PostgreSQL for many hosts, SQLite in one file. Needs the extra `sql`."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self

from smartroute.concurrency.threads import start_thread
from smartroute.errors import ConfigError, SinkError
from smartroute.events.event import Event
from smartroute.sinks.jsonl_source import recover
from smartroute.sinks.losses import Losses
from smartroute.sinks.sql_schema import COLUMNS, Schema, engine_for, printable_url
from smartroute.unicode import well_formed

_log = logging.getLogger("smartroute")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0
_AT_EXIT_S = 10.0


class SqlSink:
    """A sink whose events a thread of its own writes, in batches.

    `emit` only queues, and never waits for the database nor raises. An event is acknowledged when the commit
    of its batch returned; `flush` waits for that. Each id is stored once. While the database is away events
    wait, at most `most_pending` of them; then the newest are lost, counted and said. What waits is written
    at exit, and when SIGTERM ends the process: the main thread sets its handler, with the sink where there
    was none and with the first event otherwise, and it goes on to the one that was there. `simulated`
    declares what the log is for; None leaves it to the first event.

    `url` is SQLAlchemy's: "postgresql://user:password@host/base", "sqlite:///events.sqlite".
    Raises ImportError naming the extra, and ConfigError for a url that is none.
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
        if batch < 1 or most_pending < 1 or linger_s < 0:
            raise ConfigError(
                f"batch and most_pending must be at least 1 and linger_s at least 0, got {batch!r}, "
                f"{most_pending!r} and {linger_s!r}"
            )
        self._engine = engine_for(url)
        self._schema = Schema(self._engine)
        self._simulated = simulated
        self._batch = batch
        self._linger_s = linger_s
        self._most_pending = most_pending
        self._begin()
        _sinks.add(self)
        _catch_sigterm(only_default=True)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._pending: deque[Event] = deque()
        self._losses = Losses()
        self._thread: threading.Thread | None = None
        self._hurried = False
        self._closing = False
        self._ready = False
        self._holds: bool | None = None
        self._waits_because = ""

    def emit(self, event: Event) -> None:
        """Queue the event. Returns at once."""
        with self._changed:
            if len(self._pending) >= self._most_pending:
                self._losses.add(f"{len(self._pending)} events are waiting for {printable_url(self._engine)}")
                return
            self._pending.append(event)
            if len(self._pending) == 1 or len(self._pending) >= self._batch:
                self._changed.notify_all()
            if not self._works():
                self._closing = False
                try:
                    self._thread = start_thread(self._work, "smartroute-sql")
                except RuntimeError as error:  # no more threads, or the interpreter is ending: a flush writes
                    if not self._waits_because:
                        _log.warning("no thread writes: events wait for a flush or the exit: %s", error)
                    self._waits_because = ": no thread writes"
                _catch_sigterm()

    @property
    def lost(self) -> int:
        """Return how many events this process could not keep."""
        return self._losses.count

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until every event is committed. Raises SinkError when it takes longer, or some were lost.

        Where no thread writes (Python 3.12 begins none at exit) this one does, and a batch that fails is an
        error at once.
        """
        ends = time.monotonic() + timeout_s
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
        while True:
            with self._changed:
                if not self._pending:
                    self._losses.report()
                    return
                left_s = ends - time.monotonic()
                if left_s <= 0:
                    raise self._waiting()
                if self._works():
                    self._changed.wait(min(left_s, 0.5))
                    continue
                self._thread = threading.current_thread()
                self._hurried = True
                batch = self._next_batch()
            try:
                strangers = self._write(batch)
            except Exception as error:  # noqa: BLE001  whatever a driver raises
                self._failed(error)
                raise self._waiting() from None
            else:
                self._settle(len(batch), strangers)
            finally:
                self._thread = None

    def _works(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _waiting(self) -> SinkError:
        return SinkError(
            f"{len(self._pending)} events still wait for {printable_url(self._engine)}{self._waits_because}"
        )

    def close(self) -> None:
        """Write what waits, and let the connection go. The next event opens it again."""
        try:
            if self._pending:
                self.flush()
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()
                thread = self._thread
            if thread is not None and thread is not threading.current_thread():
                thread.join(5.0)
            self._engine.dispose()
            self._ready = False

    def _work(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            batch = self._next_batch()
            if not batch:
                return
            try:
                strangers = self._write(batch)
            except Exception as error:  # noqa: BLE001  whatever a driver raises; the events wait for it to pass
                reason = self._failed(error)
                if pause_s == _FIRST_PAUSE_S:
                    _log.warning("events wait: %s (%s)", printable_url(self._engine), reason)
                with self._changed:
                    if self._closing:
                        return
                    self._changed.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                pause_s = _FIRST_PAUSE_S
                self._settle(len(batch), strangers)

    def _next_batch(self) -> list[Event]:
        """Wait for a batch to fill, or to linger; none when the sink is closing and nothing is left."""
        with self._changed:
            while not self._pending and not self._closing:
                self._hurried = False
                self._changed.wait()
            ends = time.monotonic() + self._linger_s
            while len(self._pending) < self._batch and not self._closing and not self._hurried:
                left_s = ends - time.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(left_s)
            return [self._pending[place] for place in range(min(self._batch, len(self._pending)))]

    def _failed(self, error: Exception) -> str:
        """Note and return why a batch was not written, in our words: a driver's may hold a password."""
        self._ready = False  # the database may come back without its tables
        reason = str(error) if isinstance(error, SinkError) else type(error).__name__
        self._waits_because = f": {reason}"
        return reason

    def _settle(self, n: int, strangers: int) -> None:
        """Take the written events off the queue, and count those that the log does not take."""
        with self._changed:
            self._waits_because = ""
            for _ in range(n):
                self._pending.popleft()
            for _ in range(strangers):
                word = "real" if self._holds is False else "simulated"
                self._losses.add(
                    f"{printable_url(self._engine)} holds {word} events and this one is not; use another "
                    "database for it"
                )
            if not strangers and self._losses.spell:
                self._losses.end_spell()
            self._changed.notify_all()

    def _write(self, batch: Sequence[Event]) -> int:
        """Commit a batch; return how many of it are of the other traffic, and were left out."""
        if not self._ready:
            self._schema.migrate()
            declared = batch[0].simulated if self._simulated is None else self._simulated
            self._holds = self._schema.settle(declared)
            self._ready = True
        rows = [_row(event) for event in batch if event.simulated is self._holds]
        if rows:
            self._insert(rows)
        return len(batch) - len(rows)

    def _insert(self, rows: Sequence[dict[str, Any]]) -> None:
        """Commit rows. One that the database will never take must not hold up the others: it is lost."""
        try:
            self._schema.insert(rows)
        except self._schema.refusals as error:
            if len(rows) == 1:
                with self._changed:
                    self._losses.add(f"{printable_url(self._engine)} refuses it: {type(error).__name__}")
                return
            for row in rows:
                self._insert([row])

    def _after_fork(self) -> None:
        """Begin anew in a forked child: what waits is the parent's to write."""
        self._engine.dispose(close=False)
        self._begin()

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
            found = self.schema.version()
        except SQLAlchemyError as error:
            raise self._unreadable(error) from error
        if not found:
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
        """Let the connections go."""
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


def _flush_all() -> None:
    for sink in list(_sinks):
        try:
            if sink._pending:
                sink.flush(_AT_EXIT_S)
        except SinkError as error:
            _log.warning("at exit: %s", error)


def _after_fork_in_child() -> None:
    for sink in list(_sinks):
        sink._after_fork()


atexit.register(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)

_handler: Callable[[int, Any], None] | None = None


def _catch_sigterm(*, only_default: bool = False) -> None:
    """Have SIGTERM write what waits before it does what it did. Only the main thread may set handlers.

    Each handler goes on to the one that it found, so that an application's own, set before or between,
    is called once. One that is set without Python cannot be called, and is left alone.
    """
    global _handler
    if threading.current_thread() is not threading.main_thread():
        return
    before: Any = signal.getsignal(signal.SIGTERM)
    if before is None or before is _handler or (only_default and before != signal.SIG_DFL):
        return

    def flush_and_go_on(number: int, frame: Any) -> None:
        _flush_all()
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

    _handler = flush_and_go_on
    signal.signal(signal.SIGTERM, _handler)
