"""Find the nearest value that an event's field can hold, whatever a user's part gave. Never raise."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from smartroute.unicode import well_formed

Scalar: TypeAlias = int | float | str | bool | None

is_finite = math.isfinite
MOST_COUNT = 2**63 - 1
"""The largest count that is kept: databases hold no more."""


def are_plain(words: Iterable[Any]) -> bool:
    """Return whether all of these are ASCII text."""
    try:
        return "".join(words).isascii()
    except TypeError:
        return False


def are_finite(values: Collection[Any], more: float) -> bool:
    """Return whether all of these are finite numbers or text."""
    try:
        total = sum(values, more)
    except Exception:  # noqa: BLE001  text, or somebody else's number
        if not _SCALARS.issuperset(map(type, values)):
            return False
        return are_finite([value for value in values if type(value) is not str], more)
    return type(total) is float and is_finite(total)


_SCALARS = frozenset({int, float, str, bool})


def as_word(value: object) -> str | None:
    if type(value) is str and value.isascii():
        return value
    return None if value is None else said(value)


def as_number(value: object) -> float | None:
    if type(value) is not float:
        if value is None or isinstance(value, bool | str | bytes | bytearray):
            return None
        try:
            value = float(value)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001  somebody else's number
            return None
    return value if is_finite(value) else None


def as_count(value: object) -> int | None:
    if type(value) is not int:
        found = as_number(value)
        if found is None or found != found // 1:
            return None
        value = int(found)
    return value if -MOST_COUNT <= value <= MOST_COUNT else None


def as_flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def as_truth(value: object) -> bool:
    try:
        return bool(value)
    except Exception:  # noqa: BLE001  somebody else's __bool__
        return False


def as_words(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(map(said, values))


def as_labels(labels: Mapping[str, str]) -> dict[str, str]:
    return {said(name): said(value) for name, value in labels.items()}


def as_scalars(values: Mapping[str, object]) -> dict[str, Scalar]:
    return {said(name): _scalar(value) for name, value in values.items()}


def _scalar(value: object) -> Scalar:
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int:
        return as_count(value)
    if isinstance(value, str):
        return well_formed(str(value))
    try:
        return as_number(float(value))  # type: ignore[arg-type]
    except Exception:  # noqa: BLE001  somebody else's object
        return said(value)


def as_it_is(value: Any) -> Any:
    return value


def clean(value: Any, depth: int = 0, budget: Iterator[int] | None = None) -> Any:
    """Return the nearest thing that JSON in UTF-8 can hold."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, int):
        return int(value) if value.bit_length() <= _MOST_BITS else None
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    budget = budget or itertools.count()
    if depth > _DEEPEST or next(budget) > _MOST_CLEANED:
        return None
    try:
        if isinstance(value, Mapping):
            return {said(name): clean(each, depth + 1, budget) for name, each in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [clean(each, depth + 1, budget) for each in value]
        found = float(value)
    except Exception:  # noqa: BLE001  somebody else's object may raise anything
        return said(value)
    return found if math.isfinite(found) else None


# A line that is nested more deeply than about 200 levels cannot be read; a double has 1,024 bits.
_DEEPEST, _MOST_CLEANED, _MOST_BITS = 64, 100_000, 1_023


def said(value: object) -> str:
    """Return the text of anything; of what has none, its type."""
    try:
        return well_formed(value if type(value) is str else str(value))
    except Exception:  # noqa: BLE001  somebody else's __str__
        return type(value).__name__
