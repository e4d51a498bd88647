"""Prediction-powered means against the papers' formulas worked by hand, and the truth by simulation."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from smartroute.errors import ConfigError, InsufficientDataError
from smartroute.stats.prediction_powered import PredictionPowered, prediction_powered_mean

LABELS = [0.9, 0.4, 0.7, 0.8, 0.3, 0.6, 0.95, 0.5, 0.75, 0.65, 0.85, 0.2]
JUDGED = [0.8, 0.5, 0.75, 0.9, 0.45, 0.6, 0.9, 0.65, 0.7, 0.8, 0.8, 0.35]
ONLY = [0.7, 0.55, 0.9, 0.4, 0.6, 0.8, 0.75, 0.5, 0.85, 0.65, 0.7, 0.45, 0.95, 0.6, 0.72, 0.58]

shares = st.floats(0.0, 1.0)
pairs = st.lists(st.tuples(shares, shares), min_size=10, max_size=40)


def test_full_weight_is_the_judges_mean_corrected_by_its_error() -> None:
    result = prediction_powered_mean(LABELS, JUDGED, ONLY, weight=1.0)
    errors = [label - judged for label, judged in zip(LABELS, JUDGED, strict=True)]
    assert result.value == pytest.approx(statistics.fmean(ONLY) + statistics.fmean(errors))
    one, other = statistics.variance(errors) / 12, statistics.variance(ONLY) / 16
    freedom = (one + other) ** 2 / (one**2 / 11 + other**2 / 15)
    half = float(student.ppf(0.975, freedom)) * math.sqrt(one + other)
    assert (result.interval.low, result.interval.high) == pytest.approx(
        (result.value - half, result.value + half)
    )


def test_tuned_weight_is_the_covariance_over_the_judges_inflated_variance() -> None:
    result = prediction_powered_mean(LABELS, JUDGED, ONLY)
    expected = statistics.covariance(LABELS, JUDGED) / ((1 + 12 / 16) * statistics.variance(JUDGED + ONLY))
    assert result.weight == pytest.approx(expected)
    assert result.correlation == pytest.approx(statistics.correlation(LABELS, JUDGED))
    assert (result.n_labels, result.n_judged) == (12, 16)


def test_no_weight_leaves_students_interval_of_the_people() -> None:
    result = prediction_powered_mean(LABELS, JUDGED, ONLY, weight=0.0)
    expected = ttest_1samp(LABELS, 0.0).confidence_interval(0.95)
    for interval in (result.interval, result.people_interval):
        assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert not result.judge_helps


def test_judge_of_one_opinion_adds_nothing_and_is_said_to() -> None:
    result = prediction_powered_mean(LABELS, [0.8] * 12, [0.8] * 500)
    assert (result.weight, result.correlation, result.judge_helps) == (0.0, None, False)
    assert result.value == pytest.approx(statistics.fmean(LABELS))


def test_contrary_judge_adds_nothing_and_is_said_to() -> None:
    result = prediction_powered_mean(LABELS, [1 - judged for judged in JUDGED], ONLY)
    assert result.weight == 0.0
    assert not result.judge_helps
    assert result.narrowing <= 0.0


def test_biased_judge_is_corrected() -> None:
    # It gives everything 0.15 too much; the labels show that, and the mean of its own word would not.
    generous = [judged + 0.15 for judged in JUDGED if judged <= 0.85]
    people = [label for label, judged in zip(LABELS, JUDGED, strict=True) if judged <= 0.85]
    fair = [judged for judged in JUDGED if judged <= 0.85]
    assert prediction_powered_mean(
        people, generous, [score * 0.5 + 0.25 for score in ONLY], weight=1.0
    ).value == (
        pytest.approx(
            prediction_powered_mean(people, fair, [score * 0.5 + 0.1 for score in ONLY], weight=1.0).value
        )
    )


def test_faithful_judge_narrows_the_interval() -> None:
    rng = np.random.default_rng(1)
    truth = rng.beta(4, 2, 2060)
    judge = np.clip(truth + rng.normal(0, 0.03, 2060), 0, 1)
    result = prediction_powered_mean(list(truth[:60]), list(judge[:60]), list(judge[60:]))
    assert result.judge_helps
    assert result.narrowing > 0.6
    assert result.weight > 0.9


def test_a_judge_that_says_what_people_say_helps() -> None:
    # 36 labels: the exception that may be unseen counts for less than what people's own words leave open.
    result = prediction_powered_mean(LABELS * 3, LABELS * 3, ONLY * 20)
    assert (result.correlation, result.judge_helps) == (1.0, True)


def test_twenty_right_of_twenty_do_not_prove_perfection() -> None:
    result = prediction_powered_mean([1.0] * 20, [1.0] * 20, [1.0] * 400)
    assert result.value == 1.0
    # One unseen miss: standard error 1/sqrt(19 * 20), Student quantile 2.093 at 19 degrees of freedom.
    assert result.people_interval.low == pytest.approx(1 - 2.0930 / math.sqrt(380), abs=1e-4)
    assert result.people_interval.high == 1.0
    assert not result.judge_helps


@settings(deadline=None)
@given(pairs, st.lists(shares, min_size=2, max_size=60))
def test_interval_holds_the_value_and_stays_in_range(
    seen: list[tuple[float, float]], only: list[float]
) -> None:
    labels, judged = [pair[0] for pair in seen], [pair[1] for pair in seen]
    narrow = prediction_powered_mean(labels, judged, only, 0.8)
    wide = prediction_powered_mean(labels, judged, only, 0.95)
    assert 0.0 <= wide.interval.low <= narrow.interval.low <= narrow.value
    assert narrow.value <= narrow.interval.high <= wide.interval.high <= 1.0
    assert 0.0 <= narrow.weight <= 1.0
    assert not (wide.judge_helps and wide.narrowing <= 0)


def test_too_few_labels_say_how_many_are_needed() -> None:
    with pytest.raises(InsufficientDataError) as caught:
        prediction_powered_mean(LABELS[:9], JUDGED[:9], ONLY)
    assert (caught.value.needed, caught.value.have) == (10, 9)
    with pytest.raises(InsufficientDataError) as caught:
        prediction_powered_mean(LABELS, JUDGED, ONLY[:1])
    assert (caught.value.needed, caught.value.have) == (2, 1)


def test_labels_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"judged_only.*1\.5"):
        prediction_powered_mean(LABELS, JUDGED, [*ONLY, 1.5])
    with pytest.raises(ConfigError, match="12 labels, 11 scores"):
        prediction_powered_mean(LABELS, JUDGED[:-1], ONLY)
    with pytest.raises(ConfigError, match="nan"):
        prediction_powered_mean([*LABELS[:-1], math.nan], JUDGED, ONLY)
    with pytest.raises(ConfigError, match="weight"):
        prediction_powered_mean(LABELS, JUDGED, ONLY, weight=1.5)
    with pytest.raises(ConfigError, match="level"):
        prediction_powered_mean(LABELS, JUDGED, ONLY, 95)


SEEDS = (1, 2, 3)
RUNS = 3000


def right_or_wrong(rng: np.random.Generator, right: float, agrees: float, n: int) -> PredictionPowered:
    truth = rng.random(n + 1000) < right
    judge = np.where(rng.random(n + 1000) < agrees, truth, ~truth).astype(float)
    return prediction_powered_mean(list(truth[:n].astype(float)), list(judge[:n]), list(judge[n:]))


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize(("right", "agrees", "n"), [(0.85, 0.9, 100), (0.7, 0.85, 60), (0.85, 1.0, 30)])
def test_truth_is_covered_and_the_judges_own_interval_does_not(right: float, agrees: float, n: int) -> None:
    ours, narrower, trusting = [], [], []
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        runs = [right_or_wrong(rng, right, agrees, n) for _ in range(RUNS)]
        ours.append(statistics.fmean(run.interval.low <= right <= run.interval.high for run in runs))
        narrower.append(statistics.median(run.narrowing for run in runs))
        # Broken: the judge's sampling error is taken, the labels' is left out.
        half = 1.96 * math.sqrt(right * (1 - right) / 1000)
        trusting.append(statistics.fmean(abs(run.value - right) <= half for run in runs))
    # People's labels alone are covered by Student's interval in 93% to 95% here; three standard errors
    # of a seed's share are 1.4 points.
    assert min(ours) >= 0.92, ours
    assert min(narrower) > 0.1
    if agrees < 1:
        assert max(trusting) < 0.92, trusting


@pytest.mark.slow
@pytest.mark.no_cover
def test_judge_of_pure_noise_is_rarely_taken_for_help() -> None:
    for seed in SEEDS:
        rng = np.random.default_rng(seed)
        helps = statistics.fmean(right_or_wrong(rng, 0.8, 0.5, 50).judge_helps for _ in range(RUNS))
        # 5% is promised; three standard errors are 1.2 points.
        assert helps <= 0.062
