"""A task: what the caller wants answered, checked and normalized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Generic, TypeAlias

from smartroute.errors import TaskError, shown
from smartroute.number_checks import checked_number
from smartroute.parameters import checked_params
from smartroute.records.classification import TaskComplexity
from smartroute.request_checks import (
    checked_kind,
    checked_labels,
    checked_messages,
    checked_name,
    checked_requirements,
    checked_text,
)

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    # With a default, a bare `Task` is a `Task[Any]`, also to a strict type checker; so is an `Outcome`.
    T_co = TypeVar("T_co", covariant=True, default=Any)
else:
    from typing import TypeVar

    T_co = TypeVar("T_co", covariant=True)

Message: TypeAlias = Mapping[str, Any]
"""One message in OpenAI chat format."""

_MOST = 1e12


@dataclass(frozen=True, slots=True)
class Limits:
    """What one task may spend and how long it may take. None means no limit for this task.

    Raises TaskError for a value that is not a finite number, is negative, or is a timeout of 0.
    """

    max_usd: float | None = None
    timeout_s: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("max_usd", self.max_usd), ("timeout_s", self.timeout_s)):
            if value is not None:
                checked_number(value, name, least=0, most=_MOST, error=TaskError)
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
class Task(Generic[T_co]):
    """What the caller wants. Build it with `Task.of`, which checks and normalizes.

    `subject` is the text to classify where that is not the prompt itself. `unit` is what an
    experiment buckets by (a user or conversation id). `tenant`, `conversation_id` and `labels`
    are copied to the event log as they are. `params` pass through to the provider. With `repair`, a model
    whose answer violates the `response_format` is asked once to fix it before the next rung is called.
    `T_co` is the pydantic model that the answer is parsed into. The repr holds no prompt text, so that it may
    be logged.
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

    if not TYPE_CHECKING:
        # The alias of `typing` cannot make instances of a frozen dataclass with slots before Python 3.12.
        __class_getitem__ = classmethod(GenericAlias)

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
