"""The record of the event log: one outcome or feedback, its line of JSON, and the reader of lines.

Fields are added, never renamed and never given another meaning or type; SCHEMA rises with each
addition. A field is declared once, on `Event` or `AttemptRecord`, with the roles that it has; whatever reads
fields derives their names from that, by `names_for` and `attempt_names_for`. A reader keeps fields that it
does not know in `extra` and writes them back. The key `schema` comes first in every line, so that a reader
finds where a record starts when two are glued together.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    Literal,
    Self,
    TypeAlias,
    TypedDict,
    get_args,
    get_type_hints,
)

from smartroute.errors import SinkError
from smartroute.records.json_values import MOST_COUNT, Scalar, as_json

if TYPE_CHECKING:
    from pydantic import TypeAdapter

SCHEMA = 3
"""The version that this module writes."""

RECORD_START = b'{"schema":'
"""How every line starts. Inside a line's strings the quotes are escaped, so it occurs at a start only."""

Encoder: TypeAlias = Callable[[Any], bytes]

Role: TypeAlias = Literal["needed", "usual", "figures", "rare", "number"]
"""What a field is to those that read or write it.

needed: every line has it.
usual: every outcome that smartroute writes has it, as null while it is unknown.
figures: a rollup reads it.
rare: a rollup reads it, but most lines do not have it.
number: a rollup adds it up.
"""

# A damaged digit may leave a day that no calendar has. Code that counts in days would fail at such a day.
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


FIGURES: Role = "figures"


class AttemptRecord(TypedDict, total=False):
    """One call of the ledger. `started_at` is seconds since the Unix epoch; a failure's message stays out."""

    model: str
    provider: str
    purpose: Annotated[str, FIGURES]
    effort: str | None
    rung: Annotated[int | None, FIGURES]
    number: int
    cost_usd: Annotated[float | None, FIGURES]
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
    failure: Annotated[str | None, FIGURES]
    failure_status: int | None


def _of(
    *roles: Role, bounds: Mapping[str, Any] | None = None, renamed: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return a field's metadata.

    `bounds` are what a reader demands of its value, as arguments of pydantic's Field. `renamed` are values
    that older versions wrote, and the values that they are read as.
    """
    return {"roles": frozenset(roles), "bounds": bounds or {}, "renamed": renamed or {}}


def _logged(*roles: Role, default: Any = None, **more: Any) -> Any:
    """Return a field that has a default."""
    return field(default=default, metadata=_of(*roles, **more))


# No slots: the dict that `event_of` fills is the event, and the line's record too. With slots it is built
# twice, and the __init__ of a frozen dataclass alone takes 8 us for this many fields. A field that is not in
# the dict has its default, which the class holds.
@dataclass(frozen=True)
class Event:
    """An outcome, or later feedback about one, as the log records it. None means unknown.

    `id` is unique among events. An outcome's event has the outcome's id, so that an outcome which is
    stored twice counts once. `time` is when the outcome was complete, in ISO 8601, UTC, with
    microseconds and a Z, so that times compare as text. Token counts are those of the accepted answer;
    those of each call are in `attempts`.

    Feedback has `quality` in [0, 1] or a `label`, its `source` (user, judge, test) and perhaps a `comment`.
    It is about the outcome `outcome_id`; with an empty `outcome_id`, about a `conversation_id` up to then.
    `holdback` is "held" for a request that went to the baseline at random, with probability
    `holdback_share`, and "routed" for one that might have. `answer_changed` is whether the answer of an
    escalated request differs from the first one; None where they cannot be compared.
    """

    schema: int = field(metadata=_of("needed", "figures", bounds={"ge": 1}))
    type: Literal["outcome", "feedback"] = field(metadata=_of("needed", "figures"))
    id: str = field(metadata=_of("needed", "figures"))
    outcome_id: str = field(metadata=_of("needed", "figures"))
    time: str = field(metadata=_of("needed", "figures", bounds={"pattern": _TIME}))
    simulated: bool = field(metadata=_of("needed", "figures"))
    kind: str | None = _logged("usual", "figures")
    complexity: str | None = _logged("usual", "figures")
    complexity_score: float | None = _logged("usual")
    classified_by: str | None = _logged("usual")
    features: Mapping[str, Scalar] = field(default_factory=dict, metadata=_of("usual"))
    requirements: tuple[str, ...] = ()
    strategy: str | None = _logged("usual", "figures", renamed={"cost_optimised": "cost_optimized"})
    experiment: str | None = None
    arm: str | None = _logged("figures")
    arm_propensity: float | None = _logged("usual")
    action_propensity: float | None = _logged("usual")
    overridden: bool | None = _logged("usual")
    detour: bool | None = _logged("usual")
    accept_at: float | None = _logged("usual")
    ladder: tuple[str, ...] = _logged("usual", default=())
    ruled_out: tuple[str, ...] = _logged("usual", default=())
    ruled_out_count: int | None = _logged("usual")
    model: str | None = _logged("usual", "figures")
    provider: str | None = _logged("usual")
    tier: str | None = _logged("usual")
    effort: str | None = None
    confidence: float | None = _logged("usual", "figures", "number")
    confidence_source: str | None = _logged("usual")
    calibrated: bool | None = _logged("usual")
    escalated: bool | None = _logged("usual", "figures", "number")
    stopped_by: str | None = None
    error: str | None = _logged("figures", "rare")
    cost_usd: float | None = _logged("usual", "figures", "number")
    unpriced_attempts: int | None = _logged("usual", "figures", "number")
    baseline_model: str | None = _logged("usual", "figures")
    baseline_cost_usd: float | None = _logged("usual", "figures", "number")
    latency_s: float | None = _logged("usual", "figures", "number")
    input_tokens: int | None = _logged("usual", "figures", "number")
    output_tokens: int | None = _logged("usual", "figures", "number")
    cached_tokens: int | None = _logged("usual", "figures", "number")
    cache_write_tokens: int | None = _logged("usual", "figures", "number")
    reasoning_tokens: int | None = _logged("usual", "figures", "number")
    finish_reason: str | None = _logged("usual")
    attempts: tuple[AttemptRecord, ...] = _logged("usual", "figures", default=())
    unit: str | None = _logged("figures", "rare")
    tenant: str | None = _logged("figures")
    conversation_id: str | None = _logged("figures", "rare")
    labels: Mapping[str, str] = field(default_factory=dict)
    prompt_chars: int | None = _logged("usual")
    prompt_hash: str | None = _logged("usual")
    prompt_text: str | None = None
    answer_text: str | None = None
    quality: float | None = _logged("figures", "rare", bounds={"ge": 0, "le": 1})
    label: str | None = _logged("figures", "rare")
    source: str | None = _logged("figures", "rare")
    comment: str | None = None
    holdback: str | None = _logged("figures", "rare")
    holdback_share: float | None = None
    answer_changed: bool | None = _logged("figures", "rare")
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_line(cls, line: bytes | str) -> Self:
        """Return the event of a line. Raises SinkError when it is not one whole event of known types."""
        from pydantic import ValidationError

        try:
            values = line_reader().validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            where = ".".join(map(str, first["loc"])) or "the line"
            raise SinkError(f"not an event: {where}: {first['msg']}; skip the line") from None
        rename_values((values,))
        if not values.keys() <= _NAMES:
            values["extra"] = {name: values.pop(name) for name in [*values] if name not in _NAMES}
        event = object.__new__(cls)
        object.__setattr__(event, "__dict__", values)
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

        A number that is not finite becomes null, a lone surrogate U+FFFD, any other object its text. Values
        that are nested too deeply become null.
        """
        record = self.__dict__
        if "extra" in record:
            record = record.copy()
            for name, value in record.pop("extra").items():
                record.setdefault(name, value)
        try:
            return encoder()(record)
        except Exception:  # noqa: BLE001  a user's object may raise anything
            return encode_json(as_json(record))


def names_for(role: Role) -> tuple[str, ...]:
    """Return the names of an event's fields that have a role, in the order of the line."""
    return tuple(declared.name for declared in fields(Event) if role in declared.metadata.get("roles", ()))


def attempt_names_for(role: Role) -> tuple[str, ...]:
    """Return the names of an attempt's fields that have a role."""
    hints = get_type_hints(AttemptRecord, include_extras=True)
    return tuple(name for name, hint in hints.items() if role in get_args(hint)[1:])


_NAMES = frozenset(declared.name for declared in fields(Event)) - {"extra"}
_NEEDED = frozenset(names_for("needed"))
_MAPPINGS = frozenset(declared.name for declared in fields(Event) if declared.default_factory is dict)
_RENAMED: dict[str, Mapping[str, str]] = {
    declared.name: renamed for declared in fields(Event) if (renamed := declared.metadata.get("renamed"))
}


def current_value(name: str, value: Any) -> Any:
    """Return the value of a field as it is written today, for one that an older version may have written."""
    return _RENAMED.get(name, {}).get(value, value)


def rename_values(records: Iterable[dict[str, Any]]) -> None:
    """Replace values that an older version wrote, in records of `line_reader`."""
    for name, new in _RENAMED.items():
        for record in records:
            if record.get(name) in new:
                record[name] = new[record[name]]


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

    With `names` (and `attempt_names` for the attempts in it) all other keys are skipped, which is faster, and
    each of the names is in the result, None where the line has none. Those that are `rare` are in it only
    where the line has them: filling them in costs more than asking for them. Values that an older version
    wrote stay as they are: pass the results to `rename_values`.
    """
    from typing import NotRequired, Required

    from pydantic import ConfigDict, Field, TypeAdapter, with_config
    from typing_extensions import TypedDict as _TypedDict  # pydantic asks for this one before Python 3.12

    table: Any = _TypedDict
    strict = with_config(
        ConfigDict(strict=True, extra="allow" if names is None else "ignore", allow_inf_nan=False)
    )
    # A damaged digit may make any number, so counts are bounded: they must be possible to add up.
    count = Annotated[int, Field(ge=-MOST_COUNT, le=MOST_COUNT)]
    bounded: dict[Any, Any] = {int | None: count | None, int: count}
    hints = {name: bounded.get(hint, hint) for name, hint in get_type_hints(AttemptRecord).items()}
    kept = {name: hints[name] for name in hints if attempt_names is None or name in attempt_names}
    attempt: Any = strict(table("AttemptRecord", kept, total=False))
    own = get_type_hints(Event)
    hints = {name: bounded.get(hint, hint) for name, hint in own.items()}
    hints["attempts"] = tuple[attempt, ...]
    for declared in fields(Event):
        if bounds := declared.metadata.get("bounds"):
            hints[declared.name] = Annotated[own[declared.name], Field(**bounds)]
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
