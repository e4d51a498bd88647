"""Read and write the tables of a log in a database."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartroute.errors import ConfigError, SinkError
from smartroute.sinks.sql_migrations import MIGRATIONS

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

COLUMNS = (
    "id",
    "outcome_id",
    "type",
    "time",
    "simulated",
    "kind",
    "complexity",
    "strategy",
    "model",
    "tenant",
    "conversation_id",
    "line",
)
"""What a row holds: what is searched by, and the whole event as its line of JSON."""

_LOCK = 0x736D6172  # any number, as long as all of us lock the same one
_PAGE_LINES = 1_000
_PSYCOPG = "postgresql+psycopg"


def engine_for(url: str) -> Engine:
    """Return the engine of a database. Raises ImportError naming the extra, ConfigError if invalid."""
    try:
        import sqlalchemy
    except ImportError:
        raise ImportError(
            "SQLAlchemy is not installed; install it with pip install 'smartroute[sql]'"
        ) from None
    try:
        parsed = sqlalchemy.make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername=_PSYCOPG)
        backend = parsed.get_backend_name()
        if backend not in ("postgresql", "sqlite"):
            raise sqlalchemy.exc.ArgumentError(backend)
        if backend == "sqlite":
            # Readers and writers of one file wait for one another rather than fail.
            return sqlalchemy.create_engine(parsed, connect_args={"timeout": 30})
        return sqlalchemy.create_engine(parsed, pool_pre_ping=True, connect_args=_patience(parsed))
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError, AttributeError, ValueError):
        raise ConfigError(
            f"a log can be kept in PostgreSQL and in SQLite, and {_shown(url)} names neither; a database is "
            'named like "postgresql://user@host/base" or "sqlite:///events.sqlite"'
        ) from None
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise ConfigError(
                f"the driver {error.name} is not installed; leave it out of the address, as in "
                '"postgresql://user@host/base", and psycopg is used'
            ) from None
        raise ImportError(
            f"{error.name} is not installed; install it with pip install 'smartroute[sql]'"
        ) from None


def _shown(url: object) -> str:
    """Return what of an address holds no password: the part before its "://"."""
    scheme, separator, _ = str(url).partition("://")
    return f"the address {scheme:.40}://..." if separator else f"the address given ({type(url).__name__})"


def _patience(url: URL) -> dict[str, int]:
    """Return timeouts for a server that stops responding; those in the address come first."""
    waits = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10}
    waits |= {"keepalives_count": 3, "tcp_user_timeout": 60_000}
    return {name: value for name, value in waits.items() if name not in url.query}


def printable_url(engine: Engine) -> str:
    """Return the address of a database as its user writes it, without its password."""
    url = engine.url
    if url.drivername == _PSYCOPG:
        url = url.set(drivername="postgresql")
    return url.render_as_string(hide_password=True)


class Schema:
    """The tables of one database."""

    newest = len(MIGRATIONS)
    """The version that this program knows."""

    def __init__(self, engine: Engine) -> None:
        from sqlalchemy import exc

        self.engine = engine
        self.postgres = engine.dialect.name == "postgresql"
        driver: Any = engine.dialect.dbapi
        self.refusals: tuple[type[Exception], ...] = (
            *(exc.DataError, exc.IntegrityError),
            *(driver.DataError, driver.IntegrityError),
        )
        """Errors that mean a row will never be accepted, wrapped by SQLAlchemy or from the driver."""

    def version(self) -> int:
        """Return how many migrations its tables have had, 0 without tables.

        Raises SinkError when they are of a later version than this program knows.
        """
        from sqlalchemy import inspect

        if self._has_no_file() or not inspect(self.engine).has_table("smartroute_migrations"):
            return 0
        with self.engine.connect() as connection:
            return len(self._applied(connection))

    def _has_no_file(self) -> bool:
        """Return whether it is an SQLite file that does not exist: connecting would create it."""
        file = self.engine.url.database
        if self.postgres or not file or file.startswith(("file:", ":")):
            return False
        return not Path(file).exists()

    def _make_private_file(self) -> None:
        """Create a file that only its owner may read, as files of other logs: labels may be private."""
        # Where it cannot be created, connecting to it reports that.
        with contextlib.suppress(OSError, ValueError):
            os.close(os.open(str(self.engine.url.database), os.O_RDWR | os.O_CREAT, 0o600))

    def _applied(self, connection: Connection) -> set[int]:
        from sqlalchemy import text

        versions = {row[0] for row in connection.execute(text("SELECT version FROM smartroute_migrations"))}
        newest = max(versions, default=0)
        if newest > self.newest:
            raise SinkError(
                f"the tables at {printable_url(self.engine)} are of version {newest} and this smartroute "
                f"knows version {self.newest}; install a newer one"
            )
        return versions

    def migrate(self) -> None:
        """Bring the tables up to date. Of several processes at once one does it, and the others wait.

        Nothing is changed where they are up to date: a role that may not create tables can use them. Raises
        SinkError when they are of a later version than this program knows.
        """
        from sqlalchemy import text

        if self.version() == self.newest:
            return
        if self._has_no_file():
            self._make_private_file()
        with self.engine.begin() as connection:
            if self.postgres:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            else:
                connection.execute(text("BEGIN IMMEDIATE"))
            connection.execute(text(_CREATE_MIGRATIONS))
            applied = self._applied(connection)
            for version, migrate in enumerate(MIGRATIONS, start=1):
                if version not in applied:
                    migrate(connection)
                    connection.execute(
                        text(
                            "INSERT INTO smartroute_migrations (version, applied_at) VALUES (:version, :at)"
                        ),
                        {"version": version, "at": datetime.now(UTC).isoformat()},
                    )

    def traffic(self) -> bool | None:
        """Return whether the existing log holds simulated events, None when it is empty."""
        from sqlalchemy import text

        with self.engine.connect() as connection:
            holds = connection.execute(text(_HOLDS)).scalar()
            if holds is not None:
                return bool(holds == "simulated")
            first = connection.execute(text(_FIRST_TRAFFIC)).scalar()
            return None if first is None else bool(first)

    def settle(self, simulated: bool) -> bool:
        """Return whether the log holds simulated events; the first writer decides."""
        from sqlalchemy import text

        with self.engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO smartroute_facts (name, value) VALUES ('holds', :value) "
                    "ON CONFLICT (name) DO NOTHING"
                ),
                {"value": "simulated" if simulated else "real"},
            )
            return bool(connection.execute(text(_HOLDS)).scalar_one() == "simulated")

    def insert(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store events in one transaction; those whose id is stored already stay as they are."""
        from sqlalchemy import text

        if self.postgres:
            self._copy(rows)
            return
        with self.engine.begin() as connection:
            parameters = ", ".join(f":{name}" for name in COLUMNS)
            connection.execute(
                text(
                    f"INSERT INTO smartroute_events ({_NAMES}) VALUES ({parameters}) "
                    "ON CONFLICT (id) DO NOTHING"
                ),
                list(rows),
            )

    def _copy(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store events by COPY, which takes a fifth of the time that INSERT with parameters does.

        COPY cannot skip an id that is stored already: then it is repeated through a temporary table.
        """
        from sqlalchemy import text

        driver: Any = self.engine.dialect.dbapi
        try:
            with self.engine.begin() as connection:
                _copy_into("smartroute_events", connection, rows)
        except driver.errors.UniqueViolation:
            with self.engine.begin() as connection:
                connection.execute(text(_CREATE_INCOMING))
                _copy_into("smartroute_incoming", connection, rows)
                connection.execute(
                    text(
                        f"INSERT INTO smartroute_events ({_NAMES}) SELECT {_NAMES} FROM smartroute_incoming "
                        "ON CONFLICT (id) DO NOTHING"
                    )
                )

    def lines(self) -> Iterator[str]:
        """Yield the lines, oldest first, a page at a time: no transaction stays open between two pages.

        What is committed while this reads is seen if its time is later than the page read last. Raises
        SinkError when the tables are of a later version than this program knows.
        """
        from sqlalchemy import text

        if not self.version():
            return
        time = event_id = ""
        while True:
            with self.engine.connect() as connection:
                page = connection.execute(text(_PAGE), {"time": time, "id": event_id, "n": _PAGE_LINES}).all()
            for row in page:
                yield row[2]
            if len(page) < _PAGE_LINES:
                return
            time, event_id = page[-1][0], page[-1][1]


_NAMES = ", ".join(COLUMNS)
_HOLDS = "SELECT value FROM smartroute_facts WHERE name = 'holds'"
_FIRST_TRAFFIC = "SELECT simulated FROM smartroute_events ORDER BY time, id LIMIT 1"
_PAGE = (
    "SELECT time, id, line FROM smartroute_events WHERE (time, id) > (:time, :id) ORDER BY time, id LIMIT :n"
)
_CREATE_INCOMING = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS smartroute_incoming (LIKE smartroute_events) ON COMMIT DELETE ROWS"
)
_CREATE_MIGRATIONS = (
    "CREATE TABLE IF NOT EXISTS smartroute_migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)"
)


def _copy_into(table: str, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    driver: Any = connection.connection.driver_connection
    with driver.cursor().copy(f"COPY {table} ({_NAMES}) FROM STDIN") as incoming:
        for row in rows:
            incoming.write_row([row[name] for name in COLUMNS])
