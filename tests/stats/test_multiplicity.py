"""Adjusted p-values against the papers' examples, scipy, and the definitions they shorten."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from smartroute.errors import ConfigError
from smartroute.stats.multiplicity import benjamini_hochberg, holm

# Benjamini and Hochberg (1995), section 4.1: the fifteen p-values of the thrombolysis study.
THROMBOLYSIS = [
    0.0001,
    0.0004,
    0.0019,
    0.0095,
    0.0201,
    0.0278,
    0.0298,
    0.0344,
    0.0459,
    0.3240,
    0.4262,
    0.5719,
    0.6528,
    0.7590,
    1.0000,
]

p_values = st.lists(st.floats(0.0, 1.0), max_size=30)


def test_thrombolysis_study_rejects_four_by_false_discovery_rate() -> None:
    adjusted = benjamini_hochberg(THROMBOLYSIS)
    assert [p <= 0.05 for p in adjusted] == [True] * 4 + [False] * 11
    assert adjusted[3] == pytest.approx(0.0095 * 15 / 4)


def test_thrombolysis_study_rejects_three_by_holm() -> None:
    # 0.0019 times 13 is below 5%, 0.0095 times 12 is not.
    adjusted = holm(THROMBOLYSIS)
    assert [p <= 0.05 for p in adjusted] == [True] * 3 + [False] * 12
    assert adjusted[:4] == pytest.approx((0.0015, 0.0056, 0.0247, 0.114))


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=30))
def test_benjamini_hochberg_equals_scipy(values: list[float]) -> None:
    assert benjamini_hochberg(values) == pytest.approx(tuple(false_discovery_control(values, method="bh")))


@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=6))
def test_holm_equals_the_closed_test_of_all_intersections(values: list[float]) -> None:
    # A hypothesis falls when Bonferroni rejects every set of hypotheses that holds it.
    places = range(len(values))
    sets = [chosen for size in places for chosen in itertools.combinations(places, size + 1)]
    closed = [
        max(min(1.0, len(chosen) * min(values[i] for i in chosen)) for chosen in sets if place in chosen)
        for place in places
    ]
    assert holm(values) == pytest.approx(tuple(closed))


@given(p_values)
def test_adjusting_never_helps_a_p_value_and_holm_is_the_stricter(values: list[float]) -> None:
    for raw, discovery, family in zip(values, benjamini_hochberg(values), holm(values), strict=True):
        assert raw <= discovery * (1 + 1e-12) <= family * (1 + 1e-11)
        assert family <= 1.0


@given(p_values, st.randoms())
def test_adjusted_p_values_follow_their_own_whatever_the_order(
    values: list[float], shuffler: random.Random
) -> None:
    order = list(range(len(values)))
    shuffler.shuffle(order)
    for adjust in (holm, benjamini_hochberg):
        straight, shuffled = adjust(values), adjust([values[place] for place in order])
        assert shuffled == tuple(straight[place] for place in order)


def test_one_question_needs_no_adjustment_and_none_has_none() -> None:
    assert holm([0.03]) == benjamini_hochberg([0.03]) == (0.03,)
    assert holm([]) == benjamini_hochberg([]) == ()


@pytest.mark.parametrize("wrong", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(wrong: float) -> None:
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(ConfigError, match="p-value"):
            adjust([0.5, wrong])


def test_twenty_true_nulls_raise_an_alarm_about_as_rarely_as_promised() -> None:
    rng = random.Random(6)
    families = [[rng.random() for _ in range(20)] for _ in range(4000)]
    unadjusted = sum(min(family) <= 0.05 for family in families) / 4000
    assert unadjusted > 0.5
    for adjust in (holm, benjamini_hochberg):
        alarms = sum(min(adjust(family)) <= 0.05 for family in families) / 4000
        # Three standard errors are one point.
        assert 0.03 < alarms < 0.06
