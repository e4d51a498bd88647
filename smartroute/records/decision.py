"""A decision: the ladder of models for a task, the reasons, and the models ruled out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, NamedTuple

from smartroute.records.classification import Classification


class Tier(StrEnum):
    """How capable a model is, in three steps. `rank` orders them."""

    MINI = "mini"
    STANDARD = "standard"
    PREMIUM = "premium"

    @property
    def rank(self) -> int:
        """Return 0 for mini, 1 for standard, 2 for premium."""
        return _TIER_RANK[self]


_TIER_RANK = {Tier.MINI: 0, Tier.STANDARD: 1, Tier.PREMIUM: 2}


class Rung(NamedTuple):
    """One step of a ladder. A `standin` is called only when the rung before it failed."""

    model: str
    effort: str | None = None
    tier: Tier = Tier.STANDARD
    expected_usd: float | None = None
    standin: bool = False

    def __str__(self) -> str:
        return self.model if self.effort is None else f"{self.model}@{self.effort}"


class RuledOut(NamedTuple):
    """A model that may not take this request, and why."""

    model: str
    reason: str


class Candidate(NamedTuple):
    """A model that may take this request, with the expected cost of one call in USD (None: unpriced).

    `expected_usd` is the cost at the effort that the caller asks for, `asked_effort`.
    `expected_output_usd` is the share of it that depends on the effort. `most_output_usd` is the limit that
    `max_tokens` puts on that share (None: no limit).
    """

    model: str
    provider: str
    tier: Tier
    expected_usd: float | None
    efforts: tuple[str, ...] = ()
    asked_effort: str | None = None
    expected_output_usd: float | None = None
    most_output_usd: float | None = None


@dataclass(frozen=True, slots=True)
class Menu:
    """What a strategy chooses from: candidates, cheapest first (unpriced last), and who is ruled out.

    `tied_to` is the provider that must continue the conversation: "?" where that provider is unknown, None
    where any provider may continue it.
    """

    candidates: tuple[Candidate, ...]
    ruled_out: tuple[RuledOut, ...] = ()
    expected_input_tokens: int = 0
    expected_output_tokens: int = 0
    accept_at: float = 0.7
    tied_to: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Which models will be called, in which order, and why.

    `arm_propensity` is the probability that the experiment drew this arm. `action_propensity` is the
    probability that this ladder would be chosen at all (summed over the arms that choose it). `overridden`
    marks a user's own choice, which off-policy evaluation leaves out. `holdback` is "held" when the request
    goes to the declared baseline at random, with probability `holdback_share`, and "routed" when it might
    have.
    """

    classification: Classification
    ladder: tuple[Rung, ...]
    accept_at: float
    strategy: str
    arm: str | None = None
    experiment: str | None = None
    arm_propensity: float = 1.0
    action_propensity: float = 1.0
    reasons: tuple[str, ...] = ()
    ruled_out: tuple[RuledOut, ...] = ()
    overridden: bool = False
    holdback: Literal["held", "routed"] | None = None
    holdback_share: float | None = None

    def explain(self) -> str:
        """Return the decision in words: the signals, the ladder with costs, and the models ruled out."""
        seen = self.classification
        lines = [f"{seen.complexity.value} (score {seen.score:.2f}, by {seen.by})"]
        lines += [
            f"  signal  {signal.name} = {signal.value:g}  ({signal.weight:+.2f})"
            if isinstance(signal.value, int | float)
            else f"  signal  {signal.name} = {signal.value}  ({signal.weight:+.2f})"
            for signal in seen.signals
        ]
        lines.append(f"strategy {self.strategy}, accept at confidence {self.accept_at:g}")
        if self.arm is not None:
            lines.append(f"  arm     {self.arm} (propensity {self.arm_propensity:g})")
        for number, rung in enumerate(self.ladder, start=1):
            cost = "price unknown" if rung.expected_usd is None else f"about ${rung.expected_usd:.6f}"
            role = ", only if the rung before it fails" if rung.standin else ""
            lines.append(f"  rung {number}  {rung}  [{rung.tier.value}]  {cost}{role}")
        lines += [f"  because {reason}" for reason in self.reasons]
        lines += [f"  ruled out  {out.model}: {out.reason}" for out in self.ruled_out]
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """Return this decision as a dict that JSON can hold; `json_schema("decision")` describes it."""
        from smartroute.records.shapes import decision_as_dict

        return decision_as_dict(self)
