"""Keep the sums of a log in a database in tables of the same database, and query them in one transaction.

The difficult part is how far a log was read, because on PostgreSQL rows become visible in another order than
they were numbered in: one writer takes number 7, another takes 8 and commits, and a reader that then notes
"read up to 8" never sees 7. So on PostgreSQL a position is not a number, but a snapshot. Every row carries
the transaction that wrote it (`xact`, of 64 bits, never used again), and a snapshot S shows of any
transaction whether it had ended when S was taken. Let V(S) be the committed rows whose transaction had ended
at S. A transaction that has ended stays ended, so V(S) only grows. A pass takes a snapshot `target`, and
counts the rows in V(target) that are not in V(seen), where `seen` is the target of the pass before; then
`target` becomes `seen`. The rows of different passes are disjoint, and together they are V of the last
target: every committed row counts once, however long its transaction took, and no pass waits for any. A pass
is read in pages, in the order (xact, id); what it has to read is fixed by its two snapshots, so a page may be
read in any later transaction and by any reader. A page's sums and the position after it are committed
together, under a lock that one reader has at a time; a reader that was interrupted has changed nothing.

The index on (xact, id) leads to what is new: a pass looks only at rows written since the oldest transaction
that was open at `seen`. On SQLite one transaction writes at a time, and gives its rows numbers above all that
were ever used; there "above the last row read" is right, and a position is that number.

A rollup is rebuilt when rows were removed or changed (the log's triggers count that), when its layout is of
another version, and when this is not the database that it was kept in, but one restored from a dump of it,
where other transactions had these numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from smartroute.analytics.rollup.ingest import Ingest
from smartroute.analytics.rollup.lines import records
from smartroute.analytics.rollup.tables import VERSION, SegmentState, Tables
from smartroute.errors import SinkError
from smartroute.sinks.sql_schema import printable_url

if TYPE_CHECKING:
    from smartroute.analytics.rollup.log import Log, Progress
    from smartroute.sinks.sql_schema import Schema

T = TypeVar("T")

PAGE_EVENTS = 5_000
_ATTEMPTS = 5
_TABLE = "smartroute_events"


class Position(NamedTuple):
    """How far a log was read: all of `seen`, and the rows of the pass to `target` up to and with `after`.

    Without a `target` no pass is open.
    """

    seen: str = ""
    target: str = ""
    after: Sequence[str] = ()


class LogTable(Protocol):
    """The log's table in one kind of database. Every method runs inside a transaction."""

    def identity(self) -> str:
        """Return a text that changes when the rollup no longer matches these rows."""

    def adopt_rows(self) -> None:
        """Make rows that were restored from another database valid in this one."""

    def target(self) -> str:
        """Return the `target` of a pass that starts now."""

    def has_new(self, position: Position) -> bool:
        """Return whether there are rows that are not in `seen`."""

    def left(self, position: Position) -> int:
        """Return how many rows the open pass has still to read."""

    def page(self, position: Position) -> list[tuple[Sequence[str], str]]:
        """Return the next rows of the open pass: the position of each (`after`), and its line."""


class SqlLog:
    """A log in a database, with its rollup's tables beside it."""

    def __init__(self, schema: Schema) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        self.schema = schema
        driver: Any = schema.engine.dialect.dbapi
        self.failures: tuple[type[Exception], ...] = (driver.Error, SQLAlchemyError, _UnsettledError)

    def __str__(self) -> str:
        return f"the log at {printable_url(self.schema.engine)}"

    def exists(self) -> bool:
        """Return whether there is a log. False where the database fails: reading it raises the reason."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return self.schema.version() > 0
        except (SQLAlchemyError, SinkError):
            return False

    def discard(self) -> None:
        """Delete a damaged rollup."""
        with closing(self.connect()) as tables, tables.transaction(write=True):
            tables.clear()

    def traffic(self) -> bool | None:
        """Return whether the log holds simulated events, None when it holds no events."""
        return self.schema.traffic()

    def connect(self) -> Tables:
        """Return the rollup's tables on a new connection, which the caller closes."""
        return self.tables(self.schema.engine.raw_connection())

    def tables(self, connection: Any) -> Tables:
        """Return the rollup's tables on a connection."""
        return Tables(connection, postgres=self.schema.postgres)


class SqlRollup:
    """The rollup of a log in a database. Any number of processes may keep and query it at the same time."""

    def __init__(self, schema: Schema) -> None:
        self.log = SqlLog(schema)

    def ask(self, question: Callable[[Log], T], progress: Progress | None = None) -> T:
        """Return the answer of a rollup that has every event that was committed before the call.

        The question is asked in the transaction that saw the rollup complete. Where nothing is new nothing
        is written, so a role that may only read gets an answer too. Raises the database's errors when the
        tables cannot be kept.
        """
        traffic = self.log.traffic()
        self.log.schema.migrate()
        with closing(self.log.schema.engine.raw_connection()) as connection:
            tables, log_table = self.log.tables(connection), self._log_table(connection)
            for attempt in range(_ATTEMPTS):
                with tables.transaction(write=False):
                    facts = self._facts(log_table, traffic)
                    stored = tables.facts()
                    if stored.items() >= facts.items() and stored["complete"] == "True":
                        position = _position(stored)
                        read_on = attempt == 0 and (position.target or log_table.has_new(position))
                        if not read_on:
                            return question(_LogSnapshot(self.log, connection, traffic))
                self._read_on(tables, log_table, traffic, progress)
        raise _UnsettledError("events are removed from it faster than it can be read")

    def rebuild(self, progress: Progress | None = None) -> None:
        """Delete all sums, and read the whole log again. Raises what `ask` does."""
        self.log.discard()
        self.ask(lambda _: None, progress)

    def _log_table(self, connection: Any) -> LogTable:
        return _Postgres(connection) if self.log.schema.postgres else _Sqlite(connection)

    @staticmethod
    def _facts(log_table: LogTable, traffic: bool | None) -> dict[str, str]:
        return {"version": str(VERSION), "traffic": str(traffic), "log": log_table.identity()}

    def _read_on(
        self, tables: Tables, log_table: LogTable, traffic: bool | None, progress: Progress | None
    ) -> None:
        """Read until a pass has ended that started after this call did."""
        whole = read = 0
        started_here = False  # another reader may have left a pass unfinished, which started earlier
        while True:
            with tables.transaction(write=True):
                facts = self._facts(log_table, traffic)
                stored = tables.facts()
                if not stored.items() >= facts.items():
                    tables.clear()
                    log_table.adopt_rows()
                    tables.note(**facts, complete="False", position=json.dumps(Position()))
                    continue
                position = _position(stored)
                if not position.target:
                    started_here = True
                    position = position._replace(target=log_table.target())
                if progress is not None and not whole:
                    whole = log_table.left(position)
                rows = log_table.page(position)
                self._take(tables, facts["log"], [line for _, line in rows], traffic)
                ended = len(rows) < PAGE_EVENTS
                position = Position(position.target) if ended else position._replace(after=rows[-1][0])
                complete = ended or stored["complete"] == "True"
                tables.note(position=json.dumps(position), complete=str(complete))
            read += len(rows)
            if progress is not None and whole:
                progress(whole if ended and started_here else min(read, whole), whole)
            if ended and started_here:
                return

    @staticmethod
    def _take(tables: Tables, identity: str, lines: Sequence[str], traffic: bool | None) -> None:
        valid, bad = records(line.encode() for line in lines)
        events = Ingest()
        events.add(kept := [record for record in valid if record["simulated"] is traffic])
        events.store(tables)
        state = tables.segment(identity) or SegmentState(identity, _TABLE, 0, 0, 0, 0, 0, 0)
        read = state.position + len(lines)
        tables.put_segment(
            state._replace(
                size=read,
                position=read,
                bad_lines=state.bad_lines + bad,
                foreign_lines=state.foreign_lines + len(valid) - len(kept),
            )
        )


class _UnsettledError(Exception):
    """Rows were removed each time that the rollup was read, so that it was never complete."""


class _LogSnapshot:
    """A log as one open transaction sees it. Its tables start and end no transaction of their own."""

    def __init__(self, log: SqlLog, connection: Any, traffic: bool | None) -> None:
        self._log = log
        self._connection = connection
        self._traffic = traffic
        self.failures = log.failures

    def exists(self) -> bool:
        return True

    def discard(self) -> None:
        self._log.discard()

    def traffic(self) -> bool | None:
        return self._traffic

    def connect(self) -> Tables:
        return _OpenTables(self._connection, postgres=self._log.schema.postgres)


class _OpenTables(Tables):
    """Tables on a connection that has an open transaction already, and that the caller closes."""

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[None]:
        yield

    def close(self) -> None:
        pass


def _position(facts: dict[str, str]) -> Position:
    return Position(*json.loads(facts["position"]))


def _rows(connection: Any, sql: str, values: Sequence[Any] = ()) -> list[Any]:
    cursor = connection.cursor()
    cursor.execute(sql, values)
    return list(cursor.fetchall())


class _Postgres:
    """A position is a snapshot, and a position within a pass is a transaction and an id."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def identity(self) -> str:
        """Return the server, the database, the table, and how often rows were removed."""
        [(name,)] = _rows(
            self._connection,
            "SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), "
            "(SELECT oid FROM pg_database WHERE datname = current_database()), "
            f"CAST('{_TABLE}'::regclass AS oid), "
            "(SELECT value FROM smartroute_facts WHERE name = 'removals'))",
        )
        return str(name)

    def adopt_rows(self) -> None:
        """Give rows a transaction of this server where a server with higher numbers wrote them."""
        self._connection.cursor().execute(
            f"UPDATE {_TABLE} SET xact = DEFAULT WHERE xact >= pg_snapshot_xmax(pg_current_snapshot())"
        )

    def target(self) -> str:
        [(snapshot,)] = _rows(self._connection, "SELECT CAST(pg_current_snapshot() AS text)")
        return str(snapshot)

    def has_new(self, position: Position) -> bool:
        where, values = self._beyond(position._replace(after=()))
        # Without an order the planner expects to find a row soon, and scans the whole table.
        sql = f"SELECT 1 FROM {_TABLE} WHERE {where} ORDER BY xact, id LIMIT 1"
        return bool(_rows(self._connection, sql, values))

    def left(self, position: Position) -> int:
        where, values = self._within(position)
        return int(_rows(self._connection, f"SELECT count(*) FROM {_TABLE} WHERE {where}", values)[0][0])

    def page(self, position: Position) -> list[tuple[Sequence[str], str]]:
        where, values = self._within(position)
        rows = _rows(
            self._connection,
            # JSON may hold a NUL as an escape, which the rollup's text columns cannot hold. ORDER BY a bare
            # xact would mean the first column here, which is text: there 1000 comes before 999.
            f"SELECT CAST(xact AS text), id, replace(line, '\\u0000', '\\ufffd') FROM {_TABLE} AS log "
            f"WHERE {where} ORDER BY log.xact, log.id LIMIT {PAGE_EVENTS}",
            values,
        )
        return [((xact, event_id), line) for xact, event_id, line in rows]

    @staticmethod
    def _beyond(position: Position) -> tuple[str, list[str]]:
        terms: list[str] = ["true"]
        values: list[str] = []
        if position.after:
            terms.append("(xact, id) > (CAST(%s AS xid8), %s)")
            values += position.after
        if position.seen:
            terms.append("xact >= pg_snapshot_xmin(CAST(%s AS pg_snapshot))")
            terms.append("NOT pg_visible_in_snapshot(xact, CAST(%s AS pg_snapshot))")
            values += [position.seen] * 2
        return " AND ".join(terms), values

    def _within(self, position: Position) -> tuple[str, list[str]]:
        where, values = self._beyond(position)
        return (
            f"{where} AND xact < pg_snapshot_xmax(CAST(%s AS pg_snapshot)) "
            "AND pg_visible_in_snapshot(xact, CAST(%s AS pg_snapshot))"
        ), [*values, position.target, position.target]


class _Sqlite:
    """A position is the number of a row, and so is a position within a pass."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def identity(self) -> str:
        """Return the id of the log, and how often rows were removed."""
        rows = _rows(
            self._connection,
            "SELECT value FROM smartroute_facts WHERE name IN ('log', 'removals') ORDER BY name",
        )
        return "/".join(str(row[0]) for row in rows)

    def adopt_rows(self) -> None:
        """Do nothing: a copy of the file has the same numbers."""

    def target(self) -> str:
        [(number,)] = _rows(self._connection, f"SELECT COALESCE(MAX(place), 0) FROM {_TABLE}")
        return str(number)

    def has_new(self, position: Position) -> bool:
        return int(self.target()) > int(position.seen or 0)

    def left(self, position: Position) -> int:
        return int(position.target) - _row_number(position)

    def page(self, position: Position) -> list[tuple[Sequence[str], str]]:
        rows = _rows(
            self._connection,
            f"SELECT place, line FROM {_TABLE} WHERE place > ? AND place <= ? ORDER BY place "
            f"LIMIT {PAGE_EVENTS}",
            [_row_number(position), int(position.target)],
        )
        return [((str(number),), line) for number, line in rows]


def _row_number(position: Position) -> int:
    return int(position.after[0] if position.after else position.seen or 0)
