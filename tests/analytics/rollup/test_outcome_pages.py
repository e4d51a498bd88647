"""The pages of outcomes hold what a dictionary would, however the outcomes come."""

import random
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiers import examples

np = pytest.importorskip("numpy")

from smartroute.analytics.rollup import outcome_pages  # noqa: E402
from smartroute.analytics.rollup.instants import instants_of  # noqa: E402
from smartroute.analytics.rollup.lines import compact_all  # noqa: E402
from smartroute.analytics.rollup.outcome_pages import Outcomes, StoredOutcome  # noqa: E402
from smartroute.analytics.rollup.tables import Tables  # noqa: E402

TIMES = ("0001-01-01T00:00:00.000000Z", "2026-11-10T05:30:00.000001Z", "9999-12-31T23:59:59.999999Z")
IDS = st.one_of(
    st.integers(0, 40).map(lambda n: n.to_bytes(16)),
    st.integers(0, 40).map(lambda n: n.to_bytes(2) + bytes(14)),  # which end in zeros
    st.binary(min_size=16, max_size=16),
)
WHERE = st.builds(
    StoredOutcome,
    st.sampled_from(TIMES),
    st.integers(1, 2**31 - 1),
    st.none() | st.floats(0, 1),
    st.sampled_from([None, None, "chat", "", "\N{SNOWMAN}"]),
    st.sampled_from([0, outcome_pages.HELD, outcome_pages.ROUTED]),
)


def columns(outcomes):
    """Lay out what a dictionary holds, as a batch of events does."""
    times, keys, confidences, conversations, holdbacks = zip(*outcomes.values(), strict=True)
    return Outcomes.of(
        [*outcomes],
        instants_of(times),
        np.array(keys),
        np.array([np.nan if confidence is None else confidence for confidence in confidences]),
        np.array(holdbacks),
        conversations,
    )


@pytest.fixture(scope="module")
def database():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


@pytest.mark.parametrize("most", [1, 2, 3, 256])
@examples(100, quick=25)
@given(loads=st.lists(st.dictionaries(IDS, WHERE, min_size=1, max_size=12), max_size=8), asked=st.lists(IDS))
def test_pages_hold_what_a_dictionary_would(database, most, loads, asked):
    tables = Tables(database)
    tables.clear()
    held: dict[bytes, StoredOutcome] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outcome_pages, "PAGE_OUTCOMES", most)
        for load in loads:
            assert tables.known(load) == load.keys() & held.keys()
            if new := {key: outcome for key, outcome in load.items() if key not in held}:
                tables.add_outcomes(columns(new))
                held |= new
    wanted = {*asked, *list(held)[::2]}
    assert tables.known(wanted) == wanted & held.keys()
    assert tables.outcomes(wanted) == {key: held[key] for key in wanted & held.keys()}
    conversations = {where.conversation for where in held.values()} - {None}
    assert {name: {*ids} for name, ids in tables.outcomes_of(conversations).items()} == {
        name: {key for key, outcome in held.items() if outcome.conversation == name} for name in conversations
    }
    rows = database.execute("SELECT start_id, ids FROM rollup7_outcomes ORDER BY start_id").fetchall()
    assert b"".join(ids for _, ids in rows) == b"".join(sorted(held))
    assert all(len(ids) <= 16 * most and ids[:16] >= start_id for start_id, ids in rows)


def test_ids_in_no_order_fill_pages_by_halves_at_least(database):
    dice = random.Random(7)
    tables = Tables(database)
    tables.clear()
    for _ in range(40):
        load = {dice.randbytes(16): StoredOutcome(TIMES[1], 1, None, None, 0) for _ in range(100)}
        tables.add_outcomes(columns(load))
    full = [
        len(ids) // 16
        for (ids,) in database.execute("SELECT ids FROM rollup7_outcomes ORDER BY start_id").fetchall()
    ]
    assert sum(full) == 4_000
    assert min(full) >= outcome_pages.PAGE_OUTCOMES // 2


@pytest.mark.parametrize(
    "row",
    [
        (b"x" * 16, b"", b"", b"", b"", ""),
        (b"x" * 16, b"x" * 7, b"x" * 4, b"x" * 8, b"x", ""),
        (b"x" * 16, b"x" * 8, b"x" * 4, b"x" * 8, b"x", "["),
        (b"x" * 16, b"x" * 8, b"x" * 4, b"x" * 8, b"x", "[]"),
        (b"x" * 15, b"x" * 8, b"x" * 4, b"x" * 8, b"x", ""),
    ],
)
def test_damaged_values_are_refused(row):
    with pytest.raises(ValueError):
        Outcomes.unpacked(row)


def test_the_ids_of_smartroute_keep_their_order():
    ids = [f"{n:032x}" for n in (0, 9, 10, 2**64, 2**127, 2**128 - 1)]
    assert compact_all(ids) == sorted(compact_all(ids)) == [bytes.fromhex(event_id) for event_id in ids]
