"""Check numbers that a caller sets: finite, no bool, no text, within limits."""

from __future__ import annotations

import math
from typing import TypeGuard

from smartroute.errors import ConfigError, SmartRouteError, shown


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a finite int or float; a bool is not, nor an int that no float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an int above 1.8e308
        return False


def checked_number(
    value: object,
    name: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    error: type[SmartRouteError] = ConfigError,
) -> float:
    """Return a finite number as a float.

    `least` and `most` belong to the range, `above` and `below` do not.
    Raises `error`, which names the setting, its value and what it may be.
    """
    if is_number(value) and _within(value, least, above, most, below):
        return float(value)
    limits = _limits(least, above, most, below)
    raise error(f"{name} must be a finite number{limits}, got {shown(value)}{_cure(value)}")


def checked_whole(
    value: object,
    name: str,
    *,
    least: int | None = None,
    most: int | None = None,
    error: type[SmartRouteError] = ConfigError,
) -> int:
    """Return a whole number. A float is refused, also one without a fraction.

    Raises `error`, which names the setting, its value and what it may be.
    """
    if isinstance(value, int) and not isinstance(value, bool) and _within(value, least, None, most, None):
        return int(value)
    limits = _limits(least, None, most, None)
    raise error(f"{name} must be a whole number{limits}, got {shown(value)}{_cure(value)}")


def checked_share(value: object, name: str, *, error: type[SmartRouteError] = ConfigError) -> float:
    """Return a number from 0 to 1, both included, as a float. Raises `error` for anything else."""
    if is_number(value) and 0.0 <= value <= 1.0:
        return float(value)
    raise error(f"{name} must lie in [0, 1], got {shown(value)}{_cure(value)}")


def _within(
    value: float, least: float | None, above: float | None, most: float | None, below: float | None
) -> bool:
    return (
        (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
        and (below is None or value < below)
    )


def _limits(least: float | None, above: float | None, most: float | None, below: float | None) -> str:
    """Return limits in words, as in " of at least 0 and below 1"."""
    limits = (("at least", least), ("above", above), ("at most", most), ("below", below))
    # 15 digits write 1000000, where the default writes 1e+06.
    words = " and ".join(f"{word} {limit:.15g}" for word, limit in limits if limit is not None)
    return f" of {words}" if words.startswith("at") else f" {words}" if words else ""


def _cure(value: object) -> str:
    """Return what to do about a value that means a number but is not one of Python's own."""
    from numbers import Number  # needed for a message only

    if isinstance(value, bool):
        return "; pass a number, not a bool"
    if isinstance(value, str):
        return "; pass a number, not text" if _reads_as_number(value) else ""
    # NumPy's integers and 32-bit floats, Decimal, Fraction.
    if isinstance(value, Number) and not isinstance(value, int | float | complex):
        return "; pass a plain int or float"
    return ""


def _reads_as_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
