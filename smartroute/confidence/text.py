"""Find faults in the text of an answer: refusal, doubt, truncation, a broken format, a loop.

An answer without a fault may still be wrong, so its value is None. A fault gets a score below any sensible
threshold; the scores order the faults and are not probabilities.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

from smartroute.confidence.code_fences import unfenced
from smartroute.confidence.phrases import (
    DOUBT_CUES,
    DOUBT_CUES_ABROAD,
    DOUBTS,
    REFUSAL_CUES,
    REFUSAL_CUES_ABROAD,
    REFUSALS,
)
from smartroute.records import Confidence, Probe, Reply, Task
from smartroute.unicode import well_formed

SCORES: Mapping[str, float] = {
    "empty": 0.0,
    "filtered": 0.0,
    "refusal": 0.1,
    "format": 0.1,
    "schema": 0.15,
    "loop": 0.2,
    "truncated": 0.2,
    "no_number": 0.3,
    "doubts": 0.35,
    "doubt": 0.5,
}
"""The score of each fault, the worst first. The gravest fault decides."""

SCAN_CHARS = 4_000
"""How much of each end of an answer is searched for doubt; a refusal is searched for in its first words."""

SCHEMA_CHARS = 20_000
"""Up to which length an answer is validated against its JSON schema."""

_HEAD_CHARS = 240
_LONG_CHARS = 1_000
_LOOP_FROM_CHARS = 600
_LOOP_RATIO = 0.06
_PERIOD_CHARS = 40
_QUOTING_KINDS = frozenset({"extract", "classify"})

_ASIDE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]{0,400}`|\"[^\"\n]{0,400}\"|“[^”]{0,400}”|«[^»]{0,400}»|„[^“”]{0,400}[“”]"
    r"|「[^」]{0,400}」|『[^』]{0,400}』|^>[^\n]*$",
    re.DOTALL | re.MULTILINE,
)


class TextConfidence:
    """A heuristic score from the answer's text; `source` names the gravest fault, as in "text:refusal".

    Without a fault the value is None. Code, quotations and quoted lines are not searched for refusal or
    doubt, which are known in English, German, French, Spanish, Portuguese, Italian, Russian, Chinese,
    Japanese, Korean, Arabic and Hindi. Short answers and other scripts are no fault. A tool call is a full
    answer if its arguments are JSON. A single doubt in a text of more than 1,000 characters does not count. A
    text of more than 20,000 is not validated against its JSON schema, and the detail says so.
    """

    def probes(self, task: Task, reply: Reply) -> tuple[Probe, ...]:
        """Return no probes."""
        return ()

    def estimate(self, task: Task, reply: Reply, replies: tuple[object, ...] = ()) -> Confidence:
        """Return the score of the gravest fault, or unknown."""
        fault = _fault(task, reply)
        if fault is None:
            return Confidence(None, "text", _NOT_CHECKED if _unchecked(task, reply) else _NO_FAULT)
        return Confidence(SCORES[fault], f"text:{fault}")


_NO_FAULT = "no fault found, which does not make it right"
_NOT_CHECKED = f"no fault found; longer than {SCHEMA_CHARS:,} characters, so its schema is not checked"


def _unchecked(task: Task, reply: Reply) -> bool:
    """Return whether a schema was declared that the answer is too long for."""
    if len(reply.text) <= SCHEMA_CHARS or reply.tool_calls:
        return False
    return _schema(task.params.get("response_format")) is not None


def _fault(task: Task, reply: Reply) -> str | None:
    text = reply.text
    if reply.finish_reason == "content_filter":
        return "filtered"
    faults: list[str | None] = []
    if reply.finish_reason == "length" and not _cut_as_asked(task, text):
        faults.append("truncated")
    if reply.tool_calls:
        faults.append(_call_fault(reply))
    elif not text or text.isspace():
        return "empty"
    elif task.params:
        faults.append(format_fault(text, task.params.get("response_format")))
    if len(text) >= _LOOP_FROM_CHARS and _loops(text):
        faults.append("loop")
    if task.kind == "score" and not reply.tool_calls and not any(map(str.isnumeric, text[:SCAN_CHARS])):
        faults.append("no_number")
    if refuses(text, task):
        faults.append("refusal")
    else:
        faults.append(_doubt(text, task))
    return min((fault for fault in faults if fault is not None), key=SCORES.__getitem__, default=None)


def _cut_as_asked(task: Task, text: str) -> bool:
    """Return whether so few tokens were asked for that being cut is the answer's form: "B", "yes"."""
    asked = task.params.get("max_tokens") or task.params.get("max_completion_tokens")
    return isinstance(asked, int) and asked <= 8 and bool(text.strip())


def _call_fault(reply: Reply) -> str | None:
    for call in reply.tool_calls:
        function = call.get("function")
        arguments = function.get("arguments") if isinstance(function, Mapping) else None
        if isinstance(arguments, str) and arguments.strip() and not _is_json(arguments):
            return "format"
    return None


def refuses(text: str, task: Task | None = None) -> bool:
    """Return whether the answer starts with a refusal, outside of quotations and code.

    Words that the task itself contains are no refusal: the user asked for them.
    """
    head = text[: 2 * _HEAD_CHARS]
    if not _mentions(head, REFUSAL_CUES, REFUSAL_CUES_ABROAD):
        return False
    refusal = _pattern(REFUSALS).search(_own_words(head)[:_HEAD_CHARS])
    if refusal is None:
        return False
    return task is None or not _occurs_in(task, refusal.group().casefold())


def _occurs_in(task: Task, words: str) -> bool:
    return any(
        words in text.casefold() for message in task.messages for text in _texts(message.get("content"))
    )


def _texts(content: object) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        yield from (text for part in content if isinstance(text := part.get("text"), str))


def _doubt(text: str, task: Task) -> str | None:
    """Return the fault of an answer that doubts itself.

    What is extracted or assigned may be a doubt quoted from the request, or a label that it offers.
    """
    scanned = text if len(text) <= 2 * SCAN_CHARS else text[:SCAN_CHARS] + "\n" + text[-SCAN_CHARS:]
    if not _mentions(scanned, DOUBT_CUES, DOUBT_CUES_ABROAD):
        return None
    doubts = [doubt.group().casefold() for doubt in _pattern(DOUBTS).finditer(_own_words(scanned))]
    if task.kind in _QUOTING_KINDS:
        asked_for = {words for words in set(doubts) if _occurs_in(task, words)}
        doubts = [words for words in doubts if words not in asked_for]
    count = len(doubts)
    if len(scanned) > _LONG_CHARS:
        count -= 1
    return None if count <= 0 else "doubt" if count == 1 else "doubts"


def _mentions(text: str, cues: tuple[str, ...], abroad: tuple[str, ...]) -> bool:
    """Return whether a phrase may occur at all, which is far faster to decide than by the patterns."""
    lowered = text.lower()
    if any(map(lowered.__contains__, cues)):
        return True
    return not text.isascii() and any(map(lowered.__contains__, abroad))


def _own_words(text: str) -> str:
    return _ASIDE.sub(" ", text)


@cache
def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(phrases), re.IGNORECASE | re.DOTALL)


def _loops(text: str) -> bool:
    """Return whether the end of a long answer repeats itself: it compresses to almost nothing."""
    if text.count(text[-_PERIOD_CHARS:], -2_000) < 3:
        return False
    tail = text[-2_000:].encode("utf-8", "replace")
    return len(zlib.compress(tail, 1)) < _LOOP_RATIO * len(tail)


def bare_json(text: str, wanted: Any) -> str:
    """Return the JSON of an answer without the code fence around it, where a response format wants JSON.

    Many models add one, which is no reason to pay for another answer. Anything else stays as it is.
    """
    if wanted is None or not text.lstrip().startswith(("```", "~~~")):
        return text
    if isinstance(wanted, Mapping) and wanted.get("type") not in ("json_object", "json_schema"):
        return text
    inner = unfenced(text.strip())
    return inner if _is_json(inner) else text


def format_fault(text: str, wanted: Any) -> str | None:
    """Return "format" or "schema" when a text is not what a response format declares, else None."""
    if wanted is None:
        return None
    if not isinstance(wanted, Mapping):
        return _pydantic_fault(text, wanted)
    if wanted.get("type") not in ("json_object", "json_schema"):
        return None
    if not _is_json(text):
        return "format"
    if wanted["type"] == "json_object":
        return None if text.lstrip().startswith("{") else "format"
    schema = _schema(wanted)
    return None if schema is None or len(text) > SCHEMA_CHARS else _schema_fault(json.loads(text), schema)


def _schema(wanted: Any) -> Mapping[str, Any] | None:
    """Return the JSON schema that a response format declares."""
    if not isinstance(wanted, Mapping) or wanted.get("type") != "json_schema":
        return None
    described = wanted.get("json_schema")
    schema = described.get("schema") if isinstance(described, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


def _pydantic_fault(text: str, model: Any) -> str | None:
    validate = getattr(model, "model_validate_json", None)
    if validate is None:
        return None
    if not _is_json(text):
        return "format"
    try:
        validate(text)
    except ValueError:
        return "schema"
    except Exception:  # noqa: BLE001  the user's own validator may raise anything
        return None
    return None


def _schema_fault(document: Any, schema: Mapping[str, Any]) -> str | None:
    """Return "schema" when a document violates a schema; a schema that cannot be used finds no fault.

    References outside the schema are not followed: an empty registry keeps the validator off the network.
    """
    try:
        from referencing import Registry

        validator = _validator_for(schema.get("$schema"))
    except ImportError:
        return None
    # A schema that names its dialect would be passed to that dialect's validator instead of this one.
    bare = {name: value for name, value in schema.items() if name != "$schema"}
    if _leaves_linear_time(bare):
        return None
    try:
        validator.check_schema(bare)
        return None if validator(bare, registry=Registry()).is_valid(document) else "schema"
    except Exception:  # noqa: BLE001  there are many ways in which a schema cannot be used
        return None


def _validator_for(dialect: object) -> Any:
    """Return the validator of a dialect, the newest for one that is not known."""
    from jsonschema import validators

    newest = validators.Draft202012Validator
    named = {"$schema": dialect} if isinstance(dialect, str) else {}
    return _in_linear_time(validators.validator_for(named, default=newest))


def _leaves_linear_time(schema: Mapping[str, Any]) -> bool:
    """Return whether a part of a schema names a dialect of its own, or patterns for property names."""
    parts: list[Any] = [schema]
    while parts:
        part = parts.pop()
        if isinstance(part, Mapping):
            if "patternProperties" in part or "$schema" in part:
                return True
            parts.extend(part.values())
        elif isinstance(part, list | tuple):
            parts.extend(part)
    return False


@cache
def _in_linear_time(validator: Any) -> Any:
    """Return a validator that takes linear time for any answer.

    Its `uniqueItems` does not compare every item with every other, and its `pattern` is matched by the
    engine of pydantic, which does not backtrack; a pattern that this engine does not support finds no fault.
    """
    from jsonschema import ValidationError, validators

    def unique(validator: Any, wanted: Any, items: Any, schema: Any) -> Iterator[ValidationError]:
        if wanted and isinstance(items, list) and len({_comparable(item) for item in items}) < len(items):
            yield ValidationError("items are not unique")

    def pattern(validator: Any, wanted: Any, text: Any, schema: Any) -> Iterator[ValidationError]:
        matcher = _matcher(wanted) if isinstance(text, str) else None
        if matcher is not None and not matcher.isinstance_python(well_formed(text)):
            yield ValidationError("the text does not match")

    return validators.extend(validator, {"uniqueItems": unique, "pattern": pattern})


@lru_cache(maxsize=256)
def _matcher(pattern: str) -> Any:
    """Return a matcher that searches a text in linear time; None for a pattern it does not support."""
    from pydantic_core import SchemaError, SchemaValidator, core_schema

    try:
        return SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError:
        return None


def _comparable(value: Any) -> Any:
    """Return a parsed value so that equal means equal in JSON: 1 is 1.0 and not true."""
    if isinstance(value, dict):
        return dict, frozenset([(name, _comparable(item)) for name, item in value.items()])
    if isinstance(value, list):
        return list, tuple([_comparable(item) for item in value])
    return (bool, value) if isinstance(value, bool) else value


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
