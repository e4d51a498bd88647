"""Routing strategies: turn a classification and a menu into a ladder."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from smartroute.errors import ConfigError, NoEligibleModelError, shown
from smartroute.identity_cache import cached_by_identity
from smartroute.lazy_imports import missing_name
from smartroute.records import (
    Candidate,
    Classification,
    Decision,
    Menu,
    RuledOut,
    Rung,
    Task,
    TaskComplexity,
    Tier,
)
from smartroute.routing.abilities import asked_output
from smartroute.routing.eligibility import effort_factor, has_room_to_think

_TIERS = (Tier.MINI, Tier.STANDARD, Tier.PREMIUM)
_START = {
    TaskComplexity.SIMPLE: Tier.MINI,
    TaskComplexity.MEDIUM: Tier.STANDARD,
    TaskComplexity.COMPLEX: Tier.PREMIUM,
}


@cached_by_identity
def climb(menu: Menu, start: Tier) -> tuple[Rung, ...]:
    """Return a ladder from a tier upwards: each tier's cheapest model, and a stand-in for when it fails.

    The stand-in is the same tier's cheapest model of another provider, or else of the same one. When
    nothing at or above `start` may be called, the ladder is the highest tier below. A ladder of one rung
    gets the tier below as its stand-in.
    """
    rungs = [rung for tier in _TIERS[start.rank :] for rung in _rungs_in(menu.candidates, tier)]
    below = reversed(_TIERS[: start.rank])
    if not rungs:
        rungs = next(filter(None, (_rungs_in(menu.candidates, tier) for tier in below)), [])
    if len(rungs) == 1:
        lower = next(filter(None, (_rungs_in(menu.candidates, tier) for tier in below)), [])
        rungs += [rung._replace(standin=True) for rung in lower[:1]]
    return tuple(rungs)


def _rungs_in(candidates: Sequence[Candidate], tier: Tier) -> list[Rung]:
    first: Candidate | None = None
    second: Candidate | None = None
    for candidate in candidates:
        if candidate.tier is not tier:
            continue
        if first is None:
            first = candidate
        elif candidate.provider != first.provider:
            second = candidate
            break
        elif second is None:
            second = candidate
    if first is None:
        return []
    return [_rung(first)] if second is None else [_rung(first), _rung(second, standin=True)]


def _rung(candidate: Candidate, effort: str | None = None, *, standin: bool = False) -> Rung:
    usd = candidate.expected_usd
    if usd is not None and effort is not None and candidate.expected_output_usd is not None:
        output_usd = candidate.expected_output_usd
        longer_usd = output_usd * effort_factor(effort) / effort_factor(candidate.asked_effort)
        # Thinking longer costs no more than the output that the caller allows.
        if candidate.most_output_usd is not None:
            longer_usd = min(longer_usd, candidate.most_output_usd)
        usd += longer_usd - output_usd
    return Rung(candidate.model, effort, candidate.tier, usd, standin)


_NAMED_AT_MOST = 3
_ALWAYS = ("retired", "not in the default ladder", "no key", "provider ")
"""How reasons start that do not depend on the request, and so explain little."""


def _in_short(ruled_out: Iterable[RuledOut]) -> str:
    """Return the reasons, with a few of the models that they apply to; those about the request come first."""
    models: dict[str, list[str]] = {}
    for out in ruled_out:
        reason = "retired" if out.reason.startswith("retired on") else out.reason
        models.setdefault(reason, []).append(out.model)
    parts = []
    for reason in sorted(models, key=lambda reason: reason.startswith(_ALWAYS)):
        names = models[reason]
        more = len(names) - _NAMED_AT_MOST
        parts.append(
            f"{reason} ({', '.join(names[:_NAMED_AT_MOST])}{f' and {more} more' if more > 0 else ''})"
        )
    return "; ".join(parts)


def _decision(
    name: str,
    classification: Classification,
    menu: Menu,
    ladder: Sequence[Rung],
    *reasons: str,
) -> Decision:
    if not ladder:
        raise NoEligibleModelError(
            "no model can take this request: " + (_in_short(menu.ruled_out) or "the catalog is empty"),
            ruled_out=menu.ruled_out,
        )
    return Decision(
        classification=classification,
        ladder=tuple(ladder),
        accept_at=menu.accept_at,
        strategy=name,
        reasons=reasons,
        ruled_out=menu.ruled_out,
    )


@dataclass(frozen=True, slots=True)
class CostOptimized:
    """Start at the tier that fits the complexity, with its cheapest model, and climb from there."""

    name: str = "cost_optimized"

    def decide(self, task: Task, classification: Classification, menu: Menu) -> Decision:
        """Return the ladder: simple starts at mini, medium at standard, complex at premium."""
        start = _START[classification.complexity]
        ladder = climb(menu, start)
        reason = f"{classification.complexity.value} starts at the {start.value} tier, cheapest model first"
        if ladder and ladder[0].tier is not start:
            reason += f"; no {start.value} model can take this request, so at the {ladder[0].tier.value} tier"
        return _decision(self.name, classification, menu, ladder, reason)


@dataclass(frozen=True, slots=True)
class QualityFirst:
    """Start one tier higher than the complexity asks for, and end at the top model's highest effort.

    Within a tier the cheapest model is taken: a tier is the catalog's statement on quality, and a
    higher price is not.
    """

    name: str = "quality_first"

    def decide(self, task: Task, classification: Classification, menu: Menu) -> Decision:
        """Return the ladder: simple starts at standard, medium and complex at premium."""
        start = _TIERS[min(_START[classification.complexity].rank + 1, len(_TIERS) - 1)]
        ladder = climb(menu, start)
        reasons = [
            f"quality first: a {classification.complexity.value} task starts at the {start.value} tier"
        ]
        top = next((rung for rung in reversed(ladder) if not rung.standin), None)
        if top is not None and "reasoning_effort" not in task.params:
            candidate = next(c for c in menu.candidates if c.model == top.model)
            room = has_room_to_think(candidate.provider, "high", asked_output(task.params))
            if "high" in candidate.efforts and room:
                ladder = (*ladder, _rung(candidate, "high"))
                reasons.append(f"the last rung is {candidate.model} at high effort")
        return _decision(self.name, classification, menu, ladder, *reasons)


@dataclass(frozen=True, slots=True)
class Preference:
    """Where tasks of a kind start: a tier, and the provider to prefer there."""

    tier: Tier
    provider: str | None = None


DEFAULT_PREFERENCES: Mapping[str, Preference] = {
    "score": Preference(Tier.MINI),
    "classify": Preference(Tier.MINI),
    "extract": Preference(Tier.MINI),
    "creative": Preference(Tier.PREMIUM, "gemini"),
    "reasoning": Preference(Tier.PREMIUM, "gemini"),
    "psychology": Preference(Tier.PREMIUM, "anthropic"),
    "analysis": Preference(Tier.PREMIUM, "anthropic"),
}
"""The replaced system's choices: a Gemini thinking model for creative work, Claude for psychology."""


@dataclass(frozen=True, slots=True)
class TaskType:
    """Start where the declared kind says; a kind without a preference starts as CostOptimized does."""

    preferences: Mapping[str, Preference] = field(default_factory=lambda: DEFAULT_PREFERENCES)
    name: str = "task_type_optimized"

    def decide(self, task: Task, classification: Classification, menu: Menu) -> Decision:
        """Return the ladder that starts with the kind's preference."""
        preference = self.preferences.get(task.kind)
        # A complexity that the caller declares says more than the kind does.
        if preference is None or task.complexity_override is not None:
            return replace(CostOptimized().decide(task, classification, menu), strategy=self.name)
        ladder = climb(menu, preference.tier)
        reason = f"kind {task.kind} starts at the {preference.tier.value} tier"
        liked = next(
            (
                candidate
                for candidate in menu.candidates
                if candidate.provider == preference.provider and candidate.tier is preference.tier
            ),
            None,
        )
        if liked is not None and ladder and ladder[0].model != liked.model:
            # The cheaper models of its tier, which it takes the place of, are left to one stand-in.
            rest = [rung for rung in ladder if rung.model != liked.model]
            standins = [rung._replace(standin=True) for rung in rest if rung.tier is liked.tier][:1]
            ladder = (_rung(liked), *standins, *(rung for rung in rest if rung.tier.rank > liked.tier.rank))
        if liked is not None:
            reason += f", with {preference.provider}"
        return _decision(self.name, classification, menu, ladder, reason)


def _with_effort(rung: object) -> tuple[str, str | None]:
    """Return a rung as a model and an effort. Raises ConfigError when it is no name and no such pair."""
    if isinstance(rung, tuple) and len(rung) == 2:
        model, effort = rung
        if isinstance(model, str) and (effort is None or isinstance(effort, str)):
            return model, effort
    raise ConfigError(
        "pass the rungs of a FixedLadder one by one, each as a name or (name, effort), "
        f'such as FixedLadder("gpt-4o", ("gpt-6-astra", "high")), got {shown(rung)}'
    )


class FixedLadder:
    """Always the same ladder, without the models that are ruled out.

    `FixedLadder("gpt-4o", ("gpt-6-astra", "high"))`. Raises ConfigError for no rung, and for a rung that is
    neither a name nor a (name, effort) pair.
    """

    def __init__(self, *rungs: str | tuple[str, str | None], name: str = "fixed_ladder") -> None:
        if not rungs:
            raise ConfigError("FixedLadder needs at least one model")
        self._rungs = tuple((rung, None) if isinstance(rung, str) else _with_effort(rung) for rung in rungs)
        self.name = name

    @property
    def models(self) -> tuple[str, ...]:
        """Return the names of the models on the ladder."""
        return tuple(model for model, _ in self._rungs)

    def decide(self, task: Task, classification: Classification, menu: Menu) -> Decision:
        """Return the ladder as it was given."""
        offered = {candidate.model: candidate for candidate in menu.candidates}
        ladder = [_rung(offered[model], effort) for model, effort in self._rungs if model in offered]
        for rung in ladder:
            if rung.effort is not None and rung.effort not in offered[rung.model].efforts:
                raise ConfigError(
                    f"{rung.model} has no effort {rung.effort!r}; it takes "
                    f"{list(offered[rung.model].efforts) or 'none'}"
                )
        return _decision(self.name, classification, menu, ladder, "the ladder is fixed")


def preferring(classification: Classification, menu: Menu, model: str, effort: str | None) -> Decision:
    """Return the decision for a model of the user's choice, with only higher tiers above it.

    At the top tier, another model is the stand-in for a failure.

    Raises NoEligibleModelError when that model is ruled out.
    """
    chosen = next((candidate for candidate in menu.candidates if candidate.model == model), None)
    if chosen is None:
        reason = next((out.reason for out in menu.ruled_out if out.model == model), "it is not offered")
        raise NoEligibleModelError(
            f"the preferred model {model} cannot take this request: {reason}", ruled_out=menu.ruled_out
        )
    others = [rung for rung in climb(menu, chosen.tier) if rung.model != model]
    above = [rung for rung in others if rung.tier.rank > chosen.tier.rank]
    # At the top tier nothing is above: without a stand-in one failed call would end the task.
    if not above:
        above = [rung._replace(standin=True) for rung in others[:1]]
    decision = _decision(
        "preferred",
        classification,
        menu,
        (_rung(chosen, effort), *above),
        f"preferred_model={model} was asked for",
    )
    return replace(decision, overridden=True)


def held_back(decision: Decision, menu: Menu, baseline: str, share: float, *, held: bool) -> Decision:
    """Return the decision of a request that goes, or might have gone, to the baseline at random.

    A request that is held back asks the baseline and accepts its answer, as a team without a router would.
    The only other rung is a stand-in for a failure. Unchanged where the baseline cannot take the request.
    """
    candidate = next((offer for offer in menu.candidates if offer.model == baseline), None)
    if candidate is None:
        return decision
    if not held:
        propensity = decision.action_propensity * (1.0 - share)
        return replace(decision, holdback="routed", holdback_share=share, action_propensity=propensity)
    standins = [
        rung._replace(standin=True) for rung in climb(menu, candidate.tier) if rung.model != baseline
    ][:1]
    return replace(
        decision,
        ladder=(_rung(candidate), *standins),
        accept_at=0.0,
        reasons=(f"held back: {share:.1%} of requests go to {baseline} at random", *decision.reasons),
        action_propensity=share,
        holdback="held",
        holdback_share=share,
    )


def staying_with(menu: Menu, provider: str) -> Menu:
    """Return the menu with the candidates of one provider alone, the others ruled out.

    For a conversation that is tied to a provider that is not known.
    """
    return replace(
        menu,
        candidates=tuple(candidate for candidate in menu.candidates if candidate.provider == provider),
        ruled_out=(
            *menu.ruled_out,
            *(
                RuledOut(candidate.model, reason_to_stay(provider))
                for candidate in menu.candidates
                if candidate.provider != provider
            ),
        ),
    )


def reason_to_stay(provider: str) -> str:
    """Return why a conversation of unknown origin is not moved from one provider to another."""
    return f"the conversation has open tool calls or signed thinking and stays with {provider}"


if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        raise missing_name(__name__, name)
