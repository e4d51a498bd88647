"""The executor with scripted models: what a template means, and how a violated schema is repaired."""

import asyncio
import json

import pytest
from pydantic import BaseModel
from replaced_system import ANSWER_KEYS

from smartroute import (
    AllModelsFailedError,
    Catalog,
    ConfigError,
    ModelCard,
    ModelRouter,
    Price,
    TaskComplexity,
    TaskError,
)
from smartroute.integration import SmartSingleModelExecutor
from smartroute.records import Task
from smartroute.testing import CapturingSink, ScriptedProvider, reply

CATALOG = Catalog.of(
    [
        ModelCard("mini", tier="mini", target="x/mini", price=Price(1.0, 2.0), abilities={"json_schema"}),
        ModelCard("top", tier="premium", target="x/top", price=Price(5.0, 10.0), abilities={"json_schema"}),
    ]
)
SHAPE = {
    "type": "json_schema",
    "json_schema": {
        "name": "age",
        "schema": {
            "type": "object",
            "properties": {"age": {"type": "integer"}},
            "required": ["age"],
            "additionalProperties": False,
        },
    },
}


class Age(BaseModel):
    age: int


def executor_of(script, **settings):
    return SmartSingleModelExecutor(
        catalog=CATALOG, provider=ScriptedProvider(script), sink=CapturingSink(), **settings
    )


def purposes(executor):
    (event,) = executor.router.config.sink.captured
    return [(attempt["model"], attempt["purpose"]) for attempt in event.attempts]


@pytest.mark.parametrize("shape", [SHAPE, Age])
def test_a_violated_schema_is_repaired_by_its_own_model(shape):
    executor = executor_of({"mini": ['{"age": "forty"}', '{"age": 40}']})
    found = executor.execute_sync("How old?", "extract", response_format=shape)
    assert json.loads(found["result"]) == {"age": 40}
    assert (found["model_used"], found["escalated"]) == ("mini", False)
    assert purposes(executor) == [("mini", "answer"), ("mini", "repair")]
    # Two calls of 10 input tokens at $1 and 5 output tokens at $2 per million.
    assert found["cost"] == pytest.approx(2 * (10 * 1.0 + 5 * 2.0) / 1e6)


def test_the_model_sees_what_was_wrong_and_its_own_answer():
    executor = executor_of({"mini": ["not JSON", '{"age": 40}']})
    executor.execute_sync("How old?", "extract", response_format=SHAPE)
    asked, repaired = executor.router.provider.calls
    assert repaired.messages[: len(asked.messages)] == asked.messages
    assert repaired.messages[-2] == {"role": "assistant", "content": "not JSON"}
    assert "is not the JSON that was asked for" in repaired.messages[-1]["content"]


def test_there_is_one_repair_and_then_the_next_rung():
    executor = executor_of({"mini": ["no", "no again"], "top": ['{"age": 40}']})
    found = executor.execute_sync("How old?", "extract", response_format=SHAPE)
    assert json.loads(found["result"]) == {"age": 40}
    assert found["escalated"] is True
    assert purposes(executor) == [("mini", "answer"), ("mini", "repair"), ("top", "answer")]


def test_an_answer_cut_short_is_not_repaired_but_asked_of_the_next_rung():
    cut = reply('{"age": 4', finish_reason="length")
    executor = executor_of({"mini": [cut], "top": ['{"age": 40}']})
    executor.execute_sync("How old?", "extract", response_format=SHAPE)
    assert purposes(executor) == [("mini", "answer"), ("top", "answer")]


def test_nothing_is_repaired_without_a_format_or_with_a_valid_answer():
    executor = executor_of({"mini": ["forty"]})
    executor.execute_sync("How old?", "extract")
    assert purposes(executor) == [("mini", "answer")]
    executor = executor_of({"mini": ['{"age": 40}']})
    executor.execute_sync("How old?", "extract", response_format=SHAPE)
    assert purposes(executor) == [("mini", "answer")]


def test_a_repair_that_fails_is_in_the_ledger_and_the_next_rung_answers():
    from smartroute.errors import InvalidRequestError

    executor = executor_of({"mini": ["no", InvalidRequestError("400")], "top": ['{"age": 40}']})
    executor.execute_sync("How old?", "extract", response_format=SHAPE)
    assert purposes(executor) == [("mini", "answer"), ("mini", "repair"), ("top", "answer")]


def test_a_router_repairs_when_it_is_asked_to():
    for repair, calls in ((True, 2), (False, 2)):
        provider = ScriptedProvider({"mini": ["no", '{"age": 40}'], "top": ['{"age": 41}']})
        router = ModelRouter(catalog=CATALOG, provider=provider, sink=False)
        outcome = router.run("How old?", kind="extract", response_format=SHAPE, repair=repair)
        assert outcome.parsed == {"age": 40 if repair else 41}
        assert len(provider.calls) == calls


@pytest.mark.parametrize("shape", [{"type": "json_object"}, SHAPE])
@pytest.mark.parametrize(
    "fenced",
    [
        '```json\n{"age": 40}\n```',
        '```\n{"age": 40}```',
        '```json {"age": 40}```',
        '```JSON{"age": 40}\n```',
        '```{"age": 40}```',
    ],
)
def test_a_fence_around_the_json_is_removed_and_costs_no_second_call(shape, fenced):
    executor = executor_of({"mini": [fenced]})
    assert executor.execute_sync("How old?", response_format=shape)["result"] == '{"age": 40}'
    assert purposes(executor) == [("mini", "answer")]


def test_a_router_removes_the_fence_too_and_only_where_json_was_asked_for():
    fenced = '```json\n{"age": 40}\n```'
    router = ModelRouter(catalog=CATALOG, provider=ScriptedProvider(lambda call: fenced), sink=False)
    outcome = router.run("How old?", kind="extract", response_format={"type": "json_object"})
    assert (outcome.text, outcome.parsed, outcome.escalated) == ('{"age": 40}', {"age": 40}, False)
    assert router.run("How old?", kind="extract").text == fenced
    assert router.run("How old?", kind="extract", response_format={"type": "text"}).text == fenced


@pytest.mark.parametrize(
    ("template", "text", "prompt"),
    [
        (None, "{text} {x}", "{text} {x}"),
        ("Judge: {text}", "a {b} {text} c", "Judge: a {b} {text} c"),
        ("{text.__class__} {0} {text} {{x}}", "hi", "{text.__class__} {0} hi {{x}}"),
        ("{text}{text}", "ab", "abab"),
        ('{"a": {text}}', '{"b": 1}', '{"a": {"b": 1}}'),
    ],
)
def test_only_the_placeholder_of_a_template_is_replaced(template, text, prompt):
    executor = executor_of(lambda call: "ok")
    found = executor.execute_sync(text, prompt_template=template)
    assert set(found) == ANSWER_KEYS
    assert executor.router.provider.calls[0].messages[0]["content"] == prompt


@pytest.mark.parametrize("template", ["no place", "", 7, "{ text }"])
def test_a_template_without_its_placeholder_is_refused(template):
    with pytest.raises(TaskError, match="prompt_template"):
        executor_of(lambda call: "ok").execute_sync("hi", prompt_template=template)


@pytest.mark.parametrize("hint", [TaskComplexity.COMPLEX, "complex", "COMPLEX "])
def test_a_hint_wins_over_the_routers_judgment(hint):
    found = executor_of(lambda call: "ok").execute_sync("hi", complexity_hint=hint)
    assert (found["complexity"], found["model_used"]) == ("complex", "top")


def test_an_invalid_hint_is_named():
    with pytest.raises(TaskError, match="hard"):
        executor_of(lambda call: "ok").execute_sync("hi", complexity_hint="hard")


def test_only_the_text_is_classified_and_not_its_template():
    executor = executor_of(lambda call: "ok")
    found = executor.execute_sync("hi", "score", prompt_template="Rules. " * 500 + "{text}")
    assert found["complexity"] == "simple"


def test_both_faces_give_the_same_and_the_sync_one_works_inside_a_loop():
    async def main():
        awaited = await executor_of(lambda call: "ok").execute("hi")
        blocking = executor_of(lambda call: "ok").execute_sync("hi")
        return awaited, blocking

    awaited, blocking = asyncio.run(main())
    same = ANSWER_KEYS - {"execution_time", "timestamp"}
    assert {key: awaited[key] for key in same} == {key: blocking[key] for key in same}


def test_the_user_reaches_the_log_and_parameters_the_provider():
    executor = executor_of(lambda call: "ok")
    executor.execute_sync("hi", user_id=7, temperature=0.5)
    assert executor.router.config.sink.captured[0].unit == "7"
    assert executor.router.provider.calls[0].params["temperature"] == 0.5


def test_an_empty_user_id_is_no_unit():
    executor = executor_of(lambda call: "ok")
    executor.execute_sync("hi", user_id="")
    assert executor.router.config.sink.captured[0].unit is None


def test_a_failed_call_is_an_error_and_never_a_result():
    def fail(call):
        raise ConnectionError

    with pytest.raises(AllModelsFailedError):
        executor_of(fail).execute_sync("hi")


def test_a_router_and_its_settings_exclude_each_other():
    with pytest.raises(ConfigError, match="not both"):
        SmartSingleModelExecutor(ModelRouter(sink=False), sink=False)


def test_a_given_router_is_not_closed_by_the_executor():
    router = ModelRouter(catalog=CATALOG, provider=ScriptedProvider(lambda call: "ok"), sink=False)
    with SmartSingleModelExecutor(router) as executor:
        assert executor.execute_sync("hi")["result"] == "ok"
    assert executor.router is router


def test_a_task_holds_whether_to_repair():
    assert Task.of("hi").repair is False
    assert Task.of("hi", repair=True).repair is True
