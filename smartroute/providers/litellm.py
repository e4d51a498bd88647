"""Call models through litellm: the only file that imports it, and that knows its replies and errors.

What this changes in the process, once, at the first call or at `warmup`: LITELLM_LOCAL_MODEL_COST_MAP and
LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS are set to True unless they are set (or litellm fetches its price map
and a table of headers from the network), and `litellm.suppress_debug_info` becomes True (or it prints a
banner for every error). Nothing else of litellm is touched: `drop_params`, callbacks and caches stay the
application's, and its callbacks hear of our calls. A cache never answers for us, though: a ledger holds real
calls.

Known limits: `litellm.model_fallbacks`, and `litellm.num_retries` on the synchronous path, cannot be
switched off for one call; leave both unset. For some providers litellm downloads http images itself.
"""

from __future__ import annotations

import json
import math
import os
import re
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Any

from smartroute.errors import (
    AuthenticationError,
    ContextTooLongError,
    FinalError,
    InvalidRequestError,
    MalformedReplyError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitError,
    RefusedError,
)
from smartroute.records import Call, Reply, Usage

_NO_KEY = "no-key-needed"
_OURS = frozenset({"stream", "fallbacks", "context_window_fallback_dict", "model_list"})
# Their address is always the account's own, or their credentials are no API key: nothing to protect.
_OWN_ADDRESS = frozenset(
    {
        "azure",
        "azure_ai",
        "bedrock",
        "bedrock_converse",
        "databricks",
        "litellm_proxy",
        "sagemaker",
        "sagemaker_chat",
        "snowflake",
        "vertex_ai",
        "watsonx",
    }
)
_NOT_PARAMETERS = frozenset({"api_key_env", "headers"})


class QuotaExhaustedError(FinalError):
    """The account has no credit or quota left: a 429 (or 402, or 400) that no wait cures."""

    kind = "rate_limit"
    generated = False


class LiteLLMProvider:
    """A provider that reaches every model litellm knows. Stateless: safe in any thread and event loop.

    `Call.options` may hold `api_base`, `api_key_env` (the name of the variable, read at each call),
    `headers`, and whatever else litellm takes (`api_version`, `aws_region_name`, ...). A call with an
    `api_base` of its own and no `api_key_env` gets a placeholder key: the provider's real one never goes
    to an address it does not belong to.

    `Call.timeout_s` bounds the wait for each part of the reply (to connect, to read); the router bounds
    an asynchronous call as a whole.
    """

    simulated = False
    needs_keys = True

    def send(self, call: Call) -> Reply:
        """Make one call and return its reply. Raises ProviderError, and nothing else, when there is none."""
        handled = sys.exception()
        try:
            return _reply(_litellm().completion(**_arguments(call)), call)
        except ProviderError:
            raise
        except Exception as error:  # noqa: BLE001
            raise _failure(error, call, handled) from _cause(error, call)

    async def asend(self, call: Call) -> Reply:
        """Do what `send` does, without blocking the event loop."""
        handled = sys.exception()
        try:
            litellm = _litellm()
            arguments = _arguments(call)
            unheard = _unheard(litellm, arguments)
            if unheard is None:
                return _reply(await litellm.acompletion(**arguments), call)
            token = unheard.set(True)
            try:
                return _reply(await litellm.acompletion(**arguments), call)
            finally:
                unheard.reset(token)
        except ProviderError:
            raise
        except Exception as error:  # noqa: BLE001
            raise _failure(error, call, handled) from _cause(error, call)

    def warmup(self) -> None:
        """Import litellm now (seconds of CPU) rather than during the first call."""
        _litellm()

    def close(self) -> None:
        """Do nothing: connections are litellm's, shared by the whole process, and closed when it exits."""

    async def aclose(self) -> None:
        """Do nothing, for the reason given at `close`: another router in this loop may be using them."""


_module: Any = None
_internal_call: Any = None


def _litellm() -> Any:
    global _module, _internal_call
    if _module is None:
        os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        os.environ.setdefault("LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS", "True")
        import litellm

        litellm.suppress_debug_info = True
        try:
            from litellm._internal_context import is_internal_call
        except ImportError:
            pass
        else:
            _internal_call = is_internal_call
        _module = litellm
    return _module


_LISTENERS = (
    "callbacks",
    "success_callback",
    "failure_callback",
    "input_callback",
    "service_callback",
    "_async_success_callback",
    "_async_failure_callback",
)
_LISTENING_PARAMETERS = frozenset({"callbacks", "success_callback", "failure_callback", "logger_fn"})


def _unheard(litellm: Any, arguments: Mapping[str, Any]) -> Any:
    """Return the switch that keeps litellm from logging a call, or None when somebody listens.

    Its log of calls costs a tenth of a call and, shared by all event loops, fails loudly when two are
    running, even if nobody has registered a callback. The switch is its own, but private: without it
    the call is merely slower.
    """
    if _internal_call is None or not _LISTENING_PARAMETERS.isdisjoint(arguments):
        return None
    if getattr(litellm, "max_budget", None):
        return None
    for name in _LISTENERS:
        # Importing litellm's Gemini client registers its cache, which never answers for us.
        if any(listener != "cache" for listener in getattr(litellm, name, None) or ()):
            return None
    return _internal_call


def _arguments(call: Call) -> dict[str, Any]:
    if not _OURS.isdisjoint(call.params) and any(call.params.get(name) for name in _OURS):
        names = sorted(name for name in _OURS if call.params.get(name))
        raise InvalidRequestError(
            f"{call.model}: {', '.join(names)} cannot be passed to a single call; leave it out",
            model=call.model,
        )
    arguments = dict(call.params)
    # litellm edits messages in place here and there; the caller's must survive.
    arguments.update(
        model=call.target,
        messages=[dict(message) for message in call.messages],
        num_retries=0,
        max_retries=0,
        caching=False,
    )
    if call.timeout_s is not None:
        arguments["timeout"] = call.timeout_s
    if call.effort is not None:
        arguments["reasoning_effort"] = call.effort
    if call.options:
        _connect(arguments, call)
    return arguments


def _connect(arguments: dict[str, Any], call: Call) -> None:
    options = call.options
    for name, value in options.items():
        if name not in _NOT_PARAMETERS and value is not None:
            arguments[name] = value
    if options.get("headers"):
        arguments["extra_headers"] = {**options["headers"], **(arguments.get("extra_headers") or {})}
    variable = options.get("api_key_env")
    if variable:
        key = os.environ.get(variable)
        if not key:
            raise AuthenticationError(
                f"{call.model}: the environment variable {variable} is not set; set it to the provider's key",
                model=call.model,
            )
        arguments["api_key"] = key
    elif (
        options.get("api_base")
        and not arguments.get("api_key")
        and call.target.partition("/")[0] not in _OWN_ADDRESS
    ):
        arguments["api_key"] = _NO_KEY


def _reply(response: Any, call: Call) -> Reply:
    try:
        raw = response.model_dump()
    except AttributeError:
        raw = dict(response) if isinstance(response, Mapping) else {}
    usage = _usage(raw.get("usage"))
    choices = raw.get("choices")
    choice = choices[0] if choices else None
    message = choice.get("message") if choice else None
    if choice is None or message is None:
        raise MalformedReplyError(
            f"{call.model}: the reply has no {'message' if choices else 'choices'}; try another model",
            model=call.model,
            usage=usage,
        )
    finish_reason = choice.get("finish_reason")
    if finish_reason == "content_filter":
        raise RefusedError(
            f"{call.model}: the provider's filter blocked the answer; rephrase it or try another model",
            model=call.model,
            usage=usage,
        )
    tool_calls = message.get("tool_calls")
    return Reply(
        text=_text(message),
        usage=usage,
        finish_reason=finish_reason,
        logprobs=_logprobs(choice.get("logprobs")),
        tool_calls=tuple(tool_calls) if tool_calls else (),
        raw=raw,
        model=raw.get("model"),
    )


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str) and content:
        return content
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, Mapping))
    # OpenAI puts a model's own refusal beside the content, and litellm keeps it here.
    refusal = (message.get("provider_specific_fields") or {}).get("refusal") or message.get("refusal")
    return refusal if isinstance(refusal, str) else ""


def _usage(counts: Mapping[str, Any] | None) -> Usage | None:
    if not counts:
        return None
    input_tokens = counts.get("prompt_tokens") or 0
    output_tokens = counts.get("completion_tokens") or 0
    if not input_tokens and not output_tokens:
        # litellm fills in zeros where the provider counted nothing; no prompt has no tokens.
        return None
    of_input = counts.get("prompt_tokens_details") or {}
    of_output = counts.get("completion_tokens_details") or {}
    cached = of_input.get("cached_tokens") or counts.get("cache_read_input_tokens") or 0
    written = (
        of_input.get("cache_write_tokens")
        or of_input.get("cache_creation_tokens")
        or counts.get("cache_creation_input_tokens")
        or 0
    )
    reasoning = of_output.get("reasoning_tokens") or 0
    if reasoning and counts.get("total_tokens") == input_tokens + output_tokens + reasoning:
        # Some servers count reasoning beside the answer, not in it.
        output_tokens += reasoning
    return Usage(input_tokens, output_tokens, cached, written, reasoning)


def _logprobs(logprobs: Any) -> tuple[float, ...] | None:
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not content:
        return None
    values = tuple(token.get("logprob") for token in content)
    return (
        values if all(isinstance(value, int | float) and math.isfinite(value) for value in values) else None
    )


def _failure(error: Exception, call: Call, handled: BaseException | None) -> ProviderError:
    """Return our error for whatever litellm raised.

    litellm turns a dropped connection, a bad reply and an HTTP 500 into the same class, so what decides is
    the chain of causes: the HTTP response if there was one, else what the connection met, else bad JSON.
    `handled` is what was already being handled when the call began; the chain of this call ends there.
    """
    import httpx

    links = tuple(_chain(error, handled))
    for link in links:
        if isinstance(link, httpx.HTTPStatusError):
            return _of_response(link.response, error, call)
    for link in links:
        if isinstance(link, httpx.TransportError):
            return _of_connection(link, links, call)
    if any(isinstance(link, TimeoutError) for link in links):
        return _timed_out(call)
    if getattr(error, "litellm_response_headers", None) or any(
        isinstance(link, json.JSONDecodeError) for link in links
    ):
        return _unreadable(error, links, call)
    return _of_class(error, links, call)


def _chain(error: BaseException, handled: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and link is not handled and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _of_response(response: Any, error: Exception, call: Call) -> ProviderError:
    litellm = _litellm()
    status: int = response.status_code
    body = _body(response)
    said = _said(body, error, call)
    lowered = body.lower()
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
    return kind(
        f"{call.model}: HTTP {status}: {said}; {cure}",
        model=call.model,
        status=status,
        retry_after_s=_retry_after_s(response.headers, body),
        generated=generated,
    )


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


def _of_connection(link: Exception, links: tuple[BaseException, ...], call: Call) -> ProviderError:
    import httpx

    if isinstance(link, httpx.ConnectTimeout | httpx.PoolTimeout):
        return _timed_out(call, generated=False)
    if isinstance(link, httpx.TimeoutException):
        return _timed_out(call)
    # By name: aiohttp and httpcore need not both be there. httpx's ConnectError alone does not tell, since
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
    inner = links[-1]
    return MalformedReplyError(
        f"{call.model}: the reply could not be read ({type(inner).__name__}: {_clean(str(inner), call)}); "
        "try another model",
        model=call.model,
    )


def _of_class(error: Exception, links: tuple[BaseException, ...], call: Call) -> ProviderError:
    """Return the error for what litellm raised with no HTTP exchange behind it that we could see."""
    litellm = _litellm()
    # litellm goes on to recommend its global drop_params, which would hide the loss.
    said = _clean(str(error).partition(" To drop these")[0], call)
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
            return ours(f"{call.model}: {said}", model=call.model, generated=free)
    inner = links[-1]
    if type(inner).__name__ == "OpenAIError" and type(inner).__module__.startswith("openai"):
        # The openai client says this, and nothing else, with its root class: it has no key.
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
    except Exception:  # noqa: BLE001
        return ""


def _said(body: str, error: Exception, call: Call) -> str:
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


def _cause(error: Exception, call: Call) -> BaseException | None:
    """Return the exception to chain from, or None where a traceback of it would print a key."""
    for link in _chain(error, None):
        said = str(link)
        if _redact(said, call) != said:
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
    """Return the seconds until an HTTP date, by the server's own clock where it told the time."""
    try:
        until = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None
    try:
        now = parsedate_to_datetime(sent).timestamp() if sent else time.time()
    except (TypeError, ValueError):
        now = time.time()
    return max(0.0, until - now)
