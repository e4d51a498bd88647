"""A classification: how hard a task is, and the signals that led there."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from smartroute.errors import ConfigError, shown


class TaskComplexity(StrEnum):
    """How hard a task is. Compares and prints as its value."""

    SIMPLE = "simple"
    MEDIUM = "medium"
    COMPLEX = "complex"


class Signal(NamedTuple):
    """One thing a classifier saw: its name, its value, and what it added to the score."""

    name: str
    value: float | str
    weight: float = 0.0


_SIGNAL_ONLY = frozenset({Signal})


@dataclass(frozen=True, slots=True)
class Classification:
    """How hard a task is: the complexity, a score in [0, 1], and the signals that led there.

    `by` names the classifier. Raises ConfigError for a value out of range or of a wrong type.
    """

    complexity: TaskComplexity
    score: float
    signals: tuple[Signal, ...] = ()
    by: str = "unknown"

    def __post_init__(self) -> None:
        if not isinstance(self.complexity, TaskComplexity):
            try:
                object.__setattr__(self, "complexity", TaskComplexity(self.complexity))
            except ValueError:
                raise ConfigError(
                    f"a classification's complexity must be one of {[c.value for c in TaskComplexity]}, "
                    f"got {shown(self.complexity)}"
                ) from None
        # A bool counts as 0 or 1: a classifier may return whether a test holds.
        if not isinstance(self.score, int | float) or not 0.0 <= self.score <= 1.0:
            raise ConfigError(f"a classification's score must lie in [0, 1], got {shown(self.score)}")
        if not isinstance(self.signals, tuple | list) or not _SIGNAL_ONLY.issuperset(map(type, self.signals)):
            raise ConfigError(
                "a classification's signals must be a tuple of Signal(name, value, weight), "
                f"got {shown(self.signals)}"
            )
