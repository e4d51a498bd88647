"""Insights: simple tasks on expensive models, dominated models, and cheaper models not tried yet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

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
from smartroute.analytics.savings import LEAST_SAMPLE, label_error, z_value
from smartroute.analytics.sums import Paired, TokenSums
from smartroute.catalog import ModelCard
from smartroute.records import Tier
from smartroute.stats.intervals import wilson
from smartroute.stats.moments import Moments

LEAST_ANSWERS = 100
EXPENSIVE = 2.0
"""A model is expensive when it charges more than this many times what the cheapest one does."""

TOO_MANY = 0.2
"""A larger share of the simple tasks on expensive models is too many."""

MARGIN = 0.05
"""A model is as good as another when its quality is certainly not this much worse."""

CHEAPER = 0.1
"""A model dominates another only when it is cheaper by at least this share."""

TRY_CHEAPER = 0.2
"""A model is worth an experiment when it is cheaper by at least this share."""

MAIN_SHARE = 0.2
"""A cheaper model is only looked for where a model has at least this share of the total cost."""

_TIERS = {tier: rank for rank, tier in enumerate(Tier)}


def simple_on_expensive_models(evidence: Evidence) -> Iterator[Insight]:
    """Yield one insight when more than a fifth of the simple tasks were answered by expensive models.

    Silent where labels show that these answer simple tasks better.
    """
    simple = {
        model: figures
        for (complexity, model), figures in evidence.tables["complexity", "model"].items()
        if complexity == "simple" and model is not None
    }
    charges = _charges(evidence, simple)
    if len(charges) < 2:
        return
    cheap = min(charges, key=lambda model: charges[model])
    expensive = [model for model, usd in charges.items() if usd > EXPENSIVE * charges[cheap]]
    group = _merged(simple[model] for model in expensive)
    n = sum(figures.answered for figures in simple.values())
    if n < LEAST_ANSWERS or not group.answered:
        return
    interval = wilson(group.answered, n, level_for(1))
    if interval.low <= TOO_MANY or _is_better(evidence.labels(group), evidence.labels(simple[cheap])):
        return
    rates = evidence.rates(cheap)
    assert rates is not None  # it has a charge
    usd, interval_usd = cost_difference(group.tokens.repriced(rates))
    escalated = group.escalated / group.requests
    yield Insight(
        name="simple tasks on expensive models",
        subject="simple",
        claim=f"{group.answered / n:.1%} {share_limits(interval)} of the simple tasks were answered by "
        f"models that charge over {EXPENSIVE:g} times what {cheap} does ({', '.join(sorted(expensive))})",
        value=group.answered / n,
        interval=interval,
        n=n,
        since=group.first,
        until=group.last,
        suggestion=(
            f"{escalated:.0%} of them were escalated to these models: lower accept_at, or use an estimator "
            "that recognizes good answers better."
            if escalated > 0.5
            else f"Start simple tasks at {cheap}; Decision.explain() says why it was not chosen."
        ),
        effect=f"saves {amount(usd, interval_usd, evidence.total.cost_usd)} if {cheap} answers them as well",
        saves_usd=usd,
    )


def model_dominated(evidence: Evidence) -> Iterator[Insight]:
    """Yield each model that a cheaper one of the log could replace: its quality is not worse by MARGIN.

    The interval of the difference decides. Quality is compared within kinds and complexities that both models
    have answered, weighted by the answers of the more expensive one, so that easy tasks of one are not
    compared with hard tasks of the other. What routing looks at within these is not seen: try the cheaper
    model on a share of the requests first.
    """
    pairs = _cheaper_pairs(evidence)
    level = level_for(len(pairs))
    best: dict[str, Insight] = {}
    for expensive, cheap, costs in pairs:
        comparison = compare_quality(evidence, cheap, expensive, _answers(evidence, expensive), level)
        if comparison is None or comparison.interval.low <= -MARGIN:
            continue
        difference, interval = comparison.difference, comparison.interval
        usd, interval_usd = cost_difference(costs)
        figures = evidence.by("model")[expensive]
        # Several models may dominate the same one: propose the one that saves most.
        if expensive in best and (best[expensive].saves_usd or 0.0) >= usd:
            continue
        best[expensive] = Insight(
            name="a model is dominated",
            subject=expensive,
            claim=f"{cheap} charges {1 - costs.baseline / costs.cost:.0%} less than {expensive} for the same "
            f"tokens, and on the same kinds of task its quality differs by {difference:+.3f} "
            f"[{interval.low:+.3f}, {interval.high:+.3f}]: not {MARGIN:g} worse",
            value=difference,
            interval=interval,
            n=comparison.labels,
            since=figures.first,
            until=figures.last,
            suggestion=f"Send a share of {expensive}'s requests to {cheap} at random, and all of them if "
            "that confirms it.",
            effect=f"saves {amount(usd, interval_usd, evidence.total.cost_usd)}",
            saves_usd=usd,
        )
    yield from best.values()


def _cheaper_pairs(evidence: Evidence) -> list[tuple[str, str, Paired]]:
    """Return labeled models with each cheaper one, and both costs of the first one's tokens."""
    models = {m: f for m, f in evidence.by("model").items() if evidence.labels(f).n >= LEAST_SAMPLE}
    pairs = []
    for expensive, figures in models.items():
        for cheap in models:
            charged, rates = evidence.rates(expensive), evidence.rates(cheap)
            if expensive == cheap or charged is None or rates is None or not figures.tokens.n:
                continue
            costs = figures.tokens.repriced(rates, instead_of=charged)
            if costs.cost > 0 and 1 - costs.baseline / costs.cost >= CHEAPER:
                pairs.append((expensive, cheap, costs))
    return pairs


def _answers(evidence: Evidence, model: str) -> dict[Stratum, float]:
    cells = evidence.tables["kind", "complexity", "model"]
    return {
        (kind, complexity): float(figures.answered)
        for (kind, complexity, of), figures in cells.items()
        if of == model
    }


def cheaper_worth_trying(evidence: Evidence) -> Iterator[Insight]:
    """Yield, for each model with a large share of the cost, a cheaper one of the catalog that is untried.

    It is of the providers in use and at least the same tier, and not too small for the average answer. Its
    quality is unknown here: that is what an experiment is for. The sums do not show which abilities requests
    need. So a model with all abilities of the current one goes first, and the suggestion names what another
    one lacks. Prices are no sample, so there is no false alarm.
    """
    catalog, total = evidence.catalog, evidence.total
    if catalog is None or not total.cost_usd > 0:
        return
    models = evidence.by("model")
    cards = {model: catalog.card(model) for model in models if model in catalog}
    providers = {card.provider for card in cards.values()}
    tried = {m for m, figures in models.items() if figures.answered >= LEAST_SAMPLE}
    for model, card in cards.items():
        figures = models[model]
        rates = evidence.rates(model)
        if (
            rates is None
            or figures.answered < LEAST_ANSWERS
            or figures.cost_usd < MAIN_SHARE * total.cost_usd
        ):
            continue
        candidates = {}
        for other in catalog:
            other_rates = evidence.rates(other.name)
            if (
                other_rates is not None
                and other.name not in tried
                and other.provider in providers
                and other.default
                and not other.retired(catalog.as_of)
                and _TIERS[other.tier] >= _TIERS[card.tier]
                and not _too_small(other, figures.tokens)
            ):
                costs = figures.tokens.repriced(other_rates, instead_of=rates)
                if costs.cost > 0 and 1 - costs.baseline / costs.cost >= TRY_CHEAPER:
                    candidates[other.name] = (bool(_missing(other, card)), costs.baseline)
        if candidates:
            name = min(candidates, key=lambda other: candidates[other])
            yield _experiment(evidence, card, catalog.card(name), figures)


def _too_small(card: ModelCard, tokens: TokenSums) -> bool:
    """Return whether the average request, or its answer, is too long for a model."""
    _, fresh, cached, stored, answer, reasoning = tokens.sums
    written = answer + reasoning
    limits = (
        (card.context_tokens, fresh + cached + stored + written),
        (card.max_output_tokens, written),
    )
    return any(limit is not None and total > limit * tokens.n for limit, total in limits)


def _missing(card: ModelCard, current: ModelCard) -> list[str]:
    """Return in words what the current model can take and this one cannot."""
    limits = [f"no {ability}" for ability in sorted(current.abilities - card.abilities)]
    limits += [f"no parameter {name}" for name in sorted(card.refuses - current.refuses)]
    for what, limit, current_limit in (
        ("in all", card.context_tokens, current.context_tokens),
        ("in an answer", card.max_output_tokens, current.max_output_tokens),
    ):
        if limit is not None and (current_limit is None or limit < current_limit):
            limits.append(f"at most {limit:,} tokens {what}")
    return limits


def _experiment(evidence: Evidence, card: ModelCard, other: ModelCard, figures: Figures) -> Insight:
    rates, other_rates = evidence.rates(card.name), evidence.rates(other.name)
    assert rates is not None and other_rates is not None  # both were compared
    costs = figures.tokens.repriced(other_rates, instead_of=rates)
    usd, interval_usd = cost_difference(costs)
    share = 1 - costs.baseline / costs.cost
    variance = evidence.labels(figures).variance
    # 0.25 is the largest variance: where there are no labels, or all are the same.
    # Labels for each of two arms: Chow, Shao and Wang (2008), section 3.2.2, one-sided 5%, power 80%.
    needed = math.ceil(2 * (1.6449 + 0.8416) ** 2 * (variance or 0.25) / MARGIN**2)
    limits = _missing(other, card)
    stay = (
        f" It takes {', '.join(limits)}: requests that need more stay with {card.name}, and the sums do not "
        "show how many do."
        if limits
        else ""
    )
    return Insight(
        name="a cheaper model is worth an experiment",
        subject=card.name,
        claim=f"{other.name} ({other.tier}) would have charged {share:.0%} less than {card.name} for the "
        f"tokens of its {figures.answered} answers; its quality here is not known yet",
        value=share,
        interval=None,
        n=figures.answered,
        since=figures.first,
        until=figures.last,
        suggestion=f"Try {other.name} on a random share of {card.name}'s requests: about {needed} labels "
        f"for each show whether it is {MARGIN:g} worse.{stay}",
        effect=f"saves up to {amount(usd, interval_usd, evidence.total.cost_usd)}",
        saves_usd=usd,
        false_alarm_rate=0.0,
    )


def _charges(evidence: Evidence, models: Mapping[str, Figures]) -> dict[str, float]:
    """Return what each of the models would have charged for the tokens of all of them, in USD."""
    tokens = TokenSums()
    for figures in models.values():
        tokens.merge(figures.tokens)
    return {
        model: tokens.repriced(rates).baseline
        for model in models
        if (rates := evidence.rates(model)) is not None
    }


def _merged(groups: Iterator[Figures]) -> Figures:
    total = Figures()
    for figures in groups:
        total.merge(figures)
    return total


def _is_better(one: Moments, other: Moments) -> bool:
    """Return whether the labels show that one model is better than the other."""
    if min(one.n, other.n) < LEAST_SAMPLE:
        return False
    gain = (one.mean or 0.0) - (other.mean or 0.0)
    return gain > z_value(0.95) * math.sqrt(label_error(one) + label_error(other))
