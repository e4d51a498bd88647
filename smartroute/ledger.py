"""Keep the running list of attempts of one task, and the money set aside for calls under way.

The only place that appends an Attempt, prices it, and settles its reservation.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import ConfigError
from smartroute.parameters import GOOGLE_LENGTHS, LENGTHS, asked_choices
from smartroute.pricing.surcharges import LONG_CACHE, cached_for_long, surcharge
from smartroute.records import Attempt, Call, Confidence, Failure, Message, Timed, Usage

_log = logging.getLogger("smartroute")
_PICO = 10**12
_TOKENS_PER_REQUEST = 64
_TOKENS_PER_MESSAGE = 16
_TOKENS_FOR_TOOLS = 1_500
_DESCRIBED = frozenset({"tools", "functions", "response_format"})
_BEYOND_MEASURE = 10**15
"""Bytes of what cannot be written out: more than any budget bears."""


class Budget:
    """A limit in USD that many tasks may share. Reserve before a call, settle after it.

    Amounts are whole picodollars inside, limits rounded down and costs up, so that no sum of
    settled costs exceeds the limit as long as no cost exceeds its reservation. Thread-safe.
    """

    def __init__(self, limit_usd: float) -> None:
        if isinstance(limit_usd, bool) or not isinstance(limit_usd, int | float) or not limit_usd >= 0:
            raise ConfigError(f"a budget must be a number of USD of at least 0, got {limit_usd!r}")
        self.limit_usd = float(limit_usd)
        self._limit = None if math.isinf(limit_usd) else math.floor(limit_usd * _PICO)
        self._spent = 0
        self._reserved = 0
        self._lock = fork_safe_lock()

    @property
    def spent_usd(self) -> float:
        """Return what settled calls cost."""
        return self._spent / _PICO

    @property
    def reserved_usd(self) -> float:
        """Return what is set aside: for calls under way, and for good where a cost stayed unknown."""
        return self._reserved / _PICO

    @property
    def left_usd(self) -> float:
        """Return what may still be reserved."""
        if self._limit is None:
            return math.inf
        return max(0, self._limit - self._spent - self._reserved) / _PICO

    def reserve(self, usd: float) -> bool:
        """Set `usd` aside, or return False and set nothing aside when it does not fit.

        Raises ConfigError when `usd` is negative or not a number.
        """
        if not 0 <= usd < math.inf:
            raise ConfigError(f"a reservation must be a finite number of USD of at least 0, got {usd!r}")
        amount = math.ceil(usd * _PICO)
        with self._lock:
            if self._limit is not None and self._spent + self._reserved + amount > self._limit:
                return False
            self._reserved += amount
            return True

    def settle(self, reserved_usd: float, cost_usd: float | None) -> None:
        """Replace a reservation by the cost; an unknown cost keeps the reservation."""
        if cost_usd is None:
            return
        with self._lock:
            self._reserved -= math.ceil(reserved_usd * _PICO)
            self._spent += math.ceil(cost_usd * _PICO)


@dataclass(frozen=True, slots=True)
class Reservation:
    """Money set aside for one call, in every budget that applies."""

    usd: float
    budgets: tuple[Budget, ...]

    def settle(self, cost_usd: float | None) -> None:
        """Replace this reservation by the cost in every budget; None keeps it."""
        for budget in self.budgets:
            budget.settle(self.usd, cost_usd)


_FREE = Reservation(0.0, ())


class Ledger:
    """The attempts of one task.

    `price` turns a model and its usage into USD or None.
    """

    def __init__(self, price: Callable[[str, Usage], float | None], budgets: tuple[Budget, ...] = ()) -> None:
        self._price = price
        self._budgets = budgets
        self._attempts: list[Attempt] = []

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Return every attempt so far, in the order in which they ended."""
        return tuple(self._attempts)

    @property
    def under_budget(self) -> bool:
        """Return whether any budget applies, so that every call needs a known ceiling."""
        return bool(self._budgets)

    @property
    def tightest(self) -> Budget | None:
        """Return the budget with the least left."""
        return min(self._budgets, key=lambda budget: budget.left_usd, default=None)

    def reserve(self, ceiling_usd: float | None) -> Reservation | None:
        """Set the most that a call can cost aside in every budget, or return None when it does not fit.

        A ceiling of None (no price, no output cap) never fits under a budget.
        """
        if not self._budgets:
            return _FREE
        if ceiling_usd is None:
            return None
        for index, budget in enumerate(self._budgets):
            if not budget.reserve(ceiling_usd):
                for earlier in self._budgets[:index]:
                    earlier.settle(ceiling_usd, 0.0)
                return None
        return Reservation(ceiling_usd, self._budgets)

    def enter(self, call: Call, timed: Timed, started_at: float, reservation: Reservation = _FREE) -> Attempt:
        """Price a finished call, settle its reservation, append it, and return the attempt."""
        result = timed.result
        failure = result if isinstance(result, Failure) else None
        cost_usd = self._cost(call, result.usage, failure)
        reservation.settle(cost_usd)
        attempt = Attempt(
            model=call.model,
            purpose=call.purpose,
            cost_usd=cost_usd,
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

    def _cost(self, call: Call, usage: Usage | None, failure: Failure | None) -> float | None:
        if usage is not None:
            params = {**call.params, **call.options} if call.options else call.params
            beyond = usage.surcharge or surcharge(params)
            if beyond is None and usage.cache_write_tokens and cached_for_long(call.messages, params):
                beyond = LONG_CACHE
            if beyond is not None:
                _say_once(beyond)
                return None
            return self._price(call.model, usage)
        if failure is not None and failure.generated is False:
            return 0.0
        return None

    def believe(self, attempt: Attempt, confidence: Confidence) -> None:
        """Note the confidence in an attempt's answer, found out after it was entered."""
        for index in range(len(self._attempts) - 1, -1, -1):
            if self._attempts[index] is attempt:
                self._attempts[index] = attempt.believed(confidence)
                return


def input_ceiling_tokens(messages: Sequence[Message], params: Mapping[str, Any]) -> int:
    """Return an upper bound on the input tokens of a text request.

    A byte-level tokenizer never makes more tokens than there are UTF-8 bytes. To those of the
    messages and of all parameters as JSON come the chat template's own tokens, and what providers add
    for tools. No bound is claimed for images, audio and files.
    """
    size = _TOKENS_PER_REQUEST + _TOKENS_PER_MESSAGE * len(messages)
    for message in messages:
        for key, value in message.items():
            size += len(value.encode("utf-8", "replace")) if isinstance(value, str) else _json_bytes(value)
            size += len(key)
    for name, value in params.items():
        if value is not None and not isinstance(value, int | float):
            size += _json_bytes(value)
        if value is not None and name in _DESCRIBED:
            size += _TOKENS_FOR_TOOLS
    return size


_said: set[str] = set()


def _say_once(beyond: str) -> None:
    if beyond not in _said:
        _said.add(beyond)
        _log.warning(
            "%s is not charged by tokens at the plain rates alone: such calls count as of unknown cost",
            beyond,
        )


def beyond_ceiling(params: Mapping[str, Any], messages: Sequence[Message]) -> str | None:
    """Return what in a request keeps the most that it can cost from being known; None when nothing does."""
    unknown = next((name for name in _UNFATHOMED if params.get(name)), None) or surcharge(params)
    if unknown is None and cached_for_long(messages, params):
        return LONG_CACHE
    return unknown


_UNFATHOMED = (
    "extra_body",
    "additional_drop_params",
    "cached_content",
    "cachedContent",
    "previous_response_id",
    "num_predict",
)
"""They may hold anything, take the limit of the answer away, or have the provider read what is not sent."""


def output_ceiling_tokens(params: Mapping[str, Any], cap: int | None) -> int | None:
    """Return the most output tokens a request can cause, over all its choices; None when unbounded."""
    limits = [int(params[name]) for name in LENGTHS if params.get(name)]
    most = max(limits) if limits else cap
    if most is None:
        return None
    most = max(most, *(int(params.get(name) or 0) for name in GOOGLE_LENGTHS))
    if (prediction := params.get("prediction")) is not None:
        # What of it is rejected is billed as if it had been written.
        most += _json_bytes(prediction)
    return most * asked_choices(params)


def _json_bytes(value: object) -> int:
    try:
        text = json.dumps(value, ensure_ascii=False, default=_schema)
    except Exception:  # noqa: BLE001  somebody else's object, or one nested too deeply
        try:
            text = repr(value)
        except Exception:  # noqa: BLE001  and has no repr either
            return _BEYOND_MEASURE
    return len(text.encode("utf-8", "replace"))


def _schema(value: object) -> object:
    describe = getattr(value, "model_json_schema", None)
    return describe() if callable(describe) else repr(value)
