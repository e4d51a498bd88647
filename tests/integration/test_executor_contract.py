"""Hold the executor to what its callers rely on, over real HTTP on loopback.

Prices are round numbers in USD per million tokens, so that each cost can be checked by hand.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from council_servers import Answer, Panel, texts_by_role
from pydantic import BaseModel
from replaced_system import ANSWER_KEYS

from smartroute import AllModelsFailedError, Catalog, ModelCard, Price, SmartRouteError, TaskComplexity
from smartroute.routing.retries import RetryPolicy
from smartroute.routing.strategies import FixedLadder
from smartroute.testing import CapturingSink, FrozenClock

pytestmark = pytest.mark.wire

ABILITIES = ("json_schema", "tools")
CATALOG = Catalog.of(
    [
        ModelCard(
            "gpt-4o-mini", "openai/gpt-4o-mini", tier="mini", price=Price(1.0, 4.0), abilities=ABILITIES
        ),
        ModelCard(
            "claude-haiku-4-5",
            "anthropic/claude-haiku-4-5",
            tier="standard",
            price=Price(2.0, 10.0),
            abilities=ABILITIES,
        ),
        ModelCard(
            "gemini-2.5-flash",
            "gemini/gemini-2.5-flash",
            tier="premium",
            price=Price(5.0, 20.0),
            abilities=ABILITIES,
        ),
    ],
    as_of="2026-11-01",
)


class Mood(BaseModel):
    """What a text feels like."""

    mood: str
    strength: int


SCHEMA = {
    "type": "object",
    "properties": {"mood": {"type": "string"}, "strength": {"type": "integer"}},
    "required": ["mood", "strength"],
    "additionalProperties": False,
}
FORMATS = [
    {"type": "json_schema", "json_schema": {"name": "mood", "schema": SCHEMA, "strict": True}},
    Mood,
]
GOOD = '{"mood": "glad", "strength": 3}'
Build = Callable[..., Any]


@pytest.fixture
def desk() -> None:
    """The executor's providers answer from a queue."""
    return


@pytest.fixture
def build(panel: Panel, sink: CapturingSink, runner: asyncio.Runner) -> Iterator[Build]:
    """Return a function that builds an executor over the three servers."""
    from smartroute.integration import SmartSingleModelExecutor

    built: list[Any] = []

    def build(**settings: Any) -> Any:
        settings = {"catalog": CATALOG, "sink": sink, "retry": RetryPolicy(calls=1)} | settings
        built.append(SmartSingleModelExecutor(**settings))
        return built[-1]

    yield build
    for executor in built:
        runner.run(executor.aclose())


@pytest.fixture
def execute(build: Build, runner: asyncio.Runner) -> Callable[..., dict[str, Any]]:
    """Call `execute`."""
    return lambda *args, **named: runner.run(build().execute(*args, **named))


@pytest.fixture
def climb(build: Build, runner: asyncio.Runner) -> Callable[..., dict[str, Any]]:
    """Call `execute` of an executor that asks gpt-4o-mini first and claude-haiku-4-5 next."""
    executor = build(strategy=FixedLadder("gpt-4o-mini", "claude-haiku-4-5"))
    return lambda *args, **named: runner.run(executor.execute(*args, **named))


def asked(panel: Panel) -> list[str]:
    """Return the models in the order in which they were asked."""
    return [request.model for _, request in panel.received]


def prompts(panel: Panel) -> list[str]:
    """Return what the user says in each request."""
    return [texts_by_role(dialect, request.body)["user"] for dialect, request in panel.received]


def test_an_answer_has_the_keys_and_types_that_callers_read(execute, panel):
    panel.openai.script(Answer("Paris", input_tokens=1000, output_tokens=100))
    result = execute("What is the capital of France?")
    assert set(result) == ANSWER_KEYS
    assert result["result"] == "Paris"
    assert result["confidence"] is None or 0 <= result["confidence"] <= 1
    assert result["model_used"] == "gpt-4o-mini"
    assert result["complexity"] in ("simple", "medium", "complex")
    assert type(result["complexity"]) is str
    # 1000 tokens at 1 USD per million, 100 at 4
    assert result["cost"] == pytest.approx(0.0014)
    assert result["escalated"] is False
    assert type(result["execution_time"]) is float
    assert result["execution_time"] > 0
    json.dumps(result, allow_nan=False)


def test_the_timestamp_is_iso_8601_and_of_now(build, panel, runner):
    result = runner.run(build(clock=FrozenClock()).execute("hi"))
    stamped = datetime.fromisoformat(result["timestamp"])
    stamped = stamped if stamped.tzinfo else stamped.replace(tzinfo=UTC)
    assert stamped.timestamp() == pytest.approx(1_800_000_000, abs=5)


def test_the_text_alone_is_the_prompt(execute, panel):
    text = "Sum up: {a} {text} {} {0} %s\n{'b': 1}"
    execute(text)
    assert prompts(panel) == [text]


@pytest.mark.parametrize(
    ("template", "text", "prompt"),
    [
        ("Sum up: {text}", "a story", "Sum up: a story"),
        ("{text} / {text}", "twice", "twice / twice"),
        ('Return {"score": 1} for {text}', "this", 'Return {"score": 1} for this'),
        ("{text.__class__} {text}", "x", "{text.__class__} x"),
        ("{text!r} {text:>10} {text[0]} {text}", "x", "{text!r} {text:>10} {text[0]} x"),
        ("{} {0} {other} { } }{ {text}", "x", "{} {0} {other} { } }{ x"),
        ("{{text}}", "x", "{x}"),
        ("%s %(text)s $text ${text}", "x", "%s %(text)s $text $x"),
        ("{text}", "{text} {other} {0} {", "{text} {other} {0} {"),
        ("<{text}|{text}>", "a{text}b", "<a{text}b|a{text}b>"),
        ("Say: {text}", r"back\slash \1 \g<0> $1", r"Say: back\slash \1 \g<0> $1"),
    ],
)
def test_a_template_has_one_placeholder_and_other_braces_are_left_alone(
    execute, panel, template, text, prompt
):
    execute(text, prompt_template=template)
    assert prompts(panel) == [prompt]


def test_a_template_without_its_placeholder_never_loses_the_text(execute, panel):
    try:
        execute("the text of 4711", prompt_template="Sum this up.")
    except (SmartRouteError, ValueError) as error:
        assert "{text}" in str(error)
        assert panel.received == []
    else:
        assert "the text of 4711" in prompts(panel)[0]


@pytest.mark.parametrize("response_format", FORMATS, ids=["dict", "pydantic"])
def test_with_a_response_format_the_result_is_the_text_of_the_json(climb, panel, response_format):
    panel.openai.script(Answer(GOOD, input_tokens=1000, output_tokens=100))
    result = climb("What a day!", response_format=response_format)
    assert set(result) == ANSWER_KEYS
    assert result["result"] == GOOD
    assert json.loads(result["result"]) == {"mood": "glad", "strength": 3}
    assert result["cost"] == pytest.approx(0.0014)
    ((_, request),) = panel.received
    sent = request.body["response_format"]
    assert sent["type"] == "json_schema"
    assert set(sent["json_schema"]["schema"]["properties"]) == {"mood", "strength"}


def test_with_json_object_the_result_is_the_text_of_the_json(climb, panel):
    panel.openai.script('{"anything": [1, 2]}')
    result = climb("Give me JSON.", response_format={"type": "json_object"})
    assert result["result"] == '{"anything": [1, 2]}'
    assert panel.received[0][1].body["response_format"] == {"type": "json_object"}


INVALID = [
    "I feel glad.",
    '{"mood": "glad"}',
    '{"mood": 3, "strength": "much"}',
    '{"mood": "glad", "stren',
    "[]",
]


@pytest.mark.parametrize("response_format", FORMATS, ids=["dict", "pydantic"])
@pytest.mark.parametrize("invalid", INVALID)
def test_invalid_json_is_repaired_once_by_the_same_model(climb, panel, sink, invalid, response_format):
    panel.openai.script(
        Answer(invalid, input_tokens=1000, output_tokens=100),
        Answer(GOOD, input_tokens=2000, output_tokens=50),
    )
    result = climb("What a day!", response_format=response_format)
    assert asked(panel) == ["gpt-4o-mini", "gpt-4o-mini"]
    assert result["result"] == GOOD
    assert result["model_used"] == "gpt-4o-mini"
    assert result["escalated"] is False
    # 0.001 + 0.0004, and 0.002 + 0.0002
    assert result["cost"] == pytest.approx(0.0036)
    (event,) = sink.captured
    assert [attempt["purpose"] for attempt in event.attempts] == ["answer", "repair"]


def test_the_repair_request_shows_the_answer_and_the_question(climb, panel):
    panel.openai.script("I feel glad 4711.", GOOD)
    climb("What a day 1147!", response_format=FORMATS[0])
    first, repair = (json.dumps(request.body) for _, request in panel.received)
    assert first != repair
    assert "I feel glad 4711." in repair
    assert "strength" in repair


@pytest.mark.parametrize("response_format", FORMATS, ids=["dict", "pydantic"])
def test_an_answer_that_could_not_be_repaired_goes_to_the_next_model(climb, panel, sink, response_format):
    panel.openai.script(
        Answer("no JSON", input_tokens=1000, output_tokens=100),
        Answer('{"mood": 1}', input_tokens=2000, output_tokens=50),
    )
    panel.anthropic.script(Answer(GOOD, input_tokens=500, output_tokens=20))
    result = climb("What a day!", response_format=response_format)
    assert asked(panel) == ["gpt-4o-mini", "gpt-4o-mini", "claude-haiku-4-5"]
    assert result["result"] == GOOD
    assert result["model_used"] == "claude-haiku-4-5"
    assert result["escalated"] is True
    # 0.0014 and 0.0022 for what was thrown away, 0.001 + 0.0002 for what was kept
    assert result["cost"] == pytest.approx(0.0048)
    (event,) = sink.captured
    assert [(attempt["model"], attempt["purpose"]) for attempt in event.attempts] == [
        ("gpt-4o-mini", "answer"),
        ("gpt-4o-mini", "repair"),
        ("claude-haiku-4-5", "answer"),
    ]
    assert event.cost_usd == pytest.approx(0.0048)


def test_a_model_that_fails_hands_over_to_the_next_and_is_no_answer(climb, panel):
    panel.openai.script(Answer(status=500))
    panel.anthropic.script(Answer("Paris", input_tokens=1000, output_tokens=100))
    result = climb("What is the capital of France?")
    assert asked(panel) == ["gpt-4o-mini", "claude-haiku-4-5"]
    assert (result["result"], result["model_used"]) == ("Paris", "claude-haiku-4-5")
    # an HTTP error costs nothing; 0.002 + 0.001
    assert result["cost"] == pytest.approx(0.003)


def test_when_every_model_fails_there_is_an_error_and_no_text_that_looks_like_an_answer(climb, panel):
    panel.openai.script(Answer(status=500))
    panel.anthropic.script(Answer(status=500))
    with pytest.raises(AllModelsFailedError) as caught:
        climb("What is the capital of France?")
    assert [attempt.model for attempt in caught.value.attempts] == ["gpt-4o-mini", "claude-haiku-4-5"]


@pytest.mark.parametrize(
    ("hint", "complexity", "model"),
    [
        ("simple", "simple", "gpt-4o-mini"),
        (TaskComplexity.SIMPLE, "simple", "gpt-4o-mini"),
        ("medium", "medium", "claude-haiku-4-5"),
        (TaskComplexity.MEDIUM, "medium", "claude-haiku-4-5"),
        ("complex", "complex", "gemini-2.5-flash"),
        (TaskComplexity.COMPLEX, "complex", "gemini-2.5-flash"),
    ],
)
def test_a_complexity_hint_wins(execute, panel, hint, complexity, model):
    result = execute("x" * 1000, complexity_hint=hint)
    assert (result["complexity"], result["model_used"]) == (complexity, model)
    assert asked(panel) == [model]


@pytest.mark.parametrize("hint", ["huge", "", 3, ["complex"]])
def test_an_invalid_hint_is_refused_before_any_call(execute, panel, hint):
    with pytest.raises((SmartRouteError, ValueError, TypeError)) as caught:
        execute("hi", complexity_hint=hint)
    message = str(caught.value)
    assert all(word in message for word in ("simple", "medium", "complex"))
    assert repr(hint) in message or str(hint) in message
    assert panel.received == []


@pytest.mark.parametrize(
    ("text", "kind", "complexity"),
    [
        ("Rate this.", "score", "simple"),
        ("Rate this.", "extract", "simple"),
        ("Why do people buy?", "psychology", "complex"),
        ("Write a poem.", "creative", "complex"),
        ("x" * 2001, "general", "complex"),
        ("x" * 1000, "score", "medium"),
    ],
)
def test_the_type_and_the_length_of_the_text_decide(execute, text, kind, complexity):
    assert execute(text, kind)["complexity"] == complexity
    assert execute(text + "!", task_type=kind)["complexity"] == complexity


def test_the_length_that_counts_is_the_texts_and_not_the_templates(execute):
    result = execute("Rate this.", "score", "Rules: " + "be fair. " * 400 + "{text}")
    assert result["complexity"] == "simple"


def test_arguments_may_be_positional(climb, panel):
    panel.openai.script(GOOD)
    result = climb("glad", "score", "Mood of {text}?", FORMATS[0], "complex")
    assert prompts(panel) == ["Mood of glad?"]
    assert (result["result"], result["complexity"]) == (GOOD, "complex")


@pytest.mark.parametrize("text", [None, 7, b"bytes", {"text": "hi"}])
def test_an_invalid_text_is_refused_before_any_call(execute, panel, text):
    with pytest.raises((SmartRouteError, ValueError, TypeError), match="text"):
        execute(text)
    assert panel.received == []


def test_the_synchronous_twin_gives_the_same_answer(build, panel):
    panel.openai.script(Answer("Paris", input_tokens=1000, output_tokens=100))
    result = build().execute_sync("What is the capital of France?", "general", prompt_template="Q: {text}")
    assert set(result) == ANSWER_KEYS
    assert (result["result"], result["model_used"]) == ("Paris", "gpt-4o-mini")
    assert result["cost"] == pytest.approx(0.0014)
    assert prompts(panel) == ["Q: What is the capital of France?"]


def test_the_synchronous_twin_works_inside_a_running_loop(build, panel, runner):
    panel.openai.script("Paris", "Rome")
    executor = build()

    async def inside() -> list[str]:
        first = executor.execute_sync("What is the capital of France?")
        second = await executor.execute("What is the capital of Italy?")
        return [first["result"], second["result"]]

    assert runner.run(inside()) == ["Paris", "Rome"]


def test_the_synchronous_twin_works_in_threads_and_repairs(build, panel):
    executor = build(strategy=FixedLadder("gpt-4o-mini", "claude-haiku-4-5"))
    panel.openai.script(*["no JSON"] * 12)
    panel.anthropic.script(*[GOOD] * 6)
    results: list[dict[str, Any]] = []

    def work() -> None:
        results.append(executor.execute_sync("What a day!", response_format=Mood))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [result["result"] for result in results] == [GOOD] * 6
    assert asked(panel).count("gpt-4o-mini") == 12
    assert asked(panel).count("claude-haiku-4-5") == 6


def test_every_request_of_many_at_once_is_in_an_event(build, panel, sink, runner):
    executor = build()
    panel.openai.default = Answer("ok", input_tokens=1000, output_tokens=100)

    async def many() -> list[dict[str, Any]]:
        return await asyncio.gather(*(executor.execute(f"Question {n}?") for n in range(20)))

    results = runner.run(many())
    assert sum(result["cost"] for result in results) == pytest.approx(20 * 0.0014)
    assert len(sink.captured) == 20
    assert sum(len(event.attempts) for event in sink.captured) == len(panel.received) == 20


def test_the_ready_made_executor_is_one():
    from smartroute.integration import SmartSingleModelExecutor, smart_executor

    assert isinstance(smart_executor, SmartSingleModelExecutor)
    assert asyncio.iscoroutinefunction(smart_executor.execute)
