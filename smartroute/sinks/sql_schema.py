"""Know the tables of the log in a database: ordered migrations, each applied once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from smartroute.errors import ConfigError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

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


def engine_for(url: str) -> Engine:
    """Return the engine of a database. Raises ImportError naming the extra, ConfigError for no url."""
    try:
        import sqlalchemy
    except ImportError:
        raise ImportError(
            "SQLAlchemy is not installed; install it with pip install 'smartroute[sql]'"
        ) from None
    try:
        parsed = sqlalchemy.make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        backend = parsed.get_backend_name()
        if backend not in ("postgresql", "sqlite"):
            raise sqlalchemy.exc.ArgumentError(backend)
        # Readers and writers of one SQLite file wait for one another rather than fail.
        options: dict[str, Any] = (
            {"connect_args": {"timeout": 30}} if backend == "sqlite" else {"pool_pre_ping": True}
        )
        return sqlalchemy.create_engine(parsed, **options)
    except (sqlalchemy.exc.ArgumentError, sqlalchemy.exc.NoSuchModuleError, AttributeError) as error:
        raise ConfigError(
            f'{type(error).__name__}: a database is named like "postgresql://user@host/base" or '
            '"sqlite:///events.sqlite"'
        ) from None
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{error.name} is not installed; install it with pip install 'smartroute[sql]'"
        ) from None


def printable_url(engine: Engine) -> str:
    """Return the address of a database without its password."""
    return engine.url.render_as_string(hide_password=True)


class Schema:
    """The tables of one database."""

    def __init__(self, engine: Engine) -> None:
        from sqlalchemy import exc

        self._engine = engine
        self._postgres = engine.dialect.name == "postgresql"
        driver: Any = engine.dialect.dbapi
        self.refusals: tuple[type[Exception], ...] = (
            *(exc.DataError, exc.IntegrityError),
            *(driver.DataError, driver.IntegrityError),
        )
        """What says that a row will never be taken, whether it comes wrapped or from the driver."""

    def migrate(self) -> None:
        """Bring the tables up to date. Of several that come at once one does it, and the others wait."""
        from sqlalchemy import text

        with self._engine.begin() as connection:
            if self._postgres:
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            connection.execute(text(_CREATE_MIGRATIONS))
            done = {row[0] for row in connection.execute(text("SELECT version FROM smartroute_migrations"))}
            for version, migrate in enumerate(_MIGRATIONS, start=1):
                if version not in done:
                    migrate(connection)
                    connection.execute(
                        text(
                            "INSERT INTO smartroute_migrations (version, applied_at) VALUES (:version, :at) "
                            "ON CONFLICT (version) DO NOTHING"
                        ),
                        {"version": version, "at": datetime.now(UTC).isoformat()},
                    )

    def settle(self, simulated: bool) -> bool:
        """Return whether the log holds simulated events; whoever comes first decides."""
        from sqlalchemy import text

        with self._engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO smartroute_facts (name, value) VALUES ('holds', :value) "
                    "ON CONFLICT (name) DO NOTHING"
                ),
                {"value": "simulated" if simulated else "real"},
            )
            found = connection.execute(text("SELECT value FROM smartroute_facts WHERE name = 'holds'"))
            return bool(found.scalar_one() == "simulated")

    def insert(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store events in one transaction; those whose id is there already stay as they are."""
        from sqlalchemy import text

        names = ", ".join(COLUMNS)
        with self._engine.begin() as connection:
            if self._postgres:
                # By COPY into a table of the transaction's own: five times as fast as INSERT with parameters.
                connection.execute(text(_CREATE_INCOMING))
                driver: Any = connection.connection.driver_connection
                with driver.cursor().copy(f"COPY smartroute_incoming ({names}) FROM STDIN") as incoming:
                    for row in rows:
                        incoming.write_row([row[name] for name in COLUMNS])
                connection.execute(
                    text(
                        f"INSERT INTO smartroute_events ({names}) SELECT {names} FROM smartroute_incoming "
                        "ON CONFLICT (id) DO NOTHING"
                    )
                )
            else:
                places = ", ".join(f":{name}" for name in COLUMNS)
                connection.execute(
                    text(
                        f"INSERT INTO smartroute_events ({names}) VALUES ({places}) "
                        "ON CONFLICT (id) DO NOTHING"
                    ),
                    list(rows),
                )

    def lines(self) -> Iterator[str]:
        """Yield the lines, oldest first, a page at a time: no transaction stays open between two pages.

        What is committed while this reads is seen if its time lies ahead.
        """
        from sqlalchemy import inspect, text

        if not inspect(self._engine).has_table("smartroute_events"):
            return
        time = event_id = ""
        while True:
            with self._engine.connect() as connection:
                page = connection.execute(text(_PAGE), {"time": time, "id": event_id, "n": _PAGE_LINES}).all()
            for row in page:
                yield row[2]
            if len(page) < _PAGE_LINES:
                return
            time, event_id = page[-1][0], page[-1][1]


_PAGE = (
    "SELECT time, id, line FROM smartroute_events WHERE (time, id) > (:time, :id) ORDER BY time, id LIMIT :n"
)
_CREATE_INCOMING = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS smartroute_incoming (LIKE smartroute_events) ON COMMIT DELETE ROWS"
)
_CREATE_MIGRATIONS = (
    "CREATE TABLE IF NOT EXISTS smartroute_migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)"
)


def _create_events(connection: Connection) -> None:
    from sqlalchemy import text

    for statement in (
        "CREATE TABLE IF NOT EXISTS smartroute_facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        "CREATE TABLE IF NOT EXISTS smartroute_events (id TEXT PRIMARY KEY, outcome_id TEXT NOT NULL, "
        "type TEXT NOT NULL, time TEXT NOT NULL, simulated BOOLEAN NOT NULL, kind TEXT, complexity TEXT, "
        "strategy TEXT, model TEXT, tenant TEXT, conversation_id TEXT, line TEXT NOT NULL)",
        "CREATE INDEX IF NOT EXISTS smartroute_events_by_time ON smartroute_events (time, id)",
        "CREATE INDEX IF NOT EXISTS smartroute_events_by_outcome ON smartroute_events (outcome_id)",
    ):
        connection.execute(text(statement))


_MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_create_events,)
"""In order; one that was released is never changed: what is to change comes as another."""
