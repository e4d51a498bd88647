"""Keep the rollup of a log in a database: in the same database, read on and counted in one transaction.

Where reading stopped is the difficult part, for on PostgreSQL rows come to be seen in another order than
they were numbered in: a writer may take number 7, another one 8 and commit, and whoever then notes "read
up to 8" never sees 7. So a position is no number there, but a snapshot. Every row carries the transaction
that wrote it (`xact`, of 64 bits, never used again), and a snapshot S says of any transaction whether it
had ended when S was taken. Let V(S) be the committed rows whose transaction had ended at S. A transaction
that has ended stays ended, so V(S) only grows. A pass takes a snapshot `target`, and counts the rows in
V(target) that are not in V(seen), where `seen` is the target of the pass before; then `target` becomes
`seen`. The passes' shares are disjoint, and together they are V of the last target: every committed row
counts once, however long its transaction took, and none is waited for. A pass is read in pages, in the
order (xact, id); what it has to read is fixed by its two snapshots, so a page may be read in any later
transaction and by any reader. A page's sums and the position behind it are committed together, under a
lock that one reader has at a time; whoever was cut off has changed nothing.

The index on (xact, id) leads to what is new: no more is looked at than was written since the oldest
transaction that was open at `seen`. On SQLite one transaction writes at a time, and numbers its rows above
all that ever were; there "above the last one read" is right, and a position is that number.

Some things begin it anew: rows were removed or changed (the log's triggers count that), it is of another
layout, or this is not the database that it was kept in, but one restored from a dump of it, where other
transactions had these numbers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from smartroute.analytics.rollup.ingest import Events
from smartroute.analytics.rollup.lines import records
from smartroute.analytics.rollup.tables import VERSION, Stored, Tables
from smartroute.errors import SinkError
from smartroute.sinks.sql_schema import printable_url

if TYPE_CHECKING:
    from smartroute.analytics.rollup.file_rollup import Log, Progress
    from smartroute.sinks.sql_schema import Schema

T = TypeVar("T")

PAGE_EVENTS = 5_000
_ATTEMPTS = 5
_TABLE = "smartroute_events"


class Position(NamedTuple):
    """How far a log was read: all of `seen`, and of the pass to `target` what is not behind `after`.

    Without a `target` no pass is open.
    """

    seen: str = ""
    target: str = ""
    after: Sequence[str] = ()


class Reading(Protocol):
    """How one kind of database is read on. Every method runs inside a transaction."""

    def identity(self) -> str:
        """Return what changes when the rollup is not of these rows any more."""

    def take_over(self) -> None:
        """Make rows of another database ones of this."""

    def target(self) -> str:
        """Return what a pass that begins now has to read up to."""

    def anything_new(self, position: Position) -> bool:
        """Return whether there are rows that are not in `seen`."""

    def left(self, position: Position) -> int:
        """Return how many rows the open pass has still to read."""

    def page(self, position: Position) -> list[tuple[Sequence[str], str]]:
        """Return the next rows of the open pass: where each stands, and its line."""


class SqlLog:
    """A log in a database, and its rollup's tables beside it."""

    def __init__(self, schema: Schema) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        self.schema = schema
        driver: Any = schema.engine.dialect.dbapi
        self.failures: tuple[type[Exception], ...] = (driver.Error, SQLAlchemyError, _Unsettled)

    def __str__(self) -> str:
        return f"the log at {printable_url(self.schema.engine)}"

    def exists(self) -> bool:
        """Return whether there is a log; not where that cannot be told, as reading it then tells why."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            return self.schema.version() > 0
        except (SQLAlchemyError, SinkError):
            return False

    def discard(self) -> None:
        """Delete a rollup that is damaged."""
        with closing(self.connect()) as tables, tables.transaction(write=True):
            tables.clear()

    def traffic(self) -> bool | None:
        """Return whether it holds simulated events, None when it holds none."""
        return self.schema.traffic()

    def connect(self) -> Tables:
        """Return the rollup's tables on a connection of the caller's own."""
        return self.tables(self.schema.engine.raw_connection())

    def tables(self, connection: Any) -> Tables:
        """Return the rollup's tables on a connection."""
        return Tables(connection, postgres=self.schema.postgres)


class SqlRollup:
    """The rollup of a log in a database. Any number of processes may keep and ask it at once."""

    def __init__(self, schema: Schema) -> None:
        self.log = SqlLog(schema)

    def ask(self, question: Callable[[Log], T], progress: Progress | None = None) -> T:
        """Return the answer of a rollup that has every event that was committed before.

        The question is asked in the transaction that saw the rollup complete. Where nothing is new nothing
        is written, so a role that may only read is answered as well. Raises the database's errors when the
        tables cannot be kept.
        """
        traffic = self.log.traffic()
        self.log.schema.migrate()
        with closing(self.log.schema.engine.raw_connection()) as connection:
            tables, reading = self.log.tables(connection), self._reading(connection)
            for attempt in range(_ATTEMPTS):
                with tables.transaction(write=False):
                    facts = self._facts(reading, traffic)
                    stands = tables.facts()
                    if stands.items() >= facts.items() and stands["whole"] == "True":
                        position = _position(stands)
                        read_on = attempt == 0 and (position.target or reading.anything_new(position))
                        if not read_on:
                            return question(_Moment(self.log, connection, traffic))
                self._read_on(tables, reading, traffic, progress)
        raise _Unsettled("events are removed from it faster than it can be read")

    def rebuild(self, progress: Progress | None = None) -> None:
        """Forget everything, and read the whole log again. Raises what `ask` does."""
        self.log.discard()
        self.ask(lambda _: None, progress)

    def _reading(self, connection: Any) -> Reading:
        return _Postgres(connection) if self.log.schema.postgres else _Sqlite(connection)

    @staticmethod
    def _facts(reading: Reading, traffic: bool | None) -> dict[str, str]:
        return {"version": str(VERSION), "traffic": str(traffic), "log": reading.identity()}

    def _read_on(
        self, tables: Tables, reading: Reading, traffic: bool | None, progress: Progress | None
    ) -> None:
        """Read until a pass has ended that began after this did."""
        whole = done = 0
        ours = False
        while True:
            with tables.transaction(write=True):
                facts = self._facts(reading, traffic)
                stands = tables.facts()
                if not stands.items() >= facts.items():
                    tables.clear()
                    reading.take_over()
                    tables.note(**facts, whole="False", position=json.dumps(Position()))
                    continue
                position = _position(stands)
                if not position.target:
                    ours = True
                    position = position._replace(target=reading.target())
                if progress is not None and not whole:
                    whole = reading.left(position)
                rows = reading.page(position)
                self._take(tables, facts["log"], [line for _, line in rows], traffic)
                ended = len(rows) < PAGE_EVENTS
                position = Position(position.target) if ended else position._replace(after=rows[-1][0])
                tables.note(position=json.dumps(position), whole=str(ended or stands["whole"] == "True"))
            done += len(rows)
            if progress is not None and whole:
                progress(whole if ended and ours else min(done, whole), whole)
            if ended and ours:
                return

    @staticmethod
    def _take(tables: Tables, identity: str, lines: Sequence[str], traffic: bool | None) -> None:
        found, bad = records(line.encode() for line in lines)
        events = Events()
        events.add(kept := [record for record in found if record["simulated"] is traffic])
        events.store(tables)
        known = tables.segment(identity) or Stored(identity, _TABLE, 0, 0, 0, 0, 0, 0)
        read = known.position + len(lines)
        tables.put_segment(
            known._replace(
                size=read,
                position=read,
                bad_lines=known.bad_lines + bad,
                foreign_lines=known.foreign_lines + len(found) - len(kept),
            )
        )


class _Unsettled(Exception):
    """The rollup was begun anew again and again while it was read."""


class _Moment:
    """A log as one transaction sees it: whoever asks it opens and ends none of their own."""

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
    """Tables on a connection that is inside a transaction already, and somebody else's to close."""

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
    """A position is a snapshot, and a place within a pass is a transaction and an id."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def identity(self) -> str:
        """Name the server, the database, the table, and how often rows were removed."""
        [(name,)] = _rows(
            self._connection,
            "SELECT concat_ws('/', (SELECT system_identifier FROM pg_control_system()), "
            "(SELECT oid FROM pg_database WHERE datname = current_database()), "
            f"CAST('{_TABLE}'::regclass AS oid), "
            "(SELECT value FROM smartroute_facts WHERE name = 'removals'))",
        )
        return str(name)

    def take_over(self) -> None:
        """Give rows that were restored from a server further on a transaction of this one."""
        self._connection.cursor().execute(
            f"UPDATE {_TABLE} SET xact = DEFAULT WHERE xact >= pg_snapshot_xmax(pg_current_snapshot())"
        )

    def target(self) -> str:
        [(snapshot,)] = _rows(self._connection, "SELECT CAST(pg_current_snapshot() AS text)")
        return str(snapshot)

    def anything_new(self, position: Position) -> bool:
        where, values = self._behind(position._replace(after=()))
        # Without an order the server expects to meet one soon, and looks through the whole table.
        sql = f"SELECT 1 FROM {_TABLE} WHERE {where} ORDER BY xact, id LIMIT 1"
        return bool(_rows(self._connection, sql, values))

    def left(self, position: Position) -> int:
        where, values = self._within(position)
        return int(_rows(self._connection, f"SELECT count(*) FROM {_TABLE} WHERE {where}", values)[0][0])

    def page(self, position: Position) -> list[tuple[Sequence[str], str]]:
        where, values = self._within(position)
        rows = _rows(
            self._connection,
            # A NUL that JSON holds as an escape is none that the rollup's columns could hold. A bare xact
            # would be the first column here, which is text: 1000 comes before 999 there.
            f"SELECT CAST(xact AS text), id, replace(line, '\\u0000', '\\ufffd') FROM {_TABLE} AS log "
            f"WHERE {where} ORDER BY log.xact, log.id LIMIT {PAGE_EVENTS}",
            values,
        )
        return [((xact, each), line) for xact, each, line in rows]

    @staticmethod
    def _behind(position: Position) -> tuple[str, list[str]]:
        parts: list[str] = ["true"]
        values: list[str] = []
        if position.after:
            parts.append("(xact, id) > (CAST(%s AS xid8), %s)")
            values += position.after
        if position.seen:
            parts.append("xact >= pg_snapshot_xmin(CAST(%s AS pg_snapshot))")
            parts.append("NOT pg_visible_in_snapshot(xact, CAST(%s AS pg_snapshot))")
            values += [position.seen] * 2
        return " AND ".join(parts), values

    def _within(self, position: Position) -> tuple[str, list[str]]:
        where, values = self._behind(position)
        return (
            f"{where} AND xact < pg_snapshot_xmax(CAST(%s AS pg_snapshot)) "
            "AND pg_visible_in_snapshot(xact, CAST(%s AS pg_snapshot))"
        ), [*values, position.target, position.target]


class _Sqlite:
    """A position is the number of a row, and so is a place within a pass."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def identity(self) -> str:
        """Name the log, and how often rows were removed."""
        rows = _rows(
            self._connection,
            "SELECT value FROM smartroute_facts WHERE name IN ('log', 'removals') ORDER BY name",
        )
        return "/".join(str(row[0]) for row in rows)

    def take_over(self) -> None:
        """Do nothing: a copy of the file has the same numbers."""

    def target(self) -> str:
        [(place,)] = _rows(self._connection, f"SELECT COALESCE(MAX(place), 0) FROM {_TABLE}")
        return str(place)

    def anything_new(self, position: Position) -> bool:
        return int(self.target()) > int(position.seen or 0)

    def left(self, position: Position) -> int:
        return int(position.target) - _place(position)

    def page(self, position: Position) -> list[tuple[Sequence[str], str]]:
        rows = _rows(
            self._connection,
            f"SELECT place, line FROM {_TABLE} WHERE place > ? AND place <= ? ORDER BY place "
            f"LIMIT {PAGE_EVENTS}",
            [_place(position), int(position.target)],
        )
        return [((str(place),), line) for place, line in rows]


def _place(position: Position) -> int:
    return int(position.after[0] if position.after else position.seen or 0)
