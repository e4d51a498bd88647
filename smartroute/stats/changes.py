"""Detect a change of a mean between two periods, at a stated false-alarm rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartroute.errors import ConfigError, InsufficientDataError
from smartroute.number_checks import checked_number, checked_whole
from smartroute.stats.intervals import Interval
from smartroute.stats.means import LEAST_VALUES, difference_from_moments, difference_of_means
from smartroute.stats.moments import Moments

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]

_VALUES_AT_ONCE = 2_000_000


@dataclass(frozen=True, slots=True)
class Change:
    """Two means, their difference (late less before) with its interval, and whether it counts as a change."""

    before: float
    late: float
    difference: float
    interval: Interval
    p_value: float
    changed: bool
    false_alarm_rate: float
    n_before: int
    n_late: int


def mean_change(
    before: Sequence[float],
    late: Sequence[float],
    *,
    false_alarm_rate: float = 0.01,
    least_difference: float = 0.0,
    permutations: int = 1999,
    seed: int = 0,
) -> Change:
    """Return whether the mean of late differs from before, from the single values.

    Studentized permutation test: when nothing changed it raises a false alarm with a probability of at most
    `false_alarm_rate`, whatever the distribution and the sample sizes; when spread alone changed, nearly so.
    A change counts when the test finds it, the bootstrap-t interval at level 1 - `false_alarm_rate` leaves
    out 0, and it is at least `least_difference` large.
    The rate holds for one look at periods chosen without looking at the values: adjust the p-values of many
    tests (see `holm`), and divide the rate by the number of looks.
    Raises InsufficientDataError below 10 values in either period, ConfigError when `permutations` are too
    few for the rate.
    Source: Janssen (1997), Statistics and Probability Letters 36, 9-21; Chung and Romano (2013), Annals of
    Statistics 41, 484-507.
    """
    import numpy as np

    _check(false_alarm_rate, least_difference)
    checked_whole(permutations, "permutations", least=1)
    if (permutations + 1) * false_alarm_rate < 1:
        raise ConfigError(
            f"permutations={permutations} cannot show a rate of {false_alarm_rate}: "
            f"take at least {math.ceil(1 / false_alarm_rate) - 1}"
        )
    least = min(len(before), len(late))
    if least < LEAST_VALUES:
        raise InsufficientDataError(
            f"a change needs at least {LEAST_VALUES} values in each period, got {least}",
            needed=LEAST_VALUES,
            have=least,
        )
    level = 1 - false_alarm_rate
    # A limit needs a share of the resamples beyond it, on either side.
    resamples = max(1999, math.ceil(20 / false_alarm_rate) - 1)
    estimate = difference_of_means(late, before, level, resamples=resamples, seed=seed)
    pooled = np.concatenate([np.asarray(late, dtype=np.float64), np.asarray(before, dtype=np.float64)])
    p_value = _permutation_p_value(pooled, len(late), permutations, seed)
    return _change(
        math.fsum(before) / len(before),
        math.fsum(late) / len(late),
        estimate.interval,
        p_value,
        false_alarm_rate,
        least_difference,
        (len(before), len(late)),
    )


def mean_change_from_moments(
    before: Moments, late: Moments, *, false_alarm_rate: float = 0.01, least_difference: float = 0.0
) -> Change:
    """Return whether the mean of late differs from before, from n, sum and sum of squares.

    Welch's test: its false-alarm rate is approximate, good for qualities and for prices from some hundreds
    of values; heavy-tailed costs want `mean_change`. The rest is as there.
    Raises InsufficientDataError below 10 values in either period.
    Source: Welch (1947), Biometrika 34, 28-35.
    """
    from scipy.special import stdtr

    _check(false_alarm_rate, least_difference)
    least = min(before.n, late.n)
    if least < LEAST_VALUES:
        raise InsufficientDataError(
            f"a change needs at least {LEAST_VALUES} values in each period, got {least}",
            needed=LEAST_VALUES,
            have=least,
        )
    estimate = difference_from_moments(late, before, 1 - false_alarm_rate)
    mean_before, mean_late = before.total / before.n, late.total / late.n
    one, other = (late.variance or 0.0) / late.n, (before.variance or 0.0) / before.n
    if one + other > 0:
        # Of shares, since the squares of tiny variances are 0.
        share = one / (one + other)
        freedom = 1 / (share**2 / (late.n - 1) + (1 - share) ** 2 / (before.n - 1))
        p_value = 2 * float(stdtr(freedom, -abs(estimate.value) / math.sqrt(one + other)))
    else:
        p_value = 1.0 if math.isclose(mean_late, mean_before, rel_tol=1e-9) else 0.0
    return _change(
        mean_before,
        mean_late,
        estimate.interval,
        p_value,
        false_alarm_rate,
        least_difference,
        (before.n, late.n),
    )


def _change(
    before: float,
    late: float,
    interval: Interval,
    p_value: float,
    rate: float,
    least_difference: float,
    counts: tuple[int, int],
) -> Change:
    clear = interval.low > 0 or interval.high < 0
    return Change(
        before=before,
        late=late,
        difference=late - before,
        interval=interval,
        p_value=p_value,
        changed=p_value <= rate and clear and abs(late - before) >= least_difference,
        false_alarm_rate=rate,
        n_before=counts[0],
        n_late=counts[1],
    )


def _permutation_p_value(pooled: Array, n_late: int, permutations: int, seed: int) -> float:
    """Return the share of shuffles, the real order among them, that separate the means as far as observed."""
    import numpy as np

    rng = np.random.default_rng(seed)
    # Less the common mean, which no statistic depends on: the sums of squares then keep their digits.
    pooled = pooled - pooled.mean()
    seen = abs(float(_welch(pooled[None, :], n_late)[0]))
    if seen == 0:
        return 1.0
    as_far = 0
    rows = max(1, _VALUES_AT_ONCE // len(pooled))
    for start in range(0, permutations, rows):
        count = min(rows, permutations - start)
        shuffled = rng.permuted(np.broadcast_to(pooled, (count, len(pooled))), axis=1)
        # Ties count as far; equal sums in another order differ by rounding.
        as_far += int((np.abs(_welch(shuffled, n_late)) >= seen * (1 - 1e-9)).sum())
    return (1 + as_far) / (1 + permutations)


def _welch(rows: Array, n_late: int) -> Array:
    """Return Welch's statistic of each row, whose first `n_late` values are the late ones."""
    import numpy as np

    late, before = rows[:, :n_late], rows[:, n_late:]
    gaps = late.mean(axis=1) - before.mean(axis=1)
    error = np.sqrt(late.var(axis=1, ddof=1) / late.shape[1] + before.var(axis=1, ddof=1) / before.shape[1])
    # Means that differ by rounding alone do not differ.
    gaps = np.where(np.abs(gaps) <= 1e-12 * np.abs(rows).max(axis=1), 0.0, gaps)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gaps == 0, 0.0, gaps / error)


def _check(rate: float, least_difference: float) -> None:
    checked_number(rate, "false_alarm_rate", above=0, below=1)
    checked_number(least_difference, "least_difference", least=0)
