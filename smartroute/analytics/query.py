"""Ask a log for figures: of which requests, and grouped by what. Works on any source of events."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartroute.analytics.feedback import Feedback
from smartroute.analytics.figures import Figures, measure
from smartroute.analytics.filter import Filter
from smartroute.analytics.rollup.cells import DAY, HOUR, UserSums, of_user
from smartroute.analytics.rollup.queries import can_answer, can_answer_users, several, users
from smartroute.analytics.rollup.reader import Rolled
from smartroute.errors import ConfigError
from smartroute.records import TaskComplexity
from smartroute.sinks import open_log

if TYPE_CHECKING:
    from smartroute.analytics.rollup.file_rollup import Progress
    from smartroute.events.event import Event
    from smartroute.protocols import EventSource

DIMENSIONS = (
    "kind",
    "complexity",
    "model",
    "tenant",
    "strategy",
    "arm",
    "unit",
    "hour",
    "day",
    "baseline",
    "simulated",
)
"""What figures may be grouped by. `unit` is whom the request was for; hours and days are UTC."""

_MOST_HOURS = 100_000
"""How many hours a series may have, some 11 years: each has figures, if empty ones."""

_MOST_EVENTS = 1_000_000
"""How many single events may be asked for at once: each is held in memory."""

_MOST_NAMES = 10
"""How many names are told in place of one that no request has."""

_EVERYTHING = Filter()


class Analytics:
    """Figures about the events of a source, or of the log at a path or a database's address.

    Beside a log of files, and in the database of one that is kept there, stands a rollup, which whoever asks
    keeps up to date; figures come from it, and take the same time however long the log is. It is not used
    for single users or a time that cuts an hour in two: those, and every question with `rollup=False`, read
    the log. The answers are the same. Raises SinkError where a path or an address leads to no log, and
    ConfigError for what is none of these.
    """

    def __init__(self, source: EventSource | str | Path, *, rollup: bool = True) -> None:
        if isinstance(source, str | Path):
            source = open_log(source)
        elif isinstance(source, type) or not callable(getattr(source, "events", None)):
            raise ConfigError(
                "a log is read from a path, a database's address or a source of events, such as "
                f"open_log(...) or a MemorySink, got {source!r:.60}"
            )
        self.source = source
        self._rolled = Rolled.of(source) if rollup else None

    def catch_up(self, progress: Progress | None = None, *, anew: bool = False) -> bool:
        """Bring the rollup up to date now, as any question does; or build it anew from the log.

        `progress` is called with how much of what is new was read, and how much there is. Returns False
        where the source has no rollup, or none can be kept.
        """
        return self._rolled is not None and self._rolled.catch_up(progress, anew=anew)

    def outcomes(self, where: Filter = _EVERYTHING) -> Iterator[Event]:
        """Yield the outcomes that count, oldest first; one that is stored twice comes once."""
        seen: set[str] = set()
        for event in self.source.events():
            if event.type == "outcome" and event.id not in seen:
                seen.add(event.id)
                if where.takes(event):
                    yield event

    def figures(self, where: Filter = _EVERYTHING) -> Figures:
        """Return the figures of all outcomes that count, with what was said of them."""
        return self.grouped((), where).get((), Figures())

    def grouped(
        self, by: Sequence[str] | str, where: Filter = _EVERYTHING
    ) -> dict[tuple[str | None, ...], Figures]:
        """Return the figures by the values of DIMENSIONS. Raises ConfigError for an unknown one."""
        if not isinstance(by, Iterable):
            raise ConfigError(f"figures are grouped by a name or several, got {by!r:.40}")
        names = (by,) if isinstance(by, str) else tuple(by)
        return self.several((names,), where)[names]

    def several(
        self, groupings: Iterable[tuple[str, ...]], where: Filter = _EVERYTHING
    ) -> dict[tuple[str, ...], dict[tuple[str | None, ...], Figures]]:
        """Return what `grouped` does for each of several groupings, at once."""
        tables: dict[tuple[str, ...], dict[tuple[str | None, ...], Figures]] = {}
        for names in groupings:
            for name in names:
                if name not in DIMENSIONS:
                    raise ConfigError(f"figures cannot be grouped by {name!r}; use {', '.join(DIMENSIONS)}")
            tables[names] = {}
        if self._rolled is not None and can_answer(tables, where):
            answer = self._rolled.ask(lambda log: several(log, tables, where))
            if answer is not None:
                return answer
        said = Feedback.of(self.source.events())
        for event in self.outcomes(where):
            about = {source: (word.quality, word.label) for source, word in said.about(event).items()}
            for names, found in tables.items():
                figures = found.setdefault(tuple([_value(event, name) for name in names]), Figures())
                figures.add(event)
                figures.hear(about, event.confidence, event.holdback)
        return tables

    def series(self, hours: int = 24, where: Filter = _EVERYTHING) -> list[tuple[str, Figures]]:
        """Return the figures of each of the last `hours` hours that the log has, empty ones included, UTC.

        The last hour is that of the newest outcome that counts.
        """
        _check_count(hours, "hours", 1, _MOST_HOURS)
        newest = self.figures(where).last
        if newest is None:
            return []
        last = datetime.fromisoformat(f"{newest[:HOUR]}:00:00+00:00")
        hours = min(hours, (last - datetime.min.replace(tzinfo=UTC)) // timedelta(hours=1) + 1)
        starts = [last - timedelta(hours=back) for back in reversed(range(hours))]
        since = f"{starts[0].isoformat()[:HOUR]}:00:00.000000Z"
        found = self.grouped("hour", replace(where, since=max(since, str(where.since or since))))
        names = [start.isoformat()[:HOUR] for start in starts]
        return [(name, found.get((name,), Figures())) for name in names]

    def users(self, where: Filter = _EVERYTHING) -> dict[str, UserSums]:
        """Return what the requests of each user (`unit`) add up to."""
        if self._rolled is not None and can_answer_users(where):
            answer = self._rolled.ask(lambda log: users(log, where))
            if answer is not None:
                return answer
        found: dict[str, UserSums] = {}
        for event in self.outcomes(where):
            if event.unit is not None:
                found[event.unit] = of_user(measure(event.__dict__.get), found.get(event.unit))
        return found

    def unmet(self, where: Filter) -> list[str]:
        """Return in words the names in a filter that no request of the whole log has: perhaps misspelled."""
        found = []
        for name in ("kind", "model", "tenant", "strategy"):
            wanted = getattr(where, name)
            there = [] if wanted is None else sorted(key for (key,) in self.grouped(name) if key is not None)
            if wanted is None or wanted in there:
                continue
            cure = f"there are {', '.join(there[:_MOST_NAMES])}" if there else f"none has a {name}"
            close = difflib.get_close_matches(wanted, there, n=1)
            if close:
                cure = f"did you mean {close[0]}?"
            found.append(f"no request of the log has the {name} {wanted!r:.60}; {cure}")
        return found

    def unreadable(self) -> tuple[int, int]:
        """Return how many lines could not be read, and how many mix simulated with real traffic."""
        known = None if self._rolled is None else self._rolled.unreadable()
        if known is not None:
            return known
        for _ in self.source.events():
            pass
        return getattr(self.source, "bad_lines", 0), getattr(self.source, "foreign_lines", 0)

    def newest(self, n: int = 20, where: Filter = _EVERYTHING) -> list[Event]:
        """Return the newest outcomes that count, newest first."""
        _check_count(n, "n", 0, _MOST_EVENTS)
        return heapq.nlargest(n, self.outcomes(where), key=lambda event: (event.time, event.id))

    def summary(self, where: Filter = _EVERYTHING) -> dict[str, Any]:
        """Return the totals under the names of the replaced system, as `ModelRouter.get_stats` does."""
        tables = self.several(((), ("complexity",), ("model",)), where)
        figures = tables[()].get((), Figures())
        complexities = {key[0]: group.requests for key, group in tables["complexity",].items()}
        models = {key[0]: group.requests for key, group in tables["model",].items() if key[0] is not None}
        summary: dict[str, Any] = {
            "total_requests": figures.requests,
            "by_complexity": {level.value: complexities.get(level.value, 0) for level in TaskComplexity},
            "by_model": models,
            "escalations": figures.escalated,
            "total_cost": figures.cost_usd,
            "avg_confidence": figures.confidence.mean,
            "failures": figures.failures,
            "unpriced_requests": figures.unpriced,
        }
        if not figures.requests:
            return summary
        n, pairs = figures.requests, figures.compared
        summary["complexity_distribution"] = {
            level: count / n for level, count in summary["by_complexity"].items()
        }
        summary["model_distribution"] = {name: count / sum(models.values()) for name, count in models.items()}
        summary["avg_cost_per_request"] = figures.cost_usd / n
        summary["escalation_rate"] = figures.escalated / n
        summary["compared_requests"] = pairs.n
        summary["cost_savings_pct"] = (
            100.0 * (1.0 - pairs.cost / pairs.baseline) if pairs.baseline > 0 else None
        )
        return summary


def _check_count(value: object, name: str, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ConfigError(f"{name} must be a whole number from {least} to {most}, got {value!r:.40}")


def _value(event: Event, name: str) -> str | None:
    if name == "hour":
        return event.time[:HOUR]
    if name == "day":
        return event.time[:DAY]
    value = getattr(event, "baseline_model" if name == "baseline" else name)
    return None if value is None else str(value)
