"""The demo's bookkeeping, on a scripted pool whose every figure can be worked out by hand.

Prices per million tokens: small 1 and 2, middle 10 and 20, large 100 and 200. Every reply counts 10 input
and 5 output tokens, so that a call costs 20e-6, 200e-6 and 2000e-6 USD.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from statistics import fmean, stdev
from types import SimpleNamespace
from typing import Any

import pytest

from smartroute import Catalog, ModelCard, ModelRouter, Price, RouterConfig
from smartroute.demo.report import DemoReport
from smartroute.demo.run import run_demo
from smartroute.demo.tasks import load_tasks
from smartroute.errors import InvalidRequestError
from smartroute.evaluation.scores import TaskResult
from smartroute.providers import offline
from smartroute.providers.offline import OfflineProvider
from smartroute.records import Call, Confidence, Reply, Task, Usage
from smartroute.stats import wilson
from smartroute.testing import CapturingSink, FrozenClock, ScriptedProvider, reply

SMALL, MIDDLE, LARGE = 20e-6, 200e-6, 2000e-6


def card(name: str, tier: str, price: Price | None) -> ModelCard:
    return ModelCard(name, provider="test", tier=tier, target=f"test/{name}", price=price)


CATALOG = Catalog.of(
    [
        card("small", "mini", Price(1, 2)),
        card("middle", "standard", Price(10, 20)),
        card("large", "premium", Price(100, 200)),
    ]
)


class Belief:
    """Believe an answer unless it ends in a question mark."""

    def probes(self, task: Task, reply: Reply) -> tuple[()]:
        return ()

    def estimate(self, task: Task, reply: Reply, replies: tuple[Any, ...] = ()) -> Confidence:
        return Confidence(0.2 if reply.text.endswith("?") else 0.9, "belief")


def task(name: str, value: str = "7", kind: str = "score") -> Any:
    """Return a task whose prompt names it, and whose right answer holds the value."""
    return SimpleNamespace(
        id=name, kind=kind, language="en", prompt=f"Task {name}.", check={"kind": "exact", "value": value}
    )


def router(script: Mapping[str, Mapping[str, Any]], **settings: Any) -> ModelRouter:
    """Return a router whose models answer by the task that the prompt names: script[model][task]."""

    def answer(call: Call) -> Any:
        name = call.messages[0]["content"].removeprefix("Task ").rstrip(".")
        return script[call.model][name]

    settings = {"sink": False, "catalog": CATALOG, "estimator": Belief(), **settings}
    return ModelRouter(provider=ScriptedProvider(answer), clock=FrozenClock(), **settings)


# a: small is right. b: small doubts itself, middle is right. c: small is wrong and sure, large is right.
ANSWERS = {
    "small": {"a": "7", "b": "8?", "c": "8"},
    "middle": {"a": "7", "b": "7", "c": "8"},
    "large": {"a": "7", "b": "7", "c": "7"},
}
TASKS = [task("a"), task("b"), task("c")]


def report_on(
    script: Mapping[str, Mapping[str, Any]] = ANSWERS,
    tasks: list[Any] = TASKS,
    *,
    fixed: bool = True,
    on_result: Callable[[TaskResult], None] | None = None,
    models: tuple[str, ...] | None = None,
    params: Mapping[str, Any] | None = None,
    **settings: Any,
) -> DemoReport:
    with router(script, **settings) as one:
        return run_demo(one, tasks, fixed=fixed, models=models, params=params, on_result=on_result)


def test_routed_totals_by_hand() -> None:
    report = report_on()
    assert [result.model for result in report.results] == ["small", "middle", "small"]
    assert [result.right for result in report.results] == [True, True, False]
    assert [result.escalated for result in report.results] == [False, True, False]
    assert [result.cost_usd for result in report.results] == pytest.approx([SMALL, SMALL + MIDDLE, SMALL])
    routed = report.routed
    assert (routed.n, routed.right, routed.escalated, routed.unpriced_attempts) == (3, 2, 1, 0)
    assert routed.cost_usd == pytest.approx(260e-6)
    assert routed.quality_interval == wilson(2, 3)
    assert routed.escalation_rate == pytest.approx(1 / 3)
    assert (report.planned, report.stopped, report.simulated) == (3, None, True)


def test_a_rejected_draft_is_in_the_bill_of_its_task() -> None:
    explained = report_on().explained
    assert explained is not None
    assert (explained.id, explained.model) == ("b", "middle")
    assert [attempt.model for attempt in explained.attempts] == ["small", "middle"]


def test_fixed_models_are_asked_once_and_never_doubted() -> None:
    scores = {fixed.model: fixed.score for fixed in report_on().fixed}
    small, middle, large = scores["small"], scores["middle"], scores["large"]
    assert small is not None and middle is not None and large is not None
    assert (small.right, middle.right, large.right) == (1, 2, 3)
    assert small.cost_usd == pytest.approx(3 * SMALL)
    assert middle.cost_usd == pytest.approx(3 * MIDDLE)
    assert large.cost_usd == pytest.approx(3 * LARGE)
    assert all(len(result.attempts) == 1 for result in small.results)
    assert all(result.stopped_by is None for result in small.results)


def test_best_fixed_is_the_highest_quality_and_the_cheaper_of_equals() -> None:
    best = report_on().best_fixed
    assert best is not None and best.model == "large"
    level = {**ANSWERS, "middle": {"a": "7", "b": "7", "c": "7"}}
    best = report_on(level).best_fixed
    assert best is not None and best.model == "middle"


def test_savings_are_signed_and_not_clamped() -> None:
    report = report_on()
    savings = {fixed.model: report.saving(fixed) for fixed in report.fixed}
    small, large = savings["small"], savings["large"]
    assert small is not None and large is not None
    assert small.share == pytest.approx(1 - 260 / 60)  # routing costs 3.3 times more than small alone
    assert large.share == pytest.approx(1 - 260 / 6000)
    assert large.interval is not None and large.interval.low < large.share < large.interval.high


def test_random_mix_costs_what_routing_did_by_hand() -> None:
    # Frontier: (60, 1 right), (600, 2), (6000, 3), in 1e-6 USD; 260 lies between the first two.
    mix = report_on().mix
    assert mix is not None
    assert (mix.cheap, mix.expensive) == ("small", "middle")
    assert mix.expensive_share == pytest.approx(200 / 540)
    assert mix.cost_usd == pytest.approx(260e-6)
    assert mix.right == pytest.approx(1 + 200 / 540)


def test_a_model_under_the_frontier_takes_no_part_in_the_mix() -> None:
    # middle is as wrong as small and more expensive, so the mix is of small (60, 1) and large (6000, 3).
    worse = {**ANSWERS, "middle": {"a": "7", "b": "8", "c": "8"}}
    mix = report_on(worse).mix
    assert mix is not None
    assert (mix.cheap, mix.expensive) == ("small", "large")
    assert mix.expensive_share == pytest.approx((260 - 60) / (6000 - 60))


def test_no_mix_outside_the_range_of_the_frontier() -> None:
    # Every answer of small is right, so it alone is the frontier, and routing b cost more.
    perfect = {**ANSWERS, "small": {"a": "7", "b": "7", "c": "7"}}
    report = report_on({**perfect, "small": {**perfect["small"]}}, estimator=lambda task, reply: 0.1)
    assert report.mix is None
    assert report.no_mix_because == "routing cost more than small, the most expensive model on the frontier"


def test_quality_difference_is_paired_by_hand() -> None:
    report = report_on()
    best = report.best_fixed
    assert best is not None
    difference = report.quality_difference(best)
    assert difference is not None
    share, interval = difference
    assert share == pytest.approx(-1 / 3)  # c only
    assert interval.low < -1 / 3 < interval.high


def test_a_failed_task_is_wrong_and_named_and_its_attempts_are_counted() -> None:
    broken = InvalidRequestError("no such thing")
    script = {model: {**answers, "a": broken} for model, answers in ANSWERS.items()}
    report = report_on(script)
    first = report.results[0]
    assert (first.right, first.model, first.cost_usd) == (False, None, 0.0)
    assert first.error is not None and "invalid_request" in first.error
    assert len(first.attempts) == 3
    assert report.routed.errors == 1
    assert report.routed.right == 1


def test_unknown_prices_are_counted_and_leave_savings_unsaid() -> None:
    unpriced = Catalog.of([card("small", "mini", None), *[c for c in CATALOG if c.name != "small"]])
    report = report_on(catalog=unpriced)
    assert report.routed.unpriced_attempts == 3
    assert report.routed.cost_usd == pytest.approx(MIDDLE)
    assert all(report.saving(fixed) is None for fixed in report.fixed)
    assert report.mix is None
    assert report.no_mix_because is not None and "incomplete" in report.no_mix_because


def test_without_measurement_costs_are_estimates_and_quality_is_unknown() -> None:
    report = report_on(fixed=False)
    assert report.best_fixed is None
    most_expensive = report.most_expensive_fixed
    assert most_expensive is not None and most_expensive.model == "large" and most_expensive.score is None
    assert most_expensive.cost_usd == pytest.approx(3 * LARGE)  # the same 10 and 5 tokens at its prices
    saving = report.saving(most_expensive)
    assert saving is not None and saving.interval is None
    assert report.quality_difference(most_expensive) is None
    assert report.no_mix_because == "the fixed models were not measured"
    assert report.as_dict()["totals"]["best_fixed_note"] == "not measured"


def test_the_budget_stops_the_run_and_the_report_says_how_far_it_came() -> None:
    # A call reserves 64 tokens for the request, 16 for the message, 22 for its bytes and 5 answer tokens:
    # 112e-6 USD. It costs 20e-6, so that the third call would need 152e-6.
    report = report_on(
        {"small": {"a": "7", "b": "7", "c": "7"}}, models=(), params={"max_tokens": 5}, max_usd=140e-6,
        catalog=Catalog.of([card("small", "mini", Price(1, 2))]),
    )  # fmt: skip
    assert len(report.results) == 2
    assert report.stopped is not None
    assert report.stopped.startswith("the budget ended after 2 of 3 tasks")
    assert report.spent_usd == pytest.approx(40e-6)
    assert report.planned == 3


def test_fixed_models_are_left_out_where_their_ceiling_does_not_fit_the_budget() -> None:
    calls: list[TaskResult] = []
    report = report_on(on_result=calls.append, params={"max_tokens": 5}, max_usd=0.03)
    assert len(report.results) == 3
    assert all(fixed.score is None for fixed in report.fixed)
    assert len(calls) == 3


def test_an_estimate_prices_the_answers_given_and_no_failed_call_after_them() -> None:
    """Task b is answered by small, in 20e-6 USD like the others; what is asked after it answers nothing."""
    nothing = reply("", usage=Usage(9_000, 0))
    script = {**ANSWERS, "middle": {"b": nothing}, "large": {"b": nothing}}
    report = report_on(script, fixed=False)
    assert [result.model for result in report.results] == ["small"] * 3
    assert report.fixed[0].estimated_usd == pytest.approx(3 * SMALL)


def test_fixed_models_are_measured_within_the_same_budget_where_it_allows() -> None:
    report = report_on(params={"max_tokens": 5}, max_usd=1.0)
    assert all(fixed.score is not None for fixed in report.fixed)
    assert report.spent_usd == pytest.approx(260e-6 + 60e-6 + 600e-6 + 6000e-6)


def test_every_result_is_passed_on_as_it_comes() -> None:
    results: list[TaskResult] = []
    report_on(on_result=results.append)
    assert [result.fixed_model for result in results] == [None] * 3 + ["small"] * 3 + ["middle"] * 3 + [
        "large"
    ] * 3


def test_every_call_is_in_the_log_and_says_which_way_it_belongs_to() -> None:
    sink = CapturingSink()
    report = report_on(sink=sink)
    assert all(event.simulated for event in sink.captured)
    outcomes = [event for event in sink.captured if event.type == "outcome"]
    ways = [event.labels["demo_way"] for event in outcomes]
    assert (len(ways), ways.count("routed"), ways.count("fixed")) == (12, 3, 9)
    feedback = {event.outcome_id: event for event in sink.captured if event.type == "feedback"}
    assert feedback.keys() == {event.id for event in outcomes}
    assert {event.source for event in feedback.values()} == {"test"}
    routed = [feedback[event.id].quality for event in outcomes if event.labels["demo_way"] == "routed"]
    assert routed == [float(result.right) for result in report.results]


def test_the_document_is_json_and_its_totals_follow_from_its_tasks() -> None:
    document = json.loads(json.dumps(report_on().as_dict()))
    tasks, totals = document["tasks"], document["totals"]
    assert totals["routed"]["cost_usd"] == math.fsum(t["cost_usd"] for t in tasks)
    assert totals["routed"]["right"] == sum(t["right"] for t in tasks)
    for t in tasks:
        assert t["cost_usd"] == pytest.approx(math.fsum(a["cost_usd"] for a in t["attempts"]))
    assert document["explained"]["id"] == "b"
    assert document["simulated"] is True


def test_switching_smart_routing_off_does_not_turn_fixed_models_into_the_baseline() -> None:
    report = report_on(smart_routing=False, models=("small", "large"))
    assert {result.model for result in report.results} == {"middle"}
    for fixed in report.fixed:
        assert fixed.score is not None
        assert {result.model for result in fixed.score.results} == {fixed.model}


def margins_over_the_mix(seeds: range) -> list[float]:
    """Return routed minus mixed quality on the simulated pool, for each seed that has a mix."""
    pool, margins = OfflineProvider.catalog(), []
    for seed in seeds:
        config = RouterConfig(catalog=pool, provider=OfflineProvider(seed=seed), seed=seed, sink=False)
        with ModelRouter(config=config) as one:
            report = run_demo(one, load_tasks(), fixed=True, models=[card.name for card in pool])
        if report.mix is not None:
            margins.append(report.routed.quality - report.mix.quality)
    return margins


@pytest.mark.slow
@pytest.mark.no_cover
def test_routing_is_not_bound_to_win_on_the_simulated_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    # What the-demo.md says: some seeds lose, and without informative log-probabilities most do.
    informed = margins_over_the_mix(range(40))
    monkeypatch.setattr(offline, "SURE_WHEN_WRONG", offline.SURE_WHEN_RIGHT)
    uninformed = margins_over_the_mix(range(40))
    assert min(informed) < 0 < max(informed)
    assert fmean(uninformed) + 3 * stdev(uninformed) / math.sqrt(len(uninformed)) < 0
    assert fmean(informed) > fmean(uninformed)


class Impatient(ScriptedProvider):
    """Presses Ctrl-C at the nth call."""

    def __init__(self, script: Any, at: int) -> None:
        super().__init__(script)
        self._at = at

    def send(self, call: Call) -> Reply:
        answer = super().send(call)
        if len(self.calls) == self._at:
            raise KeyboardInterrupt
        return answer


@pytest.mark.parametrize("at", [1, 5])
def test_an_interrupted_run_reports_what_was_done_and_what_it_may_have_cost(at: int) -> None:
    provider = Impatient(lambda call: "42", at)
    sink = CapturingSink()
    router = ModelRouter(provider=provider, catalog=OfflineProvider.catalog(), sink=sink, max_usd=5.0)
    report = run_demo(router, load_tasks(), fixed=True)
    assert report.interrupted is True
    assert report.stopped == f"interrupted after {len(report.results)} of 64 tasks"
    assert report.as_dict()["interrupted"] is True
    assert len(provider.calls) == at
    outcomes = [event for event in sink.captured if event.type == "outcome"]
    assert len(outcomes) == len(report.results) + 1
    assert sink.captured[-1] is outcomes[-1] and outcomes[-1].stopped_by == "cancelled"
    assert report.spent_usd is not None
    assert report.spent_usd > math.fsum(result.cost_usd for result in report.results)
    assert all(fixed.score is None for fixed in report.fixed)


def test_an_interruption_while_the_fixed_models_are_measured_keeps_the_routed_part() -> None:
    tasks = load_tasks()[:4]
    counted = ScriptedProvider(lambda call: "42")
    run_demo(ModelRouter(provider=counted, catalog=OfflineProvider.catalog(), sink=False), tasks, fixed=False)
    provider = Impatient(lambda call: "42", len(counted.calls) + 2)
    router = ModelRouter(provider=provider, catalog=OfflineProvider.catalog(), sink=False)
    report = run_demo(router, tasks, fixed=True)
    assert (len(report.results), report.interrupted) == (4, True)
    assert report.stopped == "interrupted while the fixed models were measured"
