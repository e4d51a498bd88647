"""Changes of a mean against scipy, exhaustive permutation, and their stated false-alarm rate."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_ind, ttest_ind_from_stats

from smartroute.errors import ConfigError, InsufficientDataError
from smartroute.stats.changes import Change, mean_change, mean_change_from_moments
from smartroute.stats.means import difference_from_moments, difference_of_means
from smartroute.stats.moments import Moments

BEFORE = [0.9, 0.8, 0.95, 0.7, 0.85, 0.9, 0.75, 0.88, 0.92, 0.81, 0.79, 0.87]
LATE = [0.7, 0.6, 0.82, 0.75, 0.5, 0.68, 0.71, 0.8, 0.66, 0.58]


def test_p_value_is_close_to_that_of_scipys_permutations() -> None:
    rng = np.random.default_rng(2)
    before, late = rng.gamma(2, 1, 40), rng.gamma(2, 1.3, 25)

    expected = ttest_ind(before, late, equal_var=False)
    permuted = statistics.fmean(
        abs(ttest_ind(order[:40], order[40:], equal_var=False).statistic) >= abs(expected.statistic)
        for order in (rng.permutation(np.concatenate([before, late])) for _ in range(2000))
    )
    ours = mean_change(list(before), list(late), permutations=9999)
    # Three standard errors of 2000 shuffles.
    assert ours.p_value == pytest.approx(permuted, abs=3 * math.sqrt(permuted * (1 - permuted) / 2000))


def test_p_value_of_zeros_and_ones_is_that_of_all_their_orders() -> None:
    # 1 of 10 failed before, 6 of 10 late. Every order is as likely: count those that differ as much.
    ours = mean_change([1.0] * 9 + [0.0], [1.0] * 4 + [0.0] * 6, permutations=19_999)
    ways = {k: math.comb(10, k) * math.comb(10, 7 - k) for k in range(8)}  # k of the 7 failures are late
    # With equal sizes, the larger the difference of the counts, the larger the statistic.
    as_far = sum(count for k, count in ways.items() if abs(k - (7 - k)) >= 5)
    assert ours.p_value == pytest.approx(as_far / math.comb(20, 7), abs=0.006)
    assert sum(ways.values()) == sum(1 for _ in itertools.combinations(range(20), 7))


def test_welch_p_value_from_moments_equals_scipy() -> None:
    change = mean_change_from_moments(Moments.of(BEFORE), Moments.of(LATE))
    expected = ttest_ind_from_stats(
        statistics.fmean(LATE),
        statistics.stdev(LATE),
        len(LATE),
        statistics.fmean(BEFORE),
        statistics.stdev(BEFORE),
        len(BEFORE),
        equal_var=False,
    )
    assert change.p_value == pytest.approx(expected.pvalue)


def test_change_carries_its_evidence() -> None:
    change = mean_change(BEFORE, LATE)
    assert change.difference == pytest.approx(statistics.fmean(LATE) - statistics.fmean(BEFORE))
    assert (change.n_before, change.n_late, change.false_alarm_rate) == (12, 10, 0.01)
    assert change.interval == difference_of_means(LATE, BEFORE, 0.99).interval
    assert change.changed
    by_moments = mean_change_from_moments(Moments.of(BEFORE), Moments.of(LATE))
    expected = difference_from_moments(Moments.of(LATE), Moments.of(BEFORE), 0.99)
    assert by_moments.interval == expected.interval
    assert by_moments.changed


def test_a_change_too_small_to_matter_is_none() -> None:
    assert not mean_change(BEFORE, LATE, least_difference=0.3).changed
    assert not mean_change_from_moments(Moments.of(BEFORE), Moments.of(LATE), least_difference=0.3).changed


def test_a_new_list_price_is_seen_and_an_old_one_is_not() -> None:
    old, new = [1.1e-6] * 30, [1.3e-6] * 30
    assert mean_change(old, new).changed
    assert mean_change(old, new).p_value == pytest.approx(1 / 2000)
    assert mean_change_from_moments(Moments.of(old), Moments.of(new)).changed
    for same in (
        mean_change([0.1] * 30, [0.1] * 47),
        mean_change_from_moments(Moments(20, 5.0, 1.25), Moments(40, 10.0, 2.5)),
    ):
        assert (same.p_value, same.changed) == (1.0, False)


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.floats(0.0, 1.0), min_size=10, max_size=25),
    st.lists(st.floats(0.0, 1.0), min_size=10, max_size=25),
)
def test_change_mirrors_when_the_periods_change_places(before: list[float], late: list[float]) -> None:
    one, other = mean_change_from_moments(Moments.of(before), Moments.of(late)), None
    other = mean_change_from_moments(Moments.of(late), Moments.of(before))
    assert one.difference == -other.difference
    assert one.p_value == pytest.approx(other.p_value)
    there = mean_change(before, late, permutations=199)
    assert 0 < there.p_value <= 1
    if there.changed:
        assert there.p_value <= 0.01 and not there.interval.low <= 0 <= there.interval.high


def test_too_few_values_say_how_many_are_needed() -> None:
    with pytest.raises(InsufficientDataError) as caught:
        mean_change(BEFORE, LATE[:9])
    assert (caught.value.needed, caught.value.have) == (10, 9)
    with pytest.raises(InsufficientDataError) as caught:
        mean_change_from_moments(Moments.of(BEFORE[:3]), Moments.of(LATE))
    assert (caught.value.needed, caught.value.have) == (10, 3)


def test_a_rate_that_cannot_be_shown_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 999"):
        mean_change(BEFORE, LATE, false_alarm_rate=0.001, permutations=500)
    with pytest.raises(ConfigError, match="false_alarm_rate"):
        mean_change(BEFORE, LATE, false_alarm_rate=1.0)
    with pytest.raises(ConfigError, match="least_difference"):
        mean_change_from_moments(Moments.of(BEFORE), Moments.of(LATE), least_difference=-1.0)


SEEDS = (1, 2, 3)
RATE = 0.05


def alarms(changes: list[Change]) -> float:
    return statistics.fmean(change.changed for change in changes)


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("sizes", [(30, 30), (150, 20)])
def test_unchanged_costs_and_qualities_alarm_no_more_often_than_stated(sizes: tuple[int, int]) -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        heavy, binary, careless = [], [], []
        for run in range(400):
            before, late = (rng.lognormal(0, 1.5, n) for n in sizes)
            heavy.append(
                mean_change(list(before), list(late), false_alarm_rate=RATE, permutations=199, seed=run)
            )
            # Broken: the spread of all values together, as if late were no smaller a sample.
            error = math.sqrt(2 * np.concatenate([before, late]).var() / max(sizes))
            careless.append(abs(late.mean() - before.mean()) > 1.96 * error / math.sqrt(2))
            right, wrong = (rng.random(n) < 0.8 for n in sizes)
            binary.append(
                mean_change(
                    list(right.astype(float)),
                    list(wrong.astype(float)),
                    false_alarm_rate=RATE,
                    permutations=199,
                    seed=run,
                )
            )
        # Three standard errors of 400 runs are 3.3 points.
        assert alarms(heavy) <= RATE + 0.033
        assert alarms(binary) <= RATE + 0.033
        # The p-value alone keeps the rate too, without help from the interval.
        assert statistics.fmean(change.p_value <= RATE for change in heavy + binary) <= RATE + 0.024
        assert statistics.fmean(careless) > RATE + 0.033


@pytest.mark.slow
@pytest.mark.no_cover
def test_a_drop_in_quality_is_found() -> None:
    rng = np.random.default_rng(5)
    found = alarms(
        [
            mean_change(
                list((rng.random(300) < 0.9).astype(float)), list((rng.random(300) < 0.75).astype(float))
            )
            for _ in range(100)
        ]
    )
    # Two proportions, 300 each, at 1%: z = 0.15 / 0.0304 = 4.9 against 2.58, so power is about 99%.
    assert found >= 0.9
