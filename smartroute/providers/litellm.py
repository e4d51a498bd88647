"""Call models through litellm. The only module that imports it and reads its replies.

What this changes in the process, once, at the first call or at `warmup`: LITELLM_LOCAL_MODEL_COST_MAP and
LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS are set to True unless they are set (or litellm fetches its price map and
a table of headers from the network), and `litellm.suppress_debug_info` becomes True (or it prints a banner
for every error). Nothing else of litellm is touched: `drop_params`, callbacks and caches stay the
application's, and its callbacks see our calls. Its cache never answers one, though: a ledger holds real
calls.

Known limits: `litellm.model_fallbacks`, and `litellm.num_retries` on the synchronous path, cannot be
switched off for one call; leave both unset. For some providers litellm downloads http images itself.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from typing import Any

from smartroute.errors import (
    AuthenticationError,
    InvalidRequestError,
    MalformedReplyError,
    ProviderError,
    RefusedError,
)
from smartroute.parameters import BEHIND_THE_LEDGER
from smartroute.pricing.surcharges import LONG_CACHE, surcharged_mode
from smartroute.providers.litellm_errors import cause_of, failure_of
from smartroute.records import Call, Reply, Usage

_NO_KEY = "no-key-needed"
_OURS = frozenset({"stream", *BEHIND_THE_LEDGER})
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
        """Make one call and return its reply. Raises ProviderError, and nothing else."""
        handled = sys.exception()
        try:
            return _reply(_litellm().completion(**_arguments(call)), call)
        except ProviderError:
            raise
        except Exception as error:  # noqa: BLE001
            raise failure_of(error, call, handled, _module) from cause_of(error, call)

    async def asend(self, call: Call) -> Reply:
        """Do what `send` does, without blocking the event loop."""
        handled = sys.exception()
        try:
            litellm = _litellm()
            arguments = _arguments(call)
            switch = _logging_switch(litellm, arguments)
            if switch is None:
                return _reply(await litellm.acompletion(**arguments), call)
            token = switch.set(True)
            try:
                return _reply(await litellm.acompletion(**arguments), call)
            finally:
                switch.reset(token)
        except ProviderError:
            raise
        except Exception as error:  # noqa: BLE001
            raise failure_of(error, call, handled, _module) from cause_of(error, call)

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


def _logging_switch(litellm: Any, arguments: Mapping[str, Any]) -> Any:
    """Return the switch that keeps litellm from logging a call, or None when the application listens.

    Its log of calls costs a tenth of a call and, shared by all event loops, fails loudly when two are
    running, even without any registered callback. The switch is its own, but private: without it
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
    # litellm edits messages in place and keeps a log in `metadata`; the caller's own must survive.
    arguments = {
        name: dict(value) if isinstance(value, dict) else value for name, value in call.params.items()
    }
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
    usage = _usage(raw.get("usage"), raw.get("service_tier"))
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


def _usage(counts: Mapping[str, Any] | None, tier: object) -> Usage | None:
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
    audio = (of_input.get("audio_tokens") or 0) + (of_output.get("audio_tokens") or 0)
    surcharge = _surcharge(counts, tier)
    return Usage(input_tokens, output_tokens, cached, written, reasoning, audio, surcharge)


def _surcharge(counts: Mapping[str, Any], tier: object) -> str | None:
    """Return what the provider says it charged beyond tokens at the plain rates.

    An account may be set to a service tier or a region that no request names, and a model may search where
    it need not. Only the reply shows that.
    """
    mode = surcharged_mode({"service_tier": tier}) or surcharged_mode(counts)
    if mode is not None:
        return mode
    of_input = counts.get("prompt_tokens_details") or {}
    kept = of_input.get("cache_creation_token_details") or {}
    if any(kept.get(name) for name in ("ephemeral_1h_input_tokens", "ephemeral_12h_input_tokens")):
        return LONG_CACHE
    searches = of_input.get("web_search_requests") or (counts.get("server_tool_use") or {}).get(
        "web_search_requests"
    )
    if searches or counts.get("num_search_queries"):
        return "a web search"
    if (counts.get("completion_tokens_details") or {}).get("image_tokens"):
        return "an image"
    return None


def _logprobs(logprobs: Any) -> tuple[float, ...] | None:
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if not content:
        return None
    values = tuple(token.get("logprob") for token in content)
    return (
        values if all(isinstance(value, int | float) and math.isfinite(value) for value in values) else None
    )
