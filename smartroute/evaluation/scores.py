"""Keep score of ways to answer tasks: the router, a fixed model, a lottery between two of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from smartroute.records import Attempt, Decision
from smartroute.stats.intervals import Interval, wilson


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What came of one task: routed, or sent to the one model that `fixed_model` names.

    A task without an answer counts as wrong, and `error` says why. `cost_usd` sums the priced attempts.
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
        """Return the sum over the priced attempts; `unpriced_attempts` says how many are missing."""
        return math.fsum(result.cost_usd for result in self.results)

    @property
    def unpriced_attempts(self) -> int:
        """Return how many attempts have an unknown cost."""
        return sum(result.unpriced_attempts for result in self.results)

    @property
    def escalated(self) -> int:
        """Return how many tasks were asked of more than one rung."""
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
    """What sending every task to one model comes to.

    Measured when `score` is there. Otherwise `estimated_usd` is an estimate: the tokens of the routed
    answers at this model's prices, None where those are unknown; nothing is known of its quality.
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
    """What routing saves against another way, as a share of that way's cost: negative when it costs more.

    `interval` is None where the other cost is an estimate, or for fewer than two tasks.
    """

    share: float
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Mix:
    """A lottery between two models, `dearer` with probability `dearer_share`, that costs what routing did."""

    cheaper: str
    dearer: str
    dearer_share: float
    cost_usd: float
    right: float
    n: int

    @property
    def quality(self) -> float:
        """Return the expected share of right answers."""
        return self.right / self.n

    @property
    def quality_interval(self) -> Interval:
        """Return the Wilson interval at the expected number of right answers, which errs on the wide side."""
        return wilson(self.right, self.n)
