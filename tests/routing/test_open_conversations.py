"""A conversation with open tool calls stays with its provider: answers, samples and the rolled-back model."""

import pytest

from smartroute import Catalog, Confidence, ConfigError, ModelCard, ModelRouter, Price, TaskError
from smartroute.errors import NoEligibleModelError
from smartroute.records import Failure, Probe
from smartroute.testing import ScriptedProvider

OPEN = [
    {"role": "user", "content": "What is the weather in Rome?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "w", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "toolu_1", "content": "Sunny."},
]
UNKNOWN = [OPEN[0], {**OPEN[1], "tool_calls": [{**OPEN[1]["tool_calls"][0], "id": "call_1"}]}, OPEN[2]]


def card(provider, tier, usd, **fields):
    abilities = {"tools", *fields.pop("abilities", ())}
    name = f"{provider}-{tier}"
    return ModelCard(
        name, tier=tier, target=f"{provider}/{name}", price=Price(usd, usd), abilities=abilities, **fields
    )


CARDS = [card("openai", "mini", 1.0), card("anthropic", "mini", 2.0), card("openai", "standard", 3.0)]


class AskingAnother:
    """Samples a cheap model of another provider, and the answering one."""

    def __init__(self):
        self.seen = ()

    def probes(self, task, answer):
        return Probe(task.messages, "sample", model="openai-mini"), Probe(task.messages, "sample")

    def estimate(self, task, answer, replies=()):
        self.seen = replies
        return Confidence(1.0, "sampling")


def router_of(**settings):
    return ModelRouter(
        catalog=Catalog.of(settings.pop("cards", CARDS)),
        provider=ScriptedProvider(lambda call: "Sunny in Rome."),
        sink=False,
        **settings,
    )


def test_no_sample_of_a_tied_conversation_goes_to_another_provider():
    estimator = AskingAnother()
    router = router_of(estimator=estimator)
    outcome = router.run(messages=OPEN)
    assert {attempt.provider for attempt in outcome.attempts} == {"anthropic"}
    assert isinstance(estimator.seen[0], Failure) and estimator.seen[0].kind == "barred"
    assert estimator.seen[1].text == "Sunny in Rome."
    assert {call.provider for call in router.provider.calls} == {"anthropic"}


def test_samples_stay_with_the_answer_where_nobody_knows_where_a_conversation_began():
    router = router_of(estimator=AskingAnother(), strategy=None)
    home = router.run(messages=UNKNOWN).attempts[0].provider
    assert {call.provider for call in router.provider.calls} == {home}


@pytest.mark.parametrize("preferred", [None, "openai-mini"])
def test_a_conversation_from_nowhere_climbs_within_the_provider_that_is_asked_first(preferred):
    cards = [
        card("openai", "mini", 1.0),
        card("anthropic", "mini", 2.0),
        card("anthropic", "standard", 3.0),
        card("openai", "standard", 4.0),
        card("anthropic", "premium", 5.0),
        card("openai", "premium", 6.0),
    ]
    router = router_of(cards=cards, estimator=lambda task, answer: 0.1)
    decision = router.decide(messages=UNKNOWN, preferred_model=preferred)
    ladder = [(rung.model, rung.standin) for rung in decision.ladder]
    assert ladder == [("openai-mini", False), ("openai-standard", False), ("openai-premium", False)]
    stays = "the conversation has open tool calls or signed thinking and stays with openai"
    assert stays in decision.reasons
    gone = {out.model for out in decision.ruled_out if out.reason == stays}
    assert gone == {"anthropic-mini", "anthropic-standard", "anthropic-premium"}
    outcome = router.run(messages=UNKNOWN, preferred_model=preferred)
    assert [attempt.model for attempt in outcome.attempts] == [name for name, _ in ladder]


def test_a_conversation_that_is_free_may_be_sampled_anywhere():
    router = router_of(estimator=AskingAnother())
    router.run("What is 2+2?", preferred_model="anthropic-mini")
    assert {call.provider for call in router.provider.calls} == {"anthropic", "openai"}


def test_the_way_back_leaves_an_open_conversation_where_it_is():
    router = router_of(smart_routing=False, baseline_model="openai-standard")
    assert router.run("hi").model == "openai-standard"
    assert router.run(messages=OPEN).model == "anthropic-mini"


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"modalities": ["text", "audio"]}, "audio_output"),
        ({"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {}}]}]}, "video"),
        ({"messages": [{"role": "user", "content": [{"type": "hologram"}, {"text": "hi"}]}]}, "files"),
    ],
)
def test_what_no_model_can_take_or_give_is_named(options, missing):
    options.setdefault("messages", [{"role": "user", "content": "hi"}])
    with pytest.raises(NoEligibleModelError, match=f"cannot take {missing}"):
        router_of().decide(**options)
    able = card("x", "mini", 1.0, abilities=(missing,))
    assert router_of(cards=[*CARDS, able]).decide(**options).ladder[0].model == "x-mini"


def test_thinking_needs_more_room_than_the_answer():
    thinker = card("anthropic", "premium", 9.0, efforts=("low", "high"))
    router = router_of(cards=[thinker], cost_optimization_mode=False)
    assert [str(rung) for rung in router.decide("hi").ladder][-1] == "anthropic-premium@high"
    assert [str(rung) for rung in router.decide("hi", max_tokens=100).ladder] == ["anthropic-premium"]
    with pytest.raises(NoEligibleModelError, match="thinks longer than the 1024 tokens"):
        router.decide("hi", reasoning_effort="low", max_tokens=1_024)
    assert router.decide("hi", reasoning_effort="low", max_tokens=1_025).ladder


def test_two_efforts_that_contradict_each_other_are_refused():
    thinker = card("anthropic", "premium", 9.0, efforts=("low", "high"))
    router = router_of(cards=[thinker])
    with pytest.raises(TaskError, match="contradict"):
        router.decide("hi", preferred_model="anthropic-premium@high", reasoning_effort="low")
    assert router.decide("hi", preferred_model="anthropic-premium@high", reasoning_effort="high").ladder


def test_an_allowed_provider_that_is_misspelled_is_named():
    with pytest.raises(ConfigError, match="anthropic"):
        router_of(providers=["antropic"])


def test_a_given_schema_has_no_room_for_a_confidence_and_is_not_asked_for_one():
    able = card("x", "mini", 1.0, abilities=("json_schema",))
    router = router_of(cards=[able], ask_confidence=True)
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    shape = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}}
    router.run("hi", response_format=shape)
    router.run("hi")
    assert [len(call.messages) for call in router.provider.calls] == [1, 2]
