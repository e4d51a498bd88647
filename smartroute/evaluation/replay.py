"""Replay a task from recorded replies: a driver that makes no call and does not wait."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from smartroute.clock import Clock
from smartroute.records import Call, Calls, Outcome, Task, Timed, Wait
from smartroute.routing.drivers import in_process
from smartroute.routing.run import Steps

if TYPE_CHECKING:
    from smartroute.router import ModelRouter


class ReplayClock(Clock):
    """A clock that advances by recorded latencies and waits, so that deadlines expire as they did."""

    def __init__(self, now: float = 0.0) -> None:
        self._start = now
        self._passed = 0.0

    def now(self) -> float:
        """Return the replayed time in seconds since the epoch."""
        return self._start + self._passed

    def monotonic(self) -> float:
        """Return the replayed seconds since the start."""
        return self._passed

    def sleep(self, seconds: float) -> None:
        """Advance the clock without waiting."""
        self._passed += seconds

    async def asleep(self, seconds: float) -> None:
        """Advance the clock without waiting."""
        self._passed += seconds


def replay(steps: Steps, lookup: Callable[[Call], Timed], clock: Clock | None = None) -> Outcome:
    """Return the outcome of a task whose calls `lookup` answers.

    An outcome without an answer is returned, and its `error` is not raised. Where time matters, `clock` must
    be the one that the steps were made with. Exceptions of `lookup` are not caught.
    """
    clock = clock or ReplayClock()
    result: object = None
    while True:
        try:
            step = steps.send(result)
        except StopIteration as end:
            outcome: Outcome = end.value
            return outcome
        if isinstance(step, Calls):
            result = replies = tuple(lookup(call) for call in step.calls)
            clock.sleep(max(timed.latency_s for timed in replies))
        elif isinstance(step, Wait):
            result = ()
            clock.sleep(step.seconds)
        else:
            result = in_process(step)


def replay_task(router: ModelRouter, task: Task, lookup: Callable[[Call], Timed]) -> Outcome:
    """Return the outcome that a router would have reached, had `lookup` answered its calls.

    Makes no call, spends none of the router's budget, and writes no event. Breakers start closed.
    """
    clock = ReplayClock()
    return replay(router.steps(task, clock=clock), lookup, clock)
