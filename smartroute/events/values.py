"""Check whether values fit an event's fields as they are, and coerce those that do not. Never raise."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from math import isfinite
from typing import Any

from smartroute.records.json_values import (
    as_bool,
    as_count,
    as_flag,
    as_labels,
    as_number,
    as_scalars,
    as_text,
    as_texts,
    text_of,
)


def are_plain(texts: Iterable[Any]) -> bool:
    """Return whether all of these are ASCII text."""
    try:
        return "".join(texts).isascii()
    except TypeError:
        return False


def are_finite(values: Collection[Any], more: float) -> bool:
    """Return whether all of these are finite numbers or text."""
    try:
        total = sum(values, more)
    except Exception:  # noqa: BLE001  text, or a user's own number type
        if not _SCALARS.issuperset(map(type, values)):
            return False
        return are_finite([value for value in values if type(value) is not str], more)
    return type(total) is float and isfinite(total)


_SCALARS = frozenset({int, float, str, bool})


def _unchanged(value: Any) -> Any:
    return value


NEAREST: dict[str, Callable[[Any], Any]] = {
    "int": _unchanged,
    "Literal['outcome', 'feedback']": _unchanged,
    "str": text_of,
    "bool": as_bool,
    "str | None": as_text,
    "float | None": as_number,
    "int | None": as_count,
    "bool | None": as_flag,
    "tuple[str, ...]": as_texts,
    "tuple[AttemptRecord, ...]": _unchanged,
    "Mapping[str, Scalar]": as_scalars,
    "Mapping[str, str]": as_labels,
    "Mapping[str, Any]": _unchanged,
}
"""How a field's value is coerced, by the field's annotation."""
