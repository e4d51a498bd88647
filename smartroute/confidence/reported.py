"""Confidence that a model reports about its own answer."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping

from smartroute.confidence.code_fences import unfenced
from smartroute.number_checks import is_number
from smartroute.records import Confidence, Probe, Reply, Task

_SOURCE = "reported"
_LAST_LINE = re.compile(
    r"(?:^|\n)[\s*_`]*confidence[\s*_`]*[:=\uff1a\uff1d][\s*_`]*([\d.\uff0e]+\s*[%\uff05]?)[\s*_`.]*$",
    re.IGNORECASE,
)
_TAIL_CHARS = 200
_NUMERAL = re.compile(r"([-+]?\d*\.?\d*(?:[eE][-+]?\d{1,3})?)\s*(%?)")
_LONGEST_NUMERAL = 40
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
    line = _LAST_LINE.search(text[-_TAIL_CHARS:])
    if line is None:
        return text
    kept = text[: max(0, len(text) - _TAIL_CHARS) + line.start()].rstrip()
    return kept or text


class ReportedConfidence:
    """The field `confidence` of a reply that is a JSON object, or its last line "confidence: 0.8".

    A number in [0, 1], or a percentage written with its sign ("87%"), in the digits of any script. Anything
    else, such as 7 or 87 without a sign, could mean several things and is unknown. `asked=False` leaves the
    last line alone, as the default estimator does unless the prompt asks for one. Self-reports are scores,
    and known to be overconfident (Xiong et al. 2024, ICLR, "Can LLMs Express Their Uncertainty?").
    """

    def __init__(self, *, asked: bool = True) -> None:
        self._asked = asked

    def probes(self, task: Task, reply: Reply) -> tuple[Probe, ...]:
        """Return no probes: only the answer itself can report one."""
        return ()

    def estimate(self, task: Task, reply: Reply, replies: tuple[object, ...] = ()) -> Confidence:
        """Return what the reply reports, unknown when it reports nothing readable."""
        text = reply.text
        if "onfidence" not in text and not self._asked:
            return Confidence(None, _SOURCE, "nothing reported")
        fields = json_object(text)
        if fields is not None and "confidence" in fields:
            return _read(fields["confidence"])
        if self._asked and (line := _LAST_LINE.search(text[-_TAIL_CHARS:])) is not None:
            return _read(line.group(1))
        return Confidence(None, _SOURCE, "nothing reported")


def json_object(text: str) -> Mapping[str, object] | None:
    """Return the JSON object that a reply consists of, in a code fence or not; None for any other reply."""
    body = unfenced(text.strip())
    if not body.startswith("{"):
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _read(value: object) -> Confidence:
    number = _of_text(value) if isinstance(value, str) else as_number(value)
    if number is None:
        return Confidence(None, _SOURCE, "the reported confidence is not a number")
    if not 0.0 <= number <= 1.0:
        return Confidence(None, _SOURCE, "the reported confidence is not in [0, 1]")
    return Confidence(number, _SOURCE)


def _of_text(text: str) -> float | None:
    if len(text) > _LONGEST_NUMERAL:
        return None
    numeral = _NUMERAL.fullmatch(unicodedata.normalize("NFKC", text.strip()))
    if numeral is None:
        return None
    try:
        number = float(numeral.group(1))
    except ValueError:
        return None
    return number / 100.0 if numeral.group(2) else number


def as_number(value: object) -> float | None:
    """Return a JSON number as a finite float, None for anything else; true is not 1."""
    return float(value) if is_number(value) else None
