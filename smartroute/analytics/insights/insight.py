"""The record of an insight, and the evidence that insights are computed from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from smartroute.analytics.figures import Figures
from smartroute.analytics.savings import rates_of, z_value
from smartroute.analytics.sums import Paired
from smartroute.catalog import Catalog
from smartroute.pricing import PriceTable
from smartroute.stats.intervals import Interval
from smartroute.stats.moments import Moments

RATE = 0.05
"""The highest probability of a false alarm of one insight, over all its subjects together."""

GROUPINGS: tuple[tuple[str, ...], ...] = (
    (),
    ("kind",),
    ("model",),
    ("complexity", "model"),
    ("kind", "complexity", "model"),
    ("model", "day"),
)
"""The groupings of a log that insights are computed from."""


@dataclass(frozen=True, slots=True)
class Insight:
    """A finding that is worth acting on, with its evidence.

    `value` is the claimed figure of `subject` (a kind, a model, or all requests), in the unit that the claim
    names. `interval` is the one that cleared the threshold, at level 1 - `false_alarm_rate` divided by the
    number of subjects tested. It is None where nothing was sampled, as with prices. `saves_usd` is what
    following the suggestion would have saved in the period; None where the insight is not about money.
    """

    name: str
    subject: str
    claim: str
    value: float
    interval: Interval | None
    n: int
    since: str | None
    until: str | None
    suggestion: str
    effect: str
    saves_usd: float | None = None
    false_alarm_rate: float = RATE

    def explain(self) -> str:
        """Return the insight in words, in four lines: claim, evidence, suggestion, effect."""
        days = f"{(self.since or '?')[:10]} to {(self.until or '?')[:10]}"
        chance = (
            f"false alarms in at most {self.false_alarm_rate:.0%} of reports"
            if self.false_alarm_rate
            else "prices, not a sample"
        )
        lines = (
            f"{self.claim}.",
            f"n = {self.n}, {days}; {chance}",
            self.suggestion,
            f"expected: {self.effect}",
        )
        return "\n  ".join(" ".join(line.split()) for line in lines)  # names may contain line breaks


@dataclass(frozen=True, slots=True)
class Evidence:
    """The figures of GROUPINGS, with prices and models where known, and the label source that counts."""

    tables: Mapping[tuple[str, ...], Mapping[tuple[str | None, ...], Figures]]
    prices: PriceTable | None = None
    catalog: Catalog | None = None
    label_source: str = "user"

    @property
    def total(self) -> Figures:
        """Return the figures of everything."""
        return self.tables[()].get((), Figures())

    def by(self, name: str) -> dict[str, Figures]:
        """Return the figures by one dimension, without the group that has no value."""
        return {key[0]: figures for key, figures in self.tables[name,].items() if key[0] is not None}

    def labels(self, figures: Figures) -> Moments:
        """Return the quality labels of these answers, by the label source that counts."""
        labels = figures.labels.get(self.label_source)
        return Moments() if labels is None else labels.quality

    def rates(self, model: str) -> tuple[float, ...] | None:
        """Return the prices of a model in USD a token, None when they are unknown."""
        price = None if self.prices is None else self.prices.price(model, warn=False)
        return None if price is None else rates_of(model, price, self.catalog)


def level_for(subjects: int, parts: int = 1) -> float:
    """Return the level that keeps RATE over so many subjects, each with so many intervals (Bonferroni)."""
    return 1.0 - RATE / (max(1, subjects) * parts)


def cost_difference(pairs: Paired, level: float = 0.95) -> tuple[float, Interval]:
    """Return what the second of two prices would have saved in USD, and its large-sample interval."""
    value = pairs.cost - pairs.baseline
    squares = pairs.cost_squares - 2 * pairs.products + pairs.baseline_squares
    n = max(2, pairs.n)
    half = z_value(level) * math.sqrt(max(0.0, squares - value * value / n) * n / (n - 1))
    return value, Interval(value - half, value + half, level)


def amount(value: float, interval: Interval | None, of_usd: float) -> str:
    """Return an amount in USD as text, with its interval and its share of the total."""
    text = f"${value:,.4g}"
    if interval is not None:
        text += f" [{interval.low:,.4g}, {interval.high:,.4g}]"
    return text + (f", {value / of_usd:.1%} of what was spent" if of_usd > 0 else "")


def share_limits(interval: Interval) -> str:
    """Return an interval of shares as text."""
    return f"[{interval.low:.1%}, {interval.high:.1%}]"
