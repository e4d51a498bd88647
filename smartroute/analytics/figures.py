"""Add events up. A Figures is what is kept of any number of them, in constant memory, and can be merged."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartroute.events import Event

GROWTH = 1.1
"""How much wider each bucket of a histogram is than the one before: quantiles are within 5%."""

CONFIDENCE_BINS = 10
_LOG_GROWTH = math.log(GROWTH)
_ANSWERING = frozenset({"answer"})


class LogHistogram:
    """Counts of values by the power of GROWTH below them; values of at most 0 count as 0.

    `quantile` is off by at most a factor of sqrt(GROWTH), 4.9%.
    """

    __slots__ = ("counts", "zeros")

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.zeros = 0

    def add(self, value: float) -> None:
        """Count one value."""
        if value > 0.0:
            self.counts[math.floor(math.log(value) / _LOG_GROWTH)] += 1
        else:
            self.zeros += 1

    def merge(self, other: LogHistogram) -> None:
        """Add the counts of another."""
        self.counts.update(other.counts)
        self.zeros += other.zeros

    @property
    def n(self) -> int:
        """Return how many values there are."""
        return self.zeros + sum(self.counts.values())

    def quantile(self, share: float) -> float | None:
        """Return the value below which this share of them lies, to 5%; None without values."""
        n = self.n
        if n == 0:
            return None
        rank = max(1, math.ceil(share * n))
        seen = self.zeros
        if rank <= seen:
            return 0.0
        for bucket in sorted(self.counts):
            seen += self.counts[bucket]
            if rank <= seen:
                break
        return math.exp((bucket + 0.5) * _LOG_GROWTH)


@dataclass(slots=True)
class Moments:
    """The number, sum and sum of squares of some values."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def add(self, value: float) -> None:
        """Add one value."""
        self.n += 1
        self.total += value
        self.squares += value * value

    def merge(self, other: Moments) -> None:
        """Add those of another."""
        self.n += other.n
        self.total += other.total
        self.squares += other.squares

    @property
    def mean(self) -> float | None:
        """Return the mean, None without values."""
        return self.total / self.n if self.n else None

    @property
    def variance(self) -> float | None:
        """Return the sample variance, None for fewer than two values."""
        if self.n < 2:
            return None
        return max(0.0, self.squares - self.total * self.total / self.n) / (self.n - 1)


@dataclass(slots=True)
class Paired:
    """Sums of what requests cost and what the baseline would have charged for the same tokens.

    `unanswered` are requests that were paid for and left nothing to compare: they cost, and their baseline
    is 0.
    """

    n: int = 0
    unanswered: int = 0
    cost: float = 0.0
    baseline: float = 0.0
    cost_squares: float = 0.0
    baseline_squares: float = 0.0
    products: float = 0.0

    def add(self, cost: float, baseline: float) -> None:
        """Add one request."""
        self.n += 1
        self.cost += cost
        self.baseline += baseline
        self.cost_squares += cost * cost
        self.baseline_squares += baseline * baseline
        self.products += cost * baseline

    def add_unanswered(self, cost: float) -> None:
        """Add a request without an answer."""
        self.unanswered += 1
        self.cost += cost
        self.cost_squares += cost * cost

    def merge(self, other: Paired) -> None:
        """Add those of another."""
        self.n += other.n
        self.unanswered += other.unanswered
        self.cost += other.cost
        self.baseline += other.baseline
        self.cost_squares += other.cost_squares
        self.baseline_squares += other.baseline_squares
        self.products += other.products


@dataclass(slots=True)
class Labels:
    """What one source said of answers: quality, in all and by the tenth of confidence they had."""

    quality: Moments = field(default_factory=Moments)
    words: Counter[str] = field(default_factory=Counter)
    by_confidence: dict[int, Moments] = field(default_factory=dict)
    confidence: dict[int, Moments] = field(default_factory=dict)

    def add(self, quality: float | None, label: str | None, confidence: float | None) -> None:
        """Add one word of feedback about an answer of this confidence."""
        if label is not None:
            self.words[label] += 1
        if quality is None:
            return
        self.quality.add(quality)
        if confidence is not None:
            place = min(CONFIDENCE_BINS - 1, int(confidence * CONFIDENCE_BINS))
            self.by_confidence.setdefault(place, Moments()).add(quality)
            self.confidence.setdefault(place, Moments()).add(confidence)

    def merge(self, other: Labels) -> None:
        """Add those of another."""
        self.quality.merge(other.quality)
        self.words.update(other.words)
        for mine, theirs in ((self.by_confidence, other.by_confidence), (self.confidence, other.confidence)):
            for place, moments in theirs.items():
                mine.setdefault(place, Moments()).merge(moments)


@dataclass(slots=True)
class Figures:
    """The sums over some outcomes. Money is USD, time seconds.

    `unpriced` counts requests with an attempt of unknown cost: `cost_usd` is too low by what those cost.
    `overhead_usd` is what calls other than answers cost, by purpose, and `rejected_usd` what answers cost
    that were not the one given; both are in `cost_usd`. `held` and `routed` are the costs under a holdback.
    """

    requests: int = 0
    answered: int = 0
    escalated: int = 0
    attempts: int = 0
    failed_attempts: int = 0
    unpriced: int = 0
    cost: Moments = field(default_factory=Moments)
    latency: Moments = field(default_factory=Moments)
    confidence: Moments = field(default_factory=Moments)
    compared: Paired = field(default_factory=Paired)
    held: Moments = field(default_factory=Moments)
    routed: Moments = field(default_factory=Moments)
    costs: LogHistogram = field(default_factory=LogHistogram)
    latencies: LogHistogram = field(default_factory=LogHistogram)
    overhead_usd: dict[str, float] = field(default_factory=dict)
    rejected_usd: float = 0.0
    labels: dict[str, Labels] = field(default_factory=dict)
    first: str | None = None
    last: str | None = None

    @property
    def cost_usd(self) -> float:
        """Return the sum of known costs."""
        return self.cost.total

    @property
    def failures(self) -> int:
        """Return how many requests ended without an answer."""
        return self.requests - self.answered

    def add(self, event: Event) -> None:
        """Add one outcome's event."""
        usd = event.cost_usd or 0.0
        self.requests += 1
        self.first = event.time if self.first is None else min(self.first, event.time)
        self.last = event.time if self.last is None else max(self.last, event.time)
        self.answered += event.error is None and event.model is not None
        self.escalated += bool(event.escalated)
        self.attempts += len(event.attempts)
        self.unpriced += bool(event.unpriced_attempts)
        self.cost.add(usd)
        self.costs.add(usd)
        if event.latency_s is not None:
            self.latency.add(event.latency_s)
            self.latencies.add(event.latency_s)
        if event.confidence is not None:
            self.confidence.add(event.confidence)
        if event.model is None:
            self.compared.add_unanswered(usd)
        elif event.baseline_cost_usd is not None and not event.unpriced_attempts:
            self.compared.add(usd, event.baseline_cost_usd)
        if event.holdback is not None and not event.unpriced_attempts:
            (self.held if event.holdback == "held" else self.routed).add(usd)
        self._add_attempts(event)

    def _add_attempts(self, event: Event) -> None:
        answers_usd: list[float] = []
        for attempt in event.attempts:
            self.failed_attempts += attempt.get("failure") is not None
            usd = attempt.get("cost_usd") or 0.0
            purpose = attempt.get("purpose", "answer")
            if purpose in _ANSWERING:
                answers_usd.append(usd)
            elif usd:
                self.overhead_usd[purpose] = self.overhead_usd.get(purpose, 0.0) + usd
        if event.kind != "council":  # a council's answers are all given: none is rejected
            self.rejected_usd += math.fsum(answers_usd[:-1] if event.model is not None else answers_usd)

    def merge(self, other: Figures) -> None:
        """Add those of another."""
        for name in ("requests", "answered", "escalated", "attempts", "failed_attempts", "unpriced"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("cost", "latency", "confidence", "compared", "held", "routed", "costs", "latencies"):
            getattr(self, name).merge(getattr(other, name))
        for purpose, usd in other.overhead_usd.items():
            self.overhead_usd[purpose] = self.overhead_usd.get(purpose, 0.0) + usd
        self.rejected_usd += other.rejected_usd
        self.first = min(filter(None, (self.first, other.first)), default=None)
        self.last = max(filter(None, (self.last, other.last)), default=None)
        for source, labels in other.labels.items():
            self.labels.setdefault(source, Labels()).merge(labels)
