"""Hourly cost history: the baseline for anomalies and budget forecasts."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Self

from smartroute.analytics.figures import Figures
from smartroute.analytics.filter import Filter
from smartroute.analytics.query import Analytics
from smartroute.number_checks import checked_whole

if TYPE_CHECKING:
    from smartroute.events.event import Event

HOUR_S = 3_600
DAY_S = 86_400
_WEEK_HOURS = 168


class HourSums(NamedTuple):
    """An hour's requests, their cost in USD, the sum of squared costs, and the requests of unknown cost."""

    requests: int = 0
    usd: float = 0.0
    squares: float = 0.0
    unpriced: int = 0


class Hours:
    """The cost of each hour in UTC, for the last `weeks` weeks: 6 to 520, since months are forecast too.

    Filled event by event, or from a log by `of`. An hour without requests between the first hour and the
    current one counts as 0. The first hour, which is seldom whole, is left out of comparisons. Hours are
    counted from the Unix epoch.
    """

    def __init__(self, *, weeks: int = 8) -> None:
        self._keep = checked_whole(weeks, "weeks", least=6, most=520) * _WEEK_HOURS
        self._sums: dict[int, HourSums] = {}
        self.now_s = 0.0
        self.first: int | None = None
        """The first hour that is known."""

    @classmethod
    def of(cls, analytics: Analytics, now_s: float, *, weeks: int = 8, where: Filter | None = None) -> Self:
        """Return the hours of a log, as of a time in seconds since the epoch."""
        hours = cls(weeks=weeks)
        oldest = int(now_s // HOUR_S) - hours._keep
        since = datetime.fromtimestamp(max(0, oldest) * HOUR_S, UTC)
        for (name,), figures in analytics.grouped("hour", replace(where or Filter(), since=since)).items():
            hour = int(datetime.fromisoformat(f"{name}:00:00+00:00").timestamp()) // HOUR_S
            hours._sums[hour] = _of_figures(figures)
        hours.first = min(hours._sums, default=None)
        hours.advance(now_s)
        return hours

    def add(self, event: Event, at_s: float) -> None:
        """Add an outcome's event that arrived at a time in seconds since the epoch."""
        hour = int(at_s // HOUR_S)
        sums = self[hour]
        usd = event.cost_usd or 0.0
        self._sums[hour] = HourSums(
            sums.requests + 1,
            sums.usd + usd,
            sums.squares + usd * usd,
            sums.unpriced + bool(event.unpriced_attempts),
        )
        self.first = hour if self.first is None else min(self.first, hour)

    def advance(self, now_s: float) -> None:
        """Set the current time. Drop hours that are too old or, after a wrong clock, in the future."""
        self.now_s = now_s
        oldest = self.current - self._keep
        for hour in [hour for hour in self._sums if not oldest <= hour <= self.current]:
            del self._sums[hour]
        if self.first is not None:
            self.first = min(max(self.first, oldest), self.current)

    @property
    def current(self) -> int:
        """Return the hour that is not over yet."""
        return int(self.now_s // HOUR_S)

    def __getitem__(self, hour: int) -> HourSums:
        return self._sums.get(hour, HourSums())

    def __len__(self) -> int:
        return len(self._sums)

    def whole(self, until: int) -> range:
        """Return the hours before `until` that are known from start to end."""
        return range(until if self.first is None else self.first + 1, until)


def _of_figures(figures: Figures) -> HourSums:
    return HourSums(figures.requests, figures.cost.total, figures.cost.squares, figures.unpriced)


def stamp(at_s: float) -> str:
    """Return a time in seconds since the epoch as events write it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
