"""Insights: escalations that change no answer, or that cost more than a better model would."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from smartroute.analytics.figures import Figures
from smartroute.analytics.insights.insight import (
    Evidence,
    Insight,
    amount,
    cost_difference,
    level_for,
    share_limits,
)
from smartroute.analytics.insights.stratified import Stratum, compare_quality
from smartroute.analytics.savings import LEAST_SAMPLE
from smartroute.analytics.sums import TokenSums
from smartroute.stats.intervals import Interval, clopper_pearson
from smartroute.stats.means import mean_from_moments

LEAST_ESCALATIONS = 50
SELDOM = 0.05
"""Escalations that certainly change a smaller share of answers than this count as never changing them."""


def escalations_never_change(evidence: Evidence) -> Iterator[Insight]:
    """Yield an insight for each kind whose escalations hardly ever change the first answer."""
    for kind, figures, interval in _changed_shares(evidence):
        if interval.high >= SELDOM:
            continue
        cost, limits = _escalation_cost(figures)
        yield Insight(
            name="escalations never change the answer",
            subject=kind,
            claim=f"Of kind {kind}, escalations changed {figures.changed} of {figures.comparable} answers, "
            f"at most {interval.high:.1%}",
            value=figures.changed / figures.comparable,
            interval=interval,
            n=figures.comparable,
            since=figures.first,
            until=figures.last,
            suggestion=f"Lower accept_at for {kind}, or always take its first answer.",
            effect=f"saves {amount(cost, limits, evidence.total.cost_usd)}; at most "
            f"{interval.high:.1%} of those answers would differ",
            saves_usd=cost,
        )


def escalations_cost_too_much(evidence: Evidence) -> Iterator[Insight]:
    """Yield the kinds whose escalations pay more for a right answer than a better model would.

    An escalation that changes the answer makes at most one answer right. So its cost divided by the share of
    changed answers is the least that one more right answer costs. The alternative sends a random share of the
    kind to its most expensive labeled model instead of the cheapest. That buys right answers at the
    difference in cost divided by the difference in quality, which is taken within the complexities of the
    kind. Where the lower bound of the first is above the upper bound of the second, the threshold costs more
    than it gains. The bounds of the share, of the cost, and of the alternative each take a third of the
    rate of false alarms. Kinds whose escalations change nothing at all are left to the other insight.

    Within a complexity, routing leaves a cheap model the answers that it is confident of, and the expensive
    one gets the others. So the expensive one looks worse than it is, and the insight fires less often.
    """
    kinds = list(_changed_shares(evidence, parts=3))
    level = level_for(len(kinds), 3)
    changing_nothing = {insight.subject for insight in escalations_never_change(evidence)}
    for kind, figures, interval in kinds:
        climbs = figures.climbs
        if kind in changing_nothing or climbs.n < LEAST_ESCALATIONS or not climbs.total > 0:
            continue
        alternative = _alternative(evidence, kind, level)
        if alternative is None:
            continue
        least = mean_from_moments(climbs, level, skewed=True).interval.low / interval.high
        if least <= alternative.most_usd:
            continue
        cost, limits = _escalation_cost(figures)
        share = figures.changed / figures.comparable
        yield Insight(
            name="a threshold costs more than it brings",
            subject=kind,
            claim=f"Of kind {kind}, escalations changed {share:.1%} {share_limits(interval)} of the answers, "
            f"so that one more right answer cost at least ${least:,.4g}; a random share to "
            f"{alternative.expensive} in place of {alternative.cheap} buys it for at most "
            f"${alternative.most_usd:,.4g}",
            value=share,
            interval=interval,
            n=figures.comparable,
            since=figures.first,
            until=figures.last,
            suggestion=f"Lower accept_at for {kind}, and send a fixed share of it to {alternative.expensive} "
            "if its quality must be kept.",
            effect=f"the same quality for less: escalations of {kind} cost "
            f"{amount(cost, limits, evidence.total.cost_usd)}, at most "
            f"{min(1.0, alternative.most_usd / least):.0%} of that would buy as much",
            saves_usd=cost * (1 - min(1.0, alternative.most_usd / least)),
        )


def _changed_shares(evidence: Evidence, parts: int = 1) -> Iterator[tuple[str, Figures, Interval]]:
    """Yield the kinds with enough comparable escalations, and the interval of the share that changed."""
    kinds = {
        kind: figures
        for kind, figures in evidence.by("kind").items()
        if figures.comparable >= LEAST_ESCALATIONS
    }
    level = level_for(len(kinds), parts)
    for kind, figures in sorted(kinds.items()):
        yield kind, figures, clopper_pearson(figures.changed, figures.comparable, level)


def _escalation_cost(figures: Figures) -> tuple[float, Interval | None]:
    """Return the total cost of escalations beyond the first answers, in USD, and its interval."""
    climbs = figures.climbs
    if climbs.n < 2 or climbs.total <= 0:  # an interval needs two, and a mean above 0
        return climbs.total, None
    interval = mean_from_moments(climbs, 0.95, skewed=True).interval
    return climbs.total, Interval(climbs.n * interval.low, climbs.n * interval.high, 0.95)


class _Alternative(NamedTuple):
    """Two labeled models, and the most USD that one more right answer costs by moving requests over."""

    cheap: str
    expensive: str
    most_usd: float


def _alternative(evidence: Evidence, kind: str, level: float) -> _Alternative | None:
    """Return the cost of one more right answer by sending more of a kind to its most expensive model.

    Both bounds, of the gain and of the cost, err on one side only, each with half of the error that the level
    allows.
    """
    cells = {
        key: figures
        for key, figures in evidence.tables["kind", "complexity", "model"].items()
        if key[0] == kind
    }
    tokens, labels = _token_sums(cells), Counter[str]()
    for (_, _, model), figures in cells.items():
        if model is not None:
            labels[model] += evidence.labels(figures).n
    priced = {
        model: (tokens.repriced(rates).baseline, rates)
        for model, n in labels.items()
        if n >= LEAST_SAMPLE and (rates := evidence.rates(model)) is not None and tokens.n
    }
    if len(priced) < 2:
        return None
    cheap, expensive = (pick(priced, key=lambda model: priced[model][0]) for pick in (min, max))
    weights: dict[Stratum, float] = defaultdict(float)
    for (_, complexity, _), figures in cells.items():
        weights[kind, complexity] += figures.answered
    gain = compare_quality(evidence, expensive, cheap, weights, level)
    if gain is None or gain.interval.low <= 0:
        return None
    moved = _token_sums({key: figures for key, figures in cells.items() if key[:2] in gain.strata})
    if not moved.n:
        return None
    _, interval_usd = cost_difference(
        moved.repriced(priced[cheap][1], instead_of=priced[expensive][1]), level
    )
    return _Alternative(cheap, expensive, interval_usd.high / moved.n / gain.interval.low)


def _token_sums(cells: Mapping[tuple[str | None, ...], Figures]) -> TokenSums:
    tokens = TokenSums()
    for figures in cells.values():
        tokens.merge(figures.tokens)
    return tokens
