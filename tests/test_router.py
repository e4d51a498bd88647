import asyncio
import os
import threading

import pytest

from smartroute import Catalog, ModelCard, ModelRouter, Price, SmartRouteError, TaskError
from smartroute.classify import LLMClassifier
from smartroute.errors import NoEligibleModelError
from smartroute.sinks import JsonlSource
from smartroute.testing import CapturingSink, ScriptedProvider, reply

CATALOG = Catalog.of(
    [
        ModelCard(
            tier,
            tier=tier,
            target=f"x/{tier}",
            price=Price(usd, usd),
            max_output_tokens=1_000,
            abilities={"tools", "json_schema"},
        )
        for tier, usd in (("mini", 1.0), ("standard", 10.0), ("premium", 100.0))
    ]
)


def router_of(script=lambda call: "ok", **settings):
    settings.setdefault("sink", CapturingSink())
    return ModelRouter(
        catalog=CATALOG, provider=ScriptedProvider(script), estimator=lambda task, answer: 0.9, **settings
    )


def test_a_string_becomes_one_user_message_and_messages_pass_as_they_are():
    router = router_of()
    router.run("hi")
    talk = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hi", "name": "ann"}]
    router.run(messages=talk)
    router.run(talk)
    assert [list(call.messages) for call in router.provider.calls] == [
        [{"role": "user", "content": "hi"}],
        talk,
        talk,
    ]


def test_changing_the_messages_afterward_changes_nothing():
    router = router_of()
    talk = [{"role": "user", "content": "hi"}]
    outcome = router.run(talk)
    talk[0]["content"] = "bye"
    assert outcome.task.messages[0]["content"] == "hi"


def test_litellms_parameters_pass_through_and_none_is_left_out():
    router = router_of()
    router.run("hi", temperature=0.2, max_tokens=50, stop=["\n"], seed=7, top_p=None)
    assert router.provider.calls[0].params == {
        "temperature": 0.2,
        "max_tokens": 50,
        "stop": ["\n"],
        "seed": 7,
    }


def test_streaming_is_refused_and_never_ignored():
    with pytest.raises(TaskError, match="stream=True is not supported yet"):
        router_of().run("hi", stream=True)
    router_of().run("hi", stream=False)


@pytest.mark.parametrize(
    "name",
    [
        *("model", "fallbacks", "num_retries", "retry_policy", "retry_strategy", "timeout"),
        *("api_key", "api_base", "type", "mock_response", "mock_timeout"),
    ],
)
def test_parameters_that_belong_to_the_router_are_refused_with_the_cure(name):
    with pytest.raises(TaskError, match=f"^{name} cannot be passed through: "):
        router_of().run("hi", **{name: "x"})


def test_parsed_is_the_json_of_the_answer_or_the_pydantic_model():
    from pydantic import BaseModel

    class Score(BaseModel):
        score: int

    router = router_of(lambda call: '{"score": 7}')
    assert router.run("hi", response_format={"type": "json_object"}).parsed == {"score": 7}
    assert router.run("hi", response_format=Score).parsed == Score(score=7)
    assert router.run("hi").parsed is None
    assert router_of(lambda call: "seven").run("hi", response_format=Score).parsed is None


def test_the_raw_reply_is_in_openais_shape():
    outcome = router_of().run("hi")
    assert outcome.raw["choices"][0]["message"]["content"] == "ok"


def test_every_outcome_becomes_one_event_errors_included():
    router = router_of(lambda call: RuntimeError("down"))
    with pytest.raises(SmartRouteError):
        router.run("hi", unit="ann", tenant="acme", conversation_id="c1", labels={"app": "hooks"})
    (event,) = router.config.sink.captured
    assert (event.error, event.model, event.unit, event.tenant, event.conversation_id) == (
        "AllModelsFailedError",
        None,
        "ann",
        "acme",
        "c1",
    )
    assert event.labels == {"app": "hooks"}


class BrokenSink:
    def emit(self, event):
        raise OSError("the disk is gone")


def test_a_failing_sink_is_logged_once_counted_and_never_reaches_a_request(caplog):
    router = router_of(sink=BrokenSink())
    for _ in range(3):
        assert router.run("hi").text == "ok"
    assert router.lost_events == 3
    assert len([record for record in caplog.records if "could not be logged" in record.message]) == 1


def test_no_prompt_text_reaches_log_or_events_unless_asked_for(caplog, tmp_path):
    caplog.set_level("DEBUG")
    secret = "the launch code is 0000"
    path = tmp_path / "log.jsonl"
    with router_of(
        lambda call: RuntimeError(secret) if call.model == "mini" else "ok", sink=None, log_path=path
    ) as r:
        r.run(secret, complexity_override="simple")
    assert secret not in caplog.text
    assert secret not in path.read_text()
    with router_of(
        sink=None, log_path=path, log_text=True, redact=lambda text: text.replace("0000", "****")
    ) as r:
        r.run(secret)
    assert "the launch code is ****" in path.read_text()
    assert secret not in path.read_text()


def test_a_closed_router_opens_again_when_used(tmp_path):
    router = router_of(sink=None, log_path=tmp_path / "log")
    router.run("hi")
    router.close()
    router.close()
    router.run("hi")
    router.flush()
    assert len(list(JsonlSource(tmp_path / "log").events())) == 2


def test_it_is_a_context_manager_both_ways(tmp_path):
    with router_of() as router:
        assert router.run("hi").text == "ok"

    async def scenario():
        async with router_of() as router:
            return await router.arun("hi")

    assert asyncio.run(scenario()).text == "ok"


def test_the_log_is_written_by_default_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("ROUTING_ANALYTICS_PATH", str(tmp_path / "analytics.jsonl"))
    with router_of(sink=None) as router:
        outcome = router.run("hi")
    (event,) = JsonlSource(tmp_path / "analytics.jsonl").events()
    assert (event.outcome_id, event.cost_usd, event.simulated) == (outcome.id, outcome.cost_usd, True)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_after_construction_writes_to_its_own_segment(tmp_path):
    router = router_of(sink=None, log_path=tmp_path / "log")
    router.run("parent")
    child = os.fork()
    if child == 0:
        code = 1
        try:
            router.run("child")
            router.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    router.run("parent")
    router.close()
    source = JsonlSource(tmp_path / "log")
    events = list(source.events())
    assert (len(events), len({event.id for event in events}), source.bad_lines) == (3, 3, 0)


@pytest.mark.slow
def test_200_concurrent_tasks_from_two_loops_and_threads_add_up(tmp_path):
    def script(call):
        if call.number == 1 and len(call.messages[0]["content"]) % 3 == 0:
            return RuntimeError("down")
        return reply("ok", input_tokens=len(call.messages[0]["content"]), output_tokens=1)

    class Pausing(ScriptedProvider):
        async def asend(self, call):
            await asyncio.sleep(0.001 * (len(call.messages[0]["content"]) % 7))
            return self.send(call)

    router = ModelRouter(
        catalog=CATALOG,
        provider=Pausing(script),
        estimator=lambda task, answer: 0.9,
        log_path=tmp_path / "log",
        max_usd=100.0,
        breaker_failures=10_000,
    )
    outcomes, problems = [], []

    async def one(n):
        try:
            outcomes.append(await router.arun("x" * n, complexity_override="simple"))
        except SmartRouteError as error:
            problems.append(error)

    def loop(numbers):
        async def all_of_them():
            await asyncio.gather(*(one(n) for n in numbers))

        asyncio.run(all_of_them())

    def thread(numbers):
        for n in numbers:
            try:
                outcomes.append(router.run("x" * n, complexity_override="simple"))
            except SmartRouteError as error:
                problems.append(error)

    workers = [
        threading.Thread(target=loop, args=(range(1, 101),)),
        threading.Thread(target=loop, args=(range(101, 201),)),
        threading.Thread(target=thread, args=(range(201, 251),)),
        threading.Thread(target=thread, args=(range(251, 301),)),
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    router.close()
    events = list(JsonlSource(tmp_path / "log").events())
    attempts = [a for record in (*outcomes, *problems) for a in record.attempts]
    assert len(outcomes) + len(problems) == len(events) == 300
    assert len(attempts) == len(router.provider.calls) == sum(len(event.attempts) for event in events)
    assert router.lost_events == 0
    stats = router.get_stats()
    assert stats["total_requests"] == 300
    assert stats["failures"] == len(problems) == 100  # every third prompt fails on each of its rungs
    assert stats["total_cost"] == pytest.approx(sum(outcome.cost_usd for outcome in outcomes))
    # By hand: prompt of n characters is n input tokens and 1 output token at $1 a million.
    assert stats["total_cost"] == pytest.approx(sum((n + 1) * 1e-6 for n in range(1, 301) if n % 3))


def test_decide_explains_itself():
    explanation = router_of().decide("Prove there are infinitely many primes.").explain()
    assert "complex" in explanation or "medium" in explanation
    assert "rung 1" in explanation
    assert "because" in explanation


def test_the_bill_says_when_it_is_incomplete_and_no_repr_shows_the_prompt():
    catalog = CATALOG.with_cards(ModelCard("dark", tier="mini", target="zz/dark", price=None))
    secret = "the launch code is 0000"
    router = ModelRouter(catalog=catalog, provider=ScriptedProvider(lambda call: secret), sink=False)
    dark = router.run(secret, preferred_model="dark")
    assert dark.bill == "at least $0.000000 (1 attempt of unknown cost)"
    priced = router.run(secret, preferred_model="mini")
    assert priced.bill == "$0.000015"  # 10 + 5 tokens at $1 a million
    assert secret not in repr(dark) + repr(priced) + repr(priced.task)


def test_losses_are_remembered_when_the_router_is_closed(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("a file where the log's folder should be")
    router = router_of(sink=None, log_path=blocked / "log")
    router.run("hi")
    router.close()
    assert router.lost_events == 1
    router.run("hi")
    assert router.lost_events == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_forked_while_every_lock_is_held_still_answers(tmp_path):
    from smartroute.concurrency import locks

    router = router_of(sink=None, log_path=tmp_path / "log", max_usd=1.0)
    held = [lock for lock in list(locks._locks) if lock.acquire(blocking=False)]
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if router.run("child", max_tokens=5).text == "ok" else 2
        finally:
            os._exit(code)
    for lock in held:
        lock.release()
    assert len(held) > 3
    assert os.waitpid(child, 0)[1] == 0


def test_an_error_after_a_paid_classification_carries_the_outcome_with_that_call():
    router = router_of(lambda call: "simple", classifier=LLMClassifier("mini"))
    with pytest.raises(NoEligibleModelError) as caught:
        router.run("hi", reasoning_effort="high")
    outcome = caught.value.outcome
    assert [(attempt.model, attempt.purpose) for attempt in outcome.attempts] == [("mini", "classify")]
    assert outcome.cost_usd == router.get_stats()["total_cost"] > 0.0


def test_a_response_format_goes_to_the_provider_and_none_is_left_out():
    router = router_of()
    shape = {"type": "json_object"}
    assert router.task("Rate it.", response_format=shape, top_p=0.5).params == {
        "response_format": shape,
        "top_p": 0.5,
    }
    assert router.task("Rate it.", response_format=None).params == {}
