"""Know the tables of a rollup, on any DB-API connection: SQLite's of the standard library, or psycopg's."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from smartroute.analytics.rollup.cells import FIELDS, SHOWN, Key, Place, StoredCell, UserSums
from smartroute.analytics.rollup.outcome_pages import COLUMNS, Counted, Outcomes, sorted_ids

VERSION = 5
"""Of the tables' layout and of what the figures in them mean: a rollup of another version is built anew."""

_P = f"rollup{VERSION}_"
"""What the tables' names begin with: programs of two versions may keep their rollups side by side."""

_AT_ONCE = 500
_LOCK = 0x726F6C6C  # any number, as long as all of us lock the same one

Statement = tuple[str, Sequence[Any]]


class Stored(NamedTuple):
    """How far a segment was read. `name`, `size` and `changed_ns` tell whether to look at it again."""

    id: str
    name: str
    size: int
    changed_ns: int
    position: int
    bad_lines: int
    foreign_lines: int
    torn: int


class Said(NamedTuple):
    """A word of feedback, as it counts: the later one wins, by time and then by id."""

    time: str
    event_id: str
    quality: float | None
    label: str | None


class LabelSums(NamedTuple):
    """What labels add up to: quality, and beside it confidence or what a judge said, as in Joint."""

    n: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    other_total: float = 0.0
    other_squares: float = 0.0
    products: float = 0.0


LabelPlace = tuple[int, str, int, str, int]
"""Grain, bucket, key, source, and tenth of confidence or one of the following."""

UNKNOWN_CONFIDENCE = -1
ANY_WORD = -2
"""Not a tenth: counts the outcomes of which anything was said, be it without a quality."""

HELD, ROUTED, WITH_JUDGE = -3, -4, -5
"""Not tenths: the labels under a holdback once more, and those beside a judge's."""

WordPlace = tuple[int, str, int, str, str]
"""Grain, bucket, key, source, label."""


class Tables:
    """The rollup's tables on one connection. Every method but `transaction` runs inside a transaction."""

    def __init__(self, connection: Any, *, postgres: bool = False) -> None:
        self._connection = connection
        self._postgres = postgres

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[None]:
        """Begin, and commit or undo everything. Of several that write one goes first and the others wait."""
        if self._postgres:
            if write:
                self._run(f"SELECT pg_advisory_xact_lock({_LOCK})")
            else:
                self._run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        else:
            self._run("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        self._connection.commit()

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    def create(self) -> None:
        """Make the tables that are not there."""
        for table, columns in _TABLES.items():
            if self._postgres:
                columns = columns.replace("TEXT", 'TEXT COLLATE "C"').replace("BLOB", "BYTEA")
            plain = "" if self._postgres else " WITHOUT ROWID"
            self._run(f"CREATE TABLE IF NOT EXISTS {_P}{table} ({columns}){plain}")

    def clear(self) -> None:
        """Make all tables anew, empty."""
        for table in _TABLES:
            self._run(f"DROP TABLE IF EXISTS {_P}{table}")
        self.create()

    def facts(self) -> dict[str, str]:
        """Return what is noted of the rollup itself; nothing where there are no tables yet."""
        if self._postgres:
            known = self._all(f"SELECT to_regclass('{_P}facts')")[0][0] is not None
        else:
            known = bool(self._all(f"SELECT 1 FROM sqlite_master WHERE name = '{_P}facts'"))
        return dict(self._all(f"SELECT name, value FROM {_P}facts")) if known else {}

    def note(self, **facts: str) -> None:
        """Note facts of the rollup itself."""
        self._put("facts", ("name",), ("value",), facts.items())

    def segments(self) -> dict[str, Stored]:
        """Return how far each segment was read, by id."""
        rows = self._all(f"SELECT {', '.join(Stored._fields)} FROM {_P}segments")
        return {row[0]: Stored(*row) for row in rows}

    def segment(self, segment_id: str) -> Stored | None:
        """Return how far a segment was read, None for one that is new."""
        rows = self._all(f"SELECT {', '.join(Stored._fields)} FROM {_P}segments WHERE id = ?", [segment_id])
        return Stored(*rows[0]) if rows else None

    def put_segment(self, segment: Stored) -> None:
        """Note how far a segment was read."""
        self._put("segments", ("id",), Stored._fields[1:], [segment])

    def remove_segments(self, ids: Iterable[str]) -> None:
        """Forget how far segments were read."""
        self._many(f"DELETE FROM {_P}segments WHERE id = ?", [(each,) for each in ids])

    def key(self, fields: Key) -> int:
        """Return the number of a combination of fields; a new one where it is new."""
        name = json.dumps(fields)
        rows = self._all(f"SELECT id FROM {_P}keys WHERE name = ?", [name])
        if rows:
            return int(rows[0][0])
        number = int(self._all(f"SELECT COALESCE(MAX(id), 0) + 1 FROM {_P}keys")[0][0])
        self._put("keys", ("id",), ("name", *FIELDS), [(number, name, *fields)])
        return number

    def known(self, ids: Collection[bytes]) -> set[bytes]:
        """Return which of the outcomes are stored."""
        if not ids:
            return set()
        wanted = sorted_ids(ids)
        found: set[bytes] = set()
        for _, page, start, end in self._pages(wanted):
            found.update(page.taken(page.places_of(wanted[start:end])).each_id())
        return found

    def add_outcomes(self, new: Outcomes) -> None:
        """Store new outcomes, which are in the order of their ids."""
        rows: list[tuple[Any, ...]] = []
        for begins, page, start, end in self._pages(new.ids):
            whole = Outcomes.joined([page, new.between(start, end)]).in_order()
            first, *others = whole.pages()
            rows.append((begins, *first.packed()))
            rows += [(each.first_id, *each.packed()) for each in others]
        self._put("outcomes", ("begins",), COLUMNS, rows)
        self._many(f"INSERT INTO {_P}members (month, conversation, id) VALUES (?, ?, ?)", new.members())

    def outcomes(self, ids: Collection[bytes]) -> dict[bytes, Counted]:
        """Return those of the outcomes that are known."""
        if not ids:
            return {}
        wanted = sorted_ids(ids)
        found = [page.taken(page.places_of(wanted[start:end])) for _, page, start, end in self._pages(wanted)]
        return Outcomes.joined(found).counted()

    def _pages(self, ids: Any) -> Iterator[tuple[bytes, Outcomes, int, int]]:
        """Yield each page that ids in order belong into, where it begins, and from where to where they stand.

        The first page begins before all ids; where there is none yet, an empty one stands for it.
        """
        columns = f"SELECT begins, {', '.join(COLUMNS)} FROM {_P}outcomes WHERE begins"
        start = 0
        while start < len(ids):
            first = ids[start : start + 1].tobytes()
            page = self._all(f"{columns} <= ? ORDER BY begins DESC LIMIT 1", [first])
            after = self._all(
                f"SELECT begins FROM {_P}outcomes WHERE begins > ? ORDER BY begins LIMIT 1", [first]
            )
            end = int(ids.searchsorted(bytes(after[0][0]))) if after else len(ids)
            if page:
                yield bytes(page[0][0]), Outcomes.unpacked(page[0][1:]), start, end
            else:
                yield b"", Outcomes.unpacked([b""] * len(COLUMNS)), start, end
            start = end

    def outcomes_of(self, conversations: Collection[str]) -> dict[str, list[bytes]]:
        """Return the ids of the outcomes of conversations."""
        found: dict[str, list[bytes]] = {}
        names, month = [*conversations], -1
        following = f"SELECT month FROM {_P}members WHERE month > ? ORDER BY month LIMIT 1"
        while names and (months := self._all(following, [month])):
            month = int(months[0][0])
            rows = f"SELECT conversation, id FROM {_P}members WHERE month = {month} AND conversation IN"
            for conversation, each in self._among(rows, names):
                found.setdefault(conversation, []).append(bytes(each))
        return found

    def cells_at(self, places: Iterable[Place]) -> dict[Place, StoredCell]:
        """Return the cells that are there, of those at some places."""
        wanted: dict[tuple[int, str], set[int]] = {}
        for grain, bucket, key in places:
            wanted.setdefault((grain, bucket), set()).add(key)
        found: dict[Place, StoredCell] = {}
        for (grain, bucket), keys in wanted.items():
            sql = f"SELECT key, {_CELL} FROM {_P}cells WHERE grain = ? AND bucket = ?"
            many = len(keys) > _AT_ONCE
            sql += "" if many else f" AND key IN ({_places(len(keys))})"
            for row in self._all(sql, [grain, bucket, *([] if many else keys)]):
                if row[0] in keys:
                    found[grain, bucket, row[0]] = cell_of(row[1:])
        return found

    def put_cells(self, cells: Iterable[tuple[Any, ...]]) -> None:
        """Write rows of place and cell, instead of those that are at the same places."""
        self._put("cells", ("grain", "bucket", "key"), StoredCell._fields, cells)

    def add_users(self, sums: Iterable[Sequence[Any]]) -> None:
        """Add to what is known of users by day: rows of day, name and UserSums."""
        self._add("users", ("day", "name"), UserSums._fields, sums)

    def hear(self, said: Mapping[tuple[bytes, str], Said], of_talks: Mapping[tuple[str, str], Said]) -> None:
        """Keep what was said of outcomes and of conversations, where nothing later is kept already."""
        for table, name, words in (("words", "id", said), ("talk_words", "conversation", of_talks)):
            self._many(
                f"INSERT INTO {_P}{table} ({name}, source, {', '.join(Said._fields)}) "
                f"VALUES ({_places(6)}) ON CONFLICT ({name}, source) DO UPDATE SET "
                f"{', '.join(f'{each} = excluded.{each}' for each in Said._fields)} "
                f"WHERE (excluded.time, excluded.event_id) > "
                f"({_P}{table}.time, {_P}{table}.event_id)",
                [(*place, *word) for place, word in words.items()],
            )

    def words(self, ids: Collection[bytes]) -> dict[tuple[bytes, str], Said]:
        """Return what is kept of outcomes, by source."""
        some = self._not_beyond("words", ids)
        rows = self._among(f"SELECT id, source, {', '.join(Said._fields)} FROM {_P}words WHERE id IN", some)
        return {(bytes(row[0]), row[1]): Said(*row[2:]) for row in rows}

    def talk_words(self, conversations: Collection[str]) -> dict[tuple[str, str], Said]:
        """Return what is kept of conversations, by source."""
        rows = self._among(
            f"SELECT conversation, source, {', '.join(Said._fields)} FROM {_P}talk_words "
            "WHERE conversation IN",
            [*conversations],
        )
        return {(row[0], row[1]): Said(*row[2:]) for row in rows}

    def anything_said(self) -> bool:
        """Return whether there is any feedback."""
        return any(self._all(f"SELECT 1 FROM {_P}{table} LIMIT 1") for table in ("words", "talk_words"))

    def applied(self, ids: Collection[bytes]) -> dict[tuple[bytes, str], tuple[float | None, str | None]]:
        """Return what the labels hold of outcomes, by source: quality and label."""
        rows = self._among(f"SELECT id, source, quality, label FROM {_P}applied WHERE id IN", [*ids])
        return {(bytes(row[0]), row[1]): (row[2], row[3]) for row in rows}

    def apply(
        self,
        changed: Mapping[tuple[bytes, str], tuple[float | None, str | None]],
        labels: Mapping[LabelPlace, Sequence[float]],
        words: Mapping[WordPlace, int],
    ) -> None:
        """Note what the labels hold now, and add what that changes: LabelSums by place, and words."""
        self._put("applied", ("id", "source"), ("quality", "label"), ((*k, *v) for k, v in changed.items()))
        place = ("grain", "bucket", "key", "source")
        self._add("labels", (*place, "bin"), LabelSums._fields, ((*k, *v) for k, v in labels.items()))
        self._add("label_words", (*place, "label"), ("n",), ((*k, n) for k, n in words.items()))

    def cells(self, grain: int, low: str | None, high: str | None, fields: Mapping[str, str]) -> list[Any]:
        """Return the rows of cells from a bucket on and before another: FIELDS, bucket, cell."""
        names = ", ".join(f"k.{name}" for name in FIELDS)
        columns = ", ".join(f"c.{name}" for name in ("bucket", *StoredCell._fields))
        sql, values = _where(grain, low, high, fields)
        return self._all(
            f"SELECT {names}, {columns} FROM {_P}cells c LEFT JOIN {_P}keys k ON k.id = c.key {sql}",
            values,
        )

    def labels(self, grain: int, low: str | None, high: str | None, fields: Mapping[str, str]) -> list[Any]:
        """Return the rows of labels likewise: FIELDS, bucket, source, bin, sums."""
        return self._said("labels", ("bin", *LabelSums._fields), _where(grain, low, high, fields))

    def label_words(
        self, grain: int, low: str | None, high: str | None, fields: Mapping[str, str]
    ) -> list[Any]:
        """Return the rows of labels' words likewise: FIELDS, bucket, source, label, n."""
        return self._said("label_words", ("label", "n"), _where(grain, low, high, fields))

    def _said(self, table: str, columns: Sequence[str], where: Statement) -> list[Any]:
        names = ", ".join(
            (*(f"k.{name}" for name in FIELDS), *(f"c.{n}" for n in ("bucket", "source", *columns)))
        )
        return self._all(
            f"SELECT {names} FROM {_P}{table} c LEFT JOIN {_P}keys k ON k.id = c.key {where[0]}",
            where[1],
        )

    def users(self, low: str | None, high: str | None) -> list[Any]:
        """Return users' sums from a day on and before another: name and sums, over all those days."""
        sums = ", ".join(f"SUM({name})" for name in UserSums._fields)
        bounds = [(f"day {sign} ?", day) for sign, day in ((">=", low), ("<", high)) if day is not None]
        where = f"WHERE {' AND '.join(text for text, _ in bounds)}" if bounds else ""
        return self._all(f"SELECT name, {sums} FROM {_P}users {where} GROUP BY name", [v for _, v in bounds])

    def _not_beyond(self, table: str, ids: Collection[bytes]) -> list[bytes]:
        """Return those of the ids that may be in a table: most of ours are newer than all that is there."""
        last = self._all(f"SELECT id FROM {_P}{table} ORDER BY id DESC LIMIT 1")
        return [each for each in ids if each <= bytes(last[0][0])] if last else []

    def _sql(self, sql: str) -> str:
        return sql.replace("?", "%s") if self._postgres else sql

    def _run(self, sql: str) -> None:
        self._connection.cursor().execute(sql)

    def _all(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        cursor = self._connection.cursor()
        cursor.execute(self._sql(sql), values)
        return list(cursor.fetchall())

    def _many(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        self._connection.cursor().executemany(self._sql(sql), rows)

    def _among(self, sql: str, values: Sequence[Any]) -> Iterator[Any]:
        for start in range(0, len(values), _AT_ONCE):
            some = values[start : start + _AT_ONCE]
            yield from self._all(f"{sql} ({_places(len(some))})", some)

    def _put(self, table: str, key: Sequence[str], columns: Sequence[str], rows: Iterable[Any]) -> None:
        self._upsert(table, key, columns, rows, lambda name: f"excluded.{name}")

    def _add(self, table: str, key: Sequence[str], columns: Sequence[str], rows: Iterable[Any]) -> None:
        self._upsert(table, key, columns, rows, lambda name: f"{_P}{table}.{name} + excluded.{name}")

    def _upsert(
        self,
        table: str,
        key: Sequence[str],
        columns: Sequence[str],
        rows: Iterable[Any],
        value: Callable[[str], str],
    ) -> None:
        self._many(
            f"INSERT INTO {_P}{table} ({', '.join((*key, *columns))}) "
            f"VALUES ({_places(len(key) + len(columns))}) ON CONFLICT ({', '.join(key)}) "
            f"DO UPDATE SET {', '.join(f'{name} = {value(name)}' for name in columns)}",
            rows,
        )


def cell_of(row: Sequence[Any]) -> StoredCell:
    """Return the cell of a row."""
    first, last, requests, cost_usd, numbers, histograms, overhead_usd = row
    return StoredCell(first, last, requests, cost_usd, bytes(numbers), bytes(histograms), overhead_usd)


def _places(n: int) -> str:
    return ", ".join("?" * n)


def _where(grain: int, low: str | None, high: str | None, fields: Mapping[str, str]) -> Statement:
    parts: list[tuple[str, Any]] = [("c.grain = ?", grain)]
    parts += [(f"c.bucket {sign} ?", b) for sign, b in ((">=", low), ("<", high)) if b is not None]
    parts += [(f"k.{name} = ?", value) for name, value in fields.items()]
    return "WHERE " + " AND ".join(text for text, _ in parts), [value for _, value in parts]


_CELL = ", ".join(StoredCell._fields)
_SAID = "time TEXT NOT NULL, event_id TEXT NOT NULL, quality DOUBLE PRECISION, label TEXT"
_IN_CELL = "grain BIGINT NOT NULL, bucket TEXT NOT NULL, key BIGINT NOT NULL"


def _sums(names: Iterable[str]) -> str:
    return ", ".join(f"{name} DOUBLE PRECISION NOT NULL" for name in names)


_TABLES = {
    "facts": "name TEXT PRIMARY KEY, value TEXT NOT NULL",
    "segments": "id TEXT PRIMARY KEY, name TEXT NOT NULL, size BIGINT NOT NULL, changed_ns BIGINT NOT NULL, "
    "position BIGINT NOT NULL, bad_lines BIGINT NOT NULL, foreign_lines BIGINT NOT NULL, "
    "torn BIGINT NOT NULL",
    "keys": "id BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE, "
    f"{', '.join(f'{name} TEXT' for name in FIELDS)}",
    "cells": f"{_IN_CELL}, first TEXT NOT NULL, last TEXT NOT NULL, {_sums(SHOWN)}, numbers BLOB NOT NULL, "
    "histograms BLOB NOT NULL, overhead_usd TEXT NOT NULL, PRIMARY KEY (grain, bucket, key)",
    "users": f"day TEXT NOT NULL, name TEXT NOT NULL, {_sums(UserSums._fields)}, PRIMARY KEY (day, name)",
    "outcomes": "begins BLOB PRIMARY KEY, ids BLOB NOT NULL, instants BLOB NOT NULL, keys BLOB NOT NULL, "
    "confidences BLOB NOT NULL, holdbacks BLOB NOT NULL, talks TEXT NOT NULL",
    "members": "month BIGINT NOT NULL, conversation TEXT NOT NULL, id BLOB NOT NULL, "
    "PRIMARY KEY (month, conversation, id)",
    "words": f"id BLOB NOT NULL, source TEXT NOT NULL, {_SAID}, PRIMARY KEY (id, source)",
    "talk_words": f"conversation TEXT NOT NULL, source TEXT NOT NULL, {_SAID}, "
    "PRIMARY KEY (conversation, source)",
    "applied": "id BLOB NOT NULL, source TEXT NOT NULL, quality DOUBLE PRECISION, label TEXT, "
    "PRIMARY KEY (id, source)",
    "labels": f"{_IN_CELL}, source TEXT NOT NULL, bin BIGINT NOT NULL, {_sums(LabelSums._fields)}, "
    "PRIMARY KEY (grain, bucket, key, source, bin)",
    "label_words": f"{_IN_CELL}, source TEXT NOT NULL, label TEXT NOT NULL, n DOUBLE PRECISION NOT NULL, "
    "PRIMARY KEY (grain, bucket, key, source, label)",
}
"""Columns by table. `outcomes` leads from an outcome to its cell, for what is said of it later; its rows are
pages, as Outcomes packs them. `members` leads from a conversation to its outcomes, month by month, so that
what is new is written to a small part of it."""
