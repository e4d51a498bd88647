"""Measure, hash and quote the messages of a request for the log. Never raise."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from smartroute.records.json_values import text_of

if TYPE_CHECKING:
    from smartroute.records import Message

_log = logging.getLogger("smartroute")


def measure(messages: Sequence[Message], key: bytes | None) -> tuple[int, str | None]:
    """Return the characters of text in the messages, and the keyed hash of their roles and contents.

    Role and length come before each content, so that no two conversations hash the same bytes.
    """
    chars = 0
    digest = _keyed(key).copy() if key else None
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            chars += len(content)
            form, data = "text", content.encode("utf-8", "surrogatepass")
        else:
            chars += sum(map(len, _texts(content)))
            form, data = _canonical(content)
        if digest is not None:
            role = message.get("role")
            if type(role) is not str or not role.isascii():
                role = text_of(role)
            digest.update(f"{role}\0{form}\0{len(data)}\0".encode())
            digest.update(data)
    return chars, None if digest is None else digest.hexdigest()


@functools.lru_cache(maxsize=16)
def _keyed(key: bytes) -> hashlib.blake2b:
    """Return a hash that has already processed its key: half of the work on a short prompt."""
    return hashlib.blake2b(key=key, digest_size=16)


def _canonical(content: Any) -> tuple[str, bytes]:
    """Return the form of content in parts, and its bytes. Content that is not JSON gives its texts."""
    try:
        if not content:
            return "none", b""
        return "parts", json.dumps(content, sort_keys=True, skipkeys=True, default=str).encode()
    except Exception:  # noqa: BLE001  cyclic, deep, of mixed keys, or with an object that raises
        return "texts", json.dumps(_texts(content)).encode()


def _texts(content: Any) -> list[str]:
    """Return the texts of a message's parts."""
    if not isinstance(content, list | tuple):
        return [content] if isinstance(content, str) else []
    return [
        text for part in content if isinstance(part, Mapping) and isinstance(text := part.get("text"), str)
    ]


def transcript(messages: Sequence[Message]) -> str:
    """Return the text of the messages: a single one as it is, several with their roles before them."""
    texts = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        else:
            parts = content if isinstance(content, list | tuple) else ()
            texts.append("\n".join([_part(part) for part in parts]))
    if len(texts) == 1:
        return texts[0]
    return "\n\n".join(
        f"{text_of(message.get('role'))}: {text}" for message, text in zip(messages, texts, strict=True)
    )


def _part(part: object) -> str:
    """Return the text of a part, or its type in brackets."""
    if not isinstance(part, Mapping):
        return f"[{type(part).__name__}]"
    text = part.get("text")
    return text if isinstance(text, str) and text else f"[{text_of(part.get('type'))}]"


def redacted(text: str, redact: Callable[[str], str] | None) -> str | None:
    """Return the redacted text; None where `redact` raises, which is logged."""
    if redact is None:
        return text
    try:
        return str(redact(text))
    except Exception as error:  # noqa: BLE001  a user's function must not cost the event, nor let the text through
        _log.warning("redact raised %s; the text stays out of the log", type(error).__name__)
        return None
