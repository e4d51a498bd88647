"""Query a log for figures of chosen requests, grouped by their fields. Works on any source of events."""

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
from smartroute.analytics.rollup.reader import RollupReader
from smartroute.errors import ConfigError, shown
from smartroute.number_checks import checked_whole
from smartroute.records import TaskComplexity
from smartroute.sinks import open_log

if TYPE_CHECKING:
    from smartroute.analytics.rollup.log import Progress
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
"""What figures may be grouped by. `unit` is the user that the request was for; hours and days are UTC."""

_MAX_HOURS = 100_000
"""How many hours a series may have, about 11 years: each hour has figures, even if empty."""

_MAX_EVENTS = 1_000_000
"""How many single events may be requested at once: all are held in memory."""

_MAX_NAMES = 10
"""How many names are listed in place of a name that no request has."""

_EVERYTHING = Filter()


class Analytics:
    """Figures about the events of a source, or of the log at a path or a database's address.

    A rollup is kept beside a log of files, or in the database of the log, and every query brings it up to
    date. Figures come from it, and take the same time however long the log is. Queries by single users, and
    for times that are not on the full hour, read the log, as do all queries with `rollup=False`. The answers
    are the same. Raises SinkError where there is no log at a path or an address, and ConfigError for a
    source of another type.
    """

    def __init__(self, source: EventSource | str | Path, *, rollup: bool = True) -> None:
        if isinstance(source, str | Path):
            source = open_log(source)
        elif isinstance(source, type) or not callable(getattr(source, "events", None)):
            raise ConfigError(
                "a log is read from a path, a database's address or a source of events, such as "
                f"open_log(...) or a MemorySink, got {shown(source)}"
            )
        self.source = source
        self._rollup = RollupReader.of(source) if rollup else None

    def catch_up(self, progress: Progress | None = None, *, rebuild: bool = False) -> bool:
        """Bring the rollup up to date, as any query does, or rebuild it from the whole log.

        `progress` is called with how much of what is new was read, and how much there is: in bytes for
        files, in events for a database. Returns False where the source has no rollup, or none can be kept.
        """
        return self._rollup is not None and self._rollup.catch_up(progress, rebuild=rebuild)

    def outcomes(self, where: Filter = _EVERYTHING) -> Iterator[Event]:
        """Yield the outcomes that the filter takes, oldest first, each once even if it is stored twice."""
        seen: set[str] = set()
        for event in self.source.events():
            if event.type == "outcome" and event.id not in seen:
                seen.add(event.id)
                if where.takes(event):
                    yield event

    def figures(self, where: Filter = _EVERYTHING) -> Figures:
        """Return the figures of all outcomes that the filter takes, with the feedback about them."""
        return self.grouped((), where).get((), Figures())

    def grouped(
        self, by: Sequence[str] | str, where: Filter = _EVERYTHING
    ) -> dict[tuple[str | None, ...], Figures]:
        """Return the figures by the values of DIMENSIONS. Raises ConfigError for an unknown one."""
        if not isinstance(by, Iterable):
            raise ConfigError(
                f"figures are grouped by one or more of {', '.join(DIMENSIONS)}, got {shown(by)}"
            )
        names = (by,) if isinstance(by, str) else tuple(by)
        return self.several((names,), where)[names]

    def several(
        self, groupings: Iterable[tuple[str, ...]], where: Filter = _EVERYTHING
    ) -> dict[tuple[str, ...], dict[tuple[str | None, ...], Figures]]:
        """Return what `grouped` returns for each of several groupings, in one pass."""
        tables: dict[tuple[str, ...], dict[tuple[str | None, ...], Figures]] = {}
        for names in groupings:
            for name in names:
                if name not in DIMENSIONS:
                    raise ConfigError(f"figures cannot be grouped by {name!r}; use {', '.join(DIMENSIONS)}")
            tables[names] = {}
        if self._rollup is not None and can_answer(tables, where):
            answer = self._rollup.ask(lambda log: several(log, tables, where))
            if answer is not None:
                return answer
        feedback = Feedback.of(self.source.events())
        for event in self.outcomes(where):
            ratings = {source: (f.quality, f.label) for source, f in feedback.about(event).items()}
            for names, table in tables.items():
                figures = table.setdefault(tuple([_value(event, name) for name in names]), Figures())
                figures.add(event)
                figures.add_feedback(ratings, event.confidence, event.holdback)
        return tables

    def series(self, hours: int = 24, where: Filter = _EVERYTHING) -> list[tuple[str, Figures]]:
        """Return the figures of each of the last `hours` hours that the log has, empty ones included, UTC.

        The last hour is that of the newest outcome that the filter takes.
        """
        checked_whole(hours, "hours", least=1, most=_MAX_HOURS)
        newest = self.figures(where).last
        if newest is None:
            return []
        last = datetime.fromisoformat(f"{newest[:HOUR]}:00:00+00:00")
        # A log may hold any time: no hour starts before the year 1.
        hours = min(hours, (last - datetime.min.replace(tzinfo=UTC)) // timedelta(hours=1) + 1)
        starts = [last - timedelta(hours=back) for back in reversed(range(hours))]
        since = f"{starts[0].isoformat()[:HOUR]}:00:00.000000Z"
        by_hour = self.grouped("hour", replace(where, since=max(since, str(where.since or since))))
        names = [start.isoformat()[:HOUR] for start in starts]
        return [(name, by_hour.get((name,), Figures())) for name in names]

    def users(self, where: Filter = _EVERYTHING) -> dict[str, UserSums]:
        """Return the sums over the requests of each user (`unit`)."""
        if self._rollup is not None and can_answer_users(where):
            answer = self._rollup.ask(lambda log: users(log, where))
            if answer is not None:
                return answer
        sums: dict[str, UserSums] = {}
        for event in self.outcomes(where):
            if event.unit is not None:
                sums[event.unit] = of_user(measure(event.__dict__.get), sums.get(event.unit))
        return sums

    def unmet(self, where: Filter) -> list[str]:
        """Return a message for each name in a filter that no request of the whole log has: perhaps a typo."""
        messages = []
        for name in ("kind", "model", "tenant", "strategy"):
            wanted = getattr(where, name)
            present = (
                [] if wanted is None else sorted(key for (key,) in self.grouped(name) if key is not None)
            )
            if wanted is None or wanted in present:
                continue
            cure = f"there are {', '.join(present[:_MAX_NAMES])}" if present else f"none has a {name}"
            close = difflib.get_close_matches(wanted, present, n=1)
            if close:
                cure = f"did you mean {close[0]}?"
            messages.append(f"no request of the log has the {name} {wanted!r:.60}; {cure}")
        return messages

    def unreadable(self) -> tuple[int, int]:
        """Return how many lines could not be read, and how many mix simulated with real traffic."""
        counts = None if self._rollup is None else self._rollup.unreadable()
        if counts is not None:
            return counts
        # A source counts such lines while it is read.
        for _ in self.source.events():
            pass
        return getattr(self.source, "bad_lines", 0), getattr(self.source, "foreign_lines", 0)

    def newest(self, n: int = 20, where: Filter = _EVERYTHING) -> list[Event]:
        """Return the newest outcomes that the filter takes, newest first."""
        checked_whole(n, "n", least=0, most=_MAX_EVENTS)
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


def _value(event: Event, name: str) -> str | None:
    if name == "hour":
        return event.time[:HOUR]
    if name == "day":
        return event.time[:DAY]
    value = getattr(event, "baseline_model" if name == "baseline" else name)
    return None if value is None else str(value)
