"""Retry policy: how long to wait before the same call is made again. Built on tenacity's strategies."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smartroute.number_checks import checked_number, checked_whole
from smartroute.records import Failure


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how fast a transient failure is retried on the same rung.

    `calls` is the most calls of one rung, the first included. The wait doubles from `initial_s` up to
    `max_s` and is spread by up to `jitter` of itself. A provider's Retry-After replaces a shorter wait;
    one longer than `retry_after_max_s` is not waited for: the next rung answers sooner.
    `wait` and `stop` take any of tenacity's strategies (`wait_fixed(2)`, `stop_after_delay(30)`, ...)
    and replace these numbers.

    Raises ConfigError for a number out of range.
    """

    calls: int = 3
    initial_s: float = 0.5
    max_s: float = 20.0
    jitter: float = 0.25
    retry_after_max_s: float = 60.0
    wait: Callable[[Any], float] | None = None
    stop: Callable[[Any], bool] | None = None

    def __post_init__(self) -> None:
        checked_whole(self.calls, "retry calls", least=1)
        for name in ("initial_s", "max_s", "jitter", "retry_after_max_s"):
            checked_number(getattr(self, name), f"retry {name}", least=0)

    def wait_s(self, number: int, failure: Failure, elapsed_s: float, rng: random.Random) -> float | None:
        """Return the seconds to wait after the `number`th call failed, or None to stop retrying."""
        if not failure.transient:
            return None
        if failure.retry_after_s is not None and failure.retry_after_s > self.retry_after_max_s:
            return None
        import tenacity

        state: Any = tenacity.RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
        state.attempt_number = number
        state.outcome_timestamp = state.start_time + elapsed_s
        state.outcome = tenacity.Future(number)
        state.outcome.set_exception(failure.error or RuntimeError(failure.message))
        stop = self.stop or tenacity.stop_after_attempt(self.calls)
        if stop(state):
            return None
        if self.wait is not None:
            wait_s = float(self.wait(state))
        else:
            wait_s = tenacity.wait_exponential(multiplier=self.initial_s, max=self.max_s)(state)
            wait_s *= 1.0 + self.jitter * rng.random()
        return max(wait_s, failure.retry_after_s or 0.0)
