"""Find a confidence that says nothing of quality."""

from __future__ import annotations

import math
from collections.abc import Iterator

from smartroute.analytics.insights.insight import Evidence, Insight, level_for, z
from smartroute.analytics.sums import Joint
from smartroute.stats.intervals import Interval

LEAST_LABELS = 100
USEFUL = 0.2
"""A correlation with quality below this is said to predict nothing."""


def confidence_predicts_nothing(evidence: Evidence) -> Iterator[Insight]:
    """Yield one insight when the confidence of the answers given hardly goes along with their quality.

    By the correlation and its interval by Fisher's transformation. Only answers that were given have labels;
    those below the threshold are not among them, which lowers the correlation.
    Source: Fisher (1921), Metron 1, 3-32.
    """
    labels = evidence.total.labels.get(evidence.label_source)
    if labels is None:
        return
    both = Joint()
    for place in labels.by_confidence.values():
        both.merge(place)
    correlation = _correlation(both)
    if correlation is None:
        return
    level = level_for(1)
    half = z(level) / math.sqrt(both.n - 3)
    interval = Interval(
        math.tanh(math.atanh(correlation) - half), math.tanh(math.atanh(correlation) + half), level
    )
    if interval.high >= USEFUL:
        return
    figures = evidence.total
    yield Insight(
        name="confidence does not predict quality",
        subject="all",
        claim=f"Among answers that were given, confidence and quality by {evidence.label_source} correlate "
        f"at {correlation:+.2f} [{interval.low:+.2f}, {interval.high:+.2f}]",
        value=correlation,
        interval=interval,
        n=both.n,
        since=figures.first,
        until=figures.last,
        suggestion="Take another estimator (agreement where answers can be compared, a judge elsewhere): a "
        "threshold on this one picks answers to escalate nearly at random.",
        effect="the same escalations spent on answers that are wrong more often",
    )


def _correlation(both: Joint) -> float | None:
    n = both.n
    if n < LEAST_LABELS:
        return None
    one = both.squares - both.total**2 / n
    other = both.other_squares - both.other_total**2 / n
    if min(one, other) <= 1e-9 * n:  # one of them is always the same
        return None
    product = both.products - both.total * both.other_total / n
    return max(-0.999999, min(0.999999, product / math.sqrt(one * other)))
