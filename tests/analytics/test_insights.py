"""Insights: their claims by hand, and how often they fire where there is nothing to find."""

import math

import numpy as np
import pytest

from smartroute import Catalog, ModelCard, Price
from smartroute.analytics import Analytics, Figures, compose, find_insights
from smartroute.analytics.figures import Labels
from smartroute.analytics.insights import GROUPINGS, RATE, Evidence
from smartroute.analytics.insights.confidence import confidence_predicts_nothing
from smartroute.analytics.insights.escalations import escalations_cost_too_much, escalations_never_change
from smartroute.analytics.insights.shifts import price_moved, quality_moved
from smartroute.analytics.insights.spending import (
    cheaper_worth_trying,
    model_dominated,
    simple_on_expensive_models,
)
from smartroute.analytics.sums import Joint
from smartroute.dashboard.report_formats import markdown
from smartroute.events.event import Event
from smartroute.events.writing import event_of_feedback
from smartroute.pricing import PriceTable
from smartroute.sinks import MemorySink
from smartroute.stats.intervals import clopper_pearson
from smartroute.stats.means import mean_from_moments
from smartroute.stats.moments import Moments

PRICES = PriceTable({"mini": Price(1, 1), "top": Price(10, 10)}, fill_gaps=False)
TOKENS = (100.0, 0.0, 0.0, 100.0, 0.0)
USD = {"mini": 200e-6, "top": 2_000e-6}
"""What 100 tokens in and out cost."""


def moments_of(values):
    values = np.asarray(values, dtype=float)
    return Moments(len(values), float(values.sum()), float((values * values).sum()))


def of_model(model, answered, *, quality=None, usd=None, first="2026-11-01", last="2026-11-28"):
    """Return the figures of answers of 100 tokens in and out each, all labeled with `quality` by users."""
    usd = USD[model] if usd is None else usd
    figures = Figures(requests=answered, answered=answered, first=first, last=last)
    figures.cost = Moments(answered, usd * answered, usd * usd * answered)
    values = (usd, *TOKENS)
    figures.tokens.n = answered
    figures.tokens.sums = [answered * value for value in values]
    figures.tokens.products = [
        answered * values[row] * values[column] for row in range(6) for column in range(row, 6)
    ]
    if quality is not None:
        figures.labels["user"] = Labels(quality=moments_of(quality))
    return figures


def evidence_of(tables, **known):
    """Return evidence of these tables, the total being the sum over the models."""
    whole = {names: {} for names in GROUPINGS} | tables
    if not whole[()]:
        total = Figures()
        for figures in whole["model",].values():
            total.merge(figures)
        whole[()] = {(): total}
    return Evidence(whole, **{"prices": PRICES, **known})


def only(insights):
    (insight,) = insights
    return insight


def an_escalating_kind(comparable, changed, climbs=None):
    figures = Figures(requests=2 * comparable, answered=2 * comparable, escalated=comparable)
    figures.comparable, figures.changed = comparable, changed
    figures.climbs = moments_of([0.01] * comparable if climbs is None else climbs)
    figures.first, figures.last = "2026-11-01", "2026-11-28"
    return figures


def test_escalations_that_change_nothing_are_reported_with_their_cost():
    """1 of 200: Clopper and Pearson's upper bound is 2.75% at level 0.95; 200 climbs cost $2."""
    table = {("score",): an_escalating_kind(200, 1), ("extract",): an_escalating_kind(200, 60)}
    insight = only(escalations_never_change(evidence_of({("kind",): table})))
    assert (insight.subject, insight.value, insight.n) == ("score", 0.005, 200)
    # Two kinds were tested, so the level is 97.5%.
    assert insight.interval.level == pytest.approx(0.975)
    assert 0.0275 < insight.interval.high < 0.032
    assert insight.saves_usd == pytest.approx(2.0)
    assert "accept_at" in insight.suggestion and "1 of 200" in insight.claim


def test_few_escalations_are_no_evidence():
    table = {("score",): an_escalating_kind(40, 0)}
    assert not list(escalations_never_change(evidence_of({("kind",): table})))


def of_a_kind(*strata, kind="score"):
    """Return tables of answers: of complexity, by model, how many, and the labels."""
    cells, models = {}, {}
    for complexity, model, answered, quality in strata:
        cells[kind, complexity, model] = figures = of_model(model, answered, quality=quality)
        models.setdefault((model,), Figures()).merge(figures)
    return {("kind", "complexity", "model"): cells, ("model",): models}


MINI = ("simple", "mini", 2_000, [1] * 240 + [0] * 160)
TOP = ("simple", "top", 500, [1] * 360 + [0] * 40)


def test_a_threshold_that_pays_too_much_for_right_answers_is_reported():
    """Moving a request to top costs $0.0018 and gains 0.3: $0.006 for a right answer, and at most $0.009 or
    so with 400 labels each. Escalations cost $0.01 and change a fifth of the answers: $0.05 at least, $0.04
    with the bounds."""
    tables = of_a_kind(MINI, TOP) | {("kind",): {("score",): an_escalating_kind(500, 100)}}
    insight = only(escalations_cost_too_much(evidence_of(tables)))
    assert insight.subject == "score" and insight.value == 0.2
    assert "one more right answer cost at least $0.04" in insight.claim
    assert 0 < insight.saves_usd < 5.0
    cheap = {("score",): an_escalating_kind(500, 100, [0.001] * 500)}
    assert not list(escalations_cost_too_much(evidence_of(tables | {("kind",): cheap})))


def test_what_a_better_model_gains_is_that_of_the_same_complexity_by_hand():
    """Top gains 0.1 over mini on simple tasks (800 answers) and 0.3 on complex ones (200): 0.14 on the whole.

    By their labels as they come, it gains nothing: 0.75 against 0.75.
    """
    from smartroute.analytics.insights.stratified import compare_quality

    quality = {
        ("simple", "mini"): [1] * 80 + [0] * 20, ("simple", "top"): [1] * 18 + [0] * 2,
        ("complex", "mini"): [1] * 6 + [0] * 14, ("complex", "top"): [1] * 60 + [0] * 40,
    }  # fmt: skip
    tables = of_a_kind(*((*key, len(labels), labels) for key, labels in quality.items()))
    weights = {("score", "simple"): 800.0, ("score", "complex"): 200.0}
    comparison = compare_quality(evidence_of(tables), "top", "mini", weights, 0.95)
    assert comparison.difference == pytest.approx(0.8 * 0.1 + 0.2 * 0.3)
    squares = sum(
        weight**2 * sum(np.var(quality[c, m], ddof=1) / len(quality[c, m]) for m in ("mini", "top"))
        for c, weight in (("simple", 0.8), ("complex", 0.2))
    )
    assert comparison.interval.high - comparison.difference == pytest.approx(1.959964 * math.sqrt(squares))
    assert comparison.labels == 120 and len(comparison.strata) == 2


def test_where_the_expensive_model_is_no_better_no_threshold_is_reported():
    alike = [1] * 360 + [0] * 40
    tables = of_a_kind(("simple", "mini", 2_000, alike), ("simple", "top", 500, alike))
    tables |= {("kind",): {("score",): an_escalating_kind(500, 100)}}
    assert not list(escalations_cost_too_much(evidence_of(tables)))


def test_without_labels_no_threshold_is_reported():
    kinds = {("kind",): {("score",): an_escalating_kind(500, 100)}}
    unlabeled = of_a_kind(*((*stratum[:3], None) for stratum in (MINI, TOP)))
    elsewhere = of_a_kind(MINI, TOP, kind="extract")
    separate = of_a_kind(MINI, ("complex", *TOP[1:]))
    for tables in (unlabeled, elsewhere, separate):
        assert not list(escalations_cost_too_much(evidence_of(tables | kinds)))


def simple_tasks(mini, top, quality=(None, None)):
    models = {
        model: of_model(model, n, quality=labels)
        for model, n, labels in zip(("mini", "top"), (mini, top), quality, strict=True)
    }
    return {
        ("complexity", "model"): {("simple", model): figures for model, figures in models.items()},
        ("model",): {(model,): figures for model, figures in models.items()},
    }


def test_simple_tasks_on_expensive_models_are_reported_with_what_the_cheapest_would_save():
    """100 of 300 answers at $0.002 that mini gives for $0.0002."""
    insight = only(simple_on_expensive_models(evidence_of(simple_tasks(200, 100))))
    assert insight.value == pytest.approx(1 / 3) and insight.n == 300
    assert insight.saves_usd == pytest.approx(100 * 1_800e-6)
    assert "Start simple tasks at mini" in insight.suggestion


def test_simple_tasks_that_the_expensive_model_answers_better_are_left_there():
    better = ([1] * 50 + [0] * 50, [1] * 95 + [0] * 5)
    assert not list(simple_on_expensive_models(evidence_of(simple_tasks(200, 100, better))))


def two_models(expensive, cheap, kinds=(("score", "simple"), ("extract", "medium"))):
    """Return tables in which both models answered the same kinds; qualities by kind, in order."""
    table, models = {}, {}
    for (kind, complexity), one, other in zip(kinds, expensive, cheap, strict=True):
        for model, quality in (("top", one), ("mini", other)):
            figures = of_model(model, len(quality), quality=quality)
            table[kind, complexity, model] = figures
            models.setdefault((model,), Figures()).merge(figures)
    return {("kind", "complexity", "model"): table, ("model",): models}


def bernoulli(rng, share, n):
    return (rng.random(n) < share).astype(float)


def test_a_model_that_a_cheaper_one_equals_is_reported():
    rng = np.random.default_rng(5)
    tables = two_models([bernoulli(rng, 0.9, 1_000)] * 2, [bernoulli(rng, 0.9, 1_000)] * 2)
    insight = only(model_dominated(evidence_of(tables)))
    assert insight.subject == "top" and insight.interval.low > -0.05
    assert insight.saves_usd == pytest.approx(2_000 * 1_800e-6)
    assert "mini charges 90% less" in insight.claim


def test_an_easy_kind_of_one_model_is_not_compared_with_a_hard_kind_of_another():
    """Mini has 0.9 on easy tasks, top 0.6 on hard ones, where mini was hardly asked: no comparison."""
    rng = np.random.default_rng(5)
    tables = two_models(
        [bernoulli(rng, 0.95, 20), bernoulli(rng, 0.6, 1_000)],
        [bernoulli(rng, 0.9, 1_000), bernoulli(rng, 0.3, 5)],
    )
    assert not list(model_dominated(evidence_of(tables)))


def given_confidence(rng, correlation, n):
    """Return labels whose quality is right 8 times in 10 and correlates so far with the confidence."""
    confidence = rng.uniform(0.7, 1.0, n)
    slope = correlation * 0.4 / (0.3 / math.sqrt(12))
    quality = bernoulli(rng, 0.8 + slope * (confidence - 0.85), n)
    both = Joint()
    for pair in zip(quality, confidence, strict=True):
        both.add(*map(float, pair))
    figures = Figures(labels={"user": Labels(quality=moments_of(quality), by_confidence={8: both})})
    return evidence_of({(): {(): figures}})


def test_a_confidence_is_reported_when_it_predicts_nothing_and_not_when_it_predicts_quality():
    """The correlation is scipy's."""
    from scipy.stats import pearsonr

    rng = np.random.default_rng(3)
    quality, confidence = bernoulli(rng, 0.8, 1_000), rng.uniform(0.7, 1.0, 1_000)
    both = Joint()
    for pair in zip(quality, confidence, strict=True):
        both.add(*map(float, pair))
    figures = Figures(labels={"user": Labels(quality=moments_of(quality), by_confidence={8: both})})
    insight = only(confidence_predicts_nothing(evidence_of({(): {(): figures}})))
    expected = pearsonr(quality, confidence)
    assert insight.value == pytest.approx(expected.statistic)
    limits = expected.confidence_interval(0.95)
    assert (insight.interval.low, insight.interval.high) == pytest.approx((limits.low, limits.high))
    assert not list(confidence_predicts_nothing(given_confidence(rng, 0.5, 1_000)))


def by_day(values, model="top"):
    """Return figures of a model by day, one for each value: the quality of 50 answers, all labeled."""
    return {
        (model, f"2026-11-{day:02d}"): of_model(
            model,
            50,
            quality=[1] * round(50 * value) + [0] * (50 - round(50 * value)),
            first=f"2026-11-{day:02d}",
            last=f"2026-11-{day:02d}",
        )
        for day, value in enumerate(values, start=1)
    }


def test_a_model_whose_quality_fell_in_the_last_week_is_reported():
    insight = only(quality_moved(evidence_of({("model", "day"): by_day([0.9] * 21 + [0.7] * 7)})))
    assert insight.value == pytest.approx(-0.2) and insight.n == 28 * 50
    assert insight.since == "2026-11-22"
    assert "0.900 to 0.700" in insight.claim and "another model meanwhile" in insight.suggestion
    assert not list(quality_moved(evidence_of({("model", "day"): by_day([0.9] * 28)})))


def test_a_model_whose_price_rose_is_reported_with_the_exact_change():
    """$0.0016 an answer before, $0.002 since: 25% more, which is a fifth of 7 times 50 answers at $0.002."""
    table = {
        key: of_model("top", 50, usd=1_600e-6 if key[1] < "2026-11-22" else 2_000e-6)
        for key in by_day([1.0] * 28)
    }
    insight = only(price_moved(evidence_of({("model", "day"): table})))
    assert insight.value == pytest.approx(0.25) and "+25.0%" in insight.claim
    assert insight.saves_usd == pytest.approx(350 * 400e-6)
    assert not list(price_moved(evidence_of({("model", "day"): by_day([1.0] * 28)})))


def test_another_mix_of_tokens_at_prices_that_are_not_known_here_is_no_move():
    """The model charges $5 for either token, the table says $1 and $10: the ratio rises from 1,000 / 1,100 to
    5,500 / 2,000 when prompts grow tenfold, and nothing was charged otherwise."""
    prices = PriceTable({"top": Price(1, 10)}, fill_gaps=False)
    table = {}
    for day in range(1, 29):
        figures = Figures()
        for number in range(50):
            read = 100 if day < 22 else 1_000
            figures.add(
                Event(
                    3, "outcome", f"{day}-{number}", f"{day}-{number}", f"2026-11-{day:02d}T00:00:00.000000Z",
                    False, model="top", cost_usd=5e-6 * (read + 100), unpriced_attempts=0,
                    input_tokens=read, output_tokens=100,
                    attempts=({"purpose": "answer", "cost_usd": 5e-6 * (read + 100)},),
                )
            )  # fmt: skip
        table["top", f"2026-11-{day:02d}"] = figures
    assert not list(price_moved(evidence_of({("model", "day"): table}, prices=prices)))


def a_card(name, tier, price, **fields):
    return ModelCard(name, tier=tier, target=f"openai/{name}", price=Price(price, price), **fields)


def test_a_cheaper_model_of_the_tier_is_proposed_with_the_labels_that_an_experiment_needs():
    """Half the price on 1,000 answers at $0.002. Labels: 2 (1.6449 + 0.8416)^2 0.25 / 0.05^2 = 1236.5."""
    catalog = Catalog.of(
        [
            a_card("top", "standard", 10),
            a_card("half", "standard", 5),
            a_card("tiny", "mini", 1),
            a_card("gone", "standard", 1, retired_on="2020-01-01"),
            a_card("preview", "standard", 1, default=False),
        ]
    )
    evidence = evidence_of(
        {("model",): {("top",): of_model("top", 1_000)}}, prices=catalog.prices(), catalog=catalog
    )
    insight = only(cheaper_worth_trying(evidence))
    assert "half (standard) would have charged 50% less than top" in insight.claim
    assert "about 1237 labels" in insight.suggestion
    assert insight.saves_usd == pytest.approx(1.0) and insight.false_alarm_rate == 0.0


def proposals(*cards):
    catalog = Catalog.of([a_card("top", "standard", 10, abilities=["images"], context_tokens=1_000), *cards])
    evidence = evidence_of(
        {("model",): {("top",): of_model("top", 1_000)}}, prices=catalog.prices(), catalog=catalog
    )
    return list(cheaper_worth_trying(evidence))


def test_a_cheaper_model_that_takes_as_much_goes_before_the_cheapest():
    same = a_card("same", "standard", 5, abilities=["images", "tools"], context_tokens=1_000)
    insight = only(proposals(same, a_card("blind", "standard", 2, context_tokens=1_000)))
    assert "same (standard)" in insight.claim and "It takes" not in insight.suggestion


def test_what_a_cheaper_model_cannot_take_is_named():
    blind = a_card("blind", "standard", 2, context_tokens=500, max_output_tokens=150, refuses=["temperature"])
    insight = only(proposals(blind))
    assert (
        "It takes no images, no parameter temperature, at most 500 tokens in all, "
        "at most 150 tokens in an answer: requests that need more stay with top" in insight.suggestion
    )


def test_a_cheaper_model_that_is_too_small_for_the_answers_is_not_proposed():
    """100 tokens in and 100 out."""
    assert not proposals(a_card("short", "standard", 2, abilities=["images"], context_tokens=199))
    assert not proposals(a_card("terse", "standard", 2, abilities=["images"], max_output_tokens=99))
    assert proposals(a_card("fits", "standard", 2, abilities=["images"], context_tokens=200))


def fires(finder, evidences):
    """Return the share of the runs in which a finder yields an insight."""
    fired = [bool(list(finder(evidence))) for evidence in evidences]
    return sum(fired) / len(fired)


def most(runs, rate=RATE):
    """Return the share of runs that a rate stays below, three standard errors of chance included."""
    return rate + 3 * math.sqrt(rate * (1 - rate) / runs)


SEEDS = pytest.mark.parametrize("seed", [1, 2, 3])


def seldom_changing(rng):
    """Six kinds whose escalations change just as many answers as the insight calls seldom."""
    kinds = {
        (f"kind{k}",): an_escalating_kind(n, int(rng.binomial(n, 0.05))) for k, n in enumerate([80, 300] * 3)
    }
    return evidence_of({("kind",): kinds})


def a_fifth_on_expensive(rng):
    top = int(rng.binomial(500, 0.2))
    return evidence_of(simple_tasks(500 - top, top))


def just_worse(rng):
    """A cheaper model that is worse by just the margin."""
    expensive, cheap = (
        [bernoulli(rng, share, 800) for share in shares] for shares in ((0.9, 0.7), (0.85, 0.65))
    )
    return evidence_of(two_models(expensive, cheap))


def just_useful(rng):
    return given_confidence(rng, 0.2, 400)


def unmoved(rng):
    table = {}
    for model in ("a", "b", "c", "d", "e", "f"):
        for day in range(1, 29):
            quality = bernoulli(rng, 0.9, 10)
            table[model, f"2026-11-{day:02d}"] = of_model("top", 10, quality=quality)
    return evidence_of({("model", "day"): table})


def just_worth_it(rng, n=400):
    """Escalations that buy a right answer at just the price of moving requests over: 0.0018 / 0.3 = 0.006."""
    strata = [
        (complexity, model, 4 * n, bernoulli(rng, share, n // 2))
        for complexity, shares in (("simple", (0.7, 1.0)), ("complex", (0.5, 0.8)))
        for model, share in zip(("mini", "top"), shares, strict=True)
    ]
    climbs = rng.lognormal(math.log(0.0012) - 0.5, 1.0, 400)
    kind = an_escalating_kind(400, int(rng.binomial(400, 0.2)), climbs)
    return evidence_of(of_a_kind(*strata) | {("kind",): {("score",): kind}})


def just_worth_it_by_few_labels(rng):
    return just_worth_it(rng, n=40)


def expensive_on_easy_tasks(rng, gain=0.04):
    """Top answers the simple tasks, mini the complex ones, and in either top is better by 0.04 only.

    So a right answer costs 0.0018 / 0.04 = $0.045 by moving requests over, and $0.03 by escalating, which is
    worth it. But top's labels, as they come, are better by 0.4 or so.
    """
    strata = [
        ("simple", "mini", 200, bernoulli(rng, 0.9, 60)),
        ("simple", "top", 1_800, bernoulli(rng, 0.9 + gain, 540)),
        ("complex", "mini", 1_800, bernoulli(rng, 0.45, 540)),
        ("complex", "top", 200, bernoulli(rng, 0.45 + gain, 60)),
    ]
    climbs = rng.lognormal(math.log(0.006) - 0.5, 1.0, 400)
    kind = an_escalating_kind(400, int(rng.binomial(400, 0.2)), climbs)
    return evidence_of(of_a_kind(*strata) | {("kind",): {("score",): kind}})


BOUNDARIES = [
    (escalations_never_change, seldom_changing, 1_000),
    (simple_on_expensive_models, a_fifth_on_expensive, 1_000),
    (model_dominated, just_worse, 500),
    (confidence_predicts_nothing, just_useful, 500),
    (quality_moved, unmoved, 150),
    (escalations_cost_too_much, just_worth_it, 500),
    (escalations_cost_too_much, just_worth_it_by_few_labels, 500),
    (escalations_cost_too_much, expensive_on_easy_tasks, 500),
]


@pytest.mark.slow
@pytest.mark.no_cover
@SEEDS
@pytest.mark.parametrize(("finder", "draw", "runs"), BOUNDARIES, ids=[d.__name__ for _, d, _ in BOUNDARIES])
def test_at_the_edge_of_its_claim_an_insight_fires_no_more_often_than_it_states(finder, draw, runs, seed):
    rng = np.random.default_rng(seed)
    assert fires(finder, [draw(rng) for _ in range(runs)]) <= most(runs)


def by_point_estimates(evidence):
    """Return findings by the usual mistake: the counted share taken for the true one."""
    return [k for k, f in evidence.by("kind").items() if f.changed / f.comparable < 0.05]


def by_unadjusted_tests(evidence):
    """Return findings by another mistake: each model tested at 5%, whatever the number of models."""
    halves = {}
    for (model, day), figures in evidence.tables["model", "day"].items():
        halves.setdefault(model, [Moments(), Moments()])[day >= "2026-11-22"].merge(evidence.labels(figures))
    return [
        model
        for model, (one, other) in halves.items()
        if abs(one.mean - other.mean) > 1.96 * math.sqrt(one.variance / one.n + other.variance / other.n)
    ]


def by_labels_as_they_come(evidence):
    """Return findings by a third mistake: easy tasks of one model compared with hard tasks of the other."""
    mini, top = (evidence.labels(evidence.by("model")[model]) for model in ("mini", "top"))
    error = math.sqrt(mini.variance / mini.n + top.variance / top.n)
    gain = top.mean - mini.mean - 2.4 * error
    (kind,) = evidence.by("kind").values()
    least = mean_from_moments(kind.climbs, 0.983, skewed=True).interval.low
    share = clopper_pearson(kind.changed, kind.comparable, 0.983).high
    return ["score"] if gain > 0 and least / share > 0.0018 / gain else []


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize(
    ("broken", "draw", "runs"),
    [
        (by_point_estimates, seldom_changing, 1_000),
        (by_unadjusted_tests, unmoved, 150),
        (by_labels_as_they_come, expensive_on_easy_tasks, 100),
    ],
)
def test_the_same_check_catches_finders_that_take_chance_for_a_finding(broken, draw, runs):
    rng = np.random.default_rng(1)
    assert fires(broken, [draw(rng) for _ in range(runs)]) > most(runs)


def traffic(rng, n=900):
    """Events of four weeks in which nothing is wrong: two models of one price and one quality.

    A tenth of the answers escalate, and a third of those change; a third of all are labeled, and confidence
    correlates with quality.
    """
    kinds, models = ("score", "extract", "general"), ("one", "two")
    for number in range(n):
        quality = float(rng.random() < 0.8)
        escalated = bool(rng.random() < 0.1)
        tokens = int(rng.integers(50, 500))
        usd = tokens * 2e-6
        day, hour = 1 + int(rng.integers(28)), int(rng.integers(24))
        calls = [{"model": "one", "purpose": "answer", "rung": 0, "cost_usd": usd}]
        yield Event(
            3, "outcome", f"o{number}", f"o{number}", f"2026-11-{day:02d}T{hour:02d}:00:00.000000Z", False,
            kind=kinds[rng.integers(3)], complexity=("simple", "medium")[rng.integers(2)],
            model=models[rng.integers(2)], cost_usd=usd * (1 + escalated), unpriced_attempts=0,
            escalated=escalated, answer_changed=bool(rng.random() < 1 / 3) if escalated else None,
            confidence=min(1.0, max(0.0, 0.6 + 0.25 * quality + float(rng.normal(0, 0.1)))),
            input_tokens=tokens, output_tokens=tokens,
            attempts=(*calls, {**calls[0], "rung": 1})[: 1 + escalated],
        )  # fmt: skip
        if rng.random() < 1 / 3:
            yield event_of_feedback(
                event_id=f"f{number}",
                at_s=1_800_000_000,
                simulated=False,
                outcome_id=f"o{number}",
                quality=quality,
            )


def log_of(events):
    sink = MemorySink()
    for event in events:
        sink.emit(event)
    return sink


EQUAL = Catalog.of([a_card("one", "standard", 1), a_card("two", "standard", 1), a_card("new", "standard", 1)])


@pytest.mark.slow
@pytest.mark.no_cover
@SEEDS
def test_on_traffic_in_which_nothing_is_wrong_no_insight_fires_more_often_than_its_rate(seed):
    rng = np.random.default_rng(seed)
    runs = 40
    names = []
    for _ in range(runs):
        names += [i.name for i in find_insights(Analytics(log_of(traffic(rng))), catalog=EQUAL)]
    for name in set(names):
        assert names.count(name) / runs <= most(runs), name


def test_the_report_shows_insights_or_says_that_there_are_none():
    rng = np.random.default_rng(1)
    events = list(traffic(rng, 200))
    calm = compose(Analytics(log_of(events)), catalog=EQUAL)
    assert calm.insights == ()
    assert "nothing to act on: no finding that chance alone could not explain" in markdown(calm)
    cheaper = Catalog.of([a_card("one", "standard", 1), a_card("new", "standard", 0.5)])
    report = compose(Analytics(log_of(events)), catalog=cheaper)
    assert [insight.name for insight in report.insights] == ["a cheaper model is worth an experiment"]
    assert "new (standard) would have charged 50% less than one" in markdown(report)
