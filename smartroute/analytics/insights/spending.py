"""Find money that buys nothing: simple tasks on dear models, dominated models, cheaper ones never tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from smartroute.analytics.figures import Figures
from smartroute.analytics.insights.insight import (
    ENOUGH_LABELS,
    Evidence,
    Insight,
    level_for,
    saved,
    told,
    told_usd,
    z,
)
from smartroute.analytics.insights.stratified import Stratum, compared
from smartroute.analytics.savings import label_error
from smartroute.analytics.sums import TokenSums
from smartroute.catalog import ModelCard
from smartroute.records import Tier
from smartroute.stats.intervals import wilson
from smartroute.stats.moments import Moments

LEAST_ANSWERS = 100
DEAR = 2.0
"""A model that charges more than this many times what the cheapest does is dear."""

TOO_MANY = 0.2
"""A larger share of the simple tasks on dear models is too many."""

MARGIN = 0.05
"""A model is at least as good as another when it is certainly not this much worse."""

CHEAPER = 0.1
TRY_CHEAPER = 0.2
"""A model is worth an experiment when it is cheaper by at least this share."""

MAIN_SHARE = 0.2
"""A model that takes a smaller share of the money is not worth looking for a cheaper one."""

_TIERS = {tier: place for place, tier in enumerate(Tier)}


def simple_on_dear_models(evidence: Evidence) -> Iterator[Insight]:
    """Yield one insight when more than a fifth of the simple tasks were answered by dear models.

    Silent where labels show that the dear ones answer simple tasks better.
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
    dear = [model for model, usd in charges.items() if usd > DEAR * charges[cheap]]
    group = _merged(simple[model] for model in dear)
    n = sum(figures.answered for figures in simple.values())
    if n < LEAST_ANSWERS or not group.answered:
        return
    interval = wilson(group.answered, n, level_for(1))
    if interval.low <= TOO_MANY or _better(evidence.labels(group), evidence.labels(simple[cheap])):
        return
    rates = evidence.rates(cheap)
    assert rates is not None  # it has a charge
    usd, reach = saved(group.tokens.repriced(rates))
    climbed = group.escalated / group.requests
    yield Insight(
        name="simple tasks on dear models",
        subject="simple",
        claim=f"{group.answered / n:.1%} {told(interval)} of the simple tasks were answered by models that "
        f"charge over {DEAR:g} times what {cheap} does ({', '.join(sorted(dear))})",
        value=group.answered / n,
        interval=interval,
        n=n,
        since=group.first,
        until=group.last,
        suggestion=(
            f"{climbed:.0%} of them came there by escalation: lower accept_at, or take an estimator that "
            "knows good answers better."
            if climbed > 0.5
            else f"Start simple tasks at {cheap}; Decision.explain() says why it was not chosen."
        ),
        effect=f"saves {told_usd(usd, reach, evidence.total.cost_usd)} if {cheap} answers them as well",
        saves_usd=usd,
    )


def model_dominated(evidence: Evidence) -> Iterator[Insight]:
    """Yield the models in whose place a cheaper one of the log is certainly not worse by MARGIN.

    Quality is compared within kinds and complexities that both have answered, weighted by the dearer
    one's answers, so that easy tasks of the one are not held against hard ones of the other. What routing
    looks at within these is not seen: try it on a share of the requests first.
    """
    models = {m: f for m, f in evidence.by("model").items() if evidence.labels(f).n >= ENOUGH_LABELS}
    pairs = []
    for dear, figures in models.items():
        for cheap in models:
            charged, rates = evidence.rates(dear), evidence.rates(cheap)
            if dear == cheap or charged is None or rates is None or not figures.tokens.n:
                continue
            both = figures.tokens.repriced(rates, instead_of=charged)
            if both.cost > 0 and 1 - both.baseline / both.cost >= CHEAPER:
                pairs.append((dear, cheap, both))
    level = level_for(len(pairs))
    best: dict[str, Insight] = {}
    for dear, cheap, both in pairs:
        found = compared(evidence, cheap, dear, _answers(evidence, dear), level)
        if found is None or found.interval.low <= -MARGIN:
            continue
        difference, interval = found.difference, found.interval
        usd, reach = saved(both)
        figures = models[dear]
        if dear in best and (best[dear].saves_usd or 0.0) >= usd:
            continue
        best[dear] = Insight(
            name="a model is dominated",
            subject=dear,
            claim=f"{cheap} charges {1 - both.baseline / both.cost:.0%} less than {dear} for the same "
            f"tokens, and on the same kinds of task its quality differs by {difference:+.3f} "
            f"[{interval.low:+.3f}, {interval.high:+.3f}]: not {MARGIN:g} worse",
            value=difference,
            interval=interval,
            n=found.labels,
            since=figures.first,
            until=figures.last,
            suggestion=f"Send a share of {dear}'s requests to {cheap} at random, and all of them if that "
            "confirms it.",
            effect=f"saves {told_usd(usd, reach, evidence.total.cost_usd)}",
            saves_usd=usd,
        )
    yield from best.values()


def _answers(evidence: Evidence, model: str) -> dict[Stratum, float]:
    cells = evidence.tables["kind", "complexity", "model"]
    return {(kind, level): float(each.answered) for (kind, level, of), each in cells.items() if of == model}


def cheaper_worth_trying(evidence: Evidence) -> Iterator[Insight]:
    """Yield, for the models that take most of the money, one of the catalog that is cheaper and untried.

    Of the same providers and at least the same tier, and not too small for the answers on average. Its
    quality is unknown here: that is what an experiment is for. Sums do not tell which abilities requests
    need, so one that has all of the present one's goes first, and what another one lacks is told. Prices are
    no sample, so there is no false alarm.
    """
    catalog, total = evidence.catalog, evidence.total
    if catalog is None or not total.cost_usd > 0:
        return
    models = evidence.by("model")
    cards = {model: catalog.card(model) for model in models if model in catalog}
    providers = {card.provider for card in cards.values()}
    tried = {m for m, figures in models.items() if figures.answered >= ENOUGH_LABELS}
    for model, card in cards.items():
        figures = models[model]
        rates = evidence.rates(model)
        if (
            rates is None
            or figures.answered < LEAST_ANSWERS
            or figures.cost_usd < MAIN_SHARE * total.cost_usd
        ):
            continue
        offers = {}
        for other in catalog:
            theirs = evidence.rates(other.name)
            if (
                theirs is not None
                and other.name not in tried
                and other.provider in providers
                and other.default
                and not other.retired(catalog.as_of)
                and _TIERS[other.tier] >= _TIERS[card.tier]
                and not _too_small(other, figures.tokens)
            ):
                both = figures.tokens.repriced(theirs, instead_of=rates)
                if both.cost > 0 and 1 - both.baseline / both.cost >= TRY_CHEAPER:
                    offers[other.name] = (bool(_lacks(other, card)), both.baseline)
        if offers:
            name = min(offers, key=lambda other: offers[other])
            yield _experiment(evidence, card, catalog.card(name), figures)


def _too_small(card: ModelCard, tokens: TokenSums) -> bool:
    """Return whether a model could not take requests as they are on average, or not write their answers."""
    _, fresh, cached, stored, answer, reasoning = tokens.sums
    written = answer + reasoning
    limits = (
        (card.context_tokens, fresh + cached + stored + written),
        (card.max_output_tokens, written),
    )
    return any(limit is not None and total > limit * tokens.n for limit, total in limits)


def _lacks(card: ModelCard, beside: ModelCard) -> list[str]:
    """Return what one model cannot take that another can, in words."""
    found = [f"no {ability}" for ability in sorted(beside.abilities - card.abilities)]
    found += [f"no parameter {name}" for name in sorted(card.refuses - beside.refuses)]
    for what, mine, theirs in (
        ("in all", card.context_tokens, beside.context_tokens),
        ("in an answer", card.max_output_tokens, beside.max_output_tokens),
    ):
        if mine is not None and (theirs is None or mine < theirs):
            found.append(f"at most {mine:,} tokens {what}")
    return found


def _experiment(evidence: Evidence, card: ModelCard, other: ModelCard, figures: Figures) -> Insight:
    rates, theirs = evidence.rates(card.name), evidence.rates(other.name)
    assert rates is not None and theirs is not None  # both were compared
    both = figures.tokens.repriced(theirs, instead_of=rates)
    usd, reach = saved(both)
    share = 1 - both.baseline / both.cost
    spread = evidence.labels(figures).variance
    # Labels for each of two arms: Chow, Shao and Wang (2008), section 3.2.2, one-sided 5%, power 80%.
    needed = math.ceil(2 * (1.6449 + 0.8416) ** 2 * (spread or 0.25) / MARGIN**2)
    limits = _lacks(other, card)
    stay = (
        f" It takes {', '.join(limits)}: requests that need more stay with {card.name}, and how many do, the "
        "sums do not tell."
        if limits
        else ""
    )
    return Insight(
        name="a cheaper model is worth an experiment",
        subject=card.name,
        claim=f"{other.name} ({other.tier}) would have charged {share:.0%} less than {card.name} for the "
        f"tokens of its {figures.answered} answers; how good it is here nobody knows yet",
        value=share,
        interval=None,
        n=figures.answered,
        since=figures.first,
        until=figures.last,
        suggestion=f"Try {other.name} on a random share of {card.name}'s requests: about {needed} labels "
        f"for each show whether it is {MARGIN:g} worse.{stay}",
        effect=f"saves up to {told_usd(usd, reach, evidence.total.cost_usd)}",
        saves_usd=usd,
        false_alarm_rate=0.0,
    )


def _charges(evidence: Evidence, models: Mapping[str, Figures]) -> dict[str, float]:
    """Return what each of the models would have charged for the tokens of all of them."""
    tokens = TokenSums()
    for figures in models.values():
        tokens.merge(figures.tokens)
    return {
        model: tokens.repriced(rates).baseline
        for model in models
        if (rates := evidence.rates(model)) is not None
    }


def _merged(groups: Iterator[Figures]) -> Figures:
    found = Figures()
    for figures in groups:
        found.merge(figures)
    return found


def _better(one: Moments, other: Moments) -> bool:
    """Return whether labels show that one is better than the other."""
    if min(one.n, other.n) < ENOUGH_LABELS:
        return False
    gain = (one.mean or 0.0) - (other.mean or 0.0)
    return gain > z(0.95) * math.sqrt(label_error(one) + label_error(other))
