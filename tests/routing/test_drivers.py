"""Three drivers, one generator: whatever is scripted, they agree, and the ledger is whole."""

import asyncio
import math
import threading
from dataclasses import replace

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from smartroute import Catalog, Confidence, ModelCard, ModelRouter, Price, SmartRouteError
from smartroute.budgets import Budget
from smartroute.classify import LLMClassifier
from smartroute.clock import Clock
from smartroute.errors import (
    AllModelsFailedError,
    AuthenticationError,
    ContextTooLongError,
    MalformedReplyError,
    NoEligibleModelError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    RateLimitError,
)
from smartroute.evaluation.replay import ReplayClock, replay
from smartroute.ledger import Ledger
from smartroute.records import Call, Calls, Failure, Limits, Probe, Task, Timed, Usage, Wait
from smartroute.routing import drivers
from smartroute.routing.drivers import Driven, LiveDriver
from smartroute.routing.retries import RetryPolicy
from smartroute.routing.strategies import FixedLadder
from smartroute.testing import CapturingSink, FrozenClock, ScriptedProvider, reply

CATALOG = Catalog.of(
    [
        ModelCard("mini", tier="mini", target="x/mini", price=Price(1.0, 2.0), max_output_tokens=100),
        ModelCard("mini2", tier="mini", target="y/mini2", price=Price(2.0, 3.0), max_output_tokens=100),
        ModelCard("standard", tier="standard", target="x/standard", price=None, max_output_tokens=100),
        ModelCard(
            "premium", tier="premium", target="x/premium", price=Price(9.0, 30.0), max_output_tokens=100
        ),
    ]
)

answers = st.builds(
    lambda text, tokens: reply(text, usage=tokens),
    st.sampled_from(["good", "bad", "unknown", ""]),
    st.one_of(st.none(), st.builds(Usage, st.integers(0, 5_000), st.integers(0, 500))),
)
errors = st.one_of(
    st.builds(lambda: ProviderUnavailableError("503")),
    st.builds(
        lambda after: RateLimitError("429", retry_after_s=after), st.sampled_from([None, 0.0, 3.0, 900.0])
    ),
    st.builds(lambda: ProviderTimeoutError("late")),
    st.builds(lambda: AuthenticationError("401")),
    st.builds(lambda: ContextTooLongError("too long")),
    st.builds(lambda: MalformedReplyError("{")),
    st.builds(lambda: ZeroDivisionError("oops")),
)
scripts = st.lists(st.one_of(answers, errors), min_size=1, max_size=12)
"""Results by number of the call; the script starts again when it is used up."""


class Checking:
    """Believes by the text, after one sample and one judge at the same time."""

    def probes(self, task, answer):
        if answer.text == "unknown":
            return ()
        return Probe(task.messages, "sample"), Probe(task.messages, "judge", model="premium")

    def estimate(self, task, answer, replies=()):
        agreeing = sum(getattr(found, "text", None) == answer.text for found in replies)
        value = {"good": 0.9, "bad": 0.2, "unknown": None}[answer.text]
        return Confidence(None if value is None else min(1.0, value + 0.01 * agreeing), "checking")


class Script:
    """The same result for the same call, whichever driver makes it and in whatever order."""

    def __init__(self, results):
        self._results = results

    def __call__(self, call):
        place = (call.rung or 0) * 5 + call.number * 2 + ("answer", "sample", "judge").index(call.purpose)
        return self._results[place % len(self._results)]


def router_of(results, clock, **settings):
    return ModelRouter(
        catalog=CATALOG,
        estimator=Checking(),
        retry=RetryPolicy(calls=2, initial_s=1, jitter=0.5),
        clock=clock,
        seed=1,
        **{"sink": CapturingSink(), "provider": ScriptedProvider(Script(results)), **settings},
    )


def without_clock(outcome):
    """Return the outcome without ids and times, which is all that may differ between drivers."""
    attempts = tuple(replace(attempt, latency_s=0.0, started_at=0.0) for attempt in outcome.attempts)
    return replace(outcome, id="", started_at=0.0, latency_s=0.0, attempts=attempts), str(outcome.error)


def live(router, task, *, asynchronous):
    """Return the outcome of a live driver."""
    driver = LiveDriver(router.provider, router.config.clock)
    if asynchronous:
        return asyncio.run(driver.adrive(router.steps(task), Driven)).outcome
    return driver.drive(router.steps(task)).outcome


def replayed(results, task, reverse=False):
    clock = ReplayClock()
    script = Script(results)

    def lookup(call):
        found = script(call)
        return Timed(Failure.of(found) if isinstance(found, BaseException) else found, 0.25)

    router = router_of(results, clock)
    steps = router.steps(task, clock=clock)
    return replay(_reversing(steps) if reverse else steps, lookup, clock)


def _reversing(steps):
    """Deliberately broken: hands replies of calls made at the same time back in the wrong order."""
    step = next(steps)
    while True:
        replies = yield step
        try:
            step = steps.send(replies[::-1] if isinstance(step, Calls) else replies)
        except StopIteration as done:
            return done.value


TASK = Task.of("What is 2+2?", complexity_override="simple")


@settings(max_examples=150, deadline=None)
@given(scripts)
def test_sync_async_and_replay_give_equal_outcomes(results):
    there = without_clock(live(router_of(results, FrozenClock()), TASK, asynchronous=False))
    assert there == without_clock(live(router_of(results, FrozenClock()), TASK, asynchronous=True))
    assert there == without_clock(replayed(results, TASK))


def test_a_driver_that_mixes_replies_up_is_caught_by_that_equality():
    results = [reply("good"), reply("good"), reply("bad", usage=Usage(7, 7)), ProviderTimeoutError("late")]
    right, wrong = replayed(results, TASK), replayed(results, TASK, reverse=True)
    assert without_clock(right) != without_clock(wrong)


def whole(calls, record):
    """Say whether the ledger holds exactly the calls that were made and its total is their sum."""
    made = sorted((call.model, call.purpose, call.number) for call in calls)
    held = sorted((a.model, a.purpose, a.number) for a in record.attempts)
    priced = [a.cost_usd for a in record.attempts if a.cost_usd is not None]
    free = all(
        a.cost_usd == 0.0 for a in record.attempts if a.failure is not None and a.failure.generated is False
    )
    total = getattr(record, "cost_usd", math.fsum(priced))
    return made == held and total == math.fsum(priced) and free


@settings(max_examples=200, deadline=None)
@given(scripts, st.sampled_from([None, 1e-4, 0.01, 1.0]), st.sampled_from([None, 2.5]))
def test_any_sequence_of_failures_ends_in_an_answer_or_a_typed_error_with_a_whole_ledger(
    results, max_usd, timeout_s
):
    router = router_of(results, FrozenClock())
    try:
        outcome = router.run(
            "What is 2+2?", complexity_override="simple", max_usd=max_usd, timeout_s=timeout_s
        )
    except SmartRouteError as error:
        assert whole(router.provider.calls, error)
    else:
        assert outcome.text in ("good", "bad", "unknown")
        assert whole(router.provider.calls, outcome)
    (event,) = router.config.sink.captured
    assert len(event.attempts) == len(router.provider.calls)


RATES = {"mini": (1.0, 2.0), "mini2": (2.0, 3.0), "premium": (9.0, 30.0)}
"""The prices of CATALOG in USD per million tokens, written down once more."""


def charged(results, calls):
    """Return what the providers charge for these calls, and how many of them have an unknown cost."""
    costs = []
    for call in calls:
        result = Script(results)(call)
        if isinstance(result, BaseException):
            costs.append(0.0 if getattr(result, "generated", None) is False else None)
        elif result.usage is None or call.model not in RATES:
            costs.append(None)
        else:
            rate_in, rate_out = RATES[call.model]
            costs.append((result.usage.input_tokens * rate_in + result.usage.output_tokens * rate_out) / 1e6)
    return math.fsum(usd for usd in costs if usd is not None), costs.count(None)


def billed(results, **settings):
    """Run one task; return its bill as outcome, event and totals report it, and the true one."""
    router = router_of(results, FrozenClock(), **settings)
    try:
        outcome = router.run("What is 2+2?", complexity_override="simple")
    except SmartRouteError as error:
        outcome = error.outcome
    (event,) = router.config.sink.captured
    stats = router.get_stats()
    bills = (
        (outcome.cost_usd, outcome.unpriced_attempts),
        (event.cost_usd, event.unpriced_attempts),
        (stats["total_cost"], stats["unpriced_attempts"]),
    )
    usd, unknown = charged(results, router.provider.calls)
    return bills, (pytest.approx(usd, rel=1e-12, abs=1e-15), unknown)


@settings(max_examples=150, deadline=None)
@given(scripts)
def test_the_cost_of_an_outcome_is_what_all_its_calls_are_charged(results):
    bills, true = billed(results)
    assert all(bill == true for bill in bills)


class LastCallOnly(Ledger):
    """Deliberately broken, as the replaced system was: an escalated request is charged its last call."""

    @property
    def attempts(self):
        return super().attempts[-1:]


class AnswersOnly(Ledger):
    """Deliberately broken: what judges and samples cost is left out."""

    @property
    def attempts(self):
        return tuple(attempt for attempt in super().attempts if attempt.purpose == "answer")


class UnknownIsFree(Ledger):
    """Deliberately broken, as litellm is for a model without a price."""

    def enter(self, *entry):
        attempt = super().enter(*entry)
        if attempt.cost_usd is None:
            self._attempts[-1] = replace(attempt, cost_usd=0.0)
        return self._attempts[-1]


@pytest.mark.parametrize("broken", [LastCallOnly, AnswersOnly, UnknownIsFree])
def test_a_ledger_that_leaves_something_out_is_caught_by_that_property(broken, monkeypatch):
    monkeypatch.setattr("smartroute.routing.run.Ledger", broken)

    @settings(max_examples=150, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    @given(scripts)
    def holds(results):
        bills, true = billed(results)
        assert all(bill == true for bill in bills)

    with pytest.raises(AssertionError):
        holds()


def test_a_ledger_that_loses_an_attempt_is_caught_by_that_check():
    router = router_of([ProviderUnavailableError("503"), reply("good")], FrozenClock())
    outcome = router.run("What is 2+2?", complexity_override="simple")
    assert len(outcome.attempts) > 1
    assert whole(router.provider.calls, outcome)
    assert not whole(router.provider.calls, replace(outcome, attempts=outcome.attempts[1:]))


class Cut:
    """Comes due at the nth step of a task, be it a call or a wait."""

    def __init__(self, at):
        self._at, self._steps, self.done = at, 0, False

    def due(self):
        self._steps += 1
        self.done = self.done or self._steps == self._at
        return self._steps == self._at


class CutCalls(ScriptedProvider):
    """Is interrupted in a call."""

    def __init__(self, script, cut):
        super().__init__(script)
        self._cut = cut

    def send(self, call):
        try:
            return super().send(call)
        finally:
            if self._cut.due():
                raise KeyboardInterrupt

    async def asend(self, call):
        try:
            return super().send(call)
        finally:
            if self._cut.due():
                asyncio.current_task().cancel()
                await asyncio.sleep(0)


class CutWaits(FrozenClock):
    """Is interrupted in a wait."""

    def __init__(self, cut):
        super().__init__()
        self._cut = cut

    def sleep(self, seconds):
        if self._cut.due():
            raise KeyboardInterrupt
        super().sleep(seconds)

    async def asleep(self, seconds):
        if self._cut.due():
            raise asyncio.CancelledError
        super().sleep(seconds)


def cut_short(results, at, asynchronous, driver=LiveDriver):
    """Run a task that is interrupted in its nth call or wait; return its router."""
    cut = Cut(at)
    router = router_of(results, CutWaits(cut), provider=CutCalls(Script(results), cut))
    router._driver = driver(router.provider, router.config.clock)
    run_until(cut, router, asynchronous)
    return router


def run_until(cut, router, asynchronous):
    """Run a task, and check that an interruption is raised again where there was one."""
    caught = None
    try:
        if asynchronous:
            asyncio.run(router.arun("What is 2+2?", complexity_override="simple"))
        else:
            router.run("What is 2+2?", complexity_override="simple")
    except SmartRouteError:
        pass
    except (KeyboardInterrupt, asyncio.CancelledError) as error:
        caught = error
    assert (caught is not None) == cut.done


def accounted(router):
    """Say whether one event holds every call that was made, and says so where one was cut short."""
    events = router.config.sink.captured
    return [len(event.attempts) for event in events] == [len(router.provider.calls)] and all(
        event.unpriced_attempts
        for event in events
        if any(attempt.get("failure") == "cancelled" for attempt in event.attempts)
    )


@settings(max_examples=150, deadline=None)
@given(scripts, st.integers(1, 9), st.booleans())
def test_an_interruption_leaves_a_whole_ledger_and_an_event_and_is_raised_again(results, at, asynchronous):
    assert accounted(cut_short(results, at, asynchronous))


class LettingGo(LiveDriver):
    """Deliberately broken: an interruption ends the driver, and with it the ledger."""

    def drive(self, steps):
        replies = None
        while True:
            try:
                step = next(steps) if replies is None else steps.send(replies)
            except StopIteration as done:
                return Driven(done.value, None)
            if isinstance(step, Wait):
                self._clock.sleep(step.seconds)
                replies = ()
            elif isinstance(step, Calls):
                replies = tuple(Timed(self._provider.send(call), 0.0) for call in step.calls)
            else:
                replies = drivers.in_process(step)


def test_a_driver_that_lets_the_ledger_go_is_caught_by_that_check():
    results = [reply("bad")]
    assert accounted(cut_short(results, 2, False))
    assert not accounted(cut_short(results, 2, False, driver=LettingGo))


class Yielding(ScriptedProvider):
    """Gives the event loop two turns in every call."""

    async def asend(self, call):
        answer = self.send(call)
        for _ in range(2):
            await asyncio.sleep(0)
        return answer


@settings(max_examples=150, deadline=None)
@given(scripts, st.integers(0, 40))
def test_a_task_that_is_cancelled_at_any_turn_of_the_loop_accounts_for_every_call(results, turns):
    async def scenario(router):
        task = asyncio.create_task(router.arun("What is 2+2?", complexity_override="simple"))
        for _ in range(turns):
            await asyncio.sleep(0)
        done = task.done()
        task.cancel()
        await asyncio.wait([task])
        assert done or task.cancelled()

    router = router_of(results, FrozenClock(), provider=Yielding(Script(results)))
    asyncio.run(scenario(router))
    assert accounted(router) or (turns <= 1 and not router.provider.calls)


def test_a_cancelled_wait_ends_the_task_with_its_ledger():
    class Impatient(Clock):
        async def asleep(self, seconds):
            raise asyncio.CancelledError

    router = router_of([ProviderUnavailableError("503")], Impatient())
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(router.arun("hi", complexity_override="simple"))
    (event,) = router.config.sink.captured
    assert [attempt.get("failure") for attempt in event.attempts] == ["unavailable"]
    assert event.stopped_by == "cancelled"


def test_a_real_cancellation_in_the_middle_of_a_call_keeps_its_reservation():
    started = asyncio.Event()

    class Hanging(ScriptedProvider):
        async def asend(self, call):
            self.calls.append(call)
            started.set()
            await asyncio.sleep(60)

    async def scenario():
        router = router_of([], Clock(), max_usd=1.0, provider=Hanging([]))
        task = asyncio.create_task(router.arun("hi", complexity_override="simple"))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return router

    router = asyncio.run(scenario())
    (event,) = router.config.sink.captured
    assert [(a.get("failure"), a["cost_usd"]) for a in event.attempts] == [("cancelled", None)]
    assert router.spent_usd > 0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_error_is_raised_with_no_step_of_the_driver_for_its_context(asynchronous):
    router = router_of([], Clock())
    with pytest.raises(NoEligibleModelError) as caught:
        if asynchronous:
            asyncio.run(router.arun("hi", reasoning_effort="high"))
        else:
            router.run("hi", reasoning_effort="high")
    assert caught.value.__context__ is None
    assert repr(caught.value.outcome).count("NoEligibleModelError") == 1


def test_the_outcome_of_a_task_that_was_cut_short_says_so():
    def interrupted(call):
        raise KeyboardInterrupt

    router = router_of([], Clock(), provider=ScriptedProvider(interrupted))
    driven = LiveDriver(router.provider, router.config.clock).drive(router.steps(Task.of("hi")))
    assert isinstance(driven.interruption, KeyboardInterrupt)
    assert f"{driven.outcome.id}: cancelled, " in repr(driven.outcome)


def test_a_cancelled_classifier_is_not_blamed(caplog):
    class Hanging(ScriptedProvider):
        async def asend(self, call):
            await asyncio.sleep(60)

    async def scenario():
        task = asyncio.create_task(router.arun("hi"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    router = router_of([], Clock(), provider=Hanging([]), classifier=LLMClassifier("mini"))
    asyncio.run(scenario())
    (event,) = router.config.sink.captured
    assert event.stopped_by == "cancelled"
    assert "in place of" not in caplog.text


@pytest.mark.parametrize("hangs", ["answer", "sample"])
def test_a_task_whose_event_loop_was_let_go_accounts_for_every_call(hangs):
    """Nobody cancels it: its coroutine is closed when it is collected."""

    class Hanging(ScriptedProvider):
        async def asend(self, call):
            self.calls.append(call)
            if call.purpose == hangs:
                await asyncio.sleep(60)
            return reply("good")

    async def scenario():
        coroutine = router.arun("hi", complexity_override="simple")
        task = asyncio.create_task(coroutine)
        await asyncio.sleep(0.05)
        return coroutine, task

    router = router_of([], Clock(), max_usd=1.0, provider=Hanging([]))
    loop = asyncio.new_event_loop()
    coroutine, task = loop.run_until_complete(scenario())
    loop.close()
    coroutine.close()
    assert accounted(router)
    (event,) = router.config.sink.captured
    assert event.stopped_by == "cancelled"
    assert router.get_stats()["total_requests"] == 1
    task._log_destroy_pending = False


def test_a_call_that_overruns_its_time_is_cut_short_in_async():
    class Hanging(ScriptedProvider):
        async def asend(self, call):
            if call.model == "mini":
                await asyncio.sleep(60)
            return self.send(call)

    router = ModelRouter(
        catalog=CATALOG,
        provider=Hanging(lambda call: "good"),
        estimator=lambda task, answer: 0.9,
        retry=RetryPolicy(calls=1),
        call_timeout_s=0.05,
        sink=False,
    )
    outcome = asyncio.run(router.arun("hi", complexity_override="simple"))
    assert [a.failure and a.failure.kind for a in outcome.attempts] == ["timeout", None]
    assert outcome.attempts[0].cost_usd is None


budgeted = st.lists(st.builds(Usage, st.integers(0, 60), st.integers(0, 100)), min_size=1, max_size=20)


def spent_beyond(limit, usages, router):
    paid = []
    for _ in usages:
        try:
            paid.append(router.run("hi", max_tokens=100, complexity_override="simple").cost_usd)
        except SmartRouteError as error:
            paid += [a.cost_usd for a in error.attempts if a.cost_usd is not None]
    return math.fsum(paid) > limit


@settings(max_examples=60, deadline=None)
@given(st.floats(1e-5, 3e-3), budgeted)
def test_a_router_never_overspends_its_budget(limit, usages):
    queue = iter(usages * 20)
    provider = ScriptedProvider(lambda call: reply("good", usage=next(queue)))
    router = ModelRouter(
        catalog=CATALOG, provider=provider, estimator=lambda task, answer: 0.5, max_usd=limit, sink=False
    )
    assert not spent_beyond(limit, usages, router)


def test_the_overspending_check_catches_a_router_that_reserves_nothing():
    provider = ScriptedProvider(lambda call: reply("good", usage=Usage(60, 100)))
    router = ModelRouter(
        catalog=CATALOG, provider=provider, estimator=lambda task, answer: 0.5, max_usd=1e-3, sink=False
    )
    router._budget.reserve = lambda usd: True
    assert spent_beyond(1e-3, [None] * 10, router)


def test_a_call_in_a_thread_that_ends_outside_of_all_records_is_a_failure(monkeypatch):
    def escaping(provider, call):
        raise MemoryError

    monkeypatch.setattr(drivers, "_send", escaping)
    call = Call(model="a", target="x/a", provider="x", messages=({"role": "user", "content": "hi"},))
    replies, cut = drivers._send_in_threads(ScriptedProvider([]), Calls((call, call), 5.0))
    assert [timed.result.kind for timed in replies] == ["unknown", "unknown"]
    assert cut is None


def test_a_call_for_which_no_thread_can_be_started_costs_nothing_and_ends_no_task(monkeypatch):
    def full(thread):
        raise RuntimeError("can't start new thread")

    router = router_of([reply("good")], FrozenClock())
    monkeypatch.setattr(threading.Thread, "start", full)
    outcome = router.run("What is 2+2?", complexity_override="simple")
    assert outcome.text == "good"
    probing = [attempt for attempt in outcome.attempts if attempt.purpose != "answer"]
    assert [(a.cost_usd, a.failure.message) for a in probing] == [
        (0.0, "no thread could be started for the call")
    ] * 2
    assert len(router.provider.calls) == 1

    with pytest.raises(SmartRouteError) as caught:
        router.run("What is 2+2?", complexity_override="simple", timeout_s=5.0)
    assert {a.failure.message for a in caught.value.attempts} == {"no thread could be started for the call"}
    assert caught.value.outcome.cost_usd == 0.0
    assert len(router.provider.calls) == 1


def test_an_interruption_while_threads_are_begun_leaves_a_whole_ledger(monkeypatch):
    started = []

    def interrupted(thread, start=threading.Thread.start):
        started.append(thread)
        if len(started) == 2:
            raise KeyboardInterrupt
        start(thread)

    router = router_of([reply("good")], FrozenClock())
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        router.run("What is 2+2?", complexity_override="simple")
    (event,) = router.config.sink.captured
    assert [a["purpose"] for a in event.attempts] == ["answer", "sample", "judge"]
    assert (event.attempts[2]["failure"], event.attempts[2]["cost_usd"]) == ("cancelled", None)


class CutBudget(Budget):
    """Is interrupted in its nth piece of work, reserving and settling alike."""

    def __init__(self, limit_usd, cut):
        super().__init__(limit_usd)
        self._cut = cut

    def reserve(self, usd):
        if self._cut.due():
            raise KeyboardInterrupt
        return super().reserve(usd)

    def settle(self, reserved_usd, cost_usd):
        if self._cut.due():
            raise KeyboardInterrupt
        super().settle(reserved_usd, cost_usd)


@settings(max_examples=60, deadline=None)
@given(scripts, st.integers(1, 9), st.booleans())
def test_an_interruption_of_a_budget_leaves_a_whole_ledger_and_an_event_too(results, at, asynchronous):
    cut = Cut(at)
    router = router_of(results, FrozenClock(), max_usd=1.0)
    router._handles = replace(router._handles, budget=CutBudget(1.0, cut))
    run_until(cut, router, asynchronous)
    assert accounted(router)


def test_a_trial_call_whose_settling_is_interrupted_still_closes_the_circuit():
    clock, cut = FrozenClock(), Cut(4)  # reserve and settle the first call, reserve and settle the trial
    router = ModelRouter(
        catalog=CATALOG,
        strategy=FixedLadder("mini"),
        provider=ScriptedProvider([ProviderUnavailableError("down", model="mini"), "4", "4"]),
        retry=RetryPolicy(calls=1),
        breaker_failures=1,
        max_usd=1.0,
        sink=False,
        clock=clock,
    )
    router._handles = replace(router._handles, budget=CutBudget(1.0, cut))
    with pytest.raises(AllModelsFailedError):
        router.run("What is 2+2?")
    clock.advance(31.0)
    with pytest.raises(KeyboardInterrupt):
        router.run("What is 2+2?")
    assert router.run("What is 2+2?").text == "4"


@settings(max_examples=60, deadline=None)
@given(scripts, st.floats(0.0, 0.02))
def test_sync_async_and_replay_give_equal_outcomes_under_a_budget(results, max_usd):
    task = replace(TASK, limits=Limits(max_usd=max_usd))
    sync = live(router_of(results, FrozenClock()), task, asynchronous=False)
    assert without_clock(sync) == without_clock(
        live(router_of(results, FrozenClock()), task, asynchronous=True)
    )
    assert without_clock(sync) == without_clock(replayed(results, task))
