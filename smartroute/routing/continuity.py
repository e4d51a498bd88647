"""Which provider a conversation is tied to, while its tool calls are open or its thinking is signed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from smartroute.concurrency.locks import fork_safe_lock
from smartroute.records import Message

UNKNOWN_PROVIDER = "?"
"""The conversation must stay with its provider, but nothing in it shows which one that is."""


class OpenConversations:
    """Which provider issued which tool call, for the last `size` tool calls. Thread-safe."""

    def __init__(self, size: int = 10_000) -> None:
        self._size = size
        self._issuers: OrderedDict[str, str] = OrderedDict()
        self._lock = fork_safe_lock()

    def remember(self, tool_calls: Sequence[Mapping[str, Any]], provider: str) -> None:
        """Record that a provider issued these tool calls."""
        with self._lock:
            for call in tool_calls:
                if isinstance(identity := call.get("id"), str):
                    self._issuers[identity] = provider
            while len(self._issuers) > self._size:
                self._issuers.popitem(last=False)

    def provider_of(self, messages: Sequence[Message]) -> str | None:
        """Return the provider that must continue this conversation.

        None when any provider may; UNKNOWN_PROVIDER when it is tied, but to a provider that is not known.
        """
        if len(messages) < 2:
            return None
        turn = _open_turn(messages)
        if turn is None:
            return None
        identities = [call.get("id") for call in turn.get("tool_calls") or () if isinstance(call, Mapping)]
        for identity in identities:
            if (provider := self._issuers.get(str(identity))) is not None:
                return provider
        if _signed_by_anthropic(turn):
            return "anthropic"
        if _signed_by_gemini(turn):
            return "gemini"
        if any(str(identity).startswith("toolu_") for identity in identities):
            return "anthropic"
        return UNKNOWN_PROVIDER


def _open_turn(messages: Sequence[Message]) -> Message | None:
    """Return the assistant's last turn when it ties the conversation.

    Tool calls are open until the user speaks again; signed thinking ties until the assistant's next turn.
    """
    user_spoke = False
    for message in reversed(messages):
        role = message.get("role")
        if role == "assistant":
            signed = _signed_by_anthropic(message) or _signed_by_gemini(message)
            return message if signed or (message.get("tool_calls") and not user_spoke) else None
        user_spoke = user_spoke or (role == "user" and not _is_tool_result(message))
    return None


def _is_tool_result(message: Message) -> bool:
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(part, Mapping) and part.get("type") == "tool_result" for part in content
    )


def _signed_by_anthropic(message: Message) -> bool:
    if message.get("thinking_blocks"):
        return True
    content = message.get("content")
    return isinstance(content, list) and any(
        isinstance(part, Mapping) and part.get("type") in ("thinking", "redacted_thinking")
        for part in content
    )


def _signed_by_gemini(message: Message) -> bool:
    holders = [message, *(call for call in message.get("tool_calls") or () if isinstance(call, Mapping))]
    for holder in holders:
        fields = holder.get("provider_specific_fields")
        if isinstance(fields, Mapping) and (
            fields.get("thought_signature") or fields.get("thought_signatures")
        ):
            return True
    return any("__thought__" in str(call.get("id")) for call in holders[1:])
