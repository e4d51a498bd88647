"""Make an event of an outcome or of feedback. An event holds no prompt or answer text unless asked for."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any

from smartroute.events.event import SCHEMA, AttemptRecord, Event, names_for
from smartroute.events.prompts import measure, redacted, transcript
from smartroute.events.values import NEAREST, are_finite, are_plain
from smartroute.identity_cache import cached_by_identity
from smartroute.records.json_values import (
    MOST_COUNT,
    Scalar,
    as_count,
    as_flag,
    as_labels,
    as_number,
    as_text,
    as_texts,
    text_of,
)

if TYPE_CHECKING:
    from smartroute.records import Attempt, Decision, Outcome, Reply, RuledOut, Rung, Task, Usage

NAMED_RULED_OUT = 20
"""How many of the models that were ruled out an event names; `ruled_out_count` counts them all."""

# A dict literal of this length is built in pieces; copying one that has the keys takes half the time.
# The other fields are left out of a line while they are unknown.
_USUAL: dict[str, Any] = dict.fromkeys((*names_for("needed"), *names_for("usual"))) | {
    "schema": SCHEMA,
    "type": "outcome",
}


def event_of(
    outcome: Outcome[Any],
    *,
    hash_key: bytes | None,
    features: Mapping[str, Scalar] | None = None,
    log_text: bool = False,
    redact: Callable[[str], str] | None = None,
) -> Event:
    """Return the event of an outcome.

    `features` join the classification's signals and win over those of the same name. Without a
    `hash_key` the prompt is not hashed, for the plain hash of a short prompt can be guessed.
    Texts are stored with `log_text` only, after `redact`; where that raises, not at all. A value that
    its field cannot hold becomes the nearest that it can, or None: every event can be read back.
    """
    task = outcome.task
    values = _USUAL.copy()
    values["kind"] = task.kind
    values["prompt_chars"], values["prompt_hash"] = measure(task.messages, hash_key)
    plain = _add_decision(values, outcome.decision, features)
    plain = _add_outcome(values, outcome) and plain
    if outcome.answer is not None:
        _add_answer(values, outcome.answer)
    if outcome.answered_by is not None:
        _add_model(values, outcome, outcome.answered_by)
    # Nearly always every value is of the right type and finite; coercing each of them takes far longer.
    if not plain:
        _coerce(values)
    _add_rare(values, outcome, task, outcome.decision)
    if log_text:
        _add_texts(values, outcome, redact)
    event = object.__new__(Event)
    object.__setattr__(event, "__dict__", values)
    return event


def event_of_feedback(
    *,
    event_id: str,
    at_s: float,
    simulated: bool,
    outcome_id: str = "",
    conversation_id: str | None = None,
    quality: float | None = None,
    label: str | None = None,
    source: str = "user",
    comment: str | None = None,
) -> Event:
    """Return the event of feedback given at a time, in seconds since the Unix epoch."""
    return Event(
        schema=SCHEMA,
        type="feedback",
        id=event_id,
        outcome_id=outcome_id,
        time=_iso(at_s, 0.0),
        simulated=simulated,
        conversation_id=as_text(conversation_id),
        quality=as_number(quality),
        label=as_text(label),
        source=as_text(source),
        comment=as_text(comment),
    )


def _add_decision(values: dict[str, Any], decision: Decision, features: Mapping[str, Scalar] | None) -> bool:
    """Add what was decided. Return whether these values and the kind are plain: of right types, finite."""
    classification = decision.classification
    measured: dict[str, Scalar] = {signal.name: signal.value for signal in classification.signals}
    if features:
        measured.update(features)
    values["complexity"] = str(classification.complexity)
    values["complexity_score"] = score = classification.score
    values["classified_by"] = by = classification.by
    values["features"] = measured
    values["strategy"] = strategy = decision.strategy
    values["arm_propensity"] = arm_share = decision.arm_propensity
    values["action_propensity"] = action_share = decision.action_propensity
    values["overridden"] = overridden = decision.overridden
    values["accept_at"] = accept_at = decision.accept_at
    values["ladder"] = ladder = _steps(decision.ladder)
    values["ruled_out"] = _names(decision.ruled_out)
    values["ruled_out_count"] = len(decision.ruled_out)
    return (
        type(score) is type(accept_at) is type(arm_share) is type(action_share) is float
        and type(overridden) is bool
        and are_finite(measured.values(), score + accept_at + arm_share + action_share)
        and are_plain((values["kind"], by, strategy, *ladder, *measured))
    )


def _add_outcome(values: dict[str, Any], outcome: Outcome[Any]) -> bool:
    """Add what came of it. Return whether these values are plain: of the right types, finite."""
    estimate = outcome.estimate
    attempts = tuple([_attempt(attempt) for attempt in outcome.attempts])
    values["id"] = values["outcome_id"] = outcome_id = outcome.id
    values["latency_s"] = latency_s = outcome.latency_s
    values["time"] = _iso(outcome.started_at, latency_s)
    values["simulated"] = simulated = outcome.simulated
    values["detour"] = detour = outcome.detour
    values["confidence"] = confidence = estimate.value
    values["confidence_source"] = source = estimate.source
    values["calibrated"] = calibrated = estimate.calibrated
    values["attempts"] = attempts
    values["escalated"] = len(attempts) > 1 and outcome.escalated
    values["cost_usd"], values["unpriced_attempts"] = _total(attempts)
    values["baseline_model"] = baseline_model = outcome.baseline_model
    values["baseline_cost_usd"] = baseline_usd = outcome.baseline_cost_usd
    return (
        type(latency_s) is float
        and isfinite(latency_s)
        and (confidence is None or type(confidence) is float)
        and (baseline_usd is None or (type(baseline_usd) is float and isfinite(baseline_usd)))
        and type(simulated) is type(detour) is type(calibrated) is bool
        and are_plain((outcome_id, source, "" if baseline_model is None else baseline_model))
    )


def _add_answer(values: dict[str, Any], answer: Reply) -> None:
    """Add why the answer ended, and its tokens."""
    reason = answer.finish_reason
    values["finish_reason"] = reason if type(reason) is str and reason.isascii() else as_text(reason)
    if answer.usage is not None:
        (
            values["input_tokens"],
            values["output_tokens"],
            values["cached_tokens"],
            values["cache_write_tokens"],
            values["reasoning_tokens"],
        ) = _tokens(answer.usage)


def _add_rare(values: dict[str, Any], outcome: Outcome[Any], task: Task, decision: Decision) -> None:
    """Add the fields that most events do not have."""
    if task.requirements:
        values["requirements"] = tuple(sorted(as_texts(task.requirements)))
    if task.labels:
        values["labels"] = as_labels(task.labels)
    if decision.experiment is not None:
        values["experiment"] = as_text(decision.experiment)
    if decision.holdback is not None:
        values["holdback"] = as_text(decision.holdback)
        values["holdback_share"] = as_number(decision.holdback_share)
    if decision.arm is not None:
        values["arm"] = as_text(decision.arm)
    if outcome.answer_changed is not None:
        values["answer_changed"] = as_flag(outcome.answer_changed)
    if outcome.stopped_by is not None:
        values["stopped_by"] = as_text(outcome.stopped_by)
    if outcome.error is not None:
        values["error"] = type(outcome.error).__name__
    if task.unit is not None:
        values["unit"] = as_text(task.unit)
    if task.tenant is not None:
        values["tenant"] = as_text(task.tenant)
    if task.conversation_id is not None:
        values["conversation_id"] = as_text(task.conversation_id)


def _add_texts(values: dict[str, Any], outcome: Outcome[Any], redact: Callable[[str], str] | None) -> None:
    """Add the text of the prompt and of the answer, redacted."""
    values["prompt_text"] = as_text(redacted(transcript(outcome.task.messages), redact))
    answer = outcome.answer
    values["answer_text"] = None if answer is None else as_text(redacted(text_of(answer.text), redact))


def _iso(started_at: float, latency_s: float) -> str:
    """Return the time at which an outcome was complete; now, where its clock gives no valid time."""
    try:
        micros = int((started_at + latency_s) * 1e6)
        second = micros // 1_000_000
        return f"{_second(second)}.{str(micros - second * 1_000_000 + 1_000_000)[1:]}Z"
    except Exception:  # noqa: BLE001  a user's clock may return anything
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@functools.lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").zfill(19)


def _add_model(values: dict[str, Any], outcome: Outcome[Any], rung: Rung) -> None:
    """Add the model that gave the accepted answer, and its provider.

    The call looked up may be a later one to the same model, such as a sample: only its provider is taken.
    """
    values["tier"] = text_of(rung.tier)
    if rung.effort is not None:
        values["effort"] = as_text(rung.effort)
    calls = outcome.attempts
    for index in range(len(calls) - 1, -1, -1):
        call = calls[index]
        if call.model == rung.model and call.effort == rung.effort and call.failure is None:
            record = values["attempts"][index]
            break
    else:
        values["model"] = as_text(rung.model)
        return
    values["model"] = record["model"]
    values["provider"] = record["provider"] if call.provider else None


_UNANSWERED: AttemptRecord = {
    "model": "",
    "provider": "",
    "purpose": "",
    "rung": None,
    "number": 0,
    "cost_usd": None,
    "latency_s": None,
    "started_at": None,
}
_ANSWERED: AttemptRecord = {
    **_UNANSWERED,
    "input_tokens": None,
    "output_tokens": None,
    "cached_tokens": None,
    "cache_write_tokens": None,
    "reasoning_tokens": None,
}
"""Copied and filled: a dict that does not grow is faster."""


def _attempt(attempt: Attempt) -> AttemptRecord:
    cost_usd = attempt.cost_usd
    latency_s = attempt.latency_s
    started_at = attempt.started_at
    rung = attempt.rung
    usage = attempt.usage
    record = (_UNANSWERED if usage is None else _ANSWERED).copy()
    record["model"] = model = attempt.model
    record["provider"] = provider = attempt.provider
    record["purpose"] = purpose = attempt.purpose
    record["rung"] = rung
    record["number"] = number = attempt.number
    record["cost_usd"] = cost_usd
    record["latency_s"] = latency_s
    record["started_at"] = started_at
    if not (
        type(model) is type(provider) is type(purpose) is str
        and type(latency_s) is type(started_at) is float
        and (model + provider + purpose).isascii()
        and type(number) is int
        and (rung is None or type(rung) is int)
        and (cost_usd is None or (type(cost_usd) is float and isfinite(cost_usd)))
        and isfinite(latency_s + started_at)
    ):
        record["model"] = text_of(model)
        record["provider"] = text_of(provider)
        record["purpose"] = text_of(purpose)
        record["rung"] = as_count(rung)
        record["number"] = as_count(number) or 0
        record["cost_usd"] = as_number(cost_usd)
        record["latency_s"] = as_number(latency_s)
        record["started_at"] = as_number(started_at)
    if attempt.effort is not None:
        record["effort"] = as_text(attempt.effort)
    if usage is not None:
        (
            record["input_tokens"],
            record["output_tokens"],
            record["cached_tokens"],
            record["cache_write_tokens"],
            record["reasoning_tokens"],
        ) = _tokens(usage)
    if (source := attempt.confidence_source) is not None:
        confidence = attempt.confidence
        sound = type(confidence) is float and isfinite(confidence)
        record["confidence"] = confidence if sound else as_number(confidence)
        record["confidence_source"] = source if type(source) is str and source.isascii() else as_text(source)
    if (reason := attempt.finish_reason) is not None:
        record["finish_reason"] = reason if type(reason) is str and reason.isascii() else as_text(reason)
    if (failure := attempt.failure) is not None:
        record["failure"] = text_of(failure.kind)
        record["failure_status"] = as_count(failure.status)
    return record


def _total(attempts: Sequence[AttemptRecord]) -> tuple[float | None, int]:
    """Return the sum of the known costs, and how many are unknown."""
    if len(attempts) == 1 and (cost_usd := attempts[0]["cost_usd"]) is not None:
        return cost_usd, 0
    costs_usd = [cost_usd for record in attempts if (cost_usd := record["cost_usd"]) is not None]
    try:
        return math.fsum(costs_usd), len(attempts) - len(costs_usd)
    except OverflowError:
        return None, len(attempts)


def _tokens(usage: Usage) -> tuple[int | None, int | None, int | None, int | None, int | None]:
    """Return the token counts of a call, in the order of Usage."""
    a, b, c = usage.input_tokens, usage.output_tokens, usage.cached_tokens
    d, e = usage.cache_write_tokens, usage.reasoning_tokens
    # Of numbers that are not negative, "or" has the highest bit of them all; of others it is negative.
    if type(a) is type(b) is type(c) is type(d) is type(e) is int and 0 <= a | b | c | d | e <= MOST_COUNT:
        return a, b, c, d, e
    return as_count(a), as_count(b), as_count(c), as_count(d), as_count(e)


@cached_by_identity
def _steps(ladder: tuple[Rung, ...]) -> tuple[str, ...]:
    """Return the models of a ladder, with the effort where one is asked for."""
    return tuple([step.model if step.effort is None else text_of(step) for step in ladder])


@cached_by_identity
def _names(ruled_out: tuple[RuledOut, ...]) -> tuple[str, ...]:
    """Return the names of the first models that were ruled out. Requests of equal shape share one tuple."""
    return as_texts([out.model for out in ruled_out[:NAMED_RULED_OUT]])


def _coerce(values: dict[str, Any]) -> None:
    """Coerce every value to the nearest one that its field can hold, or to None."""
    for name, value in values.items():
        values[name] = NEAREST[_KINDS[name]](value)


_KINDS: dict[str, str] = Event.__annotations__
