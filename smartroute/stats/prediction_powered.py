"""Prediction-powered inference: a mean from few human labels and many judge scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from smartroute.errors import ConfigError, InsufficientDataError
from smartroute.number_checks import checked_number, checked_share
from smartroute.stats.intervals import Interval

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from smartroute.stats.moments import Moments

    Array = npt.NDArray[np.float64]

LEAST_LABELS = 10
_CHANCE_TO_TRUST_NOISE = 0.05
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class PredictionPowered:
    """A mean quality from people's labels and a judge's, beside the estimate from people's labels alone.

    `weight` is how much of the judge's scores is used: 0 none, 1 all. `correlation` is that of people and
    judge on the items that both scored, None where one of them always gives the same score.
    """

    value: float
    interval: Interval
    people_value: float
    people_interval: Interval
    weight: float
    correlation: float | None
    judge_helps: bool
    n_labels: int
    n_judged: int

    @property
    def narrowing(self) -> float:
        """The share of the people's interval that the judge saves; negative when it widens it."""
        people = self.people_interval.high - self.people_interval.low
        return 1.0 - (self.interval.high - self.interval.low) / people if people > 0 else 0.0


def prediction_powered_mean(
    labels: Sequence[float],
    judged: Sequence[float],
    judged_only: Sequence[float],
    level: float = 0.95,
    *,
    weight: float | None = None,
) -> PredictionPowered:
    """Return the mean score that people would give over all items, in [0, 1], and its interval.

    `labels` are people's and `judged` the judge's on the same items, in the same order; `judged_only` are the
    judge's on further items. The labeled items must be a random draw of all: a judge that errs on them as on
    the others is corrected for, however biased. Without a `weight` it is tuned to the narrowest interval
    (PPI++); 1 gives plain prediction-powered inference, 0 people's labels alone.
    `judge_helps` is False when judge and people are not correlated (one-sided test of the correlation,
    which takes a judge of pure noise for help in at most about 5% of cases), when the weight is 0, or when
    the interval is no narrower than people's own: report that one then.
    Small samples: Student quantiles with Welch's degrees of freedom, one degree less for a tuned weight;
    and labels of only 0 and 1 (or only one value) count as if at least one item had gone
    the other way, since 20 right of 20 do not prove perfection. Limits stay in [0, 1].
    Raises InsufficientDataError below 10 labels or 2 further items, ConfigError for values outside [0, 1].
    Source: Angelopoulos, Bates, Fannjiang, Jordan and Zrnic (2023), Science 382, 669-674, mean estimation;
    the weight: Angelopoulos, Duchi and Zrnic (2023), PPI++, arXiv 2311.01453, section 6 (power tuning).
    """
    import numpy as np

    people, judge, rest = (_scores(name, values) for name, values in _named(labels, judged, judged_only))
    if len(judge) != len(people):
        raise ConfigError(
            f"each label needs the judge's score of its item: {len(people)} labels, {len(judge)} scores"
        )
    _check(level, weight, len(people), len(rest))
    one, other = people - people.mean(), judge - judge.mean()
    both = _Both(
        n=len(people),
        people=float(people.mean()),
        judge=float(judge.mean()),
        people_squares=float((one * one).sum()),
        judge_squares=float((other * other).sum()),
        products=float((one * other).sum()),
        coarse=bool(np.isin(people, (0.0, 1.0)).all()),
    )
    mean = float(rest.mean())
    return _estimate(both, len(rest), mean, float(((rest - mean) ** 2).sum()), level, weight)


def prediction_powered_from_moments(
    both: PairMoments, judged_only: Moments, level: float = 0.95, *, weight: float | None = None
) -> PredictionPowered:
    """Return what `prediction_powered_mean` does, from sums. A mean that dwarfs its spread loses digits."""
    n, more = both.n, judged_only.n
    _check(level, weight, n, more)
    mean = judged_only.total / more
    sums = _Both(
        n=n,
        people=both.total / n,
        judge=both.other_total / n,
        people_squares=max(0.0, both.squares - both.total**2 / n),
        judge_squares=max(0.0, both.other_squares - both.other_total**2 / n),
        products=both.products - both.total * both.other_total / n,
        # Of values in [0, 1] only zeros and ones are their own squares.
        coarse=both.total - both.squares <= n * _ROUNDING,
    )
    return _estimate(
        sums, more, mean, max(0.0, judged_only.squares - judged_only.total * mean), level, weight
    )


class PairMoments(Protocol):
    """What is kept of pairs: people's label first, the judge's as the other."""

    n: int
    total: float
    squares: float
    other_total: float
    other_squares: float
    products: float


class _Both(NamedTuple):
    """Of the items that both scored: the means, and the sums of squares and products about them."""

    n: int
    people: float
    judge: float
    people_squares: float
    judge_squares: float
    products: float
    coarse: bool


def _check(level: float, weight: float | None, n: int, more: int) -> None:
    checked_number(level, "level", above=0, below=1)
    if weight is not None:
        checked_share(weight, "weight")
    if n < LEAST_LABELS:
        raise InsufficientDataError(
            f"prediction-powered inference needs at least {LEAST_LABELS} labels of people, got {n}",
            needed=LEAST_LABELS,
            have=n,
        )
    if more < 2:
        raise InsufficientDataError(
            f"prediction-powered inference needs at least 2 items that only the judge scored, got {more}",
            needed=2,
            have=more,
        )


def _estimate(
    both: _Both, more: int, rest: float, rest_squares: float, level: float, weight: float | None
) -> PredictionPowered:
    n = both.n
    correlation = _correlation(both)
    tuned = weight is None
    used = _tuned_weight(both, more, rest, rest_squares) if weight is None else weight
    value = used * rest + both.people - used * both.judge
    squares = both.people_squares - 2 * used * both.products + used * used * both.judge_squares
    label_error = _spread(squares, n, both.coarse) / (n - (2 if tuned else 1)) / n
    judge_error = used * used * rest_squares / (more - 1) / more
    freedom = _freedom(label_error, n - (2 if tuned else 1), judge_error, more - 1)
    interval = _interval(value, label_error + judge_error, freedom, level)
    people = _interval(both.people, _spread(both.people_squares, n, both.coarse) / (n - 1) / n, n - 1, level)
    return PredictionPowered(
        value=min(1.0, max(0.0, value)),
        interval=interval,
        people_value=both.people,
        people_interval=people,
        weight=used,
        correlation=correlation,
        judge_helps=used > 0
        and _goes_together(correlation, n)
        and interval.high - interval.low < people.high - people.low,
        n_labels=n,
        n_judged=more,
    )


def _tuned_weight(both: _Both, more: int, rest: float, rest_squares: float) -> float:
    """Return the weight of least variance: covariance over (1 + n / N) times the judge's variance, in [0, 1].

    The judge's variance is taken over all that it judged.
    """
    n = both.n
    # Two groups' sums of squares about their own means, and the part between the means.
    between = n * more / (n + more) * (both.judge - rest) ** 2
    variance = (both.judge_squares + rest_squares + between) / (n + more - 1)
    if variance < _ROUNDING**2:
        return 0.0
    covariance = both.products / (n - 1)
    return min(1.0, max(0.0, covariance / ((1 + n / more) * variance)))


def _correlation(both: _Both) -> float | None:
    if min(both.people_squares, both.judge_squares) < both.n * _ROUNDING**2:
        return None
    bottom = math.sqrt(both.people_squares * both.judge_squares)
    return max(-1.0, min(1.0, both.products / bottom))


def _goes_together(correlation: float | None, n: int) -> bool:
    """Return whether the correlation is above 0 by Student's one-sided test."""
    from scipy.special import stdtrit

    if correlation is None or correlation <= 0:
        return False
    if correlation >= 1:
        return True
    statistic = correlation * math.sqrt((n - 2) / (1 - correlation**2))
    return statistic > float(stdtrit(n - 2, 1 - _CHANCE_TO_TRUST_NOISE))


def _spread(squares: float, n: int, coarse: bool) -> float:
    """Return a sum of squared deviations, at least that of one unseen exception where none may show."""
    return max(squares, 1.0) if coarse or squares < n * _ROUNDING**2 else squares


def _freedom(one: float, one_freedom: float, other: float, other_freedom: float) -> float:
    return (one + other) ** 2 / (one * one / one_freedom + other * other / other_freedom)


def _interval(value: float, squared_error: float, freedom: float, level: float) -> Interval:
    from scipy.special import stdtrit

    half = float(stdtrit(freedom, (1 + level) / 2)) * math.sqrt(squared_error)
    center = min(1.0, max(0.0, value))
    return Interval(max(0.0, min(center, value - half)), min(1.0, max(center, value + half)), level)


def _named(
    labels: Sequence[float], judged: Sequence[float], judged_only: Sequence[float]
) -> list[tuple[str, Sequence[float]]]:
    return [("labels", labels), ("judged", judged), ("judged_only", judged_only)]


def _scores(name: str, values: Sequence[float]) -> Array:
    import numpy as np

    scores = np.asarray(values, dtype=np.float64)
    if not ((scores >= 0) & (scores <= 1)).all():
        wrong = next(float(score) for score in scores if not 0 <= score <= 1)
        raise ConfigError(f"{name} must lie in [0, 1], got {wrong}")
    return scores
