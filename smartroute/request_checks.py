"""Check what a caller sends: messages in OpenAI chat format, and the kind, labels and requirements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from smartroute.errors import TaskError, shown
from smartroute.unicode import well_formed, well_formed_in

_ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})


def checked_text(value: object, name: str) -> str:
    """Return the text, with lone surrogates as U+FFFD. Raises TaskError for a value that is not text."""
    if not isinstance(value, str):
        raise TaskError(f"{name} must be a string, got {type(value).__name__}")
    return well_formed(value)


def checked_name(value: object, name: str) -> str | None:
    """Return a name that is not empty; None stays None. Raises TaskError."""
    if value is None:
        return None
    text = checked_text(value, name)
    if not text.strip():
        raise TaskError(f"{name} must not be empty; leave it out instead")
    return text


def checked_kind(value: object) -> str:
    """Return the kind of a task in lower case; "general" for None or blank text. Raises TaskError."""
    if value is None:
        return "general"
    if isinstance(value, StrEnum):
        value = value.value
    text = checked_text(value, "kind").strip().lower()
    return text or "general"


def checked_requirements(value: object) -> frozenset[str]:
    """Return the names of the requirements that are true. Raises TaskError."""
    if not value:
        return frozenset()
    if isinstance(value, str):
        return frozenset({value})
    if isinstance(value, Mapping):
        return frozenset(str(name) for name, wanted in value.items() if wanted)
    if isinstance(value, Sequence | frozenset | set) and all(isinstance(name, str) for name in value):
        return frozenset(value)
    raise TaskError(f"requirements must be a dict of booleans or a list of names, got {shown(value)}")


def checked_labels(value: object) -> Mapping[str, str]:
    """Return the labels, a dict from text to text. Raises TaskError."""
    if not value:
        return {}
    if not isinstance(value, Mapping) or not all(
        isinstance(name, str) and isinstance(label, str) for name, label in value.items()
    ):
        raise TaskError(f"labels must be a dict from text to text, got {shown(value)}")
    return {name: checked_text(label, f"labels[{name!r}]") for name, label in value.items()}


def checked_messages(prompt: object) -> tuple[Mapping[str, Any], ...]:
    """Return the messages of a prompt; a string becomes one user message. Raises TaskError."""
    if isinstance(prompt, str):
        text = checked_text(prompt, "prompt")
        if not text.strip():
            raise TaskError("the prompt is empty; pass some text, or messages=[...] in OpenAI chat format")
        return ({"role": "user", "content": text},)
    if prompt is None or isinstance(prompt, Mapping | bytes) or not isinstance(prompt, Sequence):
        raise TaskError(
            "the prompt must be a string or a list of messages in OpenAI chat format, "
            f"got {type(prompt).__name__}"
        )
    if not prompt:
        raise TaskError("messages is empty; pass at least one message")
    messages = tuple(_message(message, index) for index, message in enumerate(prompt))
    if all(_is_empty(message) for message in messages):
        raise TaskError("every message is empty; at least one needs content")
    return messages


def _is_empty(message: Mapping[str, Any]) -> bool:
    content = message.get("content")
    blank = content.isspace() if isinstance(content, str) else False
    return (blank or not content) and not message.get("tool_calls")


def _message(message: object, index: int) -> Mapping[str, Any]:
    if not isinstance(message, Mapping):
        raise TaskError(
            f"messages[{index}] must be a dict with role and content, got {type(message).__name__}"
        )
    role = message.get("role")
    if not isinstance(role, str) or role not in _ROLES:
        raise TaskError(f"messages[{index}] has role {shown(role)}; use one of {sorted(_ROLES)}")
    if not all(isinstance(key, str) for key in message):
        raise TaskError(f"messages[{index}] has a key that is not text")
    calls = message.get("tool_calls")
    if calls is not None and not (
        isinstance(calls, Sequence) and all(isinstance(call, Mapping) for call in calls)
    ):
        raise TaskError(f"messages[{index}].tool_calls must be a list of dicts, got {shown(calls)}")
    content = message.get("content")
    if isinstance(content, str):
        if len(message) == 2:
            return {**message, "content": well_formed(content)}
    elif isinstance(content, Sequence) and all(isinstance(part, Mapping) for part in content):
        for part in content:
            _check_part(part, f"messages[{index}].content")
        message = {**message, "content": list(content)}
    elif content is not None:
        raise TaskError(
            f"messages[{index}].content must be a string, a list of parts or None, "
            f"got {type(content).__name__}"
        )
    try:
        return dict(well_formed_in(message))
    except RecursionError:
        raise TaskError(f"messages[{index}] is nested too deeply to be sent") from None


def _check_part(part: Mapping[str, Any], where: str) -> None:
    kind = part.get("type")
    if kind is not None and not isinstance(kind, str):
        raise TaskError(f"{where} has a part of type {shown(kind)}; a type is text, such as 'image_url'")
    text = part.get("text")
    if text is not None and not isinstance(text, str):
        raise TaskError(f"{where} must be a string, got {type(text).__name__}")
