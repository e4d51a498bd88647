"""Coerce any value to the nearest one that JSON can hold. Never raise.

For records that users' own classifiers, strategies and providers filled: their values may be of any type.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from smartroute.unicode import well_formed

Scalar: TypeAlias = int | float | str | bool | None

MOST_COUNT = 2**63 - 1
"""The largest count that is kept: databases hold no more."""


def text_of(value: object) -> str:
    """Return the text of a value, without lone surrogates. The name of its type where `str` fails."""
    try:
        return well_formed(value if type(value) is str else str(value))
    except Exception:  # noqa: BLE001  a user's __str__ may raise anything
        return type(value).__name__


def as_text(value: object) -> str | None:
    """Return the text of a value; None stays None."""
    if type(value) is str and value.isascii():
        return value
    return None if value is None else text_of(value)


def as_number(value: object) -> float | None:
    """Return a finite number as a float; None for text, a bool, or what is not finite."""
    if type(value) is not float:
        if value is None or isinstance(value, bool | str | bytes | bytearray):
            return None
        try:
            value = float(value)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001  a user's __float__ may raise anything
            return None
    return value if math.isfinite(value) else None


def as_count(value: object) -> int | None:
    """Return a whole number that fits into 64 bits; None for anything else."""
    if type(value) is not int:
        number = as_number(value)
        if number is None or number != number // 1:
            return None
        value = int(number)
    return value if -MOST_COUNT <= value <= MOST_COUNT else None


def as_flag(value: object) -> bool | None:
    """Return a bool; None for anything else."""
    return value if isinstance(value, bool) else None


def as_bool(value: object) -> bool:
    """Return the truth of a value; False where it has none."""
    try:
        return bool(value)
    except Exception:  # noqa: BLE001  a user's __bool__ may raise anything
        return False


def as_texts(values: Iterable[object]) -> tuple[str, ...]:
    """Return the text of each value."""
    return tuple(map(text_of, values))


def as_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return a dict from text to text."""
    return {text_of(name): text_of(value) for name, value in labels.items()}


def as_scalar(value: object) -> Scalar:
    """Return a number, text, a bool or None. What is not finite becomes None, any other object its text."""
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int:
        return as_count(value)
    if isinstance(value, str):
        return well_formed(str(value))
    try:
        return as_number(float(value))  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  a user's __float__ may raise anything
        return text_of(value)


def as_scalars(values: Mapping[str, object]) -> dict[str, Scalar]:
    """Return a dict from text to scalars."""
    return {text_of(name): as_scalar(value) for name, value in values.items()}


def as_json(value: Any, depth: int = 0, budget: Iterator[int] | None = None) -> Any:
    """Return the nearest value that JSON in UTF-8 can hold.

    A number that is not finite becomes None, any other object its text. What is nested more than 64 levels
    deep, or comes after 100,000 values, becomes None.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _MOST_BITS else None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    budget = budget or itertools.count()
    if depth > _DEEPEST or next(budget) > _MOST_VALUES:
        return None
    try:
        if isinstance(value, Mapping):
            return {text_of(name): as_json(inner, depth + 1, budget) for name, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [as_json(inner, depth + 1, budget) for inner in value]
        number = float(value)
    except Exception:  # noqa: BLE001  a user's object may raise anything
        return text_of(value)
    return number if math.isfinite(number) else None


# A line that is nested more deeply than about 200 levels cannot be read; a double has 1,024 bits.
_DEEPEST, _MOST_VALUES, _MOST_BITS = 64, 100_000, 1_023
