"""Hold what a rule looks at: a value, how many stand behind it, and how far it may lie from the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["", "share", "usd", "s", "deviations"]

LEVEL = 0.95
"""The level of every interval beside a reading."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A value over `n` of something, its 95% interval where one is known, and what else is evidence.

    `of` says what was counted, `note` adds evidence in words; `since` and `until` are given where the period
    is not that of the window. An infinite limit is one that the data cannot set.
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
    """Return a number with `n` significant digits, or all before the point; never as a power of ten."""
    if abs(value) >= 10**n:
        return f"{value:,.0f}"
    text = f"{value:.{n}g}"
    return f"{Decimal(text):f}" if "e" in text else text


def moment(text: str | None) -> str:
    """Return the time of an event to the minute; what is no time, as it is."""
    if text is None:
        return "an unknown time"
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return text
    return found.strftime("%Y-%m-%d %H:%M UTC")
