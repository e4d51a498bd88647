"""Know when a figure needs somebody's attention: what is measured, past which thresholds, and how surely."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal, TypeAlias, get_args

from smartroute.analytics.alerts.forecast import Period, budget_reading, hour_spending, request_cost
from smartroute.analytics.alerts.hours import Hours
from smartroute.analytics.figures import Figures
from smartroute.analytics.readings import LEVEL, Reading
from smartroute.analytics.savings import against_declared
from smartroute.errors import ConfigError
from smartroute.number_checks import checked_number
from smartroute.stats.intervals import wilson

Level: TypeAlias = Literal["warning", "critical"]
Side: TypeAlias = Literal["above", "below"]
Measure: TypeAlias = Callable[[Figures], Reading | None]


@dataclass(frozen=True, slots=True)
class OfHours:
    """A measure that reads hours, and not the figures of the window."""

    read: Callable[[Hours], Reading | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """When to raise an alert and when to take it back.

    It is raised when `measure` is above `raise_at` (below, for `when="below"`), over at least `least_n`
    requests, and is taken back when the value is at or past `clear_at`: the gap between the two keeps a value
    that hovers about the threshold from ringing all the time. `level` is what it is raised as; with
    `critical_at` it becomes critical past that, and a warning again when the value is at or past `raise_at`.

    Past a threshold means surely past: not the value but the end of its 95% interval that is nearer to the
    good side, so that the noise of few requests does not ring: seen through 60 requests at a time, a true
    rate of 25% rings a rule at 30% in at most 1 window of 100, and by its value in more than 1 of 10. The
    intervals are Wilson's for shares, that of a ratio for savings, the large-sample one for mean confidence,
    and the score interval for quantiles. `surely=False` lets the value alone decide on `raise_at`;
    `critical_at` always wants the interval. A reading without one is decided by its value.

    Raises ConfigError when the thresholds are the wrong way round.
    """

    name: str
    measure: Measure | OfHours
    raise_at: float
    clear_at: float
    least_n: int
    suggestion: str
    level: Level = "warning"
    when: Side = "above"
    critical_at: float | None = None
    surely: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.measure, OfHours) and not callable(self.measure):
            raise ConfigError(
                f"rule {self.name}: measure must be a function or OfHours, got {self.measure!r:.40}"
            )
        for name, known in (("when", get_args(Side)), ("level", get_args(Level))):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"rule {self.name}: {name} must be {' or '.join(known)}, got {getattr(self, name)!r:.40}"
                )
        for name in ("raise_at", "clear_at", "critical_at"):
            value = getattr(self, name)
            if value is not None or name != "critical_at":
                checked_number(value, f"rule {self.name}: {name}")
        if self.past(self.clear_at, self.raise_at):
            raise ConfigError(
                f"rule {self.name}: raised {self.when} {self.raise_at:g}, so clear_at must lie on the "
                f"other side of it, got {self.clear_at:g}"
            )
        if self.critical_at is not None and self.past(self.raise_at, self.critical_at):
            raise ConfigError(
                f"rule {self.name}: raised {self.when} {self.raise_at:g}, so critical_at must lie beyond it, "
                f"got {self.critical_at:g}"
            )
        if self.critical_at is not None and self.level == "critical":
            raise ConfigError(f"rule {self.name}: it is critical from raise_at on, so give no critical_at")
        if isinstance(self.least_n, bool) or not isinstance(self.least_n, int) or self.least_n < 1:
            raise ConfigError(f"rule {self.name}: least_n must be at least 1, got {self.least_n!r:.40}")

    def past(self, value: float, threshold: float) -> bool:
        """Return whether a value is on the bad side of a threshold."""
        return value > threshold if self.when == "above" else value < threshold

    def judge(self, reading: Reading, before: Level | None) -> Level | None:
        """Return the level at which the alert stands with this reading, None when it does not."""
        bound = reading.low if self.when == "above" else reading.high
        sure = reading.value if bound is None else bound
        if self.critical_at is not None:
            if self.past(sure, self.critical_at):
                return "critical"
            if before == "critical" and self.past(reading.value, self.raise_at):
                return "critical"
        if before is not None:
            return self.level if self.past(reading.value, self.clear_at) else None
        return self.level if self.past(sure if self.surely else reading.value, self.raise_at) else None

    def threshold(self, level: Level | None) -> float:
        """Return the threshold that was passed when an alert came to stand at this level."""
        if level is None:
            return self.clear_at
        return self.critical_at if level == "critical" and self.critical_at is not None else self.raise_at


def confidence(figures: Figures) -> Reading | None:
    """Return the mean confidence, over the answers where it is known."""
    mean, variance, n = figures.confidence.mean, figures.confidence.variance, figures.confidence.n
    if mean is None or variance is None:
        return None
    half = _z() * math.sqrt(variance / n)
    return Reading(
        mean, n, max(0.0, mean - half), min(1.0, mean + half), of="answers of known confidence"
    )  # fmt: skip


def escalation_rate(figures: Figures) -> Reading | None:
    """Return the share of requests that escalated."""
    return _share(figures.escalated, figures.requests)


def error_rate(figures: Figures) -> Reading | None:
    """Return the share of requests that ended without an answer."""
    return _share(figures.failures, figures.requests)


def unpriced_share(figures: Figures) -> Reading | None:
    """Return the share of requests with a call of unknown cost."""
    return _share(figures.unpriced, figures.requests)


def _share(count: int, n: int) -> Reading | None:
    if not n:
        return None
    interval = wilson(count, n, LEVEL)
    return Reading(count / n, n, interval.low, interval.high, "share")


def savings(figures: Figures) -> Reading | None:
    """Return the share saved against the declared baseline, repriced."""
    found = against_declared(figures, level=LEVEL)
    if found.share is None:
        return None
    low, high = (-math.inf, math.inf) if found.interval is None else (found.interval.low, found.interval.high)
    return Reading(found.share, found.n, low, high, "share", "compared requests", found.note)


def latency_quantile(share: float) -> Measure:
    """Return the measure of a quantile of latency in seconds, within 5%.

    Its interval are the quantiles at the ends of the score interval for the share of values below it.
    Source: Conover (1999), Practical Nonparametric Statistics, 3rd edition, section 3.2.
    """
    if not 0 < share < 1:
        raise ConfigError(f"a quantile's share must lie between 0 and 1, got {share!r}")

    def measure(figures: Figures) -> Reading | None:
        value, n = figures.latencies.quantile(share), figures.latencies.n
        if value is None:
            return None
        half = _z() * math.sqrt(share * (1 - share) / n)
        low = figures.latencies.quantile(share - half) if share > half else 0.0
        high = figures.latencies.quantile(share + half) if share + half < 1 else math.inf
        return Reading(value, n, low, high, "s", told=f"the latency of {share:.0%} of them is below it")

    return measure


def _z() -> float:
    return NormalDist().inv_cdf((1 + LEVEL) / 2)


DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(
        "low confidence", confidence, 0.6, 0.65, 50,
        "Look at the kinds with the lowest confidence in the report; raise their tier, or add an estimator.",
        when="below", critical_at=0.4,
    ),
    Rule(
        "high escalation rate", escalation_rate, 0.30, 0.25, 50,
        "Start those kinds one tier higher, or lower accept_at if their first answers were good.",
        critical_at=0.6,
    ),
    Rule(
        "low savings", savings, 0.30, 0.35, 50,
        "Compare with the best fixed model in the report: it may be the better choice for this traffic.",
        when="below", critical_at=0.0,
    ),
    Rule(
        "errors", error_rate, 0.05, 0.03, 50,
        "See which models fail, and why, in the attempts of the newest events; check keys and quotas.",
        critical_at=0.2,
    ),
    Rule(
        "slow answers", latency_quantile(0.95), 30.0, 25.0, 50,
        "Set timeout_s, or move the slowest kind to a faster model.",
        critical_at=120.0,
    ),
    Rule(
        "calls of unknown cost", unpriced_share, 0.01, 0.005, 100,
        "Give those models a price: until then every total is too low.",
        critical_at=0.2,
    ),
    Rule(
        "cost anomaly", OfHours(request_cost), 3.5, 2.0, 4,
        "See in the report which kind or model became dearer: a price, longer prompts, or more escalations.",
        critical_at=7.0,
    ),
    Rule(
        "unusual spending", OfHours(hour_spending), 5.0, 3.0, 4,
        "See who sends the traffic, and whether something loops; max_usd puts an end to it.",
    ),
)  # fmt: skip
"""The usual rules: confidence under 0.6, more than 30% escalated, less than 30% saved, 5% errors, ..."""


def budget_rule(usd: float, *, per: Period = "day") -> Rule:
    """Return the rule that the forecast for the present day or month, UTC, stays within a budget.

    A warning when the forecast exceeds it, critical when its 95% interval does: the budget is as good as
    spent. Raises ConfigError for a budget that is not above 0, or another period.
    """
    if per not in ("day", "month"):
        raise ConfigError(f"a budget is per day or per month, got {per!r:.40}")
    checked_number(usd, "a budget in USD", above=0)
    return Rule(
        f"budget forecast per {per}",
        OfHours(lambda hours: budget_reading(hours, usd, per)),
        usd,
        0.9 * usd,
        1,
        f"This {per} will cost more than ${usd:g}: set max_usd, or see what drives it.",
        critical_at=usd,
        surely=False,
    )
