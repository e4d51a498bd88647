"""Detect anomalous hours by robust statistics: medians of comparable hours.

Hours are counted from the Unix epoch in UTC: seconds // 3600.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from smartroute.errors import InsufficientDataError
from smartroute.number_checks import checked_number

Basis = Literal["hour_of_week", "hour_of_day_of_its_kind", "hour_of_day"]

MAD_TO_SIGMA = 1.482602218505602
_LEAST_SPREAD = 0.1
_LEAST_ERRORS = 24
_LEAST_PEERS = 4
_BASES: tuple[Basis, ...] = ("hour_of_week", "hour_of_day_of_its_kind", "hour_of_day")


@dataclass(frozen=True, slots=True)
class Anomaly:
    """How far an hour is from what its peers make likely.

    `score` counts robust standard deviations on a logarithmic scale, positive when more expensive; above 3.5
    is commonly called an outlier. `n` is how many peers made `expected`; `basis` says which hours they were.
    `spread` is the standard deviation in that scale, about relative: 0.3 is 30%.
    """

    score: float
    expected: float
    n: int
    basis: Basis
    spread: float
    floor: float
    """What was added to every value before its logarithm was taken."""

    def usual(self, deviations: float = 2.0, spread: float | None = None) -> tuple[float, float]:
        """Return the range of values within so many deviations, of this spread or another."""
        factor = math.exp(deviations * (self.spread if spread is None else spread))
        center = self.expected + self.floor
        return max(0.0, center / factor - self.floor), center * factor - self.floor


def median_absolute_deviation(values: Sequence[float]) -> float:
    """Return the median distance from the median, scaled to estimate a normal's standard deviation.

    Raises InsufficientDataError without a value.
    Source: Hampel (1974), Journal of the American Statistical Association 69, 383-393.
    """
    if not values:
        raise InsufficientDataError("a median needs at least 1 value, got 0", needed=1, have=0)
    center = median(values)
    return MAD_TO_SIGMA * median(abs(value - center) for value in values)


def hourly_anomaly(history: Mapping[int, float], hour: int, value: float) -> Anomaly:
    """Return how unusual `value`, the total of one hour, is after the hours of `history` before it.

    An hour without traffic belongs in the history as 0; a missing hour is unknown. Peers are hours
    of the same hour of the week while there are four; with fewer weeks the same hour of the days of its kind
    (weekday or weekend), then the same hour of any day. Values are compared as log(value + a tenth of the
    median hour with traffic), so that a quiet hour's small change is none. The spread is the median absolute
    error of predicting each hour of the history from its peers, itself left out, and never less than 0.1.
    It is pooled over the hours within two of the same hour of the day, for quiet hours vary more than busy
    ones; over all, while those are fewer than 24. Scaling all values changes `expected` and `floor` alone.
    With few weeks a trend or a holiday cannot be distinguished from an anomaly.
    Raises InsufficientDataError with fewer than 4 peers or 24 predicted hours (four whole days give both).
    Source: the score: Iglewicz and Hoaglin (1993), How to Detect and Handle Outliers, section 3.3.
    """
    past = {when: amount for when, amount in history.items() if when < hour}
    for amount in (value, *past.values()):
        checked_number(amount, "an hour's total", least=0)
    busy = [amount for amount in past.values() if amount > 0]
    floor = median(busy) / 10 if busy else 1.0
    logs = {when: math.log(amount + floor) for when, amount in past.items()}
    groups = _group(logs)
    basis, peers = _peers(groups, hour)
    if basis is None:
        raise InsufficientDataError(
            f"an hour needs at least {_LEAST_PEERS} earlier hours like it, got {len(peers)}",
            needed=_LEAST_PEERS,
            have=len(peers),
        )
    errors = list(_errors(groups, {when: amount for when, amount in logs.items() if _is_near(when, hour)}))
    if len(errors) < _LEAST_ERRORS:
        errors = list(_errors(groups, logs))
    if len(errors) < _LEAST_ERRORS:
        raise InsufficientDataError(
            f"the usual spread needs {_LEAST_ERRORS} hours that have others like them, got {len(errors)}",
            needed=_LEAST_ERRORS,
            have=len(errors),
        )
    spread = max(_LEAST_SPREAD, MAD_TO_SIGMA * median(abs(error) for error in errors))
    center = median(peers)
    return Anomaly(
        score=(math.log(value + floor) - center) / spread,
        expected=max(0.0, math.exp(center) - floor),
        n=len(peers),
        basis=basis,
        spread=spread,
        floor=floor,
    )


_Groups = dict[tuple[Basis, int], list[float]]


def _group(logs: Mapping[int, float]) -> _Groups:
    groups: _Groups = {}
    for when, amount in logs.items():
        for basis in _BASES:
            groups.setdefault((basis, _key(basis, when)), []).append(amount)
    return groups


def _key(basis: Basis, hour: int) -> int:
    if basis == "hour_of_week":
        return hour % 168
    if basis == "hour_of_day":
        return hour % 24
    # The epoch started on a Thursday, three days after a Monday.
    weekend = (hour // 24 + 3) % 7 >= 5
    return hour % 24 + (24 if weekend else 0)


def _peers(groups: _Groups, hour: int) -> tuple[Basis | None, list[float]]:
    """Return the closest peers of which there are enough; no basis, and the last kind, if none are."""
    peers: list[float] = []
    for basis in _BASES:
        peers = groups.get((basis, _key(basis, hour)), [])
        if len(peers) >= _LEAST_PEERS:
            return basis, peers
    return None, peers


def _is_near(when: int, hour: int) -> bool:
    """Return whether two hours are within two of the same hour of the day."""
    return (when - hour + 2) % 24 <= 4


def _errors(groups: _Groups, logs: Mapping[int, float]) -> Iterable[float]:
    """Yield each of these hours less the median of its peers, itself left out."""
    for when, amount in logs.items():
        basis, peers = _peers(groups, when)
        if basis is not None:
            others = list(peers)
            others.remove(amount)
            yield amount - median(others)
