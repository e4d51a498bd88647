"""Moments of random values, held against the standard library's `statistics` on the values themselves."""

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartroute.stats.moments import Moments

some = st.lists(st.floats(-100, 100), max_size=50)
NEAR = {"rel": 1e-6, "abs": 1e-6}


@given(some, some)
def test_mean_and_variance_are_those_of_the_values_however_they_came_together(one, other):
    added, taken = Moments(), Moments.of(one)
    for value in one + other:
        added.add(value)
    taken.merge(Moments.of(other))
    for moments in (added, taken):
        assert moments.n == len(one + other)
        if moments.n:
            assert moments.mean == pytest.approx(statistics.fmean(one + other), **NEAR)
        if moments.n > 1:
            assert moments.variance == pytest.approx(statistics.variance(one + other), **NEAR)


def test_what_too_few_values_do_not_tell_is_unknown():
    assert Moments().mean is None
    assert Moments.of([3.0]).mean == 3.0
    assert Moments.of([3.0]).variance is None


def test_values_all_alike_have_no_negative_variance():
    assert Moments.of([0.1] * 30).variance >= 0.0
