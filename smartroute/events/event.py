"""Turn an Outcome into one flat, versioned line, and a line into an Event. Only this module knows the format.

Fields are added, never renamed and never given another meaning or type; SCHEMA rises with each
addition. A reader keeps what it does not know in `extra` and writes it back. The key `schema` comes
first in every line, so that a reader can find where a record begins when two are glued together.
"""

from __future__ import annotations

import functools
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypedDict, get_type_hints

from smartroute.errors import SinkError
from smartroute.events.prompts import measure, redacted, transcript
from smartroute.events.values import NEAREST, are_finite, are_plain
from smartroute.identity_cache import cached_by_identity
from smartroute.records.json_values import (
    MOST_COUNT,
    Scalar,
    as_count,
    as_flag,
    as_json,
    as_labels,
    as_number,
    as_text,
    as_texts,
    text_of,
)

if TYPE_CHECKING:
    from pydantic import TypeAdapter

    from smartroute.records import Attempt, Outcome, RuledOut, Rung, Usage

SCHEMA = 3
"""The version that this module writes."""

RECORD_START = b'{"schema":'
"""How every line begins. Inside a line's strings the quotes are escaped, so it occurs at a start only."""

NAMED_RULED_OUT = 20
"""How many of the models that were ruled out an event names; `ruled_out_count` counts them all."""

Encoder: TypeAlias = Callable[[Any], bytes]

_log = logging.getLogger("smartroute")

# A damaged digit may leave a day that no calendar has, at which everything that counts in days would fail.
_YEAR = r"([0-9]{3}[1-9]|[0-9]{2}[1-9]0|[0-9][1-9]00|[1-9]000)"
_LEAP_YEAR = r"([0-9]{2}(0[48]|[2468][048]|[13579][26])|([2468][048]|0[48]|[13579][26])00)"
_DAY = (
    r"(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    r"|02-(0[1-9]|1[0-9]|2[0-8])"
)
_TIME = (
    rf"^({_YEAR}-({_DAY})|{_LEAP_YEAR}-02-29)"
    r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z$"
)


class AttemptRecord(TypedDict, total=False):
    """One call of the ledger. `started_at` is seconds since the Unix epoch; a failure's message stays out."""

    model: str
    provider: str
    purpose: str
    effort: str | None
    rung: int | None
    number: int
    cost_usd: float | None
    input_tokens: int | None
    output_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    latency_s: float | None
    started_at: float | None
    confidence: float | None
    confidence_source: str | None
    finish_reason: str | None
    failure: str | None
    failure_status: int | None


# No slots: the dict that `of` fills is the event, and the line's record too. With slots it is built twice,
# and the __init__ of a frozen dataclass alone takes 8 us for this many fields. A field that is not in the
# dict has its default, which the class holds.
@dataclass(frozen=True)
class Event:
    """An outcome, or later feedback about one, as it stands in the log. None means unknown.

    `id` is unique among events, and an outcome's event has the outcome's id, so that one which is
    stored twice counts once. `time` is when the outcome was complete, in ISO 8601, UTC, with
    microseconds and a Z, so that times compare as text. Token counts are those of the accepted answer;
    each call's own stand in `attempts`.

    Feedback has `quality` in [0, 1] or a `label`, its `source` (user, judge, test) and perhaps a `comment`,
    about the outcome `outcome_id`, or with an empty one about a `conversation_id` so far. `holdback` is
    "held" for a request that went to the baseline at random, with probability `holdback_share`, and
    "routed" for one that might have. `answer_changed` says of an escalated request whether the answer given
    differs from the first one; None where they cannot be compared.
    """

    schema: int
    type: Literal["outcome", "feedback"]
    id: str
    outcome_id: str
    time: str
    simulated: bool
    kind: str | None = None
    complexity: str | None = None
    complexity_score: float | None = None
    classified_by: str | None = None
    features: Mapping[str, Scalar] = field(default_factory=dict)
    requirements: tuple[str, ...] = ()
    strategy: str | None = None
    experiment: str | None = None
    arm: str | None = None
    arm_propensity: float | None = None
    action_propensity: float | None = None
    overridden: bool | None = None
    detour: bool | None = None
    accept_at: float | None = None
    ladder: tuple[str, ...] = ()
    ruled_out: tuple[str, ...] = ()
    ruled_out_count: int | None = None
    model: str | None = None
    provider: str | None = None
    tier: str | None = None
    effort: str | None = None
    confidence: float | None = None
    confidence_source: str | None = None
    calibrated: bool | None = None
    escalated: bool | None = None
    stopped_by: str | None = None
    error: str | None = None
    cost_usd: float | None = None
    unpriced_attempts: int | None = None
    baseline_model: str | None = None
    baseline_cost_usd: float | None = None
    latency_s: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    finish_reason: str | None = None
    attempts: tuple[AttemptRecord, ...] = ()
    unit: str | None = None
    tenant: str | None = None
    conversation_id: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    prompt_chars: int | None = None
    prompt_hash: str | None = None
    prompt_text: str | None = None
    answer_text: str | None = None
    quality: float | None = None
    label: str | None = None
    source: str | None = None
    comment: str | None = None
    holdback: str | None = None
    holdback_share: float | None = None
    answer_changed: bool | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        outcome: Outcome,
        *,
        hash_key: bytes | None,
        features: Mapping[str, Scalar] | None = None,
        log_text: bool = False,
        redact: Callable[[str], str] | None = None,
    ) -> Self:
        """Return the event of an outcome.

        `features` join the classification's signals and win over those of the same name. Without a
        `hash_key` the prompt is not hashed, for the plain hash of a short prompt can be guessed.
        Texts are stored with `log_text` only, after `redact`; where that raises, not at all. A value that
        its field cannot hold becomes the nearest that it can, or None: every event can be read back.
        """
        task = outcome.task
        decision = outcome.decision
        seen = decision.classification
        estimate = outcome.estimate
        measured: dict[str, Scalar] = {signal.name: signal.value for signal in seen.signals}
        if features:
            measured.update(features)
        attempts = tuple([_attempt(attempt) for attempt in outcome.attempts])
        values: dict[str, Any] = _USUAL.copy()
        values["id"] = values["outcome_id"] = outcome.id
        values["time"] = _iso(outcome.started_at, outcome.latency_s)
        values["simulated"] = simulated = outcome.simulated
        values["kind"] = kind = task.kind
        values["complexity"] = str(seen.complexity)
        values["complexity_score"] = score = seen.score
        values["classified_by"] = by = seen.by
        values["features"] = measured
        values["strategy"] = strategy = decision.strategy
        values["arm_propensity"] = arm_share = decision.arm_propensity
        values["action_propensity"] = action_share = decision.action_propensity
        values["overridden"] = overridden = decision.overridden
        values["detour"] = detour = outcome.detour
        values["accept_at"] = accept_at = decision.accept_at
        values["ladder"] = ladder = _steps(decision.ladder)
        values["ruled_out"] = _names(decision.ruled_out)
        values["ruled_out_count"] = len(decision.ruled_out)
        values["confidence"] = confidence = estimate.value
        values["confidence_source"] = source = estimate.source
        values["calibrated"] = calibrated = estimate.calibrated
        values["latency_s"] = latency_s = outcome.latency_s
        values["attempts"] = attempts
        values["prompt_chars"], values["prompt_hash"] = measure(task.messages, hash_key)
        values["baseline_model"] = baseline_model = outcome.baseline_model
        values["baseline_cost_usd"] = baseline_usd = outcome.baseline_cost_usd
        values["escalated"] = len(attempts) > 1 and outcome.escalated
        values["cost_usd"], values["unpriced_attempts"] = _total(attempts)
        if outcome.answer is not None:
            reason = outcome.answer.finish_reason
            values["finish_reason"] = reason if type(reason) is str and reason.isascii() else as_text(reason)
            if outcome.answer.usage is not None:
                (
                    values["input_tokens"],
                    values["output_tokens"],
                    values["cached_tokens"],
                    values["cache_write_tokens"],
                    values["reasoning_tokens"],
                ) = _tokens(outcome.answer.usage)
        if outcome.answered_by is not None:
            _add_answer(values, outcome, outcome.answered_by)
        # Nearly always all of it is of the right types and finite; mending field by field takes far longer.
        words = (
            *(outcome.id, kind, by, strategy, source),
            "" if baseline_model is None else baseline_model,
            *ladder,
            *measured,
        )
        if not (
            type(score)
            is type(accept_at)
            is type(latency_s)
            is type(arm_share)
            is type(action_share)
            is float
            and (confidence is None or type(confidence) is float)
            and (baseline_usd is None or type(baseline_usd) is float)
            and type(simulated) is type(overridden) is type(detour) is type(calibrated) is bool
            and are_finite(measured.values(), score + accept_at + latency_s + arm_share + action_share)
            and (baseline_usd is None or isfinite(baseline_usd))
            and are_plain(words)
        ):
            _coerce(values)
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
        if log_text:
            answer = outcome.answer
            values["prompt_text"] = as_text(redacted(transcript(task.messages), redact))
            values["answer_text"] = (
                None if answer is None else as_text(redacted(text_of(answer.text), redact))
            )
        event = object.__new__(cls)
        object.__setattr__(event, "__dict__", values)
        return event

    @classmethod
    def of_feedback(
        cls,
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
    ) -> Self:
        """Return the event of feedback given at a time, in seconds since the Unix epoch."""
        return cls(
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

    @classmethod
    def from_line(cls, line: bytes | str) -> Self:
        """Return the event of a line. Raises SinkError when it is not one whole event of known types."""
        from pydantic import ValidationError

        try:
            found = line_reader().validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise SinkError(f"not an event: {where}: {first['msg']}; skip the line") from None
        if not found.keys() <= _NAMES:
            found["extra"] = {name: found.pop(name) for name in [*found] if name not in _NAMES}
        event = object.__new__(cls)
        object.__setattr__(event, "__dict__", found)
        return event

    def __post_init__(self) -> None:
        values = self.__dict__
        for name in [name for name in values if name not in _NEEDED and values[name] in (None, {})]:
            del values[name]

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> dict[str, Any]:
            if name in _MAPPINGS:
                return {}
            raise AttributeError(f"an event has no {name}")

    def to_line(self) -> bytes:
        """Return the event as one line of JSON in UTF-8, its newline included. Never raises on odd values.

        A number that is not finite becomes null, a lone surrogate U+FFFD, any other object its text; what is
        nested too deeply is left out.
        """
        record = self.__dict__
        if "extra" in record:
            record = record.copy()
            for name, value in record.pop("extra").items():
                record.setdefault(name, value)
        try:
            return encoder()(record)
        except Exception:  # noqa: BLE001  somebody else's object may raise anything
            return encode_json(as_json(record))


_NAMES = frozenset(each.name for each in fields(Event)) - {"extra"}
_MAPPINGS = ("features", "labels", "extra")
_NEEDED = ("schema", "type", "id", "outcome_id", "time", "simulated")

# A dict literal of this length is built in pieces; copying one that has the keys takes half the time.
# The other fields are left out of a line while they are unknown.
_USUAL: dict[str, Any] = dict.fromkeys(
    (
        *_NEEDED,
        *("kind", "complexity", "complexity_score", "classified_by", "features"),
        *("strategy", "arm_propensity", "action_propensity", "overridden", "detour", "accept_at"),
        *("ladder", "ruled_out", "ruled_out_count", "confidence_source", "calibrated", "escalated"),
        *("cost_usd", "unpriced_attempts", "latency_s", "attempts", "prompt_chars", "prompt_hash"),
        *("model", "provider", "tier", "confidence", "baseline_model", "baseline_cost_usd"),
        *("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
        "finish_reason",
    )
) | {"schema": SCHEMA, "type": "outcome"}


def encode_json(record: Any) -> bytes:
    """Return the record as a line, by the standard library. Raises TypeError or ValueError on odd values."""
    return (_standard_encoder.encode(record) + "\n").encode()


_standard_encoder = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
)


@functools.cache
def encoder() -> Encoder:
    """Return the fastest encoder there is: orjson's where that is installed, else the standard library's."""
    try:
        import orjson
    except ImportError:
        return encode_json
    dumps, newline = orjson.dumps, orjson.OPT_APPEND_NEWLINE
    return lambda record: dumps(record, None, newline)


@functools.cache
def line_reader(
    names: frozenset[str] | None = None,
    attempt_names: frozenset[str] | None = None,
    rare: frozenset[str] = frozenset(),
) -> TypeAdapter[dict[str, Any]]:
    """Return the validator of a line, built from Event's own annotations: strict types, unknown keys kept.

    With `names` (and `attempt_names` for the attempts in it) everything else is passed over unread, which
    is faster, and each of the names is there, None where the line has none; but for those that are `rare`:
    to fill them in costs more than to ask for them.
    """
    from typing import Annotated, NotRequired, Required

    from pydantic import ConfigDict, Field, TypeAdapter, with_config
    from typing_extensions import TypedDict as _TypedDict  # pydantic asks for this one before Python 3.12

    table: Any = _TypedDict
    strict = with_config(
        ConfigDict(strict=True, extra="allow" if names is None else "ignore", allow_inf_nan=False)
    )
    # A damaged digit may make any number: counts that cannot be added up, and qualities that are none.
    count = Annotated[int, Field(ge=-MOST_COUNT, le=MOST_COUNT)]
    bounded: dict[Any, Any] = {int | None: count | None, int: count}
    called = {name: bounded.get(hint, hint) for name, hint in get_type_hints(AttemptRecord).items()}
    kept = {name: called[name] for name in called if attempt_names is None or name in attempt_names}
    attempt: Any = strict(table("AttemptRecord", kept, total=False))
    hints: dict[str, Any] = {
        **{name: bounded.get(hint, hint) for name, hint in get_type_hints(Event).items()},
        "schema": Annotated[int, Field(ge=1)],
        "time": Annotated[str, Field(pattern=_TIME)],
        "quality": Annotated[float, Field(ge=0, le=1)] | None,
        "attempts": tuple[attempt, ...],
    }
    line: dict[str, Any] = {
        name: Required[hints[name]]
        if name in _NEEDED
        else NotRequired[hints[name]]
        if names is None or name in rare
        else Annotated[hints[name], Field(default=None)]
        for name in hints
        if name in (_NAMES if names is None else _NAMES & names)
    }
    return TypeAdapter(strict(table("Line", line)))


def _iso(started_at: float, latency_s: float) -> str:
    """Return the time at which an outcome was complete; the present where its own clock tells none."""
    try:
        micros = int((started_at + latency_s) * 1e6)
        second = micros // 1_000_000
        return f"{_second(second)}.{str(micros - second * 1_000_000 + 1_000_000)[1:]}Z"
    except Exception:  # noqa: BLE001  a user's clock may show anything
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@functools.lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").zfill(19)


def _add_answer(values: dict[str, Any], outcome: Outcome, rung: Rung) -> None:
    """Add who gave the accepted answer.

    The call found may be a later one to the same model, to sample again say: it tells the provider only.
    """
    values["tier"] = text_of(rung.tier)
    if rung.effort is not None:
        values["effort"] = as_text(rung.effort)
    calls = outcome.attempts
    for place in range(len(calls) - 1, -1, -1):
        call = calls[place]
        if call.model == rung.model and call.effort == rung.effort and call.failure is None:
            record = values["attempts"][place]
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
"""To be copied and filled, which spares the dict from growing."""


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
    """Turn every value into the nearest that its field can hold, or into None."""
    for name, value in values.items():
        values[name] = NEAREST[_KINDS[name]](value)


_KINDS: dict[str, str] = Event.__annotations__
