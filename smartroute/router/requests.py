"""Options of `run`, `arun`, `decide` and `task`: one list of them, with their types."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

from smartroute.errors import TaskError
from smartroute.records import Limits, Message, Outcome, Task, TaskComplexity

if TYPE_CHECKING:
    from pydantic import BaseModel
    from typing_extensions import TypeVar

    # With a default, an answer that is not parsed into a model is `Any`.
    Parsed = TypeVar("Parsed", bound=BaseModel, default=Any)
else:
    from typing import TypeVar

    Parsed = TypeVar("Parsed")

_P = ParamSpec("_P")
_R = TypeVar("_R")


def task_of(
    prompt: str | Sequence[Message] | None = None,
    *,
    messages: Sequence[Message] | None = None,
    kind: str | None = None,
    requirements: Mapping[str, bool] | Sequence[str] | None = None,
    complexity_override: TaskComplexity | str | None = None,
    preferred_model: str | None = None,
    subject: str | None = None,
    unit: str | None = None,
    tenant: str | None = None,
    conversation_id: str | None = None,
    labels: Mapping[str, str] | None = None,
    max_usd: float | None = None,
    timeout_s: float | None = None,
    response_format: type[Parsed] | Mapping[str, Any] | None = None,
    repair: bool = False,
    **params: Any,
) -> Task[Parsed]:
    """Return the checked Task that the options of `run` describe. Raises TaskError."""
    if prompt is not None and messages is not None:
        raise TaskError("pass the prompt or messages=[...], not both")
    if response_format is not None:
        params["response_format"] = response_format
    return Task.of(
        prompt if messages is None else messages,  # type: ignore[arg-type]
        kind=kind,
        requirements=requirements,
        params=params,
        complexity_override=complexity_override,
        preferred_model=preferred_model,
        subject=subject,
        unit=unit,
        tenant=tenant,
        conversation_id=conversation_id,
        labels=labels,
        limits=None if max_usd is None and timeout_s is None else Limits(max_usd, timeout_s),
        repair=repair,
    )


def taking_the_options_of(
    pattern: Callable[_P, Any],
) -> Callable[[Callable[..., _R]], Callable[Concatenate[Any, _P], _R]]:
    """Give a method the parameters of a function, for type checkers, editors and `help`."""

    def sign(method: Callable[..., _R]) -> Callable[Concatenate[Any, _P], _R]:
        own, options = inspect.signature(method), inspect.signature(pattern)
        itself = next(iter(own.parameters.values())).replace(kind=inspect.Parameter.POSITIONAL_ONLY)
        method.__signature__ = options.replace(  # type: ignore[attr-defined]
            parameters=[itself, *options.parameters.values()], return_annotation=own.return_annotation
        )
        return method

    return sign


def answering(
    pattern: Callable[_P, Task[Parsed]],
) -> Callable[[Callable[..., Any]], Callable[Concatenate[Any, _P], Outcome[Parsed]]]:
    """Give a method the parameters of the function that builds its Task, and type its Outcome by them."""
    return taking_the_options_of(pattern)


def answering_later(
    pattern: Callable[_P, Task[Parsed]],
) -> Callable[[Callable[..., Any]], Callable[Concatenate[Any, _P], Coroutine[Any, Any, Outcome[Parsed]]]]:
    """Do for a coroutine function what `answering` does for a function."""
    return taking_the_options_of(pattern)
