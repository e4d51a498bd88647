"""Parts that users bring may do anything: there is an answer or a typed error, and a whole ledger."""

import asyncio
import math
import pickle
import threading
import time
from dataclasses import replace

import pytest

from smartroute import (
    AllModelsFailedError,
    Catalog,
    Classification,
    ConfigError,
    Decision,
    ModelCard,
    ModelRouter,
    Price,
    TaskComplexity,
)
from smartroute.errors import BudgetExceededError, DeadlineExceededError, SmartRouteError, TransientError
from smartroute.records import Call, Confidence, Failure, Probe, Reply, Rung, Usage
from smartroute.routing.retries import RetryPolicy
from smartroute.testing import CapturingSink, FrozenClock, ScriptedProvider, reply

CATALOG = Catalog.of(
    [
        ModelCard("mini", tier="mini", target="x/mini", price=Price(1.0, 2.0), max_output_tokens=100),
        ModelCard("other", tier="mini", target="y/other", price=Price(2.0, 4.0), max_output_tokens=100),
    ]
)


def router_of(script, **settings):
    if "provider" not in settings:
        settings["provider"] = ScriptedProvider(script)
    settings = {"catalog": CATALOG, "sink": CapturingSink(), "clock": FrozenClock(), **settings}
    return ModelRouter(**settings)


class Hanging(ScriptedProvider):
    """Answers, but the calls for `purpose` only after `seconds` of real time."""

    def __init__(self, purpose, seconds):
        super().__init__(lambda call: "ok")
        self._purpose, self._seconds = purpose, seconds

    def send(self, call):
        if call.purpose == self._purpose:
            time.sleep(self._seconds)
        return super().send(call)

    async def asend(self, call):
        if call.purpose == self._purpose:
            await asyncio.sleep(self._seconds)
        return super().send(call)


class Unfriendly(TransientError):
    """A subclass that skips the constructor it inherits, and cannot be printed."""

    def __init__(self):
        self.retry_after_s = "5"

    def __str__(self):
        raise RuntimeError("not printable")


@pytest.mark.parametrize(
    ("odd", "kind"),
    [
        (Reply(None), "malformed"),
        (Reply(5), "malformed"),
        (Reply("hi", finish_reason=7), "malformed"),
        (Reply("", tool_calls=(object(),)), "malformed"),
        (Reply("hi", tool_calls=[{}]), "malformed"),
        (Reply("hi", raw=[1]), "malformed"),
        (Reply("hi", logprobs=("a",)), "malformed"),
        (Unfriendly(), "unknown"),
        ("not a Reply", "malformed"),
    ],
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_odd_reply_is_a_failure_and_the_next_rung_answers(odd, kind, asynchronous):
    class Odd(ScriptedProvider):
        def send(self, call):
            self.calls.append(call)
            if call.model == "other":
                return reply("fine")
            if isinstance(odd, BaseException):
                raise odd
            return odd

        async def asend(self, call):
            return self.send(call)

    router = router_of(None, provider=Odd([]), retry=RetryPolicy(calls=1))
    options = {"complexity_override": "simple"}
    outcome = asyncio.run(router.arun("hi", **options)) if asynchronous else router.run("hi", **options)
    assert outcome.text == "fine"
    assert outcome.attempts[0].failure.kind == kind
    assert len(router.config.sink.captured) == 1 and router.lost_events == 0


@pytest.mark.parametrize(
    "usage",
    [Usage(-1_000_000, 5), Usage(10, -5), Usage(1.5, 2), Usage("10", 5), Usage(True, 5), {"input_tokens": 3}],
)
def test_counts_that_cannot_be_charged_are_unknown_and_give_a_budget_nothing_back(usage):
    router = router_of(lambda call: Reply("ok", usage=usage), max_usd=1.0)
    outcome = router.run("hi", complexity_override="simple", max_tokens=10)
    assert outcome.attempts[0].cost_usd is None
    assert outcome.unpriced_attempts == 1
    assert router.spent_usd > 0.0


@pytest.mark.parametrize(
    "params",
    [
        {"service_tier": "priority"},
        {"web_search_options": {}},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"googleSearch": {}}]},
        {"extra_body": {"service_tier": "flex"}},
        {"speed": "fast"},
        {"inference_geo": "us"},
    ],
)
def test_what_tokens_alone_do_not_price_is_of_unknown_cost_and_refused_under_a_budget(params):
    able = Catalog.of(
        [ModelCard("m", target="x/m", price=Price(1.0, 2.0), max_output_tokens=100, abilities={"tools"})]
    )
    outcome = router_of(lambda call: reply("ok", usage=Usage(5, 5)), catalog=able).run("hi", **params)
    assert outcome.attempts[0].cost_usd is None
    with pytest.raises(SmartRouteError, match="budget cannot be kept"):
        router_of(lambda call: "ok", catalog=able, max_usd=1.0).run("hi", max_tokens=5, **params)


@pytest.mark.parametrize(
    "params",
    [
        {"additional_drop_params": ["max_tokens"]},
        {"cached_content": "cachedContents/1"},
        {"previous_response_id": "resp_1"},
        {"num_predict": -1},
    ],
)
@pytest.mark.parametrize("place", ["request", "card"])
def test_what_tokens_price_but_nothing_bounds_is_refused_under_a_budget_alone(params, place):
    options, of_card = (params, {}) if place == "request" else ({}, params)
    card = ModelCard("m", target="x/m", price=Price(1.0, 2.0), max_output_tokens=100, options=of_card)
    catalog = Catalog.of([card])
    outcome = router_of(lambda call: reply("ok", usage=Usage(5, 5)), catalog=catalog).run("hi", **options)
    assert outcome.cost_usd == pytest.approx((5 * 1.0 + 5 * 2.0) / 1e6)
    with pytest.raises(SmartRouteError, match=f"{next(iter(params))}.*budget cannot be kept"):
        router_of(lambda call: "ok", catalog=catalog, max_usd=1.0).run("hi", max_tokens=5, **options)


def test_plain_tools_and_tiers_are_priced():
    able = Catalog.of(
        [ModelCard("m", target="x/m", price=Price(1.0, 2.0), max_output_tokens=100, abilities={"tools"})]
    )
    tools = [{"type": "function", "function": {"name": "search_the_web"}}]
    router = router_of(lambda call: reply("ok", usage=Usage(5, 5)), catalog=able)
    outcome = router.run("hi", tools=tools, service_tier="default", speed="standard", inference_geo="global")
    assert outcome.cost_usd == pytest.approx((5 * 1.0 + 5 * 2.0) / 1e6)


class Unspeakable:
    def __repr__(self):
        raise RuntimeError("not printable")


def test_what_cannot_be_measured_is_more_than_a_budget_bears():
    odd = Unspeakable()
    router = router_of(lambda call: "ok", max_usd=1_000.0)
    with pytest.raises(BudgetExceededError) as caught:
        router.run(messages=[{"role": "user", "content": "hi", "odd": odd}], max_tokens=5)
    assert caught.value.attempts == ()
    assert len(router.config.sink.captured) == 1
    assert router_of(lambda call: "ok").run(messages=[{"role": "user", "content": "hi", "odd": odd}]).text


def test_a_probe_that_cannot_be_priced_sets_nothing_aside_for_those_beside_it():
    def ask(task):
        yield tuple(Probe(task.messages, "classify", "mini", {"max_tokens": most}) for most in (5, "many"))

    router = router_of(lambda call: reply("ok", usage=Usage(5, 5)), classifier=ask, max_usd=1.0)
    outcome = router.run("hi", max_tokens=5)
    assert [attempt.purpose for attempt in outcome.attempts] == ["answer"]
    assert router.spent_usd == pytest.approx(outcome.cost_usd)


def test_a_model_of_the_answer_that_breaks_asks_for_no_repair():
    class Broken:
        model_json_schema = staticmethod(dict)

        @staticmethod
        def model_validate_json(text):
            raise RuntimeError("a validator of the user's own")

    able = Catalog.of([ModelCard("m", target="x/m", price=Price(1.0, 2.0), abilities={"json_schema"})])
    router = router_of(lambda call: "{}", catalog=able)
    outcome = router.run("hi", response_format=Broken, repair=True)
    assert (outcome.text, len(outcome.attempts)) == ("{}", 1)
    assert len(router.config.sink.captured) == 1


def test_an_hour_in_the_cache_is_dearer_to_write_than_the_plain_rate():
    def cached(ttl):
        content = [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral", **ttl}}]
        router = router_of(lambda call: reply("ok", usage=Usage(50, 5, cache_write_tokens=40)))
        return router.run(messages=[{"role": "user", "content": content}]).attempts[0].cost_usd

    assert cached({}) is not None
    assert cached({"ttl": "5m"}) is not None
    assert cached({"ttl": "1h"}) is None


HOUR = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}


@pytest.mark.parametrize(
    "params",
    [
        HOUR,
        {"tools": [{"type": "function", "function": {"name": "f"}, **HOUR}]},
        {"tools": [{"type": "function", "function": {"name": "f", **HOUR}}]},
        {
            "cache_control_injection_points": [
                {"location": "message", "role": "system", "control": HOUR["cache_control"]}
            ]
        },
        {"prompt_cache_retention": "24h"},
    ],
)
def test_a_cache_that_is_kept_for_long_is_known_wherever_it_is_asked_for(params):
    able = Catalog.of(
        [ModelCard("m", target="x/m", price=Price(1.0, 2.0), max_output_tokens=100, abilities={"tools"})]
    )
    written = router_of(lambda call: reply("ok", usage=Usage(50, 5, cache_write_tokens=40)), catalog=able)
    assert written.run("hi", **params).attempts[0].cost_usd is None
    read = router_of(lambda call: reply("ok", usage=Usage(50, 5, cached_tokens=40)), catalog=able)
    assert read.run("hi", **params).cost_usd == pytest.approx((50 * 1.0 + 5 * 2.0) / 1e6)
    with pytest.raises(SmartRouteError, match="budget cannot be kept"):
        router_of(lambda call: "ok", catalog=able, max_usd=1.0).run("hi", max_tokens=5, **params)


def test_a_long_cache_in_a_message_is_refused_under_a_budget():
    messages = [{"role": "user", "content": [{"type": "text", "text": "hi", **HOUR}]}]
    with pytest.raises(SmartRouteError, match="budget cannot be kept"):
        router_of(lambda call: "ok", max_usd=1.0).run(messages=messages, max_tokens=5)


def test_what_a_provider_says_it_charged_otherwise_is_of_unknown_cost_also_where_it_refused():
    dear = Usage(5, 5, surcharge="service_tier='priority'")
    for result in (
        Reply("ok", usage=dear),
        Reply("", usage=dear),
        Reply("ok", usage=replace(dear, surcharge=3)),
    ):
        outcome = router_of(lambda call, result=result: result if call.model == "mini" else "ok").run("hi")
        assert outcome.attempts[0].cost_usd is None


def test_audio_is_of_unknown_cost_where_it_has_a_rate_of_its_own_and_refused_there_under_a_budget():
    heard = [{"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}]
    messages = [{"role": "user", "content": heard}]

    def cost_usd(apart, audio_tokens, **settings):
        price = Price(1.0, 2.0, audio_apart=apart)
        able = ModelCard(
            "m", target="x/m", price=price, context_tokens=9_000, max_output_tokens=9, abilities={"audio"}
        )
        usage = Usage(50, 5, audio_tokens=audio_tokens)
        router = router_of(lambda call: reply("ok", usage=usage), catalog=Catalog.of([able]), **settings)
        return router.run(messages=messages).attempts[0].cost_usd

    plain = pytest.approx((50 * 1.0 + 5 * 2.0) / 1e6)
    assert cost_usd(True, 40) is None
    assert cost_usd(True, 0) == plain
    assert cost_usd(False, 40, max_usd=1.0) == plain
    with pytest.raises(SmartRouteError, match="price of audio is unknown"):
        cost_usd(True, 40, max_usd=1.0)


def test_the_options_of_a_card_count_in_a_reservation():
    """Four choices of 1,000 tokens at $2 per million are $0.008: more than the budget, and never asked."""
    loud = ModelCard(
        "m", target="x/m", price=Price(0.0, 2.0), options={"max_tokens": 1_000, "n": 4}, max_output_tokens=9
    )
    provider = ScriptedProvider(lambda call: "ok")
    with pytest.raises(SmartRouteError, match=r"budget|left"):
        router_of(None, provider=provider, catalog=Catalog.of([loud]), max_usd=0.007).run("hi")
    assert provider.calls == []


def test_the_tools_in_a_cards_options_count_in_a_reservation():
    """They are 10,000 bytes and so up to as many tokens, $0.01 at $1 per million."""
    tools = [{"type": "function", "function": {"name": "f", "description": "x" * 10_000}}]
    card = ModelCard("m", target="x/m", price=Price(1.0, 0.0), options={"tools": tools})
    provider = ScriptedProvider(lambda call: "ok")
    with pytest.raises(BudgetExceededError):
        router_of(None, provider=provider, catalog=Catalog.of([card]), max_usd=0.01).run("hi", max_tokens=5)
    assert provider.calls == []


def test_a_classification_of_plain_words_is_taken_and_a_wrong_one_is_replaced():
    assert Classification("complex", 0.9).complexity is TaskComplexity.COMPLEX
    with pytest.raises(ConfigError, match="tricky"):
        Classification("tricky", 0.5)
    with pytest.raises(ConfigError, match="score"):
        Classification("simple", math.nan)
    for signals in (5, "loud", (("loud", 1.0, 0.5),)):
        with pytest.raises(ConfigError, match="signals must be a tuple of Signal"):
            Classification("simple", 0.1, signals)
    outcome = router_of(lambda call: "ok", classifier=lambda task: Classification("odd", 0.5)).run("hi")
    assert outcome.decision.classification.signals[0].name == "classifier_replaced"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"accept_at": None}, "accept_at None"),
        ({"accept_at": math.nan}, "accept_at nan"),
        ({"arm_propensity": None}, r"arm_propensity None; it must lie in \[0, 1\]"),
        ({"action_propensity": 1.5}, "action_propensity 1.5"),
        ({"ladder": (Rung(["mini"]),)}, r"put Rung\(.*'mini'.* on the ladder, which is no Rung"),
        ({"ladder": (Rung("mini", None, "mini"),)}, r"put Rung\(.*, which is no Rung"),
        ({"classification": None}, "without a Classification"),
        ({"ladder": (rung for rung in [Rung("mini")])}, "no Decision with a ladder"),
        ({"ladder": []}, "no Decision with a ladder"),
        ({"ruled_out": ("other",)}, "ruled_out.*other.*must be a tuple of RuledOut"),
        ({"ruled_out": 5}, "ruled_out 5"),
        ({"reasons": None}, "reasons None; it must be a tuple of texts"),
        ({"reasons": "cheap"}, "reasons 'cheap'"),
        ({"reasons": (5,)}, r"reasons \(5,\)"),
    ],
)
def test_a_strategys_odd_decision_is_refused_by_name(fields, message):
    class Odd:
        def decide(self, task, classification, menu):
            made = {"classification": classification, "accept_at": 0.5, "ladder": (Rung("mini"),), **fields}
            return Decision(strategy="odd", **made)

    with pytest.raises(ConfigError, match=message):
        router_of(lambda call: "ok", strategy=Odd()).run("hi")


def test_a_list_that_a_strategy_uses_again_is_read_as_it_was():
    class Alternating:
        def __init__(self):
            self.ladder, self.reasons = [], []

        def decide(self, task, classification, menu):
            self.ladder[:], self.reasons[:] = [Rung(task.subject)], [f"{task.subject} was named"]
            ruled_out = [*menu.ruled_out]
            return Decision(
                classification, self.ladder, 0.5, "odd", reasons=self.reasons, ruled_out=ruled_out
            )

    router = router_of(lambda call: "ok", strategy=Alternating())
    outcomes = [router.run("hi", subject=name) for name in ("mini", "other", "mini")]
    assert [outcome.decision.ladder for outcome in outcomes] == [
        (Rung(name),) for name in ("mini", "other", "mini")
    ]
    assert [event.ladder for event in router.config.sink.captured] == [("mini",), ("other",), ("mini",)]
    assert [outcome.decision.reasons for outcome in outcomes] == [
        (f"{name} was named",) for name in ("mini", "other", "mini")
    ]


def test_what_a_strategy_says_while_it_breaks_is_not_repeated():
    class Broken:
        def decide(self, task, classification, menu):
            raise RuntimeError(f"no model for {task.messages[0]['content']}")

    with pytest.raises(ConfigError, match=r"raised RuntimeError at test_odd_parts\.py:\d+$"):
        router_of(lambda call: "ok", strategy=Broken()).run("my secret")


@pytest.mark.parametrize("answer", [math.nan, -1.0, math.inf, 1e10])
def test_a_wait_that_nobody_can_wait_for_ends_the_retries(answer):
    script = {"mini": [TransientError("no")] * 9, "other": ["fine"]}
    clock = FrozenClock()
    router = router_of(script, retry=RetryPolicy(wait=lambda state: answer), clock=clock)
    assert [a.model for a in router.run("hi", complexity_override="simple").attempts][-1] == "other"
    assert set(clock.slept) <= {0}


def test_a_retry_policy_that_raises_ends_the_retries():
    def broken(state):
        raise ZeroDivisionError

    script = {"mini": [TransientError("no")] * 9, "other": ["fine"]}
    outcome = router_of(script, retry=RetryPolicy(stop=broken)).run("hi", complexity_override="simple")
    assert [attempt.model for attempt in outcome.attempts] == ["mini", "other"]


def test_a_model_without_access_is_not_asked_again_at_another_effort():
    from smartroute.errors import AuthenticationError
    from smartroute.routing.strategies import FixedLadder

    thinker = ModelCard("thinker", target="x/thinker", price=Price(1.0, 1.0), efforts=("low", "high"))
    catalog = Catalog.of([thinker, *CATALOG])
    ladder = FixedLadder("thinker", ("thinker", "high"), "mini")
    script = {"thinker": [AuthenticationError("401")], "mini": ["fine"]}
    outcome = router_of(script, catalog=catalog, strategy=ladder).run("hi")
    assert [attempt.model for attempt in outcome.attempts] == ["thinker", "mini"]


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError()])
def test_a_sink_may_raise_anything(error):
    class Sink:
        def emit(self, event):
            raise error

    router = router_of(lambda call: "ok", sink=Sink())
    assert asyncio.run(router.arun("hi")).text == "ok"
    assert router.lost_events == 1


def test_a_cancellation_that_nobody_asked_for_is_the_providers_failure():
    class Cancelling(ScriptedProvider):
        async def asend(self, call):
            if call.model == "mini":
                raise asyncio.CancelledError
            return super().send(call)

    router = router_of(None, provider=Cancelling(lambda call: "fine"))
    outcome = asyncio.run(router.arun("hi", complexity_override="simple"))
    assert (outcome.text, outcome.attempts[0].failure.kind) == ("fine", "unknown")


def test_a_provider_cannot_turn_a_cancellation_into_an_error_of_its_own():
    class Stubborn(ScriptedProvider):
        async def asend(self, call):
            self.calls.append(call)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise RuntimeError("shut down") from None

    async def main(router):
        task = asyncio.ensure_future(router.arun("hi", complexity_override="simple"))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    router = router_of(None, provider=Stubborn([]))
    asyncio.run(main(router))
    (event,) = router.config.sink.captured
    assert (len(event.attempts), event.stopped_by) == (1, "cancelled")
    assert len(router.provider.calls) == 1


def test_a_provider_that_answers_a_timeout_with_an_error_has_timed_out():
    class Stubborn(ScriptedProvider):
        async def asend(self, call):
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise ValueError("interrupted") from None

    router = router_of(None, provider=Stubborn([]), call_timeout_s=0.02, retry=RetryPolicy(calls=1))
    with pytest.raises(AllModelsFailedError) as caught:
        asyncio.run(router.arun("hi", complexity_override="simple"))
    assert {attempt.failure.kind for attempt in caught.value.attempts} == {"timeout"}


class Sampling:
    """Asks two samples of the same model for each answer."""

    def probes(self, task, answer):
        return Probe(task.messages, "sample"), Probe(task.messages, "sample")

    def estimate(self, task, answer, replies=()):
        return Confidence(sum(isinstance(found, Reply) for found in replies) / 2, "sampling")


def test_cancelling_twice_while_samples_are_drawn_keeps_the_ledger():
    class Slow(ScriptedProvider):
        async def asend(self, call):
            if call.purpose == "answer":
                return super().send(call)
            self.calls.append(call)
            while True:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    await asyncio.sleep(0.3)
                    raise

    async def main(router):
        task = asyncio.ensure_future(router.arun("hi", complexity_override="simple"))
        for _ in range(2):
            await asyncio.sleep(0.05)
            task.cancel()
        started = time.perf_counter()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.perf_counter() - started < 0.25

    router = router_of(None, provider=Slow(lambda call: "ok"), estimator=Sampling())
    asyncio.run(main(router))
    (event,) = router.config.sink.captured
    assert [attempt["purpose"] for attempt in event.attempts] == ["answer", "sample", "sample"]


@pytest.mark.parametrize("purpose", ["answer", "sample"])
def test_a_hung_call_does_not_keep_a_task_beyond_its_deadline(purpose):
    """The server trickles for 20 seconds; the task has 0.2, in a thread as in a coroutine."""
    from smartroute.clock import Clock

    for asynchronous in (False, True):
        router = router_of(None, provider=Hanging(purpose, 20.0), estimator=Sampling(), clock=Clock())
        options = {"timeout_s": 0.2, "complexity_override": "simple"}
        started = time.perf_counter()
        try:
            outcome = (
                asyncio.run(router.arun("hi", **options)) if asynchronous else router.run("hi", **options)
            )
        except DeadlineExceededError as error:
            assert purpose == "answer"
            outcome = error.outcome
        else:
            assert outcome.text == "ok"
        assert time.perf_counter() - started < 5.0
        assert "timeout" in {attempt.failure.kind for attempt in outcome.attempts if attempt.failure}


def test_a_hung_classifier_leaves_time_for_the_answer():
    from smartroute.classify import LLMClassifier
    from smartroute.clock import Clock

    hanging = Hanging("classify", 20.0)
    router = router_of(None, provider=hanging, classifier=LLMClassifier("mini"), clock=Clock())
    outcome = router.run("hi", timeout_s=1.0)
    assert outcome.text == "ok"
    assert outcome.attempts[0].purpose == "classify"
    assert outcome.attempts[0].failure.kind == "timeout"


def test_closing_in_one_thread_does_not_disturb_the_others():
    router = router_of(lambda call: "ok", estimator=Sampling(), accept_at=0.5)
    failures, stop = [], threading.Event()

    def work():
        while not stop.is_set():
            try:
                assert router.run("hi").text == "ok"
            except BaseException as error:  # noqa: BLE001
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    until = time.perf_counter() + 0.5
    while time.perf_counter() < until:
        router.close()
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_no_repr_holds_text_or_a_key():
    secret = "sk-hunter2"
    call = Call(
        "m", "x/m", "x", ({"role": "user", "content": secret},), {"stop": secret}, options={"k": secret}
    )
    card = ModelCard("m", target="openai/m", price=None, api_base=f"http://user:{secret}@localhost/v1")
    holders = [call, card, Reply(secret, raw={"a": secret}), Probe(({"content": secret},), "judge")]
    assert all(secret not in repr(holder) for holder in holders)
    assert secret not in Failure.of(RuntimeError(secret)).message


def test_an_outcome_with_a_foreign_exception_can_be_pickled():
    class Local(Exception):
        pass

    def fail(call):
        raise Local

    try:
        router_of(fail).run("hi", complexity_override="simple")
    except AllModelsFailedError as error:
        attempts = pickle.loads(pickle.dumps(error.attempts))
    assert attempts[0].failure.kind == "unknown"
    assert attempts[0].failure.error is None


def test_the_log_says_where_a_users_part_broke_and_nothing_of_what_it_read(caplog):
    secret = "the launch code is 0000"

    def broken(task, *_):
        raise KeyError(secret)

    class Broken:
        decide = staticmethod(broken)

    line = broken.__code__.co_firstlineno + 1
    router = router_of(lambda call: "ok", classifier=broken, estimator=broken)
    assert router.run(secret).text == "ok"
    assert f"configured classifier: KeyError at test_odd_parts.py:{line}" in caplog.text
    assert f"confidence estimator failed: KeyError at test_odd_parts.py:{line}" in caplog.text
    with pytest.raises(ConfigError, match=rf"raised KeyError at test_odd_parts\.py:{line}"):
        router_of([], strategy=Broken()).run(secret)
    assert secret not in caplog.text
