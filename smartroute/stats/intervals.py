"""Confidence intervals of proportions, their differences, and ratios."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from smartroute.errors import ConfigError, InsufficientDataError
from smartroute.number_checks import checked_number
from smartroute.stats.moments import Moments

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Interval:
    """The range that holds the true value at the stated confidence level."""

    low: float
    high: float
    level: float


def wilson(successes: float, trials: float, level: float = 0.95) -> Interval:
    """Return the Wilson score interval for a proportion.

    Stays inside [0, 1] and is usable from a handful of trials. `successes` may be an expected number,
    as of a mixture; the interval is then no narrower than it need be. `trials` may be an
    effective number.
    Raises InsufficientDataError when trials is 0. Source: Wilson (1927), JASA 22, 209-212.
    """
    z = _quantile(level)
    if trials < 1:
        raise InsufficientDataError(
            f"a proportion needs at least 1 trial, got {trials}", needed=1, have=max(int(trials), 0)
        )
    if not 0 <= successes <= trials:
        raise ConfigError(f"successes must be from 0 to trials={trials}, got {successes}")
    share = successes / trials
    denominator = 1 + z * z / trials
    center = (share + z * z / (2 * trials)) / denominator
    half = z / denominator * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    return Interval(
        0.0 if successes == 0 else max(0.0, center - half),
        1.0 if successes == trials else min(1.0, center + half),
        level,
    )


def mean_score(scores: Moments, level: float = 0.95) -> Interval:
    """Return the interval of a mean of scores in [0, 1]; of 0s and 1s it is Wilson's.

    Others spread less than 0s and 1s of the same mean, and so count as more of these; where all are the
    same they count as they are. Usable from a handful of scores on, and for means near 0 and 1.
    Raises InsufficientDataError without scores, ConfigError when their mean is not in [0, 1].
    Source: Wilson (1927), JASA 22, 209-212; the effective number: Korn and Graubard (1998), Survey
    Methodology 24, 193-201.
    """
    n = scores.n
    mean = scores.mean or 0.0
    if -_ROUNDING < mean < 1 + _ROUNDING:  # sums after a subtraction are off by rounding
        mean = min(max(mean, 0.0), 1.0)
    variance = (scores.variance or 0.0) * (n - 1) / max(n, 1)
    effective = max(n, n * mean * (1 - mean) / variance) if variance > _ROUNDING else n
    return wilson(mean * effective, effective, level)


def sum_of_mean_scores(parts: Sequence[tuple[float, Moments]], level: float = 0.95) -> Interval:
    """Return the interval of a weighted sum of means of independent scores in [0, 1].

    With the weights 1 and -1 it is Newcombe's (1998) for a difference, Statistics in Medicine 17, 873-890,
    method 10. Raises what `mean_score` does. Source: Zou, Huang and Zhang (2009), Computational Statistics
    and Data Analysis 53, 1080-1085.
    """
    value = down = up = 0.0
    for weight, scores in parts:
        mean, limits = scores.mean or 0.0, mean_score(scores, level)
        low, high = sorted((weight * limits.low, weight * limits.high))
        value += weight * mean
        down += (weight * mean - low) ** 2
        up += (high - weight * mean) ** 2
    return Interval(value - math.sqrt(down), value + math.sqrt(up), level)


def clopper_pearson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Return the exact interval for a proportion: its coverage is never below `level`, for any number of
    trials.

    Raises InsufficientDataError when trials is 0. Source: Clopper and Pearson (1934), Biometrika 26, 404-413.
    """
    from scipy.special import betaincinv

    _quantile(level)
    if trials < 1:
        raise InsufficientDataError(
            f"a proportion needs at least 1 trial, got {trials}", needed=1, have=max(trials, 0)
        )
    if not 0 <= successes <= trials:
        raise ConfigError(f"successes must be from 0 to trials={trials}, got {successes}")
    tail = (1 - level) / 2
    misses = trials - successes
    low = 0.0 if successes == 0 else float(betaincinv(successes, misses + 1, tail))
    high = 1.0 if misses == 0 else float(betaincinv(successes + 1, misses, 1 - tail))
    return Interval(low, high, level)


def paired_difference(
    both: int, only_first: int, only_second: int, neither: int, level: float = 0.95
) -> Interval:
    """Return the interval for the difference of two proportions measured on the same items.

    The difference is first minus second, so its estimate is (only_first - only_second) / n. Hybrid
    score interval: the Wilson intervals of both margins, combined under the correlation of the pairs
    (continuity-corrected when it is positive). Raises InsufficientDataError without any item.
    Source: Newcombe (1998), Statistics in Medicine 17, 2635-2650, method 10.
    """
    n = both + only_first + only_second + neither
    if min(both, only_first, only_second, neither) < 0:
        raise ConfigError(f"counts must be at least 0, got {(both, only_first, only_second, neither)}")
    if n == 0:
        raise InsufficientDataError("a paired difference needs at least 1 item, got 0", needed=1, have=0)
    first, second = both + only_first, both + only_second
    first_range, second_range = wilson(first, n, level), wilson(second, n, level)
    phi = _phi(both, only_first, only_second, neither)
    difference = (only_first - only_second) / n
    down_first, up_first = first / n - first_range.low, first_range.high - first / n
    down_second, up_second = second / n - second_range.low, second_range.high - second / n
    down = down_first**2 - 2 * phi * down_first * up_second + up_second**2
    up = up_first**2 - 2 * phi * up_first * down_second + down_second**2
    return Interval(
        max(-1.0, difference - math.sqrt(max(0.0, down))),
        min(1.0, difference + math.sqrt(max(0.0, up))),
        level,
    )


def paired_ratio(tops: Sequence[float], bottoms: Sequence[float], level: float = 0.95) -> Interval:
    """Return the interval for the sum of `tops` over the sum of `bottoms`, measured on the same items.

    Large-sample interval by linearization; wants some dozens of items. Raises InsufficientDataError
    below 2 items, ConfigError when the bottoms sum to 0.
    Source: Cochran (1977), Sampling Techniques, 3rd edition, section 6.3.
    """
    z = _quantile(level)
    n = len(tops)
    if n < 2:
        raise InsufficientDataError(f"a ratio's interval needs at least 2 items, got {n}", needed=2, have=n)
    total = math.fsum(bottoms)
    if total == 0:
        raise ConfigError("a ratio needs bottoms that do not sum to 0")
    ratio = math.fsum(tops) / total
    residuals = [top - ratio * bottom for top, bottom in zip(tops, bottoms, strict=True)]
    variance = math.fsum(residual**2 for residual in residuals) / (n - 1)
    half = z * math.sqrt(n * variance) / abs(total)
    return Interval(ratio - half, ratio + half, level)


def _phi(both: int, only_first: int, only_second: int, neither: int) -> float:
    """Return the correlation of the pairs as method 10 has it; 0 when a margin is empty."""
    n = both + only_first + only_second + neither
    margins = (both + only_first) * (only_second + neither) * (both + only_second) * (only_first + neither)
    if margins == 0:
        return 0.0
    product: float = both * neither - only_first * only_second
    if product > 0:
        product = max(product - n / 2, 0.0)
    return product / math.sqrt(margins)


def _quantile(level: float) -> float:
    checked_number(level, "level", above=0, below=1)
    return NormalDist().inv_cdf((1 + level) / 2)
