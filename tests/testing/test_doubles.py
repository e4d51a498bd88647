"""The doubles that users' tests rely on."""

import pytest

from smartroute import AllModelsFailedError, ModelRouter
from smartroute.routing.strategies import FixedLadder
from smartroute.testing import ScriptedProvider, ScriptExhaustedError

LADDER = ("gpt-4o-mini", "gpt-4o")


def router_of(script, **options):
    return ModelRouter(
        provider=ScriptedProvider(script, **options), strategy=FixedLadder(*LADDER), sink=False
    )


def test_a_script_that_has_run_out_says_so_and_how_to_give_more():
    router = router_of(["7"])
    assert router.run("2 + 5").text == "7"
    with pytest.raises(AllModelsFailedError, match="gpt-4o-mini: script_exhausted; gpt-4o: script") as caught:
        router.run("2 + 5")
    assert isinstance(caught.value.__cause__, ScriptExhaustedError)
    messages = [attempt.failure.message for attempt in caught.value.attempts]
    assert messages == [
        f"call {number}, to '{model}', is one more than the script has results for; add one, or pass "
        "repeat=True"
        for number, model in zip((2, 3), LADDER, strict=True)
    ]


def test_a_call_beyond_the_script_was_never_made_and_costs_nothing():
    router = router_of([])
    with pytest.raises(AllModelsFailedError) as caught:
        router.run("2 + 5")
    assert [attempt.cost_usd for attempt in caught.value.attempts] == [0.0, 0.0]


def test_a_script_without_a_model_says_which():
    router = router_of({"gpt-4o": ["7"]})
    outcome = router.run("2 + 5")
    assert (outcome.text, outcome.model) == ("7", "gpt-4o")
    failure = outcome.attempts[0].failure
    assert failure.kind == "script_exhausted"
    assert "nothing for model 'gpt-4o-mini'" in failure.message


def test_a_script_that_repeats_does_not_run_out():
    router = router_of(["7"], repeat=True)
    assert [router.run("2 + 5").text for _ in range(5)] == ["7"] * 5
