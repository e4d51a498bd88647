"""Savings against a baseline, with an interval. Never clamped: a loss is a negative saving."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from smartroute.analytics.figures import Figures
from smartroute.analytics.sums import Paired
from smartroute.catalog import Catalog
from smartroute.pricing import Price, PriceTable
from smartroute.stats.frontier import Lottery, concave_frontier, lottery_of_cost
from smartroute.stats.intervals import Interval, sum_of_mean_scores
from smartroute.stats.means import difference_from_moments, ratio_from_moments
from smartroute.stats.moments import Moments

LEAST_SAMPLE = 30
"""How many requests or labels a large-sample interval needs, and every verdict of a report or an insight.

Below that an estimate has no interval, and a verdict stays open.
"""


@dataclass(frozen=True, slots=True)
class Saving:
    """What routing saved against a baseline, as a share of the baseline's cost: negative for a loss.

    `how` is "repriced" or "measured". Repriced takes the answers' own tokens at the baseline's prices: an
    estimate, biased because another model writes shorter or longer answers. Measured takes a holdback, and is
    unbiased. `n` counts the compared requests. `interval` is None when there are too few of them. `note` adds
    what else to know. Costs are in USD.
    """

    baseline: str
    how: str
    share: float | None
    interval: Interval | None
    cost_usd: float
    baseline_usd: float | None
    n: int
    note: str = ""


def against_declared(figures: Figures, name: str = "the declared baseline", level: float = 0.95) -> Saving:
    """Return the saving against the baseline that the events name, by repricing.

    The interval is that of a ratio by linearization: with residuals d = cost - r baseline, where r is the
    ratio of the sums, its half width is z sqrt(n s_d^2) / sum(baseline). Source: Cochran (1977), Sampling
    Techniques, 3rd edition, section 6.3. Judges, samples, classifiers and failed calls are in the cost.
    """
    pairs = figures.compared
    share = 1.0 - pairs.cost / pairs.baseline if pairs.baseline > 0 else None
    missing = figures.answered - pairs.n
    note = f"{missing} answered requests have no known cost or baseline and are left out" if missing else ""
    return Saving(name, "repriced", share, _interval(pairs, level), pairs.cost, pairs.baseline, pairs.n, note)


def _interval(pairs: Paired, level: float) -> Interval | None:
    n = pairs.n + pairs.unanswered
    if pairs.n < LEAST_SAMPLE or pairs.baseline <= 0:
        return None
    ratio = pairs.cost / pairs.baseline
    squares = pairs.cost_squares - 2 * ratio * pairs.products + ratio * ratio * pairs.baseline_squares
    half = z_value(level) * math.sqrt(n * max(0.0, squares) / (n - 1)) / pairs.baseline
    return Interval(1.0 - ratio - half, 1.0 - ratio + half, level)


@dataclass(frozen=True, slots=True)
class Effect:
    """A measured difference, routed minus held back, and its interval; None when there are too few."""

    value: float
    interval: Interval | None
    n_held: int
    n_routed: int


@dataclass(frozen=True, slots=True)
class Holdback:
    """What a holdback measures, without bias: requests sent to the declared baseline at random.

    `saving` is the share saved, `cost_usd` the difference in the mean cost of a request, and `quality` the
    difference in mean quality, by the source of the labels.
    """

    saving: Saving
    cost_usd: Effect
    quality: dict[str, Effect]


def measured(figures: Figures, level: float = 0.95) -> Holdback | None:
    """Return what a holdback measures, None without one.

    The share saved is 1 - mean cost routed / mean cost held. Costs are heavy-tailed: each mean's limits are
    those for values as skewed as a lognormal. The limits of the ratio and the difference are combined from
    them (`smartroute.stats.means.ratio_from_moments`, `difference_from_moments`).
    """
    held, routed = figures.held, figures.routed
    if not held.n or not routed.n or not held.mean or routed.mean is None:
        return None
    enough = min(held.n, routed.n) >= LEAST_SAMPLE
    both = routed, held
    ratio = ratio_from_moments(*both, level, skewed=True).interval if enough and routed.mean > 0 else None
    share = None
    # The ratio has no upper limit where the mean cost held back is not certainly above 0.
    if ratio is not None and math.isfinite(ratio.high):
        share = Interval(1.0 - ratio.high, 1.0 - ratio.low, level)
    difference = difference_from_moments(*both, level, skewed=True).interval if ratio is not None else None
    saving = Saving(
        "requests held back",
        "measured",
        1.0 - routed.mean / held.mean,
        share,
        routed.total,
        held.mean * routed.n,
        held.n + routed.n,
        f"{held.n} of them held back",
    )
    quality = {
        source: _effect(labels.routed, labels.held, level)
        for source, labels in sorted(figures.labels.items())
        if labels.routed.n and labels.held.n
    }
    return Holdback(saving, Effect(routed.mean - held.mean, difference, held.n, routed.n), quality)


def _effect(routed: Moments, held: Moments, level: float) -> Effect:
    value = (routed.mean or 0.0) - (held.mean or 0.0)
    if min(routed.n, held.n) < LEAST_SAMPLE:
        return Effect(value, None, held.n, routed.n)
    return Effect(value, sum_of_mean_scores(((1.0, routed), (-1.0, held)), level), held.n, routed.n)


def label_error(moments: Moments) -> float:
    """Return the squared standard error of a mean of labels.

    Labels that are all the same count as if one of them were different: 40 right of 40 do not prove
    perfection.
    """
    n = moments.n
    return max(moments.variance or 0.0, 1.0 / n if moments.variance == 0 else 0.0) / n


@dataclass(frozen=True, slots=True)
class FixedModel:
    """One model as the fixed choice for every answered request, by repricing.

    `saving` is what routing saved against it. `quality` holds the labels of the model's own answers.
    """

    model: str
    saving: Saving
    quality: Moments

    @property
    def cost_usd(self) -> float | None:
        """Return what the model would have cost in USD, None when its price is unknown."""
        return self.saving.baseline_usd


def rates_of(model: str, price: Price, catalog: Catalog | None) -> tuple[float, ...]:
    """Return what a model charges in USD a token, in the order of Tokens.

    A model that does not reason would not have written, or charged for, reasoning tokens, as in
    `Outcome.baseline_cost_usd`. Without a `catalog` that is unknown, and they are charged.
    """
    *rates, reasoning = price.rates()
    no_reasoning = catalog is not None and model in catalog and "effort" not in catalog.card(model).abilities
    return (*rates, 0.0 if no_reasoning else reasoning)


def fixed_models(
    figures: Figures,
    prices: PriceTable,
    models: Sequence[str],
    quality: Mapping[str, Moments],
    level: float = 0.95,
    *,
    catalog: Catalog | None = None,
) -> tuple[FixedModel, ...]:
    """Return what each of the models would have cost for the tokens of all answers.

    The cost follows from the sums of tokens, their squares and products, so that the interval is that of
    `against_declared`. Every prompt is priced as below a model's long-context threshold. Where some are
    longer, the note counts them, and the model's cost is too low by the surcharge. With a `catalog`, a model
    that does not reason is not charged for reasoning.
    """
    fixed = []
    for model in models:
        price = prices.price(model, warn=False)
        labels = quality.get(model, Moments())
        if price is None:
            unknown = Saving(model, "repriced", None, None, figures.tokens.sums[0], None, 0, "price unknown")
            fixed.append(FixedModel(model, unknown, labels))
            continue
        pairs = figures.tokens.repriced(rates_of(model, price, catalog))
        notes = ["the answers' tokens at its prices"]
        if price.long_context is not None and figures.long:
            notes.append(f"{figures.long} long prompts at the rates for short ones")
        if missing := figures.answered - pairs.n:
            notes.append(f"{missing} answered requests have no known cost or tokens and are left out")
        share = 1.0 - pairs.cost / pairs.baseline if pairs.baseline > 0 else None
        saving = Saving(
            model, "repriced", share, _interval(pairs, level), pairs.cost, pairs.baseline, pairs.n,
            "; ".join(notes),
        )  # fmt: skip
        fixed.append(FixedModel(model, saving, labels))
    return tuple(fixed)


@dataclass(frozen=True, slots=True)
class Mix:
    """The best random mix of two fixed models that costs what routing did, and whether routing beats it.

    `share` is the share of requests for the more expensive one. `gain` is the quality of the routed answers
    minus that of the mix. `verdict` is "better", "worse" or "no better", by the interval, or "too few labels"
    without one. A model's labels are those of the answers that routing let it give. Where it gives only easy
    ones, its quality looks better than it is, and so does the mix's.
    """

    cheaper: str
    dearer: str  # the more expensive one; a key of the report's JSON, which keeps its name
    share: float
    quality: float
    routed_quality: float
    gain: float
    interval: Interval | None
    verdict: str

    def __str__(self) -> str:
        if self.share == 1:
            return f"{self.dearer} for all requests, which costs no more: quality {self.quality:.3f}"
        return (
            f"{self.dearer} for {self.share:.0%} of requests, else {self.cheaper}: quality {self.quality:.3f}"
        )


def against_mix(fixed: Sequence[FixedModel], routed: Moments, level: float = 0.95) -> Mix | None:
    """Return how the routed answers compare with the static mix of the same cost; None without such a mix.

    Only models of known cost and quality count. Where routing costs more than all of them, the mix is the
    best one alone. Where it costs less than all of them, no mix is that cheap and the result is None. The
    interval takes the three means for independent, which makes it wider than needed, for the labels overlap.
    The mix's share is taken as known.
    """
    known = {f.model: f for f in fixed if f.cost_usd is not None and f.quality.n}
    if not known or routed.mean is None:
        return None
    cost = next(iter(known.values())).saving.cost_usd
    points = [(f.cost_usd or 0.0, f.quality.mean or 0.0, f.model) for f in known.values()]
    draw = lottery_of_cost(points, cost)
    if draw is None:
        # The cost is outside the frontier: below its cheapest model, or above its best.
        best = concave_frontier(points)[-1]
        if cost <= best.cost:
            return None
        draw = Lottery(best, best, 1.0, best.quality)
    gain = routed.mean - draw.quality
    terms = [
        (1.0, routed),
        (draw.share - 1.0, known[draw.cheaper.name].quality),
        (-draw.share, known[draw.costlier.name].quality),
    ]
    interval, verdict = None, "too few labels"
    weighted = [(weight, moments) for weight, moments in terms if weight]  # one of the two may have no weight
    if all(moments.n >= LEAST_SAMPLE for _, moments in weighted):
        interval = sum_of_mean_scores(weighted, level)
        verdict = "better" if interval.low > 0 else "worse" if interval.high < 0 else "no better"
    return Mix(
        draw.cheaper.name, draw.costlier.name, draw.share, draw.quality, routed.mean, gain, interval, verdict
    )


def z_value(level: float) -> float:
    """Return how many standard errors an interval at this level reaches to either side."""
    return NormalDist().inv_cdf((1 + level) / 2)
