"""Filter the outcomes of a log by time and by their fields."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from smartroute.errors import ConfigError, shown
from smartroute.events.event import current_value
from smartroute.records import TaskComplexity

if TYPE_CHECKING:
    from smartroute.events.event import Event

_MOMENT_LENGTH = len("2026-11-23T08:00:00.000000Z")


@dataclass(frozen=True, slots=True)
class Filter:
    """A filter that takes the outcomes which match every field that is set.

    `since` (inclusive) and `until` (exclusive) are datetimes with a time zone, or text in ISO 8601, where UTC
    is the default. Raises ConfigError for any other time, an unknown complexity, or a name that is not text.
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
        for name in ("kind", "complexity", "model", "tenant", "strategy"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise ConfigError(f"{name} must be text, got {shown(value)}")
        # Events of older versions are read under today's names; so is a filter that names an old one.
        object.__setattr__(self, "strategy", current_value("strategy", self.strategy))
        levels = [level.value for level in TaskComplexity]
        if self.complexity is not None and self.complexity not in levels:
            raise ConfigError(f"complexity must be one of {', '.join(levels)}, got {shown(self.complexity)}")

    def takes(self, event: Event) -> bool:
        """Return whether an outcome matches."""
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


def _moment(value: object, name: str) -> str | None:
    """Return a time as events write it, so that the two compare as text."""
    if value is None:
        return None
    parsed = value
    if isinstance(value, str):
        try:
            parsed = datetime.fromisoformat(value)
        except ValueError:
            raise ConfigError(f"{name} must be a time in ISO 8601, got {shown(value)}") from None
        if parsed.tzinfo is None:
            parsed = parsed.replace(tzinfo=UTC)
    if not isinstance(parsed, datetime) or parsed.tzinfo is None:
        raise ConfigError(
            f"{name} must be a datetime with a time zone, or text in ISO 8601, got {shown(value)}"
        )
    try:
        parsed = parsed.astimezone(UTC)
    except OverflowError:
        raise ConfigError(f"{name} must lie in the years 1 to 9999, UTC, got {value!s:.60}") from None
    return parsed.strftime("%Y-%m-%dT%H:%M:%S.%fZ").zfill(_MOMENT_LENGTH)
