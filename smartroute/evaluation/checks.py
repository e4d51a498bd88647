"""Check an answer against an expected one, without a model.

A check is a mapping with a `kind` and its settings:

  exact     value, or values (any of them)         equal after `normalize`
  number    value, tolerance=0, which="last"       the first or the last number of the text
  range     low, high, which="first"               the same, within low..high
  choice    value, options                         the one option that the text names
  contains  all, any, none                         phrases, after `normalize`
  regex     pattern                                found anywhere, case ignored
  json      fields                                 an object with these values, others ignored
  words     min, max, and the settings of contains
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from smartroute.confidence.code_fences import unfenced
from smartroute.errors import ConfigError, shown
from smartroute.number_checks import checked_number

Check: TypeAlias = Mapping[str, Any]
"""What an answer must fulfill, as a data set writes it."""

_EDGES = " \t\r\n.,;:!?\"'`*_()[]{}<>«»„“”‘’。、，！？：；「」『』（）"
# Scripts written without spaces: kana and ideographs.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# Chinese, Japanese and Korean write a number directly after a word.
_NUMBER = re.compile(
    rf"(?<![^\W{_UNSPACED}\uac00-\ud7a3])(?<!\.)[-+]?(?:\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d+)(?:\.\d+)?"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+(?:['’\-][^\W{_UNSPACED}]+)*")
_IN_WORD = re.compile(rf"[^\W{_UNSPACED}]")


def passes(text: str, check: Check) -> bool:
    """Return whether a text fulfills a check.

    Raises ConfigError for an unknown kind, a missing setting, and a setting that the kind does not take.
    """
    kind = check.get("kind")
    known = _KINDS.get(kind) if isinstance(kind, str) else None
    if known is None:
        raise ConfigError(f"there is no check of kind {kind!r}; use one of {', '.join(_KINDS)}")
    judge, required, optional = known
    given = set(check) - {"kind"}
    if missing := required - given:
        raise ConfigError(
            f"a check of kind {kind!r} needs {', '.join(sorted(missing))}, got {shown(dict(check))}"
        )
    if unknown := given - required - optional:
        raise ConfigError(
            f"a check of kind {kind!r} has no {', '.join(sorted(unknown))}; "
            f"it takes {', '.join(sorted(required | optional))}"
        )
    return judge(text, check)


def normalize(text: str) -> str:
    """Return the text for comparison: NFKC, case folded, spaces collapsed, edge punctuation dropped."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(folded.split()).strip(_EDGES)


def numbers(text: str) -> tuple[float, ...]:
    """Return the numbers in a text: a decimal point, commas for thousands, full-width digits too."""
    plain = unicodedata.normalize("NFKC", text).replace("\N{MINUS SIGN}", "-")
    return tuple(float(digits.replace(",", "")) for digits in _NUMBER.findall(plain))


def word_count(text: str) -> int:
    """Return the number of words. Each kana and each ideograph counts as one."""
    return len(_WORD.findall(unicodedata.normalize("NFKC", text)))


def _exact(text: str, check: Check) -> bool:
    if ("value" in check) == ("values" in check):
        raise ConfigError(f"an exact check needs either value or values, got {shown(dict(check))}")
    values = _strings(check, "values") if "values" in check else (_string(check, "value"),)
    return normalize(text) in {normalize(value) for value in values}


def _number(text: str, check: Check) -> bool:
    number = _pick(text, check, "last")
    wanted, tolerance = _real(check, "value", None), _real(check, "tolerance", 0.0)
    if tolerance < 0:
        raise ConfigError(f"tolerance must be at least 0, got {tolerance!r}")
    # A relative slack of 1e-12 lets 0.1 + 0.2 equal 0.3.
    return number is not None and (
        abs(number - wanted) <= tolerance or math.isclose(number, wanted, rel_tol=1e-12)
    )


def _range(text: str, check: Check) -> bool:
    number = _pick(text, check, "first")
    low, high = _real(check, "low", None), _real(check, "high", None)
    if low > high:
        raise ConfigError(f"low must not exceed high, got {low!r} and {high!r}")
    return number is not None and low <= number <= high


def _pick(text: str, check: Check, default: str) -> float | None:
    which = check.get("which", default)
    if which not in ("first", "last"):
        raise ConfigError(f'which must be "first" or "last", got {which!r}')
    candidates = numbers(text)
    return candidates[0 if which == "first" else -1] if candidates else None


def _choice(text: str, check: Check) -> bool:
    value, options = normalize(_string(check, "value")), _strings(check, "options")
    folded = {normalize(option) for option in options}
    if value not in folded:
        raise ConfigError(f"the value of a choice must be among its options, got {check['value']!r}")
    # The longest option first, and then removed, so that "not spam" does not name "spam".
    left, named = normalize(text), set()
    for option in sorted(folded, key=lambda option: (-len(option), option)):
        pattern = _phrase(option)
        if pattern.search(left):
            named.add(option)
            left = pattern.sub(" \0 ", left)
    return named == {value}


def _contains(text: str, check: Check) -> bool:
    folded = normalize(text)

    def has(phrase: str) -> bool:
        return _phrase(normalize(phrase)).search(folded) is not None

    every, some, none = (_strings(check, name) for name in ("all", "any", "none"))
    return all(map(has, every)) and (not some or any(map(has, some))) and not any(map(has, none))


def _phrase(phrase: str) -> re.Pattern[str]:
    """Return a pattern that matches a phrase as whole words, or anywhere in scripts without spaces."""
    before = r"(?<![^\W" + _UNSPACED + "])" if _IN_WORD.match(phrase[:1]) else ""
    after = r"(?![^\W" + _UNSPACED + "])" if _IN_WORD.match(phrase[-1:]) else ""
    return re.compile(before + re.escape(phrase) + after)


def _regex(text: str, check: Check) -> bool:
    pattern = check["pattern"]
    if not isinstance(pattern, str) or not pattern:
        raise ConfigError(f"pattern of a check must be text, not empty, got {shown(pattern)}")
    try:
        return re.search(pattern, unicodedata.normalize("NFKC", text), re.IGNORECASE) is not None
    except re.error as error:
        raise ConfigError(f"pattern {pattern!r} is not a regular expression: {error}") from None


def _json(text: str, check: Check) -> bool:
    fields = check["fields"]
    if not isinstance(fields, Mapping) or not fields:
        raise ConfigError(f"fields must be an object with at least one field, got {shown(fields)}")
    try:
        answer = json.loads(unfenced(text.strip()))
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and all(
        name in answer and _same(answer[name], wanted) for name, wanted in fields.items()
    )


def _same(value: object, wanted: object) -> bool:
    """Return whether two JSON values are equal: 1 equals 1.0 but not true; text is compared normalized."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    if isinstance(value, str) and isinstance(wanted, str):
        return normalize(value) == normalize(wanted)
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(_same, value, wanted))
    if isinstance(value, dict) and isinstance(wanted, dict):
        return value.keys() == wanted.keys() and all(_same(value[name], wanted[name]) for name in wanted)
    return value == wanted


def _words(text: str, check: Check) -> bool:
    if not {"min", "max"} & set(check):
        raise ConfigError(f"a words check needs min or max, got {shown(dict(check))}")
    low, high = _real(check, "min", 0.0), _real(check, "max", math.inf)
    return low <= word_count(text) <= high and _contains(text, check)


def _string(check: Check, name: str) -> str:
    value = check[name]
    if not isinstance(value, str) or not normalize(value):
        raise ConfigError(f"{name} of a check must be text, not empty, got {shown(value)}")
    return value


def _strings(check: Check, name: str) -> tuple[str, ...]:
    values = check.get(name, ())
    if isinstance(values, str) or not isinstance(values, Sequence):
        raise ConfigError(f"{name} of a check must be a list of texts, got {shown(values)}")
    if not all(isinstance(value, str) and normalize(value) for value in values):
        raise ConfigError(f"{name} of a check must hold texts, none empty, got {shown(values)}")
    return tuple(values)


def _real(check: Check, name: str, default: float | None) -> float:
    if name not in check and default is not None:
        return default
    return checked_number(check.get(name), f"{name} of a check")


_Judge: TypeAlias = Callable[[str, Check], bool]
_PHRASES = frozenset({"all", "any", "none"})
_KINDS: Mapping[str, tuple[_Judge, frozenset[str], frozenset[str]]] = {
    "exact": (_exact, frozenset(), frozenset({"value", "values"})),
    "number": (_number, frozenset({"value"}), frozenset({"tolerance", "which"})),
    "range": (_range, frozenset({"low", "high"}), frozenset({"which"})),
    "choice": (_choice, frozenset({"value", "options"}), frozenset()),
    "contains": (_contains, frozenset(), _PHRASES),
    "regex": (_regex, frozenset({"pattern"}), frozenset()),
    "json": (_json, frozenset({"fields"}), frozenset()),
    "words": (_words, frozenset(), frozenset({"min", "max"}) | _PHRASES),
}

CHECK_KINDS = tuple(_KINDS)
"""The kinds of checks."""
