"""ModelRouter as callers of the replaced system know it. Expectations are COMPAT's, written down by hand."""

import asyncio

import pytest
from replaced_system import ANSWER_KEYS

from smartroute import Catalog, ModelCard, ModelRouter, Price, TaskComplexity
from smartroute.testing import CapturingSink, ScriptedProvider, reply

CATALOG = Catalog.of(
    [
        ModelCard(tier, tier=tier, target=f"x/{tier}", price=Price(usd, usd))
        for tier, usd in (("mini", 1.0), ("standard", 10.0), ("premium", 100.0))
    ]
)


@pytest.fixture
def router():
    return ModelRouter(
        catalog=CATALOG,
        provider=ScriptedProvider(lambda call: reply("ok", input_tokens=100, output_tokens=100)),
        estimator=lambda task, answer: 0.8,
        sink=False,
    )


def test_the_constructor_takes_its_three_parameters_by_place_and_by_name():
    assert ModelRouter(0.9, False, False).config.accept_at == 0.9
    config = ModelRouter(escalation_threshold=0.5, enable_escalation=True, cost_optimization_mode=True).config
    assert (config.accept_at, config.escalate, config.cost_optimization) == (0.5, True, True)


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ({"text": "Rate this", "type": "score"}, "simple"),
        ({"text": "x" * 499, "type": "classify"}, "simple"),
        ({"text": "x" * 499, "type": "extract"}, "simple"),
        ({"text": "x" * 500, "type": "score"}, "medium"),
        ({"text": "x" * 2_000, "type": "score"}, "medium"),
        ({"text": "x" * 2_001, "type": "score"}, "complex"),
        ({"text": "x" * 2_001, "type": "general"}, "complex"),
        ({"text": "hi", "type": "psychology"}, "complex"),
        ({"text": "hi", "type": "creative"}, "complex"),
        ({"text": "hi", "type": "reasoning"}, "complex"),
        ({"text": "hi", "type": "strategy"}, "complex"),
        ({"text": "hi", "type": "general", "requirements": {"deep_analysis": True}}, "complex"),
        ({"text": "hi", "type": "general", "requirements": ["multi_step_reasoning"]}, "complex"),
        ({"text": "hi", "type": "general", "requirements": {"creative_reasoning": False}}, "simple"),
        ({"text": "x" * 9_000, "type": "creative", "complexity_override": "simple"}, "simple"),
        ({"text": "hi", "type": "score", "complexity_override": TaskComplexity.COMPLEX}, "complex"),
    ],
)
def test_complexity_follows_the_familiar_rules(router, task, expected):
    found = router.classify_task_complexity(task)
    assert isinstance(found, TaskComplexity)
    assert found.value == expected


@pytest.mark.parametrize("complexity", ["simple", TaskComplexity.SIMPLE])
def test_the_model_for_a_complexity_is_the_first_rung(router, complexity):
    assert router.get_model_for_complexity(complexity) == "mini"
    assert router.get_model_for_complexity(TaskComplexity.MEDIUM, "general") == "standard"
    assert router.get_model_for_complexity(TaskComplexity.COMPLEX, "creative") == "premium"


def test_route_and_execute_returns_the_familiar_keys(router):
    result = asyncio.run(router.route_and_execute({"text": "x" * 3_000, "type": "general"}, "Say ok."))
    assert set(result) == ANSWER_KEYS
    assert (result["result"], result["model_used"], result["complexity"]) == ("ok", "premium", "complex")
    assert result["cost"] == pytest.approx(200 * 100e-6)
    assert router.provider.calls[-1].messages[-1]["content"] == "Say ok."


def test_route_and_execute_passes_the_response_format_through(router):
    asyncio.run(
        router.route_and_execute(
            {"text": "hi", "type": "score"}, "Say {}.", response_format={"type": "json_object"}
        )
    )
    assert router.provider.calls[-1].params["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(("user_id", "unit"), [(7, "7"), ("ann", "ann"), ("", None), (None, None)])
def test_a_task_may_name_its_user_as_the_executor_may(user_id, unit):
    sink = CapturingSink()
    router = ModelRouter(catalog=CATALOG, provider=ScriptedProvider(lambda call: "ok"), sink=sink)
    asyncio.run(router.route_and_execute({"text": "hi", "type": "score", "user_id": user_id}, "Say ok."))
    assert [event.unit for event in sink.captured] == [unit]


def test_stats_start_empty_count_and_reset(router):
    assert router.get_stats()["total_requests"] == 0
    assert "escalation_rate" not in router.get_stats()
    router.run("Rate it", kind="score")
    router.run("Think", kind="reasoning")
    stats = router.get_stats()
    assert stats["total_requests"] == 2
    assert stats["by_complexity"] == {"simple": 1, "medium": 0, "complex": 1}
    assert stats["by_model"] == {"mini": 1, "premium": 1}
    assert stats["escalations"] == 0
    # By hand: 200 tokens at $1 and 200 at $100 a million.
    assert stats["total_cost"] == pytest.approx(200e-6 + 20_000e-6)
    assert stats["avg_cost_per_request"] == pytest.approx(10_100e-6)
    assert stats["avg_confidence"] == pytest.approx(0.8)
    assert stats["complexity_distribution"] == {"simple": 0.5, "medium": 0.0, "complex": 0.5}
    assert stats["model_distribution"] == {"mini": 0.5, "premium": 0.5}
    assert stats["escalation_rate"] == 0.0
    # The baseline is the standard model: 2 x 2,000e-6. Routing cost five times that: a loss shows as one.
    assert stats["cost_savings_pct"] == pytest.approx(100 * (1 - 20_200 / 4_000))
    router.reset_stats()
    assert router.get_stats()["total_requests"] == 0


def test_requests_without_an_answer_count_against_the_savings():
    from smartroute import AllModelsFailedError
    from smartroute.errors import MalformedReplyError

    def script(call):
        if call.messages[0]["content"] == "fail":
            return reply("") if call.model == "mini" else MalformedReplyError("{")
        return reply("ok", input_tokens=100, output_tokens=100)

    router = ModelRouter(
        catalog=CATALOG, provider=ScriptedProvider(script), estimator=lambda t, r: 0.8, sink=False
    )
    router.run("Rate it", kind="score")
    with pytest.raises(AllModelsFailedError):
        router.run("fail", kind="score")
    stats = router.get_stats()
    assert (stats["total_requests"], stats["failures"], stats["compared_requests"]) == (2, 1, 1)
    assert stats["unpriced_attempts"] == 2
    # By hand: 200e-6 for the answer and 15e-6 for the empty reply, against 2,000e-6 of the baseline.
    assert stats["cost_savings_pct"] == pytest.approx(100 * (1 - 215 / 2_000))
