"""The generator itself, driven by hand or through the router with a scripted provider and a frozen clock."""

import asyncio

import pytest

from smartroute import (
    AllModelsFailedError,
    BudgetExceededError,
    Catalog,
    Classification,
    Confidence,
    ConfigError,
    DeadlineExceededError,
    Decision,
    ModelCard,
    ModelRouter,
    Price,
    TaskComplexity,
    UnknownModelError,
    Usage,
)
from smartroute.classify import LLMClassifier
from smartroute.confidence import JudgeConfidence
from smartroute.errors import (
    AuthenticationError,
    ContextTooLongError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitError,
    RefusedError,
)
from smartroute.records import Probe, Rung
from smartroute.routing.retries import RetryPolicy
from smartroute.routing.run import _warn_barred
from smartroute.routing.strategies import FixedLadder
from smartroute.testing import CapturingSink, FrozenClock, ScriptedProvider, reply


def card(name, tier, provider="x", price=None, **fields):
    fields.setdefault("context_tokens", 10_000)
    fields.setdefault("max_output_tokens", 1_000)
    return ModelCard(name, tier=tier, target=f"{provider}/{name}", price=price or Price(1.0, 2.0), **fields)


LADDER = Catalog.of(
    [
        card("mini", "mini", price=Price(1.0, 2.0)),
        card("standard", "standard", price=Price(10.0, 20.0)),
        card("premium", "premium", price=Price(100.0, 200.0)),
    ]
)


def believing(values):
    """Return an estimator that believes each answer text as a table says; None is unknown."""
    return lambda task, answer: values[answer.text]


def router_of(script, *, believe=None, clock=None, catalog=LADDER, **settings):
    settings.setdefault("retry", RetryPolicy(calls=3, initial_s=1, jitter=0))
    settings.setdefault("sink", False)
    return ModelRouter(
        config=None,
        catalog=catalog,
        provider=ScriptedProvider(script) if not hasattr(script, "send") else script,
        estimator=believing(believe) if believe is not None else (lambda task, answer: 0.9),
        clock=clock or FrozenClock(),
        **settings,
    )


def simple(router, prompt="What is 2+2?", **options):
    return router.run(prompt, complexity_override="simple", **options)


def models(outcome_or_error):
    return [attempt.model for attempt in outcome_or_error.attempts]


def test_a_believed_answer_ends_the_ladder():
    outcome = simple(router_of({"mini": ["4"]}))
    assert (outcome.text, outcome.model, outcome.escalated, outcome.stopped_by) == ("4", "mini", False, None)
    # By hand: 10 input tokens at $1 and 5 output tokens at $2 a million.
    assert outcome.cost_usd == pytest.approx(10e-6 + 10e-6)


def test_rejected_draft_is_still_paid_for():
    outcome = simple(router_of({"mini": ["?"], "standard": ["4"]}, believe={"?": 0.2, "4": 0.8}))
    assert models(outcome) == ["mini", "standard"]
    assert outcome.escalated
    assert outcome.cost_usd == pytest.approx(20e-6 + 200e-6)
    assert [attempt.confidence for attempt in outcome.attempts] == [0.2, 0.8]


@pytest.mark.parametrize(
    ("first", "second", "changed"),
    [
        ("The answer is 4.", "4", False),
        ("The answer is 4.", "5", True),
        ("A long essay on fours. " * 9, "Another essay on fives. " * 9, None),
        ("The same essay. " * 9, "The same essay. " * 9, None),
        ("```py\nprint(4)\n```", "```py\nprint(2 + 2)\n```", None),
        ("```py\nprint(4)\n```", "```py\nprint(4)\n```", None),
    ],
)
def test_an_escalation_tells_whether_it_changed_the_answer(first, second, changed):
    script = {"mini": [first], "standard": [second], "premium": [second]}
    outcome = simple(router_of(script, believe={first: 0.2, second: 0.2}))
    assert outcome.model == "premium" and outcome.answer_changed is changed


def test_without_an_escalation_nothing_changed_and_a_failed_call_is_no_first_answer():
    assert simple(router_of({"mini": ["4"]})).answer_changed is None
    failed = simple(router_of({"mini": [AuthenticationError("no key")], "standard": ["4"]}))
    assert failed.escalated and failed.answer_changed is None


def test_at_the_top_the_highest_rungs_answer_is_returned_and_marked():
    outcome = simple(
        router_of(
            {"mini": ["a"], "standard": ["b"], "premium": ["c"]}, believe={"a": 0.6, "b": 0.5, "c": 0.1}
        )
    )
    assert (outcome.text, outcome.model, outcome.stopped_by) == ("c", "premium", "top")


def test_unknown_confidence_neither_passes_nor_fails_unless_asked_to():
    script = {"mini": ["a"], "standard": ["b"]}
    believe = {"a": None, "b": 0.9}
    accepted = simple(router_of(script, believe=believe))
    assert (accepted.model, accepted.confidence, accepted.stopped_by) == ("mini", None, None)
    assert simple(router_of(script, believe=believe, on_unknown="escalate")).model == "standard"


def test_without_escalation_no_answer_is_doubted():
    outcome = simple(router_of({"mini": ["?"]}, believe={"?": 0.0}, escalate=False))
    assert (outcome.model, outcome.confidence) == ("mini", 0.0)


def test_transient_failures_are_retried_after_waiting_and_stay_in_the_ledger():
    clock = FrozenClock()
    script = {"mini": [ProviderUnavailableError("503"), RateLimitError("429", retry_after_s=7), "4"]}
    outcome = simple(router_of(script, clock=clock))
    assert clock.slept == [1, 7]  # the first doubled wait, then what Retry-After asked for
    assert [a.failure and a.failure.kind for a in outcome.attempts] == ["unavailable", "rate_limit", None]
    assert [a.number for a in outcome.attempts] == [1, 2, 3]
    assert [a.cost_usd for a in outcome.attempts][:2] == [0.0, 0.0]
    assert not outcome.escalated


def test_a_final_failure_goes_to_the_next_rung_at_once():
    clock = FrozenClock()
    outcome = simple(router_of({"mini": [AuthenticationError("401")], "standard": ["4"]}, clock=clock))
    assert (outcome.model, clock.slept) == ("standard", [])


def test_a_timeout_costs_nobody_knows_what():
    script = {"mini": [ProviderTimeoutError("late")] * 3, "standard": ["4"]}
    outcome = simple(router_of(script))
    assert outcome.unpriced_attempts == 3
    assert outcome.cost_usd == pytest.approx(200e-6)


@pytest.mark.parametrize("empty", [reply(""), reply("  \n"), reply("", finish_reason="length")])
def test_an_empty_reply_is_a_paid_failure_never_an_answer(empty):
    outcome = simple(router_of({"mini": [empty], "standard": ["4"]}))
    assert outcome.model == "standard"
    assert outcome.attempts[0].failure.kind == "empty"
    assert outcome.attempts[0].cost_usd == pytest.approx(20e-6)


def test_a_blocked_answer_goes_to_the_next_rung_and_is_paid_for():
    blocked = reply("I", finish_reason="content_filter")
    outcome = simple(router_of({"mini": [blocked], "standard": [RefusedError("no")], "premium": ["4"]}))
    assert [a.failure and a.failure.kind for a in outcome.attempts] == ["refused", "refused", None]
    assert outcome.attempts[0].cost_usd == pytest.approx(20e-6)


def test_a_tool_call_without_text_is_an_answer():
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    outcome = simple(router_of({"mini": [reply("", tool_calls=(call,))]}))
    assert outcome.model == "mini"
    assert outcome.raw["choices"][0]["message"]["tool_calls"] == [call]


def test_when_every_rung_fails_the_error_holds_the_whole_ledger():
    script = {
        "mini": [ProviderUnavailableError("500")] * 3,
        "standard": [AuthenticationError("401")],
        "premium": [RefusedError("no")],
    }
    with pytest.raises(AllModelsFailedError) as caught:
        simple(router_of(script))
    assert str(caught.value) == (
        "no rung of [mini, standard, premium] answered "
        "(mini: unavailable, 3 calls; standard: authentication; premium: refused)"
    )
    assert models(caught.value) == ["mini", "mini", "mini", "standard", "premium"]
    assert isinstance(caught.value.__cause__, RefusedError)


def test_an_unforeseen_exception_of_a_provider_is_recorded_and_the_next_rung_asked():
    outcome = simple(router_of({"mini": [ZeroDivisionError("oops")], "standard": ["4"]}))
    assert outcome.attempts[0].failure.kind == "unknown"
    assert outcome.attempts[0].cost_usd is None


def test_an_answer_in_hand_survives_the_failure_of_higher_rungs():
    script = {"mini": ["?"], "standard": [AuthenticationError("401")], "premium": [RefusedError("no")]}
    outcome = simple(router_of(script, believe={"?": 0.2}))
    assert (outcome.text, outcome.model, outcome.stopped_by) == ("?", "mini", "top")
    assert outcome.escalated


def test_too_long_a_prompt_skips_rungs_with_no_larger_context():
    catalog = Catalog.of(
        [
            card("mini", "mini", context_tokens=1_000),
            card("standard", "standard", context_tokens=1_000),
            card("premium", "premium", context_tokens=9_000),
        ]
    )
    script = {"mini": [ContextTooLongError("too long")], "premium": ["4"]}
    assert models(simple(router_of(script, catalog=catalog))) == ["mini", "premium"]


def test_a_stand_in_is_asked_on_failure_but_not_on_doubt():
    catalog = LADDER.with_cards(card("mini2", "mini", provider="y", price=Price(1.5, 2.5)))
    failing = {"mini": [AuthenticationError("401")], "mini2": ["4"]}
    assert models(simple(router_of(failing, catalog=catalog))) == ["mini", "mini2"]
    doubted = {"mini": ["?"], "standard": ["4"]}
    believe = {"?": 0.1, "4": 0.9}
    assert models(simple(router_of(doubted, believe=believe, catalog=catalog))) == ["mini", "standard"]


def test_the_breaker_passes_over_a_failing_model_and_the_detour_is_marked():
    clock = FrozenClock()
    script = {"mini": [ProviderUnavailableError("500")] * 3, "standard": ["4"] * 3}
    router = router_of(script, clock=clock, breaker_failures=3, breaker_cooldown_s=1_000)
    assert models(simple(router)) == ["mini", "mini", "mini", "standard"]
    second = simple(router)
    assert (models(second), second.detour) == (["standard"], True)


@pytest.mark.parametrize("limit", ["budget", "deadline"])
def test_a_trial_that_a_limit_prevented_is_left_to_the_next_request(limit):
    clock = FrozenClock()
    hurry = []

    def late(task):
        if hurry:
            clock.advance(hurry.pop())
        return "simple"

    script = {"mini": [ProviderUnavailableError("500"), "4"], "standard": ["4"]}
    router = router_of(script, clock=clock, classifier=late, breaker_failures=1, breaker_cooldown_s=10)
    assert models(router.run("2+2")) == ["mini", "standard"]
    clock.advance(11)
    if limit == "budget":
        with pytest.raises(BudgetExceededError):
            router.run("2+2", max_usd=0, max_tokens=5)
    else:
        hurry.append(2)
        with pytest.raises(DeadlineExceededError):
            router.run("2+2", timeout_s=1)
    assert models(router.run("2+2")) == ["mini"]


def test_when_all_breakers_are_open_the_error_says_so():
    script = {name: [ProviderUnavailableError("500")] for name in ("mini", "standard", "premium")}
    router = router_of(script, breaker_failures=1, breaker_cooldown_s=1_000)
    with pytest.raises(AllModelsFailedError):
        simple(router)
    with pytest.raises(AllModelsFailedError, match="earlier failures") as caught:
        simple(router)
    assert caught.value.attempts == ()


class SlowProvider(ScriptedProvider):
    """Takes ten seconds of frozen time for each call."""

    def __init__(self, script, clock):
        super().__init__(script)
        self._clock = clock

    def send(self, call):
        self._clock.advance(10)
        return super().send(call)


def test_past_the_deadline_the_answer_in_hand_is_returned():
    clock = FrozenClock()
    provider = SlowProvider({"mini": ["?"], "standard": ["4"]}, clock)
    outcome = simple(router_of(provider, believe={"?": 0.1, "4": 0.9}, clock=clock), timeout_s=9)
    assert (outcome.text, outcome.stopped_by, len(provider.calls)) == ("?", "deadline", 1)
    assert provider.calls[0].timeout_s == 9


def test_past_the_deadline_without_an_answer_is_an_error_with_the_ledger():
    clock = FrozenClock()
    provider = SlowProvider({"mini": [ProviderTimeoutError("late")], "standard": ["4"]}, clock)
    with pytest.raises(DeadlineExceededError, match="5 s") as caught:
        simple(router_of(provider, clock=clock), timeout_s=5)
    assert models(caught.value) == ["mini"]


def test_the_tighter_of_two_deadlines_wins():
    provider = ScriptedProvider({"mini": ["4", "4"]})
    router = router_of(provider, timeout_s=20)
    simple(router, timeout_s=9)
    simple(router, timeout_s=90)
    assert [call.timeout_s for call in provider.calls] == [9, 20]


def test_no_wait_reaches_beyond_the_deadline():
    clock = FrozenClock()
    script = {"mini": [RateLimitError("429", retry_after_s=30)], "standard": ["4"]}
    outcome = simple(router_of(script, clock=clock), timeout_s=10)
    assert (outcome.model, clock.slept) == ("standard", [])


def test_a_budget_that_cannot_bear_the_first_call_is_an_error_before_any_call():
    provider = ScriptedProvider({"mini": ["4"]})
    with pytest.raises(BudgetExceededError, match="max_tokens") as caught:
        simple(router_of(provider), max_usd=1e-6)
    assert provider.calls == []
    assert (caught.value.spent_usd, caught.value.limit_usd) == (0.0, 1e-6)


def test_a_budget_ends_the_climb_with_the_answer_in_hand():
    outcome = simple(
        router_of({"mini": ["?"], "standard": ["4"]}, believe={"?": 0.1, "4": 0.9}),
        max_usd=0.0025,
        max_tokens=100,
    )
    assert (outcome.text, outcome.stopped_by) == ("?", "budget")


def test_the_routers_budget_is_shared_by_its_tasks():
    router = router_of({"mini": ["4"] * 100}, max_usd=0.001)
    spent = 0.0
    with pytest.raises(BudgetExceededError):
        for _ in range(100):
            spent += simple(router, max_tokens=50).cost_usd
    assert 0.0005 < spent <= 0.001
    assert router.spent_usd == pytest.approx(spent)


def test_models_without_a_price_are_ruled_out_under_a_budget():
    catalog = LADDER.with_cards(ModelCard("free-form", tier="mini", target="x/free-form", price=None))
    decision = router_of([], catalog=catalog).decide("hi", max_usd=1.0)
    assert ("free-form", "its price is unknown, so a budget cannot be kept") in decision.ruled_out


class Sampling:
    """An estimator that asks two more samples and a judge, and believes what fits them."""

    def probes(self, task, answer):
        return (
            Probe(task.messages, "sample"),
            Probe(task.messages, "sample", params={"temperature": 0.9}),
            Probe(
                ({"role": "user", "content": "grade"},), "judge", model="standard", params={"max_tokens": 5}
            ),
        )

    def estimate(self, task, answer, replies=()):
        same = [r for r in replies if getattr(r, "text", None) == answer.text]
        return Confidence(len(same) / len(replies), "sampling")


@pytest.mark.parametrize("live", ["sync", "async"])
def test_judge_and_sample_calls_are_attempts_in_the_ledger(live):
    provider = ScriptedProvider(lambda call: AuthenticationError("401") if call.purpose == "judge" else "4")
    router = ModelRouter(catalog=LADDER, provider=provider, estimator=Sampling(), sink=False, accept_at=0.6)
    outcome = (
        simple(router)
        if live == "sync"
        else asyncio.run(router.arun("What is 2+2?", complexity_override="simple"))
    )
    assert [(a.purpose, a.model) for a in outcome.attempts] == [
        ("answer", "mini"),
        ("sample", "mini"),
        ("sample", "mini"),
        ("judge", "standard"),
    ]
    assert outcome.confidence == pytest.approx(2 / 3)
    assert outcome.confidence_source == "sampling"
    assert outcome.cost_usd == pytest.approx(3 * 20e-6)
    assert not outcome.escalated


class Failing:
    def probes(self, task, answer):
        return ()

    def estimate(self, task, answer, replies=()):
        raise RuntimeError("boom")


def test_an_estimator_that_raises_does_not_lose_the_answer():
    router = ModelRouter(
        catalog=LADDER, provider=ScriptedProvider({"mini": ["4"]}), estimator=Failing(), sink=False
    )
    outcome = simple(router)
    assert (outcome.text, outcome.confidence, outcome.confidence_source) == ("4", None, "failed")


class AskingClassifier:
    """Asks the mini model how hard the task is."""

    def classify(self, task):
        (answer,) = yield (Probe(({"role": "user", "content": "how hard?"},), "classify", model="mini"),)
        complexity = TaskComplexity(answer.text)
        return Classification(complexity, 0.9, by="asking")


def test_a_classifiers_calls_are_attempts_in_the_same_ledger():
    provider = ScriptedProvider({"mini": ["complex"], "premium": ["42"]})
    router = ModelRouter(
        catalog=LADDER,
        provider=provider,
        classifier=AskingClassifier(),
        sink=False,
        estimator=lambda t, r: 1.0,
    )
    outcome = router.run("What is the answer?")
    assert [(a.purpose, a.model) for a in outcome.attempts] == [("classify", "mini"), ("answer", "premium")]
    assert outcome.decision.classification.by == "asking"
    assert not outcome.escalated


@pytest.mark.parametrize("answer", ["nonsense", AuthenticationError("401")])
def test_a_classifier_that_fails_is_replaced_by_the_rules_and_its_call_still_counts(answer):
    provider = ScriptedProvider(lambda call: answer if call.purpose == "classify" else "42")
    router = ModelRouter(
        catalog=LADDER,
        provider=provider,
        classifier=AskingClassifier(),
        sink=False,
        estimator=lambda t, r: 1.0,
    )
    outcome = router.run("What is 2+2?")
    assert outcome.decision.classification.signals[0].name == "classifier_replaced"
    assert [a.purpose for a in outcome.attempts] == ["classify", "answer"]


def test_deciding_makes_no_call_even_with_a_classifier_that_would():
    provider = ScriptedProvider([])
    router = ModelRouter(catalog=LADDER, provider=provider, classifier=AskingClassifier(), sink=False)
    assert "classifier_replaced" in router.decide("What is 2+2?").explain()
    assert provider.calls == []


class AlwaysSimple:
    def classify(self, task):
        return Classification(TaskComplexity.SIMPLE, 0.1, by="always simple")


@pytest.mark.parametrize(
    "classifier", [lambda task: "simple", AlwaysSimple(), AskingClassifier(), LLMClassifier("mini")]
)
def test_a_declared_complexity_wins_over_a_classifier_of_ones_own(classifier):
    provider = ScriptedProvider(lambda call: "simple" if call.purpose == "classify" else "42")
    router = ModelRouter(catalog=LADDER, provider=provider, classifier=classifier, sink=False)
    decision = router.decide("hi", complexity_override="complex")
    outcome = router.run("hi", complexity_override="complex")
    asyncio.run(router.arun("hi", complexity_override="complex"))
    assert outcome.decision == decision
    assert (outcome.complexity, outcome.model) == (TaskComplexity.COMPLEX, "premium")
    assert [call.purpose for call in provider.calls] == ["answer", "answer"]
    familiar = {"text": "hi", "complexity_override": "complex"}
    assert router.classify_task_complexity(familiar) is TaskComplexity.COMPLEX


def test_the_baseline_is_priced_on_the_answers_own_tokens():
    router = router_of({"mini": [reply("4", usage=Usage(1_000, 100))]}, baseline_model="premium")
    outcome = simple(router)
    # By hand: 1,000 tokens at $100 and 100 at $200 a million.
    assert outcome.baseline_cost_usd == pytest.approx(0.1 + 0.02)


def test_a_probe_obeys_the_allow_list_and_is_no_attempt_when_barred(caplog):
    _warn_barred.cache_clear()
    catalog = LADDER.with_cards(card("judge", "mini", provider="elsewhere"))
    provider = ScriptedProvider(lambda call: "4")
    router = ModelRouter(
        catalog=catalog,
        provider=provider,
        estimator=JudgeConfidence("judge"),
        providers=["x"],
        sink=False,
    )
    for _ in range(2):
        outcome = simple(router)
        assert (len(outcome.attempts), outcome.confidence_source) == (1, "judge")
    assert [call.model for call in provider.calls] == ["mini", "mini"]
    reason = "provider elsewhere is not in the allow-list ['x']"
    assert caplog.messages == [f"judge cannot be asked (judge): {reason}"]


@pytest.mark.parametrize(
    "setting",
    [
        {"estimator": JudgeConfidence("judg")},
        {"baseline_model": "judg"},
        {"classifier": LLMClassifier("judg")},
        {"strategy": FixedLadder("mini", "judg")},
    ],
)
def test_a_misspelled_model_in_the_settings_fails_when_the_router_is_built(setting):
    (name,) = setting
    with pytest.raises(UnknownModelError, match=f"^{name}: the catalog has no model 'judg'"):
        ModelRouter(catalog=LADDER, provider=ScriptedProvider([]), sink=False, **setting)


class Misbehaving:
    def __init__(self, decide):
        self._decide = decide

    def decide(self, task, classification, menu):
        return self._decide(classification)


@pytest.mark.parametrize(
    ("decide", "message"),
    [
        (lambda seen: 1 / 0, "ZeroDivisionError"),
        (lambda seen: None, "no Decision"),
        (lambda seen: Decision(seen, (), 0.5, "empty"), "no Decision with a ladder"),
        (lambda seen: Decision(seen, (Rung("gone"),), 0.5, "gone"), "gone.*ruled out: retired"),
        (lambda seen: Decision(seen, (Rung("nowhere"),), 0.5, "odd"), "nowhere.*unknown"),
    ],
)
def test_a_strategy_that_breaks_is_named_and_the_classifiers_call_is_not_lost(decide, message):
    catalog = LADDER.with_cards(card("gone", "mini", retired_on="2020-01-01"))
    sink = CapturingSink()
    router = ModelRouter(
        catalog=catalog,
        provider=ScriptedProvider({"mini": ["simple"]}),
        classifier=AskingClassifier(),
        strategy=Misbehaving(decide),
        sink=sink,
    )
    with pytest.raises(ConfigError, match=message):
        router.run("hi")
    (event,) = sink.captured
    assert [attempt["purpose"] for attempt in event.attempts] == ["classify"]
    assert event.error == "ConfigError"


class Endless:
    def classify(self, task):
        while True:
            yield (Probe(task.messages, "classify", model="mini"),)


def test_a_classifier_that_never_ends_is_replaced_by_the_rules():
    router = ModelRouter(
        catalog=LADDER, provider=ScriptedProvider(lambda call: "4"), classifier=Endless(), sink=False
    )
    outcome = router.run("What is 2+2?")
    assert outcome.text == "4"
    assert [a.purpose for a in outcome.attempts] == ["classify"] * 8 + ["answer"]


@pytest.mark.parametrize("live", ["sync", "async"])
def test_a_provider_that_returns_no_reply_is_a_failure_of_unknown_cost(live):
    provider = ScriptedProvider(lambda call: "4")
    answered = provider.send
    provider.send = lambda call: None if call.model == "mini" else answered(call)
    router = router_of(provider)
    outcome = (
        simple(router)
        if live == "sync"
        else asyncio.run(router.arun("What is 2+2?", complexity_override="simple"))
    )
    assert [a.failure and a.failure.kind for a in outcome.attempts] == ["malformed", None]
    assert outcome.unpriced_attempts == 1


def test_a_failing_judge_is_passed_over_after_a_while():
    provider = ScriptedProvider(lambda call: ProviderTimeoutError("late") if call.purpose == "judge" else "4")
    router = ModelRouter(
        catalog=LADDER,
        provider=provider,
        estimator=JudgeConfidence("standard"),
        breaker_failures=2,
        sink=False,
        clock=FrozenClock(),
    )
    for _ in range(5):
        assert simple(router).text == "4"
    assert [call.purpose for call in provider.calls].count("judge") == 2


def test_an_image_reserves_the_whole_context_under_a_budget():
    catalog = Catalog.of([card("eye", "mini", abilities={"images"}, context_tokens=100_000)])
    image = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://127.0.0.1/x"}}]}]
    router = router_of({"eye": ["4", "4"]}, catalog=catalog)
    with pytest.raises(BudgetExceededError):
        router.run(image, max_usd=0.05, max_tokens=10)  # by hand: 100,000 tokens at $1 a million are $0.10
    assert router.run(image, max_usd=0.11, max_tokens=10).text == "4"


def test_a_baseline_that_does_not_reason_is_not_charged_for_reasoning():
    usage = Usage(1_000, 600, reasoning_tokens=500)
    outcome = simple(router_of({"mini": [reply("4", usage=usage)]}, baseline_model="premium"))
    # By hand: 1,000 tokens at $100 and the 100 that are not reasoning at $200 a million.
    assert outcome.baseline_cost_usd == pytest.approx(0.1 + 0.02)


def test_a_confidence_that_was_asked_for_is_read_and_leaves_the_answer():
    provider = ScriptedProvider(lambda call: "82\nconfidence: 0.9")
    router = ModelRouter(catalog=LADDER, provider=provider, ask_confidence=True, sink=False)
    outcome = simple(router)
    assert (outcome.text, outcome.confidence, outcome.confidence_source) == ("82", 0.9, "reported")
    assert "0.8" in provider.calls[0].messages[-1]["content"]


def test_a_confidence_that_was_asked_for_leaves_the_answer_that_a_deadline_cuts_short_too():
    clock = FrozenClock()

    def late(call):
        clock.advance(5.0)
        return "82\nconfidence: 0.9"

    router = ModelRouter(
        catalog=LADDER,
        provider=ScriptedProvider(late),
        estimator=JudgeConfidence("premium"),
        clock=clock,
        timeout_s=4.0,
        ask_confidence=True,
        sink=False,
    )
    outcome = asyncio.run(router.arun("What is 2+2?", complexity_override="simple"))
    assert (outcome.text, outcome.stopped_by, models(outcome)) == ("82", "deadline", ["mini"])


def test_rolled_back_no_model_is_asked_but_the_baseline():
    provider = ScriptedProvider(lambda call: "4")
    router = ModelRouter(
        catalog=LADDER,
        provider=provider,
        classifier=AskingClassifier(),
        estimator=JudgeConfidence("premium"),
        smart_routing=False,
        sink=False,
    )
    router.run("hi")
    assert [call.model for call in provider.calls] == ["standard"]
