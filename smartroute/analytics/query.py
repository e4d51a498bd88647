"""Ask a log for figures: of which requests, and grouped by what. Works on any source of events."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from smartroute.analytics.feedback import Feedback
from smartroute.analytics.figures import Figures, Labels
from smartroute.errors import ConfigError
from smartroute.records import TaskComplexity

if TYPE_CHECKING:
    from smartroute.events import Event
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

_HOUR, _DAY = len("2026-11-23T08"), len("2026-11-23")


def _moment(value: object, name: str) -> str | None:
    """Return a moment as events write it, so that the two compare as text."""
    if value is None:
        return None
    found = value
    if isinstance(value, str):
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            raise ConfigError(f"{name} must be a moment in ISO 8601, got {value!r:.40}") from None
        if found.tzinfo is None:
            found = found.replace(tzinfo=UTC)
    if not isinstance(found, datetime) or found.tzinfo is None:
        raise ConfigError(
            f"{name} must be a datetime with a time zone, or text in ISO 8601, got {value!r:.60}"
        )
    return found.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which outcomes count: those that match every field that is given.

    `since` (inclusive) and `until` (exclusive) are moments with a time zone, or text in ISO 8601, UTC.
    Raises ConfigError for one that is neither.
    """

    since: datetime | str | None = None
    until: datetime | str | None = None
    kind: str | None = None
    complexity: str | None = None
    model: str | None = None
    tenant: str | None = None
    strategy: str | None = None

    def __post_init__(self) -> None:
        for name in ("since", "until"):
            object.__setattr__(self, name, _moment(getattr(self, name), name))

    def takes(self, event: Event) -> bool:
        """Return whether an outcome counts."""
        return (
            (self.since is None or event.time >= str(self.since))
            and (self.until is None or event.time < str(self.until))
            and all(
                wanted is None or getattr(event, name) == wanted
                for name, wanted in (
                    ("kind", self.kind),
                    ("complexity", self.complexity),
                    ("model", self.model),
                    ("tenant", self.tenant),
                    ("strategy", self.strategy),
                )
            )
        )


_EVERYTHING = Filter()


class Analytics:
    """Figures about the events of a source. Every question reads the source anew."""

    def __init__(self, source: EventSource) -> None:
        self.source = source

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
        names = (by,) if isinstance(by, str) else tuple(by)
        return self.several((names,), where)[names]

    def several(
        self, groupings: Iterable[tuple[str, ...]], where: Filter = _EVERYTHING
    ) -> dict[tuple[str, ...], dict[tuple[str | None, ...], Figures]]:
        """Return what `grouped` does for each of several groupings, in one reading."""
        tables: dict[tuple[str, ...], dict[tuple[str | None, ...], Figures]] = {}
        for names in groupings:
            for name in names:
                if name not in DIMENSIONS:
                    raise ConfigError(f"figures cannot be grouped by {name!r}; use {', '.join(DIMENSIONS)}")
            tables[names] = {}
        said = Feedback.of(self.source.events())
        for event in self.outcomes(where):
            about = said.about(event)
            for names, found in tables.items():
                figures = found.setdefault(tuple([_value(event, name) for name in names]), Figures())
                figures.add(event)
                for source, word in about.items():
                    figures.labels.setdefault(source, Labels()).add(
                        word.quality, word.label, event.confidence
                    )
        return tables

    def series(self, hours: int = 24, where: Filter = _EVERYTHING) -> list[tuple[str, Figures]]:
        """Return the figures of each of the last `hours` hours that the log has, empty ones included, UTC.

        The last hour is that of the newest outcome that counts.
        """
        if isinstance(hours, bool) or not isinstance(hours, int) or hours < 1:
            raise ConfigError(f"hours must be a whole number of at least 1, got {hours!r:.40}")
        found = {
            key[0]: figures for key, figures in self.grouped("hour", where).items() if key[0] is not None
        }
        if not found:
            return []
        last = datetime.fromisoformat(f"{max(found)}:00:00+00:00")
        names = [(last - timedelta(hours=back)).strftime("%Y-%m-%dT%H") for back in reversed(range(hours))]
        return [(name, found.get(name, Figures())) for name in names]

    def newest(self, n: int = 20, where: Filter = _EVERYTHING) -> list[Event]:
        """Return the newest outcomes that count, newest first."""
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
        return event.time[:_HOUR]
    if name == "day":
        return event.time[:_DAY]
    value = getattr(event, "baseline_model" if name == "baseline" else name)
    return None if value is None else str(value)
