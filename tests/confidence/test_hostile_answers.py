"""What answers that were made to hang or crash a reader do to the estimators: nothing."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from smartroute.confidence import (
    AgreementConfidence,
    CombinedConfidence,
    JudgeConfidence,
    ReportedConfidence,
    TextConfidence,
    default_estimator,
    extract_answer,
)
from smartroute.confidence.answers import called_tools
from smartroute.confidence.reported import json_object
from smartroute.records import Reply, Task

TASK = Task.of("What is the capital of Norway?")
DEEP = 100_000


def with_format(wanted: object) -> Task:
    return Task(TASK.messages, params={"response_format": wanted})


def with_schema(schema: object) -> Task:
    return with_format({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})


def grows_no_faster(work: Callable[[str], object], make: Callable[[int], str], size: int) -> bool:
    """Return whether eight times the text takes less than 24 times the time: linear is 8, quadratic 64."""

    def took_s(text: str) -> float:
        started = time.process_time()
        work(text)
        return time.process_time() - started

    small, large = make(size), make(8 * size)
    return min(took_s(large) for _ in range(3)) < 24 * max(min(took_s(small) for _ in range(3)), 2e-4)


@pytest.mark.parametrize(
    "make",
    [
        lambda n: "```" + "\n" * n + "x",
        lambda n: "```" + " " * n + "\n" + " " * n + "x",
        lambda n: "```json\n" * (n // 8),
        lambda n: "```json\n" + "```\n" * (n // 4) + "x",
        lambda n: "```json\n{" + "\n```" * (n // 4) + " ",
        lambda n: "\n```confidence\n" + "\n \n" * (n // 3) + "```x",
    ],
)
def test_the_json_object_of_a_reply_is_found_in_linear_time(make: Callable[[int], str]) -> None:
    assert grows_no_faster(json_object, make, 5_000)
    assert grows_no_faster(
        lambda text: ReportedConfidence(asked=True).estimate(TASK, Reply(text)), make, 5_000
    )


@pytest.mark.parametrize("unit", ["22,", "22 ", "22\u00a0", "1,222", "1.222", "12", "+ $", "-$ 1", ". "])
def test_the_number_in_an_answer_is_found_in_linear_time(unit: str) -> None:
    def reply(size: int) -> str:
        return json.dumps({"answer": "x" + unit * (size // len(unit)) + "y"}, ensure_ascii=False)

    assert grows_no_faster(extract_answer, reply, 2_000)


def test_a_number_in_a_long_field_is_not_looked_for_and_in_a_short_one_it_is() -> None:
    assert extract_answer('{"answer": "it is 42 %s"}' % ("." * 180)).kind == "number"  # type: ignore[union-attr]
    assert extract_answer('{"answer": "it is 42 %s"}' % ("." * 200)).kind == "text"  # type: ignore[union-attr]


@pytest.mark.parametrize("item", ['{"%d":0}', '[{"a":%d}]', '{"a":[%d,"b"]}'])
def test_distinct_items_are_told_apart_in_linear_time(item: str) -> None:
    task = with_schema({"type": "array", "uniqueItems": True})

    def answer(size: int) -> str:
        return "[" + ",".join(item % (1_000 + n) for n in range(size // (len(item) + 4))) + "]"

    assert grows_no_faster(lambda text: TextConfidence().estimate(task, Reply(text)), answer, 2_400)


NESTED = "^(a+)+$"
"""Where it does not match, Python's `re` tries twice as many ways for each further letter."""


@pytest.mark.parametrize(
    ("schema", "answer"),
    [
        ({"type": "string", "pattern": NESTED}, '"%s!"'),
        ({"type": "object", "patternProperties": {NESTED: {}}}, '{"%s!": 1}'),
        (
            {"properties": {"x": {"patternProperties": {NESTED: {}}, "additionalProperties": False}}},
            '{"x": {"%s!": 1}}',
        ),
    ],
)
@pytest.mark.parametrize("draft", [None, "http://json-schema.org/draft-07/schema#"])
def test_a_schemas_pattern_is_matched_in_linear_time_or_not_at_all(
    schema: dict[str, object], answer: str, draft: str | None
) -> None:
    task = with_schema(schema | ({} if draft is None else {"$schema": draft}))
    assert grows_no_faster(
        lambda text: TextConfidence().estimate(task, Reply(text)), lambda size: answer % ("a" * size), 3
    )


@pytest.mark.parametrize(
    ("pattern", "text", "source"),
    [
        ("^[a-z]+$", "oslo", "text"),
        ("^[a-z]+$", "Oslo", "text:schema"),
        ("slo", "Oslo", "text"),
        (r"^\d{4}-\d{2}$", "2026-11", "text"),
        (r"^\d{4}-\d{2}$", "November", "text:schema"),
        ("^(?!Oslo)", "Oslo", "text"),
        ("(", "Oslo", "text"),
        ("slo", "\ud800slo", "text"),
    ],
)
def test_an_answer_is_held_against_a_pattern_that_can_be_matched_safely(
    pattern: str, text: str, source: str
) -> None:
    """A look-ahead cannot, and a broken pattern is none: neither finds a fault."""
    task = with_schema({"type": "string", "pattern": pattern})
    assert TextConfidence().estimate(task, Reply(json.dumps(text))).source == source


@pytest.mark.parametrize(
    ("items", "distinct"),
    [
        ("[1, 1.0]", False),
        ("[1, true]", True),
        ("[0, false]", True),
        ('[{"a": 1, "b": [2]}, {"b": [2.0], "a": 1}]', False),
        ('[{"a": 1}, {"a": true}]', True),
        ('[["a"], "a", {"a": null}, null]', True),
        ("[[], [], 1]", False),
    ],
)
@pytest.mark.parametrize("draft", [None, "https://json-schema.org/draft/2020-12/schema"])
def test_items_are_distinct_as_json_schema_has_it(items: str, distinct: bool, draft: str | None) -> None:
    """Draft 2020-12 (core, 4.2.2): 1 equals 1.0 and not true; the order of keys says nothing."""
    schema = {"type": "array", "uniqueItems": True} | ({} if draft is None else {"$schema": draft})
    found = TextConfidence().estimate(with_schema(schema), Reply(items))
    assert (found.source == "text") is distinct


@pytest.mark.parametrize(
    "draft", ["http://json-schema.org/draft-04/schema#", "http://json-schema.org/draft-07/schema#"]
)
def test_older_drafts_keep_their_own_rules(draft: str) -> None:
    """Draft 4 has a boolean `exclusiveMinimum`, draft 7 a number; both keep shared parts in `definitions`."""
    exclusive = True if "04" in draft else 5
    schema = {
        "$schema": draft,
        "type": "array",
        "items": {"$ref": "#/definitions/big"},
        "definitions": {"big": {"minimum": 5, "exclusiveMinimum": exclusive}},
    }
    task = with_schema(schema)
    assert TextConfidence().estimate(task, Reply("[5.5]")).source == "text"
    assert TextConfidence().estimate(task, Reply("[5]")).source == "text:schema"


def test_a_long_answer_is_not_held_against_its_schema_and_the_estimate_says_so() -> None:
    task = with_schema({"type": "array", "items": {"type": "string"}})

    def of_length(characters: int) -> Reply:
        return Reply(json.dumps([1, "x" * (characters - 7)]))

    short, long = of_length(20_000), of_length(20_001)
    assert (len(short.text), len(long.text)) == (20_000, 20_001)
    assert TextConfidence().estimate(task, short).source == "text:schema"
    unread = TextConfidence().estimate(task, long)
    assert (unread.value, unread.source) == (None, "text")
    assert "20,000 characters" in unread.detail
    assert TextConfidence().estimate(task, Reply("x" * 20_001)).source == "text:format"


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "("},
        {"type": "nonsense"},
        {"$ref": "#/nowhere"},
        {"properties": 7},
        {"$schema": 7},
        {"$schema": "http://127.0.0.1:9/draft"},
    ],
)
def test_a_schema_that_cannot_be_used_finds_no_fault(schema: object) -> None:
    assert TextConfidence().estimate(with_schema(schema), Reply('"x"')).value is None


def nested(depth: int) -> dict[str, str]:
    return {
        "array": "[" * depth + "]" * depth,
        "object": '{"answer":' * depth + "1" + "}" * depth,
        "mixed": '{"answer": [' * (depth // 2) + "]}" * (depth // 2),
        "report": '{"confidence":' * depth + "1" + "}" * depth,
        "torn": "[" * depth,
        "fenced": "```json\n" + '{"a":' * depth + "1" + "}" * depth + "\n```",
    }


@pytest.mark.parametrize("depth", [300, 900, 1_000, DEEP])
@pytest.mark.parametrize("form", [*nested(1)])
def test_no_depth_of_an_answer_is_too_much(form: str, depth: int) -> None:
    from pydantic import BaseModel

    class Score(BaseModel):
        score: int

    text = nested(depth)[form]
    reply = Reply(text, tool_calls=({"function": {"name": "f", "arguments": text}},))
    estimator = CombinedConfidence(
        AgreementConfidence("m"), JudgeConfidence("m"), default_estimator(asked=True)
    )
    recursive = {"$ref": "#/$defs/x", "$defs": {"x": {"items": {"$ref": "#/$defs/x"}, "uniqueItems": True}}}
    formats = [None, {"type": "json_object"}, Score]
    for task in [*map(with_format, formats), with_schema(recursive)]:
        for answer in (reply, Reply(text)):
            replies = tuple(answer for _ in estimator.probes(task, answer))
            value = estimator.estimate(task, answer, replies).value
            assert value is None or 0.0 <= value <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("form", [*nested(1)])
def test_what_can_just_be_read_can_be_compared_or_is_unknown(form: str) -> None:
    """Somewhere among these depths lies one that can be parsed but not written back."""
    for depth in range(100, 1_100):
        text = nested(depth)[form]
        called = called_tools(({"function": {"name": "f", "arguments": text}},))
        for found in (extract_answer(text), called):
            assert found is None or found.agrees(found) is True


def test_a_judge_is_asked_about_deep_content_without_its_depth() -> None:
    deep: list[object] = []
    for _ in range(DEEP):
        deep = [deep]
    messages = (
        {"role": "user", "content": ({"type": "text", "text": "Rate it"}, {"type": "image_url", "x": deep})},
        {"role": "user", "content": deep},
    )
    (probe,) = JudgeConfidence("m").probes(Task(messages), Reply("Oslo"))
    assert "Rate it [image_url]" in str(probe.messages[1]["content"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"confidence": "87％"}', 0.87),
        ('{"confidence": "０.９"}', 0.9),
        ("Oslo\nconfidence: ０．８", 0.8),
        ("Oslo\nconfidence：0.8", 0.8),
        ("Oslo\nconfidence: ８０％", 0.8),
        ("Oslo\nconfidence: ٠.٨", 0.8),
        ("Oslo\nconfidence: ..", None),
        ("Oslo\nconfidence: ②", None),
        ('{"confidence": "0_1"}', None),
        ('{"confidence": "½"}', None),
        ('{"confidence": "八"}', None),
    ],
)
def test_digits_of_other_scripts_are_read_or_left(text: str, value: float | None) -> None:
    found = ReportedConfidence().estimate(TASK, Reply(text))
    assert (found.value, found.source) == (value, "reported")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("答案：４２", "42"),
        ("４２", "42"),
        ("٤٢", "42"),
        ("１，２３４．５", "1234.5"),
        ('{"answer": "７"}', "7"),
        ("３／４", "0.75"),
        ("１．２３４，５", "1234.5"),
        ("४२", "42"),
    ],
)
def test_numbers_in_other_digits_are_the_same_numbers(text: str, value: str) -> None:
    found = extract_answer(text)
    assert found is not None
    assert (found.kind, found.value) == ("number", value)


def test_odd_tool_calls_are_no_crash() -> None:
    odd = ({"function": "f"}, {"function": {"name": 1, "arguments": object()}}, {})
    for call in odd:
        answer = Reply("", tool_calls=(call,))  # type: ignore[arg-type]
        estimator = CombinedConfidence(AgreementConfidence("m"), TextConfidence())
        replies = tuple(answer for _ in estimator.probes(TASK, answer))
        assert estimator.estimate(TASK, answer, replies).value in (None, 1.0)
