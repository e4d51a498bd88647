"""Insight: the confidence of answers does not predict their quality."""

from __future__ import annotations

import math
from collections.abc import Iterator

from smartroute.analytics.insights.insight import Evidence, Insight, level_for
from smartroute.analytics.savings import z_value
from smartroute.analytics.sums import Joint
from smartroute.stats.intervals import Interval

LEAST_LABELS = 100
USEFUL = 0.2
"""A confidence whose correlation with quality is certainly below this predicts nothing."""


def confidence_predicts_nothing(evidence: Evidence) -> Iterator[Insight]:
    """Yield one insight when the confidence of the given answers hardly correlates with their quality.

    Takes the correlation and its interval by Fisher's transformation. Only answers that were given have
    labels. Answers below the threshold are not among them, which lowers the correlation.
    Source: Fisher (1921), Metron 1, 3-32.
    """
    labels = evidence.total.labels.get(evidence.label_source)
    if labels is None:
        return
    pairs = Joint()
    for bin_pairs in labels.by_confidence.values():
        pairs.merge(bin_pairs)
    correlation = _correlation(pairs)
    if correlation is None:
        return
    level = level_for(1)
    half = z_value(level) / math.sqrt(pairs.n - 3)
    interval = Interval(
        math.tanh(math.atanh(correlation) - half), math.tanh(math.atanh(correlation) + half), level
    )
    if interval.high >= USEFUL:
        return
    figures = evidence.total
    yield Insight(
        name="confidence does not predict quality",
        subject="all",
        claim=f"Among the answers given, confidence and quality by {evidence.label_source} correlate "
        f"at {correlation:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]",
        value=correlation,
        interval=interval,
        n=pairs.n,
        since=figures.first,
        until=figures.last,
        suggestion="Use another estimator (agreement where answers can be compared, a judge elsewhere): a "
        "threshold on this one selects the answers to escalate nearly at random.",
        effect="the same number of escalations, of answers that are wrong more often",
    )


def _correlation(pairs: Joint) -> float | None:
    n = pairs.n
    if n < LEAST_LABELS:
        return None
    one = pairs.squares - pairs.total**2 / n
    other = pairs.other_squares - pairs.other_total**2 / n
    if min(one, other) <= 1e-9 * n:  # one of them is always the same
        return None
    product = pairs.products - pairs.total * pairs.other_total / n
    return max(-0.999999, min(0.999999, product / math.sqrt(one * other)))
