"""A task under way, and how calls are made for it: reserve, call, enter into the ledger, retry.

Nothing here does I/O. The methods are generators that yield steps; a driver performs each step and sends back
what came of it:

| step | what is sent back |
|---|---|
| `Calls` | one `Timed` per call, in order; a call that was cut short is a failure of kind "cancelled" |
| `Wait` | an empty tuple, or None when the wait was cut short |
| `Reserve` | one `Reservation` or None per ceiling, in order; None alone when the step was cut short |
| `Settle` | an empty tuple, or None when the step was cut short |
"""

from __future__ import annotations

import functools
import itertools
import logging
import random
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, TypeVar

from smartroute.budgets import Budget, Reservation, Reserve, Settle
from smartroute.catalog import Catalog, ModelCard
from smartroute.clock import Clock
from smartroute.errors import SmartRouteError, fault
from smartroute.ledger import Ledger
from smartroute.pricing import PriceTable
from smartroute.protocols import ConfidenceEstimator
from smartroute.records import (
    Call,
    Calls,
    Failure,
    Message,
    Outcome,
    Probe,
    Purpose,
    Reply,
    StoppedBy,
    Task,
    Timed,
    Wait,
)
from smartroute.routing.breaker import Breaker
from smartroute.routing.ceilings import ceiling
from smartroute.routing.replies import usable
from smartroute.routing.retries import RetryPolicy

_log = logging.getLogger("smartroute")
_T = TypeVar("_T")

Step: TypeAlias = Calls | Wait | Reserve | Settle
Replies: TypeAlias = tuple[Timed, ...]
Stepwise: TypeAlias = Generator[Step, Any, _T]
"""A computation in steps, whose result is a T. What is sent into it depends on the step: see above."""

Steps: TypeAlias = Stepwise[Outcome]
"""What a driver drives: `steps.send(what came of the step)`, until the Outcome is returned."""

Result: TypeAlias = Reply | Failure | None
"""What came of one call, retries included; None for a call that does not fit the budget."""

SCORER = "scorer"
"""The provider of a card that represents a scoring service: it has no key, allow-list or breaker."""

_SHARE_FOR_CLASSIFYING = 0.5
_LONGEST_WAIT_S = 1e9
"""About thirty years. A clock cannot sleep for ten times that."""

_OVER_BUDGET = Failure("budget", "this call may exceed the budget")
_TOO_LATE = Failure("timeout", "the time for the whole task was up before this call", generated=False)


@dataclass(frozen=True, slots=True)
class Handles:
    """What a run needs from outside. Tests may replace all of it."""

    catalog: Catalog
    prices: PriceTable
    estimator: ConfidenceEstimator
    breaker: Breaker
    retry: RetryPolicy
    clock: Clock
    rng: random.Random
    new_id: Callable[[], str]
    budget: Budget | None = None
    timeout_s: float | None = None
    call_timeout_s: float | None = None
    escalate_on_unknown: bool = False
    ask_logprobs: bool = True
    ask_confidence: str | None = None
    barred: Callable[[str], str | None] = lambda model: None
    baseline_model: Callable[[], str | None] = lambda: None
    simulated: bool = False
    tied: bool = False


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to one model, outside any ladder. `options` join those of the card."""

    card: ModelCard
    messages: tuple[Message, ...]
    params: Mapping[str, Any]
    purpose: Purpose = "answer"
    effort: str | None = None
    rung: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    number: int = 1


class Stop(Exception):
    """Ends a run from within a step: cut short from outside, or out of time."""

    def __init__(self, stopped_by: StoppedBy) -> None:
        super().__init__(stopped_by)
        self.stopped_by = stopped_by


class Run:
    """One task under way: its ledger, its budgets, its deadline."""

    def __init__(self, task: Task, handles: Handles) -> None:
        self.task = task
        self.handles = handles
        self.started_at = handles.clock.now()
        self.started = handles.clock.monotonic()
        limits = [s for s in (task.limits.timeout_s, handles.timeout_s) if s is not None]
        self.deadline = self.started + min(limits) if limits else None
        budgets = () if handles.budget is None else (handles.budget,)
        if task.limits.max_usd is not None:
            budgets = (Budget(task.limits.max_usd), *budgets)
        self.budgets: tuple[Budget, ...] = budgets
        self.ledger = Ledger(handles.prices.cost)
        self._step_cut_short = False

    @property
    def cancelled(self) -> bool:
        """Whether a step of this run was cut short from outside."""
        return self._step_cut_short or any(
            a.failure is not None and a.failure.kind == "cancelled" for a in self.ledger.attempts
        )

    @property
    def time_limit_s(self) -> float:
        """The seconds that the whole task was given; 0 without a limit."""
        return 0.0 if self.deadline is None else self.deadline - self.started

    def left_s(self) -> float | None:
        """Return the seconds until the deadline; None without one."""
        return None if self.deadline is None else self.deadline - self.handles.clock.monotonic()

    def ask_each(self, asks: Sequence[Ask]) -> Stepwise[tuple[Reply | Failure, ...]]:
        """Make several calls at the same time, each retried as on a ladder, and return the results in order.

        A call that is barred, over budget or past the deadline yields a Failure and is not recorded as an
        attempt. Raises Stop when the run is cancelled.
        """
        closed = tuple([self._closed(ask.card) for ask in asks])
        try:
            return (yield from self._fan_out(asks, closed))
        except Stop as stop:
            if stop.stopped_by != "deadline":
                raise
            # A council can do without the answers that no time is left for.
            return tuple([_TOO_LATE if failure is None else failure for failure in closed])

    def probe(self, probes: tuple[Probe, ...], answer: Call | None) -> Stepwise[tuple[Reply | Failure, ...]]:
        """Make the extra calls of a classifier or an estimator at the same time, without retries.

        `answer` is the call whose answer is estimated; None while classifying. A call that is barred or over
        budget yields a Failure and is not recorded as an attempt. Raises Stop at the deadline, and when the
        run is cancelled.
        """
        cards = tuple([self._probe_card(probe, answer) for probe in probes])
        pairs = tuple(zip(probes, cards, strict=True))
        closed = tuple([self._probe_closed(probe, card, answer) for probe, card in pairs])
        numbers = itertools.count(1)
        asks = tuple(
            Ask(
                card,
                probe.messages,
                self.task.params if probe.params is None else probe.params,
                probe.purpose,
                # Only a sample of the answering model itself is comparable at the same effort.
                effort=answer.effort if answer is not None and probe.model is None else None,
                rung=None if answer is None else answer.rung,
                number=next(numbers) if failure is None else 0,
            )
            for (probe, card), failure in zip(pairs, closed, strict=True)
        )
        return (yield from self._fan_out(asks, closed, retried=False))

    def _fan_out(
        self, asks: Sequence[Ask], closed: Sequence[Failure | None], *, retried: bool = True
    ) -> Stepwise[tuple[Reply | Failure, ...]]:
        """Ask where `closed` has no failure, all at the same time, and return the results in order."""
        open_asks = [ask for ask, failure in zip(asks, closed, strict=True) if failure is None]
        if not open_asks:
            return tuple([failure for failure in closed if failure is not None])
        calls = tuple([self._call_of(ask) for ask in open_asks])
        cards = tuple([ask.card for ask in open_asks])
        results = iter((yield from self.ask(calls, cards, retried=retried)))
        return tuple([(next(results) or _OVER_BUDGET) if failure is None else failure for failure in closed])

    def _call_of(self, ask: Ask) -> Call:
        return self.call_for(
            ask.card,
            ask.messages,
            _accepted(ask.params, ask.card),
            ask.purpose,
            effort=ask.effort,
            rung=ask.rung,
            number=ask.number,
            options=ask.options,
        )

    def call_for(
        self,
        card: ModelCard,
        messages: tuple[Message, ...],
        params: Mapping[str, Any],
        purpose: Purpose = "answer",
        *,
        effort: str | None = None,
        rung: int | None = None,
        number: int = 1,
        options: Mapping[str, Any] | None = None,
    ) -> Call:
        """Return a call to the model of a card. `options` join those of the card, and win."""
        return Call(
            model=card.name,
            target=card.target,
            provider=card.provider,
            messages=messages,
            params=params,
            purpose=purpose,
            effort=effort,
            timeout_s=self.handles.call_timeout_s,
            number=number,
            rung=rung,
            options={**card.options, **options} if options else card.options,
        )

    def ask(
        self, calls: tuple[Call, ...], cards: tuple[ModelCard, ...], *, retried: bool = True
    ) -> Stepwise[tuple[Result, ...]]:
        """Make calls at the same time; return the reply or the last failure of each, in order.

        The result of a call that does not fit the budget is None. Calls that failed transiently are made
        again together, after the longest of their waits. Raises Stop when a call is cancelled.
        """
        started = self.handles.clock.monotonic()
        results: list[Result] = [None] * len(calls)
        current = list(calls)
        indexes = list(range(len(calls)))
        while True:
            answers = yield from self._perform(
                tuple([current[index] for index in indexes]), tuple([cards[index] for index in indexes])
            )
            failed: dict[int, Failure] = {}
            for index, timed in zip(indexes, answers, strict=True):
                if timed is None:  # over budget
                    continue
                results[index] = result = timed.result
                if isinstance(result, Failure):
                    failed[index] = result
            if not failed:
                return tuple(results)
            if any(failure.kind == "cancelled" for failure in failed.values()):
                raise Stop("cancelled")
            waits_s = self._waits_s(failed, current, started) if retried else {}
            if not waits_s:
                return tuple(results)
            if (yield Wait(max(waits_s.values()))) is None:
                raise self._cut_short()
            # A wait may take longer than it was meant to, on a busy machine or a clock that jumps.
            left_s = self.left_s()
            if left_s is not None and left_s <= 0:
                return tuple(results)
            indexes = list(waits_s)
            for index in indexes:
                current[index] = replace(current[index], number=current[index].number + 1)

    def _waits_s(
        self, failed: Mapping[int, Failure], calls: Sequence[Call], started: float
    ) -> dict[int, float]:
        """Return the seconds to wait before each failed call that is worth making again in the time left."""
        elapsed_s = self.handles.clock.monotonic() - started
        left_s = self.left_s()
        waits_s: dict[int, float] = {}
        for index, failure in failed.items():
            call = calls[index]
            wait_s = self._wait_s(call.number, failure, elapsed_s)
            # Another task's failures, or this one's, may have opened the breaker since.
            if wait_s is None or self.handles.breaker.is_open(call.model):
                continue
            if left_s is None or wait_s < left_s:
                waits_s[index] = wait_s
        return waits_s

    def _wait_s(self, number: int, failure: Failure, elapsed_s: float) -> float | None:
        try:
            wait_s = self.handles.retry.wait_s(number, failure, elapsed_s, self.handles.rng)
        except Exception as error:  # noqa: BLE001  a user's wait or stop strategy may raise anything
            _log.warning("the retry policy raised %s: no retry", fault(error))
            return None
        # A user's strategy may return a negative number, NaN or infinity.
        if wait_s is None or not 0.0 <= wait_s <= _LONGEST_WAIT_S:
            return None
        return wait_s

    def _perform(
        self, calls: tuple[Call, ...], cards: tuple[ModelCard, ...]
    ) -> Stepwise[tuple[Timed | None, ...]]:
        """Make calls at the same time, and enter them into ledger and breaker; None for one over budget.

        Raises Stop when the deadline has passed.
        """
        left_s = self.left_s()
        if left_s is not None and left_s <= 0:
            self._withdraw(calls)
            raise Stop("deadline")
        # A slow classifier must leave time for the answer.
        share = _SHARE_FOR_CLASSIFYING if calls[0].purpose == "classify" else 1.0
        within_s = None if left_s is None else left_s * share
        limits = [s for s in (within_s, self.handles.call_timeout_s) if s is not None]
        timeout_s = min(limits) if limits else None
        reservations = (yield from self._reserve(calls, cards)) if self.budgets else None
        made: list[int] = []
        for index, call in enumerate(calls):
            if reservations is None or reservations[index] is not None:
                made.append(index)
            else:
                self.handles.breaker.withdraw(call.model)
        results: list[Timed | None] = [None] * len(calls)
        if not made:
            return tuple(results)
        started_at = self.handles.clock.now()
        sent = tuple([_within(calls[index], timeout_s) for index in made])
        replies: Replies = yield Calls(sent, within_s)
        costs_usd: list[tuple[Reservation, float | None]] = []
        for index, call, timed in zip(made, sent, replies, strict=True):
            result = usable(timed.result)
            results[index] = timed = timed if result is timed.result else Timed(result, timed.latency_s)
            attempt = self.ledger.enter(call, timed, started_at)
            # Before the budgets are settled, which may be cut short.
            self.handles.breaker.record(call.model, attempt.failure)
            if reservations is not None and (reservation := reservations[index]) is not None:
                costs_usd.append((reservation, attempt.cost_usd))
        if costs_usd and (yield Settle(tuple(costs_usd))) is None:
            raise self._cut_short()
        return tuple(results)

    def _reserve(
        self, calls: tuple[Call, ...], cards: tuple[ModelCard, ...]
    ) -> Stepwise[tuple[Reservation | None, ...]]:
        try:
            # What a user's own probe asks for may make this raise: so all ceilings before the step.
            ceilings_usd = tuple([self._ceiling_usd(*pair) for pair in zip(calls, cards, strict=True)])
        except Exception:
            self._withdraw(calls)
            raise
        reservations: tuple[Reservation | None, ...] | None = yield Reserve(ceilings_usd, self.budgets)
        if reservations is None:
            self._withdraw(calls)
            raise self._cut_short()
        return reservations

    def _ceiling_usd(self, call: Call, card: ModelCard) -> float | None:
        params = {**call.params, **call.options} if call.options else call.params
        return ceiling(card, self.handles.prices.price(card.name), call.messages, params).usd

    def _cut_short(self) -> Stop:
        """Return what ends the run after a step other than a call was cut short."""
        self._step_cut_short = True
        return Stop("cancelled")

    def _withdraw(self, calls: Iterable[Call]) -> None:
        """Return the trial calls that a breaker granted and that are not made."""
        for call in calls:
            self.handles.breaker.withdraw(call.model)

    def _closed(self, card: ModelCard) -> Failure | None:
        """Return why a model may not be called now, as a Failure; None when it may."""
        # A scoring service has neither a key nor a breaker.
        if card.provider == SCORER:
            return None
        reason = self.handles.barred(card.name)
        if reason is None and not self.handles.breaker.admits(card.name):
            reason = "passed over because of earlier failures"
        return None if reason is None else Failure("barred", reason)

    def _probe_closed(self, probe: Probe, card: ModelCard, answer: Call | None) -> Failure | None:
        # Open tool calls and signed thinking can be sent to their own provider only; a judge gets plain text.
        tied = self.handles.tied and probe.purpose == "sample"
        if tied and answer is not None and card.provider != answer.provider:
            return Failure(
                "barred", f"the conversation has open tool calls or signed thinking of {answer.provider}"
            )
        if card.provider != SCORER and (reason := self.handles.barred(card.name)) is not None:
            _warn_barred(probe.purpose, card.name, reason)
        return self._closed(card)

    def _probe_card(self, probe: Probe, answer: Call | None) -> ModelCard:
        name = probe.model or (answer.model if answer is not None else None)
        if name is None:
            raise SmartRouteError(f"a {probe.purpose} probe without a model needs an answer to sample again")
        return self.handles.catalog.card(name)


@functools.lru_cache(maxsize=1_000)
def _warn_barred(purpose: Purpose, model: str, reason: str) -> None:
    """Log once that a model which a classifier or an estimator relies on may not be called at all."""
    _log.warning("%s cannot be asked (%s): %s", model, purpose, reason)


def _within(call: Call, timeout_s: float | None) -> Call:
    return call if call.timeout_s == timeout_s else replace(call, timeout_s=timeout_s)


def _accepted(params: Mapping[str, Any], card: ModelCard) -> dict[str, Any]:
    """Return the parameters that a model takes."""
    return {
        name: value
        for name, value in params.items()
        if name not in card.refuses and (name != "reasoning_effort" or value in card.efforts)
    }
