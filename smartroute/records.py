"""Hold what flows through a request, one frozen record per stage. Computes only totals of its own parts."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from smartroute.errors import ConfigError, ProviderError, SmartRouteError, TaskError, TransientError, shown
from smartroute.parameters import checked_params
from smartroute.request_checks import (
    checked_kind,
    checked_labels,
    checked_messages,
    checked_name,
    checked_requirements,
    checked_text,
)

Message: TypeAlias = Mapping[str, Any]
"""One message in OpenAI chat format."""

Purpose: TypeAlias = Literal["answer", "classify", "judge", "sample", "screen", "audit", "repair", "shadow"]
StoppedBy: TypeAlias = Literal["top", "budget", "deadline", "breaker", "cancelled"]

_NOTHING: Mapping[str, Any] = {}
_MOST = 1e12


class TaskComplexity(StrEnum):
    """How hard a task is. Compares and prints as its value."""

    SIMPLE = "simple"
    MEDIUM = "medium"
    COMPLEX = "complex"


class Tier(StrEnum):
    """How able a model is, in three steps. `rank` orders them."""

    MINI = "mini"
    STANDARD = "standard"
    PREMIUM = "premium"

    @property
    def rank(self) -> int:
        """Return 0 for mini, 1 for standard, 2 for premium."""
        return _TIER_RANK[self]


_TIER_RANK = {Tier.MINI: 0, Tier.STANDARD: 1, Tier.PREMIUM: 2}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one task may spend and how long it may take. None means no limit of its own."""

    max_usd: float | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("max_usd", self.max_usd), ("timeout_s", self.timeout_s)):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _MOST:
                raise TaskError(f"{name} must be a number from 0 to {_MOST:g}, got {shown(value)}")
        if self.timeout_s == 0:
            raise TaskError("timeout_s must be more than 0, got 0; leave it out for no limit")


_NO_LIMITS = Limits()


def _limits(value: object) -> Limits:
    if value is None:
        return _NO_LIMITS
    if not isinstance(value, Limits):
        raise TaskError(f"limits must be Limits(max_usd, timeout_s), got {shown(value)}")
    return value


@dataclass(frozen=True, slots=True, repr=False)
class Task:
    """What the caller wants. Build it with `Task.of`, which checks and normalises.

    `subject` is the text to classify where that is not the prompt itself. `unit` is what an
    experiment buckets by (a user or conversation id). `tenant`, `conversation_id` and `labels`
    are carried to the event log unread. `params` pass through to the provider. With `repair` a model whose
    answer violates the `response_format` is asked once to mend it before the next rung is. Its repr holds
    no text of the prompt, so that it may be logged.
    """

    messages: tuple[Message, ...]
    kind: str = "general"
    requirements: frozenset[str] = frozenset()
    params: Mapping[str, Any] = field(default_factory=dict)
    complexity_override: TaskComplexity | None = None
    preferred_model: str | None = None
    subject: str | None = None
    unit: str | None = None
    tenant: str | None = None
    conversation_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    limits: Limits = _NO_LIMITS
    repair: bool = False

    @classmethod
    def of(
        cls,
        prompt: str | Sequence[Message],
        *,
        kind: str | None = None,
        requirements: Mapping[str, bool] | Sequence[str] | frozenset[str] | None = None,
        params: Mapping[str, Any] | None = None,
        complexity_override: TaskComplexity | str | None = None,
        preferred_model: str | None = None,
        subject: str | None = None,
        unit: str | None = None,
        tenant: str | None = None,
        conversation_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        limits: Limits | None = None,
        repair: bool = False,
    ) -> Task:
        """Return a checked task from a string (one user message) or a list of chat messages.

        Lone surrogates become U+FFFD. A dict of requirements keeps the names that are true.
        Raises TaskError when anything is empty or of a wrong type.
        """
        return cls(
            messages=checked_messages(prompt),
            kind=checked_kind(kind),
            requirements=checked_requirements(requirements),
            params={} if params is None else checked_params(params),
            complexity_override=_complexity(complexity_override),
            preferred_model=checked_name(preferred_model, "preferred_model"),
            subject=None if subject is None else checked_text(subject, "subject"),
            unit=checked_name(unit, "unit"),
            tenant=checked_name(tenant, "tenant"),
            conversation_id=checked_name(conversation_id, "conversation_id"),
            labels=checked_labels(labels),
            limits=_limits(limits),
            repair=bool(repair),
        )

    def __repr__(self) -> str:
        return f"Task(kind={self.kind!r}, {len(self.messages)} messages, {len(self.params)} parameters)"


def _complexity(value: object) -> TaskComplexity | None:
    if value is None or isinstance(value, TaskComplexity):
        return value
    try:
        return TaskComplexity(value.strip().lower() if isinstance(value, str) else "")
    except ValueError:
        raise TaskError(
            f"complexity_override must be one of {[c.value for c in TaskComplexity]}, got {shown(value)}"
        ) from None


class Signal(NamedTuple):
    """One thing a classifier saw: its name, its value, and what it added to the score."""

    name: str
    value: float | str
    weight: float = 0.0


_SIGNAL_ONLY = frozenset({Signal})


@dataclass(frozen=True, slots=True)
class Classification:
    """How hard a task is: the complexity, a score in [0, 1], the signals that led there, and by whom."""

    complexity: TaskComplexity
    score: float
    signals: tuple[Signal, ...] = ()
    by: str = "unknown"

    def __post_init__(self) -> None:
        if not isinstance(self.complexity, TaskComplexity):
            try:
                object.__setattr__(self, "complexity", TaskComplexity(self.complexity))
            except ValueError:
                raise ConfigError(
                    f"a classification's complexity must be one of {[c.value for c in TaskComplexity]}, "
                    f"got {shown(self.complexity)}"
                ) from None
        if not isinstance(self.score, int | float) or not 0.0 <= self.score <= 1.0:
            raise ConfigError(f"a classification's score must lie in [0, 1], got {shown(self.score)}")
        if not isinstance(self.signals, tuple | list) or not _SIGNAL_ONLY.issuperset(map(type, self.signals)):
            raise ConfigError(
                "a classification's signals must be a tuple of Signal(name, value, weight), "
                f"got {shown(self.signals)}"
            )


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call.

    `input_tokens` counts the whole prompt, the `cached_tokens` read from and the
    `cache_write_tokens` written to a prompt cache included; `output_tokens` counts everything
    generated, `reasoning_tokens` included. `audio_tokens` counts those of either that are audio.
    `surcharge` names what the provider says it charged beyond, or otherwise than, tokens at the plain rates
    (a service tier, a search, ...).
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    surcharge: str | None = None


@dataclass(frozen=True, slots=True, repr=False)
class Reply:
    """What a model answered to one call.

    `raw` is the reply in OpenAI's chat completion shape. `logprobs` are the natural logarithms of
    the probabilities of the answer's tokens, where the provider returned them.
    """

    text: str
    usage: Usage | None = None
    finish_reason: str | None = None
    logprobs: tuple[float, ...] | None = None
    tool_calls: tuple[Mapping[str, Any], ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)
    model: str | None = None

    def __repr__(self) -> str:
        return (
            f"<Reply of {self.model}: {len(self.text)} characters, {len(self.tool_calls)} tool calls, "
            f"{self.usage}, finish_reason={self.finish_reason!r}>"
        )


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a call has no usable reply.

    `kind` is a ProviderError's kind, or cancelled, empty, budget, unknown. `generated` is False when
    the provider certainly generated nothing; `usage` is known when it answered unusably.
    """

    kind: str
    message: str
    transient: bool = False
    generated: bool | None = None
    status: int | None = None
    retry_after_s: float | None = None
    usage: Usage | None = None
    error: BaseException | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, error: BaseException) -> Failure:
        """Return the record of an exception. An exception that is not a ProviderError is final.

        Of such a one only the class is told, for its message may hold the prompt or a key; the exception
        itself stays in `error`.
        """
        if not isinstance(error, ProviderError):
            return cls(kind="unknown", message=f"the provider raised {type(error).__name__}", error=error)
        return cls(
            kind=error.kind,
            message=_said_by(error),
            transient=isinstance(error, TransientError),
            generated=_or_none(getattr(error, "generated", None), bool),
            status=_or_none(getattr(error, "status", None), int),
            retry_after_s=_pause_s(getattr(error, "retry_after_s", None)),
            usage=_or_none(getattr(error, "usage", None), Usage),
            error=error,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle everything but the exception, which may hold what cannot be pickled."""
        return Failure, (
            self.kind,
            self.message,
            self.transient,
            self.generated,
            self.status,
            self.retry_after_s,
            self.usage,
        )

    @classmethod
    def cancelled(cls) -> Failure:
        """Return the failure of a call that was abandoned while it ran; its cost is unknown."""
        return cls(kind="cancelled", message="the call was cancelled")


_T = TypeVar("_T")


def _or_none(value: object, kind: type[_T]) -> _T | None:
    return value if isinstance(value, kind) else None


def _pause_s(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return float(value)
    return None


def _said_by(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  somebody else's __str__
        return type(error).__name__


@dataclass(frozen=True, slots=True, repr=False)
class Call:
    """One call for a provider to make.

    `model` is the catalog's name and `target` the provider's (litellm's `provider/model`).
    `options` are connection settings of the model's card (api_base, api_key_env, headers).
    `number` counts the calls of the same rung for the same purpose, from 1.
    """

    model: str
    target: str
    provider: str
    messages: tuple[Message, ...]
    params: Mapping[str, Any] = field(default_factory=dict)
    purpose: Purpose = "answer"
    effort: str | None = None
    timeout_s: float | None = None
    number: int = 1
    rung: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        effort = "" if self.effort is None else f"@{self.effort}"
        return (
            f"<Call {self.number} of {self.model}{effort} for {self.purpose}, {len(self.messages)} messages>"
        )


@dataclass(frozen=True, slots=True)
class Calls:
    """A step: make these calls at the same time; the replies come back in this order.

    `within_s` is how long the whole step may take, where the task has a deadline: a driver gives up on
    what is not back by then.
    """

    calls: tuple[Call, ...]
    within_s: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """A step: let this much time pass."""

    seconds: float


class Timed(NamedTuple):
    """What came of one call, and how long it took in seconds."""

    result: Reply | Failure
    latency_s: float


@dataclass(frozen=True, slots=True, repr=False)
class Probe:
    """An extra call that a classifier or an estimator asks for.

    `model` is a name of the catalog; None means the model and effort that gave the answer.
    `params` None means the parameters of the task itself.
    """

    messages: tuple[Message, ...]
    purpose: Purpose
    model: str | None = None
    params: Mapping[str, Any] | None = None

    def __repr__(self) -> str:
        asked = self.model or "the answering model"
        return f"<Probe of {asked} for {self.purpose}, {len(self.messages)} messages>"


@dataclass(frozen=True, slots=True)
class Confidence:
    """How far an answer may be believed: a value in [0, 1] or None for unknown, and where it came from.

    `source` names the estimator. `calibrated` is True only when labels made the score a probability.
    """

    value: float | None
    source: str
    detail: str = ""
    parts: tuple[Confidence, ...] = ()
    calibrated: bool = False

    def __post_init__(self) -> None:
        if self.value is None:
            return
        if not isinstance(self.value, int | float) or not 0.0 <= self.value <= 1.0:
            raise ConfigError(f"a confidence must lie in [0, 1] or be None, got {shown(self.value)}")


UNKNOWN_CONFIDENCE = Confidence(None, "none", "no estimator had anything to say")


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
    """A model that may take this request, with the cost to expect of one call in USD (None: unpriced).

    That is at the effort that the caller asks for, `asked_effort`; `expected_output_usd` is the part of
    it that an effort changes, and `most_output_usd` what `max_tokens` holds it to (None: nothing).
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

    `tied_to` is the provider that must go on with the conversation, "?" where that cannot be told; None when
    it may move.
    """

    candidates: tuple[Candidate, ...]
    ruled_out: tuple[RuledOut, ...] = ()
    expected_input_tokens: int = 0
    expected_output_tokens: int = 0
    accept_at: float = 0.7
    tied_to: str | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What will be done, before doing it.

    `arm_propensity` is the probability that the experiment drew this arm, `action_propensity` that
    this ladder would be emitted at all (summed over the arms that emit it). `overridden` marks a
    user's own choice, which off-policy evaluation leaves out. `holdback` is "held" when the request goes to
    the declared baseline at random, with probability `holdback_share`, and "routed" when it might have.
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
        """Return the decision in words: what was seen, the ladder with costs, and who is ruled out."""
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


@dataclass(frozen=True, slots=True)
class Attempt:
    """One call, paid or failed, as it stands in the ledger.

    `cost_usd` None means unknown. `started_at` is seconds since the Unix epoch, UTC.
    `rung` is the place on the ladder, from 0; None for calls that belong to no rung.
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
        """Return this attempt with how far its answer may be believed."""
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


@dataclass(frozen=True, slots=True, repr=False)
class Outcome:
    """What came of a task. Totals are computed from the attempts. Its repr holds no text.

    `answer_changed` says whether the answer differs from the first that was not good enough; None where there
    was none, or the two cannot be compared. `stopped_by` says why the ladder ended below the threshold
    (None: the answer was accepted).
    `baseline_cost_usd` is what the declared baseline model would have charged for the answer's own
    tokens, an estimate; None when that cannot be known.
    """

    id: str
    task: Task
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

    def __repr__(self) -> str:
        answered = self.model or (self.stopped_by if self.error is None else type(self.error).__name__)
        known = (
            ""
            if self.confidence is None
            else f"confidence={self.confidence:.2f} by {self.confidence_source}, "
        )
        calls = f"{len(self.attempts)} {'attempt' if len(self.attempts) == 1 else 'attempts'}"
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
    def parsed(self) -> Any:
        """Return the answer's JSON, as the pydantic model when `response_format` is one; else None."""
        wanted = self.task.params.get("response_format")
        if self.answer is None or wanted is None:
            return None
        try:
            if hasattr(wanted, "model_validate_json"):
                return wanted.model_validate_json(self.answer.text)
            return json.loads(self.answer.text)
        except (ValueError, RecursionError):
            return None

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
        """Return the complexity that the classifier found."""
        return self.decision.classification.complexity
