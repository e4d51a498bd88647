"""Read the confidence that a model states about itself."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping

from smartroute.records import Confidence, Probe, Reply, Task

_SOURCE = "reported"
_LAST_LINE = re.compile(
    r"(?:^|\n)[\s*_`]*confidence[\s*_`]*[:=][\s*_`]*([0-9.]+\s*%?)[\s*_`.]*$", re.IGNORECASE
)
_FENCE = re.compile(r"^\s*```[a-zA-Z]*\s*\n(.*?)\n?```\s*$", re.DOTALL)
_INSTRUCTION = (
    "After your answer, state how confident you are that it is right, as a number from 0 to 1. "
    'If the answer is a JSON object, put the number into its field "confidence"; '
    'otherwise end with a line of its own, such as "confidence: 0.8".'
)


def ask_instruction() -> str:
    """Return the instruction that is added to the prompt when the user opted in to `ask_confidence`."""
    return _INSTRUCTION


def without_report(text: str) -> str:
    """Return an answer without the last line in which it rates itself."""
    line = _LAST_LINE.search(text[-200:])
    if line is None:
        return text
    kept = text[: max(0, len(text) - 200) + line.start()].rstrip()
    return kept or text


class ReportedConfidence:
    """The field `confidence` of a reply that is a JSON object.

    A number in [0, 1], or a percentage written with its sign ("87%"). Anything else, such as 7 or 87 without
    a sign, could mean several things and is unknown. `asked` also reads a last line "confidence: 0.8", which
    only `ask_confidence` makes models write. Self-reports are scores, and known to be overconfident
    (Xiong et al. 2024, ICLR, "Can LLMs Express Their Uncertainty?").
    """

    def __init__(self, *, asked: bool = False) -> None:
        self._asked = asked

    def probes(self, task: Task, reply: Reply) -> tuple[Probe, ...]:
        """Return no probes: the answer says it or nothing does."""
        return ()

    def estimate(self, task: Task, reply: Reply, replies: tuple[object, ...] = ()) -> Confidence:
        """Return what the reply reports, unknown when it reports nothing readable."""
        text = reply.text
        if "onfidence" not in text and not self._asked:
            return Confidence(None, _SOURCE, "nothing reported")
        found = json_object(text)
        if found is not None and "confidence" in found:
            return _read(found["confidence"])
        if self._asked and (line := _LAST_LINE.search(text[-200:])) is not None:
            return _read(line.group(1).strip())
        return Confidence(None, _SOURCE, "nothing reported")


def json_object(text: str) -> Mapping[str, object] | None:
    """Return the JSON object that a reply consists of, in a code fence or not; None when it is none."""
    fenced = _FENCE.match(text)
    body = (fenced.group(1) if fenced is not None else text).strip()
    if not body.startswith("{"):
        return None
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _read(value: object) -> Confidence:
    if isinstance(value, str):
        scale = 100.0 if value.strip().endswith("%") else 1.0
        try:
            value = float(value.strip().rstrip("%")) / scale
        except ValueError:
            value = None
    number = as_number(value)
    if number is None:
        return Confidence(None, _SOURCE, "the reported confidence is not a number")
    if not 0.0 <= number <= 1.0:
        return Confidence(None, _SOURCE, "the reported confidence does not lie in [0, 1]")
    return Confidence(number, _SOURCE)


def as_number(value: object) -> float | None:
    """Return a JSON number as a finite float, None for anything else; true is not 1."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
