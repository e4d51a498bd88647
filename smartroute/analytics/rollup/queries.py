"""Query a rollup's tables for figures by group and sums by user, with the answers that the log would give."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from smartroute.analytics.figures import Figures, Labels
from smartroute.analytics.rollup.cells import DAY, FIELDS, HOUR, MONTH, TOTAL_HOUR, YEAR, Cell, UserSums
from smartroute.analytics.rollup.tables import (
    ANY_FEEDBACK,
    HELD,
    ROUTED,
    UNKNOWN_CONFIDENCE,
    WITH_JUDGE,
    LabelSums,
    cell_of,
)
from smartroute.analytics.sums import Joint

if TYPE_CHECKING:
    from smartroute.analytics.filter import Filter
    from smartroute.analytics.rollup.cells import StoredCell
    from smartroute.analytics.rollup.log import Log
    from smartroute.analytics.rollup.tables import Tables

Group: TypeAlias = tuple[str | None, ...]
Table: TypeAlias = dict[Group, Figures]
Piece: TypeAlias = tuple[int, str | None, str | None]
"""A grain, and its buckets from one on and before another. None: without a limit."""

_TIMES = {"hour": HOUR, "day": DAY}
_COLUMNS = {**{name: index for index, name in enumerate(FIELDS)}, "baseline": FIELDS.index("baseline_model")}
_WIDTH = len(FIELDS)
_YEARS = ("0001", "9999")
"""Between these every day has a year before and after it, so that date arithmetic cannot overflow."""


def can_answer(groupings: Iterable[Sequence[str]], where: Filter) -> bool:
    """Return whether the tables can answer this: not by single users, and only times on the full hour."""
    names = {name for grouping in groupings for name in grouping}
    return "unit" not in names and all(_on_the_hour(time) for time in (where.since, where.until))


def can_answer_users(where: Filter) -> bool:
    """Return whether the tables can answer this by user: only whole days, and no field in the filter."""
    return not fields_of(where) and all(_on_the_hour(m) and _hour(m) == 0 for m in (where.since, where.until))


def fields_of(where: Filter) -> dict[str, str]:
    """Return the fields that a filter sets, without its times."""
    fields = {name: getattr(where, name, None) for name in FIELDS}
    return {name: value for name, value in fields.items() if value is not None}


def several(log: Log, groupings: Iterable[tuple[str, ...]], where: Filter) -> dict[tuple[str, ...], Table]:
    """Return the figures by the values of each of several groupings, as Analytics.several does."""
    answers: dict[tuple[str, ...], Table] = {names: {} for names in groupings}
    fields = fields_of(where)
    by_grain: defaultdict[tuple[int, bool], list[tuple[str, ...]]] = defaultdict(list)
    for names in answers:
        # The coarsest cells that distinguish the groups; whole-hour cells where no field is needed.
        grain = max((_TIMES.get(name, YEAR) for name in names), default=YEAR)
        whole = not fields and not any(name in _COLUMNS for name in names)
        by_grain[grain, whole].append(names)
    simulated = log.traffic()
    with closing(log.connect()) as tables, tables.transaction(write=False):
        for (grain, whole), similar in by_grain.items():
            sums = {names: _Sums(names, simulated) for names in similar}
            for piece in pieces(where.since, where.until, grain):
                _read(tables, piece, fields, sums.values(), whole=whole)
            for names, group_sums in sums.items():
                answers[names] = group_sums.figures()
    return answers


def _read(
    tables: Tables, piece: Piece, fields: Mapping[str, str], every: Iterable[_Sums], *, whole: bool
) -> None:
    grain, low, high = piece
    chosen = TOTAL_HOUR if whole and grain == HOUR else grain
    for row in tables.cells(chosen, low, high, fields):
        bucket, cell = row[_WIDTH], cell_of(row[_WIDTH + 1 :])
        for sums in every:
            sums.add(row, bucket, cell)
    for row in tables.labels(chosen, low, high, fields):
        bucket, source, label_bin, *values = row[_WIDTH:]
        for sums in every:
            sums.add_label(row, bucket, source, label_bin, LabelSums(*values))
    for row in tables.label_counts(chosen, low, high, fields):
        bucket, source, label, n = row[_WIDTH:]
        for sums in every:
            sums.add_label_count(row, bucket, source, label, round(n))


class _Sums:
    """Sums of rows by the values of one grouping."""

    def __init__(self, names: tuple[str, ...], simulated: bool | None) -> None:
        self._names = names
        self._simulated = str(simulated)
        self._cells: defaultdict[Group, Cell] = defaultdict(Cell)
        self._labels: defaultdict[Group, defaultdict[tuple[str, int], list[float]]] = defaultdict(
            lambda: defaultdict(lambda: [0.0] * len(LabelSums._fields))
        )
        self._label_counts: defaultdict[Group, list[tuple[str, str, int]]] = defaultdict(list)

    def add(self, row: Sequence[Any], bucket: str, cell: StoredCell) -> None:
        self._cells[self._group(row, bucket)].add(cell)

    def add_label(
        self, row: Sequence[Any], bucket: str, source: str, label_bin: int, sums: LabelSums
    ) -> None:
        known = self._labels[self._group(row, bucket)][source, label_bin]
        for column, value in enumerate(sums):
            known[column] += value

    def add_label_count(self, row: Sequence[Any], bucket: str, source: str, label: str, n: int) -> None:
        self._label_counts[self._group(row, bucket)].append((source, label, n))

    def figures(self) -> Table:
        figures = {group: cell.figures() for group, cell in self._cells.items()}
        for group, sums in self._labels.items():
            for (source, label_bin), values in sums.items():
                if values[0]:  # 0 where later feedback has replaced all that was counted here
                    labels = figures[group].labels.setdefault(source, Labels())
                    _put_labels(labels, label_bin, LabelSums(*values))
        for group, counts in self._label_counts.items():
            for source, label, n in counts:
                if n:
                    figures[group].labels[source].words[label] += n
        return figures

    def _group(self, row: Sequence[Any], bucket: str) -> Group:
        return tuple(
            [
                bucket[: _TIMES[name]]
                if name in _TIMES
                else self._simulated
                if name == "simulated"
                else row[_COLUMNS[name]]
                for name in self._names
            ]
        )


def _put_labels(labels: Labels, label_bin: int, sums: LabelSums) -> None:
    both = Joint(round(sums.n), *sums[1:])
    if label_bin == WITH_JUDGE:
        labels.with_judge = both
    elif label_bin in (HELD, ROUTED):
        (labels.held if label_bin == HELD else labels.routed).merge(both.first)
    elif label_bin != ANY_FEEDBACK:
        labels.quality.merge(both.first)
        if label_bin != UNKNOWN_CONFIDENCE:
            labels.by_confidence[label_bin] = both


def users(log: Log, where: Filter) -> dict[str, UserSums]:
    """Return the sums over each user's requests, over whole days."""
    low, high = (None if time is None else str(time)[:DAY] for time in (where.since, where.until))
    with closing(log.connect()) as tables, tables.transaction(write=False):
        return {name: UserSums(*values) for name, *values in tables.users(low, high)}


def pieces(since: object, until: object, grain: int) -> Iterator[Piece]:
    """Yield the years, months, days and hours that make up a period, each as coarse as possible.

    `since` and `until` are whole hours or None, and no piece is coarser than `grain`.
    """
    yield from _cover(_datetime(since), _datetime(until), grain)


def _cover(low: datetime | None, high: datetime | None, grain: int) -> Iterator[Piece]:
    if low is not None and high is not None and low >= high:
        return
    if grain == HOUR:
        yield grain, _bucket(low, grain), _bucket(high, grain)
        return
    first = None if low is None else _start(low - timedelta(hours=1), grain, 1)
    last = None if high is None else _start(high, grain, 0)
    finer = {YEAR: MONTH, MONTH: DAY}.get(grain, HOUR)
    if first is not None and last is not None and first > last:
        yield from _cover(low, high, finer)
        return
    if first is not None:
        yield from _cover(low, first, finer)
    if first is None or last is None or first < last:
        yield grain, _bucket(first, grain), _bucket(last, grain)
    if last is not None:
        yield from _cover(last, high, finer)


def _start(time: datetime, grain: int, later: int) -> datetime:
    """Return the start of the day, month or year, or with `later` 1 of the next."""
    start = time.replace(hour=0, minute=0, second=0, microsecond=0)
    if grain == DAY:
        return start + timedelta(days=later)
    start = start.replace(day=1)
    if grain == YEAR:
        return start.replace(year=start.year + later, month=1)
    return (start + timedelta(days=31 * later)).replace(day=1)


def _bucket(time: datetime | None, grain: int) -> str | None:
    return None if time is None else time.strftime("%Y-%m-%dT%H").zfill(HOUR)[:grain]


def _datetime(time: object) -> datetime | None:
    return None if time is None else datetime.fromisoformat(str(time).replace("Z", "+00:00"))


def _on_the_hour(time: object) -> bool:
    return time is None or (str(time).endswith(":00:00.000000Z") and _YEARS[0] < str(time)[:4] < _YEARS[1])


def _hour(time: object) -> int:
    parsed = _datetime(time)
    return 0 if parsed is None else parsed.astimezone(UTC).hour
