"""Extract the final answer from a reply, in a form that can be compared."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from decimal import Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, NamedTuple

from smartroute.confidence.reported import json_object, without_report

if TYPE_CHECKING:
    from smartroute.records import Reply

_SCAN_CHARS = 20_000
_NUMBER_CHARS = 200
_TEN_DIGITS = Context(prec=10)
_MANY_DIGITS = Context(prec=400)
_SHORT_CHARS = 80
_FIELDS = ("answer", "final_answer", "solution", "result", "label", "score", "choice")
_BOXED = re.compile(r"\\boxed\s*\{")
_MARKED = re.compile(
    r"(?:####\s*|(?:final |correct |the )?"
    r"(?:answer|result|antwort|ergebnis|réponse|respuesta|resposta|risposta|ответ|答案|答え|정답|답)"
    r"\s*(?:is|ist|est|es|é|:|：|=|是|は|은|는)\s*[:：]?\s*)(?P<answer>[^\n]{1,200})",
    re.IGNORECASE,
)
_FIELD = re.compile(
    r'"(?:answer|final_answer|solution|result|label|score|choice)"\s*:\s*'
    r'(?P<answer>"(?:\\.|[^"\\])*"|-?\d[\d.,eE+-]*|true|false|\[[^\[\]]*\])',
    re.IGNORECASE,
)
_CODE = re.compile(r"```[^\n`]{0,80}\n(.*?)```", re.DOTALL)
_CHOICE = re.compile(r"^[\s(\[*]*([A-J])(?:[\s)\].:*]*$|[).:]\s)")
_NUMBER = re.compile(
    r"[-+]?(?:\d{1,3}(?:\.\d{3})+,\d+|\d{1,3}(?:[,\u00a0\u202f ]\d{2,3})*[,\u00a0\u202f ]\d{3}(?:\.\d+)?"
    r"|\d+(?:\.\d+)?)(?:[eE][-+]?\d{1,3})?"
)
_CONTINENTAL = re.compile(r"[-+]?\d{1,3}(?:\.\d{3})+,\d+")
_FRACTION = re.compile(r"([-+]?\d{1,15})\s*/\s*([1-9]\d{0,14})")
_SIGNED_MONEY = re.compile(r"([-+])\s*[$€£¥]\s*")
_ARTICLES = re.compile(r"\b(?:the|a|an|der|die|das|ein|eine|le|la|les|un|une|el|los|las)\b")


_LABELS = frozenset(
    {"the", "is", "total", "sum", "answer", "result", "equals", "about", "approximately", "x", "y", "z", "n"}
)
_YES = frozenset({"yes", "ja", "oui", "sí", "si", "sim", "sì", "да", "はい", "예", "네", "是", "نعم", "हाँ"})
_NO = frozenset({"no", "nein", "non", "não", "нет", "いいえ", "아니요", "不是", "否", "لا", "नहीं"})


class Answer(NamedTuple):
    """What kind of answer it is, its canonical text, and the words around a number (its unit, a month)."""

    kind: str
    value: str
    words: frozenset[str] = frozenset()

    def agrees(self, other: Answer) -> bool | None:
        """Return whether two answers are the same, None for code that may do the same in another way.

        Numbers with words agree when they share a word, or one has none: "5 km" does not agree with "5 m".
        """
        if (self.kind, self.value) != (other.kind, other.value):
            return None if self.kind == other.kind == "code" else False
        return not self.words or not other.words or not self.words.isdisjoint(other.words)


def extract_answer(text: str) -> Answer | None:
    """Return the answer in a reply, or None when it has none to compare.

    In this order: a marked final answer (a JSON field such as "answer", \\boxed{...}, "#### 42", "the answer
    is ..."), any other JSON object, the last code block, and the whole reply or its last line where
    that is short. Numbers are compared as numbers, choices as letters, words without case, articles,
    punctuation and accents of form (NFKC). Long free text is None. Of a very long reply only the end is read.
    """
    text = without_report(text[-_SCAN_CHARS:]).strip()
    if not text:
        return None
    fields = json_object(text)
    if fields is not None:
        lowered = {str(key).lower(): value for key, value in fields.items()}
        for name in _FIELDS:
            if lowered.get(name) is not None:
                return _of_value(lowered[name])
        lowered.pop("confidence", None)
        lowered.pop("reasoning", None)
        return _of_value(lowered)
    marked = _field(text) or _boxed(text) or _marked(text)
    if marked is not None:
        return _of_text(marked)
    blocks = _CODE.findall(text)
    if blocks:
        return Answer("code", "\n".join(line.rstrip() for line in blocks[-1].strip().splitlines()))
    if len(text) <= _SHORT_CHARS:
        return _of_text(text)
    last = text.splitlines()[-1].strip()
    if len(last) <= _SHORT_CHARS and len(_NUMBER.findall(last)) == 1:
        return _of_text(last)
    return None


def _field(text: str) -> str | None:
    """Return the last answer field of JSON that does not parse: models forget to escape newlines."""
    matches = list(_FIELD.finditer(text[-4_000:]))
    if not matches:
        return None
    answer = matches[-1].group("answer")
    if not answer.startswith('"'):
        return answer
    try:
        return str(json.loads(answer, strict=False))
    except ValueError:
        return answer[1:-1]


def _boxed(text: str) -> str | None:
    """Return the content of the last \\boxed{...}, inner braces included."""
    starts = list(_BOXED.finditer(text))
    if not starts:
        return None
    start = starts[-1].end()
    depth = 1
    for index in range(start, min(len(text), start + 500)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return text[start:index]
    return None


def _marked(text: str) -> str | None:
    marks = list(_MARKED.finditer(text[-2_000:]))
    return marks[-1].group("answer") if marks else None


def same_answer(one: Reply, other: Reply) -> bool | None:
    """Return whether two replies give the same answer, None where that cannot be decided.

    Free text and code are None even where both are equal to the letter: if equal pairs counted and the
    others did not, every pair that counts would agree, and their share would mean nothing.
    """
    first, second = answer_of(one), answer_of(other)
    if first is None or second is None or first.kind == second.kind == "code":
        return None
    return first.agrees(second)


def answer_of(reply: Reply, extract: Callable[[str], Answer | None] = extract_answer) -> Answer | None:
    """Return the answer in a reply, from its text or tool calls, or None when it has none to compare."""
    return called_tools(reply.tool_calls) if reply.tool_calls else extract(reply.text)


def called_tools(tool_calls: Sequence[Mapping[str, Any]]) -> Answer | None:
    """Return tool calls as an answer: their names and arguments, in canonical order of keys."""
    calls = []
    for call in tool_calls:
        function = call.get("function")
        if not isinstance(function, Mapping):
            return None
        arguments = function.get("arguments")
        try:
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
        except (ValueError, RecursionError):
            return None
        calls.append([function.get("name"), arguments])
    written = _written(calls)
    return None if written is None else Answer("call", written)


def _written(value: object) -> str | None:
    """Return a value as JSON with its keys in order and 1.0 as 1, None where that cannot be done."""
    try:
        return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return None


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _of_value(value: object) -> Answer | None:
    if isinstance(value, bool):
        return Answer("text", "yes" if value else "no")
    if isinstance(value, int | float):
        return _of_number(repr(value))
    if isinstance(value, str):
        return _of_text(value) if value.strip() else None
    if not value:
        return None
    written = _written(value)
    return None if written is None else Answer("json", written.casefold())


def _of_text(text: str) -> Answer | None:
    text = _bare(unicodedata.normalize("NFKC", text).replace("\u2212", "-"))
    choice = _CHOICE.match(text)
    if choice is not None:
        return Answer("choice", choice.group(1))
    if (fraction := _FRACTION.fullmatch(text)) is not None:
        return _of_number(repr(float(fraction.group(1)) / float(fraction.group(2))))
    text = _SIGNED_MONEY.sub(r"\1", text)
    # A failed match tries every shorter one, at every index: quadratic in the length.
    numbers = _NUMBER.findall(text) if len(text) <= _NUMBER_CHARS else []
    words = re.sub(r"[\d\W_]+", " ", text.casefold()).split()
    if len(numbers) == 1 and len(words) <= 4:
        return _of_number(_plain_number(numbers[0]), frozenset(words) - _LABELS)
    return _of_words(text)


def _of_words(text: str) -> Answer | None:
    lowered = text.casefold()
    first = re.match(r"\w+", lowered)
    if first is not None and (first.end() == len(lowered) or lowered[first.end()] in ",.;:!—、。，"):
        if first.group() in _YES | {"true"}:
            return Answer("text", "yes")
        if first.group() in _NO | {"false"}:
            return Answer("text", "no")
    plain = _ARTICLES.sub(" ", lowered) if " " in lowered else lowered
    spaced = re.sub(r"[^\w\s.+\-/*^=<>()\[\]{},]", " ", plain).replace(",", ", ")
    value = " ".join(spaced.split()).replace(" ,", ",").strip(" .,")
    return Answer("text", value) if value else None


def _plain_number(numeral: str) -> str:
    if _CONTINENTAL.fullmatch(numeral):
        numeral = numeral.replace(".", "").replace(",", ".")
    return re.sub(r"[,\u00a0\u202f ]", "", numeral)


def _bare(text: str) -> str:
    """Return the text without emphasis, dollar signs and one pair of quotes around it."""
    text = text.strip().strip("*_`$ ").strip()
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


def _of_number(numeral: str, words: frozenset[str] = frozenset()) -> Answer | None:
    """Return a number as an answer: whole numbers exactly, others to ten significant digits."""
    try:
        number = Decimal(numeral)
    except InvalidOperation:
        return None
    if not number.is_finite():
        return None
    if number != number.to_integral_value():
        number = _TEN_DIGITS.plus(number)
    if abs(number.adjusted()) > 40:
        return Answer("number", str(number.normalize(_MANY_DIGITS)), words)
    plain = f"{number:f}"
    if "." in plain:
        plain = plain.rstrip("0").rstrip(".")
    return Answer("number", "0" if plain in ("-0", "+0") else plain, words)
