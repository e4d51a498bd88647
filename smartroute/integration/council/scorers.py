"""Scorers: council members that are not language models, such as a click-through-rate service."""

from __future__ import annotations

import functools
import inspect
import math
import os
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from smartroute.concurrency.threads import run_in_thread
from smartroute.errors import (
    MalformedReplyError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    shown,
)
from smartroute.number_checks import checked_number, is_number
from smartroute.records import Call, Reply, Usage
from smartroute.routing.run import SCORER

if TYPE_CHECKING:
    from smartroute.protocols import Provider


@runtime_checkable
class Scorer(Protocol):
    """Gives a script a score from 0 to 100, or raises.

    `score` may be a coroutine function; any other runs in a thread of its own. An attribute `ready` that is
    False (or a method that returns False) means that no service is configured: the member counts as neutral,
    and no call is made. An attribute `timeout_s` is the longest wait for a score, in seconds; 30 without one.
    """

    def score(self, script: str, niche: str) -> Any: ...


class ClickThroughScorer:
    """Score a script by the click-through rate that an HTTP service predicts.

    POSTs `{"content", "niche", "return_score": true}` to `{url}/predict/ctr`. The score follows from the
    answer's `predicted_ctr` (0 to 1): 50 points at a rate of 1%, 15 more per further percentage point,
    clamped to 0 and 100. `url` None reads ML_SERVICE_URL from the environment at each evaluation.
    `timeout_s` bounds the whole request, in seconds. Raises ConfigError unless it is a number above 0.
    """

    def __init__(self, url: str | None = None, *, timeout_s: float = 5.0) -> None:
        self._url = url
        self.timeout_s = checked_number(timeout_s, "timeout_s", above=0)

    @property
    def url(self) -> str | None:
        """Return the address of the service, None when none is configured."""
        return (self._url or os.environ.get("ML_SERVICE_URL", "")).strip().rstrip("/") or None

    def ready(self) -> bool:
        """Return whether an address is configured."""
        return self.url is not None

    async def score(self, script: str, niche: str) -> float:
        """Return the score. Raises ProviderError when the service gives no rate in [0, 1]."""
        import asyncio

        import httpx

        body = {"content": script, "niche": niche, "return_score": True}
        try:
            # httpx bounds each wait for data; asyncio cuts off a service that sends a byte now and then.
            async with (
                asyncio.timeout(self.timeout_s),
                httpx.AsyncClient(verify=_certificates(), timeout=self.timeout_s) as client,
            ):
                response = await client.post(f"{self.url}/predict/ctr", json=body)
        except (httpx.TimeoutException, TimeoutError) as error:
            raise ProviderTimeoutError(f"no click-through rate within {self.timeout_s:g} s") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ProviderUnavailableError(
                f"the click-through service cannot be reached ({type(error).__name__}); check ML_SERVICE_URL"
            ) from error
        if not response.is_success:
            raise ProviderUnavailableError(
                f"the click-through service answered HTTP {response.status_code}", status=response.status_code
            )
        return _score_of(response)

    def __repr__(self) -> str:
        return f"ClickThroughScorer(timeout_s={self.timeout_s:g})"


def _score_of(response: Any) -> float:
    try:
        answer = response.json()
    except (ValueError, RecursionError):
        raise MalformedReplyError("the click-through service's answer is not JSON") from None
    rate: Any = answer.get("predicted_ctr") if isinstance(answer, Mapping) else None
    if not is_number(rate) or not 0.0 <= rate <= 1.0:
        raise MalformedReplyError(f"predicted_ctr must be a rate from 0 to 1, got {shown(rate)}")
    return min(100.0, max(0.0, 50.0 + (float(rate) - 0.01) * 1500.0))


@functools.cache
def _certificates() -> Any:
    import ssl

    return ssl.create_default_context()


class ScoringProvider:
    """Makes a council's calls: those to scorers itself, those to models through `provider`.

    A score is returned as the text of a Reply with no tokens.
    """

    def __init__(self, provider: Provider, scorers: Mapping[str, Scorer]) -> None:
        self._provider = provider
        self._scorers = scorers

    def send(self, call: Call) -> Reply:
        """Make a call to a model. Raises ProviderError."""
        if call.provider == SCORER:
            raise ProviderError("a scorer can only be called from a coroutine; use asend", model=call.model)
        return self._provider.send(call)

    async def asend(self, call: Call) -> Reply:
        """Make one call. Raises ProviderError."""
        if call.provider != SCORER:
            return await self._provider.asend(call)
        import asyncio

        scorer = self._scorers[call.model]
        limit_s = _timeout_s(scorer, call)
        try:
            async with asyncio.timeout(limit_s) as limit:
                value = await _score(scorer, call.options["script"], call.options["niche"])
        except Exception as error:
            # Final and free whatever it was: a scorer is not retried, and nothing was generated.
            message = f"no score within {limit_s:g} s" if limit.expired() else _described(error)
            raise ProviderError(message, model=call.model, generated=False) from error
        score = _as_float(value)
        if not 0.0 <= score <= 100.0:
            raise MalformedReplyError(
                f"the score of {call.model} must be a number from 0 to 100, got {shown(value)}",
                model=call.model,
                generated=False,
            )
        return Reply(repr(score), usage=Usage(0, 0), finish_reason="stop")


_DEFAULT_TIMEOUT_S = 30.0
_SHARE_OF_CALL_TIMEOUT = 0.9


def _timeout_s(scorer: Scorer, call: Call) -> float:
    """Return how long to wait for a score: less than the driver does, because the driver would retry."""
    own_s: Any = getattr(scorer, "timeout_s", None)
    if not is_number(own_s) or own_s <= 0.0:
        own_s = _DEFAULT_TIMEOUT_S
    return float(own_s if call.timeout_s is None else min(own_s, _SHARE_OF_CALL_TIMEOUT * call.timeout_s))


def _described(error: Exception) -> str:
    return str(error) if isinstance(error, ProviderError) else f"it raised {type(error).__name__}"


def _as_float(value: object) -> float:
    """Return any real number, numpy's included, as a float; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


async def _score(scorer: Scorer, script: str, niche: str) -> Any:
    if inspect.iscoroutinefunction(scorer.score):
        return await scorer.score(script, niche)
    import asyncio

    value = await asyncio.wrap_future(run_in_thread(lambda: scorer.score(script, niche)))
    return await value if inspect.isawaitable(value) else value


def is_ready(scorer: Scorer) -> bool:
    """Return whether a scorer has a service to call."""
    ready = getattr(scorer, "ready", True)
    return bool(ready() if callable(ready) else ready)
