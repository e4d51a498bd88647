"""Stratified comparison of the quality of two models: within kinds and complexities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from smartroute.analytics.insights.insight import Evidence
from smartroute.analytics.savings import LEAST_SAMPLE, label_error, z_value
from smartroute.stats.intervals import Interval

Stratum: TypeAlias = tuple[str | None, str | None]
"""A kind and a complexity."""

_LEAST_IN_STRATUM = 10
_COVERED = 0.5
"""The strata with labels of both models must have at least this share of the weight."""


class Comparison(NamedTuple):
    """How much better one model is than another, over at least `labels` of each, in which strata."""

    difference: float
    interval: Interval
    labels: int
    strata: frozenset[Stratum]


def compare_quality(
    evidence: Evidence, model: str, other: str, weights: Mapping[Stratum, float], level: float
) -> Comparison | None:
    """Return how much better a model's answers are than another's, on tasks in the proportion of the weights.

    The result is the mean of the differences within strata, with the same weights for both models, so that
    easy tasks of one are not compared with hard tasks of the other. It is None when there are too few labels
    of both. What routing looks at within a stratum is not seen.
    Source: direct standardization: Cochran (1968), Biometrics 24, 295-313.
    """
    cells = evidence.tables["kind", "complexity", "model"]
    strata = []
    for stratum, weight in weights.items():
        cell, other_cell = cells.get((*stratum, model)), cells.get((*stratum, other))
        if cell is None or other_cell is None:
            continue
        labels, other_labels = evidence.labels(cell), evidence.labels(other_cell)
        if min(labels.n, other_labels.n) >= _LEAST_IN_STRATUM:
            strata.append((stratum, weight, labels, other_labels))
    covered = math.fsum(weight for _, weight, _, _ in strata)
    n = min(sum(a.n for _, _, a, _ in strata), sum(b.n for _, _, _, b in strata))
    if n < LEAST_SAMPLE or not covered or covered < _COVERED * math.fsum(weights.values()):
        return None
    difference = math.fsum(w * ((a.mean or 0.0) - (b.mean or 0.0)) for _, w, a, b in strata) / covered
    squares = math.fsum((w / covered) ** 2 * (label_error(a) + label_error(b)) for _, w, a, b in strata)
    half = z_value(level) * math.sqrt(squares)
    return Comparison(
        difference,
        Interval(difference - half, difference + half, level),
        n,
        frozenset(stratum for stratum, _, _, _ in strata),
    )
