"""Determine what a request needs of a model: abilities, effort, and the length of its answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from smartroute.parameters import LENGTHS
from smartroute.records import Message

AUDIBLE = frozenset({"audio", "video", "audio_output"})
"""Abilities that bring audio tokens into a request or its answer."""

_NONE: frozenset[str] = frozenset()
_PART_ABILITY = {
    "image_url": "images",
    "image": "images",
    "input_image": "images",
    "input_audio": "audio",
    "audio_url": "audio",
    "file": "files",
    "input_file": "files",
    "document": "files",
    "video_url": "video",
    "video": "video",
    "input_video": "video",
}
_TEXT_PARTS = frozenset(
    {
        None,
        "text",
        "input_text",
        "output_text",
        "refusal",
        "thinking",
        "redacted_thinking",
        "reasoning",
        "tool_use",
        "tool_result",
        "server_tool_use",
        "search_result",
    }
)
_PARAM_ABILITY = {
    "tools": "tools",
    "functions": "tools",
    "tool_choice": "tools",
    "logprobs": "logprobs",
    "top_logprobs": "logprobs",
    "reasoning_effort": "effort",
}


def required_abilities(params: Mapping[str, Any], messages: Sequence[Message]) -> frozenset[str]:
    """Return the abilities that a request needs: from its parameters and from the parts of its messages."""
    needs: set[str] = set()
    if params:
        needs.update(
            _PARAM_ABILITY[name] for name, value in params.items() if value and name in _PARAM_ABILITY
        )
        if (modalities := params.get("modalities")) and any(kind != "text" for kind in modalities):
            needs.update(f"{kind}_output" for kind in modalities if kind != "text")
        if has_schema(params):
            needs.add("json_schema")
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            types = {part.get("type") for part in content}
            needs.update(_part_ability(kind) for kind in types - _TEXT_PARTS)
        if message.get("role") == "tool" or message.get("tool_calls"):
            needs.add("tools")
    return frozenset(needs) if needs else _NONE


def _part_ability(kind: str) -> str:
    """Return the ability that a part of a message needs; a part of an unknown type counts as a file."""
    return "tools" if kind.endswith("_tool_result") else _PART_ABILITY.get(kind, "files")


def has_schema(params: Mapping[str, Any]) -> bool:
    """Return whether the answer must follow a JSON schema; plain JSON mode is not one."""
    response_format = params.get("response_format")
    return response_format is not None and not (
        isinstance(response_format, Mapping) and response_format.get("type") != "json_schema"
    )


def asked_effort(params: Mapping[str, Any]) -> str | None:
    """Return the effort that the caller asks for; None when that is left open."""
    return str(params["reasoning_effort"]) if "reasoning_effort" in params else None


def asked_output(params: Mapping[str, Any]) -> int | None:
    """Return the most tokens that the caller lets an answer have; None when that is left open."""
    lengths = [params[name] for name in LENGTHS if params.get(name)]
    return int(max(lengths)) if lengths else None
