"""Answer a task: classify, decide, climb the ladder, repair, estimate, stop.

Nothing here does I/O: `route` and `escalate` are generators of steps, as `routing/run.py` describes. They end
with an Outcome. The Outcome of a task without an answer carries the error for the driver to raise, so that
the ledger is whole and the event can be written first. A run that is cut short ends at once, with the ledger
so far; the driver then raises again what cut it short.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from smartroute.catalog import ModelCard
from smartroute.classify import RuleClassifier
from smartroute.confidence import bare_json, format_fault, same_answer, without_report
from smartroute.errors import SmartRouteError, fault
from smartroute.protocols import Classifier
from smartroute.records import (
    Attempt,
    Call,
    Classification,
    Confidence,
    Decision,
    Failure,
    Reply,
    Rung,
    Signal,
    StoppedBy,
    Task,
)
from smartroute.routing.abilities import has_schema
from smartroute.routing.breaker import Breaker
from smartroute.routing.conclusion import Answer, outcome_of, undecided
from smartroute.routing.run import Handles, Result, Run, Steps, Stepwise, Stop

_log = logging.getLogger("smartroute")

_MOST_CLASSIFIER_STEPS = 8
_FAULTS = {"format": "is not the JSON that was asked for", "schema": "violates the JSON schema asked for"}
_NO_ACCESS = ("authentication", "quota_exhausted")


def route(
    task: Task,
    classifier: Classifier,
    decide: Callable[[Task, Classification], Decision],
    handles: Handles,
) -> Steps:
    """Classify, decide and escalate. A classifier's calls are attempts of the same ledger.

    A SmartRouteError that `decide` raises becomes the error of an Outcome, so that calls that are already
    paid for are not lost.
    """
    run = Run(task, handles)
    classification = yield from _classify(run, classifier)
    try:
        decision = decide(task, classification)
    except SmartRouteError as error:
        return undecided(run, classification, error)
    return (yield from _escalate(run, decision))


def escalate(task: Task, decision: Decision, handles: Handles) -> Steps:
    """Carry out a decision that was made before."""
    return _escalate(Run(task, handles), decision)


@dataclass(slots=True)
class _Climb:
    """Which rungs are still worth asking, by what the earlier ones taught; and the answers so far."""

    breaker: Breaker
    first: Answer | None = None
    best: Answer | None = None
    passed_over: StoppedBy | None = None
    after_failure: bool = True
    too_small_tokens: int | None = None
    without_access: set[str] = field(default_factory=set)
    detour: bool = False

    def passes_over(self, rung: Rung, card: ModelCard) -> bool:
        """Return whether a rung is not worth asking now."""
        if rung.standin and not self.after_failure:
            return True
        # An unknown context may be larger than the one that was too small.
        too_small = self.too_small_tokens
        if too_small is not None and (card.context_tokens or too_small + 1) <= too_small:
            return True
        # The same model at another effort: its key and its quota are the same.
        if rung.model in self.without_access:
            return True
        if self.breaker.admits(rung.model):
            return False
        self.detour = True
        self.passed_over = "breaker"
        # A stand-in also takes the place of a model that is not called because of earlier failures.
        self.after_failure = True
        return True

    def learn(self, rung: Rung, card: ModelCard, result: Result) -> None:
        """Take in what came of asking a rung: a reply, its last failure, or None where it is over budget."""
        self.after_failure = isinstance(result, Failure)
        if result is None:
            self.passed_over = "budget"
        elif not isinstance(result, Failure):
            self.passed_over = None
        elif result.kind == "context_too_long":
            self.too_small_tokens = card.context_tokens
        elif result.kind in _NO_ACCESS:
            self.without_access.add(rung.model)


def _escalate(run: Run, decision: Decision) -> Steps:
    """Climb the ladder until an answer is good enough or nothing is left."""
    climb = _Climb(run.handles.breaker)
    try:
        stopped_by = yield from _ascend(run, decision, climb)
    except Stop as stop:
        stopped_by = stop.stopped_by
    first, best = climb.first, climb.best
    outcome = outcome_of(run, decision, best, stopped_by, detour=climb.detour)
    if first is None or best is None or first.rung is best.rung:
        return outcome
    same = same_answer(first.reply, best.reply)
    return outcome if same is None else replace(outcome, answer_changed=not same)


def _ascend(run: Run, decision: Decision, climb: _Climb) -> Stepwise[StoppedBy | None]:
    """Ask one rung after the other. Return None once an answer is accepted, else what ended the climb."""
    # Already while classifying.
    if run.cancelled:
        raise Stop("cancelled")
    for index, rung in enumerate(decision.ladder):
        card = run.handles.catalog.card(rung.model)
        if climb.passes_over(rung, card):
            continue
        call = _call_to(run, rung, card, index)
        (result,) = yield from run.ask((call,), (card,))
        climb.learn(rung, card, result)
        if not isinstance(result, Reply):
            continue
        reply = _bare(run, result)
        attempt = run.ledger.last
        # Kept before it is repaired and estimated: a run that is cut short there has an answer.
        climb.best = Answer(_unreported(run, reply), rung)
        if run.task.repair and (repaired := (yield from _repair(run, call, card, reply))) is not None:
            reply, attempt = repaired, run.ledger.last
            climb.best = Answer(_unreported(run, reply), rung)
        confidence = yield from _estimate(run, attempt, call, reply)
        climb.best = Answer(climb.best.reply, rung, confidence)
        climb.first = climb.first or climb.best
        if _accepts(run, confidence, decision.accept_at):
            return None
    # The last retry or repair may have used up the time without a further call that would have raised Stop.
    left_s = run.left_s()
    return "deadline" if left_s is not None and left_s <= 0 else climb.passed_over or "top"


def _call_to(run: Run, rung: Rung, card: ModelCard, index: int) -> Call:
    handles = run.handles
    params = dict(run.task.params)
    messages = run.task.messages
    # The caller's own setting wins, also one that switches them off.
    if (
        handles.ask_logprobs
        and "logprobs" in card.abilities
        and "logprobs" not in params
        and "logprobs" not in card.refuses
    ):
        params["logprobs"] = True
    # A strict schema has no room for one more field.
    if handles.ask_confidence is not None and not has_schema(params):
        messages = (*messages, {"role": "system", "content": handles.ask_confidence})
    return run.call_for(card, messages, params, effort=rung.effort, rung=index)


def _repair(run: Run, call: Call, card: ModelCard, reply: Reply) -> Stepwise[Reply | None]:
    """Ask the model once to fix an answer that violates the format asked for; None without success."""
    response_format = run.task.params.get("response_format")
    # A tool call is no JSON answer, and an answer that was cut off would be cut off again.
    if response_format is None or reply.tool_calls or reply.finish_reason == "length":
        return None
    violation = format_fault(reply.text, response_format)
    if violation is None:
        return None
    request = f"That answer {_FAULTS[violation]}. Answer again, with the corrected JSON and nothing else."
    messages = (
        *call.messages,
        {"role": "assistant", "content": reply.text},
        {"role": "user", "content": request},
    )
    again = replace(call, messages=messages, purpose="repair", number=1)
    (result,) = yield from run.ask((again,), (card,), retried=False)
    if not isinstance(result, Reply):
        return None
    repaired = _bare(run, result)
    return None if format_fault(repaired.text, response_format) is not None else repaired


def _bare(run: Run, reply: Reply) -> Reply:
    """Return the reply without a code fence around the JSON that was asked for."""
    text = bare_json(reply.text, run.task.params.get("response_format"))
    return reply if text is reply.text else replace(reply, text=text)


def _unreported(run: Run, reply: Reply) -> Reply:
    """Return the reply without the line in which it rates itself, where that was asked for."""
    if run.handles.ask_confidence is None:
        return reply
    return replace(reply, text=without_report(reply.text))


def _accepts(run: Run, confidence: Confidence, accept_at: float) -> bool:
    # A threshold of 0 accepts every answer, also one of unknown confidence.
    if accept_at <= 0.0:
        return True
    if confidence.value is None:
        return not run.handles.escalate_on_unknown
    return confidence.value >= accept_at


def _estimate(run: Run, attempt: Attempt, call: Call, reply: Reply) -> Stepwise[Confidence]:
    """Return how far a reply may be believed, and enter it into the ledger."""
    estimator = run.handles.estimator
    try:
        probes = estimator.probes(run.task, reply)
        replies = (yield from run.probe(probes, call)) if probes else ()
        confidence = estimator.estimate(run.task, reply, replies)
        if not isinstance(confidence, Confidence):
            raise TypeError(f"estimate returned {type(confidence).__name__}, not Confidence")
    except Stop:
        raise
    except Exception as error:  # noqa: BLE001  a user's estimator may raise; the answer is paid for
        _log.warning("the confidence estimator failed: %s", fault(error))
        confidence = Confidence(None, "failed", f"the estimator raised {type(error).__name__}")
    run.ledger.believe(attempt, confidence)
    return confidence


def _classify(run: Run, classifier: Classifier) -> Stepwise[Classification]:
    """Return the classification; the rules', with a signal that says so, when the classifier fails.

    The classifier is not asked about a task with a complexity_override.
    """
    task = run.task
    if task.complexity_override is not None:
        return RuleClassifier().classify(task)
    try:
        result = classifier.classify(task)
        if isinstance(result, Classification):
            return result
        replies: tuple[Reply | Failure, ...] | None = None
        for _ in range(_MOST_CLASSIFIER_STEPS):
            try:
                probes = next(result) if replies is None else result.send(replies)
            except StopIteration as finished:
                return _checked(finished.value)
            replies = yield from run.probe(probes, None)
        return _by_rules(task, f"it asked more than {_MOST_CLASSIFIER_STEPS} times")
    except Stop as stop:
        # Nothing is wrong with the classifier: no warning.
        return _replaced(task, stop.stopped_by)
    except Exception as error:  # noqa: BLE001  a user's classifier may raise anything
        return _by_rules(task, type(error).__name__, fault(error))


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
    # A generator that is never started: closed here, since its own code must not run.
    close = getattr(result, "close", None)
    if close is not None:
        close()
    return _by_rules(task, "it makes calls, and none are made here")


def _by_rules(task: Task, why: str, where: str | None = None) -> Classification:
    _log.warning("the rules classify in place of the configured classifier: %s", where or why)
    return _replaced(task, why)


def _replaced(task: Task, why: str) -> Classification:
    classification = RuleClassifier().classify(task)
    return replace(classification, signals=(Signal("classifier_replaced", why), *classification.signals))


def _checked(value: object) -> Classification:
    if not isinstance(value, Classification):
        raise TypeError(f"classify returned {type(value).__name__}, not Classification")
    return value
