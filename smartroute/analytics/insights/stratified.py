"""Compare what two models' answers were thought of on the same tasks: within kinds and complexities."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from smartroute.analytics.insights.insight import ENOUGH_LABELS, Evidence, z
from smartroute.analytics.savings import label_error
from smartroute.stats.intervals import Interval

Stratum: TypeAlias = tuple[str | None, str | None]
"""A kind and a complexity."""

_ENOUGH_IN_STRATUM = 10
_COVERED = 0.5
"""The strata that both models have labels of must hold this share of the answers."""


class Compared(NamedTuple):
    """How much better one model is than another, over how many labels (of each), in which strata."""

    difference: float
    interval: Interval
    labels: int
    strata: frozenset[Stratum]


def compared(
    evidence: Evidence, model: str, other: str, weights: Mapping[Stratum, float], level: float
) -> Compared | None:
    """Return how much better a model's answers are than another's, on tasks as the weights have them.

    The mean of the differences within strata, weighted alike for both, so that easy tasks of the one are not
    held against hard ones of the other. None where too few labels are of both. What routing looks at within
    a stratum is not seen.
    Source: direct standardisation: Cochran (1968), Biometrics 24, 295-313.
    """
    cells = evidence.tables["kind", "complexity", "model"]
    found = []
    for (kind, complexity), weight in weights.items():
        mine, theirs = (cells.get((kind, complexity, each)) for each in (model, other))
        if mine is None or theirs is None:
            continue
        said, said_of_other = evidence.labels(mine), evidence.labels(theirs)
        if min(said.n, said_of_other.n) >= _ENOUGH_IN_STRATUM:
            found.append(((kind, complexity), weight, said, said_of_other))
    covered = math.fsum(weight for _, weight, _, _ in found)
    labels = min(sum(a.n for _, _, a, _ in found), sum(b.n for _, _, _, b in found))
    if labels < ENOUGH_LABELS or not covered or covered < _COVERED * math.fsum(weights.values()):
        return None
    difference = math.fsum(w * ((a.mean or 0.0) - (b.mean or 0.0)) for _, w, a, b in found) / covered
    squares = math.fsum((w / covered) ** 2 * (label_error(a) + label_error(b)) for _, w, a, b in found)
    half = z(level) * math.sqrt(squares)
    return Compared(
        difference,
        Interval(difference - half, difference + half, level),
        labels,
        frozenset(stratum for stratum, _, _, _ in found),
    )
