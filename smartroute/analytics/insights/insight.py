"""Say what an insight is, and on which figures it may rest."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

from smartroute.analytics.figures import Figures
from smartroute.analytics.savings import rates_of
from smartroute.analytics.sums import Paired
from smartroute.catalog import Catalog
from smartroute.pricing.price import PriceTable
from smartroute.stats.intervals import Interval
from smartroute.stats.moments import Moments

RATE = 0.05
"""How likely an insight of one name may be where there is nothing to see, over all its subjects together."""

ENOUGH_LABELS = 30

GROUPINGS: tuple[tuple[str, ...], ...] = (
    (),
    ("kind",),
    ("model",),
    ("complexity", "model"),
    ("kind", "complexity", "model"),
    ("model", "day"),
)
"""The figures that insights rest on."""


@dataclass(frozen=True, slots=True)
class Insight:
    """Something that is worth acting on, with its evidence.

    `value` is what is claimed of `subject` (a kind, a model, or all requests), in the unit that the claim
    names, with the interval that cleared the threshold: at level 1 - `false_alarm_rate` divided by the
    number of subjects tested. None where nothing was sampled, as with prices. `saves_usd` is what
    following the suggestion would have saved in the period; None where money is not the point.
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
        luck = (
            f"false alarms in at most {self.false_alarm_rate:.0%} of reports"
            if self.false_alarm_rate
            else "prices, not a sample"
        )
        told = (
            f"{self.claim}.",
            f"n = {self.n}, {days}; {luck}",
            self.suggestion,
            f"expected: {self.effect}",
        )
        return "\n  ".join(" ".join(part.split()) for part in told)  # names may hold line breaks


@dataclass(frozen=True, slots=True)
class Evidence:
    """The figures of GROUPINGS, and what else may be known: prices, models, and whose labels count."""

    tables: Mapping[tuple[str, ...], Mapping[tuple[str | None, ...], Figures]]
    prices: PriceTable | None = None
    catalog: Catalog | None = None
    label_source: str = "user"

    @property
    def total(self) -> Figures:
        """Return the figures of everything."""
        return self.tables[()].get((), Figures())

    def by(self, name: str) -> dict[str, Figures]:
        """Return the figures by one dimension, without those of no value."""
        return {key[0]: figures for key, figures in self.tables[name,].items() if key[0] is not None}

    def labels(self, figures: Figures) -> Moments:
        """Return what was said of the quality of these answers."""
        said = figures.labels.get(self.label_source)
        return Moments() if said is None else said.quality

    def rates(self, model: str) -> tuple[float, ...] | None:
        """Return the prices of a model in USD a token, None when they are unknown."""
        price = None if self.prices is None else self.prices.price(model, warn=False)
        return None if price is None else rates_of(model, price, self.catalog)


def level_for(subjects: int, parts: int = 1) -> float:
    """Return the level that keeps RATE over so many subjects, each with so many intervals (Bonferroni)."""
    return 1.0 - RATE / (max(1, subjects) * parts)


def z(level: float) -> float:
    """Return how many standard errors an interval at this level reaches to either side."""
    return NormalDist().inv_cdf((1 + level) / 2)


def saved(pairs: Paired, level: float = 0.95) -> tuple[float, Interval]:
    """Return what the second of two prices would have saved in USD, and its large-sample interval."""
    value = pairs.cost - pairs.baseline
    squares = pairs.cost_squares - 2 * pairs.products + pairs.baseline_squares
    n = max(2, pairs.n)
    half = z(level) * math.sqrt(max(0.0, squares - value * value / n) * n / (n - 1))
    return value, Interval(value - half, value + half, level)


def told_usd(value: float, interval: Interval | None, of_usd: float) -> str:
    """Return an amount in words, with its interval and its share of the whole."""
    text = f"${value:,.4g}"
    if interval is not None:
        text += f" [{interval.low:,.4g}, {interval.high:,.4g}]"
    return text + (f", {value / of_usd:.1%} of what was spent" if of_usd > 0 else "")


def told(interval: Interval) -> str:
    """Return an interval of shares in words."""
    return f"[{interval.low:.1%}, {interval.high:.1%}]"
