"""Compare the router with its alternatives: the best fixed model, the most expensive, a random mix."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from smartroute.evaluation.scores import FixedModel, Mix, Saving, Score, TaskResult
from smartroute.records import Attempt
from smartroute.stats.frontier import concave_frontier, lottery_of_cost
from smartroute.stats.intervals import Interval, paired_difference, paired_ratio

_ENOUGH_FOR_AN_INTERVAL = 2


@dataclass(frozen=True, slots=True)
class DemoReport:
    """The results of a demo run. `stopped` says why it ended before all `planned` tasks were done.

    `interrupted` is true when the user stopped it. Under a budget `spent_usd` then includes the interrupted
    call, at the most that it can have cost.
    """

    results: tuple[TaskResult, ...]
    fixed: tuple[FixedModel, ...]
    planned: int
    simulated: bool
    seed: int | None
    date: str
    population: str
    max_usd: float | None = None
    spent_usd: float | None = None
    stopped: str | None = None
    interrupted: bool = False

    @property
    def routed(self) -> Score:
        """Return the totals of the routed tasks."""
        return Score(self.results)

    @property
    def best_fixed(self) -> FixedModel | None:
        """Return the fixed model of the highest quality, the cheaper of equals: chosen with hindsight.

        None unless all of them were measured.
        """
        if any(fixed.score is None for fixed in self.fixed):
            return None
        return min(self.fixed, key=_quality_then_cost, default=None)

    @property
    def most_expensive_fixed(self) -> FixedModel | None:
        """Return the fixed model that costs the most, measured or estimated; None when no cost is known."""
        priced = [fixed for fixed in self.fixed if fixed.cost_usd is not None]
        return max(priced, key=lambda fixed: fixed.cost_usd or 0.0, default=None)

    @property
    def mix(self) -> Mix | None:
        """Return the random mix of fixed models that costs what routing did; None when there is none."""
        return None if isinstance(mix := self._mix(), str) else mix

    @property
    def no_mix_because(self) -> str | None:
        """Return why there is no such mix; None when there is one."""
        return reason if isinstance(reason := self._mix(), str) else None

    def _mix(self) -> Mix | str:
        """Return the mix, or why there is none.

        It mixes two neighbors on the upper concave frontier of the fixed models' quality over cost.
        """
        if any(fixed.score is None for fixed in self.fixed) or not self.results:
            return "the fixed models were not measured"
        if self.routed.unpriced_attempts:
            return "the routed cost is incomplete: some attempts have no known price"
        known = [
            (fixed.cost_usd, fixed.score.right, fixed.model)
            for fixed in self.fixed
            if fixed.score is not None and fixed.cost_usd is not None
        ]
        cost = self.routed.cost_usd
        drawn = lottery_of_cost(known, cost)
        if drawn is not None:
            low, high, share, right = drawn
            mixed_usd = (1 - share) * low.cost + share * high.cost
            return Mix(low.name, high.name, share, mixed_usd, right, self.routed.n)
        points = concave_frontier(known)
        if len(points) == 0:
            return "no fixed model has a known cost"
        bottom, top = points[0], points[-1]
        if cost < bottom.cost:
            return f"routing cost less than {bottom.name}, the cheapest model on the frontier"
        return f"routing cost more than {top.name}, the most expensive model on the frontier"

    def saving(self, other: FixedModel) -> Saving | None:
        """Return what routing saves against a fixed model, signed; None when either cost is unknown or 0."""
        theirs, mine = other.cost_usd, self.routed.cost_usd
        if theirs is None or theirs == 0 or self.routed.unpriced_attempts:
            return None
        interval = None
        if other.score is not None and self.routed.n >= _ENOUGH_FOR_AN_INTERVAL:
            ratio = paired_ratio(
                [result.cost_usd for result in self.results],
                [result.cost_usd for result in other.score.results],
            )
            interval = Interval(1 - ratio.high, 1 - ratio.low, ratio.level)
        return Saving(1 - mine / theirs, interval)

    def quality_difference(self, other: FixedModel) -> tuple[float, Interval] | None:
        """Return routed minus fixed quality on the same tasks, with its interval; None when not measured."""
        if other.score is None or not self.results:
            return None
        pairs = [
            (mine.right, theirs.right) for mine, theirs in zip(self.results, other.score.results, strict=True)
        ]
        counts = [pairs.count(pair) for pair in ((True, True), (True, False), (False, True), (False, False))]
        return (counts[1] - counts[2]) / len(pairs), paired_difference(*counts)

    @property
    def explained(self) -> TaskResult | None:
        """Return the task to explain: best one that escalated to a right answer, else one that escalated."""
        escalated = [result for result in self.results if result.escalated]
        return next(
            (result for result in escalated if result.right),
            next(iter(escalated), next(iter(self.results), None)),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON. Equal runs give equal documents: no ids, no latencies."""
        explained = self.explained
        return {
            "simulated": self.simulated,
            "population": self.population,
            "date": self.date,
            "seed": self.seed,
            "planned": self.planned,
            "stopped": self.stopped,
            "interrupted": self.interrupted,
            "max_usd": self.max_usd,
            "spent_usd": self.spent_usd,
            "tasks": [_task_dict(result) for result in self.results],
            "totals": None if not self.results else self._totals(),
            "explained": None
            if explained is None or explained.decision is None
            else {"id": explained.id, "decision": explained.decision.explain()},
        }

    def _totals(self) -> dict[str, Any]:
        best, most_expensive, mix = self.best_fixed, self.most_expensive_fixed, self.mix
        routed = self.routed
        difference = None if best is None else self.quality_difference(best)
        return {
            "routed": {
                **_score_dict(routed),
                "escalated": routed.escalated,
                "escalation_rate": routed.escalation_rate,
                "escalation_rate_interval": _interval_dict(routed.escalation_rate_interval),
            },
            "fixed": [self._fixed_dict(fixed) for fixed in self.fixed],
            "best_fixed": None if best is None else best.model,
            "best_fixed_note": "chosen with hindsight on these tasks" if best else "not measured",
            "dearest_fixed": None if most_expensive is None else most_expensive.model,
            "quality_minus_best_fixed": None
            if difference is None
            else {"estimate": difference[0], "interval": _interval_dict(difference[1])},
            "random_mix": None
            if mix is None
            else {
                "cheaper": mix.cheap,
                "dearer": mix.expensive,
                "dearer_share": mix.expensive_share,
                "cost_usd": mix.cost_usd,
                "n": mix.n,
                "right": mix.right,
                "quality": mix.quality,
                "quality_interval": _interval_dict(mix.quality_interval),
            },
            "no_random_mix_because": self.no_mix_because,
        }

    def _fixed_dict(self, fixed: FixedModel) -> dict[str, Any]:
        saving = self.saving(fixed)
        measured = (
            {"n": len(self.results), "cost_usd": fixed.cost_usd, "quality": None}
            if fixed.score is None
            else _score_dict(fixed.score)
        )
        return {
            "model": fixed.model,
            "measured": fixed.score is not None,
            **measured,
            "saved_by_routing": None if saving is None else saving.share,
            "saved_by_routing_interval": None
            if saving is None or saving.interval is None
            else _interval_dict(saving.interval),
            "tasks": [] if fixed.score is None else [_brief_dict(r) for r in fixed.score.results],
        }


def _quality_then_cost(fixed: FixedModel) -> tuple[float, float, str]:
    assert fixed.score is not None
    return -fixed.score.quality, math.inf if fixed.cost_usd is None else fixed.cost_usd, fixed.model


def _score_dict(score: Score) -> dict[str, Any]:
    return {
        "n": score.n,
        "right": score.right,
        "quality": score.quality,
        "quality_interval": _interval_dict(score.quality_interval),
        "cost_usd": score.cost_usd,
        "unpriced_attempts": score.unpriced_attempts,
        "errors": score.errors,
    }


def _interval_dict(interval: Interval) -> dict[str, float]:
    return {"low": interval.low, "high": interval.high, "level": interval.level}


def _brief_dict(result: TaskResult) -> dict[str, Any]:
    return {
        "id": result.id,
        "right": result.right,
        "cost_usd": result.cost_usd,
        "unpriced_attempts": result.unpriced_attempts,
        "error": result.error,
    }


def _task_dict(result: TaskResult) -> dict[str, Any]:
    return {
        **_brief_dict(result),
        "kind": result.kind,
        "language": result.language,
        "complexity": result.complexity,
        "model": result.model,
        "escalated": result.escalated,
        "confidence": result.confidence,
        "confidence_source": result.confidence_source,
        "stopped_by": result.stopped_by,
        "answer": result.answer,
        "attempts": [_attempt_dict(attempt) for attempt in result.attempts],
    }


def _attempt_dict(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt for JSON without its times, which differ between equal runs."""
    return {name: value for name, value in attempt.as_dict().items() if name not in _TIMES}


_TIMES = ("latency_s", "started_at")
