"""Savings: by hand, by simulation of the intervals' coverage, and for routers that do not save."""

import math

import numpy as np
import pytest

from smartroute import Catalog
from smartroute.analytics import Figures
from smartroute.analytics.figures import Labels
from smartroute.analytics.savings import (
    FixedModel,
    Saving,
    against_declared,
    against_mix,
    fixed_models,
    measured,
)
from smartroute.analytics.sums import Paired
from smartroute.events.event import Event
from smartroute.pricing import LongContext, Price, PriceTable
from smartroute.records import Usage
from smartroute.stats.intervals import Interval
from smartroute.stats.moments import Moments


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


def test_a_loss_is_negative_and_failed_requests_count_against_routing():
    figures = figures_of([3.0], [2.0])
    figures.compared.add_unanswered(1.0)
    assert against_declared(figures).share == -1.0


def test_the_interval_is_that_of_a_ratio_by_linearization():
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
    ratios = cost / baseline
    half = 1.96 * ratios.std(ddof=1) / math.sqrt(len(ratios)) / 4
    return Interval(1 - ratios.mean() - half, 1 - ratios.mean() + half, 0.95)


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_repriced_interval_covers_as_often_as_it_says(seed):
    """1,000 repetitions: 95% nominal; large-sample formulas lose a little under heavy tails."""
    assert coverage(lambda c, b: against_declared(figures_of(c, b)).interval, seed) >= 0.93


@pytest.mark.slow
@pytest.mark.no_cover
def test_the_same_check_catches_a_broken_interval():
    assert coverage(broken_interval, 1) < 0.93


def moments_of(values):
    moments = Moments()
    for value in values:
        moments.add(float(value))
    return moments


def a_holdback(rng):
    """Return figures in which routing costs 0.4 of what the baseline does, both heavy-tailed."""
    figures = Figures()
    figures.held = moments_of(rng.lognormal(0.0, 1.0, 300))
    figures.routed = moments_of(0.4 * rng.lognormal(0.0, 1.0, 3_000))
    return figures


def holdback_coverage(interval_of, true, seed, repetitions=1_000):
    rng = np.random.default_rng(seed)
    hits = 0
    for _ in range(repetitions):
        interval = interval_of(a_holdback(rng))
        hits += interval.low <= true <= interval.high
    return hits / repetitions


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_measured_share_is_in_its_interval_as_often_as_it_claims(seed):
    """Nominal 95%, 1,000 repetitions: their standard error is 0.7 points."""
    assert holdback_coverage(lambda f: measured(f).saving.interval, 0.6, seed) >= 0.94


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_measured_difference_in_cost_is_in_its_interval_as_often_as_it_claims(seed):
    """The mean of a lognormal(0, 1) is e^0.5."""
    true = -0.6 * math.exp(0.5)
    assert holdback_coverage(lambda f: measured(f).cost_usd.interval, true, seed) >= 0.94


@pytest.mark.slow
@pytest.mark.no_cover
def test_the_same_check_catches_an_interval_that_takes_the_baselines_mean_for_known():
    def broken(figures):
        mean, n = figures.held.mean, figures.routed.n
        half = 1.96 * math.sqrt(figures.routed.variance / n) / mean
        share = 1 - figures.routed.mean / mean
        return Interval(share - half, share + half, 0.95)

    assert holdback_coverage(broken, 0.6, 1) < 0.94


def test_a_holdback_measures_the_difference_of_the_means():
    figures = Figures()
    figures.held, figures.routed = moments_of([4.0, 6.0]), moments_of([1.0, 2.0, 3.0])
    holdback = measured(figures)
    assert (holdback.saving.share, holdback.saving.how, holdback.saving.n) == (0.6, "measured", 5)
    assert holdback.saving.interval is None and holdback.cost_usd.interval is None
    assert holdback.cost_usd.value == -3.0
    assert holdback.quality == {}
    assert measured(Figures()) is None


def test_a_holdback_measures_the_difference_in_quality_by_label_source():
    """40 of 50 right against 45 of 50. Wilson's limits: 0.669629 and 0.887575; 0.786398 and 0.956524."""
    figures = Figures()
    figures.held, figures.routed = moments_of([2.0] * 50), moments_of([1.0] * 50)
    figures.labels["user"] = Labels(
        routed=moments_of([1.0] * 40 + [0.0] * 10), held=moments_of([1.0] * 45 + [0.0] * 5)
    )
    figures.labels["judge"] = Labels(routed=moments_of([1.0]), held=moments_of([1.0]))
    quality = measured(figures).quality
    low = -0.1 - math.hypot(0.8 - 0.669629, 0.956524 - 0.9)
    high = -0.1 + math.hypot(0.887575 - 0.8, 0.9 - 0.786398)
    assert quality["user"].value == pytest.approx(-0.1)
    assert quality["user"].interval.low == pytest.approx(low, abs=1e-5)
    assert quality["user"].interval.high == pytest.approx(high, abs=1e-5)
    assert quality["judge"].interval is None


def quality_coverage(interval_of, labels, seed, repetitions=4_000):
    """Return how often the difference in quality lies in its interval: of so many labels, and how good."""
    rng = np.random.default_rng(seed)
    (n_routed, routed), (n_held, held) = labels
    right = rng.binomial(n_routed, routed, repetitions), rng.binomial(n_held, held, repetitions)
    hits = 0
    for routed_right, held_right in zip(*right, strict=True):
        interval = interval_of(
            Moments(n_routed, routed_right, routed_right), Moments(n_held, held_right, held_right)
        )
        hits += interval.low <= routed - held <= interval.high
    return hits / repetitions


def of_quality(routed, held):
    figures = Figures()
    figures.held, figures.routed = moments_of([2.0] * 50), moments_of([1.0] * 50)
    figures.labels["user"] = Labels(routed=routed, held=held)
    return measured(figures).quality["user"].interval


FEW_HELD = ((3_000, 0.9), (60, 0.95))


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize(
    "labels", [FEW_HELD, ((1_000, 0.7), (30, 0.9)), ((1_000, 0.98), (30, 0.99)), ((100, 0.5), (100, 0.6))]
)
def test_the_measured_difference_in_quality_is_in_its_interval_as_often_as_it_claims(labels, seed):
    """Nominal 95%, 4,000 repetitions: their standard error is 0.35 points."""
    assert quality_coverage(of_quality, labels, seed) >= 0.935


@pytest.mark.slow
@pytest.mark.no_cover
def test_the_same_check_catches_an_interval_that_is_as_wide_on_both_sides():
    def broken(routed, held):
        value = routed.mean - held.mean
        half = 1.96 * math.sqrt(routed.variance / routed.n + held.variance / held.n)
        return Interval(value - half, value + half, 0.95)

    assert quality_coverage(broken, FEW_HELD, 1) < 0.935


def an_answer(name, model, tokens, **fields):
    return Event(
        2, "outcome", name, name, "2026-11-23T08:00:00.000000Z", False, model=model,
        input_tokens=tokens, output_tokens=tokens, **fields,
    )  # fmt: skip


def figures_from(*events):
    figures = Figures()
    for event in events:
        figures.add(event)
    return figures


def test_fixed_models_are_repriced_on_the_answers_own_tokens():
    """Prices 1 and 10 per million both ways: 300 tokens in and out cost 600e-6 and 6000e-6."""
    prices = PriceTable({"mini": Price(1, 1), "top": Price(10, 10)}, fill_gaps=False)
    figures = figures_from(
        an_answer("a", "mini", 100, cost_usd=200e-6),
        an_answer("b", "top", 200, cost_usd=4_000e-6),
        an_answer("c", None, None, cost_usd=0.0),
        an_answer("d", "top", None, cost_usd=1.0),
    )
    labels = {"top": moments_of([1.0, 0.5])}
    mini, top, dark = fixed_models(figures, prices, ["mini", "top", "dark"], labels)
    assert mini.cost_usd == pytest.approx(600e-6) and mini.quality.n == 0
    assert top.cost_usd == pytest.approx(6_000e-6) and (top.quality.mean, top.quality.n) == (0.75, 2)
    assert top.saving.share == pytest.approx(0.3) and "1 answered requests" in top.saving.note
    assert dark.cost_usd is None and dark.saving.share is None


TOKEN_FIELDS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_repricing_from_sums_is_repricing_each_request(seed):
    """Against the price table applied to every request, and the interval of the pairs that this gives."""
    rng = np.random.default_rng(seed)
    price = Price(2.0, 8.0, cached_input=0.5, cache_write=2.5, reasoning=9.0)
    prices = PriceTable({"top": price}, fill_gaps=False)
    events, costs, repriced = [], [], []
    for number in range(60):
        read, written = int(rng.integers(100, 5_000)), int(rng.integers(1, 2_000))
        cached, stored = int(rng.integers(0, read // 2)), int(rng.integers(0, read // 2))
        usage = Usage(read, written, cached, stored, int(rng.integers(0, written + 1)))
        costs.append(float(rng.lognormal(-7, 1)))
        repriced.append(prices.cost("top", usage))
        tokens = {name: getattr(usage, name) for name in TOKEN_FIELDS}
        bare = an_answer(f"e{number}", "top", None, cost_usd=costs[-1])
        events.append(Event(**{**bare.__dict__, **tokens}))
    (top,) = fixed_models(figures_from(*events), prices, ["top"], {})
    expected = against_declared(figures_of(costs, repriced))
    assert top.cost_usd == pytest.approx(math.fsum(repriced), rel=1e-9)
    assert top.saving.share == pytest.approx(expected.share, rel=1e-9)
    assert (top.saving.interval.low, top.saving.interval.high) == pytest.approx(
        (expected.interval.low, expected.interval.high), rel=1e-9
    )


def test_a_model_that_does_not_reason_is_not_charged_for_reasoning():
    """Of 1,000 tokens written 900 are reasoning: 100 read at $0.15 and 100 written at $0.60 a million."""
    catalog = Catalog.default()
    answer = an_answer("a", "o1", 100, cost_usd=1.0)
    tokens = {"output_tokens": 1_000, "reasoning_tokens": 900}
    figures = figures_from(Event(**{**answer.__dict__, **tokens}))
    (mini,) = fixed_models(figures, catalog.prices(), ["gpt-4o-mini"], {}, catalog=catalog)
    assert mini.cost_usd == pytest.approx(75e-6)
    (charged,) = fixed_models(figures, catalog.prices(), ["gpt-4o-mini"], {})
    assert charged.cost_usd == pytest.approx(615e-6)


def test_long_prompts_at_the_rates_for_short_ones_are_in_the_note():
    price = Price(1, 1, long_context=LongContext(200_000, 2, 2))
    prices = PriceTable({"mini": price}, fill_gaps=False)
    figures = figures_from(an_answer("a", "mini", 250_000, cost_usd=1.0))
    (mini,) = fixed_models(figures, prices, ["mini"], {})
    assert "1 long prompts" in mini.saving.note


def a_fixed(name, baseline, right, n, paid=3.0):
    """Return a model that would have cost `baseline` where routing paid `paid`, and n labels of it."""
    labels = moments_of([1.0] * right + [0.0] * (n - right))
    return FixedModel(name, Saving(name, "repriced", None, None, paid, baseline, 100), labels)


def test_a_mix_of_the_same_cost_is_between_its_neighbors():
    """A quarter of the way from 1 to 9: quality 0.75 * 0.6 + 0.25 * 0.9."""
    fixed = [a_fixed("mini", 1.0, 30, 50), a_fixed("top", 9.0, 45, 50), a_fixed("dark", None, 9, 9)]
    mix = against_mix(fixed, moments_of([1.0] * 70 + [0.0] * 30))
    assert (mix.cheaper, mix.dearer, mix.share) == ("mini", "top", 0.25)
    assert mix.quality == pytest.approx(0.675) and mix.gain == pytest.approx(0.025)
    assert mix.verdict == "no better" and mix.interval.low < 0.025 < mix.interval.high


def test_a_router_cheaper_than_every_model_has_no_mix_and_an_expensive_one_has_the_best_model():
    labels = moments_of([1.0] * 60 + [0.0] * 40)
    cheap = [a_fixed("mini", 1.0, 30, 50, paid=0.5), a_fixed("top", 9.0, 45, 50, paid=0.5)]
    assert against_mix(cheap, labels) is None
    expensive = [a_fixed("mini", 1.0, 30, 50, paid=12.0), a_fixed("top", 9.0, 45, 50, paid=12.0)]
    mix = against_mix(expensive, labels)
    assert (mix.dearer, mix.share, mix.quality, mix.verdict) == ("top", 1.0, 0.9, "worse")
    assert str(mix).startswith("top for all requests")


def test_few_labels_give_no_verdict():
    fixed = [a_fixed("mini", 1.0, 10, 12), a_fixed("top", 9.0, 45, 50)]
    mix = against_mix(fixed, moments_of([1.0] * 60))
    assert (mix.interval, mix.verdict) == (None, "too few labels")


def a_router(rng, skill):
    """Route 400 requests, a third of them to the expensive model, and label all; return the mix.

    Half of the requests are hard: mini gets 0.9 of the easy and 0.3 of the hard ones right, top 0.9 of
    both. With `skill` 0 the expensive model is drawn at random, with 1 it gets hard requests alone.
    """
    hard = rng.random(400) < 0.5
    chance = np.where(hard, (1 + skill) / 3, (1 - skill) / 3)
    expensive = rng.random(400) < chance
    right = rng.random(400) < np.where(~expensive & hard, 0.3, 0.9)
    everywhere = {"mini": 0.6, "top": 0.9}
    cost = float(np.where(expensive, 9.0, 1.0).sum())
    fixed = []
    for name, price in (("mini", 1.0), ("top", 9.0)):
        # What each model is worth on all requests, as a holdback or a benchmark would show.
        labels = moments_of(rng.random(400) < everywhere[name])
        fixed.append(FixedModel(name, Saving(name, "repriced", None, None, cost, 400 * price, 400), labels))
    return against_mix(fixed, moments_of(right))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_useless_router_is_reported_as_no_better_than_a_mix_of_its_cost(seed):
    """400 runs: nominally at most 2.5% say better, which is 10, and 19 with 3 standard errors more."""
    rng = np.random.default_rng(seed)
    verdicts = [a_router(rng, skill=0.0).verdict for _ in range(400)]
    assert verdicts.count("better") <= 19 and verdicts.count("worse") <= 19


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_router_that_knows_the_hard_requests_is_reported_as_better(seed):
    rng = np.random.default_rng(seed)
    verdicts = [a_router(rng, skill=1.0).verdict for _ in range(100)]
    assert verdicts.count("better") >= 80


def test_sums_of_pairs_can_be_merged():
    one, other = Paired(), Paired()
    one.add(1.0, 2.0)
    other.add(3.0, 4.0)
    other.add_unanswered(5.0)
    one.merge(other)
    assert (one.n, one.unanswered, one.cost, one.baseline, one.products) == (2, 1, 9.0, 6.0, 14.0)
