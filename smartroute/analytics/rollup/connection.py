"""Run SQL on a DB-API connection to SQLite or PostgreSQL alike: transactions, parameters, upserts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

AT_ONCE = 500
"""How many values a statement is given at most: databases limit that number."""

_LOCK = 0x726F6C6C  # any number, as long as every process locks the same one


class Connection:
    """A connection. In all statements a `?` marks a value."""

    def __init__(self, connection: Any, *, postgres: bool) -> None:
        self._connection = connection
        self._postgres = postgres

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[None]:
        """Start a transaction, and commit it or roll it back. Writers wait for each other."""
        if self._postgres:
            if write:
                self.run(f"SELECT pg_advisory_xact_lock({_LOCK})")
            else:
                self.run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        else:
            self.run("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def create_table(self, table: str, columns: str) -> None:
        """Create a table unless it exists. Columns are TEXT, BLOB, BIGINT or DOUBLE PRECISION."""
        if self._postgres:
            columns = columns.replace("TEXT", 'TEXT COLLATE "C"').replace("BLOB", "BYTEA")
        options = "" if self._postgres else " WITHOUT ROWID"
        self.run(f"CREATE TABLE IF NOT EXISTS {table} ({columns}){options}")

    def has_table(self, table: str) -> bool:
        """Return whether a table exists."""
        if self._postgres:
            return self.rows(f"SELECT to_regclass('{table}')")[0][0] is not None
        return bool(self.rows(f"SELECT 1 FROM sqlite_master WHERE name = '{table}'"))

    def run(self, sql: str) -> None:
        """Execute a statement that has no values and returns no rows."""
        self._connection.cursor().execute(sql)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Return the rows of a query."""
        cursor = self._connection.cursor()
        cursor.execute(self._in_dialect(sql), values)
        return list(cursor.fetchall())

    def many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """Execute a statement for each row of values."""
        self._connection.cursor().executemany(self._in_dialect(sql), rows)

    def among(self, sql: str, values: Sequence[Any]) -> Iterator[Any]:
        """Yield the rows of a query that ends in IN, for any number of values."""
        for start in range(0, len(values), AT_ONCE):
            some = values[start : start + AT_ONCE]
            yield from self.rows(f"{sql} ({marks(len(some))})", some)

    def put(self, table: str, key: Sequence[str], columns: Sequence[str], rows: Iterable[Any]) -> None:
        """Insert rows, or replace the columns of those whose key exists."""
        self._upsert(table, key, columns, rows, lambda name: f"excluded.{name}")

    def add(self, table: str, key: Sequence[str], columns: Sequence[str], rows: Iterable[Any]) -> None:
        """Insert rows, or add to the columns of those whose key exists."""
        self._upsert(table, key, columns, rows, lambda name: f"{table}.{name} + excluded.{name}")

    def _upsert(
        self,
        table: str,
        key: Sequence[str],
        columns: Sequence[str],
        rows: Iterable[Any],
        value: Callable[[str], str],
    ) -> None:
        self.many(
            f"INSERT INTO {table} ({', '.join((*key, *columns))}) "
            f"VALUES ({marks(len(key) + len(columns))}) ON CONFLICT ({', '.join(key)}) "
            f"DO UPDATE SET {', '.join(f'{name} = {value(name)}' for name in columns)}",
            rows,
        )

    def _in_dialect(self, sql: str) -> str:
        return sql.replace("?", "%s") if self._postgres else sql


def marks(n: int) -> str:
    """Return `n` marks for values, separated by commas."""
    return ", ".join("?" * n)
