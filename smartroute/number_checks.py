"""Check numbers that a caller sets: finite, no bool, no text, within limits."""

from __future__ import annotations

import math

from smartroute.errors import ConfigError, SmartRouteError, shown


def is_number(value: object) -> bool:
    """Return whether a value is a finite int or float; a bool is not, nor is an int too large for a float."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # such as 10**400
        return False


def checked_number(
    value: object,
    name: str,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    error: type[SmartRouteError] = ConfigError,
) -> float:
    """Return a finite number as a float.

    `least` and `most` are included in the range, `above` is not.
    Raises `error`, which names the setting, its value and what it may be.
    """
    if is_number(value) and _within(value, least, above, most):  # type: ignore[arg-type]
        return float(value)  # type: ignore[arg-type]
    raise error(
        f"{name} must be a finite number{_limits(least, above, most)}, got {shown(value)}{_cure(value)}"
    )


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
    if isinstance(value, int) and not isinstance(value, bool) and _within(value, least, None, most):
        return int(value)
    raise error(
        f"{name} must be a whole number{_limits(least, None, most)}, got {shown(value)}{_cure(value)}"
    )


def checked_share(value: object, name: str, *, error: type[SmartRouteError] = ConfigError) -> float:
    """Return a number from 0 to 1, both included, as a float. Raises `error` for anything else."""
    if is_number(value) and 0.0 <= value <= 1.0:  # type: ignore[operator]
        return float(value)  # type: ignore[arg-type]
    raise error(f"{name} must lie in [0, 1], got {shown(value)}{_cure(value)}")


def _within(value: float, least: float | None, above: float | None, most: float | None) -> bool:
    return (
        (least is None or value >= least)
        and (above is None or value > above)
        and (most is None or value <= most)
    )


def _limits(least: float | None, above: float | None, most: float | None) -> str:
    limits = [
        f"{words} {limit:g}"
        for words, limit in ((" of at least", least), (" above", above), (" of at most", most))
        if limit is not None
    ]
    return " and".join(limits)


def _cure(value: object) -> str:
    """Return what to do about a number that was passed as text."""
    if not isinstance(value, str):
        return ""
    try:
        float(value)
    except ValueError:
        return ""
    return "; pass a number, not text"
