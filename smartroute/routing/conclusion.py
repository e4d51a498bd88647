"""Make the Outcome of a run: its answer, its error in words, what the baseline would have cost."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from smartroute.errors import (
    AllModelsFailedError,
    BudgetExceededError,
    DeadlineExceededError,
    SmartRouteError,
)
from smartroute.records import (
    UNKNOWN_CONFIDENCE,
    Attempt,
    Classification,
    Confidence,
    Decision,
    Outcome,
    Reply,
    Rung,
    StoppedBy,
)
from smartroute.routing.run import Run


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, the rung it came from, and how far it may be believed."""

    reply: Reply
    rung: Rung
    confidence: Confidence = UNKNOWN_CONFIDENCE


def outcome_of(
    run: Run,
    decision: Decision,
    answer: Answer | None,
    stopped_by: StoppedBy | None,
    *,
    detour: bool = False,
) -> Outcome:
    """Return the outcome of a run that ended, with its whole ledger.

    Without an answer it carries the error for the driver to raise, unless the run was cancelled.
    `detour` says that a model was passed over because of earlier failures.
    """
    handles = run.handles
    error = None
    if answer is None and stopped_by != "cancelled":
        error = _error(run, decision, stopped_by)
    baseline = handles.baseline_model()
    return Outcome(
        id=handles.new_id(),
        task=run.task,
        decision=decision,
        attempts=run.ledger.attempts,
        started_at=run.started_at,
        latency_s=handles.clock.monotonic() - run.started,
        answer=None if answer is None else answer.reply,
        answered_by=None if answer is None else answer.rung,
        estimate=UNKNOWN_CONFIDENCE if answer is None else answer.confidence,
        stopped_by=stopped_by,
        error=error,
        baseline_model=baseline,
        baseline_cost_usd=None if answer is None else _baseline_cost_usd(run, baseline, answer.reply),
        simulated=handles.simulated,
        detour=detour,
    )


def undecided(run: Run, classification: Classification, error: SmartRouteError) -> Outcome:
    """Return the outcome of a task for which no ladder could be made."""
    decision = Decision(classification, (), 0.0, "none", reasons=(type(error).__name__,))
    return replace(outcome_of(run, decision, None, "cancelled"), stopped_by=None, error=error)


def conclude(
    run: Run,
    decision: Decision,
    answer: Reply | None,
    answered_by: Rung | None,
    *,
    stopped_by: StoppedBy | None = None,
    labels: Mapping[str, str] | None = None,
    baseline: tuple[str, float | None] | None = None,
) -> Outcome:
    """Return the outcome of a run that climbed no ladder, with its whole ledger.

    `baseline` is the name of what this is compared with, and its cost in USD; `labels` join the task's.
    """
    best = None if answer is None or answered_by is None else Answer(answer, answered_by)
    outcome = outcome_of(run, decision, best, stopped_by)
    if labels:
        outcome = replace(outcome, task=replace(run.task, labels={**run.task.labels, **labels}))
    if baseline is not None:
        outcome = replace(outcome, baseline_model=baseline[0], baseline_cost_usd=baseline[1])
    return outcome


def _baseline_cost_usd(run: Run, baseline: str | None, reply: Reply) -> float | None:
    """Return what the baseline model would have cost on this answer's own tokens; None when unknown."""
    if baseline is None or reply.usage is None:
        return None
    usage = reply.usage
    if usage.reasoning_tokens and "effort" not in run.handles.catalog.card(baseline).abilities:
        # A model that does not reason would not have written these tokens, nor charged for them.
        written = max(0, usage.output_tokens - usage.reasoning_tokens)
        usage = replace(usage, output_tokens=written, reasoning_tokens=0)
    return run.handles.prices.cost(baseline, usage)


def _error(run: Run, decision: Decision, stopped_by: StoppedBy | None) -> SmartRouteError:
    """Return the error of a task without an answer, with the ledger and the last provider error as cause."""
    attempts = run.ledger.attempts
    failures = _failures_in_words(attempts)
    error: SmartRouteError
    budget = min(run.budgets, key=lambda budget: budget.left_usd, default=None)
    if stopped_by == "budget" and budget is not None:
        error = BudgetExceededError(
            f"${budget.left_usd:.6f} of ${budget.limit_usd:.6f} is left, less than the most that the "
            "next call can cost; raise max_usd, or pass max_tokens to lower that"
            f"{'; ' + failures if failures else ''}",
            spent_usd=budget.spent_usd,
            limit_usd=budget.limit_usd,
            attempts=attempts,
        )
    elif stopped_by == "deadline":
        error = DeadlineExceededError(
            f"no answer within {run.time_limit_s:g} s; raise timeout_s{'; ' + failures if failures else ''}",
            attempts=attempts,
        )
    else:
        ladder = ", ".join(str(rung) for rung in decision.ladder)
        why = failures or "passed over because of earlier failures; they are tried again after a pause"
        error = AllModelsFailedError(f"no rung of [{ladder}] answered ({why})", attempts=attempts)
    causes = [a.failure.error for a in attempts if a.failure is not None and a.failure.error is not None]
    error.__cause__ = causes[-1] if causes else None
    return error


def _failures_in_words(attempts: Iterable[Attempt]) -> str:
    """Return how the answer calls failed, in order: "a: timeout, 3 calls; b: refused"."""
    failed = [(a.model, a.failure.kind) for a in attempts if a.purpose == "answer" and a.failure]
    counted = [(pair, len(list(same))) for pair, same in itertools.groupby(failed)]
    return "; ".join(
        f"{model}: {kind}" + (f", {calls} calls" if calls > 1 else "") for (model, kind), calls in counted
    )
