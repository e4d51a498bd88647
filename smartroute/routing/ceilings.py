"""The most that a call can cost, or why that is unknown.

Eligibility rules a model out under a budget by `unknown_because`; a run reserves `ceiling(...).usd`. So a
model that is on a ladder under a budget always has a ceiling.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from smartroute.catalog import ModelCard
from smartroute.parameters import GOOGLE_LENGTHS, LENGTHS, asked_choices
from smartroute.pricing import Price
from smartroute.pricing.surcharges import LONG_CACHE, cached_for_long, surcharge
from smartroute.records import Message
from smartroute.routing.abilities import AUDIBLE, required_abilities

_TOKENS_PER_REQUEST = 64
_TOKENS_PER_MESSAGE = 16
_TOKENS_FOR_TOOLS = 1_500
_DESCRIBED = frozenset({"tools", "functions", "response_format"})
_UNMEASURABLE_BYTES = 10**15
"""The size of a value that cannot be written out: more than any budget allows."""

_UNBOUNDED = frozenset({"images", "audio", "video", "files", "audio_output", "image_output"})
"""What is bounded in tokens by nothing but the model's context."""

_OPAQUE = (
    "extra_body",
    "additional_drop_params",
    "cached_content",
    "cachedContent",
    "previous_response_id",
    "num_predict",
)
"""Parameters that may hold anything, lift the answer's limit, or have the provider read what is not sent."""


class Ceiling(NamedTuple):
    """The most that a call can cost in USD; None with the reason where that is unknown."""

    usd: float | None
    unknown_because: str | None = None


def ceiling(
    card: ModelCard, price: Price | None, messages: Sequence[Message], params: Mapping[str, Any]
) -> Ceiling:
    """Return the most that a call can cost.

    `params` are all that the provider gets, the options of the card included, which win.
    """
    needs = required_abilities(params, messages)
    tokens_out = output_ceiling_tokens(params, card.max_output_tokens)
    reason = unknown_because(
        card, price, needs=needs, has_limit=tokens_out is not None, open_cost=open_cost(params, messages)
    )
    if reason is not None or price is None or tokens_out is None:
        return Ceiling(None, reason)
    tokens_in = input_ceiling_tokens(messages, params)
    if card.context_tokens is not None and not _UNBOUNDED.isdisjoint(needs):
        tokens_in = max(tokens_in, card.context_tokens)
    return Ceiling(price.ceiling(tokens_in, tokens_out))


def unknown_because(
    card: ModelCard, price: Price | None, *, needs: frozenset[str], has_limit: bool, open_cost: str | None
) -> str | None:
    """Return why the most that a request can cost with a model is unknown; None when it is known.

    `needs` are the request's abilities, `has_limit` says whether the length of its answer is limited, and
    `open_cost` names what else in it leaves its cost open.
    """
    if open_cost is not None:
        return f"{open_cost} leaves open what a call can cost, so a budget cannot be kept"
    if price is None:
        return "its price is unknown, so a budget cannot be kept"
    if price.audio_apart and not AUDIBLE.isdisjoint(needs):
        return "its price of audio is unknown, so a budget cannot be kept"
    if not has_limit:
        return "the length of its answer has no limit, so a budget cannot be kept; pass max_tokens"
    if card.context_tokens is None and not _UNBOUNDED.isdisjoint(needs):
        kinds = ", ".join(sorted(needs & _UNBOUNDED))
        return (
            f"its context size is unknown, so nothing limits the tokens of {kinds} and a budget cannot be "
            "kept; set context_tokens in the catalog"
        )
    return None


def limits_output(options: Mapping[str, Any], asked_out: int | None, cap: int | None) -> bool:
    """Return whether the length of an answer is limited, by what is asked for or by the model.

    A length among the card's options replaces the one that the caller asks for.
    """
    if cap is not None:
        return True
    if any(name in options for name in LENGTHS):
        return any(options.get(name) for name in LENGTHS)
    return asked_out is not None


def open_cost(params: Mapping[str, Any], messages: Sequence[Message]) -> str | None:
    """Return what in a request keeps the most that it can cost from being known; None when nothing does."""
    reason = next((name for name in _OPAQUE if params.get(name)), None) or surcharge(params)
    if reason is None and cached_for_long(messages, params):
        return LONG_CACHE
    return reason


def input_ceiling_tokens(messages: Sequence[Message], params: Mapping[str, Any]) -> int:
    """Return an upper bound on the input tokens of a text request.

    A byte-level tokenizer never makes more tokens than there are UTF-8 bytes. To the bytes of the messages
    and of all parameters as JSON it adds the chat template's own tokens, and what providers add for tools.
    The bound does not cover images, audio and files.
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


def output_ceiling_tokens(params: Mapping[str, Any], cap: int | None) -> int | None:
    """Return the most output tokens a request can cause, over all its choices; None when unbounded."""
    limits = [int(params[name]) for name in LENGTHS if params.get(name)]
    most = max(limits) if limits else cap
    if most is None:
        return None
    most = max(most, *(int(params.get(name) or 0) for name in GOOGLE_LENGTHS))
    if (prediction := params.get("prediction")) is not None:
        # Rejected tokens of a prediction are billed as if the model had written them.
        most += _json_bytes(prediction)
    return most * asked_choices(params)


def _json_bytes(value: object) -> int:
    try:
        text = json.dumps(value, ensure_ascii=False, default=_schema)
    except Exception:  # noqa: BLE001  an object of the caller's, or one nested too deeply
        try:
            text = repr(value)
        except Exception:  # noqa: BLE001  and it has no repr either
            return _UNMEASURABLE_BYTES
    return len(text.encode("utf-8", "replace"))


def _schema(value: object) -> object:
    describe = getattr(value, "model_json_schema", None)
    return describe() if callable(describe) else repr(value)
