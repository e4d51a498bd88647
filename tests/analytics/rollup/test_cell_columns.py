"""Cells in columns, held against cells that are packed and added up one by one with struct and dicts."""

import json
import struct
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import examples

from smartroute.analytics.rollup.cell_columns import Cells, Columns, summed
from smartroute.analytics.rollup.cells import NUMBERS, StoredCell

SHOWN = 2
whole = st.integers(0, 1_000).map(float)
number_indexes = st.dictionaries(st.integers(SHOWN, len(NUMBERS) - 1), whole.filter(bool), max_size=8)
times = st.integers(0, 59).map(lambda minute: f"2026-11-23T08:{minute:02d}:00.000000Z")
slots = st.tuples(st.integers(0, 2), st.sampled_from([-32_768, -400, -1, 0, 7, 32_767]))


@st.composite
def plain_cells(draw):
    """A cell as plain values; whole numbers, so that sums are exact in any order."""
    first, last = sorted((draw(times), draw(times)))
    return {
        "first": first,
        "last": last,
        "shown": [draw(whole), draw(whole)],
        "numbers": draw(number_indexes),
        "slots": Counter(draw(st.dictionaries(slots, st.integers(1, 5), max_size=5))),
        "overhead": draw(st.dictionaries(st.sampled_from(["judge", "sample"]), whole, max_size=2)),
    }


cells = st.lists(plain_cells(), min_size=1, max_size=6)


def stored(cell):
    """Return a cell as the tables have it: a mask of what is not 0, those numbers, histograms in order."""
    mask = sum(1 << index - SHOWN for index in cell["numbers"])
    numbers = [cell["numbers"][index] for index in sorted(cell["numbers"])]
    return StoredCell(
        cell["first"],
        cell["last"],
        *cell["shown"],
        mask.to_bytes(8, "little") + struct.pack(f"<{len(numbers)}d", *numbers),
        b"".join(struct.pack("<BhI", *slot, n) for slot, n in sorted(cell["slots"].items())),
        json.dumps(cell["overhead"]),
    )


def together(among):
    """Return several cells as one, by plain addition."""
    numbers, overhead = defaultdict(float), defaultdict(float)
    for cell in among:
        for sums, values in ((numbers, cell["numbers"]), (overhead, cell["overhead"])):
            for name, value in values.items():
                sums[name] += value
    return {
        "first": min(cell["first"] for cell in among),
        "last": max(cell["last"] for cell in among),
        "shown": [sum(column) for column in zip(*(cell["shown"] for cell in among), strict=True)],
        "numbers": dict(numbers),
        "slots": sum((cell["slots"] for cell in among), Counter()),
        "overhead": dict(overhead),
    }


def same(rows, expected):
    """Hold rows of stored cells against plain ones; the order of overheads says nothing."""
    for mine, plain in zip(map(StoredCell._make, rows), expected, strict=True):
        theirs = stored(plain)
        assert json.loads(mine.overhead_usd) == plain["overhead"]
        assert mine._replace(overhead_usd="") == theirs._replace(overhead_usd="")


@examples(100, quick=25)
@given(cells)
def test_cells_that_are_unpacked_are_packed_the_same(cells_given):
    same(Columns.unpacked([stored(cell) for cell in cells_given]).packed(), cells_given)


@examples(100, quick=25)
@given(st.lists(st.tuples(st.integers(0, 2), plain_cells()), min_size=1, max_size=8))
def test_cells_within_others_add_up(cells_given):
    import numpy as np

    groups = sorted({group for group, _ in cells_given})
    parents = np.array([groups.index(group) for group, _ in cells_given])
    columns = Columns.unpacked([stored(cell) for _, cell in cells_given])
    expected = [together([cell for of, cell in cells_given if of == group]) for group in groups]
    same(columns.within(parents, len(groups)).packed(), expected)


@examples(100, quick=25)
@given(cells, cells, cells)
def test_cells_that_are_joined_follow_one_another(one, two, three):
    first, *others = (Columns.unpacked([stored(cell) for cell in group]) for group in (one, two, three))
    same(first.joined(*others).packed(), one + two + three)


@examples(100, quick=25)
@given(cells, st.data())
def test_cells_that_are_stored_under_the_same_ids_are_added(cells_given, data):
    at = [(13, f"2026-11-23T{hour:02d}", 1) for hour in range(len(cells_given))]
    known = data.draw(st.dictionaries(st.sampled_from(at), plain_cells()))
    made = Cells(at, Columns.unpacked([stored(cell) for cell in cells_given]))
    rows = list(made.with_stored({cell_id: stored(cell) for cell_id, cell in known.items()}))
    expected = [
        together([cell, known[cell_id]]) if cell_id in known else cell
        for cell_id, cell in zip(at, cells_given, strict=True)
    ]
    assert [row[:3] for row in rows] == list(made.ids) == at
    same([row[3:] for row in rows], expected)


@pytest.mark.parametrize(
    "field",
    [
        {"histograms": struct.pack("<BhI", 3, 0, 1)},
        {"histograms": b"abc"},
        {"numbers": b"\x01" + bytes(7)},
        {"numbers": b""},
        {"overhead_usd": "{"},
        {"first": "soon"},
    ],
)
def test_damaged_values_are_refused(field):
    empty = {
        "first": "2026-11-23T08:00:00.000000Z",
        "last": "2026-11-23T08:00:00.000000Z",
        "shown": [0.0, 0.0],
        "numbers": {},
        "slots": Counter(),
        "overhead": {},
    }
    with pytest.raises(ValueError):
        Columns.unpacked([stored(empty)._replace(**field)])


def test_columns_are_summed_by_cell():
    import numpy as np

    columns = (np.array([1.0, 2.0, 4.0]), np.array([True, False, True]))
    cells_given = summed(columns, np.array([2, 0, 2]), 4)
    assert cells_given.tolist() == [[2.0, 0.0], [0.0, 0.0], [5.0, 2.0], [0.0, 0.0]]
