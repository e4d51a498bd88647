"""Calls to models: what is asked, what comes back or fails, and the steps that a driver performs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

from smartroute.errors import ProviderError, TransientError
from smartroute.number_checks import is_number
from smartroute.records.task import Message

Purpose: TypeAlias = Literal["answer", "classify", "judge", "sample", "screen", "audit", "repair", "shadow"]

_MOST_PAUSE_S = 1e12


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call.

    `input_tokens` counts the whole prompt, the `cached_tokens` read from and the
    `cache_write_tokens` written to a prompt cache included; `output_tokens` counts everything
    generated, `reasoning_tokens` included. `audio_tokens` counts the audio tokens among both.
    `surcharge` names what the provider reports to have charged beyond, or otherwise than, tokens at the
    plain rates (a service tier, a search, ...).
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

        The record of such an exception names only its class, because its message may hold the prompt or a
        key. The exception itself is kept in `error`.
        """
        if not isinstance(error, ProviderError):
            return cls(kind="unknown", message=f"the provider raised {type(error).__name__}", error=error)
        return cls(
            kind=error.kind,
            message=_message_of(error),
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
    if is_number(value) and 0 <= value <= _MOST_PAUSE_S:
        return float(value)
    return None


def _message_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  a user's __str__ may raise anything
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
    """A step: make these calls at the same time. The replies come back in this order.

    `within_s` is how many seconds the whole step may take, where the task has a deadline. A driver gives up
    on calls that have not returned by then.
    """

    calls: tuple[Call, ...]
    within_s: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """A step: let this much time pass."""

    seconds: float


class Timed(NamedTuple):
    """The result of one call, and how long it took in seconds."""

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
