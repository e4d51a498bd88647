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
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypedDict, get_type_hints

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
# and the __init__ of a frozen dataclass alone takes 8 us for this many fields. A field that is not in the
# dict has its default, which the class holds.
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
        estimate = outcome.estimate
        measured: dict[str, Scalar] = {name: value for name, value, _ in seen.signals}
        if features:
            measured.update(features)
        chars, prompt_hash = _measure(task.messages, hash_key)
        attempts = [_attempt(attempt) for attempt in outcome.attempts]
        costs_usd = [cost_usd for record in attempts if (cost_usd := record["cost_usd"]) is not None]
        values: dict[str, Any] = _USUAL.copy()
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
        values["strategy"] = decision.strategy
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
        values["confidence"] = estimate.value
        values["confidence_source"] = estimate.source
        values["calibrated"] = estimate.calibrated
        values["escalated"] = len(attempts) > 1 and outcome.escalated
        values["cost_usd"] = math.fsum(costs_usd)
        values["unpriced_attempts"] = len(attempts) - len(costs_usd)
        values["baseline_model"] = outcome.baseline_model
        values["baseline_cost_usd"] = outcome.baseline_cost_usd
        values["latency_s"] = outcome.latency_s
        values["attempts"] = tuple(attempts)
        values["labels"] = (
            {str(name): str(value) for name, value in task.labels.items()} if task.labels else {}
        )
        values["prompt_chars"] = chars
        values["prompt_hash"] = prompt_hash
        values["extra"] = {}
        if task.requirements:
            values["requirements"] = tuple(sorted(task.requirements))
        if decision.experiment is not None:
            values["experiment"] = decision.experiment
        if decision.arm is not None:
            values["arm"] = decision.arm
        if rung is not None:
            values["model"] = rung.model
            values["provider"] = _provider(outcome)
            values["tier"] = rung.tier.value
            if rung.effort is not None:
                values["effort"] = rung.effort
        if outcome.stopped_by is not None:
            values["stopped_by"] = outcome.stopped_by
        if outcome.error is not None:
            values["error"] = type(outcome.error).__name__
        if answer is not None:
            values["finish_reason"] = answer.finish_reason
            if (usage := answer.usage) is not None:
                values["input_tokens"] = usage.input_tokens
                values["output_tokens"] = usage.output_tokens
                values["cached_tokens"] = usage.cached_tokens
                values["cache_write_tokens"] = usage.cache_write_tokens
                values["reasoning_tokens"] = usage.reasoning_tokens
        if task.unit is not None:
            values["unit"] = task.unit
        if task.tenant is not None:
            values["tenant"] = task.tenant
        if task.conversation_id is not None:
            values["conversation_id"] = task.conversation_id
        if log_text:
            values["prompt_text"] = _redacted(_transcript(task.messages), redact)
            values["answer_text"] = None if answer is None else _redacted(answer.text, redact)
        event = object.__new__(cls)
        object.__setattr__(event, "__dict__", values)
        return event

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
        extra = {}
        if not found.keys() <= _NAMES:
            extra = {name: found.pop(name) for name in [*found] if name not in _NAMES}
        found.setdefault("features", {})
        found.setdefault("labels", {})
        found["extra"] = extra
        event = object.__new__(cls)
        object.__setattr__(event, "__dict__", found)
        return event

    def __post_init__(self) -> None:
        values = self.__dict__
        for name in [name for name, value in values.items() if value is None and name not in _NEEDED]:
            del values[name]

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


_NAMES = frozenset(each.name for each in fields(Event)) - {"extra"}
_NEEDED = ("schema", "type", "id", "outcome_id", "time", "simulated")

# A dict literal of this length is built in pieces; copying one that has the keys takes half the time.
# The other fields are left out of a line while they are unknown.
_USUAL: dict[str, Any] = dict.fromkeys(
    (
        *_NEEDED,
        *("kind", "complexity", "complexity_score", "classified_by", "features"),
        *("strategy", "arm_propensity", "action_propensity", "overridden", "detour", "accept_at"),
        *("ladder", "ruled_out", "ruled_out_count", "confidence_source", "calibrated", "escalated"),
        *("cost_usd", "unpriced_attempts", "latency_s", "attempts", "labels", "prompt_chars", "prompt_hash"),
        *("model", "provider", "tier", "confidence", "baseline_model", "baseline_cost_usd", "extra"),
        *("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens"),
        "finish_reason",
    )
)


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
        name: Required[hints[name]] if name in _NEEDED else NotRequired[hints[name]]
        for name in sorted(_NAMES)
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
    record: AttemptRecord = {
        "model": attempt.model,
        "provider": attempt.provider,
        "purpose": attempt.purpose,
        "rung": attempt.rung,
        "number": attempt.number,
        "cost_usd": attempt.cost_usd,
        "latency_s": attempt.latency_s,
        "started_at": attempt.started_at,
    }
    if attempt.effort is not None:
        record["effort"] = attempt.effort
    if (usage := attempt.usage) is not None:
        record["input_tokens"] = usage.input_tokens
        record["output_tokens"] = usage.output_tokens
        record["cached_tokens"] = usage.cached_tokens
        record["cache_write_tokens"] = usage.cache_write_tokens
        record["reasoning_tokens"] = usage.reasoning_tokens
    if attempt.confidence_source is not None:
        record["confidence"] = attempt.confidence
        record["confidence_source"] = attempt.confidence_source
    if attempt.finish_reason is not None:
        record["finish_reason"] = attempt.finish_reason
    if (failure := attempt.failure) is not None:
        record["failure"] = failure.kind
        record["failure_status"] = failure.status
    return record


def _measure(messages: Sequence[Message], key: bytes | None) -> tuple[int, str | None]:
    """Return the characters of text in the messages, and the keyed hash of their roles and contents.

    Each content stands behind its role and its length, so no two conversations run into the same bytes.
    """
    chars = 0
    parts: list[bytes] = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            chars += len(content)
        elif content:
            chars += sum(len(part.get("text") or "") for part in content)
        if key:
            form, data = _canonical(content)
            parts.append(f"{message.get('role')}\0{form}\0{len(data)}\0".encode() + data)
    if not key:
        return chars, None
    return chars, hashlib.blake2b(b"".join(parts), key=key, digest_size=16).hexdigest()


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
