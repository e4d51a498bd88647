"""Map exceptions of litellm to ProviderErrors: their kind, whether they may have cost money, when to retry.

Reads the exceptions of litellm, openai, httpx and aiohttp. A message holds no key, and little else of
the provider's own text.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from smartroute.errors import (
    AuthenticationError,
    ContextTooLongError,
    InvalidRequestError,
    MalformedReplyError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExhaustedError,
    RateLimitError,
    RefusedError,
)
from smartroute.records import Call

_NO_CODE = "422"
"""What litellm puts in for an error that came without a code."""


def failure_of(error: Exception, call: Call, handled: BaseException | None, litellm: Any) -> ProviderError:
    """Return our error for whatever a call through `litellm`, the module, raised.

    litellm turns a dropped connection, a bad reply and an HTTP 500 into the same class, so what decides is
    the chain of causes: the HTTP response if there was one, else what the connection met, else bad JSON.
    `handled` is what was already being handled when the call began; the chain of this call ends there.
    """
    import httpx

    links = tuple(_chain(error, handled))
    for link in links:
        if isinstance(link, httpx.HTTPStatusError):
            return _of_response(link.response, error, call, litellm)
    for link in links:
        if isinstance(link, httpx.TransportError) or _is_no_http(link):
            return _of_connection(link, links, call)
    if any(isinstance(link, TimeoutError) for link in links):
        return _timed_out(call)
    if getattr(error, "litellm_response_headers", None) or any(
        isinstance(link, json.JSONDecodeError) for link in links
    ):
        return _unreadable(error, links, call)
    return _of_class(error, links, call, litellm)


def _chain(error: BaseException, handled: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and link is not handled and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _is_no_http(link: BaseException) -> bool:
    """Return whether aiohttp could not parse head or chunks of a reply: a TransportError in httpx."""
    return type(link).__name__ == "ClientResponseError" and type(link).__module__.startswith("aiohttp")


def _of_response(response: Any, error: Exception, call: Call, litellm: Any) -> ProviderError:
    status: int = response.status_code
    body = _body(response)
    message = _provider_message(body, error, call)
    kind, generated, cure = _kind_of(status, body.lower(), error, litellm)
    return kind(
        f"{call.model}: HTTP {status}: {message}; {cure}",
        model=call.model,
        status=status,
        retry_after_s=_retry_after_s(response.headers, body),
        generated=generated,
    )


def _of_reply(inner: Any, error: Exception, call: Call, litellm: Any) -> ProviderError:
    """Return the error in a reply of status 200, as aggregators of providers send it."""
    message = str(inner.message)
    kind: type[ProviderError] = MalformedReplyError
    cure = "try another model"
    code = str(inner.status_code)
    if re.fullmatch("[45][0-9]{2}", code) and code != _NO_CODE:
        kind, _, cure = _kind_of(int(code), message.lower(), error, litellm)
    failure = kind(f"{call.model}: the reply is an error: {_clean(message, call)}; {cure}", model=call.model)
    # With a status of 200 the model may have run.
    failure.generated = None
    return failure


def _kind_of(
    status: int, lowered: str, error: Exception, litellm: Any
) -> tuple[type[ProviderError], bool | None, str]:
    """Return the class of an error, whether the model may have run, and the cure."""
    kind: type[ProviderError]
    generated: bool | None = False
    cure = "correct the request, or route it to another model"
    if status in (401, 403) or "api key not valid" in lowered:
        kind, cure = AuthenticationError, "check the key and what it is allowed to use"
    elif status == 402 or "insufficient_quota" in lowered or "credit balance is too low" in lowered:
        kind, cure = QuotaExhaustedError, "the account has no quota left: check its plan and billing"
    elif _is_too_long(status, lowered, error, litellm):
        kind, cure = ContextTooLongError, "shorten the prompt, or use a model with a larger window"
    elif status == 429:
        kind, cure = RateLimitError, "wait and retry"
    elif status in (408, 504, 524):
        # After a 408 the server never had the whole request; behind a gateway the model may have run on.
        kind, generated, cure = ProviderTimeoutError, False if status == 408 else None, "retry"
    elif status in (409, 425) or status >= 500:
        kind, cure = ProviderUnavailableError, "wait and retry"
    elif isinstance(error, litellm.ContentPolicyViolationError) or _is_policy(lowered):
        kind, cure = RefusedError, "rephrase the prompt or try another model"
    else:
        kind = InvalidRequestError
    return kind, generated, cure


def _is_too_long(status: int, lowered: str, error: Exception, litellm: Any) -> bool:
    if status == 413 or (status == 429 and "request too large" in lowered):
        return True
    if status not in (400, 422):
        return False
    return (
        isinstance(error, litellm.ContextWindowExceededError)
        or "context_length_exceeded" in lowered
        or "prompt is too long" in lowered
        or "exceeds the maximum number of tokens" in lowered
    )


def _is_policy(lowered: str) -> bool:
    return any(
        phrase in lowered
        for phrase in (
            "content_policy_violation",
            "content_filter",
            "content filtering policy",
            "safety system",
        )
    )


def _of_connection(link: BaseException, links: tuple[BaseException, ...], call: Call) -> ProviderError:
    import httpx

    if isinstance(link, httpx.ConnectTimeout | httpx.PoolTimeout):
        return _timed_out(call, generated=False)
    if isinstance(link, httpx.TimeoutException):
        return _timed_out(call)
    # By name: aiohttp and httpcore need not both be there. httpx's ConnectError alone does not decide, since
    # litellm also makes one of a connection that aiohttp lost in the middle of a reply.
    never_sent = any(
        isinstance(other, ConnectionRefusedError | socket.gaierror)
        or type(other).__name__.startswith("ClientConnector")
        or (type(other).__module__.startswith("httpcore") and type(other).__name__ == "ConnectError")
        for other in links
    )
    what = "no connection" if never_sent else "the connection broke before the whole reply was there"
    error: ProviderError = ProviderUnavailableError(
        f"{call.model}: {what} ({type(link).__name__}: {_clean(str(link), call)}); "
        "check the address and retry",
        model=call.model,
    )
    error.generated = False if never_sent else None
    return error


def _timed_out(call: Call, generated: bool | None = None) -> ProviderError:
    limit = "" if call.timeout_s is None else f" of {call.timeout_s:g} s"
    return ProviderTimeoutError(
        f"{call.model}: no whole reply within the time limit{limit}; allow more time or retry",
        model=call.model,
        generated=generated,
    )


def _unreadable(error: Exception, links: tuple[BaseException, ...], call: Call) -> ProviderError:
    inner = next((link for link in links if isinstance(link, json.JSONDecodeError)), links[-1])
    return MalformedReplyError(
        f"{call.model}: the reply could not be read ({type(inner).__name__}: {_clean(str(inner), call)}); "
        "try another model",
        model=call.model,
    )


def _of_class(error: Exception, links: tuple[BaseException, ...], call: Call, litellm: Any) -> ProviderError:
    """Return the error for what litellm raised with no HTTP exchange behind it that we could see."""
    inner = links[-1]
    if type(inner) is Exception and hasattr(inner, "status_code") and hasattr(inner, "message"):
        return _of_reply(inner, error, call, litellm)
    # litellm goes on to recommend its global drop_params, which would hide the loss.
    message = _clean(str(error).partition(" To drop these")[0], call)
    kinds: tuple[tuple[type[Exception], type[ProviderError]], ...] = (
        (litellm.ContextWindowExceededError, ContextTooLongError),
        (litellm.ContentPolicyViolationError, RefusedError),
        (litellm.AuthenticationError, AuthenticationError),
        (litellm.PermissionDeniedError, AuthenticationError),
        (litellm.RateLimitError, RateLimitError),
        (litellm.BadRequestError, InvalidRequestError),
        (litellm.NotFoundError, InvalidRequestError),
        (litellm.UnprocessableEntityError, InvalidRequestError),
        (litellm.ServiceUnavailableError, ProviderUnavailableError),
        (litellm.BadGatewayError, ProviderUnavailableError),
    )
    if isinstance(error, litellm.Timeout):
        return _timed_out(call)
    for theirs, ours in kinds:
        if isinstance(error, theirs):
            # A filter may have read the answer before it blocked it; the others failed before anything ran.
            free = None if ours is RefusedError else False
            return ours(f"{call.model}: {message}", model=call.model, generated=free)
    if type(inner).__name__ == "OpenAIError" and type(inner).__module__.startswith("openai"):
        # The openai client raises its root class for this alone: it has no key.
        return AuthenticationError(
            f"{call.model}: {_clean(str(inner), call)}", model=call.model, generated=False
        )
    return MalformedReplyError(
        f"{call.model}: litellm could not make the request or read the reply "
        f"({type(inner).__name__}: {_clean(str(inner), call)}); check the request, or try another model",
        model=call.model,
    )


def _body(response: Any) -> str:
    try:
        return str(response.text)
    except Exception:  # noqa: BLE001  no response, or one whose body was never read
        return ""


def _provider_message(body: str, error: Exception, call: Call) -> str:
    """Return the provider's own message, without what litellm wraps around it."""
    try:
        document = json.loads(body)
        if isinstance(document, list) and document:
            document = document[0]
        inner = document["error"]
        message = inner["message"] if isinstance(inner, Mapping) else inner
    except (ValueError, KeyError, TypeError, IndexError):
        message = body or str(error)
    return _clean(str(message), call)


_SHORT = 300
_KEY_SHAPES = re.compile(
    r"(?:sk|pk|rk|gsk|xai|key)-[\w*.…-]{8,}|AIza[\w*-]{8,}|(?i:bearer)\s+[\w.*~+/=-]{8,}"
)
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL")


def _clean(text: str, call: Call) -> str:
    """Return text fit for a message: no key in it, on one line, and short."""
    text = " ".join(_redact(text, call).split())
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."


def _redact(text: str, call: Call) -> str:
    secrets = {value for name, value in os.environ.items() if _SECRET_NAME.search(name.upper())}
    for headers in (call.options.get("headers"), call.params.get("extra_headers")):
        if isinstance(headers, Mapping):
            secrets.update(str(value).removeprefix("Bearer ") for value in headers.values())
    for name, value in (*call.params.items(), *call.options.items()):
        if isinstance(value, str) and _SECRET_NAME.search(name.upper()) and name != "api_key_env":
            secrets.add(value)
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= 8:
            text = text.replace(secret, "[key]")
    return _KEY_SHAPES.sub("[key]", text)


def cause_of(error: Exception, call: Call) -> BaseException | None:
    """Return the exception to chain from, or None where a traceback of it would print a key."""
    for link in _chain(error, None):
        text = str(link)
        if _redact(text, call) != text:
            return None
    return error


def _retry_after_s(headers: Mapping[str, str], body: str) -> float | None:
    """Return how long the provider asks us to wait: Retry-After in either form, or Gemini's RetryInfo."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000.0
    value = headers.get("retry-after")
    if value:
        seconds = _number(value)
        return seconds if seconds is not None else _until_s(value, headers.get("date"))
    delay = re.search(r'"retryDelay"\s*:\s*"([\d.]+)s"', body)
    return None if delay is None else _number(delay.group(1))


def _number(value: str | None) -> float | None:
    try:
        number = float(value) if value else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _until_s(date: str, sent: str | None) -> float | None:
    """Return the seconds until an HTTP date, by the server's own clock where it sent its time."""
    try:
        until = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None
    try:
        now = parsedate_to_datetime(sent).timestamp() if sent else time.time()
    except (TypeError, ValueError):
        now = time.time()
    return max(0.0, until - now)
