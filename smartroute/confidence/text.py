"""Find faults in an answer by reading it: refusal, doubt, truncation, a broken format, a loop.

Finding none says nothing about being right, so that the value is then None. What is found gets a score that
lies below any sensible threshold; the numbers order the faults and are not probabilities.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from functools import cache
from typing import Any

from smartroute.confidence.phrases import DOUBTS, REFUSALS
from smartroute.records import Confidence, Probe, Reply, Task

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
"""The score of each fault, the worst first. The gravest fault found decides."""

SCAN_CHARS = 4_000
"""How much of each end of an answer is read for doubt; a refusal is looked for in its first words."""

_HEAD_CHARS = 240
_LOOP_FROM_CHARS = 600
_LOOP_RATIO = 0.06

_ASIDE = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]{0,400}`|\"[^\"\n]{0,400}\"|“[^”]{0,400}”|«[^»]{0,400}»|„[^“”]{0,400}[“”]"
    r"|「[^」]{0,400}」|『[^』]{0,400}』|^>[^\n]*$",
    re.DOTALL | re.MULTILINE,
)


class TextConfidence:
    """A heuristic score from the answer's text; `source` names the gravest fault, as in "text:refusal".

    Without a fault the value is None. Code, quotations and quoted lines are not read for refusal or doubt,
    which are known in English, German, French, Spanish, Portuguese, Italian, Russian, Chinese, Japanese,
    Korean, Arabic and Hindi. Short answers and other scripts are no fault. A tool call is a full answer.
    """

    def probes(self, task: Task, reply: Reply) -> tuple[Probe, ...]:
        """Return no probes."""
        return ()

    def estimate(self, task: Task, reply: Reply, replies: tuple[object, ...] = ()) -> Confidence:
        """Return the score of the gravest fault, or unknown."""
        fault = _fault(task, reply)
        if fault is None:
            return Confidence(None, "text", "no fault found, which does not make it right")
        return Confidence(SCORES[fault], f"text:{fault}")


def _fault(task: Task, reply: Reply) -> str | None:
    text = reply.text
    if reply.finish_reason == "content_filter":
        return "filtered"
    if not text or text.isspace():
        return None if reply.tool_calls else "empty"
    found = [_format_fault(text, task.params.get("response_format")) if task.params else None]
    if reply.finish_reason == "length":
        found.append("truncated")
    if len(text) >= _LOOP_FROM_CHARS and _loops(text):
        found.append("loop")
    if task.kind == "score" and not any(map(str.isnumeric, text[:SCAN_CHARS])):
        found.append("no_number")
    if refuses(text):
        found.append("refusal")
    elif doubts := _doubts(text):
        found.append("doubt" if doubts == 1 else "doubts")
    return min((fault for fault in found if fault is not None), key=SCORES.__getitem__, default=None)


def refuses(text: str) -> bool:
    """Return whether the answer begins with a refusal, outside of quotations and code."""
    return _pattern(REFUSALS).search(_own_words(text[: 2 * _HEAD_CHARS])[:_HEAD_CHARS]) is not None


def _doubts(text: str) -> int:
    scanned = text if len(text) <= 2 * SCAN_CHARS else text[:SCAN_CHARS] + "\n" + text[-SCAN_CHARS:]
    return sum(1 for _ in _pattern(DOUBTS).finditer(_own_words(scanned)))


def _own_words(text: str) -> str:
    return _ASIDE.sub(" ", text)


@cache
def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(phrases), re.IGNORECASE | re.DOTALL)


def _loops(text: str) -> bool:
    """Return whether the end of a long answer repeats itself: it compresses to almost nothing."""
    tail = text[-2_000:].encode("utf-8", "replace")
    return len(zlib.compress(tail, 1)) < _LOOP_RATIO * len(tail)


def _format_fault(text: str, wanted: Any) -> str | None:
    if wanted is None:
        return None
    if not isinstance(wanted, Mapping):
        return _pydantic_fault(text, wanted)
    if wanted.get("type") not in ("json_object", "json_schema"):
        return None
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return "format"
    if wanted["type"] == "json_object":
        return None if isinstance(found, dict) else "format"
    described = wanted.get("json_schema")
    schema = described.get("schema") if isinstance(described, Mapping) else None
    return _schema_fault(found, schema) if isinstance(schema, Mapping) else None


def _pydantic_fault(text: str, model: Any) -> str | None:
    validate = getattr(model, "model_validate_json", None)
    if validate is None:
        return None
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return "format"
    try:
        validate(text)
    except ValueError:
        return "schema"
    return None


def _schema_fault(found: Any, schema: Mapping[str, Any]) -> str | None:
    try:
        import jsonschema
    except ImportError:
        return None
    try:
        jsonschema.validate(found, schema)
    except jsonschema.ValidationError:
        return "schema"
    except (jsonschema.SchemaError, RecursionError):
        return None
    return None
