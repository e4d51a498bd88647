"""Check the parameters of a chat completion that a caller passes through to a provider."""

from __future__ import annotations

import difflib
import functools
import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from smartroute.errors import TaskError, shown
from smartroute.number_checks import checked_number, checked_whole
from smartroute.unicode import well_formed, well_formed_in

_log = logging.getLogger("smartroute")
_MOST_TOKENS = 1_000_000_000
_RETRIES = "the router retries; use RouterConfig(retry=RetryPolicy(...))"
_LADDER = "the ladder is the fallback; use a FixedLadder strategy to choose it"
_MADE_UP = "use smartroute.testing.ScriptedProvider for made-up answers"
BEHIND_THE_LEDGER = {
    "num_retries": _RETRIES,
    "max_retries": _RETRIES,
    "retry_policy": _RETRIES,
    "retry_strategy": _RETRIES,
    "fallbacks": _LADDER,
    "context_window_fallback_dict": _LADDER,
    "model_list": "the ladder is the list; use a FixedLadder strategy to choose it",
    "mock_response": _MADE_UP,
    "mock_tool_calls": _MADE_UP,
    "mock_timeout": _MADE_UP,
}
"""Parameters by which one call would become several, go to another model, or not be made; and the cure."""
_RESERVED = {
    **BEHIND_THE_LEDGER,
    "model": "the router chooses the model; use preferred_model to influence that",
    "timeout": "use timeout_s for the task, or RouterConfig(call_timeout_s=...) for one call",
    "request_timeout": "use timeout_s for the task, or RouterConfig(call_timeout_s=...) for one call",
    "custom_llm_provider": "the router chooses the provider; a ModelCard's target names it",
    "deployment_id": "the router chooses the model; a ModelCard's target names a deployment",
    "api_key": "keys come from the environment; a card may name its variable in api_key_env",
    "api_base": "give the model a card of its own: ModelCard(..., api_base=...)",
    "base_url": "give the model a card of its own: ModelCard(..., api_base=...)",
    "type": "use kind",
    "task_type": "use kind",
}
_OPTIONS = (
    "messages",
    "kind",
    "requirements",
    "complexity_override",
    "preferred_model",
    "subject",
    "unit",
    "tenant",
    "conversation_id",
    "labels",
    "max_usd",
    "timeout_s",
    "repair",
)
"""Options of a task, beside the provider's parameters. A misspelled option would pass for a parameter."""
_PARAMETERS = (
    *("temperature", "top_p", "n", "seed", "stop", "max_tokens", "max_completion_tokens"),
    *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"),
    *("response_format", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"),
    *("reasoning_effort", "thinking", "verbosity", "modalities", "audio", "prediction"),
    *("web_search_options", "service_tier", "safety_identifier", "store", "metadata", "user"),
    *("prompt_cache_key", "prompt_cache_retention", "stream_options", "extra_headers", "extra_body"),
)
"""Parameters of OpenAI's chat completions, and litellm's additions. Providers have many more of their own."""
_OF_PROVIDERS = frozenset({"speed", "log_probs"})
"""Providers' own parameters that look like a misspelled one of these."""
_ALIKE = 0.85
_NOT_MISSPELT = frozenset({"conversation"})
LENGTHS = ("max_tokens", "max_completion_tokens")
"""Parameters that limit the length of an answer, for every provider."""
GOOGLE_LENGTHS = ("max_output_tokens", "maxOutputTokens")
"""Google's names for the same. They take precedence there, and other providers ignore them."""
_CHOICES = frozenset({"n", "candidate_count", "candidateCount"})
"""Parameters that ask for several answers at once."""
_COUNTS = frozenset({*LENGTHS, *GOOGLE_LENGTHS, *_CHOICES})


def checked_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that go to the provider: those that are not None.

    Raises TaskError for an option of the router, a value of a wrong type, or a value that cannot be sent
    (all values but a pydantic model must be JSON).
    """
    if not isinstance(params, Mapping):
        raise TaskError(f"params must be a dict, got {type(params).__name__}")
    passed: dict[str, Any] = {}
    for name, value in params.items():
        if not isinstance(name, str):
            raise TaskError(f"the name of a parameter must be text, got {type(name).__name__}")
        if name == "stream" and not value:
            continue
        if name in _RESERVED:
            raise TaskError(f"{name} cannot be passed through: {_RESERVED[name]}")
        if name in _OPTIONS:
            raise TaskError(f"{name} is a router option; pass it as a keyword, not inside params")
        if (meant := _misspelled_option(name)) is not None:
            raise TaskError(f"there is no option {name!r}; did you mean {meant}?")
        if value is not None:
            _warn_if_misspelled(name)
            passed[well_formed(name)] = value
    if passed.get("stream"):
        raise TaskError(
            "stream=True is not supported yet: leave it out, the whole answer is returned at once"
        )
    for name, count in passed.items():
        if name not in _COUNTS:
            continue
        checked_whole(count, name, least=1, most=_MOST_TOKENS, error=TaskError)
    if passed:
        _check_types(passed)
        _make_sendable(passed)
    return passed


def asked_choices(params: Mapping[str, Any]) -> int:
    """Return how many answers the caller asks for at once."""
    asked = _CHOICES.intersection(params)
    return max([int(params[name] or 1) for name in asked]) if asked else 1


@functools.lru_cache(maxsize=1_000)
def _misspelled_option(name: str) -> str | None:
    """Return the option that a name was meant for. A misspelled limit would silently not apply."""
    if name in _NOT_MISSPELT:
        return None
    return next(iter(difflib.get_close_matches(name, _OPTIONS, n=1, cutoff=_ALIKE)), None)


@functools.lru_cache(maxsize=1_000)
def _warn_if_misspelled(name: str) -> None:
    """Log once that a name looks like a misspelled parameter, because many providers ignore unknown ones.

    It is passed on all the same: it may be a parameter of that provider.
    """
    if name in _PARAMETERS or name in _OF_PROVIDERS:
        return
    for meant in difflib.get_close_matches(name, _PARAMETERS, n=1, cutoff=_ALIKE):
        _log.warning("%s is passed on as it is, but looks like a misspelled %s", shown(name), meant)


def _check_types(params: Mapping[str, Any]) -> None:
    for name in ("tools", "functions"):
        tools = params.get(name)
        if tools is not None and not _are(tools, Mapping):
            raise TaskError(f"{name} must be a list of dicts, got {shown(tools)}")
    wanted = params.get("response_format")
    if wanted is not None and not isinstance(wanted, Mapping) and not _is_model(wanted):
        raise TaskError(f"response_format must be a dict or a pydantic model class, got {shown(wanted)}")
    stop = params.get("stop")
    if stop is not None and not isinstance(stop, str) and not _are(stop, str):
        raise TaskError(f"stop must be a string or a list of strings, got {shown(stop)}")
    spoken = params.get("modalities")
    if spoken is not None and not _are(spoken, str):
        raise TaskError(f"modalities must be a list of strings, got {shown(spoken)}")
    for name in ("extra_headers", "headers"):
        headers = params.get(name)
        if headers is not None and not (
            isinstance(headers, Mapping) and _are([*headers, *headers.values()], str)
        ):
            raise TaskError(f"{name} must be a dict from text to text, got {type(headers).__name__}")
    body = params.get("extra_body")
    if body is not None and not isinstance(body, Mapping):
        raise TaskError(f"extra_body must be a dict, got {shown(body)}")
    for name in ("temperature", "top_p", "frequency_penalty", "presence_penalty"):
        number = params.get(name)
        if number is not None:
            checked_number(number, name, error=TaskError)


def _make_sendable(params: dict[str, Any]) -> None:
    for name, value in params.items():
        kind = type(value)
        if kind is int or kind is bool or (kind is float and math.isfinite(value)):
            continue
        if kind is str:
            params[name] = well_formed(value)
            continue
        try:
            if _ESCAPED_SURROGATE in json.dumps(value, default=_as_json, allow_nan=False):
                params[name] = well_formed_in(value)
        except RecursionError:
            raise TaskError(f"{name} is nested too deeply to be sent") from None
        except Exception as error:  # noqa: BLE001  a user's object may raise anything
            raise TaskError(
                f"{name} cannot be sent as JSON ({type(error).__name__}): {shown(value)}"
            ) from None


_ESCAPED_SURROGATE = "\\ud"
"""How every surrogate starts in ASCII JSON, also one that is half of a pair."""


def _as_json(value: object) -> object:
    if _is_model(value) or hasattr(value, "model_dump"):
        return None
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _is_model(value: object) -> bool:
    return isinstance(value, type) and hasattr(value, "model_json_schema")


def _are(values: object, kind: type | Any) -> bool:
    return (
        isinstance(values, Sequence)
        and not isinstance(values, str | bytes)
        and all(isinstance(value, kind) for value in values)
    )
