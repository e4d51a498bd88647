"""A failed call: why it has no usable reply."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar

from smartroute.errors import ProviderError, TransientError
from smartroute.number_checks import is_number
from smartroute.records.usage import Usage

_MOST_PAUSE_S = 1e12


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
