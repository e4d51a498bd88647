"""Times as numbers, held against what Python's own datetime reads out of the same texts."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartroute.analytics.rollup.cells import DAY, HOUR, MONTH, YEAR
from smartroute.analytics.rollup.instants import LENGTHS, instants_of, texts_of

moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999))
several = st.lists(moments, min_size=1, max_size=8)
EDGES = [
    *(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)),
    *(datetime(2024, 2, 29, 23, 59, 59, 999_999), datetime(2024, 3, 1), datetime(2026, 12, 31, 23)),
]


def written(moment):
    """Return a moment as events write it; strftime leaves out the zeros of an early year."""
    return f"{moment.strftime('%Y-%m-%dT%H:%M:%S.%fZ'):0>27}"


@pytest.mark.parametrize("moment", EDGES)
def test_the_edges_of_the_calendar_come_back(moment):
    assert texts_of(instants_of([written(moment)])) == [written(moment)]


@given(several)
def test_times_come_back_unchanged_and_in_the_same_order(moments):
    texts = [written(moment) for moment in moments]
    assert texts_of(instants_of(texts)) == texts


@given(moments, moments)
def test_instants_compare_as_the_times_do(one, other):
    first, second = instants_of([written(one), written(other)]).tolist()
    assert (first < second, first == second) == (one < other, one == other)


@given(moments)
def test_an_instant_counts_months_of_31_days(moment):
    (instant,) = instants_of([written(moment)]).tolist()
    days = ((moment.year * 12) + moment.month - 1) * 31 + moment.day - 1
    since = timedelta(
        days=days,
        hours=moment.hour,
        minutes=moment.minute,
        seconds=moment.second,
        microseconds=moment.microsecond,
    )
    assert instant == since // timedelta(microseconds=1)


@given(moments, moments)
def test_times_share_an_hour_day_month_or_year_when_their_texts_start_alike(one, other):
    first, second = instants_of([written(one), written(other)]).tolist()
    for grain in (HOUR, DAY, MONTH, YEAR):
        alike = written(one)[:grain] == written(other)[:grain]
        assert (first // LENGTHS[grain] == second // LENGTHS[grain]) is alike


@given(moments)
def test_whole_hours_days_months_and_years_are_their_first_instants(moment):
    for grain in (HOUR, DAY, MONTH, YEAR):
        length = LENGTHS[grain]
        (text,) = texts_of(instants_of([written(moment)]) // length * length)
        assert text == written(moment)[:grain] + "0001-01-01T00:00:00.000000Z"[grain:]


@pytest.mark.parametrize("text", ["2026-11-23", "2026-11-23T08:00:00Z", ""])
def test_a_time_of_another_shape_is_refused(text):
    with pytest.raises(ValueError):
        instants_of([text])
