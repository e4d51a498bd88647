"""Every error that smartroute raises on purpose, grouped by what the caller can do next.

SmartRouteError  .outcome                where a task had started: what it paid
  ConfigError (ValueError)              fix the configuration
    MissingKeyError                     set one of .variables, or run `smartroute demo`
  TaskError (ValueError)                fix the request
    NoEligibleModelError                no model can take it: .ruled_out says why, model by model
  UnknownModelError (LookupError)       name a model of the catalog, or add a ModelCard
  ProviderError  .model .attempt .retry_after_s
    TransientError                      wait and retry
      RateLimitError  ProviderTimeoutError  ProviderUnavailableError
    FinalError                          next rung, or stop
      AuthenticationError  InvalidRequestError  ContextTooLongError  RefusedError
      QuotaExhaustedError  MalformedReplyError
  LedgerError  .attempts .outcome       no answer, but a whole ledger
    BudgetExceededError  .spent_usd .limit_usd
    DeadlineExceededError (TimeoutError)
    AllModelsFailedError
  SinkError                             only from an explicit flush or read
  InsufficientDataError .needed .have
"""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smartroute.records import Attempt, Outcome, RuledOut, Usage


def fault(error: BaseException) -> str:
    """Return the class of an exception and the line that raised it, such as "KeyError at scoring.py:12".

    For a log that must not hold what the message may: a prompt, an answer, a key.
    """
    trace = error.__traceback__
    if trace is None:
        return type(error).__name__
    while trace.tb_next is not None:
        trace = trace.tb_next
    file = PurePath(trace.tb_frame.f_code.co_filename).name
    return f"{type(error).__name__} at {file}:{trace.tb_lineno}"


class SmartRouteError(Exception):
    """Root of every error that smartroute raises on purpose. Survives pickling, attributes included.

    `outcome` is what came of the task, where one had started: its attempts say what has been paid.
    """

    outcome: Outcome | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # The state is separate from the arguments, since an error and its outcome refer to each other.
        return _rebuild, (type(self), self.args), dict(self.__dict__)


def _rebuild(cls: type[SmartRouteError], args: tuple[Any, ...]) -> SmartRouteError:
    error = cls.__new__(cls, *args)
    error.args = args
    return error


class ConfigError(SmartRouteError, ValueError):
    """A setting is misspelled, out of range or contradicts another."""


class MissingKeyError(ConfigError):
    """No provider has its key set; `variables` names the ones that would do."""

    def __init__(self, message: str, *, variables: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.variables = variables


class TaskError(SmartRouteError, ValueError):
    """The request itself cannot be routed: empty, of a wrong type, or contradictory."""


class NoEligibleModelError(TaskError):
    """Every model of the catalog was ruled out for this request."""

    def __init__(self, message: str, *, ruled_out: tuple[RuledOut, ...] = ()) -> None:
        super().__init__(message)
        self.ruled_out = ruled_out


class UnknownModelError(SmartRouteError, LookupError):
    """The catalog has no model of that name."""


class ProviderError(SmartRouteError):
    """One call failed.

    `kind` is the word that the ledger records. `generated` is False when the provider
    certainly generated nothing (so that the call is free) and None when that is unknown.
    `usage` is what the provider counted, where an unusable answer came with a count.
    """

    kind = "unknown"
    generated: bool | None = None

    def __init__(
        self,
        message: str,
        *,
        model: str | None = None,
        attempt: int | None = None,
        retry_after_s: float | None = None,
        status: int | None = None,
        generated: bool | None = None,
        usage: Usage | None = None,
    ) -> None:
        super().__init__(message)
        self.model = model
        self.attempt = attempt
        self.retry_after_s = retry_after_s
        self.status = status
        self.usage = usage
        if generated is not None:
            self.generated = generated


class TransientError(ProviderError):
    """The same call may succeed later."""


class RateLimitError(TransientError):
    """Too many requests, or the quota is used up (429)."""

    kind = "rate_limit"
    generated = False


class ProviderTimeoutError(TransientError):
    """No whole reply in time. The provider may have generated, and billed, an answer."""

    kind = "timeout"


class ProviderUnavailableError(TransientError):
    """The provider cannot be reached or answered with a server error."""

    kind = "unavailable"
    generated = False


class FinalError(ProviderError):
    """The same call to the same model will not succeed."""


class AuthenticationError(FinalError):
    """The key is missing, wrong, or lacks the permission (401, 403)."""

    kind = "authentication"
    generated = False


class InvalidRequestError(FinalError):
    """The model does not accept this request (400, 404, 422)."""

    kind = "invalid_request"
    generated = False


class ContextTooLongError(FinalError):
    """The prompt does not fit into the model's context window."""

    kind = "context_too_long"
    generated = False


class RefusedError(FinalError):
    """The provider's safety system blocked the prompt or the answer."""

    kind = "refused"


class QuotaExhaustedError(FinalError):
    """The account has no credit or quota left: a 429 (or 402, or 400) that no wait cures."""

    kind = "quota_exhausted"
    generated = False


class MalformedReplyError(FinalError):
    """The provider's answer is not a completion: bad JSON, no choice, no content."""

    kind = "malformed"


class LedgerError(SmartRouteError):
    """A task ended without an answer. Carries every attempt, and the outcome where there is one."""

    def __init__(
        self, message: str, *, attempts: tuple[Attempt, ...] = (), outcome: Outcome | None = None
    ) -> None:
        super().__init__(message)
        self.attempts = attempts
        self.outcome = outcome


class BudgetExceededError(LedgerError):
    """The next call might cost more than what is left of a budget, and there is no answer yet."""

    def __init__(
        self,
        message: str,
        *,
        spent_usd: float,
        limit_usd: float,
        attempts: tuple[Attempt, ...] = (),
        outcome: Outcome | None = None,
    ) -> None:
        super().__init__(message, attempts=attempts, outcome=outcome)
        self.spent_usd = spent_usd
        self.limit_usd = limit_usd


class DeadlineExceededError(LedgerError, TimeoutError):
    """The time for the whole task is used up, and there is no answer yet."""


class AllModelsFailedError(LedgerError):
    """Every rung of the ladder failed."""


class SinkError(SmartRouteError):
    """The event log could not be written or read. Raised by an explicit flush or read only."""


class InsufficientDataError(SmartRouteError):
    """A statistic needs more observations than there are."""

    def __init__(self, message: str, *, needed: int, have: int) -> None:
        super().__init__(message)
        self.needed = needed
        self.have = have


def shown(value: object) -> str:
    """Return a short repr of a value for a message, whatever the value's own repr does."""
    try:
        return f"{value!r:.80}"
    except Exception:  # noqa: BLE001  a __repr__ of the caller's
        return f"an object of type {type(value).__name__}"
