"""The SQL tables of a rollup, on a DB-API connection to SQLite (standard library) or PostgreSQL (psycopg)."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, TypeAlias

from smartroute.analytics.rollup.cells import FIELDS, SHOWN, CellId, Key, StoredCell, UserSums
from smartroute.analytics.rollup.connection import AT_ONCE, Connection, marks
from smartroute.analytics.rollup.outcome_pages import COLUMNS, Outcomes, StoredOutcome, sorted_ids

VERSION = 7
"""Rises when the tables' layout or the meaning of figures changes. A rollup of another version is rebuilt."""

_P = f"rollup{VERSION}_"
"""The prefix of the tables' names: two versions of the library can keep their rollups side by side."""

Statement: TypeAlias = tuple[str, Sequence[Any]]


class SegmentState(NamedTuple):
    """How far a segment was read. By `name`, `size` and `changed_ns` a reader sees whether it has changed."""

    id: str
    name: str
    size: int
    changed_ns: int
    position: int
    bad_lines: int
    foreign_lines: int
    torn: int


Rating: TypeAlias = tuple[float | None, str | None]
"""The quality and the label of a feedback."""


class StoredFeedback(NamedTuple):
    """A source's feedback about an outcome or a conversation. The latest counts, by time and then by id."""

    time: str
    event_id: str
    quality: float | None
    label: str | None

    @property
    def rating(self) -> Rating:
        """Return its quality and its label."""
        return self.quality, self.label


class LabelSums(NamedTuple):
    """Sums of quality, and of a second value: confidence or a judge's quality. As the fields of Joint."""

    n: float = 0.0
    total: float = 0.0
    squares: float = 0.0
    other_total: float = 0.0
    other_squares: float = 0.0
    products: float = 0.0


LabelId: TypeAlias = tuple[int, str, int, str, int]
"""Grain, bucket, key, source, and bin: a tenth of confidence, or one of the following constants."""

UNKNOWN_CONFIDENCE = -1
ANY_FEEDBACK = -2
"""Not a tenth: counts the outcomes that have feedback, including feedback without a quality."""

HELD, ROUTED, WITH_JUDGE = -3, -4, -5
"""Not tenths: the ratings under a holdback, counted a second time, and those beside a judge's."""

LabelCountId: TypeAlias = tuple[int, str, int, str, str]
"""Grain, bucket, key, source, label."""


class Tables:
    """The rollup's tables on one connection. Every method but `transaction` runs inside a transaction."""

    def __init__(self, connection: Any, *, postgres: bool = False) -> None:
        self._sql = Connection(connection, postgres=postgres)

    def transaction(self, *, write: bool) -> AbstractContextManager[None]:
        """Start a transaction, and commit it or roll it back. Writers wait for each other."""
        return self._sql.transaction(write=write)

    def close(self) -> None:
        """Close the connection."""
        self._sql.close()

    def create(self) -> None:
        """Create the tables that do not exist."""
        for table, columns in _TABLES.items():
            self._sql.create_table(f"{_P}{table}", columns)

    def clear(self) -> None:
        """Drop all tables, and create empty ones."""
        for table in _TABLES:
            self._sql.run(f"DROP TABLE IF EXISTS {_P}{table}")
        self.create()

    def facts(self) -> dict[str, str]:
        """Return the facts about the rollup itself by name. There are none before the tables exist."""
        exists = self._sql.has_table(f"{_P}facts")
        return dict(self._sql.rows(f"SELECT name, value FROM {_P}facts")) if exists else {}

    def note(self, **facts: str) -> None:
        """Store facts about the rollup itself."""
        self._sql.put(f"{_P}facts", ("name",), ("value",), facts.items())

    def segments(self) -> dict[str, SegmentState]:
        """Return how far each segment was read, by id."""
        rows = self._sql.rows(f"SELECT {', '.join(SegmentState._fields)} FROM {_P}segments")
        return {row[0]: SegmentState(*row) for row in rows}

    def segment(self, segment_id: str) -> SegmentState | None:
        """Return how far a segment was read, None for one that is new."""
        rows = self._sql.rows(
            f"SELECT {', '.join(SegmentState._fields)} FROM {_P}segments WHERE id = ?", [segment_id]
        )
        return SegmentState(*rows[0]) if rows else None

    def put_segment(self, state: SegmentState) -> None:
        """Store how far a segment was read."""
        self._sql.put(f"{_P}segments", ("id",), SegmentState._fields[1:], [state])

    def remove_segments(self, ids: Iterable[str]) -> None:
        """Delete what is stored about segments."""
        self._sql.many(f"DELETE FROM {_P}segments WHERE id = ?", [(segment_id,) for segment_id in ids])

    def key(self, fields: Key) -> int:
        """Return the number of a combination of fields. A new combination gets a new number."""
        name = json.dumps(fields)
        rows = self._sql.rows(f"SELECT id FROM {_P}keys WHERE name = ?", [name])
        if rows:
            return int(rows[0][0])
        number = int(self._sql.rows(f"SELECT COALESCE(MAX(id), 0) + 1 FROM {_P}keys")[0][0])
        self._sql.put(f"{_P}keys", ("id",), ("name", *FIELDS), [(number, name, *fields)])
        return number

    def known(self, ids: Collection[bytes]) -> set[bytes]:
        """Return which of these outcomes are stored."""
        if not ids:
            return set()
        wanted = sorted_ids(ids)
        known: set[bytes] = set()
        for _, page, start, end in self._pages(wanted):
            known.update(page.at(page.indexes_of(wanted[start:end])).id_list())
        return known

    def add_outcomes(self, new: Outcomes) -> None:
        """Store new outcomes, which must be in the order of their ids."""
        rows: list[tuple[Any, ...]] = []
        for start_id, page, start, end in self._pages(new.ids):
            whole = Outcomes.joined([page, new.between(start, end)]).in_order()
            first, *others = whole.pages()
            rows.append((start_id, *first.packed()))
            rows += [(other.first_id, *other.packed()) for other in others]
        self._sql.put(f"{_P}outcomes", ("start_id",), COLUMNS, rows)
        self._sql.many(
            f"INSERT INTO {_P}conversations (month, conversation, outcome_id) VALUES (?, ?, ?)",
            new.by_conversation(),
        )

    def outcomes(self, ids: Collection[bytes]) -> dict[bytes, StoredOutcome]:
        """Return those of these outcomes that are stored, by id."""
        if not ids:
            return {}
        wanted = sorted_ids(ids)
        pages = self._pages(wanted)
        stored = [page.at(page.indexes_of(wanted[start:end])) for _, page, start, end in pages]
        return Outcomes.joined(stored).by_id()

    def _pages(self, ids: Any) -> Iterator[tuple[bytes, Outcomes, int, int]]:
        """Yield each page that some of these sorted ids belong to.

        Yields the page's `start_id`, the page, and the start and end indexes of its ids. The first page
        starts before all ids. Before it is stored, an empty page is yielded.
        """
        columns = f"SELECT start_id, {', '.join(COLUMNS)} FROM {_P}outcomes WHERE start_id"
        start = 0
        while start < len(ids):
            first = ids[start : start + 1].tobytes()
            page = self._sql.rows(f"{columns} <= ? ORDER BY start_id DESC LIMIT 1", [first])
            after = self._sql.rows(
                f"SELECT start_id FROM {_P}outcomes WHERE start_id > ? ORDER BY start_id LIMIT 1", [first]
            )
            end = int(ids.searchsorted(bytes(after[0][0]))) if after else len(ids)
            if page:
                yield bytes(page[0][0]), Outcomes.unpacked(page[0][1:]), start, end
            else:
                yield b"", Outcomes.unpacked([b""] * len(COLUMNS)), start, end
            start = end

    def outcomes_of(self, conversations: Collection[str]) -> dict[str, list[bytes]]:
        """Return the ids of the outcomes of each conversation that has any."""
        outcome_ids: dict[str, list[bytes]] = {}
        names, month = [*conversations], -1
        following = f"SELECT month FROM {_P}conversations WHERE month > ? ORDER BY month LIMIT 1"
        while names and (months := self._sql.rows(following, [month])):
            month = int(months[0][0])
            rows = (
                f"SELECT conversation, outcome_id FROM {_P}conversations "
                f"WHERE month = {month} AND conversation IN"
            )
            for conversation, outcome_id in self._sql.among(rows, names):
                outcome_ids.setdefault(conversation, []).append(bytes(outcome_id))
        return outcome_ids

    def cells_of(self, ids: Iterable[CellId]) -> dict[CellId, StoredCell]:
        """Return those of these cells that are stored."""
        wanted: dict[tuple[int, str], set[int]] = {}
        for grain, bucket, key in ids:
            wanted.setdefault((grain, bucket), set()).add(key)
        cells: dict[CellId, StoredCell] = {}
        for (grain, bucket), keys in wanted.items():
            sql = f"SELECT key, {_CELL} FROM {_P}cells WHERE grain = ? AND bucket = ?"
            # Of too many keys for one statement, all cells of the bucket are read.
            many = len(keys) > AT_ONCE
            sql += "" if many else f" AND key IN ({marks(len(keys))})"
            for row in self._sql.rows(sql, [grain, bucket, *([] if many else keys)]):
                if row[0] in keys:
                    cells[grain, bucket, row[0]] = cell_of(row[1:])
        return cells

    def put_cells(self, cells: Iterable[tuple[Any, ...]]) -> None:
        """Insert or replace cells: rows of CellId and StoredCell."""
        self._sql.put(f"{_P}cells", ("grain", "bucket", "key"), StoredCell._fields, cells)

    def add_users(self, sums: Iterable[Sequence[Any]]) -> None:
        """Add to the sums of users by day: rows of day, name and UserSums."""
        self._sql.add(f"{_P}users", ("day", "name"), UserSums._fields, sums)

    def add_feedback(
        self,
        by_outcome: Mapping[tuple[bytes, str], StoredFeedback],
        by_conversation: Mapping[tuple[str, str], StoredFeedback],
    ) -> None:
        """Store feedback by outcome or conversation, and source, unless later feedback is stored already."""
        for table, name, rows in (
            ("feedback", "outcome_id", by_outcome),
            ("conversation_feedback", "conversation", by_conversation),
        ):
            self._sql.many(
                f"INSERT INTO {_P}{table} ({name}, source, {_FEEDBACK}) "
                f"VALUES ({marks(2 + len(StoredFeedback._fields))}) ON CONFLICT ({name}, source) "
                f"DO UPDATE SET {', '.join(f'{f} = excluded.{f}' for f in StoredFeedback._fields)} "
                f"WHERE (excluded.time, excluded.event_id) > "
                f"({_P}{table}.time, {_P}{table}.event_id)",
                [(*about, *feedback) for about, feedback in rows.items()],
            )

    def feedback(self, outcome_ids: Collection[bytes]) -> dict[tuple[bytes, str], StoredFeedback]:
        """Return the feedback about outcomes themselves, by outcome and source."""
        rows = self._sql.among(
            f"SELECT outcome_id, source, {_FEEDBACK} FROM {_P}feedback WHERE outcome_id IN",
            self._not_beyond_feedback(outcome_ids),
        )
        return {(bytes(row[0]), row[1]): StoredFeedback(*row[2:]) for row in rows}

    def conversation_feedback(self, conversations: Collection[str]) -> dict[tuple[str, str], StoredFeedback]:
        """Return the feedback about conversations, by conversation and source."""
        rows = self._sql.among(
            f"SELECT conversation, source, {_FEEDBACK} FROM {_P}conversation_feedback WHERE conversation IN",
            [*conversations],
        )
        return {(row[0], row[1]): StoredFeedback(*row[2:]) for row in rows}

    def has_feedback(self) -> bool:
        """Return whether there is any feedback."""
        tables = ("feedback", "conversation_feedback")
        return any(self._sql.rows(f"SELECT 1 FROM {_P}{table} LIMIT 1") for table in tables)

    def ratings(self, outcome_ids: Collection[bytes]) -> dict[tuple[bytes, str], Rating]:
        """Return the ratings of outcomes that the labels' sums contain, by outcome and source."""
        sql = f"SELECT outcome_id, source, quality, label FROM {_P}ratings WHERE outcome_id IN"
        rows = self._sql.among(sql, [*outcome_ids])
        return {(bytes(row[0]), row[1]): (row[2], row[3]) for row in rows}

    def change_ratings(
        self,
        ratings: Mapping[tuple[bytes, str], Rating],
        sums: Mapping[LabelId, Sequence[float]],
        counts: Mapping[LabelCountId, int],
    ) -> None:
        """Store ratings, and add to the labels' sums and counts what these ratings change in them."""
        rows = ((*outcome, *rating) for outcome, rating in ratings.items())
        self._sql.put(f"{_P}ratings", ("outcome_id", "source"), ("quality", "label"), rows)
        key = ("grain", "bucket", "key", "source")
        self._sql.add(f"{_P}labels", (*key, "bin"), LabelSums._fields, ((*k, *v) for k, v in sums.items()))
        self._sql.add(f"{_P}label_counts", (*key, "label"), ("n",), ((*k, n) for k, n in counts.items()))

    def cells(self, grain: int, low: str | None, high: str | None, fields: Mapping[str, str]) -> list[Any]:
        """Return the rows of cells from bucket `low` on and before `high`: FIELDS, bucket, StoredCell."""
        names = ", ".join(f"k.{name}" for name in FIELDS)
        columns = ", ".join(f"c.{name}" for name in ("bucket", *StoredCell._fields))
        sql, values = _where(grain, low, high, fields)
        return self._sql.rows(
            f"SELECT {names}, {columns} FROM {_P}cells c LEFT JOIN {_P}keys k ON k.id = c.key {sql}",
            values,
        )

    def labels(self, grain: int, low: str | None, high: str | None, fields: Mapping[str, str]) -> list[Any]:
        """Return the rows of labels in the same way: FIELDS, bucket, source, bin, LabelSums."""
        return self._label_rows("labels", ("bin", *LabelSums._fields), _where(grain, low, high, fields))

    def label_counts(
        self, grain: int, low: str | None, high: str | None, fields: Mapping[str, str]
    ) -> list[Any]:
        """Return the counts of labels in the same way: FIELDS, bucket, source, label, n."""
        return self._label_rows("label_counts", ("label", "n"), _where(grain, low, high, fields))

    def _label_rows(self, table: str, columns: Sequence[str], where: Statement) -> list[Any]:
        names = ", ".join(
            (*(f"k.{name}" for name in FIELDS), *(f"c.{n}" for n in ("bucket", "source", *columns)))
        )
        return self._sql.rows(
            f"SELECT {names} FROM {_P}{table} c LEFT JOIN {_P}keys k ON k.id = c.key {where[0]}",
            where[1],
        )

    def users(self, low: str | None, high: str | None) -> list[Any]:
        """Return rows of name and UserSums, over the days from `low` on and before `high`."""
        sums = ", ".join(f"SUM({name})" for name in UserSums._fields)
        bounds = [(f"day {sign} ?", day) for sign, day in ((">=", low), ("<", high)) if day is not None]
        where = f"WHERE {' AND '.join(text for text, _ in bounds)}" if bounds else ""
        return self._sql.rows(
            f"SELECT name, {sums} FROM {_P}users {where} GROUP BY name", [v for _, v in bounds]
        )

    def _not_beyond_feedback(self, outcome_ids: Collection[bytes]) -> list[bytes]:
        """Return the ids that feedback may be stored for.

        Ids rise with time, so that most new outcomes are beyond the last one that has feedback.
        """
        last = self._sql.rows(f"SELECT outcome_id FROM {_P}feedback ORDER BY outcome_id DESC LIMIT 1")
        return [outcome_id for outcome_id in outcome_ids if outcome_id <= bytes(last[0][0])] if last else []


def cell_of(row: Sequence[Any]) -> StoredCell:
    """Return the cell of a row."""
    first, last, requests, cost_usd, numbers, histograms, overhead_usd = row
    return StoredCell(first, last, requests, cost_usd, bytes(numbers), bytes(histograms), overhead_usd)


def _where(grain: int, low: str | None, high: str | None, fields: Mapping[str, str]) -> Statement:
    terms: list[tuple[str, Any]] = [("c.grain = ?", grain)]
    terms += [(f"c.bucket {sign} ?", b) for sign, b in ((">=", low), ("<", high)) if b is not None]
    terms += [(f"k.{name} = ?", value) for name, value in fields.items()]
    return "WHERE " + " AND ".join(text for text, _ in terms), [value for _, value in terms]


_CELL = ", ".join(StoredCell._fields)
_FEEDBACK = ", ".join(StoredFeedback._fields)
_FEEDBACK_COLUMNS = "time TEXT NOT NULL, event_id TEXT NOT NULL, quality DOUBLE PRECISION, label TEXT"
_CELL_ID = "grain BIGINT NOT NULL, bucket TEXT NOT NULL, key BIGINT NOT NULL"


def _sums(names: Iterable[str]) -> str:
    return ", ".join(f"{name} DOUBLE PRECISION NOT NULL" for name in names)


_TABLES = {
    "facts": "name TEXT PRIMARY KEY, value TEXT NOT NULL",
    "segments": "id TEXT PRIMARY KEY, name TEXT NOT NULL, size BIGINT NOT NULL, changed_ns BIGINT NOT NULL, "
    "position BIGINT NOT NULL, bad_lines BIGINT NOT NULL, foreign_lines BIGINT NOT NULL, "
    "torn BIGINT NOT NULL",
    "keys": "id BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE, "
    f"{', '.join(f'{name} TEXT' for name in FIELDS)}",
    "cells": f"{_CELL_ID}, first TEXT NOT NULL, last TEXT NOT NULL, {_sums(SHOWN)}, numbers BLOB NOT NULL, "
    "histograms BLOB NOT NULL, overhead_usd TEXT NOT NULL, PRIMARY KEY (grain, bucket, key)",
    "users": f"day TEXT NOT NULL, name TEXT NOT NULL, {_sums(UserSums._fields)}, PRIMARY KEY (day, name)",
    "outcomes": "start_id BLOB PRIMARY KEY, ids BLOB NOT NULL, instants BLOB NOT NULL, keys BLOB NOT NULL, "
    "confidences BLOB NOT NULL, holdbacks BLOB NOT NULL, conversations TEXT NOT NULL",
    "conversations": "month BIGINT NOT NULL, conversation TEXT NOT NULL, outcome_id BLOB NOT NULL, "
    "PRIMARY KEY (month, conversation, outcome_id)",
    "feedback": f"outcome_id BLOB NOT NULL, source TEXT NOT NULL, {_FEEDBACK_COLUMNS}, "
    "PRIMARY KEY (outcome_id, source)",
    "conversation_feedback": f"conversation TEXT NOT NULL, source TEXT NOT NULL, {_FEEDBACK_COLUMNS}, "
    "PRIMARY KEY (conversation, source)",
    "ratings": "outcome_id BLOB NOT NULL, source TEXT NOT NULL, quality DOUBLE PRECISION, label TEXT, "
    "PRIMARY KEY (outcome_id, source)",
    "labels": f"{_CELL_ID}, source TEXT NOT NULL, bin BIGINT NOT NULL, {_sums(LabelSums._fields)}, "
    "PRIMARY KEY (grain, bucket, key, source, bin)",
    "label_counts": f"{_CELL_ID}, source TEXT NOT NULL, label TEXT NOT NULL, n DOUBLE PRECISION NOT NULL, "
    "PRIMARY KEY (grain, bucket, key, source, label)",
}
"""Columns by table. `outcomes` leads from an outcome to its cell, for feedback that comes later; its rows are
pages, as Outcomes packs them. `conversations` leads from a conversation to its outcomes, month by month, so
that new outcomes are written to a small region of the table."""
