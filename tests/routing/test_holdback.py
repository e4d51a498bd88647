"""A share of requests goes to the declared baseline at random, so that savings can be measured."""

import pytest

from smartroute import Catalog, ConfigError, ModelCard, ModelRouter, Price
from smartroute.errors import ProviderUnavailableError
from smartroute.routing.retries import RetryPolicy
from smartroute.testing import CapturingSink, ScriptedProvider

CATALOG = Catalog.of(
    [
        ModelCard("mini", tier="mini", target="x/mini", price=Price(1.0, 2.0)),
        ModelCard("base", tier="standard", target="x/base", price=Price(5.0, 10.0)),
        ModelCard("top", tier="premium", target="x/top", price=Price(9.0, 30.0)),
    ]
)


def router_of(script=lambda call: "ok", **settings):
    settings = {"holdback_share": 0.2, "baseline_model": "base", "seed": 7, **settings}
    return ModelRouter(
        catalog=settings.pop("catalog", CATALOG),
        provider=ScriptedProvider(script),
        sink=CapturingSink(),
        **settings,
    )


def test_the_share_is_held_back_and_both_sides_say_so():
    """2,000 draws at 20%: 400 expected, standard deviation 17.9."""
    router = router_of()
    for _ in range(2_000):
        router.run("What is 2+2?")
    events = router.config.sink.captured
    held = [event for event in events if event.holdback == "held"]
    routed = [event for event in events if event.holdback == "routed"]
    assert len(held) + len(routed) == 2_000
    assert 400 - 4 * 17.9 < len(held) < 400 + 4 * 17.9
    assert {(event.model, event.action_propensity, event.accept_at) for event in held} == {("base", 0.2, 0.0)}
    assert {(event.model, event.action_propensity) for event in routed} == {("mini", 0.8)}
    assert {event.holdback_share for event in events} == {0.2}


def test_nothing_is_held_back_unless_asked_for():
    router = router_of(holdback_share=0.0)
    router.run("What is 2+2?")
    (event,) = router.config.sink.captured
    assert (event.holdback, event.holdback_share, event.action_propensity) == (None, None, 1.0)


def test_asking_for_the_model_of_a_complexity_draws_nothing_and_gets_the_routers_own_choice():
    asked, plain = router_of(holdback_share=0.5), router_of(holdback_share=0.5)
    named, drawn = [], []
    for _ in range(30):
        named.append(asked.get_model_for_complexity("simple"))
        drawn.append((asked.run("What is 2+2?").model, plain.run("What is 2+2?").model))
    assert set(named) == {"mini"}
    assert set(drawn) == {("mini", "mini"), ("base", "base")}


@pytest.mark.parametrize(
    "options",
    [
        {"preferred_model": "top"},
        {"complexity_override": "complex"},
        {
            "messages": [
                {"role": "user", "content": "Weather?"},
                {
                    "role": "assistant",
                    "tool_calls": [
                        {"id": "c", "type": "function", "function": {"name": "w", "arguments": "{}"}}
                    ],
                },
                {"role": "tool", "tool_call_id": "c", "content": "Sunny."},
            ]
        },
    ],
)
def test_a_choice_of_the_user_or_of_the_conversation_is_never_held_back(options):
    able = Catalog.of(
        [ModelCard(c.name, tier=c.tier, target=c.target, price=c.price, abilities={"tools"}) for c in CATALOG]
    )
    router = router_of(catalog=able, holdback_share=0.5)
    for _ in range(20):
        decision = router.decide(*(() if "messages" in options else ("hi",)), **options)
        assert decision.holdback is None


def test_a_held_request_is_believed_and_replaced_only_when_it_fails():
    def script(call):
        if call.model == "base":
            raise ProviderUnavailableError("503")
        return "I'm sorry, I cannot help with that."

    router = router_of(script, holdback_share=0.5, retry=RetryPolicy(calls=1))
    decisions = [router.decide("What is 2+2?") for _ in range(40)]
    held = next(decision for decision in decisions if decision.holdback == "held")
    assert [(rung.model, rung.standin) for rung in held.ladder] == [("base", False), ("top", True)]
    assert "held back: 50.0%" in held.explain()


def test_a_baseline_that_cannot_take_a_request_holds_nothing_back():
    small = ModelCard("base", tier="standard", target="x/base", price=Price(5.0, 10.0), context_tokens=10)
    router = router_of(catalog=CATALOG.with_cards(small), holdback_share=0.5)
    assert all(router.decide("word " * 200).holdback is None for _ in range(20))


@pytest.mark.parametrize("share", [-0.1, 0.51, float("nan"), True, "half"])
def test_a_share_out_of_range_fails_at_construction(share):
    with pytest.raises(ConfigError, match="holdback_share"):
        router_of(holdback_share=share)


def test_draws_repeat_with_their_seed():
    def drawn(seed):
        router = router_of(seed=seed)
        return [router.decide("hi").holdback for _ in range(50)]

    assert drawn(1) == drawn(1) != drawn(2)
