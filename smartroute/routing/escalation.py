"""Carry a decision out: retry, climb, stop, account. The only place where any of that is decided.

Nothing here does I/O. `route` and `escalate` are generators: they yield `Calls` or `Wait`, a driver performs
the step and sends back what came of it (one `Timed` per call, in order; nothing for a wait), and the end
is an `Outcome`. The Outcome of a task without an answer carries the error for the driver to raise, so that
the ledger is whole and the event can be written first. A step that was cut short comes back with
`Failure.cancelled()`; the generator then ends at once, and the driver raises again what cut it short.
"""

from __future__ import annotations

import functools
import itertools
import logging
import random
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from smartroute.catalog import Catalog, ModelCard
from smartroute.classify import RuleClassifier
from smartroute.clock import Clock
from smartroute.confidence import bare_json, format_fault, same_answer, without_report
from smartroute.errors import (
    AllModelsFailedError,
    BudgetExceededError,
    DeadlineExceededError,
    SmartRouteError,
    fault,
)
from smartroute.ledger import (
    Budget,
    Ledger,
    Reservation,
    beyond_ceiling,
    input_ceiling_tokens,
    output_ceiling_tokens,
)
from smartroute.pricing import PriceTable
from smartroute.protocols import Classifier, ConfidenceEstimator
from smartroute.records import (
    UNKNOWN_CONFIDENCE,
    Attempt,
    Call,
    Calls,
    Classification,
    Confidence,
    Decision,
    Failure,
    Message,
    Outcome,
    Probe,
    Purpose,
    Reply,
    Rung,
    Signal,
    StoppedBy,
    Task,
    Timed,
    Wait,
)
from smartroute.routing.breaker import Breaker
from smartroute.routing.eligibility import AUDIBLE, required_abilities
from smartroute.routing.replies import usable
from smartroute.routing.retries import RetryPolicy

_log = logging.getLogger("smartroute")

Replies: TypeAlias = tuple[Timed, ...]
Steps: TypeAlias = Generator[Calls | Wait, Replies, Outcome]
"""What a driver drives: `for step in steps: steps.send(what came of it)`, until the Outcome is returned."""


@dataclass(frozen=True, slots=True)
class Handles:
    """What escalation needs from outside, all of it replaceable in tests."""

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


def route(
    task: Task,
    classifier: Classifier,
    decide: Callable[[Task, Classification], Decision],
    handles: Handles,
) -> Steps:
    """Classify, decide and escalate. A classifier's calls are attempts of the same ledger.

    What `decide` raises becomes the error of an Outcome, so that calls already paid for are not lost.
    """
    run = Run(task, handles)
    classification = yield from run.classify(classifier)
    try:
        decision = decide(task, classification)
    except SmartRouteError as error:
        return run.undecided(classification, error)
    return (yield from run.escalate(decision))


def escalate(task: Task, decision: Decision, handles: Handles) -> Steps:
    """Carry out a decision that was made before."""
    return Run(task, handles).escalate(decision)


@dataclass(frozen=True, slots=True)
class _Answer:
    reply: Reply
    rung: Rung
    confidence: Confidence


_MOST_CLASSIFIER_STEPS = 8
_UNBOUNDED = frozenset({"images", "audio", "video", "files", "audio_output", "image_output"})
_SHARE_FOR_CLASSIFYING = 0.5
_LONGEST_WAIT_S = 1e9
"""Thirty years; no clock can be told to sleep for ten times that."""
_FAULTS = {"format": "is not the JSON that was asked for", "schema": "violates the JSON schema asked for"}
_NO_ACCESS = ("authentication", "quota_exhausted")
_OVER_BUDGET = Failure("budget", "the budget cannot bear this call")


_TOO_LATE = Failure("timeout", "the time for the whole task was up before this call", generated=False)

SCORER = "scorer"
"""The provider of a card that stands for a scoring service: no model, so no key, allow-list or breaker."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One question to one model, apart from any ladder. `options` join those of the card."""

    card: ModelCard
    messages: tuple[Message, ...]
    params: Mapping[str, Any]
    purpose: Purpose = "answer"
    effort: str | None = None
    rung: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


class Stop(Exception):
    """Ends a run from within a step: cut short from outside, or out of time."""

    def __init__(self, stopped_by: StoppedBy) -> None:
        super().__init__(stopped_by)
        self.stopped_by = stopped_by


class Run:
    """The state of one task on its way: its ledger, its deadline, its best answer so far."""

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
        self.ledger = Ledger(handles.prices.cost, budgets)
        self.detour = False

    def classify(self, classifier: Classifier) -> Generator[Calls | Wait, Replies, Classification]:
        """Return the classification; the rules', with a signal that says so, when the classifier fails.

        A task with a complexity_override is not asked about.
        """
        if self.task.complexity_override is not None:
            return RuleClassifier().classify(self.task)
        try:
            result = classifier.classify(self.task)
            if isinstance(result, Classification):
                return result
            replies: tuple[Reply | Failure, ...] | None = None
            for _ in range(_MOST_CLASSIFIER_STEPS):
                try:
                    probes = next(result) if replies is None else result.send(replies)
                except StopIteration as done:
                    return _checked(done.value)
                replies = yield from self._probe(probes, None)
            return _by_rules(self.task, f"it asked more than {_MOST_CLASSIFIER_STEPS} times")
        except Stop as stop:
            # Nothing is wrong with the classifier: no warning.
            return _replaced(self.task, stop.stopped_by)
        except Exception as error:  # noqa: BLE001  a user's classifier may raise anything
            return _by_rules(self.task, type(error).__name__, fault(error))

    def escalate(self, decision: Decision) -> Steps:
        """Climb the ladder until an answer is good enough or nothing is left."""
        first: _Answer | None = None
        best: _Answer | None = None
        stopped_by: StoppedBy | None = "top"
        passed_over: StoppedBy | None = None
        after_failure = True
        too_small: int | None = None
        without_access: set[str] = set()
        try:
            if self._cancelled():
                raise Stop("cancelled")
            for place, rung in enumerate(decision.ladder):
                if rung.standin and not after_failure:
                    continue
                card = self.handles.catalog.card(rung.model)
                if too_small is not None and (card.context_tokens or too_small + 1) <= too_small:
                    continue
                if rung.model in without_access:
                    continue
                if not self.handles.breaker.admits(rung.model):
                    self.detour = True
                    passed_over = "breaker"
                    after_failure = True
                    continue
                call = self._call(card, rung, place)
                (result,) = yield from self._ask_all((call,), (card,))
                if result is None:
                    passed_over = "budget"
                    after_failure = False
                    continue
                if isinstance(result, Failure):
                    after_failure = True
                    if result.kind == "context_too_long":
                        too_small = card.context_tokens
                    elif result.kind in _NO_ACCESS:
                        without_access.add(rung.model)
                    continue
                after_failure = False
                passed_over = None
                result = self._bare(result)
                attempt = self.ledger.attempts[-1]
                best = _Answer(self._unreported(result), rung, UNKNOWN_CONFIDENCE)
                if (
                    self.task.repair
                    and (repaired := (yield from self._repair(call, card, result))) is not None
                ):
                    result, attempt = repaired, self.ledger.attempts[-1]
                    best = _Answer(self._unreported(result), rung, UNKNOWN_CONFIDENCE)
                confidence = yield from self._estimate(attempt, call, result)
                best = _Answer(best.reply, rung, confidence)
                first = first or best
                if self._accepts(confidence, decision.accept_at):
                    stopped_by = None
                    break
            else:
                left_s = self._left_s()
                stopped_by = "deadline" if left_s is not None and left_s <= 0 else passed_over or "top"
        except Stop as stop:
            stopped_by = stop.stopped_by
        outcome = self._outcome(decision, best, stopped_by)
        if first is None or best is None or first.rung is best.rung:
            return outcome
        same = same_answer(first.reply, best.reply)
        return outcome if same is None else replace(outcome, answer_changed=not same)

    def _repair(
        self, call: Call, card: ModelCard, reply: Reply
    ) -> Generator[Calls | Wait, Replies, Reply | None]:
        """Ask the model once to mend an answer that violates the format asked for; None without success."""
        wanted = self.task.params.get("response_format")
        fault = None if wanted is None or reply.tool_calls else format_fault(reply.text, wanted)
        if fault is None or reply.finish_reason == "length":
            return None
        request = f"That answer {_FAULTS[fault]}. Answer again, with the corrected JSON and nothing else."
        messages = (
            *call.messages,
            {"role": "assistant", "content": reply.text},
            {"role": "user", "content": request},
        )
        again = replace(call, messages=messages, purpose="repair", number=1)
        (timed,) = yield from self._perform((again,), (card,))
        if timed is None:
            return None
        mended = timed.result
        self.handles.breaker.record(card.name, mended if isinstance(mended, Failure) else None)
        if isinstance(mended, Failure):
            if mended.kind == "cancelled":
                raise Stop("cancelled")
            return None
        mended = self._bare(mended)
        return None if format_fault(mended.text, wanted) is not None else mended

    def _bare(self, reply: Reply) -> Reply:
        """Return the reply without a code fence around the JSON that was asked for."""
        text = bare_json(reply.text, self.task.params.get("response_format"))
        return reply if text is reply.text else replace(reply, text=text)

    def _unreported(self, reply: Reply) -> Reply:
        """Return the reply without the line in which it rates itself, where that was asked for."""
        if self.handles.ask_confidence is None:
            return reply
        return replace(reply, text=without_report(reply.text))

    def _accepts(self, confidence: Confidence, accept_at: float) -> bool:
        if accept_at <= 0.0:
            return True
        if confidence.value is None:
            return not self.handles.escalate_on_unknown
        return confidence.value >= accept_at

    def _call(self, card: ModelCard, rung: Rung, place: int) -> Call:
        params = dict(self.task.params)
        messages = self.task.messages
        if (
            self.handles.ask_logprobs
            and "logprobs" in card.abilities
            and "logprobs" not in params
            and "logprobs" not in card.refuses
        ):
            params["logprobs"] = True
        if self.handles.ask_confidence is not None and not _has_schema(params):
            messages = (*messages, {"role": "system", "content": self.handles.ask_confidence})
        return Call(
            model=card.name,
            target=card.target,
            provider=card.provider,
            messages=messages,
            params=params,
            effort=rung.effort,
            rung=place,
            options=card.options,
            timeout_s=self.handles.call_timeout_s,
        )

    def ask_each(self, asks: Sequence[Ask]) -> Generator[Calls | Wait, Replies, tuple[Reply | Failure, ...]]:
        """Make several calls at the same time, each retried as on a ladder, and return what came of them.

        One to a model that may not be called, that the budget cannot bear, or that no time is left for is
        a Failure and no attempt. Raises Stop when the run is cancelled.
        """
        results: list[Reply | Failure | None] = [self._closed(ask.card) for ask in asks]
        open_places = [place for place, result in enumerate(results) if result is None]
        calls = tuple(self._call_for(asks[place]) for place in open_places)
        cards = tuple(asks[place].card for place in open_places)
        try:
            answers = (yield from self._ask_all(calls, cards)) if calls else ()
        except Stop as stop:
            if stop.stopped_by != "deadline":
                raise
            answers = (_TOO_LATE,) * len(calls)
        for place, answer in zip(open_places, answers, strict=True):
            results[place] = _OVER_BUDGET if answer is None else answer
        return tuple(result for result in results if result is not None)

    def _call_for(self, ask: Ask) -> Call:
        return Call(
            model=ask.card.name,
            target=ask.card.target,
            provider=ask.card.provider,
            messages=ask.messages,
            params=_taken(ask.params, ask.card),
            purpose=ask.purpose,
            effort=ask.effort,
            rung=ask.rung,
            options={**ask.card.options, **ask.options},
        )

    def _ask_all(
        self, calls: tuple[Call, ...], cards: tuple[ModelCard, ...]
    ) -> Generator[Calls | Wait, Replies, tuple[Reply | Failure | None, ...]]:
        """Return the reply or the last failure of each call, or None where the budget cannot bear it.

        Those that failed transiently are made again together, after the longest of their waits.
        """
        started = self.handles.clock.monotonic()
        results: list[Reply | Failure | None] = [None] * len(calls)
        current = list(calls)
        places = list(range(len(calls)))
        while True:
            done = yield from self._perform(
                tuple([current[place] for place in places]), tuple([cards[place] for place in places])
            )
            failed: dict[int, Failure] = {}
            for place, timed in zip(places, done, strict=True):
                if timed is None:
                    continue
                results[place] = result = timed.result
                failure = result if isinstance(result, Failure) else None
                self.handles.breaker.record(current[place].model, failure)
                if failure is not None:
                    failed[place] = failure
            if not failed:
                return tuple(results)
            elapsed_s = self.handles.clock.monotonic() - started
            waits_s: dict[int, float] = {}
            for place, failure in failed.items():
                if failure.kind == "cancelled":
                    raise Stop("cancelled")
                call = current[place]
                wait_s = self._wait_s(call.number, failure, elapsed_s)
                if wait_s is not None and not self.handles.breaker.is_open(call.model):
                    waits_s[place] = wait_s
            left_s = self._left_s()
            if left_s is not None:
                waits_s = {place: wait_s for place, wait_s in waits_s.items() if wait_s < left_s}
            if not waits_s:
                return tuple(results)
            if (yield Wait(max(waits_s.values()))):
                raise Stop("cancelled")
            left_s = self._left_s()
            if left_s is not None and left_s <= 0:
                return tuple(results)
            places = list(waits_s)
            for place in places:
                current[place] = replace(current[place], number=current[place].number + 1)

    def _wait_s(self, number: int, failure: Failure, elapsed_s: float) -> float | None:
        try:
            wait_s = self.handles.retry.wait_s(number, failure, elapsed_s, self.handles.rng)
        except Exception as error:  # noqa: BLE001  a user's wait or stop strategy may raise anything
            _log.warning("the retry policy raised %s: no retry", fault(error))
            return None
        if wait_s is None or not 0.0 <= wait_s <= _LONGEST_WAIT_S:
            return None
        return wait_s

    def _perform(
        self, calls: tuple[Call, ...], cards: tuple[ModelCard, ...]
    ) -> Generator[Calls | Wait, Replies, tuple[Timed | None, ...]]:
        """Make calls at the same time and enter them into the ledger; None for one the budget cannot bear.

        Raises Stop when the deadline has passed.
        """
        left_s = self._left_s()
        if left_s is not None and left_s <= 0:
            for call in calls:
                self.handles.breaker.withdraw(call.model)
            raise Stop("deadline")
        share = _SHARE_FOR_CLASSIFYING if calls[0].purpose == "classify" else 1.0
        within_s = None if left_s is None else left_s * share
        limits = [s for s in (within_s, self.handles.call_timeout_s) if s is not None]
        timeout_s = min(limits) if limits else None
        # All ceilings before the first reservation: what a user's own probe asks for may make one raise.
        ceilings = [self._ceiling(*pair) for pair in zip(calls, cards, strict=True)]
        reservations: dict[int, Reservation] = {}
        made: list[Call] = []
        for place, call in enumerate(calls):
            reservation = self.ledger.reserve(ceilings[place])
            if reservation is None:
                self.handles.breaker.withdraw(call.model)
                continue
            reservations[place] = reservation
            made.append(call if call.timeout_s == timeout_s else replace(call, timeout_s=timeout_s))
        if not made:
            return (None,) * len(calls)
        started_at = self.handles.clock.now()
        replies = yield Calls(tuple(made), within_s)
        done: list[Timed | None] = [None] * len(calls)
        for place, call, timed in zip(reservations, made, replies, strict=True):
            result = usable(timed.result)
            done[place] = timed = timed if result is timed.result else Timed(result, timed.latency_s)
            self.ledger.enter(call, timed, started_at, reservations[place])
        return tuple(done)

    def _ceiling(self, call: Call, card: ModelCard) -> float | None:
        if not self.ledger.under_budget:
            return None
        price = self.handles.prices.price(card.name)
        # What stands in a card's options goes to the provider last, and wins.
        params = {**call.params, **call.options}
        tokens_out = output_ceiling_tokens(params, card.max_output_tokens)
        if price is None or tokens_out is None or beyond_ceiling(params, call.messages) is not None:
            return None
        tokens_in = input_ceiling_tokens(call.messages, params)
        needs = required_abilities(self.task)
        if price.audio_apart and not AUDIBLE.isdisjoint(needs):
            return None
        if not _UNBOUNDED.isdisjoint(needs):
            # Nothing bounds the tokens of an image, a sound or a file but the model's context.
            if card.context_tokens is None:
                return None
            tokens_in = max(tokens_in, card.context_tokens)
        return price.ceiling(tokens_in, tokens_out)

    def _left_s(self) -> float | None:
        return None if self.deadline is None else self.deadline - self.handles.clock.monotonic()

    def _cancelled(self) -> bool:
        return any(a.failure is not None and a.failure.kind == "cancelled" for a in self.ledger.attempts)

    def _estimate(
        self, attempt: Attempt, call: Call, reply: Reply
    ) -> Generator[Calls | Wait, Replies, Confidence]:
        estimator = self.handles.estimator
        try:
            probes = estimator.probes(self.task, reply)
            replies = (yield from self._probe(probes, call)) if probes else ()
            confidence = estimator.estimate(self.task, reply, replies)
            if not isinstance(confidence, Confidence):
                raise TypeError(f"estimate returned {type(confidence).__name__}, not Confidence")
        except Stop:
            raise
        except Exception as error:  # noqa: BLE001  a user's estimator may raise; the answer is paid for
            _log.warning("the confidence estimator failed: %s", fault(error))
            confidence = Confidence(None, "failed", f"the estimator raised {type(error).__name__}")
        self.ledger.believe(attempt, confidence)
        return confidence

    def _probe(
        self, probes: tuple[Probe, ...], answer: Call | None
    ) -> Generator[Calls | Wait, Replies, tuple[Reply | Failure, ...]]:
        """Make the extra calls at the same time, once each.

        One to a model that may not be called, or that the budget cannot bear, is a Failure and no attempt.
        """
        cards = tuple(self._probe_card(probe, answer) for probe in probes)
        results: list[Reply | Failure | None] = [
            self._bar(probe, card, answer) for probe, card in zip(probes, cards, strict=True)
        ]
        places = [place for place, result in enumerate(results) if result is None]
        calls = tuple(
            self._probe_call(probes[place], cards[place], answer, number)
            for number, place in enumerate(places, start=1)
        )
        asked = tuple(cards[place] for place in places)
        done = (yield from self._perform(calls, asked)) if calls else ()
        for place, timed in zip(places, done, strict=True):
            results[place] = _OVER_BUDGET if timed is None else timed.result
            if timed is not None:
                failure = timed.result if isinstance(timed.result, Failure) else None
                self.handles.breaker.record(cards[place].name, failure)
        if any(isinstance(result, Failure) and result.kind == "cancelled" for result in results):
            raise Stop("cancelled")
        return tuple(result for result in results if result is not None)

    def _bar(self, probe: Probe, card: ModelCard, answer: Call | None) -> Failure | None:
        if (
            self.handles.tied
            and probe.purpose == "sample"
            and answer is not None
            and card.provider != answer.provider
        ):
            return Failure(
                "barred", f"the conversation has open tool calls or signed thinking of {answer.provider}"
            )
        if card.provider != SCORER and (reason := self.handles.barred(card.name)) is not None:
            _tell_barred(probe.purpose, card.name, reason)
        return self._closed(card)

    def _closed(self, card: ModelCard) -> Failure | None:
        """Return why a model may not be called now, as a Failure."""
        if card.provider == SCORER:
            return None
        reason = self.handles.barred(card.name)
        if reason is None and not self.handles.breaker.admits(card.name):
            reason = "passed over because of earlier failures"
        return None if reason is None else Failure("barred", reason)

    def _probe_card(self, probe: Probe, answer: Call | None) -> ModelCard:
        name = probe.model or (answer.model if answer is not None else None)
        if name is None:
            raise SmartRouteError(f"a {probe.purpose} probe without a model needs an answer to sample again")
        return self.handles.catalog.card(name)

    def _probe_call(self, probe: Probe, card: ModelCard, answer: Call | None, number: int) -> Call:
        params: Mapping[str, Any] = self.task.params if probe.params is None else probe.params
        return Call(
            model=card.name,
            target=card.target,
            provider=card.provider,
            messages=probe.messages,
            params=_taken(params, card),
            purpose=probe.purpose,
            effort=answer.effort if answer is not None and probe.model is None else None,
            number=number,
            rung=None if answer is None else answer.rung,
            options=card.options,
        )

    def undecided(self, classification: Classification, error: SmartRouteError) -> Outcome:
        """Return the outcome of a task for which no ladder could be made."""
        decision = Decision(classification, (), 0.0, "none", reasons=(type(error).__name__,))
        return replace(self._outcome(decision, None, "cancelled"), stopped_by=None, error=error)

    def conclude(
        self,
        decision: Decision,
        answer: Reply | None,
        answered_by: Rung | None,
        *,
        stopped_by: StoppedBy | None = None,
        labels: Mapping[str, str] | None = None,
        baseline: tuple[str, float | None] | None = None,
    ) -> Outcome:
        """Return the outcome of a run that climbed no ladder, with its whole ledger.

        `baseline` is what this is compared with, by name, and its cost in USD; `labels` join the task's.
        """
        best = None
        if answer is not None and answered_by is not None:
            best = _Answer(answer, answered_by, UNKNOWN_CONFIDENCE)
        outcome = self._outcome(decision, best, stopped_by)
        if labels:
            outcome = replace(outcome, task=replace(self.task, labels={**self.task.labels, **labels}))
        if baseline is not None:
            outcome = replace(outcome, baseline_model=baseline[0], baseline_cost_usd=baseline[1])
        return outcome

    def _outcome(self, decision: Decision, best: _Answer | None, stopped_by: StoppedBy | None) -> Outcome:
        attempts = self.ledger.attempts
        error = None
        if best is None and stopped_by != "cancelled":
            error = self._error(decision, attempts, stopped_by)
        baseline = self.handles.baseline_model()
        return Outcome(
            id=self.handles.new_id(),
            task=self.task,
            decision=decision,
            attempts=attempts,
            started_at=self.started_at,
            latency_s=self.handles.clock.monotonic() - self.started,
            answer=None if best is None else best.reply,
            answered_by=None if best is None else best.rung,
            estimate=UNKNOWN_CONFIDENCE if best is None else best.confidence,
            stopped_by=stopped_by,
            error=error,
            baseline_model=baseline,
            baseline_cost_usd=self._baseline_usd(baseline, best),
            simulated=self.handles.simulated,
            detour=self.detour,
        )

    def _baseline_usd(self, baseline: str | None, best: _Answer | None) -> float | None:
        if baseline is None or best is None or best.reply.usage is None:
            return None
        usage = best.reply.usage
        if usage.reasoning_tokens and "effort" not in self.handles.catalog.card(baseline).abilities:
            # A model that does not reason would not have written, or charged for, these.
            written = max(0, usage.output_tokens - usage.reasoning_tokens)
            usage = replace(usage, output_tokens=written, reasoning_tokens=0)
        return self.handles.prices.cost(baseline, usage)

    def _error(
        self, decision: Decision, attempts: tuple[Attempt, ...], stopped_by: StoppedBy | None
    ) -> SmartRouteError:
        told = _told(attempts)
        error: SmartRouteError
        budget = self.ledger.tightest
        if stopped_by == "budget" and budget is not None:
            error = BudgetExceededError(
                f"${budget.left_usd:.6f} of ${budget.limit_usd:.6f} is left, less than the most that the "
                "next call can cost; raise max_usd, or pass max_tokens to lower that"
                f"{'; ' + told if told else ''}",
                spent_usd=budget.spent_usd,
                limit_usd=budget.limit_usd,
                attempts=attempts,
            )
        elif stopped_by == "deadline":
            error = DeadlineExceededError(
                f"no answer within {self.deadline_s():g} s; raise timeout_s{'; ' + told if told else ''}",
                attempts=attempts,
            )
        else:
            ladder = ", ".join(str(rung) for rung in decision.ladder)
            why = told or "passed over because of earlier failures; they are tried again after a pause"
            error = AllModelsFailedError(f"no rung of [{ladder}] answered ({why})", attempts=attempts)
        causes = [a.failure.error for a in attempts if a.failure is not None and a.failure.error is not None]
        error.__cause__ = causes[-1] if causes else None
        return error

    def deadline_s(self) -> float:
        """Return the time that the whole task was given, in seconds."""
        return 0.0 if self.deadline is None else self.deadline - self.started


def classify_without_calls(classifier: Classifier, task: Task) -> Classification:
    """Return the classification where no call may be made: the rules', for a classifier that needs one."""
    if task.complexity_override is not None:
        return RuleClassifier().classify(task)
    try:
        result = classifier.classify(task)
    except Exception as error:  # noqa: BLE001  a user's classifier may raise anything
        return _by_rules(task, type(error).__name__, fault(error))
    if isinstance(result, Classification):
        return result
    close = getattr(result, "close", None)
    if close is not None:
        close()
    return _by_rules(task, "it makes calls, and none are made here")


def _by_rules(task: Task, why: str, where: str | None = None) -> Classification:
    _log.warning("the rules classify in place of the configured classifier: %s", where or why)
    return _replaced(task, why)


def _replaced(task: Task, why: str) -> Classification:
    found = RuleClassifier().classify(task)
    return replace(found, signals=(Signal("classifier_replaced", why), *found.signals))


@functools.lru_cache(maxsize=1_000)
def _tell_barred(purpose: Purpose, model: str, reason: str) -> None:
    """Log once that a model which a classifier or an estimator relies on may not be called at all."""
    _log.warning("%s cannot be asked (%s): %s", model, purpose, reason)


def _told(attempts: Iterable[Attempt]) -> str:
    """Return how the answer calls failed, in order: "a: timeout, 3 calls; b: refused"."""
    failed = [(a.model, a.failure.kind) for a in attempts if a.purpose == "answer" and a.failure]
    counted = [(pair, len(list(same))) for pair, same in itertools.groupby(failed)]
    return "; ".join(
        f"{model}: {kind}" + (f", {calls} calls" if calls > 1 else "") for (model, kind), calls in counted
    )


def _has_schema(params: Mapping[str, Any]) -> bool:
    """Return whether the answer's shape is given: a strict schema has no room for one more field."""
    wanted = params.get("response_format")
    return wanted is not None and not (isinstance(wanted, Mapping) and wanted.get("type") != "json_schema")


def _taken(params: Mapping[str, Any], card: ModelCard) -> dict[str, Any]:
    """Return the parameters that a model takes, for a call of our own."""
    return {
        name: value
        for name, value in params.items()
        if name not in card.refuses and (name != "reasoning_effort" or value in card.efforts)
    }


def _checked(value: object) -> Classification:
    if not isinstance(value, Classification):
        raise TypeError(f"classify returned {type(value).__name__}, not Classification")
    return value
