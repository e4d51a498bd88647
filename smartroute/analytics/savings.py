"""Say what routing saved, against what, and how sure that is. Never clamped: a loss is a negative saving."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from smartroute.analytics.figures import Figures
from smartroute.analytics.sums import Paired
from smartroute.catalog import Catalog
from smartroute.pricing.price import Price, PriceTable
from smartroute.stats.frontier import Lottery, concave_frontier, lottery_of_cost
from smartroute.stats.intervals import Interval, sum_of_mean_scores
from smartroute.stats.means import difference_from_moments, ratio_from_moments
from smartroute.stats.moments import Moments

ENOUGH = 30
"""How many requests an interval from a large-sample formula needs; below, the estimate stands alone."""


@dataclass(frozen=True, slots=True)
class Saving:
    """What routing saved against a baseline, as a share of what that would have cost: negative for a loss.

    `how` is "repriced" (the answers' own tokens at the baseline's prices, an estimate whose bias is that
    another model writes shorter or longer answers) or "measured" (a holdback, unbiased). `n` counts the
    requests that were compared. `interval` is None where there are too few of them. `note` says what else
    to know.
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

    The interval is that of a ratio by linearisation: with residuals d = cost - r baseline, where r is the
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
    if pairs.n < ENOUGH or pairs.baseline <= 0:
        return None
    ratio = pairs.cost / pairs.baseline
    squares = pairs.cost_squares - 2 * ratio * pairs.products + ratio * ratio * pairs.baseline_squares
    half = _z(level) * math.sqrt(n * max(0.0, squares) / (n - 1)) / pairs.baseline
    return Interval(1.0 - ratio - half, 1.0 - ratio + half, level)


@dataclass(frozen=True, slots=True)
class Effect:
    """A measured difference, routed less held back, and its interval; None where there are too few."""

    value: float
    interval: Interval | None
    n_held: int
    n_routed: int


@dataclass(frozen=True, slots=True)
class Holdback:
    """What drawing requests for the declared baseline at random measures, without bias.

    `saving` is the share saved, `cost_usd` the difference in the mean cost of a request, `quality` the
    difference in mean quality, by who judged it.
    """

    saving: Saving
    cost_usd: Effect
    quality: dict[str, Effect]


def measured(figures: Figures, level: float = 0.95) -> Holdback | None:
    """Return what a holdback measures, None without one.

    The share saved is 1 - mean cost routed / mean cost held. Costs are heavy-tailed: each mean's limits are
    those for values as skewed as a lognormal, and the limits of ratio and difference are made of them
    (`smartroute.stats.means.ratio_from_moments`, `difference_from_moments`).
    """
    held, routed = figures.held, figures.routed
    if not held.n or not routed.n or not held.mean or routed.mean is None:
        return None
    enough = min(held.n, routed.n) >= ENOUGH
    both = routed, held
    ratio = ratio_from_moments(*both, level, skewed=True).interval if enough and routed.mean > 0 else None
    share = None
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
    if min(routed.n, held.n) < ENOUGH:
        return Effect(value, None, held.n, routed.n)
    return Effect(value, sum_of_mean_scores(((1.0, routed), (-1.0, held)), level), held.n, routed.n)


def label_error(moments: Moments) -> float:
    """Return the squared standard error of a mean of labels.

    Where all are the same it is as if one had gone the other way: 40 right of 40 do not prove perfection.
    """
    n = moments.n
    return max(moments.variance or 0.0, 1.0 / n if moments.variance == 0 else 0.0) / n


@dataclass(frozen=True, slots=True)
class FixedModel:
    """What sending every answered request to one model would have cost, by repricing; None when unknown.

    `saving` is what routing saved against that. `quality` is what was said of its answers.
    """

    model: str
    saving: Saving
    quality: Moments

    @property
    def cost_usd(self) -> float | None:
        """Return what it would have cost."""
        return self.saving.baseline_usd


def rates_of(model: str, price: Price, catalog: Catalog | None) -> tuple[float, ...]:
    """Return what a model would charge in USD a token, in the order of Tokens.

    One that does not reason would not have written, or charged for, the tokens of reasoning, as with
    `Outcome.baseline_cost_usd`. Without a `catalog` that is not known, and they are charged.
    """
    *rates, reasoning = price.rates()
    silent = catalog is not None and model in catalog and "effort" not in catalog.card(model).abilities
    return (*rates, 0.0 if silent else reasoning)


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

    From the sums of tokens, their squares and products, so that the interval is that of `against_declared`.
    Every prompt is priced as below a model's long-context threshold; where there are longer ones the note
    counts them, and the model's cost is too low by the surcharge. With a `catalog` a model that does not
    reason is not charged for reasoning.
    """
    found = []
    for model in models:
        price = prices.price(model, warn=False)
        said = quality.get(model, Moments())
        if price is None:
            nothing = Saving(model, "repriced", None, None, figures.tokens.sums[0], None, 0, "price unknown")
            found.append(FixedModel(model, nothing, said))
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
        found.append(FixedModel(model, saving, said))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Mix:
    """The best draw between two fixed models that costs what routing did, and whether routing beats it.

    `share` is that of the dearer one. `gain` is the quality of the answers given less that of the draw, and
    `verdict` "better", "worse" or "no better": the interval decides; without one it is "too few labels".
    Labels of a model are those of the answers that routing let it give: where it gives easy ones only, its
    quality, and so the draw's, is flattered.
    """

    cheaper: str
    dearer: str
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
    """Return how the routed answers compare with the static mix of their cost; None when there is none.

    Only models whose cost and quality are known count. Where routing costs more than all of them the mix is
    the best one alone; where it costs less, no mix is that cheap and there is none. The interval takes the
    three means for independent, which is wider than right, for the labels overlap; the mix's share is taken
    as known.
    """
    known = {f.model: f for f in fixed if f.cost_usd is not None and f.quality.n}
    if not known or routed.mean is None:
        return None
    cost = next(iter(known.values())).saving.cost_usd
    points = [(f.cost_usd or 0.0, f.quality.mean or 0.0, f.model) for f in known.values()]
    draw = lottery_of_cost(points, cost)
    if draw is None:
        best = concave_frontier(points)[-1]
        if cost <= best.cost:
            return None
        draw = Lottery(best, best, 1.0, best.quality)
    gain = routed.mean - draw.quality
    parts = [
        (1.0, routed),
        (draw.share - 1.0, known[draw.cheaper.name].quality),
        (-draw.share, known[draw.dearer.name].quality),
    ]
    interval, verdict = None, "too few labels"
    if all(moments.n >= ENOUGH for weight, moments in parts if weight):
        interval = sum_of_mean_scores([each for each in parts if each[0]], level)
        verdict = "better" if interval.low > 0 else "worse" if interval.high < 0 else "no better"
    return Mix(
        draw.cheaper.name, draw.dearer.name, draw.share, draw.quality, routed.mean, gain, interval, verdict
    )


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
