"""Add up events to figures: sums over any number of events, in constant memory, which can be merged."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from smartroute.analytics.sums import NO_TOKENS, Joint, LogHistogram, Paired, Tokens, TokenSums
from smartroute.stats.moments import Moments

if TYPE_CHECKING:
    from smartroute.events.event import Event

CONFIDENCE_BINS = 10
JUDGE = "judge"
"""The source of feedback that a model gives on another model's answers."""

COUNCIL = "council"
"""The kind of a request that several models answer together."""

LONG_PROMPT = 200_000
"""Above so many input tokens, models that have long-context prices charge those."""


class Measured(NamedTuple):
    """What one outcome adds to figures. Money is USD, time seconds, and None is unknown.

    `unanswered` is an outcome without a model. `tokens` are those of the answer, and `long` marks a prompt of
    more than LONG_PROMPT. `changed` is None where the answer was not compared with that of a lower rung.
    """

    answered: bool
    escalated: bool
    attempts: int
    failed_attempts: int
    unpriced: bool
    usd: float
    latency_s: float | None
    confidence: float | None
    unanswered: bool
    baseline_usd: float | None
    holdback: str | None
    tokens: Tokens | None
    long: bool
    overhead_usd: tuple[tuple[str, float], ...]
    rejected_usd: float
    changed: bool | None
    climb_usd: float


def measure(get: Callable[[str], Any]) -> Measured:
    """Return what an outcome adds. `get` returns a field of its event, None for a missing one."""
    usd = get("cost_usd") or 0.0
    model = get("model")
    unpriced = bool(get("unpriced_attempts"))
    unanswered = model is None
    calls: Sequence[Mapping[str, Any]] = get("attempts") or ()
    failed, rejected = 0, 0.0
    overhead: tuple[tuple[str, float], ...] = ()
    # Nearly all requests are one call that was answered, which needs no more counting.
    if len(calls) != 1 or unanswered or calls[0].get("purpose") != "answer" or "failure" in calls[0]:
        failed, overhead, rejected = of_calls(calls, unanswered, get("kind"))
    return Measured(
        not unanswered and get("error") is None,
        bool(get("escalated")),
        len(calls),
        failed,
        unpriced,
        usd,
        get("latency_s"),
        get("confidence"),
        unanswered,
        None if unanswered or unpriced else get("baseline_cost_usd"),
        None if unpriced else get("holdback"),
        NO_TOKENS if unanswered else None if unpriced else _tokens(get),
        (get("input_tokens") or 0) > LONG_PROMPT,
        overhead,
        rejected,
        changed := get("answer_changed"),
        0.0 if changed is None else climb_usd(calls),
    )


def climb_usd(calls: Sequence[Mapping[str, Any]]) -> float:
    """Return the cost in USD of the calls above the first rung that answered, judge calls included."""
    rungs = (c.get("rung") for c in calls if c.get("purpose") == "answer" and c.get("failure") is None)
    first = next((rung for rung in rungs if rung is not None), None)
    if first is None:
        return 0.0
    return _total(c.get("cost_usd") or 0.0 for c in calls if (c.get("rung") or 0) > first)


def of_calls(
    calls: Sequence[Mapping[str, Any]], unanswered: bool, kind: str | None
) -> tuple[int, tuple[tuple[str, float], ...], float]:
    """Return how many calls failed, the costs of calls other than answers, and the cost of rejected answers.

    Costs are USD; those of calls other than answers come with their purposes. The answer that was given is
    the last that did not fail, as a higher rung may have failed after it. All other answers were rejected.
    """
    failed, given = 0, -1
    answers: list[float] = []
    overhead: list[tuple[str, float]] = []
    for call in calls:
        failed += call.get("failure") is not None
        usd = call.get("cost_usd") or 0.0
        purpose = call.get("purpose", "answer")
        if purpose == "answer":
            if call.get("failure") is None:
                given = len(answers)
            answers.append(usd)
        elif usd:
            overhead.append((purpose, usd))
    if kind == COUNCIL:  # a council's answers are all given: none is rejected
        return failed, tuple(overhead), 0.0
    if answers and not unanswered:
        del answers[given]
    return failed, tuple(overhead), _total(answers)


def _total(costs_usd: Iterable[float]) -> float:
    try:
        return math.fsum(costs_usd)
    except OverflowError:  # a damaged digit may make any number; it must not stop every question
        return math.inf


def _tokens(get: Callable[[str], Any]) -> Tokens | None:
    """Return the tokens of the answer as prices count them, None where they are unknown."""
    read, written = get("input_tokens"), get("output_tokens")
    if read is None or written is None:
        return None
    cached = min(get("cached_tokens") or 0, read)
    stored = min(get("cache_write_tokens") or 0, read - cached)
    reasoned = min(get("reasoning_tokens") or 0, written)
    return (
        float(read - cached - stored),
        float(cached),
        float(stored),
        float(written - reasoned),
        float(reasoned),
    )


def confidence_bin(confidence: float) -> int:
    """Return the index of the tenth that a confidence falls into: 0 to 9."""
    return min(CONFIDENCE_BINS - 1, int(max(0.0, min(1.0, confidence)) * CONFIDENCE_BINS))


def pairs_with_judge(qualities: Mapping[str, float | None]) -> Iterator[tuple[str, float, float]]:
    """Yield each source other than a judge, its quality and the judge's, where both gave a quality."""
    judged = qualities.get(JUDGE)
    if judged is not None:
        for source, quality in qualities.items():
            if source != JUDGE and quality is not None:
                yield source, quality, judged


@dataclass(slots=True)
class Labels:
    """Sums of the feedback that one source gave: quality of all answers, and of groups of them.

    `words` counts the labels by name. `by_confidence` holds quality and confidence, by the tenth of
    confidence. `with_judge` holds this source's quality and a judge's, of answers that both rated. `held` and
    `routed` hold the quality under a holdback.
    """

    quality: Moments = field(default_factory=Moments)
    words: Counter[str] = field(default_factory=Counter)
    by_confidence: dict[int, Joint] = field(default_factory=dict)
    held: Moments = field(default_factory=Moments)
    routed: Moments = field(default_factory=Moments)
    with_judge: Joint = field(default_factory=Joint)

    def add(
        self, quality: float | None, label: str | None, confidence: float | None, holdback: str | None
    ) -> None:
        """Add the feedback about one answer."""
        if label is not None:
            self.words[label] += 1
        if quality is None:
            return
        self.quality.add(quality)
        if confidence is not None:
            self.by_confidence.setdefault(confidence_bin(confidence), Joint()).add(quality, confidence)
        if holdback is not None:
            (self.held if holdback == "held" else self.routed).add(quality)

    def merge(self, other: Labels) -> None:
        """Add the sums of another."""
        self.words.update(other.words)
        for name in ("quality", "held", "routed", "with_judge"):
            getattr(self, name).merge(getattr(other, name))
        for tenth, sums in other.by_confidence.items():
            self.by_confidence.setdefault(tenth, Joint()).merge(sums)


@dataclass(slots=True)
class Figures:
    """Sums over some outcomes. Money is USD, time seconds.

    `unpriced` counts requests with an attempt of unknown cost: `cost_usd` is too low by the cost of those.
    `overhead_usd` is the cost of calls other than answers, by purpose, and `rejected_usd` the cost of answers
    that were not given to the caller; both are in `cost_usd`. `held` and `routed` are the costs under a
    holdback. `long` counts answers to prompts of more than LONG_PROMPT tokens, for which some models charge
    more. `comparable` counts escalated requests whose answer can be compared with the first one, `changed`
    counts those of them where it differs, and `climbs` is their cost above the first rung that answered.
    """

    requests: int = 0
    answered: int = 0
    escalated: int = 0
    attempts: int = 0
    failed_attempts: int = 0
    unpriced: int = 0
    long: int = 0
    comparable: int = 0
    changed: int = 0
    cost: Moments = field(default_factory=Moments)
    latency: Moments = field(default_factory=Moments)
    confidence: Moments = field(default_factory=Moments)
    compared: Paired = field(default_factory=Paired)
    held: Moments = field(default_factory=Moments)
    routed: Moments = field(default_factory=Moments)
    climbs: Moments = field(default_factory=Moments)
    tokens: TokenSums = field(default_factory=TokenSums)
    costs: LogHistogram = field(default_factory=LogHistogram)
    latencies: LogHistogram = field(default_factory=LogHistogram)
    confidences: LogHistogram = field(default_factory=LogHistogram)
    overhead_usd: dict[str, float] = field(default_factory=dict)
    rejected_usd: float = 0.0
    labels: dict[str, Labels] = field(default_factory=dict)
    first: str | None = None
    last: str | None = None

    @property
    def cost_usd(self) -> float:
        """Return the sum of known costs, in USD."""
        return self.cost.total

    @property
    def failures(self) -> int:
        """Return how many requests ended without an answer."""
        return self.requests - self.answered

    def add(self, event: Event) -> None:
        """Add one outcome's event."""
        outcome = measure(event.__dict__.get)
        self.requests += 1
        self.first = event.time if self.first is None else min(self.first, event.time)
        self.last = event.time if self.last is None else max(self.last, event.time)
        self.answered += outcome.answered
        self.escalated += outcome.escalated
        self.attempts += outcome.attempts
        self.failed_attempts += outcome.failed_attempts
        self.unpriced += outcome.unpriced
        self.cost.add(outcome.usd)
        self.costs.add(outcome.usd)
        if outcome.latency_s is not None:
            self.latency.add(outcome.latency_s)
            self.latencies.add(outcome.latency_s)
        if outcome.confidence is not None:
            self.confidence.add(outcome.confidence)
            self.confidences.add(outcome.confidence)
        if outcome.unanswered:
            self.compared.add_unanswered(outcome.usd)
        elif outcome.baseline_usd is not None:
            self.compared.add(outcome.usd, outcome.baseline_usd)
        if outcome.holdback is not None:
            (self.held if outcome.holdback == "held" else self.routed).add(outcome.usd)
        if outcome.tokens is not None:
            self.tokens.add(outcome.usd, outcome.tokens, answered=not outcome.unanswered)
            self.long += outcome.long
        for purpose, usd in outcome.overhead_usd:
            self.overhead_usd[purpose] = self.overhead_usd.get(purpose, 0.0) + usd
        self.rejected_usd += outcome.rejected_usd
        if outcome.changed is not None:
            self.comparable += 1
            self.changed += outcome.changed
            if not outcome.unpriced:
                self.climbs.add(outcome.climb_usd)

    def add_feedback(
        self,
        ratings: Mapping[str, tuple[float | None, str | None]],
        confidence: float | None,
        holdback: str | None,
    ) -> None:
        """Add the feedback that counts about one outcome: quality and label by source."""
        for source, (quality, label) in ratings.items():
            self.labels.setdefault(source, Labels()).add(quality, label, confidence, holdback)
        qualities = {source: quality for source, (quality, _) in ratings.items()}
        for source, quality, judged in pairs_with_judge(qualities):
            self.labels[source].with_judge.add(quality, judged)

    def merge(self, other: Figures) -> None:
        """Add the sums of another."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in (*_SUMS, *_HISTOGRAMS):
            getattr(self, name).merge(getattr(other, name))
        for purpose, usd in other.overhead_usd.items():
            self.overhead_usd[purpose] = self.overhead_usd.get(purpose, 0.0) + usd
        self.rejected_usd += other.rejected_usd
        self.first = min(filter(None, (self.first, other.first)), default=None)
        self.last = max(filter(None, (self.last, other.last)), default=None)
        for source, labels in other.labels.items():
            self.labels.setdefault(source, Labels()).merge(labels)


_COUNTS = (
    *("requests", "answered", "escalated", "attempts", "failed_attempts", "unpriced", "long"),
    *("comparable", "changed"),
)
_SUMS = ("cost", "latency", "confidence", "compared", "held", "routed", "climbs", "tokens")
_HISTOGRAMS = ("costs", "latencies", "confidences")
