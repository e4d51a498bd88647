"""Find escalations that are not worth their money: they change nothing, or less than the money could."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from smartroute.analytics.figures import Figures
from smartroute.analytics.insights.insight import (
    ENOUGH_LABELS,
    Evidence,
    Insight,
    level_for,
    saved,
    told,
    told_usd,
)
from smartroute.analytics.insights.stratified import Stratum, compared
from smartroute.analytics.sums import TokenSums
from smartroute.stats.intervals import Interval, clopper_pearson
from smartroute.stats.means import mean_from_moments

LEAST_ESCALATIONS = 50
SELDOM = 0.05
"""Escalations that change fewer answers than this are said to never change them."""


def escalations_never_change(evidence: Evidence) -> Iterator[Insight]:
    """Yield the kinds whose escalations hardly ever lead to another answer than the first."""
    for kind, figures, interval in _changed(evidence):
        if interval.high >= SELDOM:
            continue
        cost, reach = _climbed(figures)
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
            suggestion=f"Lower accept_at for {kind}, or take its first answer.",
            effect=f"saves {told_usd(cost, reach, evidence.total.cost_usd)}; at most {interval.high:.1%} of "
            "those answers would differ",
            saves_usd=cost,
        )


def escalations_cost_too_much(evidence: Evidence) -> Iterator[Insight]:
    """Yield the kinds whose escalations pay more for an answer than a fixed share of a better model would.

    An escalation that changes the answer makes at most one answer right, so its cost over the share of
    changed answers is the least that one more right answer costs. Sending a random share of the kind to its
    dearest labelled model instead of the cheapest buys right answers at the difference in cost over the
    difference in quality, which is taken within the complexities of that kind. Where the lower bound of the
    first is above the upper bound of the second, the threshold costs more than it brings. The bounds of the
    share, of the cost of escalating, and of the choice each err with a third of the rate. Kinds whose
    escalations change nothing at all are left to the other insight.

    Within a complexity, routing leaves a cheap model the answers that it is confident of, and the dear one
    gets the others: this makes the dear one look worse than it is, and the insight rather silent.
    """
    kinds = list(_changed(evidence, parts=3))
    level = level_for(len(kinds), 3)
    changing_nothing = {insight.subject for insight in escalations_never_change(evidence)}
    for kind, figures, interval in kinds:
        climbs = figures.climbs
        if kind in changing_nothing or climbs.n < LEAST_ESCALATIONS or not climbs.total > 0:
            continue
        choice = _choice(evidence, kind, level)
        if choice is None:
            continue
        least = mean_from_moments(climbs, level, skewed=True).interval.low / interval.high
        if least <= choice.most_usd:
            continue
        cost, reach = _climbed(figures)
        share = figures.changed / figures.comparable
        yield Insight(
            name="a threshold costs more than it brings",
            subject=kind,
            claim=f"Of kind {kind}, escalations changed {share:.1%} {told(interval)} of the answers, so that "
            f"one more right answer cost at least ${least:,.4g}; a random share to {choice.dear} in place of "
            f"{choice.cheap} buys it for at most ${choice.most_usd:,.4g}",
            value=share,
            interval=interval,
            n=figures.comparable,
            since=figures.first,
            until=figures.last,
            suggestion=f"Lower accept_at for {kind}, and send a fixed share of it to {choice.dear} if its "
            "quality must be kept.",
            effect=f"the same quality for less: escalations of {kind} cost "
            f"{told_usd(cost, reach, evidence.total.cost_usd)}, at most "
            f"{min(1.0, choice.most_usd / least):.0%} of that would buy as much",
            saves_usd=cost * (1 - min(1.0, choice.most_usd / least)),
        )


def _changed(evidence: Evidence, parts: int = 1) -> Iterator[tuple[str, Figures, Interval]]:
    """Yield the kinds with enough escalations that can be compared, and the share that changed."""
    kinds = {
        kind: figures
        for kind, figures in evidence.by("kind").items()
        if figures.comparable >= LEAST_ESCALATIONS
    }
    level = level_for(len(kinds), parts)
    for kind, figures in sorted(kinds.items()):
        yield kind, figures, clopper_pearson(figures.changed, figures.comparable, level)


def _climbed(figures: Figures) -> tuple[float, Interval | None]:
    """Return what the escalations spent beyond the first answer, in all, and its interval."""
    climbs = figures.climbs
    if climbs.n < 2 or climbs.total <= 0:
        return climbs.total, None
    interval = mean_from_moments(climbs, 0.95, skewed=True).interval
    return climbs.total, Interval(climbs.n * interval.low, climbs.n * interval.high, 0.95)


class _Choice(NamedTuple):
    """Two labelled models, and the most USD that one more right answer costs by moving requests over."""

    cheap: str
    dear: str
    most_usd: float


def _choice(evidence: Evidence, kind: str, level: float) -> _Choice | None:
    """Return what a right answer of a kind costs by sending more of it to its dearest model.

    Both bounds, of the gain and of the cost, err on one side only, with half of what the level leaves.
    """
    cells = {
        key: each for key, each in evidence.tables["kind", "complexity", "model"].items() if key[0] == kind
    }
    tokens, labels = _merged(cells), Counter[str]()
    for (_, _, model), figures in cells.items():
        if model is not None:
            labels[model] += evidence.labels(figures).n
    priced = {
        model: (tokens.repriced(rates).baseline, rates)
        for model, n in labels.items()
        if n >= ENOUGH_LABELS and (rates := evidence.rates(model)) is not None and tokens.n
    }
    if len(priced) < 2:
        return None
    cheap, dear = (pick(priced, key=lambda model: priced[model][0]) for pick in (min, max))
    weights: dict[Stratum, float] = defaultdict(float)
    for (_, complexity, _), figures in cells.items():
        weights[kind, complexity] += figures.answered
    found = compared(evidence, dear, cheap, weights, level)
    if found is None or found.interval.low <= 0:
        return None
    moved = _merged({key: figures for key, figures in cells.items() if key[:2] in found.strata})
    if not moved.n:
        return None
    _, reach = saved(moved.repriced(priced[cheap][1], instead_of=priced[dear][1]), level)
    return _Choice(cheap, dear, reach.high / moved.n / found.interval.low)


def _merged(cells: Mapping[tuple[str | None, ...], Figures]) -> TokenSums:
    tokens = TokenSums()
    for figures in cells.values():
        tokens.merge(figures.tokens)
    return tokens
