"""Decide whether a reply can be used, whatever a user's own provider returns."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from smartroute.records import Failure, Reply, Usage

_log = logging.getLogger("smartroute")
_MOST_TOKENS = 10**12
_WHOLE = frozenset({int})


def usable(result: Reply | Failure) -> Reply | Failure:
    """Return the reply, or the failure that it is when it holds neither text nor a tool call."""
    if isinstance(result, Failure):
        return result if _is_sound(result.usage) else replace(result, usage=None)
    odd = _odd_field(result)
    usage = result.usage if _is_sound(result.usage) else None
    if odd is not None:
        return Failure("malformed", f"the provider's reply has {odd}", usage=usage)
    if usage is not result.usage:
        _log.warning("a reply's usage is not a Usage of whole numbers of at least 0: its cost is unknown")
        result = replace(result, usage=None)
    if result.finish_reason == "content_filter":
        return Failure("refused", "the provider's filter blocked the answer", usage=result.usage)
    if result.text.strip() or result.tool_calls:
        return result
    cut = ": max_tokens was used up before any text" if result.finish_reason == "length" else ""
    return Failure("empty", f"the reply has neither text nor a tool call{cut}", usage=result.usage)


def _odd_field(reply: Reply) -> str | None:
    """Return what in a reply contradicts its record's types, where a user's own provider built it."""
    if not isinstance(reply.text, str):
        return f"text of type {type(reply.text).__name__}"
    if reply.finish_reason is not None and not isinstance(reply.finish_reason, str):
        return f"finish_reason of type {type(reply.finish_reason).__name__}"
    if not isinstance(reply.tool_calls, tuple) or not all(isinstance(c, Mapping) for c in reply.tool_calls):
        return "tool_calls that are not a tuple of dicts"
    if reply.logprobs is not None and not (
        isinstance(reply.logprobs, tuple) and all(isinstance(value, int | float) for value in reply.logprobs)
    ):
        return "logprobs that are not a tuple of numbers"
    return None if isinstance(reply.raw, Mapping) else f"raw of type {type(reply.raw).__name__}"


def _is_sound(usage: object) -> bool:
    """Return whether counts can be charged: all whole numbers of at least 0. None is sound: unknown."""
    if usage is None:
        return True
    if not isinstance(usage, Usage):
        return False
    counts = (
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        usage.cache_write_tokens,
        usage.reasoning_tokens,
        usage.audio_tokens,
    )
    if usage.surcharge is not None and not isinstance(usage.surcharge, str):
        return False
    return _WHOLE.issuperset(map(type, counts)) and min(counts) >= 0 and max(counts) <= _MOST_TOKENS
