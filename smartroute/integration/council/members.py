"""Council members: key, weight, rubric, and the model or scorer that answers. Thresholds by niche."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from smartroute.errors import ConfigError, shown
from smartroute.integration.council.scorers import ClickThroughScorer, Scorer
from smartroute.number_checks import checked_number
from smartroute.records import Tier

NEUTRAL = 70.0
"""The score that a failed member counts as."""

DEFAULT_THRESHOLD = 85.0
THRESHOLDS: Mapping[str, float] = {
    "fitness": 85.0,
    "e-commerce": 82.0,
    "education": 88.0,
    "finance": 90.0,
    "entertainment": 80.0,
}
"""The score from which a script of a niche is approved; any other niche has DEFAULT_THRESHOLD."""

_THRESHOLD_VARIABLE = "COUNCIL_APPROVAL_THRESHOLD"


@dataclass(frozen=True, slots=True)
class CouncilMember:
    """One member of a council, which scores a script from 0 to 100.

    Its score comes from a `model` of the catalog ("gpt-4o", "gpt-6-astra@high"), from the cheapest model of
    a `tier`, or from a `scorer`: exactly one of them. `rubric` lists what earns how many points. `weight` is
    its share of the verdict, above 0 and at most 1. Raises ConfigError naming the field and the cure.
    """

    key: str
    weight: float
    role: str = ""
    rubric: str = ""
    model: str | None = None
    tier: Tier | str | None = None
    scorer: Scorer | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.key, str) or not self.key.strip():
            raise ConfigError(f"a member's key must be text, got {shown(self.key)}")
        checked_number(self.weight, f"the weight of {self.key}", above=0, most=1)
        given = [name for name in ("model", "tier", "scorer") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ConfigError(
                f"{self.key} needs exactly one of model, tier and scorer, got {', '.join(given) or 'none'}"
            )
        if self.tier is not None:
            try:
                object.__setattr__(self, "tier", Tier(self.tier))
            except ValueError:
                raise ConfigError(
                    f"the tier of {self.key} must be one of {[tier.value for tier in Tier]}, "
                    f"got {shown(self.tier)}"
                ) from None
        if self.model is not None and not (isinstance(self.model, str) and self.model.strip()):
            raise ConfigError(f"the model of {self.key} must be a model's name, got {shown(self.model)}")
        if not isinstance(self.role, str):
            raise ConfigError(f"the role of {self.key} must be text, got {shown(self.role)}")
        if self.scorer is None and not (isinstance(self.rubric, str) and self.rubric.strip()):
            raise ConfigError(f"{self.key} needs a rubric: what earns how many of the 100 points")
        if self.scorer is not None and not callable(getattr(self.scorer, "score", None)):
            raise ConfigError(f"the scorer of {self.key} needs a method score(script, niche)")


DEFAULT_COUNCIL: tuple[CouncilMember, ...] = (
    CouncilMember(
        "gemini_3_pro",
        0.40,
        role="a creative director who judges short advertising scripts",
        rubric=(
            "hook in the first 3 seconds: up to 30 points; emotional resonance: up to 25; clarity of the "
            "value proposition: up to 20; call to action: up to 15; virality: up to 10"
        ),
        model="gemini-4-argon",
    ),
    CouncilMember(
        "claude_3_5",
        0.30,
        role="a consumer psychologist who judges short advertising scripts",
        rubric=(
            "clarity of the pain point: up to 30 points; emotional triggers: up to 25; social proof: up to "
            "20; authority: up to 15; scarcity or urgency: up to 10"
        ),
        model="claude-sonnet-5-5",
    ),
    CouncilMember(
        "gpt_4o",
        0.20,
        role="an editor who judges the logic of short advertising scripts",
        rubric=(
            "narrative flow: up to 30 points; progression of the argument: up to 25; freedom from "
            "contradictions: up to 20; claims that can be checked: up to 15; clear next steps: up to 10"
        ),
        model="gpt-4o",
    ),
    CouncilMember("deep_ctr", 0.10, role="predicted click-through rate", scorer=ClickThroughScorer()),
)
"""The council of the replaced system, with the successors of its retired Gemini and Claude models."""


def checked_members(members: Sequence[CouncilMember]) -> tuple[CouncilMember, ...]:
    """Return the members. Raises ConfigError unless their keys differ and their weights sum to 1."""
    council = tuple(members) if isinstance(members, Iterable) else ()
    if not council or not all(isinstance(member, CouncilMember) for member in council):
        raise ConfigError(f"a council needs members: a list of CouncilMember, got {shown(members)}")
    keys = [member.key for member in council]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise ConfigError(f"members need different keys, but {', '.join(twice)} is there twice")
    total = math.fsum(member.weight for member in council)
    if abs(total - 1.0) > 1e-9:
        raise ConfigError(f"the weights of a council must sum to 1, and these sum to {total:.12g}")
    return council


def checked_thresholds(thresholds: Mapping[str, float] | None) -> Mapping[str, float]:
    """Return the thresholds by niche: the given ones win. Raises ConfigError for one out of [0, 100]."""
    given = {} if thresholds is None else thresholds
    if not isinstance(given, Mapping) or not all(isinstance(niche, str) for niche in given):
        raise ConfigError(f"thresholds must be a dict from niches to scores, got {shown(thresholds)}")
    for niche, threshold in given.items():
        checked_number(threshold, f"the threshold of {niche!r}", least=0, most=100)
    return {**THRESHOLDS, **{niche.strip().lower(): float(t) for niche, t in given.items()}}


def threshold_for(niche: object, thresholds: Mapping[str, float]) -> float:
    """Return the threshold of a niche; COUNCIL_APPROVAL_THRESHOLD in the environment wins over all.

    A niche that is not text has the default threshold.
    Raises ConfigError when that variable is not a number from 0 to 100.
    """
    text = os.environ.get(_THRESHOLD_VARIABLE, "").strip()
    if text:
        try:
            value = float(text)
        except ValueError:
            raise ConfigError(
                f"{_THRESHOLD_VARIABLE} must be a number from 0 to 100, got {shown(text)}"
            ) from None
        return checked_number(value, _THRESHOLD_VARIABLE, least=0, most=100)
    if not isinstance(niche, str):
        return DEFAULT_THRESHOLD
    return thresholds.get(niche.strip().lower(), DEFAULT_THRESHOLD)
