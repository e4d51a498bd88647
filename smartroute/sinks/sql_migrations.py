"""Migrations of a log's database tables: steps in order, each applied once.

A released step is never changed: a change is another step. Programs of an earlier version
go on writing to the tables of a later one, so a step only adds.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Connection

_COLUMNS = (
    "outcome_id TEXT NOT NULL, type TEXT NOT NULL, time TEXT NOT NULL, simulated BOOLEAN NOT NULL, "
    "kind TEXT, complexity TEXT, strategy TEXT, model TEXT, tenant TEXT, conversation_id TEXT, "
    "line TEXT NOT NULL"
)
_NAMES = (
    "id, outcome_id, type, time, simulated, kind, complexity, strategy, model, tenant, conversation_id, line"
)
_BY_TIME = "CREATE INDEX IF NOT EXISTS smartroute_events_by_time ON smartroute_events (time, id)"
_BY_OUTCOME = "CREATE INDEX IF NOT EXISTS smartroute_events_by_outcome ON smartroute_events (outcome_id)"


def _create_events(connection: Connection) -> None:
    _execute(
        connection,
        "CREATE TABLE IF NOT EXISTS smartroute_facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        f"CREATE TABLE IF NOT EXISTS smartroute_events (id TEXT PRIMARY KEY, {_COLUMNS})",
        _BY_TIME,
        _BY_OUTCOME,
    )


def _order_events(connection: Connection) -> None:
    """Give events an order in which a reader can read on, and note when some were removed."""
    _execute(
        connection,
        "INSERT INTO smartroute_facts (name, value) VALUES ('removals', '0') ON CONFLICT (name) DO NOTHING",
        *(_POSTGRES_ORDER if connection.dialect.name == "postgresql" else _SQLITE_ORDER),
    )
    if connection.dialect.name == "sqlite":
        _execute(
            connection,
            f"INSERT INTO smartroute_facts (name, value) VALUES ('log', '{secrets.token_hex(8)}') "
            "ON CONFLICT (name) DO NOTHING",
        )


# The default is the transaction that writes the row; older rows get that of this step, and are not rewritten.
# It may be NULL: a copy of rows through a table made LIKE this one has no default there.
_POSTGRES_ORDER = (
    "ALTER TABLE smartroute_events ADD COLUMN IF NOT EXISTS xact xid8 DEFAULT pg_current_xact_id()",
    "CREATE INDEX IF NOT EXISTS smartroute_events_by_xact ON smartroute_events (xact, id)",
    # A role that may remove events need not be allowed to write facts.
    "CREATE OR REPLACE FUNCTION smartroute_note_removal() RETURNS trigger LANGUAGE plpgsql "
    "SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$ BEGIN "
    "IF TG_OP = 'DELETE' THEN IF NOT EXISTS (SELECT FROM gone) THEN RETURN NULL; END IF; END IF; "
    "EXECUTE format('UPDATE %I.smartroute_facts SET value = CAST(CAST(value AS bigint) + 1 AS text) "
    "WHERE name = ''removals''', TG_TABLE_SCHEMA); RETURN NULL; END $$",
    "CREATE TRIGGER smartroute_events_deleted AFTER DELETE ON smartroute_events "
    "REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION smartroute_note_removal()",
    "CREATE TRIGGER smartroute_events_truncated AFTER TRUNCATE ON smartroute_events "
    "FOR EACH STATEMENT EXECUTE FUNCTION smartroute_note_removal()",
    "CREATE TRIGGER smartroute_events_changed AFTER UPDATE OF line ON smartroute_events "
    "FOR EACH STATEMENT EXECUTE FUNCTION smartroute_note_removal()",
)
_NOTE_REMOVAL = (
    "BEGIN UPDATE smartroute_facts SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT) "
    "WHERE name = 'removals'; END"
)
# A rowid that is not declared may be used again after a removal, and VACUUM may change it.
_SQLITE_ORDER = (
    "CREATE TABLE smartroute_events_in_order "
    f"(place INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, {_COLUMNS})",
    f"INSERT INTO smartroute_events_in_order ({_NAMES}) "
    f"SELECT {_NAMES} FROM smartroute_events ORDER BY rowid",
    "DROP TABLE smartroute_events",
    "ALTER TABLE smartroute_events_in_order RENAME TO smartroute_events",
    _BY_TIME,
    _BY_OUTCOME,
    f"CREATE TRIGGER smartroute_events_deleted AFTER DELETE ON smartroute_events {_NOTE_REMOVAL}",
    f"CREATE TRIGGER smartroute_events_changed AFTER UPDATE OF line ON smartroute_events {_NOTE_REMOVAL}",
)


def _execute(connection: Connection, *statements: str) -> None:
    from sqlalchemy import text

    for statement in statements:
        connection.execute(text(statement))


MIGRATIONS: tuple[Callable[[Connection], None], ...] = (_create_events, _order_events)
