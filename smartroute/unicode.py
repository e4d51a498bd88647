"""Replace lone surrogates, which UTF-8 cannot encode. Text that was cut or decoded badly has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def well_formed(text: str) -> str:
    """Return the text with lone surrogates as U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def well_formed_in(value: Any) -> Any:
    """Return a value of dicts and lists in which no text has lone surrogates. Raises RecursionError."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, Mapping):
        return {well_formed_in(name): well_formed_in(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [well_formed_in(inner) for inner in value]
    return value
