"""The metrics, groups and label sources of a report, computed from figures."""

from __future__ import annotations

from smartroute.analytics.figures import CONFIDENCE_BINS, JUDGE, Figures, Labels
from smartroute.analytics.readings import LEVEL
from smartroute.analytics.report.record import Metric, Quality, Row
from smartroute.analytics.savings import LEAST_SAMPLE, Saving, z_value
from smartroute.stats.intervals import Interval, wilson
from smartroute.stats.moments import Moments
from smartroute.stats.prediction_powered import (
    LEAST_LABELS,
    PredictionPowered,
    prediction_powered_from_moments,
)

_NO_BEFORE = "no earlier period of the same length to compare with: set since"


def metrics_of(figures: Figures, declared: Saving, before: Figures | None) -> tuple[Metric, ...]:
    """Return the measures of success. `before` holds the earlier period, the baseline of errors and latency.

    A measure of fewer than LEAST_SAMPLE values stays open.
    """
    n = figures.requests
    rate = figures.escalated / n if n else None
    confidence = figures.confidence
    return (
        Metric(
            "savings", declared.share, "at least 70%", _at_least(declared.share, 0.70, declared.n),
            declared.n, declared.interval, f"against {declared.baseline}, repriced",
        ),
        Metric(
            "confidence", confidence.mean, "at least 0.75", _at_least(confidence.mean, 0.75, confidence.n),
            confidence.n, _mean_interval(confidence),
            f"known for {confidence.n} of {figures.answered} answers",
        ),
        Metric(
            "escalations", rate, "at most 25%", None if rate is None or n < LEAST_SAMPLE else rate <= 0.25, n,
            wilson(figures.escalated, n, LEVEL) if n else None,
        ),
        _error_metric(figures, before),
        _latency_metric(figures, before),
    )  # fmt: skip


def _error_metric(figures: Figures, before: Figures | None) -> Metric:
    n, target = figures.requests, "no more than before"
    errors = figures.failures / n if n else None
    interval = wilson(figures.failures, n, LEVEL) if n else None
    if before is None or errors is None:
        return Metric("errors", errors, target, None, n, interval, _NO_BEFORE)
    earlier = before.failures / before.requests
    met = errors <= earlier if min(before.requests, n) >= LEAST_SAMPLE else None
    return Metric("errors", errors, target, met, n, interval, f"before: {earlier:.2%} of {before.requests}")


def _latency_metric(figures: Figures, before: Figures | None) -> Metric:
    mean, n, target = figures.latency.mean, figures.latency.n, "at most 10% more than before"
    interval = _mean_interval(figures.latency, bounded=False)
    earlier = None if before is None else before.latency.mean
    if mean is None or before is None or not earlier:
        return Metric("latency", mean, target, None, n, interval, _NO_BEFORE)
    met = mean <= 1.1 * earlier if min(n, before.latency.n) >= LEAST_SAMPLE else None
    return Metric("latency", mean, target, met, n, interval, f"before: {earlier:.3f} s on average")


def _at_least(value: float | None, target: float, n: int) -> bool | None:
    return None if value is None or n < LEAST_SAMPLE else value >= target


def _mean_interval(moments: Moments, *, bounded: bool = True) -> Interval | None:
    """Return the large-sample interval of a mean; None for fewer than LEAST_SAMPLE values.

    The limits are cut off at 0, and at 1 for values that are `bounded` by it.
    """
    mean, variance = moments.mean, moments.variance
    if mean is None or variance is None or moments.n < LEAST_SAMPLE:
        return None
    half = z_value(LEVEL) * (variance / moments.n) ** 0.5
    low, high = mean - half, mean + half
    return Interval(max(0.0, low), min(1.0, high), LEVEL) if bounded else Interval(max(0.0, low), high, LEVEL)


def quality_of(source: str, figures: Figures) -> Quality:
    """Return the quality by one source of labels, also together with the judge's labels."""
    labels = figures.labels[source]
    interval, together = _mean_interval(labels.quality), _with_judge(labels, figures)
    calibration = []
    for index in range(CONFIDENCE_BINS):
        pairs = labels.by_confidence.get(index)
        if pairs is not None and pairs.n:
            calibration.append((pairs.other_total / pairs.n, pairs.total / pairs.n, pairs.n))
    return Quality(
        source,
        labels.quality.n,
        labels.quality.mean,
        interval,
        {word: n for word, n in labels.words.items() if n},
        together,
        together is not None
        and together.judge_helps
        and (interval is None or _width(together.interval) < _width(interval)),
        tuple(calibration),
    )


def _with_judge(labels: Labels, figures: Figures) -> PredictionPowered | None:
    """Return the estimate from the judge's labels and these together; None for too few of either."""
    both, judged = labels.with_judge, figures.labels.get(JUDGE, Labels()).quality
    judge_only = Moments(
        judged.n - both.n, judged.total - both.other_total, max(0.0, judged.squares - both.other_squares)
    )
    if both.n < LEAST_LABELS or judge_only.n < 2:
        return None
    return prediction_powered_from_moments(both, judge_only, LEVEL)


def _width(interval: Interval) -> float:
    return interval.high - interval.low


def row_of(group: tuple[str | None, ...], figures: Figures, total: Figures, label_source: str) -> Row:
    """Return the row of a group. `total` are the figures of the whole report."""
    n, pairs = figures.requests, figures.compared
    quality = figures.labels.get(label_source, Labels()).quality
    return Row(
        group=group,
        requests=n,
        cost_usd=figures.cost_usd,
        cost_share=figures.cost_usd / total.cost_usd if total.cost_usd else None,
        mean_cost_usd=figures.cost.mean,
        escalation_rate=figures.escalated / n,
        error_rate=figures.failures / n,
        mean_confidence=figures.confidence.mean,
        confidence_interval=_mean_interval(figures.confidence),
        labels=quality.n,
        mean_quality=quality.mean,
        quality_interval=_mean_interval(quality),
        latency_p50_s=figures.latencies.quantile(0.5),
        latency_p95_s=figures.latencies.quantile(0.95),
        unpriced=figures.unpriced,
        saved_share=1.0 - pairs.cost / pairs.baseline if pairs.baseline > 0 else None,
    )
