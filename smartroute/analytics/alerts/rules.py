"""Alert rules: what each measures, its thresholds, and how certain a breach must be."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from smartroute.analytics.alerts.forecast import Period, budget_reading, hour_spending, request_cost
from smartroute.analytics.alerts.hours import Hours
from smartroute.analytics.figures import Figures
from smartroute.analytics.readings import LEVEL, Reading
from smartroute.analytics.savings import against_declared, z_value
from smartroute.errors import ConfigError, shown
from smartroute.number_checks import checked_number, checked_share, checked_whole
from smartroute.stats.intervals import wilson

Level: TypeAlias = Literal["warning", "critical"]
Side: TypeAlias = Literal["above", "below"]
Measure: TypeAlias = Callable[[Figures], Reading | None]


@dataclass(frozen=True, slots=True)
class OfHours:
    """A measure of the hourly history, in place of the window's figures."""

    read: Callable[[Hours], Reading | None]


@dataclass(frozen=True, slots=True)
class Rule:
    """When to raise an alert and when to clear it.

    The alert is raised when `measure` is above `raise_at` (below, for `when="below"`) over at least `least_n`
    requests. It is cleared when the value is at or past `clear_at`. The gap between the two keeps a value
    near the threshold from raising an alert again and again. `level` is the level it is raised at. With
    `critical_at` it becomes critical past that, and a warning again when the value is at or past `raise_at`.

    Past a threshold means certainly past: not the value but the end of its 95% interval on the good side is
    compared, so that the noise of few requests raises no alert. Seen through 60 requests at a time, a true
    rate of 25% raises a rule at 30% in at most 1 window of 100, and by its value in more than 1 of 10. The
    intervals are Wilson's for shares, that of a ratio for savings, the large-sample one for mean confidence,
    and the score interval for quantiles. With `surely=False` the value alone decides on `raise_at`;
    `critical_at` always takes the interval. A reading without an interval is decided by its value.

    Raises ConfigError for a threshold that is not a finite number, for thresholds in the wrong order, and for
    `least_n` below 1.
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
                f"rule {self.name}: measure must be a function or OfHours, got {shown(self.measure)}"
            )
        for name, choices in (("when", get_args(Side)), ("level", get_args(Level))):
            value = getattr(self, name)
            if value not in choices:
                raise ConfigError(
                    f"rule {self.name}: {name} must be {' or '.join(choices)}, got {shown(value)}"
                )
        self._check_thresholds()
        checked_whole(self.least_n, f"rule {self.name}: least_n", least=1)

    def _check_thresholds(self) -> None:
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
            raise ConfigError(f"rule {self.name}: it is critical from raise_at on, so leave out critical_at")

    def past(self, value: float, threshold: float) -> bool:
        """Return whether a value is on the bad side of a threshold."""
        return value > threshold if self.when == "above" else value < threshold

    def judge(self, reading: Reading, before: Level | None) -> Level | None:
        """Return the alert's level with this reading, None when the alert is not active.

        `before` is the level until now.
        """
        limit = reading.low if self.when == "above" else reading.high
        bound = reading.value if limit is None else limit
        if self.critical_at is not None:
            if self.past(bound, self.critical_at):
                return "critical"
            # A critical alert eases by its value, like one that is cleared, and not by its interval.
            if before == "critical" and self.past(reading.value, self.raise_at):
                return "critical"
        if before is not None:
            return self.level if self.past(reading.value, self.clear_at) else None
        return self.level if self.past(bound if self.surely else reading.value, self.raise_at) else None

    def threshold(self, level: Level | None) -> float:
        """Return the threshold that an alert passes to get to this level; None is a cleared alert."""
        if level is None:
            return self.clear_at
        return self.critical_at if level == "critical" and self.critical_at is not None else self.raise_at


def confidence(figures: Figures) -> Reading | None:
    """Return the mean confidence, over the answers where it is known."""
    mean, variance, n = figures.confidence.mean, figures.confidence.variance, figures.confidence.n
    if mean is None or variance is None:
        return None
    half = z_value(LEVEL) * math.sqrt(variance / n)
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
    saving = against_declared(figures, level=LEVEL)
    if saving.share is None:
        return None
    # Too few requests for an interval: infinite limits, so that the value alone raises nothing.
    low, high = -math.inf, math.inf
    if saving.interval is not None:
        low, high = saving.interval.low, saving.interval.high
    return Reading(saving.share, saving.n, low, high, "share", "compared requests", saving.note)


def latency_quantile(share: float) -> Measure:
    """Return a measure: a quantile of latency in seconds, within 5%.

    Its interval is given by the quantiles at the ends of the score interval for the share of values below it.
    Raises ConfigError for a share that is not above 0 and below 1.
    Source: Conover (1999), Practical Nonparametric Statistics, 3rd edition, section 3.2.
    """
    checked_share(share, "share of latency_quantile")
    if share in (0, 1):
        raise ConfigError(f"share of latency_quantile must be above 0 and below 1, got {shown(share)}")

    def measure(figures: Figures) -> Reading | None:
        value, n = figures.latencies.quantile(share), figures.latencies.n
        if value is None:
            return None
        half = z_value(LEVEL) * math.sqrt(share * (1 - share) / n)
        low = figures.latencies.quantile(share - half) if share > half else 0.0
        high = figures.latencies.quantile(share + half) if share + half < 1 else math.inf
        return Reading(value, n, low, high, "s", note=f"the latency of {share:.0%} of them is below it")

    return measure


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
        "See in the report which kind or model costs more now: a price, longer prompts, or more escalations.",
        critical_at=7.0,
    ),
    Rule(
        "unusual spending", OfHours(hour_spending), 5.0, 3.0, 4,
        "See who sends the traffic, and whether something loops; max_usd limits what it can spend.",
    ),
)  # fmt: skip
"""The default rules: confidence under 0.6, over 30% escalated, under 30% saved, over 5% errors, ..."""


def budget_rule(usd: float, *, per: Period = "day") -> Rule:
    """Return the rule that the forecast for the current day or month, UTC, stays within a budget.

    A warning when the forecast exceeds the budget. Critical when the whole 95% interval does: the budget will
    almost certainly be exceeded.
    Raises ConfigError for a budget that is not a finite number above 0, or another period.
    """
    if per not in ("day", "month"):
        raise ConfigError(f"a budget is per day or per month, got {shown(per)}")
    checked_number(usd, "a budget in USD", above=0)
    return Rule(
        f"budget forecast per {per}",
        OfHours(lambda hours: budget_reading(hours, usd, per)),
        usd,
        0.9 * usd,
        1,
        f"This {per} will cost more than ${usd:g}: set max_usd, or see which kind or model drives the cost.",
        critical_at=usd,
        surely=False,
    )
