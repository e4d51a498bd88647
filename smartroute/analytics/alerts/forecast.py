"""Judge what hours cost by hours like them, and foretell what a day or a month will have cost.

An hour's total follows its traffic; what a request costs does not. So there are two measures of an unusual
cost: `request_cost`, which more traffic does not move, and `hour_spending`, which says whether traffic is the
reason.
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
"""How many requests an hour needs before their mean cost is compared with that of other hours."""

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
    """Return how far the mean cost of a request in the last whole hour lies from that of hours like it.

    In deviations: those of `hourly_anomaly`, widened by the standard error of the hour's own mean, so that
    one dear request among few is no anomaly. Hours of less than LEAST_REQUESTS do not count; None for one.
    Raises InsufficientDataError while there are too few hours like it.
    """
    hour = hours.current - 1
    if hour not in hours.whole(hours.current) or hours[hour].requests < LEAST_REQUESTS:
        return None
    means = {
        each: hours[each].usd / hours[each].requests
        for each in hours.whole(hour)
        if hours[each].requests >= LEAST_REQUESTS
    }
    n, usd, squares, _ = hours[hour]
    mean = usd / n
    found = hourly_anomaly(means, hour, mean)
    error = math.sqrt(max(0.0, squares - n * mean * mean) / (n - 1) / n)
    spread = math.hypot(found.spread, error / (mean + found.floor))
    told = f"{in_words(mean, 'usd')} a request in {n} requests; {_usual(found, spread)}"
    return _deviation(found, found.score * found.spread / spread, told, hour, hours)


def hour_spending(hours: Hours) -> Reading | None:
    """Return how far an hour's total lies from that of hours like it, and whether its traffic does too.

    The last whole hour, or the present one once that is farther out already. Raises InsufficientDataError
    while there are too few hours like it.
    """
    hour = hours.current - 1
    if hour not in hours.whole(hours.current):
        return None
    readings = [_total(hours, hour)]
    if hours[hours.current].usd > hours[hour].usd:
        readings.append(_total(hours, hours.current))
    return max(readings, key=lambda reading: reading.value)


def _total(hours: Hours, hour: int) -> Reading:
    past = hours.whole(hour)
    found = hourly_anomaly({each: hours[each].usd for each in past}, hour, hours[hour].usd)
    traffic = hourly_anomaly({each: float(hours[each].requests) for each in past}, hour, hours[hour].requests)
    told = f"{in_words(hours[hour].usd, 'usd')} in {hours[hour].requests} requests; {_usual(found)}; "
    if traffic.expected > 0:
        told += f"traffic is {hours[hour].requests / traffic.expected:.1f} times the usual"
    else:
        told += "there is usually no traffic"
    return _deviation(found, found.score, told, hour, hours)


def _usual(found: Anomaly, spread: float | None = None) -> str:
    low, high = (in_words(limit, "usd") for limit in found.usual(2.0, spread))
    usual = in_words(found.expected, "usd")
    return f"usually {usual}, {low} to {high}, by {found.n} hours: {_BASES[found.basis]}"


def _deviation(found: Anomaly, score: float, told: str, hour: int, hours: Hours) -> Reading:
    until = stamp((hour + 1) * HOUR_S) if hour < hours.current else stamp(hours.now_s)
    return Reading(
        score,
        found.n,
        unit="deviations",
        of="hours like it",
        told=told,
        since=stamp(hour * HOUR_S),
        until=until,
    )


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a period will have cost in USD when it is over, and the 95% interval, from so many whole days."""

    usd: float
    low: float
    high: float
    days: int


def forecast(hours: Hours, period: Period) -> Forecast:
    """Return the forecast for the present day or month, UTC.

    What is left of the day is foretold from what went before, by regression over the same parts of the last
    28 whole days; each further day of a month is taken as the mean of the days of its kind (weekday or
    weekend, where there are four of it, else any). The interval is that of a prediction, days being
    independent of one another: it does not know of growth or holidays.
    Raises InsufficientDataError with less than seven whole days.
    Source: the prediction interval of a regression: Draper and Smith (1998), Applied Regression Analysis,
    3rd edition, section 3.1.
    """
    from scipy.special import stdtrit

    began, ends = _bounds(hours.now_s, period)
    spent = math.fsum(hours[hour].usd for hour in range(began // HOUR_S, hours.current + 1))
    today = int(hours.now_s // DAY_S)
    whole = hours.whole(hours.current)
    days = range(max(-(-whole.start * HOUR_S // DAY_S), today - _DAYS), today)
    n = len(days)
    if n < LEAST_DAYS:
        raise InsufficientDataError(
            f"a forecast needs {LEAST_DAYS} whole days, got {max(n, 0)}", needed=LEAST_DAYS, have=max(n, 0)
        )
    before, after = zip(*(_parted(hours, day, hours.now_s % DAY_S) for day in days), strict=True)
    so_far = math.fsum(hours[hour].usd for hour in range(today * 24, hours.current + 1))
    value, variance = _regressed(before, after, so_far)
    totals = {day: one + other for day, one, other in zip(days, before, after, strict=True)}
    for kind in (False, True):
        coming = sum(_is_weekend(day) is kind for day in range(today + 1, ends // DAY_S))
        like = [usd for day, usd in totals.items() if _is_weekend(day) is kind]
        sample = like if len(like) >= _LEAST_OF_KIND else list(totals.values())
        mean, spread = _moments(sample)
        value += coming * mean
        variance += coming * spread + coming * coming * spread / len(sample)
    half = float(stdtrit(n - 2, (1 + LEVEL) / 2)) * math.sqrt(variance)
    usd = spent + max(0.0, value)
    return Forecast(usd, max(spent, usd - half), usd + half, n)


def _parted(hours: Hours, day: int, second: float) -> tuple[float, float]:
    """Return what a day cost up to a second of it, and after; the hour that it cuts in proportion."""
    cut, share = int(second // HOUR_S), second % HOUR_S / HOUR_S
    costs = [hours[24 * day + hour].usd for hour in range(24)]
    before = math.fsum(costs[:cut]) + share * costs[cut]
    return before, math.fsum(costs) - before


def _regressed(before: Sequence[float], after: Sequence[float], at: float) -> tuple[float, float]:
    """Return the prediction of what comes after `at`, and its variance."""
    n = len(before)
    centre, mean = math.fsum(before) / n, math.fsum(after) / n
    apart = math.fsum((x - centre) ** 2 for x in before)
    slope, lever = 0.0, 0.0
    if apart > 1e-12 * n * centre * centre:
        slope = math.fsum((x - centre) * (y - mean) for x, y in zip(before, after, strict=True)) / apart
        lever = (at - centre) ** 2 / apart
    errors = [y - mean - slope * (x - centre) for x, y in zip(before, after, strict=True)]
    variance = math.fsum(error * error for error in errors) / (n - 2)
    return max(0.0, mean + slope * (at - centre)), variance * (1 + 1 / n + lever)


def _moments(values: Sequence[float]) -> tuple[float, float]:
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)


def _is_weekend(day: int) -> bool:
    return (day + 3) % 7 >= 5  # the epoch began on a Thursday


def _bounds(now_s: float, period: Period) -> tuple[int, int]:
    """Return when the present day or month began and when it ends, in seconds since the epoch."""
    now = datetime.fromtimestamp(now_s, UTC)
    began = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if period == "day":
        return int(began.timestamp()), int((began + timedelta(days=1)).timestamp())
    began = began.replace(day=1)
    return int(began.timestamp()), int((began + timedelta(days=32)).replace(day=1).timestamp())


def budget_reading(hours: Hours, usd: float, period: Period) -> Reading:
    """Return the forecast beside what a budget allows.

    Before a forecast can be made, what was spent once that is more than the budget: no forecast is needed.
    """
    began, _ = _bounds(hours.now_s, period)
    spent = [hours[hour] for hour in range(began // HOUR_S, hours.current + 1)]
    so_far = math.fsum(each.usd for each in spent)
    notes = f"{in_words(so_far, 'usd')} of {in_words(usd, 'usd')} spent since {moment(stamp(began))}"
    if hours.first is not None and hours.first * HOUR_S > began:
        notes += f", as far as known since {moment(stamp(hours.first * HOUR_S))}"
    if unpriced := sum(each.unpriced for each in spent):
        notes += f", and {unpriced} requests of unknown cost"
    since, until = stamp(began), stamp(hours.now_s)
    try:
        found = forecast(hours, period)
    except InsufficientDataError:
        if so_far <= usd:
            raise
        n = sum(each.requests for each in spent)
        return Reading(so_far, n, so_far, math.inf, "usd", "requests", notes, since, until)
    return Reading(found.usd, found.days, found.low, found.high, "usd", "whole days", notes, since, until)
