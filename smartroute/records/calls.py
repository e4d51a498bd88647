"""Calls to models: what is asked, what comes back, and the steps that a driver performs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from smartroute.records.failure import Failure
from smartroute.records.task import Message
from smartroute.records.usage import Usage

Purpose: TypeAlias = Literal["answer", "classify", "judge", "sample", "screen", "audit", "repair", "shadow"]


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
