"""Scores and costs of ways to answer tasks: the router, a fixed model, a random mix of two models."""

from __future__ import annotations

import math
from dataclasses import dataclass

from smartroute.records import Attempt, Decision
from smartroute.stats.intervals import Interval, wilson


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The result of one task, routed or sent to the one model that `fixed_model` names.

    A task without an answer counts as wrong, and `error` gives the reason. `cost_usd` is the sum over the
    priced attempts.
    """

    id: str
    kind: str
    language: str
    prompt: str
    answer: str
    right: bool
    complexity: str | None
    model: str | None
    escalated: bool
    cost_usd: float
    unpriced_attempts: int
    confidence: float | None
    confidence_source: str
    attempts: tuple[Attempt, ...] = ()
    decision: Decision | None = None
    stopped_by: str | None = None
    error: str | None = None
    fixed_model: str | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """The totals of one way of answering: the router, or one fixed model."""

    results: tuple[TaskResult, ...]

    @property
    def n(self) -> int:
        """Return the number of tasks."""
        return len(self.results)

    @property
    def right(self) -> int:
        """Return how many answers were right."""
        return sum(result.right for result in self.results)

    @property
    def quality(self) -> float:
        """Return the share of right answers."""
        return self.right / self.n

    @property
    def quality_interval(self) -> Interval:
        """Return the Wilson interval of the quality."""
        return wilson(self.right, self.n)

    @property
    def cost_usd(self) -> float:
        """Return the sum over the priced attempts; `unpriced_attempts` counts the others."""
        return math.fsum(result.cost_usd for result in self.results)

    @property
    def unpriced_attempts(self) -> int:
        """Return how many attempts have an unknown cost."""
        return sum(result.unpriced_attempts for result in self.results)

    @property
    def escalated(self) -> int:
        """Return how many tasks called more than one rung."""
        return sum(result.escalated for result in self.results)

    @property
    def escalation_rate(self) -> float:
        """Return the share of tasks that escalated."""
        return self.escalated / self.n

    @property
    def escalation_rate_interval(self) -> Interval:
        """Return the Wilson interval of the escalation rate."""
        return wilson(self.escalated, self.n)

    @property
    def errors(self) -> int:
        """Return how many tasks ended without an answer."""
        return sum(result.error is not None for result in self.results)


@dataclass(frozen=True, slots=True)
class FixedModel:
    """The score or the estimated cost of sending every task to one model.

    With a `score` it is measured. Without one its quality is unknown, and `estimated_usd` is the cost of the
    routed answers' tokens at this model's prices, or None where a price is unknown.
    """

    model: str
    score: Score | None = None
    estimated_usd: float | None = None

    @property
    def cost_usd(self) -> float | None:
        """Return the measured cost, else the estimate; None when unknown or incomplete."""
        if self.score is None:
            return self.estimated_usd
        return None if self.score.unpriced_attempts else self.score.cost_usd


@dataclass(frozen=True, slots=True)
class Saving:
    """What routing saves compared with another way, as a share of that way's cost; negative if it costs more.

    `interval` is None where the other cost is an estimate, and for fewer than two tasks.
    """

    share: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Mix:
    """A random mix that costs what routing did: `expensive_share` of the tasks to one model, else `cheap`."""

    cheap: str
    expensive: str
    expensive_share: float
    cost_usd: float
    right: float
    n: int

    @property
    def quality(self) -> float:
        """Return the expected share of right answers."""
        return self.right / self.n

    @property
    def quality_interval(self) -> Interval:
        """Return the Wilson interval at the expected number of right answers, which is rather too wide."""
        return wilson(self.right, self.n)
