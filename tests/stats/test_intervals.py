"""Intervals against scipy's and against the tables of the papers they come from."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from smartroute.errors import ConfigError, InsufficientDataError
from smartroute.stats import Interval, paired_difference, paired_ratio, wilson
from smartroute.stats.intervals import mean_score, sum_of_mean_scores
from smartroute.stats.moments import Moments


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95, 0.99])
@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 1), (1, 1), (0, 20), (20, 20), (1, 3), (7, 10), (51, 60), (999, 1000)]
)
def test_wilson_equals_scipy(successes: int, trials: int, level: float) -> None:
    expected = binomtest(successes, trials).proportion_ci(confidence_level=level, method="wilson")
    interval = wilson(successes, trials, level)
    assert interval.low == pytest.approx(expected.low, abs=1e-12)
    assert interval.high == pytest.approx(expected.high, abs=1e-12)
    assert interval.level == level


def test_wilson_of_81_in_263_as_newcombe_prints_it() -> None:
    # Newcombe (1998), Statistics in Medicine 17, 857-872, table I, method 3.
    interval = wilson(81, 263)
    assert (round(interval.low, 4), round(interval.high, 4)) == (0.2553, 0.3662)


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((10, 10), (0, 20), 0.6791, 1.0),
    ],
)
def test_differences_of_mean_scores_as_newcombe_prints_them(first, second, low, high) -> None:
    # Newcombe (1998), Statistics in Medicine 17, 873-890, table II, method 10.
    mine, theirs = (Moments(n, right, right) for right, n in (first, second))
    interval = sum_of_mean_scores([(1.0, mine), (-1.0, theirs)])
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_halves_of_a_sum_of_the_same_scores_are_narrower_than_the_whole_by_the_root_of_two() -> None:
    scores = Moments(50, 40, 40)
    whole, halves = mean_score(scores), sum_of_mean_scores([(0.5, scores), (0.5, scores)])
    assert halves.low == pytest.approx(0.8 - (0.8 - whole.low) / math.sqrt(2))
    assert halves.high == pytest.approx(0.8 + (whole.high - 0.8) / math.sqrt(2))


def test_the_mean_of_scores_of_0_and_1_has_wilsons_interval_and_of_others_a_narrower_one() -> None:
    binary, narrow = [1.0] * 30 + [0.0] * 10, [0.8] * 20 + [0.7] * 20
    assert mean_score(Moments.of(binary)) == wilson(30, 40)
    found = mean_score(Moments.of(narrow))
    # A variance of 0.0025 in the place of 0.1875: as 3,000 scores of 0 and 1.
    assert found.low == pytest.approx(wilson(2_250, 3_000).low)
    assert found.high == pytest.approx(wilson(2_250, 3_000).high)


def test_scores_that_are_all_alike_prove_no_more_than_they_are() -> None:
    assert mean_score(Moments.of([0.75] * 40)) == wilson(30, 40)
    assert mean_score(Moments(1, 1.0000000000000002, 1.0)) == wilson(1, 1)
    assert mean_score(Moments(40, 30.0, 22.5 + 1e-14)) == wilson(30, 40)


def test_what_are_no_scores_is_told() -> None:
    with pytest.raises(InsufficientDataError):
        mean_score(Moments())
    with pytest.raises(ConfigError):
        mean_score(Moments.of([2.0, 2.0]))


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_stays_inside_the_unit_interval_and_holds_the_estimate(case: tuple[int, int]) -> None:
    successes, trials = case
    interval = wilson(successes, trials)
    assert 0.0 <= interval.low <= successes / trials <= interval.high <= 1.0


def test_no_trials_is_too_little_data() -> None:
    with pytest.raises(InsufficientDataError) as caught:
        wilson(0, 0)
    assert (caught.value.needed, caught.value.have) == (1, 0)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ConfigError, match=str(successes)):
        wilson(successes, trials)


@pytest.mark.parametrize("level", [0.0, 1.0, -0.1, 95, math.nan])
def test_a_level_outside_the_unit_interval_is_refused(level: float) -> None:
    with pytest.raises(ConfigError, match="level"):
        wilson(1, 2, level)


def test_paired_difference_as_published_for_airway_responsiveness() -> None:
    # Fagerland, Lydersen and Laake (2017), Statistical Analysis of Contingency Tables, chapter 8: the
    # Newcombe square-and-add interval of the data of Bentur et al. (2009), 1, 1, 7 and 12 of 21.
    interval = paired_difference(1, 1, 7, 12)
    assert (round(interval.low, 3), round(interval.high, 3)) == (-0.507, -0.026)


def test_paired_difference_without_discordant_pairs_by_hand() -> None:
    # Nobody right twice: both Wilson intervals are [0, z^2 / (n + z^2)] and the correlation is 0.
    z_squared = 1.959963984540054**2
    bound = z_squared / (5 + z_squared)
    interval = paired_difference(0, 0, 0, 5)
    assert (interval.low, interval.high) == pytest.approx((-bound, bound))


def test_paired_difference_is_narrower_than_an_unpaired_one_where_answers_agree() -> None:
    paired = paired_difference(40, 3, 2, 15)
    unpaired = paired_difference(30, 13, 12, 5)  # the same margins, negatively correlated
    assert paired.high - paired.low < unpaired.high - unpaired.low


@given(*[st.integers(0, 60)] * 4)
def test_paired_difference_mirrors_when_the_two_change_places(a: int, b: int, c: int, d: int) -> None:
    if a + b + c + d == 0:
        return
    one, other = paired_difference(a, b, c, d), paired_difference(a, c, b, d)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))
    assert -1.0 <= one.low <= (b - c) / (a + b + c + d) <= one.high <= 1.0


def test_paired_difference_without_pairs_is_too_little_data() -> None:
    with pytest.raises(InsufficientDataError):
        paired_difference(0, 0, 0, 0)
    with pytest.raises(ConfigError, match="-1"):
        paired_difference(3, -1, 0, 0)


def test_paired_ratio_by_hand() -> None:
    # Ratio 6/12 = 0.5; residuals 0.5, -1, 0.5; their variance 1.5/2; half-width z sqrt(3 * 0.75) / 12.
    interval = paired_ratio([2.0, 1.0, 3.0], [3.0, 4.0, 5.0])
    half = 1.959963984540054 * 1.5 / 12
    assert (interval.low, interval.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_paired_ratio_of_proportional_costs_has_no_width() -> None:
    interval = paired_ratio([1.0, 2.0, 3.0], [4.0, 8.0, 12.0])
    assert interval == Interval(0.25, 0.25, 0.95)


def test_paired_ratio_refuses_what_it_cannot_say() -> None:
    with pytest.raises(InsufficientDataError):
        paired_ratio([1.0], [1.0])
    with pytest.raises(ConfigError, match="0"):
        paired_ratio([1.0, 1.0], [0.0, 0.0])


@pytest.mark.slow
@pytest.mark.no_cover
def test_paired_ratio_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = random.Random(11)
    hits = 0
    for _ in range(2000):
        bottoms = [rng.gammavariate(4.0, 1.0) for _ in range(60)]
        tops = [0.3 * bottom * rng.gammavariate(9.0, 1 / 9) for bottom in bottoms]
        interval = paired_ratio(tops, bottoms)
        hits += interval.low <= 0.3 <= interval.high
    # 2000 runs at a nominal 95%: three standard errors are 1.5 points, and a small sample costs about one.
    assert 0.92 <= hits / 2000 <= 0.965
