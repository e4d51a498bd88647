"""The answer checkers, and that every bundled demo task agrees with its own check."""

from __future__ import annotations

import ast
import operator
from collections import Counter

import pytest

from smartroute.demo.tasks import DemoTask, load_tasks
from smartroute.errors import ConfigError
from smartroute.evaluation.checks import CHECK_KINDS, normalize, numbers, passes, word_count

TASKS = load_tasks()
KINDS = {"extract", "classify", "score", "general", "creative", "reasoning"}


@pytest.mark.parametrize(
    ("text", "check", "expected"),
    [
        (" **Ben**. ", {"kind": "exact", "value": "ben"}, True),
        ("ＢＥＮ", {"kind": "exact", "value": "ben"}, True),
        ("It was Ben", {"kind": "exact", "value": "ben"}, False),
        ("2:22", {"kind": "exact", "values": ["02:22", "2:22"]}, True),
        ("about 3,216 in all", {"kind": "number", "value": 3216}, True),
        ("12 + 30 = 42.", {"kind": "number", "value": 42}, True),
        ("12 + 30 = 42.", {"kind": "number", "value": 12, "which": "first"}, True),
        ("12 + 30 = 42.", {"kind": "number", "value": 12}, False),
        ("3.14", {"kind": "number", "value": 3.1416, "tolerance": 0.01}, True),
        ("3.13", {"kind": "number", "value": 3.1416, "tolerance": 0.01}, False),
        ("minus: \N{MINUS SIGN}4", {"kind": "number", "value": -4}, True),
        ("10-4", {"kind": "number", "value": 4}, True),
        ("答案是３１箱", {"kind": "number", "value": 31}, True),
        ("I cannot say", {"kind": "number", "value": 0}, False),
        ("8/10", {"kind": "range", "low": 8, "high": 10}, True),
        ("7/10", {"kind": "range", "low": 8, "high": 10}, False),
        ("none", {"kind": "range", "low": 0, "high": 10}, False),
        ("It is Billing.", {"kind": "choice", "value": "billing", "options": ["billing", "praise"]}, True),
        (
            "billing or praise",
            {"kind": "choice", "value": "billing", "options": ["billing", "praise"]},
            False,
        ),
        ("dissatisfied", {"kind": "choice", "value": "satisfied", "options": ["satisfied", "poor"]}, False),
        ("not spam", {"kind": "choice", "value": "not spam", "options": ["spam", "not spam"]}, True),
        ("not spam", {"kind": "choice", "value": "spam", "options": ["spam", "not spam"]}, False),
        ("这是差评", {"kind": "choice", "value": "差评", "options": ["好评", "差评"]}, True),
        ("the cat sat", {"kind": "contains", "all": ["cat", "sat"], "none": ["dog"]}, True),
        ("the catalog sat", {"kind": "contains", "all": ["cat"]}, False),
        ("the cat and a dog", {"kind": "contains", "all": ["cat"], "none": ["dog"]}, False),
        ("an owl", {"kind": "contains", "any": ["owl", "kite"]}, True),
        ("a wren", {"kind": "contains", "any": ["owl", "kite"]}, False),
        ("Order AB-12 is ready", {"kind": "regex", "pattern": r"\bab-\d{2}\b"}, True),
        ("Order AB-1 is ready", {"kind": "regex", "pattern": r"\bab-\d{2}\b"}, False),
        ('```json\n{"a": 1.0, "b": "X", "c": 3}\n```', {"kind": "json", "fields": {"a": 1, "b": "x"}}, True),
        ('```JSON title="x"\n{"a": 1}\n```', {"kind": "json", "fields": {"a": 1}}, True),
        ('~~~\n{"a": 1}\n~~~', {"kind": "json", "fields": {"a": 1}}, True),
        ('{"a": true}', {"kind": "json", "fields": {"a": 1}}, False),
        ('{"a": [1, "x"]}', {"kind": "json", "fields": {"a": [1, "X"]}}, True),
        ('{"a": {"b": 1, "c": 2}}', {"kind": "json", "fields": {"a": {"b": 1}}}, False),
        ('{"b": null}', {"kind": "json", "fields": {"a": None}}, False),
        ("a is 1", {"kind": "json", "fields": {"a": 1}}, False),
        ("[1]", {"kind": "json", "fields": {"a": 1}}, False),
        ("one two three", {"kind": "words", "max": 3}, True),
        ("one two three four", {"kind": "words", "max": 3}, False),
        ("one", {"kind": "words", "min": 2}, False),
        ("one two", {"kind": "words", "min": 2, "max": 2, "all": ["two"], "none": ["one"]}, False),
    ],
)
def test_check_judges_a_text(text: str, check: dict[str, object], expected: bool) -> None:
    assert passes(text, check) is expected


@pytest.mark.parametrize(
    ("check", "complaint"),
    [
        ({"kind": "vibes"}, "no check of kind 'vibes'"),
        ({}, "no check of kind None"),
        ({"kind": ["exact"]}, "no check of kind"),
        ({"kind": "number"}, "needs value"),
        ({"kind": "number", "value": 1, "tolerence": 2}, "has no tolerence"),
        ({"kind": "number", "value": "1"}, "must be a finite number"),
        ({"kind": "number", "value": True}, "must be a finite number"),
        ({"kind": "number", "value": 1, "tolerance": -1}, "at least 0"),
        ({"kind": "number", "value": 1, "which": "middle"}, "which must be"),
        ({"kind": "range", "low": 3, "high": 2}, "must not exceed"),
        ({"kind": "choice", "value": "a", "options": ["b"]}, "among its options"),
        ({"kind": "exact"}, "either value or values"),
        ({"kind": "exact", "value": " . "}, "not empty"),
        ({"kind": "contains", "all": "cat"}, "list of texts"),
        ({"kind": "contains", "all": [1]}, "hold texts"),
        ({"kind": "regex", "pattern": "("}, "not a regular expression"),
        ({"kind": "json", "fields": {}}, "at least one field"),
        ({"kind": "words", "all": ["x"]}, "needs min or max"),
    ],
)
def test_faulty_check_is_an_error_not_a_verdict(check: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        passes("any text, 5", check)


def test_numbers_do_not_read_words_or_versions_as_numbers() -> None:
    assert numbers("B12 costs 1,234.50, not 1,23 or v2") == (1234.5, 1.0, 23.0)


def test_words_are_counted_in_scripts_with_and_without_spaces() -> None:
    assert word_count("It's a well-known fact.") == 4
    assert word_count("明月照在小河上") == 7
    assert word_count("바람이 분다") == 2


def test_normalize_drops_case_width_space_and_edge_marks() -> None:
    assert normalize(" «Le  Jour» ! ") == "le jour"


def test_there_are_enough_tasks_of_every_kind_and_language() -> None:
    assert 60 <= len(TASKS) <= 64
    assert len({task.id for task in TASKS}) == len(TASKS)
    assert len({task.prompt.strip() for task in TASKS}) == len(TASKS)
    per_kind = Counter(task.kind for task in TASKS)
    assert set(per_kind) == KINDS
    assert min(per_kind.values()) >= 8
    assert {"en", "de", "fr", "es", "pt", "zh", "ja", "ko", "ru", "it"} == {task.language for task in TASKS}
    assert {str(task.check["kind"]) for task in TASKS} >= set(CHECK_KINDS) - {"contains"}
    assert all(task.id.startswith(f"{task.kind}-{task.language}-") for task in TASKS)


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.id)
def test_right_answer_passes_and_wrong_ones_fail(task: DemoTask) -> None:
    assert task.passes(task.answer)
    assert 2 <= len(set(task.wrong)) == len(task.wrong) <= 3
    assert [wrong for wrong in task.wrong if task.passes(wrong)] == []
    assert 0.0 <= task.difficulty <= 1.0


@pytest.mark.parametrize("task", [t for t in TASKS if t.expression], ids=lambda task: task.id)
def test_arithmetic_answer_is_what_its_expression_gives(task: DemoTask) -> None:
    assert task.check["kind"] == "number"
    assert evaluate(task.expression or "") == pytest.approx(task.check["value"], rel=1e-12)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("明月照在小河上", True),
        ("  今晚的月亮真圆\n", True),
        ("明月照在小河上。", False),
        ("明月，照小河上", False),
        ("月" * 8, False),
        ("小小的河水真清", False),
        ("今晚的月光真圆", False),
    ],
)
def test_every_constraint_of_the_chinese_sentence_is_checked(text: str, expected: bool) -> None:
    task = next(task for task in TASKS if task.id == "creative-zh-seven")
    assert task.passes(text) is expected


OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def evaluate(expression: str) -> float:
    """Return the value of an expression of numbers, the five operators and sum(range(...))."""

    def value(node: ast.AST) -> float:
        match node:
            case ast.Constant(value=int() | float() as number):
                return number
            case ast.BinOp(left=left, op=op, right=right):
                result: float = OPERATORS[type(op)](value(left), value(right))
                return result
            case ast.Call(
                func=ast.Name(id="sum"), args=[ast.Call(func=ast.Name(id="range"), args=[low, high, step])]
            ):
                return sum(range(*(int(value(bound)) for bound in (low, high, step))))
        raise ValueError(f"not arithmetic: {expression}")

    return value(ast.parse(expression, mode="eval").body)
