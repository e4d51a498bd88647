"""An outcome: the answer of a task, the confidence in it, and every attempt. Totals are computed."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeAlias

from smartroute.errors import ConfigError, SmartRouteError, shown
from smartroute.records.calls import Failure, Purpose, Reply, Usage
from smartroute.records.classification import TaskComplexity
from smartroute.records.decision import Decision, Rung
from smartroute.records.task import T_co, Task

StoppedBy: TypeAlias = Literal["top", "budget", "deadline", "breaker", "cancelled"]

_NOTHING: Mapping[str, Any] = {}


@dataclass(frozen=True, slots=True)
class Confidence:
    """Confidence in an answer: a value in [0, 1] or None for unknown, and its source.

    `source` names the estimator. `calibrated` is True only when labels made the score a probability.
    Raises ConfigError for a value out of range or of a wrong type.
    """

    value: float | None
    source: str
    detail: str = ""
    parts: tuple[Confidence, ...] = ()
    calibrated: bool = False

    def __post_init__(self) -> None:
        if self.value is None:
            return
        # A bool counts as 0 or 1: an estimator may return whether two answers agree.
        if not isinstance(self.value, int | float) or not 0.0 <= self.value <= 1.0:
            raise ConfigError(f"a confidence must lie in [0, 1] or be None, got {shown(self.value)}")


UNKNOWN_CONFIDENCE = Confidence(None, "none", "no estimator had anything to say")


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call, paid or failed, as the ledger records it.

    `cost_usd` None means unknown. `started_at` is seconds since the Unix epoch, UTC.
    `rung` is the position on the ladder, from 0; None for calls that belong to no rung.
    """

    model: str
    purpose: Purpose
    cost_usd: float | None
    latency_s: float
    started_at: float
    provider: str = ""
    effort: str | None = None
    rung: int | None = None
    number: int = 1
    usage: Usage | None = None
    finish_reason: str | None = None
    confidence: float | None = None
    confidence_source: str | None = None
    failure: Failure | None = None

    def believed(self, confidence: Confidence) -> Attempt:
        """Return this attempt with the confidence in its answer."""
        # By position: `dataclasses.replace` looks up every field, for every request.
        return Attempt(
            self.model,
            self.purpose,
            self.cost_usd,
            self.latency_s,
            self.started_at,
            self.provider,
            self.effort,
            self.rung,
            self.number,
            self.usage,
            self.finish_reason,
            confidence.value,
            confidence.source,
            self.failure,
        )

    def as_dict(self) -> dict[str, Any]:
        """Return this attempt as a dict that JSON can hold; `json_schema("attempt")` describes it."""
        from smartroute.records.shapes import attempt_as_dict

        return attempt_as_dict(self)


@dataclass(frozen=True, slots=True, repr=False)
class Outcome(Generic[T_co]):
    """The result of a task. Totals are computed from the attempts. The repr holds no prompt or answer text.

    `T_co` is what `parsed` returns: the pydantic model that was passed as `response_format`.
    `answer_changed` is whether the answer differs from the first one that was not good enough; None without
    such an answer, or where the two cannot be compared. `stopped_by` is why the ladder ended below the
    threshold (None: the answer was accepted).
    `baseline_cost_usd` estimates what the declared baseline model would have charged for the answer's own
    tokens; None when that is unknown.
    """

    id: str
    task: Task[T_co]
    decision: Decision
    attempts: tuple[Attempt, ...]
    started_at: float
    latency_s: float
    answer: Reply | None = None
    answered_by: Rung | None = None
    estimate: Confidence = UNKNOWN_CONFIDENCE
    stopped_by: StoppedBy | None = None
    error: SmartRouteError | None = field(default=None, compare=False)
    baseline_model: str | None = None
    baseline_cost_usd: float | None = None
    simulated: bool = False
    detour: bool = False
    answer_changed: bool | None = None

    if not TYPE_CHECKING:
        # The alias of `typing` cannot make instances of a frozen dataclass with slots before Python 3.12.
        __class_getitem__ = classmethod(GenericAlias)

    def __repr__(self) -> str:
        answered = self.model or (self.stopped_by if self.error is None else type(self.error).__name__)
        known = (
            ""
            if self.confidence is None
            else f"confidence={self.confidence:.2f} by {self.confidence_source}, "
        )
        calls = f"{len(self.attempts)} attempt{'s' * (len(self.attempts) != 1)}"
        return f"<Outcome {self.id}: {answered}, {self.bill}, {known}{calls}>"

    @property
    def bill(self) -> str:
        """Return the cost in words: "$0.000120", or "at least $0.000120 (1 attempt of unknown cost)"."""
        missing = self.unpriced_attempts
        if not missing:
            return f"${self.cost_usd:.6f}"
        return f"at least ${self.cost_usd:.6f} ({missing} attempt{'s' * (missing > 1)} of unknown cost)"

    @property
    def text(self) -> str:
        """Return the answer's text; empty when the answer is a tool call or there is none."""
        return "" if self.answer is None else self.answer.text

    @property
    def parsed(self) -> T_co | None:
        """Return the answer's JSON, as the pydantic model where `response_format` is one.

        None without a `response_format`, and where the answer does not match it.
        """
        wanted = self.task.params.get("response_format")
        if self.answer is None or wanted is None:
            return None
        try:
            if hasattr(wanted, "model_validate_json"):
                parsed: T_co = wanted.model_validate_json(self.answer.text)
            else:
                parsed = json.loads(self.answer.text)
        except (ValueError, RecursionError):
            return None
        return parsed

    @property
    def raw(self) -> Mapping[str, Any]:
        """Return the accepted reply in OpenAI's shape, tool calls included."""
        return _NOTHING if self.answer is None else self.answer.raw

    @property
    def model(self) -> str | None:
        """Return the name of the model whose answer this is."""
        return None if self.answered_by is None else self.answered_by.model

    @property
    def cost_usd(self) -> float:
        """Return the sum over the priced attempts; `unpriced_attempts` says how many are missing."""
        return math.fsum(attempt.cost_usd for attempt in self.attempts if attempt.cost_usd is not None)

    @property
    def unpriced_attempts(self) -> int:
        """Return how many attempts have an unknown cost."""
        return sum(attempt.cost_usd is None for attempt in self.attempts)

    @property
    def confidence(self) -> float | None:
        """Return the confidence in the answer, None when unknown."""
        return self.estimate.value

    @property
    def confidence_source(self) -> str:
        """Return the name of the estimator that gave the confidence."""
        return self.estimate.source

    @property
    def escalated(self) -> bool:
        """Return whether answers were asked of more than one rung; a screen is the first."""
        return len({a.rung for a in self.attempts if a.purpose in ("answer", "screen")}) > 1

    @property
    def complexity(self) -> TaskComplexity:
        """Return the complexity of the task, by the classifier."""
        return self.decision.classification.complexity

    def as_dict(self) -> dict[str, Any]:
        """Return this outcome with its decision and attempts, without the prompt, as a dict for JSON.

        `json_schema("outcome")` describes it. Numbers that are not finite are None.
        """
        from smartroute.records.shapes import outcome_as_dict

        return outcome_as_dict(self)
