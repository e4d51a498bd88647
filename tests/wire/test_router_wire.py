"""The whole router over the real litellm and real HTTP. In every test the requests equal the ledger.

Prices are round numbers in USD per million tokens, so that each cost can be checked by hand.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from calls import WEATHER
from servers import (
    Answer,
    AnthropicServer,
    GeminiServer,
    OpenAIServer,
    ToolCall,
    WireServer,
    assert_ledger_matches,
    closed_port,
)

from smartroute import AllModelsFailedError, Catalog, ModelCard, ModelRouter, Outcome, Price, Usage
from smartroute.evaluation.replay import replay_task
from smartroute.providers.litellm import LiteLLMProvider
from smartroute.providers.recording import RecordingProvider, Transcript
from smartroute.routing.retries import RetryPolicy
from smartroute.routing.strategies import FixedLadder
from smartroute.testing import CapturingSink, FrozenClock

pytestmark = pytest.mark.wire

ALL = ("tools", "images", "json_schema")
CATALOG = Catalog.of(
    [
        ModelCard(
            "gpt-4o-mini",
            "openai/gpt-4o-mini",
            tier="mini",
            price=Price(1.0, 4.0, cached_input=0.5),
            abilities=(*ALL, "logprobs"),
        ),
        ModelCard(
            "claude-haiku-4-5",
            "anthropic/claude-haiku-4-5",
            tier="standard",
            price=Price(2.0, 10.0, cached_input=0.2, cache_write=2.5),
            abilities=ALL,
        ),
        ModelCard(
            "gemini-2.5-flash",
            "gemini/gemini-2.5-flash",
            tier="premium",
            price=Price(5.0, 20.0, cached_input=1.0, reasoning=30.0),
            abilities=ALL,
        ),
        ModelCard(
            "gpt-5.4",
            "openai/gpt-5.4",
            tier="premium",
            price=Price(10.0, 40.0, cached_input=1.0, cache_write=12.0),
            abilities=ALL,
            efforts=("low", "high"),
        ),
    ],
    as_of="2026-11-01",
)
LADDER = ("gpt-4o-mini", "claude-haiku-4-5", "gemini-2.5-flash")
USD_PER_TOKEN = 1e-6
OK = 10 * 1.0 * USD_PER_TOKEN + 5 * 4.0 * USD_PER_TOKEN
"""A default answer (10 tokens in, 5 out) of the first rung."""
OK_2 = 10 * 2.0 * USD_PER_TOKEN + 5 * 10.0 * USD_PER_TOKEN
"""The same of the second rung."""

SETTINGS = frozenset({"retry", "call_timeout_s", "accept_at", "escalate", "max_usd", "estimator", "catalog"})
Run = Callable[..., Outcome]


class Wire:
    """The three servers together."""

    def __init__(self, openai: OpenAIServer, anthropic: AnthropicServer, gemini: GeminiServer) -> None:
        self.openai, self.anthropic, self.gemini = openai, anthropic, gemini

    @property
    def servers(self) -> tuple[WireServer, ...]:
        return (self.openai, self.anthropic, self.gemini)

    @property
    def asked(self) -> list[str]:
        """Return the models in the order in which they were asked."""
        received = [r for server in self.servers for r in server.received]
        return [r.model for r in sorted(received, key=lambda r: r.arrival)]


@pytest.fixture
def wire(openai_server: OpenAIServer, anthropic_server: AnthropicServer, gemini_server: GeminiServer) -> Wire:
    return Wire(openai_server, anthropic_server, gemini_server)


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def sink() -> CapturingSink:
    return CapturingSink()


@pytest.fixture(params=["sync", "async"])
def run(
    request: pytest.FixtureRequest, runner: asyncio.Runner, clock: FrozenClock, sink: CapturingSink
) -> Iterator[Run]:
    """Run one task with a router of the given settings; waits pass at once."""
    routers: list[ModelRouter] = []

    def go(prompt: Any = "What is the capital of France?", **options: Any) -> Outcome:
        settings: dict[str, Any] = {
            "catalog": CATALOG,
            "strategy": FixedLadder(*options.pop("ladder", LADDER)),
            "clock": clock,
            "sink": sink,
            "seed": 1,
            "call_timeout_s": 20.0,
        }
        settings.update({name: options.pop(name) for name in SETTINGS & options.keys()})
        router = ModelRouter(**settings)
        routers.append(router)
        if request.param == "sync":
            return router.run(prompt, **options)
        return runner.run(router.arun(prompt, **options))

    yield go
    for router in routers:
        router.close()


def kinds(outcome: Outcome) -> list[str | None]:
    return [None if a.failure is None else a.failure.kind for a in outcome.attempts]


def costs(outcome: Outcome) -> list[float | None]:
    return [None if a.cost_usd is None else round(a.cost_usd, 12) for a in outcome.attempts]


def test_an_answer_is_routed_and_billed(wire: Wire, run: Run, sink: CapturingSink) -> None:
    wire.openai.script(Answer("Paris", input_tokens=1_000, output_tokens=200))
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    assert (outcome.text, outcome.model, outcome.escalated) == ("Paris", "gpt-4o-mini", False)
    # 1000 * $1 + 200 * $4, per million
    assert outcome.cost_usd == pytest.approx(0.0018, abs=1e-12)
    assert outcome.raw["choices"][0]["message"]["content"] == "Paris"
    assert len(sink.captured) == 1


def test_cached_tokens_are_billed_at_their_own_rate(wire: Wire, run: Run) -> None:
    wire.openai.script(Answer("Paris", input_tokens=1_000, output_tokens=200, cached_tokens=600))
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    # 400 * $1 + 600 * $0.5 + 200 * $4, per million
    assert outcome.cost_usd == pytest.approx(0.0015, abs=1e-12)


def test_cache_writes_are_billed_at_their_own_rate(wire: Wire, run: Run) -> None:
    wire.anthropic.script(
        Answer("Paris", input_tokens=1_000, output_tokens=100, cached_tokens=300, cache_write_tokens=500)
    )
    outcome = run(ladder=["claude-haiku-4-5"])
    assert_ledger_matches(wire.servers, outcome)
    # 200 * $2 + 300 * $0.2 + 500 * $2.5 + 100 * $10, per million
    assert outcome.cost_usd == pytest.approx(0.00271, abs=1e-12)


def test_reasoning_is_billed_at_its_own_rate(wire: Wire, run: Run) -> None:
    wire.gemini.script(
        Answer("Paris", input_tokens=1_000, output_tokens=500, cached_tokens=100, reasoning_tokens=400)
    )
    outcome = run(ladder=["gemini-2.5-flash"])
    assert_ledger_matches(wire.servers, outcome)
    # 900 * $5 + 100 * $1 + 100 * $20 + 400 * $30, per million
    assert outcome.cost_usd == pytest.approx(0.0186, abs=1e-12)


def test_the_responses_bridge_is_billed_like_the_rest(wire: Wire, run: Run) -> None:
    wire.openai.script(
        Answer(
            text=None,
            finish="tools",
            tool_calls=(ToolCall("weather", {"city": "Oslo"}),),
            input_tokens=1_000,
            output_tokens=300,
            cached_tokens=200,
            cache_write_tokens=100,
            reasoning_tokens=250,
        )
    )
    outcome = run("Weather in Oslo?", ladder=[("gpt-5.4", "low")], tools=[WEATHER])
    assert wire.openai.received[0].path == "/v1/responses"
    assert_ledger_matches(wire.servers, outcome)
    assert outcome.raw["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "weather"
    # 700 * $10 + 200 * $1 + 100 * $12 + 300 * $40, per million
    assert outcome.cost_usd == pytest.approx(0.0204, abs=1e-12)


def test_logprobs_are_asked_for_and_make_the_confidence(wire: Wire, run: Run) -> None:
    sure = (("Pa", math.log(0.96)), ("ris", math.log(0.98)))
    wire.openai.script(Answer("Paris", logprobs=sure))
    outcome = run()
    assert wire.openai.received[0].body["logprobs"] is True
    assert_ledger_matches(wire.servers, outcome)
    assert outcome.model == "gpt-4o-mini"
    assert outcome.confidence is not None
    assert outcome.confidence >= 0.7
    assert "logprob" in outcome.confidence_source


def test_an_unsure_answer_is_paid_for_and_climbs(wire: Wire, run: Run) -> None:
    unsure = (("Ly", math.log(0.2)), ("on", math.log(0.2)), ("?", math.log(0.2)))
    wire.openai.script(Answer("Lyon?", logprobs=unsure))
    wire.anthropic.script(Answer("Paris"))
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    assert (outcome.text, outcome.model, outcome.escalated) == ("Paris", "claude-haiku-4-5", True)
    first = outcome.attempts[0]
    assert first.confidence is not None
    assert first.confidence < 0.7
    assert costs(outcome) == [pytest.approx(OK), pytest.approx(OK_2)]
    assert outcome.cost_usd == pytest.approx(OK + OK_2)


def test_a_rate_limit_is_waited_out_on_the_same_rung(wire: Wire, run: Run, clock: FrozenClock) -> None:
    wire.openai.script(Answer(status=429, headers={"Retry-After": "7"}), Answer("Paris"))
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    assert kinds(outcome) == ["rate_limit", None]
    assert costs(outcome) == [0.0, pytest.approx(OK)]
    assert [a.number for a in outcome.attempts] == [1, 2]
    assert outcome.attempts[0].failure is not None
    assert outcome.attempts[0].failure.retry_after_s == 7.0
    assert len(clock.slept) == 1
    assert clock.slept[0] >= 7.0


def test_server_errors_are_retried_and_then_the_next_rung_answers(wire: Wire, run: Run) -> None:
    wire.openai.default = Answer(status=500)
    wire.anthropic.script(Answer("Paris"))
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    assert wire.asked == ["gpt-4o-mini"] * 3 + ["claude-haiku-4-5"]
    assert kinds(outcome) == ["unavailable"] * 3 + [None]
    assert outcome.cost_usd == pytest.approx(OK_2)
    assert outcome.unpriced_attempts == 0


def test_a_used_up_quota_goes_to_the_next_rung_at_once(wire: Wire, run: Run, clock: FrozenClock) -> None:
    wire.openai.script(Answer(status=429, error="no quota", error_code="insufficient_quota"))
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    assert kinds(outcome) == ["quota_exhausted", None]
    assert clock.slept == []


def test_a_refused_connection_is_a_free_attempt(
    wire: Wire, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_BASE", f"http://127.0.0.1:{closed_port()}/v1")
    outcome = run(retry=RetryPolicy(calls=1))
    assert_ledger_matches(wire.servers, outcome, unsent=[0])
    assert wire.openai.received == []
    assert kinds(outcome) == ["unavailable", None]
    assert costs(outcome)[0] == 0.0
    assert outcome.model == "claude-haiku-4-5"


def test_a_timeout_costs_nobody_knows_what(wire: Wire, run: Run) -> None:
    wire.openai.script(Answer(delay_s=30.0))
    outcome = run(call_timeout_s=0.3, retry=RetryPolicy(calls=1))
    assert_ledger_matches(wire.servers, outcome)
    assert kinds(outcome) == ["timeout", None]
    assert costs(outcome) == [None, pytest.approx(OK_2)]
    assert outcome.unpriced_attempts == 1


def test_a_broken_connection_costs_nobody_knows_what(wire: Wire, run: Run) -> None:
    wire.openai.script(Answer(drop="mid_body"))
    outcome = run(retry=RetryPolicy(calls=1))
    assert_ledger_matches(wire.servers, outcome)
    assert kinds(outcome) == ["unavailable", None]
    assert costs(outcome)[0] is None


def test_malformed_json_goes_to_the_next_rung(wire: Wire, run: Run) -> None:
    wire.openai.script(Answer(raw=b'{"choices": [{'))
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    assert kinds(outcome) == ["malformed", None]
    assert costs(outcome)[0] is None


def test_an_answer_without_a_choice_is_paid_for(wire: Wire, run: Run) -> None:
    wire.gemini.script(Answer(choices=False, input_tokens=100, output_tokens=0))
    outcome = run(ladder=["gemini-2.5-flash", "claude-haiku-4-5"])
    assert_ledger_matches(wire.servers, outcome)
    assert kinds(outcome) == ["malformed", None]
    # 100 * $5, per million
    assert costs(outcome) == [pytest.approx(0.0005), pytest.approx(OK_2)]


def test_an_empty_answer_is_paid_for_and_goes_to_the_next_rung(wire: Wire, run: Run) -> None:
    wire.openai.script(Answer(text=None))
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    assert kinds(outcome) == ["empty", None]
    assert costs(outcome) == [pytest.approx(OK), pytest.approx(OK_2)]


def test_a_truncated_answer_climbs(wire: Wire, run: Run) -> None:
    wire.openai.script(Answer("The capital of France is the city of", finish="length"))
    wire.anthropic.script(Answer("Paris"))
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    assert outcome.attempts[0].finish_reason == "length"
    assert (outcome.text, outcome.escalated) == ("Paris", True)


@pytest.mark.parametrize(
    "refusal",
    [
        Answer("I'm sorry, but I can't help with that."),
        Answer(text=None, refusal="I'm sorry, but I can't assist with that request."),
    ],
    ids=["text", "refusal_field"],
)
def test_a_refusal_climbs(wire: Wire, run: Run, refusal: Answer) -> None:
    wire.openai.script(refusal)
    wire.anthropic.script(Answer("Paris"))
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    assert (outcome.text, outcome.escalated) == ("Paris", True)
    assert outcome.cost_usd == pytest.approx(OK + OK_2)


def test_a_filtered_answer_is_paid_for_and_goes_to_the_next_rung(wire: Wire, run: Run) -> None:
    wire.openai.script(Answer("Par", finish="filter"))
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    assert kinds(outcome) == ["refused", None]
    assert costs(outcome) == [pytest.approx(OK), pytest.approx(OK_2)]


def test_a_prompt_too_long_for_one_window_goes_to_the_next_rung(wire: Wire, run: Run) -> None:
    wire.openai.script(
        Answer(
            status=400,
            error="This model's maximum context length is 8192 tokens.",
            error_type="invalid_request_error",
            error_code="context_length_exceeded",
        )
    )
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    assert kinds(outcome) == ["context_too_long", None]
    assert costs(outcome) == [0.0, pytest.approx(OK_2)]


def test_a_parameter_that_one_model_refuses_goes_to_the_next_rung(wire: Wire, run: Run) -> None:
    wire.openai.script(
        Answer(
            status=400,
            error="Unsupported parameter: 'temperature' is not supported with this model.",
            error_type="invalid_request_error",
            error_code="unsupported_parameter",
        )
    )
    outcome = run(temperature=0.5)
    assert_ledger_matches(wire.servers, outcome)
    assert kinds(outcome) == ["invalid_request", None]
    assert wire.anthropic.received[0].body["temperature"] == 0.5


def test_a_wrong_key_goes_to_the_next_rung(wire: Wire, run: Run) -> None:
    wire.openai.script(Answer(status=401, error="Incorrect API key provided"))
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    assert kinds(outcome) == ["authentication", None]
    assert wire.openai.key not in repr(outcome)


def test_when_every_rung_fails_the_error_holds_the_whole_ledger(
    wire: Wire, run: Run, sink: CapturingSink
) -> None:
    wire.openai.script(Answer(status=400, error="no"))
    wire.anthropic.script(Answer(raw=b"<html>"))
    wire.gemini.default = Answer(status=503, headers={"Retry-After": "1"})
    with pytest.raises(AllModelsFailedError) as caught:
        run()
    attempts = caught.value.attempts
    assert [a.model for a in attempts] == wire.asked == [*LADDER[:2], *[LADDER[2]] * 3]
    assert [a.failure.kind for a in attempts if a.failure] == [
        "invalid_request",
        "malformed",
        *["unavailable"] * 3,
    ]
    assert_ledger_matches(wire.servers, attempts)
    assert len(sink.captured) == 1


def test_a_model_that_litellm_comes_to_think_free_stays_of_unknown_cost(wire: Wire, run: Run) -> None:
    import litellm

    target = "openai/nobody-knows-this-model"
    litellm.Router(
        model_list=[
            {"model_name": "x", "litellm_params": {"model": target, "api_key": "k", "api_base": "http://x"}}
        ]
    )
    try:
        completion = litellm.completion(model=target, messages=[{"role": "user", "content": "hi"}])
        assert litellm.completion_cost(completion) == 0.0
        wire.openai.received.clear()
        catalog = CATALOG.with_cards(ModelCard("dark", target))
        outcome = run(ladder=["dark"], catalog=catalog)
    finally:
        litellm.model_cost.pop(target, None)
    assert_ledger_matches(wire.servers, outcome, targets={"dark": "nobody-knows-this-model"})
    assert costs(outcome) == [None]
    assert outcome.bill == "at least $0.000000 (1 attempt of unknown cost)"


def test_a_recorded_task_replays_to_the_same_outcome(wire: Wire, clock: FrozenClock, tmp_path: Path) -> None:
    wire.openai.script(
        Answer(status=429, headers={"Retry-After": "7"}),
        Answer("Lyon?", logprobs=(("Lyon", math.log(0.2)), ("?", math.log(0.2)))),
    )
    wire.anthropic.script(Answer("Paris", cached_tokens=4))
    path = tmp_path / "calls.jsonl"
    router = ModelRouter(
        catalog=CATALOG,
        strategy=FixedLadder(*LADDER),
        provider=RecordingProvider(LiteLLMProvider(), path),
        clock=clock,
        sink=CapturingSink(),
        seed=1,
    )
    task = router.task("What is the capital of France?")
    live = router.run_task(task)
    assert_ledger_matches(wire.servers, live)
    replayed = replay_task(router, task, Transcript.load(path).lookup)
    assert len(wire.asked) == 3

    def timeless(outcome: Outcome) -> Outcome:
        attempts = tuple(replace(a, started_at=0.0, latency_s=0.0) for a in outcome.attempts)
        return replace(outcome, id="", started_at=0.0, latency_s=0.0, attempts=attempts)

    assert kinds(live) == ["rate_limit", None, None]
    assert timeless(replayed) == timeless(live)


def test_the_ledger_check_catches_a_ledger_that_lies(wire: Wire, run: Run) -> None:
    wire.openai.script(Answer(status=500), Answer("Paris"))
    outcome = run()
    assert_ledger_matches(wire.servers, outcome)
    failed, answered = outcome.attempts
    for lie in (
        (answered,),
        (failed, failed, answered),
        (answered, failed),
        (failed, replace(answered, usage=Usage(10, 4))),
        (replace(failed, failure=None), answered),
        (failed, replace(answered, model="claude-haiku-4-5")),
    ):
        with pytest.raises(AssertionError):
            assert_ledger_matches(wire.servers, lie)


def test_two_hundred_tasks_at_once_lose_nothing(wire: Wire) -> None:
    wire.openai.default = Answer("Paris", input_tokens=100, output_tokens=10)
    sink = CapturingSink()
    router = ModelRouter(catalog=CATALOG, strategy=FixedLadder(*LADDER), sink=sink, call_timeout_s=60.0)

    async def main() -> list[Outcome]:
        return await asyncio.gather(*(router.arun(f"Question {n}?") for n in range(100)))

    with ThreadPoolExecutor(2) as pool:
        halves = [pool.submit(asyncio.run, main()) for _ in range(2)]
        outcomes = [outcome for half in halves for outcome in half.result()]
    assert len(outcomes) == len(wire.openai.received) == len(sink.captured) == 200
    assert_ledger_matches(wire.servers, [a for o in outcomes for a in o.attempts], ordered=False)
    # 100 * $1 + 10 * $4, per million
    assert [o.cost_usd for o in outcomes] == [pytest.approx(0.00014)] * 200
    assert {o.attempts[0].usage for o in outcomes} == {Usage(100, 10)}
    assert router.get_stats()["total_requests"] == 200
    assert router.get_stats()["total_cost"] == pytest.approx(0.028)
