import subprocess
import sys

import pytest

from smartroute import Catalog, ConfigError, ModelCard, ModelRouter, Price, UnknownModelError
from smartroute.routing.strategies import CostOptimized, FixedLadder, QualityFirst, TaskType
from smartroute.testing import ScriptedProvider

TIERS = ("mini", "standard", "premium")


def card(provider, tier, usd, **fields):
    return ModelCard(
        f"{provider}-{tier}",
        tier=tier,
        target=f"{provider}/{provider}-{tier}",
        price=Price(usd, usd),
        **fields,
    )


ONE = [card("openai", tier, usd) for tier, usd in zip(TIERS, (1.0, 10.0, 100.0), strict=True)]
TWO = ONE + [card("gemini", tier, usd) for tier, usd in zip(TIERS, (2.0, 5.0, 200.0), strict=True)]


def ladder(cards, strategy=None, *, complexity="simple", **options):
    router = ModelRouter(
        catalog=Catalog.of(cards), provider=ScriptedProvider([]), strategy=strategy, sink=False
    )
    decision = router.decide("hi", complexity_override=complexity, **options)
    return [f"{rung}{' (stand-in)' if rung.standin else ''}" for rung in decision.ladder]


@pytest.mark.parametrize(("complexity", "first"), [("simple", 0), ("medium", 1)])
def test_cost_optimization_starts_where_the_complexity_says_and_climbs(complexity, first):
    expected = [f"openai-{tier}" for tier in TIERS[first:]]
    assert ladder(ONE, CostOptimized(), complexity=complexity) == expected


def test_a_ladder_of_one_rung_has_the_tier_below_as_its_stand_in():
    alone = ["openai-premium", "openai-standard (stand-in)"]
    assert ladder(ONE, CostOptimized(), complexity="complex") == alone
    assert ladder(ONE, QualityFirst(), complexity="medium") == alone
    assert ladder(ONE, QualityFirst(), complexity="complex") == alone
    assert ladder(ONE, preferred_model="openai/openai-premium") == alone


def test_without_another_provider_the_stand_in_is_the_next_model_of_the_same():
    second = ModelCard("openai-other", tier="premium", target="openai/other", price=Price(150.0, 150.0))
    assert ladder([*ONE, second], complexity="complex") == ["openai-premium", "openai-other (stand-in)"]


def test_each_tier_has_its_cheapest_model_and_a_stand_in_of_another_provider():
    assert ladder(TWO) == [
        "openai-mini",
        "gemini-mini (stand-in)",
        "gemini-standard",
        "openai-standard (stand-in)",
        "openai-premium",
        "gemini-premium (stand-in)",
    ]


def test_a_tier_without_models_is_left_out_and_below_is_better_than_nothing():
    assert ladder([ONE[0], ONE[2]], complexity="medium") == ["openai-premium", "openai-mini (stand-in)"]
    assert ladder([ONE[0]], complexity="complex") == ["openai-mini"]


def test_unpriced_models_come_last_in_their_tier():
    unpriced = ModelCard("dark", tier="mini", target="zz/dark", price=None)
    assert ladder([unpriced, ONE[0]])[:2] == ["openai-mini", "dark (stand-in)"]


@pytest.mark.parametrize(("complexity", "first"), [("simple", 1), ("medium", 2), ("complex", 2)])
def test_quality_first_starts_one_tier_higher(complexity, first):
    chosen = ladder(ONE, QualityFirst(), complexity=complexity)
    assert [name for name in chosen if "stand-in" not in name] == [f"openai-{t}" for t in TIERS[first:]]


def test_quality_first_ends_at_the_top_models_highest_effort():
    top = card("openai", "premium", 100.0, abilities={"effort"}, efforts=("low", "high"))
    assert ladder([*ONE[:2], top], QualityFirst())[-2:] == ["openai-premium", "openai-premium@high"]


def test_switching_cost_optimization_off_means_quality_first():
    router = ModelRouter(
        cost_optimization_mode=False, catalog=Catalog.of(ONE), provider=ScriptedProvider([]), sink=False
    )
    decision = router.decide("What is 2+2?")
    assert (decision.strategy, decision.ladder[0].model) == ("quality_first", "openai-standard")


@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("score", "openai-mini"),
        ("extract", "openai-mini"),
        ("creative", "gemini-premium"),
        ("reasoning", "gemini-premium"),
        ("psychology", "anthropic-premium"),
        ("analysis", "anthropic-premium"),
    ],
)
def test_task_type_starts_with_the_model_that_the_kind_prefers(kind, first):
    cards = [*TWO, card("anthropic", "premium", 300.0)]
    router = ModelRouter(
        catalog=Catalog.of(cards), provider=ScriptedProvider([]), strategy=TaskType(), sink=False
    )
    decision = router.decide("x" * 1_000, kind=kind)
    assert decision.ladder[0].model == first
    assert decision.strategy == "task_type_optimized"


def test_task_type_without_a_preference_is_cost_optimization():
    assert ladder(TWO, TaskType(), kind="general") == ladder(TWO, CostOptimized())


def test_a_fixed_ladder_is_kept_with_its_efforts_less_who_is_ruled_out():
    thinker = card("x", "standard", 3.0, abilities={"effort"}, efforts=("low", "high"))
    fixed = FixedLadder("openai-premium", ("x-standard", "high"), "openai-mini")
    assert ladder([*ONE, thinker], fixed) == ["openai-premium", "x-standard@high", "openai-mini"]
    retired = card("openai", "premium", 100.0, retired_on="2020-01-01")
    assert ladder([*ONE[:2], retired, thinker], fixed) == ["x-standard@high", "openai-mini"]
    with pytest.raises(UnknownModelError, match="openai-premium"):
        ladder([*ONE[:2], thinker], fixed)
    with pytest.raises(ConfigError, match="no effort 'max'"):
        ladder([*ONE, thinker], FixedLadder(("x-standard", "max")))
    with pytest.raises(ConfigError):
        FixedLadder()


def test_a_preferred_model_wins_with_only_higher_tiers_above_it():
    assert ladder(ONE, preferred_model="openai-standard") == ["openai-standard", "openai-premium"]


def only_rung(settings, **options):
    thinker = card("x", "standard", 3.0, abilities={"effort"}, efforts=("none", "low", "high"))
    router = ModelRouter(catalog=Catalog.of([thinker]), provider=ScriptedProvider([]), sink=False, **settings)
    (rung,) = router.decide("hi", **options).ladder
    return rung


@pytest.mark.parametrize(("effort", "factor"), [("none", 0.7), ("low", 1.0), ("high", 4.0)])
def test_an_effort_that_the_caller_asks_for_is_priced_as_a_rungs_own(effort, factor):
    # By hand: "hi" is 8 tokens in, 300 times the factor are expected out, at $3 a million both.
    expected = pytest.approx((8 + 300 * factor) * 3e-6, rel=1e-12)
    for settings in ({}, {"smart_routing": False, "baseline_model": "x-standard"}):
        assert only_rung(settings, reasoning_effort=effort).expected_usd == expected
    assert (
        only_rung({}, reasoning_effort=effort, preferred_model=f"x-standard@{effort}").expected_usd
        == expected
    )
    own = {"strategy": FixedLadder(("x-standard", effort))}
    for asked in (None, "none", "high"):
        assert only_rung(own, reasoning_effort=asked).expected_usd == expected


def test_an_effort_makes_the_output_dearer_and_not_the_input():
    def decided(prompt, **options):
        able = {"tier": "mini", "abilities": {"effort"}, "efforts": ("low", "high")}
        cards = [
            ModelCard("cheap-in", target="x/in", price=Price(1.0, 20.0), **able),
            ModelCard("cheap-out", target="y/out", price=Price(2.0, 4.0), **able),
        ]
        router = ModelRouter(catalog=Catalog.of(cards), provider=ScriptedProvider([]), sink=False)
        return router.decide(prompt, **options, complexity_override="simple").ladder

    prompt = "word " * 10_000
    plain, thinking = decided(prompt), decided(prompt, reasoning_effort="high")
    # By hand: at 900 tokens more of output the model with the more expensive input becomes the cheaper one.
    assert [rung.model for rung in plain] == ["cheap-in", "cheap-out"]
    assert [rung.model for rung in thinking] == ["cheap-out", "cheap-in"]
    assert thinking[0].expected_usd - plain[1].expected_usd == pytest.approx(900 * 4e-6)
    # max_tokens holds for thinking and answer together: no more than 400 tokens in all.
    capped = decided(prompt, reasoning_effort="high", max_tokens=400)
    assert capped[0].model == "cheap-in"
    assert capped[0].expected_usd - plain[0].expected_usd == pytest.approx(100 * 20e-6)


@pytest.mark.parametrize("options", [{}, {"max_tokens": 400}, {"max_tokens": 400, "n": 3}])
def test_an_effort_costs_the_same_however_it_is_asked_for(options):
    asked = only_rung({}, reasoning_effort="high", **options)
    named = only_rung({}, preferred_model="x-standard@high", **options)
    laid = only_rung({"strategy": FixedLadder(("x-standard", "high"))}, **options)
    assert named.expected_usd == pytest.approx(asked.expected_usd, rel=1e-12)
    assert laid.expected_usd == pytest.approx(asked.expected_usd, rel=1e-12)


def test_several_answers_at_once_are_foretold_at_the_cost_of_each():
    one, capped = only_rung({}).expected_usd, only_rung({}, max_tokens=10).expected_usd
    assert only_rung({}, n=3).expected_usd - one == pytest.approx(2 * (one - capped) * 300 / 290, rel=1e-9)


def test_a_preferred_model_may_name_its_effort():
    thinker = card("x", "mini", 3.0, abilities={"effort"}, efforts=("low", "high"))
    assert ladder([thinker], preferred_model="x-mini@high") == ["x-mini@high"]
    with pytest.raises(ConfigError, match="no effort 'max'"):
        ladder([thinker], preferred_model="x-mini@max")


def test_rolled_back_everything_goes_to_the_baseline(monkeypatch):
    monkeypatch.setenv("ENABLE_SMART_ROUTING", "false")
    router = ModelRouter(
        catalog=Catalog.of(ONE),
        provider=ScriptedProvider(lambda call: "ok"),
        estimator=lambda t, r: 0.0,
        sink=False,
    )
    for prompt in ("hi", "Prove it. " * 400):
        outcome = router.run(prompt)
        assert (outcome.model, outcome.decision.strategy, outcome.stopped_by) == (
            "openai-standard",
            "baseline",
            None,
        )


def test_the_default_baseline_is_the_cheapest_standard_model():
    router = ModelRouter(catalog=Catalog.of(TWO), provider=ScriptedProvider(["ok"]), sink=False)
    assert router.run("hi").baseline_model == "gemini-standard"


def test_a_conversation_with_open_tool_calls_rules_other_providers_out():
    call = {"id": "call_9", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    talk = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_9", "content": "rain"},
    ]
    cards = [
        card(provider, tier, usd, abilities={"tools"})
        for provider, usd in (("openai", 1.0), ("gemini", 2.0))
        for tier in TIERS
    ]
    router = ModelRouter(catalog=Catalog.of(cards), provider=ScriptedProvider([]), sink=False)
    stays = router.decide(talk)
    assert {rung.model.split("-")[0] for rung in stays.ladder} == {"openai"}
    assert any("open tool calls" in out.reason for out in stays.ruled_out)
    router._books.conversations.remember([call], "gemini")
    assert {rung.model.split("-")[0] for rung in router.decide(talk).ladder} == {"gemini"}


DECIDE = """
from smartroute import ModelRouter
from smartroute.testing import ScriptedProvider
router = ModelRouter(provider=ScriptedProvider([]), sink=False)
for prompt in ("What is 2+2?", "Prove there are infinitely many primes.", "x " * 3000):
    print(router.decide(prompt).explain())
"""


def test_the_same_task_gets_the_same_decision_in_every_process():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", DECIDE],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1
    assert "rung 1" in outputs.pop()


@pytest.mark.parametrize("barred", [{"retired_on": "2020-01-01"}, {}])
def test_rolled_back_obeys_the_allow_list_and_retirement(barred):
    cards = [*ONE, card("gemini", "standard", 5.0, **barred)]
    router = ModelRouter(
        catalog=Catalog.of(cards),
        provider=ScriptedProvider([]),
        smart_routing=False,
        baseline_model="gemini-standard",
        providers=["openai"] if not barred else None,
        sink=False,
    )
    with pytest.raises(ConfigError, match="gemini-standard is barred"):
        router.run("hi")


def test_rolled_back_without_a_declared_baseline_takes_a_model_that_can_take_the_request():
    strict = card("gemini", "standard", 5.0, refuses={"temperature"})
    router = ModelRouter(
        catalog=Catalog.of([*ONE, strict]), provider=ScriptedProvider([]), smart_routing=False, sink=False
    )
    assert router.decide("hi").ladder[0].model == "gemini-standard"
    decision = router.decide("hi", temperature=0.5)
    assert decision.ladder[0].model == "openai-standard"
    assert decision.ladder[0].expected_usd is not None


def test_a_start_below_the_tier_that_was_meant_is_told_as_one():
    router = ModelRouter(catalog=Catalog.of(ONE[:2]), provider=ScriptedProvider([]), sink=False)
    explanation = router.decide("hi", complexity_override="complex").explain()
    assert "no premium model can take this request, so at the standard tier" in explanation


@pytest.mark.parametrize(
    "rung", [5, None, ["mini", "std", "top"], ["mini", "std"], ("mini", "high", 1), ("mini", 5)]
)
def test_a_rung_of_a_fixed_ladder_that_is_none_is_told_by_value(rung):
    with pytest.raises(ConfigError, match="one by one") as caught:
        FixedLadder(rung)
    assert repr(rung) in str(caught.value)
