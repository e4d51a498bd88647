"""Plans of the caller's own on a router's account, and outcomes that need no call."""

import asyncio

import pytest

from smartroute import ModelRouter
from smartroute.records import Reply, Rung, Task
from smartroute.routing.conclusion import conclude
from smartroute.routing.drivers import Conducted
from smartroute.routing.run import Ask, Stop
from smartroute.testing import CapturingSink, ScriptedProvider

TASK = Task.of("Rate this.")


def asking(router, *models):
    """Return a plan that asks models at the same time, and whose result is their texts."""
    decision = router.decide_task(TASK)

    def plan(run):
        asks = [Ask(router.catalog.card(model), TASK.messages, {}) for model in models]
        try:
            answers = yield from run.ask_each(asks)
        except Stop as stop:
            return Conducted(conclude(run, decision, None, None, stopped_by=stop.stopped_by), [])
        texts = [answer.text for answer in answers]
        return Conducted(conclude(run, decision, answers[0], Rung("+".join(models))), texts)

    return plan


def test_a_plan_returns_its_result_beside_its_outcome():
    provider = ScriptedProvider({"gpt-4o-mini": ["7"], "gpt-4o": ["8"]})
    sink = CapturingSink()
    router = ModelRouter(provider=provider, sink=sink)
    conducted = asyncio.run(router.aconduct(TASK, asking(router, "gpt-4o-mini", "gpt-4o")))
    assert conducted.result == ["7", "8"]
    assert conducted.outcome.model == "gpt-4o-mini+gpt-4o"
    (event,) = sink.captured
    assert event.cost_usd == conducted.outcome.cost_usd > 0
    assert router.get_stats()["total_requests"] == 1


class Slow:
    """A provider whose answers never come."""

    def send(self, call):
        raise AssertionError("this one is asked from coroutines only")

    async def asend(self, call):
        await asyncio.sleep(60)


def test_a_plan_that_is_cancelled_is_logged_before_the_cancellation_is_raised():
    sink = CapturingSink()
    router = ModelRouter(provider=Slow(), sink=sink)

    async def cut_short():
        async with asyncio.timeout(0.05):
            await router.aconduct(TASK, asking(router, "gpt-4o-mini"))

    with pytest.raises(TimeoutError):
        asyncio.run(cut_short())
    (event,) = sink.captured
    assert event.stopped_by == "cancelled"
    assert [attempt["model"] for attempt in event.attempts] == ["gpt-4o-mini"]


def test_an_outcome_without_a_call_is_logged_and_counted():
    provider, sink = ScriptedProvider([]), CapturingSink()
    router = ModelRouter(provider=provider, sink=sink)
    decision = router.decide_task(TASK)
    outcome = router.log_outcome(TASK, lambda run: conclude(run, decision, Reply("7"), Rung("cache")))
    assert (outcome.text, outcome.model, outcome.cost_usd) == ("7", "cache", 0.0)
    assert [event.outcome_id for event in sink.captured] == [outcome.id]
    assert router.get_stats()["total_requests"] == 1
    assert not provider.calls


def test_an_outcome_that_is_not_counted_is_logged_all_the_same():
    sink = CapturingSink()
    router = ModelRouter(provider=ScriptedProvider([]), sink=sink)
    decision = router.decide_task(TASK)
    router.log_outcome(
        TASK, lambda run: conclude(run, decision, Reply("7"), Rung("other council")), counted=False
    )
    assert len(sink.captured) == 1
    assert router.get_stats()["total_requests"] == 0
