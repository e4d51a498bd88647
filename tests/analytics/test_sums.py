"""Sums in constant memory, held against what sorting and adding the values themselves gives."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartroute.analytics import LogHistogram
from smartroute.analytics.sums import Joint, Paired, TokenSums

usd = st.floats(0, 10)
tokens = st.tuples(*[st.integers(0, 5_000).map(float)] * 5)
requests = st.lists(st.tuples(usd, tokens, st.booleans()), max_size=20)
rates = st.tuples(*[st.floats(0, 1e-3)] * 5)
NEAR = {"rel": 1e-9, "abs": 1e-9}


@given(
    st.lists(st.floats(1e-9, 1e6), min_size=1, max_size=300), st.sampled_from([0.01, 0.5, 0.9, 0.95, 0.99])
)
def test_quantiles_are_within_five_percent(values, share):
    histogram = LogHistogram()
    for value in values:
        histogram.add(value)
    exact = sorted(values)[max(1, math.ceil(share * len(values))) - 1]
    assert histogram.quantile(share) == pytest.approx(exact, rel=0.05)


def test_a_histogram_of_nothing_has_no_quantile_and_zeros_are_zero():
    histogram = LogHistogram()
    assert histogram.quantile(0.5) is None
    for value in (0.0, 0.0, 3.0):
        histogram.add(value)
    assert histogram.quantile(0.5) == 0.0
    assert histogram.quantile(0.9) == pytest.approx(3.0, rel=0.05)


def test_histograms_that_are_merged_hold_the_values_of_both():
    one, other, both = LogHistogram(), LogHistogram(), LogHistogram()
    for index, value in enumerate((0.0, 1.0, 1.0, 2.5, 700.0)):
        (one if index % 2 else other).add(value)
        both.add(value)
    one.merge(other)
    assert (one, one.n) == (both, 5)


@given(st.lists(st.tuples(usd, usd), max_size=20), st.lists(usd, max_size=5))
def test_pairs_add_up_to_their_sums_squares_and_products(pairs, unanswered):
    one, other = Paired(), Paired()
    for index, (cost, baseline) in enumerate(pairs):
        (one if index % 2 else other).add(cost, baseline)
    for cost in unanswered:
        other.add_unanswered(cost)
    one.merge(other)
    costs = [cost for cost, _ in pairs] + unanswered
    assert (one.n, one.unanswered) == (len(pairs), len(unanswered))
    assert one.cost == pytest.approx(math.fsum(costs), **NEAR)
    assert one.cost_squares == pytest.approx(math.fsum(cost**2 for cost in costs), **NEAR)
    assert one.baseline == pytest.approx(math.fsum(b for _, b in pairs), **NEAR)
    assert one.baseline_squares == pytest.approx(math.fsum(b**2 for _, b in pairs), **NEAR)
    assert one.products == pytest.approx(math.fsum(a * b for a, b in pairs), **NEAR)


@given(st.lists(st.tuples(usd, usd), max_size=20))
def test_each_of_two_values_that_belong_together_has_its_moments(pairs):
    one, other = Joint(), Joint()
    for index, pair in enumerate(pairs):
        (one if index % 2 else other).add(*pair)
    one.merge(other)
    for column, moments in enumerate((one.first, one.second)):
        values = [pair[column] for pair in pairs]
        assert moments.n == len(values)
        assert moments.total == pytest.approx(math.fsum(values), **NEAR)
        assert moments.squares == pytest.approx(math.fsum(value**2 for value in values), **NEAR)
    assert one.products == pytest.approx(math.fsum(a * b for a, b in pairs), **NEAR)


@given(requests, rates, st.none() | rates)
def test_repriced_sums_are_those_of_repricing_each_request(requests, other, instead_of):
    one, more = TokenSums(), TokenSums()
    paid, charged = [], []
    for index, (cost, counts, answered) in enumerate(requests):
        counts = counts if answered else (0.0,) * 5
        (one if index % 2 else more).add(cost, counts, answered=answered)
        charged.append(sum(rate * n for rate, n in zip(other, counts, strict=True)))
        paid.append(
            cost if instead_of is None else sum(r * n for r, n in zip(instead_of, counts, strict=True))
        )
    one.merge(more)
    pairs = one.repriced(other, instead_of=instead_of)
    near = {"rel": 1e-6, "abs": 1e-6}
    assert pairs.n == sum(answered for _, _, answered in requests)
    assert pairs.cost == pytest.approx(math.fsum(paid), **near)
    assert pairs.baseline == pytest.approx(math.fsum(charged), **near)
    assert pairs.cost_squares == pytest.approx(math.fsum(value**2 for value in paid), **near)
    assert pairs.baseline_squares == pytest.approx(math.fsum(value**2 for value in charged), **near)
    assert pairs.products == pytest.approx(
        math.fsum(a * b for a, b in zip(paid, charged, strict=True)), **near
    )
