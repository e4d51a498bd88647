"""Medians by hand, and hourly totals of made-up weeks whose anomalies are known."""

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartroute.errors import ConfigError, InsufficientDataError
from smartroute.stats.robust import hourly_anomaly, median_absolute_deviation

MONDAY = 24 * 4  # the epoch was a Thursday
WEEK = 168


def usual(hour: int) -> float:
    """Ten times as much at weekday noon as at night, and little on weekends."""
    day = (hour // 24 + 3) % 7
    return (1.0 if day < 5 else 0.2) * (1.0 + 9.0 * math.exp(-(((hour % 24) - 12) ** 2) / 18))


def weeks(count: int, seed: int = 1, noise: float = 0.2) -> dict[int, float]:
    rng = random.Random(seed)
    return {
        hour: usual(hour) * math.exp(rng.gauss(0.0, noise)) for hour in range(MONDAY, MONDAY + count * WEEK)
    }


def test_median_absolute_deviation_by_hand() -> None:
    # Median 3; distances 2, 1, 0, 1, 97; their median 1.
    assert median_absolute_deviation([1.0, 2.0, 3.0, 4.0, 100.0]) == pytest.approx(1.4826, abs=1e-4)
    with pytest.raises(InsufficientDataError):
        median_absolute_deviation([])


def test_median_absolute_deviation_estimates_a_normals() -> None:
    rng = random.Random(3)
    values = [rng.gauss(7.0, 2.5) for _ in range(20_000)]
    assert median_absolute_deviation(values) == pytest.approx(2.5, rel=0.03)


def test_score_expected_and_spread_by_hand() -> None:
    # Five days at 10 each hour, but the first day's at 12; floor 1, so logs are of 11 and 13. Four of five
    # days equal the median of the others, so the spread is the least, 0.1.
    history = {hour: 12.0 if hour < MONDAY + 24 else 10.0 for hour in range(MONDAY, MONDAY + 120)}
    anomaly = hourly_anomaly(history, MONDAY + 7 * 24 + 9, 21.0)
    assert anomaly.expected == pytest.approx(10.0)
    assert (anomaly.n, anomaly.basis, anomaly.spread) == (5, "hour_of_day_of_its_kind", 0.1)
    assert anomaly.score == pytest.approx(math.log(22 / 11) / 0.1)


def test_quiet_hour_is_not_measured_by_the_busy_ones() -> None:
    history = weeks(4)
    now = MONDAY + 4 * WEEK
    at_noon, at_night = hourly_anomaly(history, now + 12, 10.0), hourly_anomaly(history, now + 1, 10.0)
    assert abs(at_noon.score) < 2
    assert at_night.score > 6
    assert at_noon.expected == pytest.approx(10.0, rel=0.25)
    assert (at_noon.n, at_noon.basis) == (4, "hour_of_week")


def test_a_busy_hour_is_not_measured_by_how_wild_the_quiet_ones_are() -> None:
    """Nights vary by a factor of e, noons by 15%: two and a half times the usual is nothing at night and
    much at noon.
    """
    rng = random.Random(7)
    now = MONDAY + 4 * WEEK
    history = {
        hour: 10.0 * math.exp(rng.gauss(0.0, 0.15 if 6 <= hour % 24 < 20 else 1.0))
        for hour in range(MONDAY, now)
    }
    at_noon, at_night = hourly_anomaly(history, now + 12, 25.0), hourly_anomaly(history, now + 1, 25.0)
    assert at_noon.spread == pytest.approx(0.15 * math.sqrt(1 + 1 / 3), rel=0.5)
    assert at_noon.score > 3.5
    assert abs(at_night.score) < 1.5


def test_the_usual_range_scores_what_it_says() -> None:
    history = weeks(4)
    now = MONDAY + 4 * WEEK + 12
    low, high = hourly_anomaly(history, now, 10.0).usual(3.0)
    assert hourly_anomaly(history, now, low).score == pytest.approx(-3.0)
    assert hourly_anomaly(history, now, high).score == pytest.approx(3.0)
    wider = hourly_anomaly(history, now, 10.0)
    assert wider.usual(3.0, 2 * wider.spread) == wider.usual(6.0)
    assert wider.usual(1e2)[0] == 0.0


def test_two_weeks_compare_a_weekend_hour_with_weekend_hours() -> None:
    anomaly = hourly_anomaly(weeks(2), MONDAY + 2 * WEEK + 5 * 24 + 12, 2.0)
    assert (anomaly.n, anomaly.basis) == (4, "hour_of_day_of_its_kind")
    assert anomaly.expected == pytest.approx(2.0, rel=0.4)
    assert abs(anomaly.score) < 3


def test_one_wild_hour_in_the_past_does_not_hide_the_next() -> None:
    history = weeks(4)
    now = MONDAY + 4 * WEEK + 12
    clean = hourly_anomaly(history, now, 60.0)
    history[now - WEEK] = 5000.0
    stained = hourly_anomaly(history, now, 60.0)
    assert clean.score > 3.5
    assert stained.score > 3.5
    # A mean and standard deviation of the same hour's four values would have been dragged along.
    peers = [history[now - week * WEEK] for week in range(1, 5)]
    assert (60.0 - statistics.fmean(peers)) / statistics.stdev(peers) < 1


def test_the_hour_itself_and_later_ones_are_not_its_past() -> None:
    history = weeks(4)
    now = MONDAY + 3 * WEEK
    earlier = {hour: cost for hour, cost in history.items() if hour < now}
    assert hourly_anomaly(history, now, 3.0) == hourly_anomaly(earlier, now, 3.0)


@given(st.floats(0.0, 500.0), st.floats(0.0, 500.0), st.sampled_from([1e-6, 0.5, 1000.0]))
def test_score_rises_with_the_value_and_does_not_depend_on_the_unit(
    one: float, other: float, factor: float
) -> None:
    history = weeks(2)
    now = MONDAY + 2 * WEEK + 30
    low, high = (hourly_anomaly(history, now, value) for value in sorted((one, other)))
    assert low.score <= high.score
    assert low.expected == high.expected
    scaled = hourly_anomaly(
        {hour: factor * cost for hour, cost in history.items()}, now, factor * min(one, other)
    )
    assert scaled.score == pytest.approx(low.score, abs=1e-6)
    assert scaled.expected == pytest.approx(factor * low.expected)


def test_hours_without_traffic_are_expected_to_stay_so() -> None:
    history = {hour: cost if 8 <= hour % 24 < 18 else 0.0 for hour, cost in weeks(4).items()}
    now = MONDAY + 4 * WEEK + 2
    assert hourly_anomaly(history, now, 0.0).score == pytest.approx(0.0)
    assert hourly_anomaly(history, now, 0.0).expected == pytest.approx(0.0, abs=1e-12)
    assert hourly_anomaly(history, now, 30.0).score > 3.5


def test_too_short_a_past_says_what_is_needed() -> None:
    with pytest.raises(InsufficientDataError) as caught:
        hourly_anomaly(dict.fromkeys(range(MONDAY, MONDAY + 72), 1.0), MONDAY + 72, 1.0)
    assert (caught.value.needed, caught.value.have) == (4, 3)
    noons = {MONDAY + 24 * day + 12: 1.0 for day in range(5)}
    with pytest.raises(InsufficientDataError) as caught:
        hourly_anomaly(noons, MONDAY + 5 * 24 + 12, 1.0)
    assert (caught.value.needed, caught.value.have) == (24, 5)
    with pytest.raises(InsufficientDataError):
        hourly_anomaly({}, MONDAY, 1.0)


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_a_total_that_cannot_be_is_refused(wrong: float) -> None:
    with pytest.raises(ConfigError, match="total"):
        hourly_anomaly(weeks(1), MONDAY + WEEK, wrong)


def test_hours_like_no_other_foretell_nothing() -> None:
    # Five hours of four days have others like them, the first day's last eight hours have none.
    history = {MONDAY + 24 * day + hour: 10.0 for day in range(4) for hour in range(8, 13)}
    alone = {MONDAY + hour: 10.0 for hour in range(16, 24)}
    with pytest.raises(InsufficientDataError) as caught:
        hourly_anomaly(history | alone, MONDAY + 4 * 24 + 9, 10.0)
    assert (caught.value.needed, caught.value.have) == (24, 20)


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("count", [2, 4, 6])
def test_ordinary_hours_rarely_score_above_three_and_a_half(count: int) -> None:
    alarms = judged = constant = 0
    for seed in (1, 2, 3):
        history = weeks(count + 1, seed, noise=0.3)
        limit = statistics.fmean(history.values()) + 2 * statistics.pstdev(history.values())
        for hour in range(MONDAY + count * WEEK, MONDAY + (count + 1) * WEEK, 3):
            alarms += hourly_anomaly(history, hour, history[hour]).score > 3.5
            constant += history[hour] > limit
            judged += 1
    # A normal exceeds 3.5 once in 4300; few weeks make the expectation itself uncertain.
    assert alarms / judged <= 0.01
    assert constant / judged > 0.02  # one limit for all hours takes every busy noon for an anomaly
