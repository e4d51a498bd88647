"""Hourly cost anomalies and budget forecasts.

An hour's total follows its traffic; the cost of a request does not. So there are two measures of an unusual
cost. `request_cost` does not move with traffic. `hour_spending` does, and says whether traffic is the reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal, TypeAlias

from smartroute.analytics.alerts.hours import DAY_S, HOUR_S, Hours, stamp
from smartroute.analytics.readings import LEVEL, Reading, in_words, moment
from smartroute.errors import InsufficientDataError
from smartroute.stats.robust import Anomaly, Basis, hourly_anomaly

Period: TypeAlias = Literal["day", "month"]

LEAST_REQUESTS = 20
"""How many requests an hour needs before its mean cost is compared with that of other hours."""

LEAST_DAYS = 7
"""How many whole days a forecast needs: every day of the week once."""

_DAYS = 28
_LEAST_OF_KIND = 4
_BASES: dict[Basis, str] = {
    "hour_of_week": "the same hour of the week",
    "hour_of_day_of_its_kind": "the same hour of weekdays or of weekends",
    "hour_of_day": "the same hour of the day",
}


def request_cost(hours: Hours) -> Reading | None:
    """Return how far the last whole hour's mean cost of a request is from that of similar hours.

    The value is in deviations: those of `hourly_anomaly`, widened by the standard error of the hour's own
    mean, so that one expensive request among few is no anomaly. Hours with fewer than LEAST_REQUESTS requests
    do not count; the result is None when the last whole hour is such an hour.
    Raises InsufficientDataError while there are too few similar hours.
    """
    hour = hours.current - 1
    if hour not in hours.whole(hours.current) or hours[hour].requests < LEAST_REQUESTS:
        return None
    means = {
        past: hours[past].usd / hours[past].requests
        for past in hours.whole(hour)
        if hours[past].requests >= LEAST_REQUESTS
    }
    n, usd, squares, _ = hours[hour]
    mean = usd / n
    anomaly = hourly_anomaly(means, hour, mean)
    error = math.sqrt(max(0.0, squares - n * mean * mean) / (n - 1) / n)
    spread = math.hypot(anomaly.spread, error / (mean + anomaly.floor))
    note = f"{in_words(mean, 'usd')} a request in {n} requests; {_usual_range(anomaly, spread)}"
    return _deviation(anomaly, anomaly.score * anomaly.spread / spread, note, hour, hours)


def hour_spending(hours: Hours) -> Reading | None:
    """Return how far an hour's total is from that of similar hours, and whether its traffic is too.

    The hour is the last whole one, or the current one once that has cost more and deviates further.
    Raises InsufficientDataError while there are too few similar hours.
    """
    hour = hours.current - 1
    if hour not in hours.whole(hours.current):
        return None
    readings = [_total(hours, hour)]
    # A loop is reported within the hour: a current hour that has cost more already need not be over.
    if hours[hours.current].usd > hours[hour].usd:
        readings.append(_total(hours, hours.current))
    return max(readings, key=lambda reading: reading.value)


def _total(hours: Hours, hour: int) -> Reading:
    whole = hours.whole(hour)
    anomaly = hourly_anomaly({past: hours[past].usd for past in whole}, hour, hours[hour].usd)
    traffic = hourly_anomaly(
        {past: float(hours[past].requests) for past in whole}, hour, hours[hour].requests
    )
    note = f"{in_words(hours[hour].usd, 'usd')} in {hours[hour].requests} requests; {_usual_range(anomaly)}; "
    if traffic.expected > 0:
        note += f"traffic is {hours[hour].requests / traffic.expected:.1f} times the usual"
    else:
        note += "there is usually no traffic"
    return _deviation(anomaly, anomaly.score, note, hour, hours)


def _usual_range(anomaly: Anomaly, spread: float | None = None) -> str:
    low, high = (in_words(limit, "usd") for limit in anomaly.usual(2.0, spread))
    usual = in_words(anomaly.expected, "usd")
    return f"usually {usual}, {low} to {high}, by {anomaly.n} hours: {_BASES[anomaly.basis]}"


def _deviation(anomaly: Anomaly, score: float, note: str, hour: int, hours: Hours) -> Reading:
    until = stamp((hour + 1) * HOUR_S) if hour < hours.current else stamp(hours.now_s)
    return Reading(
        score,
        anomaly.n,
        unit="deviations",
        of="similar hours",
        note=note,
        since=stamp(hour * HOUR_S),
        until=until,
    )


@dataclass(frozen=True, slots=True)
class Forecast:
    """The cost of a whole period in USD, and its 95% interval, predicted from `days` whole days."""

    usd: float
    low: float
    high: float
    days: int


def forecast(hours: Hours, period: Period) -> Forecast:
    """Return the forecast for the current day or month, UTC.

    The rest of the day is predicted from the day so far, by regression over the same times of the last 28
    whole days. Each further day of a month is taken as the mean of the days of its kind (weekday or weekend,
    where there are four of that kind, otherwise any day). The interval is a prediction interval that takes
    days for independent of one another. It does not know of growth or holidays.
    Raises InsufficientDataError with fewer than seven whole days.
    Source: the prediction interval of a regression: Draper and Smith (1998), Applied Regression Analysis,
    3rd edition, section 3.1.
    """
    from scipy.special import stdtrit

    start, end = _bounds(hours.now_s, period)
    spent = math.fsum(hours[hour].usd for hour in range(start // HOUR_S, hours.current + 1))
    today = int(hours.now_s // DAY_S)
    whole = hours.whole(hours.current)
    days = range(max(-(-whole.start * HOUR_S // DAY_S), today - _DAYS), today)
    n = len(days)
    if n < LEAST_DAYS:
        raise InsufficientDataError(
            f"a forecast needs {LEAST_DAYS} whole days, got {max(n, 0)}", needed=LEAST_DAYS, have=max(n, 0)
        )
    before, after = zip(*(_split(hours, day, hours.now_s % DAY_S) for day in days), strict=True)
    so_far = math.fsum(hours[hour].usd for hour in range(today * 24, hours.current + 1))
    value, variance = _predicted(before, after, so_far)
    totals = {day: one + other for day, one, other in zip(days, before, after, strict=True)}
    for kind in (False, True):
        coming = sum(_is_weekend(day) is kind for day in range(today + 1, end // DAY_S))
        similar = [usd for day, usd in totals.items() if _is_weekend(day) is kind]
        sample = similar if len(similar) >= _LEAST_OF_KIND else list(totals.values())
        mean, spread = _mean_and_variance(sample)
        value += coming * mean
        variance += coming * spread + coming * coming * spread / len(sample)
    half = float(stdtrit(n - 2, (1 + LEVEL) / 2)) * math.sqrt(variance)
    usd = spent + max(0.0, value)
    return Forecast(usd, max(spent, usd - half), usd + half, n)


def _split(hours: Hours, day: int, second: float) -> tuple[float, float]:
    """Return a day's cost before and after a second of it; the hour in between is split in proportion."""
    cut, share = int(second // HOUR_S), second % HOUR_S / HOUR_S
    costs = [hours[24 * day + hour].usd for hour in range(24)]
    before = math.fsum(costs[:cut]) + share * costs[cut]
    return before, math.fsum(costs) - before


def _predicted(before: Sequence[float], after: Sequence[float], at: float) -> tuple[float, float]:
    """Return the regression's prediction of what follows after `at`, and its variance."""
    n = len(before)
    center, mean = math.fsum(before) / n, math.fsum(after) / n
    scatter = math.fsum((x - center) ** 2 for x in before)
    slope, lever = 0.0, 0.0
    # Days that all cost the same until now say nothing of a slope: then the mean is the prediction.
    if scatter > 1e-12 * n * center * center:
        slope = math.fsum((x - center) * (y - mean) for x, y in zip(before, after, strict=True)) / scatter
        lever = (at - center) ** 2 / scatter
    errors = [y - mean - slope * (x - center) for x, y in zip(before, after, strict=True)]
    variance = math.fsum(error * error for error in errors) / (n - 2)
    return max(0.0, mean + slope * (at - center)), variance * (1 + 1 / n + lever)


def _mean_and_variance(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _is_weekend(day: int) -> bool:
    return (day + 3) % 7 >= 5  # the epoch started on a Thursday


def _bounds(now_s: float, period: Period) -> tuple[int, int]:
    """Return the start and end of the current day or month, in seconds since the epoch."""
    now = datetime.fromtimestamp(now_s, UTC)
    start = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return int(start.timestamp()), int((start + timedelta(days=1)).timestamp())
    start = start.replace(day=1)
    return int(start.timestamp()), int((start + timedelta(days=32)).replace(day=1).timestamp())


def budget_reading(hours: Hours, usd: float, period: Period) -> Reading:
    """Return the forecast for a period, with the amount spent so far beside the budget.

    Before a forecast can be made, return the amount spent once that exceeds the budget.
    Raises InsufficientDataError as `forecast` does while neither is possible.
    """
    start, _ = _bounds(hours.now_s, period)
    past = [hours[hour] for hour in range(start // HOUR_S, hours.current + 1)]
    spent = math.fsum(sums.usd for sums in past)
    note = f"{in_words(spent, 'usd')} of {in_words(usd, 'usd')} spent since {moment(stamp(start))}"
    # The log, or this process, started within the period: earlier costs are not known.
    if hours.first is not None and hours.first * HOUR_S > start:
        note += f", as far as known since {moment(stamp(hours.first * HOUR_S))}"
    if unpriced := sum(sums.unpriced for sums in past):
        note += f", and {unpriced} requests of unknown cost"
    since, until = stamp(start), stamp(hours.now_s)
    try:
        expected = forecast(hours, period)
    except InsufficientDataError:
        if spent <= usd:
            raise
        n = sum(sums.requests for sums in past)
        return Reading(spent, n, spent, math.inf, "usd", "requests", note, since, until)
    return Reading(
        expected.usd, expected.days, expected.low, expected.high, "usd", "whole days", note, since, until
    )
