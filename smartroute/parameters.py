"""Know which parameters of a chat completion a caller may pass through, and which are the router's own."""

from __future__ import annotations

import difflib
import functools
import json
import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any

from smartroute.errors import TaskError, shown
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
"""What would make of one call several, one of another model, or none, and what to do instead."""
_RESERVED = {
    **BEHIND_THE_LEDGER,
    "model": "the router chooses the model; use preferred_model to have a say",
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
"""What a task takes beside the provider's parameters: one misspelled would be lost among these."""
_PARAMETERS = (
    *("temperature", "top_p", "n", "seed", "stop", "max_tokens", "max_completion_tokens"),
    *("presence_penalty", "frequency_penalty", "logit_bias", "logprobs", "top_logprobs"),
    *("response_format", "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call"),
    *("reasoning_effort", "thinking", "verbosity", "modalities", "audio", "prediction"),
    *("web_search_options", "service_tier", "safety_identifier", "store", "metadata", "user"),
    *("prompt_cache_key", "prompt_cache_retention", "stream_options", "extra_headers", "extra_body"),
)
"""What OpenAI's chat completions take, and litellm beside them. Providers take many more of their own."""
_OF_PROVIDERS = frozenset({"speed", "log_probs"})
"""Those of their own that look like one of these misspelled."""
_ALIKE = 0.85
_NOT_MISSPELT = frozenset({"conversation"})
LENGTHS = ("max_tokens", "max_completion_tokens")
"""What limits the length of an answer, everywhere."""
GOOGLE_LENGTHS = ("max_output_tokens", "maxOutputTokens")
"""The same in Google's words, which win there and count for nothing elsewhere."""
_CHOICES = frozenset({"n", "candidate_count", "candidateCount"})
"""What asks for several answers at once."""
_COUNTS = frozenset({*LENGTHS, *GOOGLE_LENGTHS, *_CHOICES})


def checked_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that go to the provider: those that are not None.

    Raises TaskError for one that is the router's own, of a wrong type, or that no request could carry
    (everything but a pydantic model must be what JSON can say).
    """
    if not isinstance(params, Mapping):
        raise TaskError(f"params must be a dict, got {type(params).__name__}")
    found: dict[str, Any] = {}
    for name, value in params.items():
        if not isinstance(name, str):
            raise TaskError(f"the name of a parameter must be text, got {type(name).__name__}")
        if name == "stream" and not value:
            continue
        if name in _RESERVED:
            raise TaskError(f"{name} cannot be passed through: {_RESERVED[name]}")
        if name in _OPTIONS:
            raise TaskError(f"{name} is no parameter of the provider's; pass it beside params, not in it")
        if (meant := _misspelled_option(name)) is not None:
            raise TaskError(f"there is no option {name!r}; did you mean {meant}?")
        if value is not None:
            _tell_if_misspelled(name)
            found[well_formed(name)] = value
    if found.get("stream"):
        raise TaskError(
            "stream=True is not supported yet: leave it out, the whole answer is returned at once"
        )
    for name, count in found.items():
        if name not in _COUNTS:
            continue
        if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= _MOST_TOKENS:
            raise TaskError(f"{name} must be a whole number from 1 to {_MOST_TOKENS:,}, got {shown(count)}")
    if found:
        _check_types(found)
        _make_sendable(found)
    return found


def asked_choices(params: Mapping[str, Any]) -> int:
    """Return how many answers the caller asks for at once."""
    asked = _CHOICES.intersection(params)
    return max([int(params[name] or 1) for name in asked]) if asked else 1


@functools.lru_cache(maxsize=1_000)
def _misspelled_option(name: str) -> str | None:
    """Return the option that a name was meant for: a limit nobody keeps would be found out too late."""
    if name in _NOT_MISSPELT:
        return None
    return next(iter(difflib.get_close_matches(name, _OPTIONS, n=1, cutoff=_ALIKE)), None)


@functools.lru_cache(maxsize=1_000)
def _tell_if_misspelled(name: str) -> None:
    """Log once that a name looks like a parameter misspelled: many a provider ignores what it does not know.

    It is passed on all the same, for it may be a parameter of that provider's own.
    """
    if name in _PARAMETERS or name in _OF_PROVIDERS:
        return
    for meant in difflib.get_close_matches(name, _PARAMETERS, n=1, cutoff=_ALIKE):
        _log.warning("%s is passed on as it is, and looks like %s misspelled", shown(name), meant)


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
        if number is not None and (isinstance(number, bool) or not isinstance(number, int | float)):
            raise TaskError(f"{name} must be a number, got {shown(number)}")


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
        except Exception as error:  # noqa: BLE001  somebody else's object may raise anything
            raise TaskError(
                f"{name} cannot be sent as JSON ({type(error).__name__}): {shown(value)}"
            ) from None


_ESCAPED_SURROGATE = "\\ud"
"""What every surrogate is written with in JSON of ASCII, those of a pair too."""


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
