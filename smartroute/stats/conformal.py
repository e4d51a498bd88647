"""Conformal prediction: bound the next error by earlier errors, for any distribution."""

from __future__ import annotations

import math
from collections.abc import Sequence

from smartroute.number_checks import checked_number


def conformal_quantile(errors: Sequence[float], miss_rate: float) -> float:
    """Return the bound that the next error exceeds with probability of at most `miss_rate`.

    The ceil((n + 1)(1 - miss_rate))-th smallest of n errors; infinity while n is too small for that. The
    promise is marginal: averaged over the draws of these errors and the next one, which must be exchangeable
    with them. Raises ConfigError unless 0 < miss_rate < 1.
    Source: Vovk, Gammerman and Shafer (2005), Algorithmic Learning in a Random World, section 2.2;
    Lei et al. (2018), JASA 113, 1094-1111, theorem 2.2.
    """
    rank = _rank(len(errors), miss_rate)
    return math.inf if rank > len(errors) else sorted(errors)[rank - 1]


def errors_needed(miss_rate: float) -> int:
    """Return how many errors make `conformal_quantile` finite: 19 for a miss rate of 5%."""
    _rank(0, miss_rate)
    needed = max(1, math.floor(1 / miss_rate) - 2)
    while _rank(needed, miss_rate) > needed:
        needed += 1
    return needed


def _rank(n: int, miss_rate: float) -> int:
    checked_number(miss_rate, "miss_rate", above=0, below=1)
    # Less the rounding of 1 - miss_rate: 20 * 0.95 must give 19, and not 20.
    return math.ceil((n + 1) * (1 - miss_rate) - 1e-9)
