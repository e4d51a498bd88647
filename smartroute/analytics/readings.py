"""Readings, which alert rules evaluate: a value, the number of cases behind it, and its interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["", "share", "usd", "s", "deviations"]

LEVEL = 0.95
"""The confidence level of every reading's interval."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A value over `n` cases, its 95% interval where one is known, and further evidence.

    `of` names the cases, and `note` is further evidence in words. `since` and `until` are given where the
    period is not that of the window. A limit is infinite where the data cannot set one.
    """

    value: float
    n: int
    low: float | None = None
    high: float | None = None
    unit: Unit = ""
    of: str = "requests"
    note: str = ""
    since: str | None = None
    until: str | None = None

    def words(self) -> str:
        """Return the value and its interval in words."""
        value = in_words(self.value, self.unit)
        if self.low is None or self.high is None or self.low == -math.inf:
            return value
        high = "more" if self.high == math.inf else in_words(self.high, self.unit)
        return f"{value} (95% interval {in_words(self.low, self.unit)} to {high})"


def in_words(value: float, unit: Unit) -> str:
    """Return a value with its unit."""
    if unit == "share":
        return f"{value:.1%}"
    if unit == "usd":
        return f"${value:,.2f}" if abs(value) >= 100 else f"${digits(value, 4)}"
    if unit == "s":
        return f"{digits(value, 3)} s"
    if unit == "deviations":
        return f"{value:.1f} deviations"
    return digits(value, 4)


def digits(value: float, n: int) -> str:
    """Return a number with `n` significant digits, or all before the point, and never with an exponent."""
    if abs(value) >= 10**n:
        return f"{value:,.0f}"
    text = f"{value:.{n}g}"
    return f"{Decimal(text):f}" if "e" in text else text


def moment(text: str | None) -> str:
    """Return the time of an event to the minute. A text that is not a time is returned unchanged."""
    if text is None:
        return "an unknown time"
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return text
    return parsed.strftime("%Y-%m-%d %H:%M UTC")
