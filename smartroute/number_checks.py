"""Check a number that somebody sets, before anything rests on it."""

from __future__ import annotations

import math

from smartroute.errors import ConfigError


def checked_number(value: object, name: str, *, least: float = -math.inf, above: float = -math.inf) -> float:
    """Return a finite number. Raises ConfigError naming it, its value and what it may be."""
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= least
        and value > above
    ):
        return float(value)
    limits = (
        f" of at least {least:g}" if least > -math.inf else f" above {above:g}" if above > -math.inf else ""
    )
    raise ConfigError(f"{name} must be a finite number{limits}, got {value!r:.40}")
