"""Confidence intervals of means, and of differences and ratios of means, for skewed values such as costs.

From the raw values: bootstrap-t. Its resamples hold nothing above the greatest value seen, so it is too
narrow for costs; each limit is therefore the wider of two, the second from resamples whose greatest values
follow a lognormal tail fitted to the sample. From n, sum and sum of squares alone: Student, and on request
a correction for the skewness that those three numbers cannot show. Two means are compared by
combining the limits of each.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartroute.errors import ConfigError, InsufficientDataError
from smartroute.number_checks import checked_number, checked_whole
from smartroute.stats.intervals import Interval
from smartroute.stats.moments import Moments

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

LEAST_VALUES = 10
_TAIL_SHARE = 0.4
_LEAST_TAIL = 10
_VALUES_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure, its interval, and the number of values behind it: one count for each sample."""

    value: float
    interval: Interval
    counts: tuple[int, ...]


def mean_interval(
    values: Sequence[float], level: float = 0.95, *, resamples: int = 1999, seed: int = 0
) -> Estimate:
    """Return the mean of `values` and its bootstrap-t interval.

    The same values and seed give the same interval. A limit is infinite where the data cannot set it: with
    fewer than four values that are not 0, say. The fitted tail comes in when no value is negative and at
    least ten are positive; without it, as for differences of cost, the interval is the plain bootstrap-t
    and misses more often on skewed values. Takes time in proportion to values times resamples; from some
    ten thousand values on, moments serve as well.
    Raises InsufficientDataError below 10 values, ConfigError for a value that is not finite.
    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 12.5; the body resampled
    and the tail drawn from a fit: Davidson and Flachaire (2007), Journal of Econometrics 141, 141-166 (a
    Pareto tail there); the normal scores of the fit: Blom (1958), Statistical Estimates and Transformed
    Beta-Variables.
    """
    import numpy as np

    rank = _rank(level, resamples)
    sample = np.asarray(values, dtype=np.float64)
    n = len(sample)
    if n < LEAST_VALUES:
        raise InsufficientDataError(
            f"a bootstrap interval needs at least {LEAST_VALUES} values, got {n}", needed=LEAST_VALUES, have=n
        )
    if not np.isfinite(sample).all():
        raise ConfigError("a mean needs finite values, got one that is infinite or not a number")
    sample = np.sort(sample)
    mean, error = math.fsum(sample) / n, math.sqrt(float(sample.var(ddof=1)) / n)
    rng = np.random.default_rng(seed)
    low = high = 0.0
    fitted = _fit_tail(sample)
    for tail in (None,) if fitted is None else (None, fitted):
        studentized = _studentized(sample, mean, tail, resamples, rng)
        # Neither may cross 0, so that the interval holds its estimate.
        low = min(low, float(studentized[rank - 1]))
        high = max(high, float(studentized[resamples - rank]))
    if error == 0:
        return Estimate(mean, Interval(mean, mean, level), (n,))
    return Estimate(mean, Interval(mean - high * error, mean - low * error, level), (n,))


def difference_of_means(
    first: Sequence[float],
    second: Sequence[float],
    level: float = 0.95,
    *,
    resamples: int = 1999,
    seed: int = 0,
) -> Estimate:
    """Return the mean of `first` less the mean of `second`, and its interval.

    The samples are independent and may differ in size and spread; on costs both want some hundreds of
    values. The distances of each mean from its own bootstrap-t limits are squared and added. The rest is
    as in `mean_interval`.
    Source: Zou and Donner (2008), Statistics in Medicine 27, 1693-1702.
    """
    return _difference(
        mean_interval(first, level, resamples=resamples, seed=seed),
        mean_interval(second, level, resamples=resamples, seed=seed),
    )


def ratio_of_means(
    first: Sequence[float],
    second: Sequence[float],
    level: float = 0.95,
    *,
    resamples: int = 1999,
    seed: int = 0,
) -> Estimate:
    """Return the mean of `first` over the mean of `second`, and its interval.

    For independent samples of what cannot be negative, as costs; for two figures of the same requests use
    `paired_ratio`. The upper limit is infinite where the second mean cannot be distinguished from 0, the
    lower one 0 where the first cannot. The limits are Fieller's, with each mean's own bootstrap-t limits for
    the symmetric ones. The rest is as in `mean_interval`. Raises ConfigError unless the second mean is above
    0 and the first is not below it. Source: Donner and Zou (2012), Statistical Methods in Medical Research
    21, 347-359.
    """
    return _ratio(
        mean_interval(first, level, resamples=resamples, seed=seed),
        mean_interval(second, level, resamples=resamples, seed=seed),
    )


def mean_from_moments(moments: Moments, level: float = 0.95, *, skewed: bool = False) -> Estimate:
    """Return the mean and its Student interval from n, sum and sum of squares.

    Three sums do not show how skewed the values are. With `skewed`, for costs, they are taken to be as
    skewed as a lognormal with the same coefficient of variation, and each limit is the wider of Student's
    and the corrected one: too wide where they are tamer. The correction fades as n grows.
    Raises InsufficientDataError below 2 values, ConfigError for a skewed mean that is not above 0.
    Source: Student (1908), Biometrika 6, 1-25; the correction: Hall (1992), JRSS B 54, 221-228.
    """
    from scipy.special import ndtri, stdtrit

    checked_number(level, "level", above=0, below=1)
    mean, variance = moments.mean, moments.variance
    if mean is None or variance is None:
        raise InsufficientDataError(
            f"an interval for a mean needs at least 2 values, got {moments.n}", needed=2, have=moments.n
        )
    high = float(stdtrit(moments.n - 1, (1 + level) / 2))
    low = -high
    if skewed and mean <= 0:
        raise ConfigError(f"skewed=True is for costs: their mean must be above 0, got {mean}")
    if skewed and variance > 0:
        variation = math.sqrt(variance) / mean
        skewness = variation * (3 + variation**2) / math.sqrt(moments.n)
        normal = float(ndtri((1 + level) / 2))
        low, high = min(low, _unbend(-normal, skewness)), max(high, _unbend(normal, skewness))
    error = math.sqrt(variance / moments.n)
    return Estimate(mean, Interval(mean - high * error, mean - low * error, level), (moments.n,))


def difference_from_moments(
    first: Moments, second: Moments, level: float = 0.95, *, skewed: bool = False
) -> Estimate:
    """Return the mean of `first` less that of `second`, and its interval, from their moments.

    As `difference_of_means`, each mean's limits being those of `mean_from_moments`.
    """
    return _difference(
        mean_from_moments(first, level, skewed=skewed), mean_from_moments(second, level, skewed=skewed)
    )


def ratio_from_moments(
    first: Moments, second: Moments, level: float = 0.95, *, skewed: bool = False
) -> Estimate:
    """Return the mean of `first` over that of `second`, and its interval, from their moments.

    As `ratio_of_means`, each mean's limits being those of `mean_from_moments`.
    With large samples it is Fieller's (1954), JRSS B 16, 175-185.
    """
    return _ratio(
        mean_from_moments(first, level, skewed=skewed), mean_from_moments(second, level, skewed=skewed)
    )


def _difference(first: Estimate, second: Estimate) -> Estimate:
    value = first.value - second.value
    return Estimate(
        value,
        Interval(
            value - math.hypot(_down(first), _up(second)),
            value + math.hypot(_up(first), _down(second)),
            first.interval.level,
        ),
        first.counts + second.counts,
    )


def _ratio(first: Estimate, second: Estimate) -> Estimate:
    top, bottom = first.value, second.value
    if bottom <= 0 or top < 0:
        raise ConfigError(
            f"a ratio of means needs a positive second mean and no negative first, got {top} / {bottom}"
        )
    ratio = top / bottom
    # The relative distances; each limit is the ratio times a root of a quadratic.
    low, high = 0.0, math.inf
    down, up = (_down(first) / top, _up(first) / top) if top > 0 else (math.inf, math.inf)
    under, over = _down(second) / bottom, _up(second) / bottom
    if down < 1:
        low = ratio * (1 - down * down) / (1 + math.sqrt(down * down + over * over * (1 - down * down)))
    if under < 1 and top > 0:
        high = ratio * (1 + math.sqrt(under * under + up * up * (1 - under * under))) / (1 - under * under)
    elif under < 1:
        high = _up(first) / bottom / math.sqrt(1 - under * under)
    return Estimate(ratio, Interval(low, high, first.interval.level), first.counts + second.counts)


def _down(estimate: Estimate) -> float:
    return estimate.value - estimate.interval.low


def _up(estimate: Estimate) -> float:
    return estimate.interval.high - estimate.value


@dataclass(frozen=True, slots=True)
class _Tail:
    """The greatest `size` values of a sample, taken as the upper part of exp(base + slope * normal).

    `mean` is that of the sample with this tail in place of its own.
    """

    base: float
    slope: float
    size: int
    mean: float

    def fill(self, ordered: Array, positions: Array) -> Array:
        """Turn uniform `positions` into values: below the tail those of the sample, within it the fit's."""
        import numpy as np
        from scipy.special import ndtri

        n = len(ordered)
        picked = np.minimum((positions * n).astype(np.int64), n - 1)
        drawn = ordered[picked]
        beyond = picked >= n - self.size
        # A position of exactly 0 has no finite quantile; it can only come up where there is no body.
        drawn[beyond] = np.exp(self.base + self.slope * ndtri(np.maximum(positions[beyond], 1e-300)))
        return drawn


def _fit_tail(ordered: Array) -> _Tail | None:
    """Return the lognormal tail of sorted values; None where some are negative or too few are positive."""
    import numpy as np
    from scipy.special import ndtr, ndtri

    n = len(ordered)
    positive = int((ordered > 0).sum())
    if positive < _LEAST_TAIL or ordered[0] < 0:
        return None
    size = min(positive, max(_LEAST_TAIL, math.ceil(_TAIL_SHARE * n)))
    logs = np.log(ordered[n - size :])
    scores = ndtri((np.arange(n - size + 1, n + 1) - 0.375) / (n + 0.25))
    centered = scores - scores.mean()
    slope = float((centered * (logs - logs.mean())).sum() / (centered * centered).sum())
    base = float(logs.mean() - slope * scores.mean())
    start = float(ndtri(1 - size / n)) if size < n else -math.inf
    power = base + slope * slope / 2
    if power > 600:  # e^709 is the largest float, and squares are still to come
        return None
    mean = float(ordered[: n - size].sum()) / n + math.exp(power) * float(ndtr(slope - start))
    return _Tail(base, slope, size, mean)


def _studentized(
    ordered: Array, mean: float, tail: _Tail | None, resamples: int, rng: np.random.Generator
) -> Array:
    """Return the sorted errors of resampled means, each over its own standard error."""
    import numpy as np

    n = len(ordered)
    center = mean if tail is None else tail.mean
    results = np.empty(resamples)
    rows = max(1, _VALUES_AT_ONCE // n)
    for start in range(0, resamples, rows):
        shape = (min(rows, resamples - start), n)
        drawn = ordered[rng.integers(0, n, shape)] if tail is None else tail.fill(ordered, rng.random(shape))
        errors = drawn.mean(axis=1) - center
        # All values alike: the mean is off by rounding at most.
        errors[np.abs(errors) <= 1e-12 * abs(center)] = 0.0
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = errors / np.sqrt(drawn.var(axis=1, ddof=1) / n)
        results[start : start + shape[0]] = np.where(errors == 0, 0.0, ratios)
    results.sort()
    return results


def _unbend(quantile: float, skewness: float) -> float:
    """Return the studentized error that Hall's cubic takes to a normal quantile."""
    return 3 / skewness * (math.cbrt(1 + skewness * (quantile - skewness / 6)) - 1)


def _rank(level: float, resamples: int) -> int:
    """Return which of the sorted resamples is the lower critical value."""
    checked_number(level, "level", above=0, below=1)
    checked_whole(resamples, "resamples", least=1)
    rank = math.floor((resamples + 1) * (1 - level) / 2 + 1e-9)
    if rank < 1:
        raise ConfigError(
            f"resamples={resamples} are too few for level={level}: "
            f"take at least {math.ceil(2 / (1 - level) - 1e-9) - 1}"
        )
    return rank
