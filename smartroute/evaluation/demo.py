"""Run a set of checkable tasks through a router and through each single model, and keep score.

Knows what routing is compared with: the best fixed model, the dearest, and a random mix of the same cost.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from smartroute.errors import BudgetExceededError, SmartRouteError
from smartroute.evaluation.checks import passes
from smartroute.ledger import input_ceiling_tokens
from smartroute.records import Attempt, Decision, Outcome
from smartroute.router import ModelRouter
from smartroute.routing.strategies import FixedLadder
from smartroute.stats.intervals import Interval, paired_difference, paired_ratio, wilson

if TYPE_CHECKING:
    from smartroute.evaluation.tasks import DemoTask

_ENOUGH_FOR_AN_INTERVAL = 2


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


@dataclass(frozen=True, slots=True)
class DemoReport:
    """What a run of the demo found. `stopped` says why it ended before all `planned` tasks were done."""

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
    def dearest_fixed(self) -> FixedModel | None:
        """Return the fixed model that costs the most, measured or estimated; None when no cost is known."""
        priced = [fixed for fixed in self.fixed if fixed.cost_usd is not None]
        return max(priced, key=lambda fixed: fixed.cost_usd or 0.0, default=None)

    @property
    def mix(self) -> Mix | None:
        """Return the random mix of fixed models that costs what routing did; None when there is none."""
        return None if isinstance(found := self._mix(), str) else found

    @property
    def no_mix_because(self) -> str | None:
        """Return why there is no such mix; None when there is one."""
        return found if isinstance(found := self._mix(), str) else None

    def _mix(self) -> Mix | str:
        """Find the mix, or say why there is none.

        Of the fixed models, those on the upper concave frontier of quality q over cost c are kept. With
        the routed cost C between neighbours, c1 <= C <= c2, the dearer one is drawn with probability
        w = (C - c1) / (c2 - c1): the expected cost is (1 - w) c1 + w c2 = C, the quality (1 - w) q1 + w q2.
        """
        if any(fixed.score is None for fixed in self.fixed) or not self.results:
            return "the fixed models were not measured"
        if self.routed.unpriced_attempts:
            return "the routed cost is incomplete: some attempts have no known price"
        frontier = _frontier(
            [(fixed.cost_usd, fixed.score.right, fixed.model) for fixed in self.fixed
             if fixed.score is not None and fixed.cost_usd is not None]
        )  # fmt: skip
        cost = self.routed.cost_usd
        for (low, low_right, cheaper), (high, high_right, dearer) in pairwise(frontier):
            if low <= cost <= high:
                share = (cost - low) / (high - low)
                right = (1 - share) * low_right + share * high_right
                return Mix(cheaper, dearer, share, (1 - share) * low + share * high, right, self.routed.n)
        if len(frontier) == 0:
            return "no fixed model has a known cost"
        bottom, top = frontier[0], frontier[-1]
        if cost < bottom[0]:
            return f"routing cost less than {bottom[2]}, the cheapest model on the frontier"
        return f"routing cost more than {top[2]}, the dearest model on the frontier"

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
        """Return the task worth explaining: one whose escalation ended right, else any that escalated."""
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
            "max_usd": self.max_usd,
            "spent_usd": self.spent_usd,
            "tasks": [_task_dict(result) for result in self.results],
            "totals": None if not self.results else self._totals(),
            "explained": None
            if explained is None or explained.decision is None
            else {"id": explained.id, "decision": explained.decision.explain()},
        }

    def _totals(self) -> dict[str, Any]:
        best, dearest, mix = self.best_fixed, self.dearest_fixed, self.mix
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
            "dearest_fixed": None if dearest is None else dearest.model,
            "quality_minus_best_fixed": None
            if difference is None
            else {"estimate": difference[0], "interval": _interval_dict(difference[1])},
            "random_mix": None
            if mix is None
            else {
                "cheaper": mix.cheaper,
                "dearer": mix.dearer,
                "dearer_share": mix.dearer_share,
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


def run_demo(
    router: ModelRouter,
    tasks: Sequence[DemoTask],
    *,
    fixed: bool,
    models: Sequence[str] | None = None,
    params: Mapping[str, Any] | None = None,
    on_result: Callable[[TaskResult], None] | None = None,
) -> DemoReport:
    """Run every task through the router and, with `fixed`, through each fixed model; return the report.

    `models` are the fixed models; by default those that the routed ladders are made of. Under a budget
    they are measured only where the most that they can cost is left over, and estimated otherwise.
    `params` go with every call. `on_result` hears of each result as it comes, fixed ones included.
    The run ends early when the router's budget does, and the report says so.
    """
    options = dict(params or {})
    hear = on_result or _ignore
    results: list[TaskResult] = []
    stopped = None
    for task in tasks:
        try:
            result = _run_one(router, task, options, None)
        except BudgetExceededError as error:
            stopped = f"the budget ended after {len(results)} of {len(tasks)} tasks: {_one_line(error)}"
            break
        results.append(result)
        hear(result)
    done = tuple(tasks[: len(results)])
    names = tuple(models) if models is not None else _models_of(results)
    measured = _Measured({}, 0.0)
    if fixed and results and _fits(router, done, names, options):
        measured = _measure(router, done, names, options, hear)
    now = datetime.fromtimestamp(router.config.clock.now(), UTC)
    return DemoReport(
        results=tuple(results),
        fixed=tuple(
            FixedModel(name, measured.scores.get(name), _repriced_usd(router, results, name))
            for name in names
        ),
        planned=len(tasks),
        simulated=router.simulated,
        seed=router.config.seed,
        date=now.date().isoformat(),
        population=f"{len(done)} of {len(tasks)} bundled tasks",
        max_usd=router.config.max_usd,
        spent_usd=None if router.spent_usd is None else router.spent_usd + measured.spent_usd,
        stopped=stopped,
    )


def _run_one(
    router: ModelRouter, task: DemoTask, params: Mapping[str, Any], fixed_model: str | None
) -> TaskResult:
    """Return what came of a task. Raises BudgetExceededError, and nothing else, when the budget is gone."""
    outcome: Outcome | None
    problem: SmartRouteError | None = None
    labels = {"demo": task.id, "demo_way": "routed" if fixed_model is None else "fixed"}
    try:
        outcome = router.run(task.prompt, kind=task.kind, labels=labels, **params)
    except BudgetExceededError:
        raise
    except SmartRouteError as error:
        problem, outcome = error, getattr(error, "outcome", None)
    if outcome is None:
        attempts: tuple[Attempt, ...] = getattr(problem, "attempts", ())
        return TaskResult(
            id=task.id,
            kind=task.kind,
            language=task.language,
            prompt=task.prompt,
            answer="",
            right=False,
            complexity=None,
            model=None,
            escalated=False,
            cost_usd=math.fsum(a.cost_usd for a in attempts if a.cost_usd is not None),
            unpriced_attempts=sum(a.cost_usd is None for a in attempts),
            confidence=None,
            confidence_source="none",
            attempts=attempts,
            error=_one_line(problem),
            fixed_model=fixed_model,
        )
    return TaskResult(
        id=task.id,
        kind=task.kind,
        language=task.language,
        prompt=task.prompt,
        answer=outcome.text,
        right=problem is None and passes(outcome.text, task.check),
        complexity=outcome.complexity.value,
        model=outcome.model,
        escalated=outcome.escalated,
        cost_usd=outcome.cost_usd,
        unpriced_attempts=outcome.unpriced_attempts,
        confidence=outcome.confidence,
        confidence_source=outcome.confidence_source,
        attempts=outcome.attempts,
        decision=outcome.decision,
        stopped_by=outcome.stopped_by,
        error=None if problem is None else _one_line(problem),
        fixed_model=fixed_model,
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """The scores of fixed models, and what counted against the budget meanwhile."""

    scores: Mapping[str, Score]
    spent_usd: float


def _measure(
    router: ModelRouter,
    tasks: Sequence[DemoTask],
    names: Sequence[str],
    params: Mapping[str, Any],
    hear: Callable[[TaskResult], None],
) -> _Measured:
    """Return the score of each model when it gets every task, once, whatever its answer looks like.

    A model that the budget cut short has none.
    """
    scores: dict[str, Score] = {}
    limit = router.config.max_usd
    routed = router.spent_usd or 0.0
    spent = 0.0
    for name in names:
        left = None if limit is None else max(0.0, limit - routed - spent)
        with ModelRouter(
            config=router.config,
            strategy=FixedLadder(name),
            escalate=False,
            smart_routing=True,
            max_usd=left,
        ) as alone:
            results = []
            try:
                for task in tasks:
                    results.append(_run_one(alone, task, params, name))
                    hear(results[-1])
            except BudgetExceededError:
                break
            finally:
                spent += alone.spent_usd or 0.0
        scores[name] = Score(tuple(results))
    return _Measured(scores, spent)


def _fits(
    router: ModelRouter, tasks: Sequence[DemoTask], names: Sequence[str], params: Mapping[str, Any]
) -> bool:
    """Return whether the most that the fixed runs can cost is left in the budget."""
    if router.config.max_usd is None:
        return True
    tokens_out = params.get("max_tokens")
    prices = [router.prices.price(name) for name in names]
    if tokens_out is None or None in prices:
        return False
    tokens_in = [input_ceiling_tokens(({"role": "user", "content": t.prompt},), params) for t in tasks]
    ceiling = math.fsum(
        price.ceiling(tokens, tokens_out) for price in prices if price is not None for tokens in tokens_in
    )
    return ceiling <= router.config.max_usd - (router.spent_usd or 0.0)


def _repriced_usd(router: ModelRouter, results: Sequence[TaskResult], model: str) -> float | None:
    """Return what the routed answers' tokens cost at a model's prices; None where anything is unknown."""
    costs = []
    for result in results:
        answers = [a for a in result.attempts if a.purpose == "answer" and a.usage is not None]
        cost = router.prices.cost(model, answers[-1].usage) if answers and answers[-1].usage else None
        if cost is None:
            return None
        costs.append(cost)
    return math.fsum(costs) if costs else None


def _models_of(results: Sequence[TaskResult]) -> tuple[str, ...]:
    """Return the models on the ladders of the results, stand-ins aside, in order of appearance."""
    ladders = (result.decision.ladder for result in results if result.decision is not None)
    return tuple(dict.fromkeys(rung.model for ladder in ladders for rung in ladder if not rung.standin))


def _quality_then_cost(fixed: FixedModel) -> tuple[float, float, str]:
    assert fixed.score is not None
    return -fixed.score.quality, math.inf if fixed.cost_usd is None else fixed.cost_usd, fixed.model


def _frontier(points: Sequence[tuple[float, int, str]]) -> list[tuple[float, int, str]]:
    """Return the points on the upper concave frontier of quality over cost, cheapest first."""
    kept: list[tuple[float, int, str]] = []
    for point in sorted(points, key=lambda p: (p[0], -p[1], p[2])):
        if kept and point[1] <= kept[-1][1]:
            continue
        while len(kept) > 1 and _slope(kept[-2], kept[-1]) <= _slope(kept[-1], point):
            kept.pop()
        kept.append(point)
    return kept


def _slope(one: tuple[float, int, str], other: tuple[float, int, str]) -> float:
    run = other[0] - one[0]
    return math.inf if run == 0 else (other[1] - one[1]) / run


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
        "attempts": [attempt_dict(attempt) for attempt in result.attempts],
    }


def attempt_dict(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt for JSON, without its times."""
    return {
        "model": attempt.model,
        "effort": attempt.effort,
        "purpose": attempt.purpose,
        "rung": attempt.rung,
        "number": attempt.number,
        "cost_usd": attempt.cost_usd,
        "input_tokens": None if attempt.usage is None else attempt.usage.input_tokens,
        "output_tokens": None if attempt.usage is None else attempt.usage.output_tokens,
        "confidence": attempt.confidence,
        "confidence_source": attempt.confidence_source,
        "failure": None if attempt.failure is None else attempt.failure.kind,
    }


def _one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split())


def _ignore(result: TaskResult) -> None:
    """Hear nothing."""
