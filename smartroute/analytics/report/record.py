"""The record of a report, with its metrics, groups and label sources."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from smartroute.analytics.insights import Insight
from smartroute.analytics.savings import FixedModel, Holdback, Mix, Saving
from smartroute.stats.intervals import Interval
from smartroute.stats.prediction_powered import PredictionPowered


@dataclass(frozen=True, slots=True)
class Metric:
    """One measure of success: its value, the target in words, and whether it is met; None while open."""

    name: str
    value: float | None
    target: str
    met: bool | None
    n: int
    interval: Interval | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """The figures of one group. Shares are of the group's requests; quantiles are within 5%.

    `cost_share` is the group's share of the total cost. `saved_share` is against the declared baseline.
    """

    group: tuple[str | None, ...]
    requests: int
    cost_usd: float
    cost_share: float | None
    mean_cost_usd: float | None
    escalation_rate: float | None
    error_rate: float | None
    mean_confidence: float | None
    confidence_interval: Interval | None
    labels: int
    mean_quality: float | None
    quality_interval: Interval | None
    latency_p50_s: float | None
    latency_p95_s: float | None
    unpriced: int
    saved_share: float | None


@dataclass(frozen=True, slots=True)
class Quality:
    """The quality of the answers by one label source: the mean over `n` labels, and its interval."""

    source: str
    n: int
    mean: float | None
    interval: Interval | None
    words: dict[str, int]
    with_judge: PredictionPowered | None
    """The mean of all judged answers: a judge's many labels, corrected by these few; None without either."""
    judge_helps: bool
    """Whether that is more precise than this source alone: the interval is narrower, and not by chance."""
    calibration: tuple[tuple[float, float, int], ...]
    """By tenth of confidence: the mean confidence, the mean quality, and the number of labels."""


@dataclass(frozen=True, slots=True)
class Report:
    """The report on a log and a period. Money is in USD, time in seconds, shares are in [0, 1]."""

    population: str
    first: str | None
    last: str | None
    simulated: bool | None
    requests: int
    answered: int
    cost_usd: float
    unpriced: int
    overhead_usd: dict[str, float]
    rejected_usd: float
    metrics: tuple[Metric, ...]
    savings: tuple[Saving, ...]
    fixed: tuple[FixedModel, ...]
    best_fixed: str | None
    mix: Mix | None
    holdback: Holdback | None
    latency_s: dict[str, float | None]
    quality: tuple[Quality, ...]
    insights: tuple[Insight, ...]
    rows: dict[str, tuple[Row, ...]]
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON; an infinite number or NaN is None."""
        return {name: _finite(value) for name, value in asdict(self).items()}


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
