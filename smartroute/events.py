"""Turn an Outcome into one flat, versioned line, and a line into an Event. Only this module knows the format.

Fields are added, never renamed and never given another meaning or type; SCHEMA rises with each
addition. A reader keeps what it does not know in `extra` and writes it back. The key `schema` comes
first in every line, so that a reader can find where a record begins when two are glued together.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypedDict, cast, get_type_hints

from smartroute.errors import SinkError

if TYPE_CHECKING:
    from smartroute.records import Attempt, Message, Outcome

SCHEMA = 1
"""The version that this module writes."""

RECORD_START = b'{"schema":'
"""How every line begins. Inside a line's strings the quotes are escaped, so it occurs at a start only."""

NAMED_RULED_OUT = 20
"""How many of the models that were ruled out an event names; `ruled_out_count` counts them all."""

Scalar: TypeAlias = int | float | str | bool | None
Encoder: TypeAlias = Callable[[Any], bytes]

_log = logging.getLogger("smartroute")
_TIME = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"


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
# and the __init__ of a frozen dataclass alone takes 8 us for this many fields.
@dataclass(frozen=True)
class Event:
    """An outcome, or later feedback about one, as it stands in the log. None means unknown.

    `id` is unique among events, and an outcome's event has the outcome's id, so that one which is
    stored twice counts once. `time` is when the outcome was complete, in ISO 8601, UTC, with
    microseconds and a Z, so that times compare as text. Token counts are those of the accepted answer;
    each call's own stand in `attempts`.
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
        Texts are stored with `log_text` only, after `redact`; where that raises, not at all.
        """
        task = outcome.task
        decision = outcome.decision
        seen = decision.classification
        rung = outcome.answered_by
        answer = outcome.answer
        usage = None if answer is None else answer.usage
        estimate = outcome.estimate
        measured: dict[str, Scalar] = {name: value for name, value, _ in seen.signals}
        if features:
            measured.update(features)
        chars, prompt_hash = _measure(task.messages, hash_key)
        # One pass computes what Outcome's properties would in three, to the same result.
        attempts: list[AttemptRecord] = []
        costs_usd: list[float] = []
        rungs: set[int | None] = set()
        for attempt in outcome.attempts:
            attempts.append(_attempt(attempt))
            if attempt.cost_usd is not None:
                costs_usd.append(attempt.cost_usd)
            if attempt.purpose == "answer":
                rungs.add(attempt.rung)
        values = _DEFAULTS.copy()
        values["schema"] = SCHEMA
        values["type"] = "outcome"
        values["id"] = outcome.id
        values["outcome_id"] = outcome.id
        values["time"] = _iso(outcome.started_at + outcome.latency_s)
        values["simulated"] = outcome.simulated
        values["kind"] = task.kind
        values["complexity"] = seen.complexity.value
        values["complexity_score"] = seen.score
        values["classified_by"] = seen.by
        values["features"] = measured
        values["requirements"] = tuple(sorted(task.requirements)) if task.requirements else ()
        values["strategy"] = decision.strategy
        values["experiment"] = decision.experiment
        values["arm"] = decision.arm
        values["arm_propensity"] = decision.arm_propensity
        values["action_propensity"] = decision.action_propensity
        values["overridden"] = decision.overridden
        values["detour"] = outcome.detour
        values["accept_at"] = decision.accept_at
        values["ladder"] = tuple(
            [step.model if step.effort is None else str(step) for step in decision.ladder]
        )
        values["ruled_out"] = tuple([out.model for out in decision.ruled_out[:NAMED_RULED_OUT]])
        values["ruled_out_count"] = len(decision.ruled_out)
        if rung is not None:
            values["model"] = rung.model
            values["provider"] = _provider(outcome)
            values["tier"] = rung.tier.value
            values["effort"] = rung.effort
        values["confidence"] = estimate.value
        values["confidence_source"] = estimate.source
        values["calibrated"] = estimate.calibrated
        values["escalated"] = len(rungs) > 1
        values["stopped_by"] = outcome.stopped_by
        values["error"] = None if outcome.error is None else type(outcome.error).__name__
        values["cost_usd"] = math.fsum(costs_usd)
        values["unpriced_attempts"] = len(attempts) - len(costs_usd)
        values["baseline_model"] = outcome.baseline_model
        values["baseline_cost_usd"] = outcome.baseline_cost_usd
        values["latency_s"] = outcome.latency_s
        values["attempts"] = tuple(attempts)
        if answer is not None:
            values["finish_reason"] = answer.finish_reason
        if usage is not None:
            values["input_tokens"] = usage.input_tokens
            values["output_tokens"] = usage.output_tokens
            values["cached_tokens"] = usage.cached_tokens
            values["cache_write_tokens"] = usage.cache_write_tokens
            values["reasoning_tokens"] = usage.reasoning_tokens
        values["unit"] = task.unit
        values["tenant"] = task.tenant
        values["conversation_id"] = task.conversation_id
        values["labels"] = (
            {str(name): str(value) for name, value in task.labels.items()} if task.labels else {}
        )
        values["prompt_chars"] = chars
        values["prompt_hash"] = prompt_hash
        values["prompt_text"] = _redacted(_transcript(task.messages), redact) if log_text else None
        values["answer_text"] = _redacted(answer.text, redact) if log_text and answer is not None else None
        values["extra"] = {}
        return cls._over(values)

    @classmethod
    def from_line(cls, line: bytes | str) -> Self:
        """Return the event of a line. Raises SinkError when it is not one whole event of known types."""
        from pydantic import ValidationError

        try:
            found = _reader().validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise SinkError(f"not an event: {where}: {first['msg']}; skip the line") from None
        found["extra"] = {}
        if found.keys() != _DEFAULTS.keys():
            found["extra"] = {name: found.pop(name) for name in [*found] if name not in _DEFAULTS}
            found = {**_DEFAULTS, "features": {}, "labels": {}, **found}
        return cls._over(found)

    @classmethod
    def _over(cls, values: dict[str, Any]) -> Self:
        """Return the event that stands on this dict of all its fields, in their order."""
        event = object.__new__(cls)
        object.__setattr__(event, "__dict__", values)
        return event

    def to_line(self) -> bytes:
        """Return the event as one line of JSON in UTF-8, its newline included. Never raises on odd values.

        A number that is not finite becomes null, a lone surrogate U+FFFD, any other object its text.
        """
        record = self.__dict__.copy()
        for name, value in record.pop("extra").items():
            record.setdefault(name, value)
        try:
            return encoder()(record)
        except (TypeError, ValueError):
            return encode_json(_clean(record))


_NAMES = tuple(each.name for each in fields(Event))
_NEEDED = ("schema", "type", "id", "outcome_id", "time", "simulated")
_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(_NAMES),
    **dict.fromkeys(("requirements", "ladder", "ruled_out", "attempts"), ()),
}
_NO_ATTEMPT = cast(AttemptRecord, dict.fromkeys(AttemptRecord.__annotations__))


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


def _clean(value: Any) -> Any:
    """Return the nearest thing that JSON in UTF-8 can hold."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_text(str(name)): _clean(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(each) for each in value]
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return _text(str(value))
    return number if math.isfinite(number) else None


def _text(value: str) -> str:
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


@functools.cache
def _reader() -> Any:
    """Return the validator of a line: strict types, unknown keys kept. Built from Event's own annotations."""
    from typing import Annotated, NotRequired, Required

    from pydantic import ConfigDict, Field, TypeAdapter, with_config
    from typing_extensions import TypedDict as _TypedDict  # pydantic asks for this one before Python 3.12

    table: Any = _TypedDict
    strict = with_config(ConfigDict(strict=True, extra="allow", allow_inf_nan=False))
    attempt: Any = strict(table("AttemptRecord", get_type_hints(AttemptRecord), total=False))
    hints: dict[str, Any] = {
        **get_type_hints(Event),
        "schema": Annotated[int, Field(ge=1)],
        "time": Annotated[str, Field(pattern=_TIME)],
        "attempts": tuple[attempt, ...],
    }
    line = {
        name: Required[hints[name]] if name in _NEEDED else NotRequired[hints[name]] for name in _DEFAULTS
    }
    return TypeAdapter(strict(table("Line", line)))


def _iso(seconds: float) -> str:
    whole, micros = divmod(int(seconds * 1e6), 1_000_000)
    return f"{_second(whole)}.{micros:06d}Z"


@functools.lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").zfill(19)


def _provider(outcome: Outcome) -> str | None:
    """Return the provider that the accepted answer came from."""
    rung = outcome.answered_by
    if rung is None:
        return None
    for attempt in reversed(outcome.attempts):
        if attempt.model == rung.model and attempt.effort == rung.effort and attempt.failure is None:
            return attempt.provider or None
    return None


def _attempt(attempt: Attempt) -> AttemptRecord:
    record = _NO_ATTEMPT.copy()
    record["model"] = attempt.model
    record["provider"] = attempt.provider
    record["purpose"] = attempt.purpose
    record["effort"] = attempt.effort
    record["rung"] = attempt.rung
    record["number"] = attempt.number
    record["cost_usd"] = attempt.cost_usd
    record["latency_s"] = attempt.latency_s
    record["started_at"] = attempt.started_at
    record["confidence"] = attempt.confidence
    record["confidence_source"] = attempt.confidence_source
    record["finish_reason"] = attempt.finish_reason
    usage = attempt.usage
    if usage is not None:
        record["input_tokens"] = usage.input_tokens
        record["output_tokens"] = usage.output_tokens
        record["cached_tokens"] = usage.cached_tokens
        record["cache_write_tokens"] = usage.cache_write_tokens
        record["reasoning_tokens"] = usage.reasoning_tokens
    failure = attempt.failure
    if failure is not None:
        record["failure"] = failure.kind
        record["failure_status"] = failure.status
    return record


def _measure(messages: Sequence[Message], key: bytes | None) -> tuple[int, str | None]:
    """Return the characters of text in the messages, and the keyed hash of their roles and contents.

    Each content stands behind its role and its length, so no two conversations run into the same bytes.
    """
    chars = 0
    hasher = hashlib.blake2b(key=key, digest_size=16) if key else None
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            chars += len(content)
        elif content:
            chars += sum(len(part.get("text") or "") for part in content)
        if hasher is not None:
            form, data = _canonical(content)
            hasher.update(f"{message.get('role')}\0{form}\0{len(data)}\0".encode() + data)
    return chars, None if hasher is None else hasher.hexdigest()


def _canonical(content: Any) -> tuple[str, bytes]:
    """Return the form of a message's content, and its bytes."""
    if isinstance(content, str):
        return "text", content.encode("utf-8", "surrogatepass")
    if not content:
        return "none", b""
    return "parts", json.dumps(content, sort_keys=True, skipkeys=True, default=str).encode()


def _transcript(messages: Sequence[Message]) -> str:
    """Return the text of the messages: a lone one as it is, several with their roles before them."""
    texts = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, str) or not content:
            texts.append(content or "")
        else:
            texts.append("\n".join(str(part.get("text") or f"[{part.get('type')}]") for part in content))
    if len(texts) == 1:
        return texts[0]
    return "\n\n".join(
        f"{message.get('role')}: {text}" for message, text in zip(messages, texts, strict=True)
    )


def _redacted(text: str, redact: Callable[[str], str] | None) -> str | None:
    if redact is None:
        return text
    try:
        return str(redact(text))
    except Exception as error:  # noqa: BLE001  a user's function must not cost the event, nor let the text through
        _log.warning("redact raised %s; the text stays out of the log", type(error).__name__)
        return None
