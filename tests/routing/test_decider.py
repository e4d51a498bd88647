"""Who decides: the caller's model, the caller's complexity, the strategy, the holdback, or the baseline."""

from dataclasses import replace

import pytest

from smartroute.catalog import Catalog, ModelCard
from smartroute.errors import ConfigError, TaskError
from smartroute.pricing import Price
from smartroute.records import Classification, Menu, Task, TaskComplexity
from smartroute.routing.decider import Decider
from smartroute.routing.eligibility import Eligibility
from smartroute.routing.strategies import CostOptimized

CATALOG = Catalog.of(
    [
        ModelCard("small", tier="mini", target="acme/small", price=Price(1, 1)),
        ModelCard("middle", tier="standard", target="acme/middle", price=Price(10, 10)),
        ModelCard(
            "large",
            tier="premium",
            target="other/large",
            price=Price(100, 100),
            abilities={"effort"},
            efforts=("low", "high"),
        ),
    ]
)
PRICES = CATALOG.prices()
ELIGIBILITY = Eligibility(CATALOG, PRICES, needs_keys=False)
SIMPLE = Classification(TaskComplexity.SIMPLE, 0.1)


def decider(strategy=None, **settings):
    return Decider(CATALOG, PRICES, ELIGIBILITY, strategy or CostOptimized(), **settings)


def decided(by, tied_to=None, **options):
    task = Task.of("hi", **options)
    menu = ELIGIBILITY.menu(task, accept_at=0.7, tied_to=tied_to)
    return by.decide(task, SIMPLE, menu)


class Never:
    """A strategy that must not be asked."""

    def decide(self, task, classification, menu):
        raise AssertionError("asked")


def test_the_callers_model_wins_over_strategy_and_holdback():
    decision = decided(decider(Never(), holdback_share=0.999), preferred_model="large@high")
    assert [str(rung) for rung in decision.ladder][:1] == ["large@high"]
    assert (decision.overridden, decision.holdback) == (True, None)


def test_the_callers_complexity_is_told_and_never_held_back():
    decision = decided(decider(holdback_share=0.999), complexity_override="simple")
    assert decision.reasons[0] == "complexity_override=simple"
    assert (decision.overridden, decision.holdback) == (True, None)


def test_a_share_of_what_the_strategy_decides_goes_to_the_baseline():
    held = [decided(decider(holdback_share=0.25, seed=seed)) for seed in range(400)]
    to_baseline = [decision for decision in held if decision.holdback == "held"]
    # Of 400 draws of probability 0.25, 60 to 140 but once in a million.
    assert 60 < len(to_baseline) < 140
    assert {decision.ladder[0].model for decision in to_baseline} == {"middle"}
    assert {decision.holdback for decision in held} == {"held", "routed"}


def test_switched_off_neither_the_caller_nor_the_strategy_is_asked():
    off = decider(Never(), smart_routing=False)
    assert decided(off, preferred_model="large").ladder[0].model == "middle"
    assert decided(decider(smart_routing=False, baseline_model="large")).ladder[0].model == "large"


@pytest.mark.parametrize("settings", [{}, {"holdback_share": 0.999}, {"smart_routing": False}])
def test_a_conversation_that_is_tied_stays_with_its_provider(settings):
    decision = decided(decider(**settings), tied_to="other")
    assert {rung.model for rung in decision.ladder} == {"large"}
    assert decision.holdback is None


def test_one_of_unknown_origin_stays_with_the_provider_of_its_first_rung():
    decision = decided(decider(), tied_to="?")
    assert {rung.model for rung in decision.ladder} == {"small", "middle"}


def test_two_efforts_that_contradict_each_other_are_refused():
    with pytest.raises(TaskError, match="'large@high' and reasoning_effort='low' contradict"):
        decided(decider(), preferred_model="large@high", params={"reasoning_effort": "low"})


def test_a_strategy_that_offers_what_is_ruled_out_is_told_why():
    class Stale(CostOptimized):
        def decide(self, task, classification, menu):
            everyone = ELIGIBILITY.menu(Task.of("hi"), accept_at=0.7)
            return super().decide(task, classification, everyone)

    with pytest.raises(ConfigError, match="put small on the ladder, which is ruled out: cannot take effort"):
        decided(decider(Stale()), params={"reasoning_effort": "low"})


def test_without_a_standard_model_the_baseline_is_the_nearest_tier():
    task = Task.of("hi")
    menu = ELIGIBILITY.menu(task, accept_at=0.7)
    without = replace(menu, candidates=tuple(c for c in menu.candidates if c.model != "middle"))
    assert isinstance(without, Menu)
    assert decider(smart_routing=False).decide(task, SIMPLE, without).ladder[0].model == "small"
