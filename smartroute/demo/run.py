"""Run tasks with checkable answers through a router and through each single model, and score them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from smartroute.demo.report import DemoReport
from smartroute.errors import BudgetExceededError, SmartRouteError
from smartroute.evaluation.checks import passes
from smartroute.evaluation.scores import FixedModel, Score, TaskResult
from smartroute.records import Attempt, Outcome
from smartroute.router import ModelRouter
from smartroute.routing.ceilings import input_ceiling_tokens
from smartroute.routing.strategies import FixedLadder

if TYPE_CHECKING:
    from smartroute.demo.tasks import DemoTask


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

    `models` are the fixed models; by default the models on the routed ladders. Under a budget they are
    measured only where the rest of it covers the most that they can cost, and estimated otherwise.
    `params` go with every call. `on_result` is called with each result, those of fixed models included.
    The run ends early when the router's budget is used up, or on Ctrl-C, and the report says so.
    """
    options = dict(params or {})
    notify = on_result or _ignore
    results: list[TaskResult] = []
    stopped, interrupted = None, False
    for task in tasks:
        try:
            result = _run_one(router, task, options, None)
        except BudgetExceededError as error:
            stopped = f"the budget ended after {len(results)} of {len(tasks)} tasks: {_one_line(error)}"
            break
        except KeyboardInterrupt:
            stopped, interrupted = f"interrupted after {len(results)} of {len(tasks)} tasks", True
            break
        results.append(result)
        notify(result)
    completed = tuple(tasks[: len(results)])
    names = tuple(models) if models is not None else _models_of(results)
    measured = _Measured({}, 0.0)
    if fixed and results and not interrupted and _fits(router, completed, names, options):
        measured = _measure(router, completed, names, options, notify)
        if measured.interrupted:
            stopped, interrupted = "interrupted while the fixed models were measured", True
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
        population=f"{len(completed)} of {len(tasks)} bundled tasks",
        max_usd=router.config.max_usd,
        spent_usd=None if router.spent_usd is None else router.spent_usd + measured.spent_usd,
        stopped=stopped,
        interrupted=interrupted,
    )


def _run_one(
    router: ModelRouter, task: DemoTask, params: Mapping[str, Any], fixed_model: str | None
) -> TaskResult:
    """Return the result of a task, also of a failed one. Raises only BudgetExceededError."""
    outcome: Outcome | None
    failure: SmartRouteError | None = None
    labels = {"demo": task.id, "demo_way": "routed" if fixed_model is None else "fixed"}
    try:
        outcome = router.run(task.prompt, kind=task.kind, labels=labels, **params)
    except BudgetExceededError:
        raise
    except SmartRouteError as error:
        failure, outcome = error, getattr(error, "outcome", None)
    if outcome is None:
        attempts: tuple[Attempt, ...] = getattr(failure, "attempts", ())
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
            error=_one_line(failure),
            fixed_model=fixed_model,
        )
    right = failure is None and passes(outcome.text, task.check)
    router.feedback(outcome.id, quality=float(right), source="test")
    return TaskResult(
        id=task.id,
        kind=task.kind,
        language=task.language,
        prompt=task.prompt,
        answer=outcome.text,
        right=right,
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
        error=None if failure is None else _one_line(failure),
        fixed_model=fixed_model,
    )


@dataclass(frozen=True, slots=True)
class _Measured:
    """The scores of fixed models, and what measuring them took from the budget."""

    scores: Mapping[str, Score]
    spent_usd: float
    interrupted: bool = False


def _measure(
    router: ModelRouter,
    tasks: Sequence[DemoTask],
    names: Sequence[str],
    params: Mapping[str, Any],
    notify: Callable[[TaskResult], None],
) -> _Measured:
    """Return the score of each model that answered every task once, without escalation.

    A model for which the budget did not last has no score.
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
                    notify(results[-1])
            except BudgetExceededError:
                break
            except KeyboardInterrupt:
                return _Measured(scores, spent + (alone.spent_usd or 0.0), interrupted=True)
            finally:
                spent += alone.spent_usd or 0.0
        scores[name] = Score(tuple(results))
    return _Measured(scores, spent)


def _fits(
    router: ModelRouter, tasks: Sequence[DemoTask], names: Sequence[str], params: Mapping[str, Any]
) -> bool:
    """Return whether the rest of the budget covers the most that the fixed runs can cost."""
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
    """Return what the routed answers' tokens cost at a model's prices; None if any cost is unknown."""
    costs = []
    for result in results:
        answers = [a for a in result.attempts if a.purpose == "answer" and a.failure is None]
        cost = router.prices.cost(model, answers[-1].usage) if answers and answers[-1].usage else None
        if cost is None:
            return None
        costs.append(cost)
    return math.fsum(costs) if costs else None


def _models_of(results: Sequence[TaskResult]) -> tuple[str, ...]:
    """Return the models on the results' ladders, in order of appearance and without stand-ins."""
    ladders = (result.decision.ladder for result in results if result.decision is not None)
    return tuple(dict.fromkeys(rung.model for ladder in ladders for rung in ladder if not rung.standin))


def _one_line(error: BaseException | None) -> str:
    return " ".join(str(error).split())


def _ignore(result: TaskResult) -> None:
    """Do nothing with a result."""
