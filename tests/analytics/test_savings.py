"""Savings: by hand, by simulation of the intervals' coverage, and for routers that do not save."""

import math

import numpy as np
import pytest

from smartroute.analytics import Figures
from smartroute.analytics.figures import Moments, Paired
from smartroute.analytics.savings import (
    FixedModel,
    against_declared,
    fixed_models,
    measured,
    mix_of_cost,
)
from smartroute.events import Event
from smartroute.pricing import Price, PriceTable


def figures_of(costs, baselines):
    figures = Figures()
    for cost, baseline in zip(costs, baselines, strict=True):
        figures.compared.add(float(cost), float(baseline))
        figures.answered += 1
        figures.requests += 1
    return figures


def test_a_saving_is_one_minus_the_ratio_of_the_sums():
    saving = against_declared(figures_of([1.0, 2.0], [4.0, 6.0]))
    assert (saving.share, saving.cost_usd, saving.baseline_usd, saving.n) == (0.7, 3.0, 10.0, 2)
    assert saving.interval is None  # two requests are too few


def test_a_loss_is_negative_and_what_failed_counts_against_us():
    figures = figures_of([3.0], [2.0])
    figures.compared.add_unanswered(1.0)
    assert against_declared(figures).share == -1.0


def test_the_interval_is_that_of_a_ratio_by_linearisation():
    """Against the same formula written out with numpy."""
    rng = np.random.default_rng(1)
    baseline = rng.lognormal(0, 1, 50)
    cost = baseline * rng.uniform(0.1, 0.6, 50)
    ratio = cost.sum() / baseline.sum()
    residuals = cost - ratio * baseline
    half = 1.959963984540054 * math.sqrt(50 * residuals.var(ddof=1)) / baseline.sum()
    interval = against_declared(figures_of(cost, baseline)).interval
    assert (interval.low, interval.high) == pytest.approx((1 - ratio - half, 1 - ratio + half))


def draw(rng, n):
    """Return costs and baselines of n requests, heavy-tailed; the true ratio of the means is 0.46."""
    size = rng.lognormal(0.0, 1.0, n)
    cheap = rng.random(n) < 0.6
    return size * np.where(cheap, 0.1, 1.0) * rng.lognormal(0.0, 0.2, n) / math.exp(0.02), size


def coverage(interval_of, seed, n=400, repetitions=1_000):
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(repetitions):
        interval = interval_of(*draw(rng, n))
        hits += interval.low <= 1 - 0.46 <= interval.high
    return hits / repetitions


def broken_interval(cost, baseline):
    """The usual mistake: the ratios averaged, as if every request weighed the same."""
    from smartroute.stats.intervals import Interval

    ratios = cost / baseline
    half = 1.96 * ratios.std(ddof=1) / math.sqrt(len(ratios)) / 4
    return Interval(1 - ratios.mean() - half, 1 - ratios.mean() + half, 0.95)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_repriced_interval_covers_as_often_as_it_says(seed):
    """1,000 repetitions: 95% nominal; large-sample formulas lose a little under heavy tails."""
    assert coverage(lambda c, b: against_declared(figures_of(c, b)).interval, seed) >= 0.93


@pytest.mark.slow
def test_the_same_check_catches_a_broken_interval():
    assert coverage(broken_interval, 1) < 0.93


def moments_of(values):
    moments = Moments()
    for value in values:
        moments.add(float(value))
    return moments


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_measured_interval_covers_as_often_as_it_says(seed):
    rng = np.random.default_rng(seed)
    true = 1 - 0.4
    hits = 0
    for _ in range(1_000):
        figures = Figures()
        figures.held = moments_of(rng.lognormal(0.0, 1.0, 300))
        figures.routed = moments_of(0.4 * rng.lognormal(0.0, 1.0, 3_000))
        interval = measured(figures).interval
        hits += interval.low <= true <= interval.high
    assert hits / 1_000 >= 0.92


def test_a_holdback_measures_the_difference_of_the_means():
    figures = Figures()
    figures.held, figures.routed = moments_of([4.0, 6.0]), moments_of([1.0, 2.0, 3.0])
    saving = measured(figures)
    assert (saving.share, saving.how, saving.n) == (0.6, "measured", 5)
    assert saving.interval is None
    assert measured(Figures()) is None


def an_answer(name, model, tokens, **fields):
    return Event(
        2, "outcome", name, name, "2026-11-23T08:00:00.000000Z", False, model=model,
        input_tokens=tokens, output_tokens=tokens, **fields,
    )  # fmt: skip


def test_fixed_models_are_repriced_on_the_answers_own_tokens():
    """Prices 1 and 10 per million both ways: 300 tokens in and out cost 600e-6 and 6000e-6."""
    prices = PriceTable({"mini": Price(1, 1), "top": Price(10, 10)}, fill_gaps=False)
    events = [an_answer("a", "mini", 100), an_answer("b", "top", 200), an_answer("c", None, None)]
    labelled = {"top": moments_of([1.0, 0.5])}
    mini, top, dark = fixed_models(events, prices, ["mini", "top", "dark"], labelled)
    assert mini.cost_usd == pytest.approx(600e-6) and mini.quality is None
    assert top.cost_usd == pytest.approx(6_000e-6) and (top.quality, top.labels) == (0.75, 2)
    assert dark.cost_usd is None


def test_a_mix_of_the_same_cost_lies_between_its_neighbours():
    fixed = [
        FixedModel("mini", 1.0, 0.6, 50),
        FixedModel("top", 9.0, 0.9, 50),
        FixedModel("dark", None, 1.0, 9),
    ]
    mix = mix_of_cost(fixed, 3.0)
    assert (mix.cheaper.name, mix.dearer.name, mix.share) == ("mini", "top", 0.25)
    assert mix.quality == pytest.approx(0.675)
    assert mix_of_cost(fixed, 0.5) is None
    assert mix_of_cost(fixed, 10.0) is None


def test_a_useless_router_is_no_better_than_the_mix_of_its_cost():
    """A router that draws between two models at random has, on average, the quality of that lottery."""
    rng = np.random.default_rng(8)
    gaps = []
    for _ in range(200):
        dear = rng.random(400) < 0.3
        right = rng.random(400) < np.where(dear, 0.9, 0.6)
        cost = np.where(dear, 9.0, 1.0).sum()
        fixed = [FixedModel("mini", 400.0, 0.6, 400), FixedModel("top", 3_600.0, 0.9, 400)]
        gaps.append(right.mean() - mix_of_cost(fixed, float(cost)).quality)
    assert abs(np.mean(gaps)) < 4 * np.std(gaps) / math.sqrt(200)


def test_sums_of_pairs_can_be_merged():
    one, other = Paired(), Paired()
    one.add(1.0, 2.0)
    other.add(3.0, 4.0)
    other.add_unanswered(5.0)
    one.merge(other)
    assert (one.n, one.unanswered, one.cost, one.baseline, one.products) == (2, 1, 9.0, 6.0, 14.0)
