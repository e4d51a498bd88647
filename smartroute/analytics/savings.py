"""Say what routing saved, against what, and how sure that is. Never clamped: a loss is a negative saving."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from smartroute.analytics.figures import Figures, Moments, Paired
from smartroute.pricing import PriceTable
from smartroute.records import Usage
from smartroute.stats.frontier import Lottery, lottery_of_cost
from smartroute.stats.intervals import Interval

if TYPE_CHECKING:
    from smartroute.events import Event

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


def measured(figures: Figures, level: float = 0.95) -> Saving | None:
    """Return the saving that a holdback measures, None without one.

    1 - mean cost routed / mean cost held; the interval is Fieller's, for a ratio of independent means.
    Source: Fieller (1954), Journal of the Royal Statistical Society B 16, 175-185.
    """
    held, routed = figures.held, figures.routed
    if not held.n or not routed.n or not held.mean or routed.mean is None:
        return None
    share = 1.0 - routed.mean / held.mean
    return Saving(
        "requests held back",
        "measured",
        share,
        _fieller(routed, held, level),
        routed.total,
        held.mean * routed.n,
        held.n + routed.n,
        f"{held.n} of them held back",
    )


def _fieller(routed: Moments, held: Moments, level: float) -> Interval | None:
    variances = routed.variance, held.variance
    top, bottom = routed.mean, held.mean
    if min(routed.n, held.n) < ENOUGH or None in variances or top is None or bottom is None:
        return None
    top_error, bottom_error = (
        (variance or 0.0) / n for variance, n in zip(variances, (routed.n, held.n), strict=True)
    )
    z = _z(level)
    a = bottom * bottom - z * z * bottom_error
    if a <= 0:
        return None  # the mean held back cannot be told from 0: the ratio has no bounds
    b, c = top * bottom, top * top - z * z * top_error
    root = math.sqrt(max(0.0, b * b - a * c))
    return Interval(1.0 - (b + root) / a, 1.0 - (b - root) / a, level)


@dataclass(frozen=True, slots=True)
class FixedModel:
    """What sending every answered request to one model would have cost, by repricing; None when unknown.

    `quality` is the mean of what was said of its answers, over `labels` of them; None without any.
    """

    model: str
    cost_usd: float | None
    quality: float | None
    labels: int


def fixed_models(
    events: Iterable[Event], prices: PriceTable, models: Sequence[str], quality: dict[str, Moments]
) -> tuple[FixedModel, ...]:
    """Return what each of the models would have cost for the tokens of these outcomes' answers."""
    costs: dict[str, list[float]] = {model: [] for model in models}
    unknown: set[str] = set()
    for event in events:
        usage = _usage(event)
        if usage is None:
            continue
        for model in models:
            usd = prices.cost(model, usage)
            if usd is None:
                unknown.add(model)
            else:
                costs[model].append(usd)
    return tuple(
        FixedModel(
            model,
            None if model in unknown else math.fsum(costs[model]),
            quality[model].mean if model in quality else None,
            quality[model].n if model in quality else 0,
        )
        for model in models
    )


def mix_of_cost(fixed: Sequence[FixedModel], cost_usd: float) -> Lottery | None:
    """Return the best lottery between two of the models that costs the same; None when there is none.

    Only models whose cost and quality are known count.
    """
    known = [
        (f.cost_usd, f.quality, f.model) for f in fixed if f.cost_usd is not None and f.quality is not None
    ]
    return lottery_of_cost(known, cost_usd)


def _usage(event: Event) -> Usage | None:
    if event.input_tokens is None or event.output_tokens is None:
        return None
    return Usage(
        event.input_tokens,
        event.output_tokens,
        event.cached_tokens or 0,
        event.cache_write_tokens or 0,
        event.reasoning_tokens or 0,
    )


def _z(level: float) -> float:
    return NormalDist().inv_cdf((1 + level) / 2)
