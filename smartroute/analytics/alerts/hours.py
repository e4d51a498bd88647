"""Remember what each hour cost, for some weeks: what an hour is compared with, and a budget foretold from."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple, Self

from smartroute.analytics.figures import Figures
from smartroute.analytics.filter import Filter
from smartroute.analytics.query import Analytics
from smartroute.errors import ConfigError

if TYPE_CHECKING:
    from smartroute.events.event import Event

HOUR_S = 3_600
DAY_S = 86_400
_WEEK_HOURS = 168


class HourSums(NamedTuple):
    """How many requests an hour had, what they cost in USD, the sum of squares, and how many are unpriced."""

    requests: int = 0
    usd: float = 0.0
    squares: float = 0.0
    unpriced: int = 0


class Hours:
    """What each hour in UTC cost, for the last `weeks` weeks; at least 6, since months are foretold too.

    Learnt event by event, or from a log by `of`. Between the first hour and the present one without requests
    counts as 0; the first hour, which is seldom whole, is left out of comparisons. Hours are counted from
    the Unix epoch.
    """

    def __init__(self, *, weeks: int = 8) -> None:
        if isinstance(weeks, bool) or not isinstance(weeks, int) or not 6 <= weeks <= 520:
            raise ConfigError(f"weeks must be a whole number from 6 to 520, got {weeks!r:.40}")
        self._keep = weeks * _WEEK_HOURS
        self._sums: dict[int, HourSums] = {}
        self.now_s = 0.0
        self.first: int | None = None
        """The first hour that was watched."""

    @classmethod
    def of(cls, analytics: Analytics, now_s: float, *, weeks: int = 8, where: Filter | None = None) -> Self:
        """Return the hours of a log, as they are at a time."""
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
        """Add an outcome's event that came at a time."""
        hour = int(at_s // HOUR_S)
        known = self._sums.get(hour, HourSums())
        usd = event.cost_usd or 0.0
        self._sums[hour] = HourSums(
            known.requests + 1,
            known.usd + usd,
            known.squares + usd * usd,
            known.unpriced + bool(event.unpriced_attempts),
        )
        self.first = hour if self.first is None else min(self.first, hour)

    def advance(self, now_s: float) -> None:
        """Let the time be what it is, and forget what lies too far back, or ahead: a clock was wrong."""
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
        """Return the hours that were watched from beginning to end, before another."""
        return range(until if self.first is None else self.first + 1, until)


def _of_figures(figures: Figures) -> HourSums:
    return HourSums(figures.requests, figures.cost.total, figures.cost.squares, figures.unpriced)


def stamp(at_s: float) -> str:
    """Return a moment as events write it."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
