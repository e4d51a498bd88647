import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from smartroute.errors import ConfigError, InsufficientDataError
from smartroute.stats.conformal import conformal_quantile, errors_needed
from smartroute.stats.intervals import clopper_pearson


def test_the_quantile_is_the_one_of_the_definition():
    """n = 19 at 5%: ceil(20 * 0.95) = 19, the largest. n = 39: ceil(40 * 0.95) = 38, the second largest."""
    assert conformal_quantile([float(n) for n in range(19)], 0.05) == 18.0
    assert conformal_quantile([float(n) for n in range(39)], 0.05) == 37.0
    assert conformal_quantile([float(n) for n in range(18)], 0.05) == math.inf
    assert conformal_quantile([], 0.5) == math.inf


@given(st.integers(0, 400), st.integers(1, 99))
def test_the_place_is_exact_where_floats_would_round_up(n, percent):
    """Against exact fractions."""
    place = math.ceil((n + 1) * (1 - Fraction(percent, 100)))
    expected = math.inf if place > n else float(place - 1)
    assert conformal_quantile([float(value) for value in range(n)], percent / 100) == expected


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.1, 9), (0.01, 99), (0.5, 1), (0.2, 4), (0.9, 1)])
def test_how_many_errors_are_needed(rate, needed):
    assert errors_needed(rate) == needed
    assert math.isfinite(conformal_quantile([1.0] * needed, rate))
    assert needed == 1 or math.isinf(conformal_quantile([1.0] * (needed - 1), rate))


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, math.nan])
def test_a_rate_out_of_range_is_refused(rate):
    with pytest.raises(ConfigError, match="miss_rate"):
        conformal_quantile([1.0], rate)


@given(st.integers(1, 200), st.data(), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_clopper_pearson_is_scipys(trials, data, level):
    successes = data.draw(st.integers(0, trials))
    found = clopper_pearson(successes, trials, level)
    expected = binomtest(successes, trials).proportion_ci(level, method="exact")
    assert found.low == pytest.approx(expected.low, abs=1e-9)
    assert found.high == pytest.approx(expected.high, abs=1e-9)


def test_clopper_pearson_refuses_what_is_no_proportion():
    with pytest.raises(InsufficientDataError):
        clopper_pearson(0, 0)
    with pytest.raises(ConfigError):
        clopper_pearson(3, 2)
    with pytest.raises(ConfigError):
        clopper_pearson(1, 2, level=1.0)
