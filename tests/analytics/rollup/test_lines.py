"""Ids as the tables keep them, computed here from hexadecimal text and not by the code."""

import hashlib
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartroute.analytics.rollup.lines import compact, compact_all

ours = st.uuids().map(lambda own_id: own_id.hex)
theirs = st.one_of(
    st.text(max_size=40),
    st.text("0123456789abcdef", min_size=30, max_size=34),
    st.text("0123456789ABCDEFxyz- ", min_size=32, max_size=32),
)


def kept(event_id):
    """Return an id as it should be kept: the 16 bytes of `uuid4().hex`, or as many of a hash."""
    if len(event_id) == 32 and set(event_id) <= set("0123456789abcdef"):
        return int(event_id, 16).to_bytes(16)
    return hashlib.blake2b(event_id.encode(), digest_size=16).digest()


@given(st.lists(ours, max_size=6), st.lists(theirs, max_size=3), st.randoms())
def test_ids_are_kept_as_their_16_bytes_and_those_of_others_as_a_hash(mine, others, order):
    ids = mine + others
    order.shuffle(ids)
    assert compact_all(ids) == [kept(event_id) for event_id in ids]
    assert [compact(event_id) for event_id in ids] == [kept(event_id) for event_id in ids]


@pytest.mark.parametrize(
    "odd",
    [
        *("AB" * 16, "ab " * 10 + "ab", " " * 32, "é" * 32, "٣" * 32, "zz" * 16),
        *("0x" + "ab" * 15, "ab" * 15 + "\n\n"),
    ],
)
def test_what_only_looks_like_an_id_of_ours_is_not_taken_for_one(odd):
    neighbors = [uuid.UUID(int=1).hex, odd, uuid.UUID(int=2).hex]
    assert len(odd) == 32
    assert compact_all(neighbors) == [(1).to_bytes(16), kept(odd), (2).to_bytes(16)]


def test_two_that_are_no_ids_do_not_make_two_that_are():
    first, second = "a" * 31, "b" * 33
    assert compact_all([first, second]) == [kept(first), kept(second)]


def test_of_no_ids_there_are_none():
    assert compact_all([]) == []
