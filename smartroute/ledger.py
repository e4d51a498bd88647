"""The list of attempts of one task: the only place that prices a call and appends an Attempt."""

from __future__ import annotations

import logging
from collections.abc import Callable

from smartroute.pricing.surcharges import LONG_CACHE, cached_for_long, surcharge
from smartroute.records import Attempt, Call, Confidence, Failure, Timed, Usage

_log = logging.getLogger("smartroute")


class Ledger:
    """The attempts of one task.

    `price` turns a model and its usage into USD, or None where that is unknown.
    """

    def __init__(self, price: Callable[[str, Usage], float | None]) -> None:
        self._price = price
        self._attempts: list[Attempt] = []

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Return every attempt so far, in the order in which they ended."""
        return tuple(self._attempts)

    @property
    def last(self) -> Attempt:
        """Return the attempt that ended last. Raises IndexError when there is none."""
        return self._attempts[-1]

    def enter(self, call: Call, timed: Timed, started_at: float) -> Attempt:
        """Price a finished call, append it, and return the attempt."""
        result = timed.result
        failure = result if isinstance(result, Failure) else None
        attempt = Attempt(
            model=call.model,
            purpose=call.purpose,
            cost_usd=self._cost_usd(call, result.usage, failure),
            latency_s=timed.latency_s,
            started_at=started_at,
            provider=call.provider,
            effort=call.effort,
            rung=call.rung,
            number=call.number,
            usage=result.usage,
            finish_reason=None if isinstance(result, Failure) else result.finish_reason,
            failure=failure,
        )
        self._attempts.append(attempt)
        return attempt

    def _cost_usd(self, call: Call, usage: Usage | None, failure: Failure | None) -> float | None:
        if usage is not None:
            params = {**call.params, **call.options} if call.options else call.params
            extra = usage.surcharge or surcharge(params)
            if extra is None and usage.cache_write_tokens and cached_for_long(call.messages, params):
                extra = LONG_CACHE
            if extra is not None:
                _warn_once(extra)
                return None
            return self._price(call.model, usage)
        if failure is not None and failure.generated is False:
            return 0.0
        return None

    def believe(self, attempt: Attempt, confidence: Confidence) -> None:
        """Record the confidence in an attempt's answer, which is known only after the attempt is entered."""
        for index in range(len(self._attempts) - 1, -1, -1):
            if self._attempts[index] is attempt:
                self._attempts[index] = attempt.believed(confidence)
                return


_warned: set[str] = set()


def _warn_once(surcharge: str) -> None:
    if surcharge not in _warned:
        _warned.add(surcharge)
        _log.warning(
            "%s is not charged by tokens at the plain rates alone: the cost of such calls is unknown",
            surcharge,
        )
