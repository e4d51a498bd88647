"""Shadow comparison: call the replaced council for a share of requests, and report how often they agree."""

from __future__ import annotations

import inspect
import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartroute.concurrency.forks import after_fork
from smartroute.concurrency.locks import fork_safe_lock
from smartroute.concurrency.threads import run_in_thread
from smartroute.number_checks import is_number
from smartroute.stats.intervals import Interval, wilson

if TYPE_CHECKING:
    import asyncio
    from concurrent.futures import Future

_log = logging.getLogger("smartroute")
_MOST_UNDER_WAY = 100
_MOMENT_S = 0.02


@dataclass(frozen=True, slots=True)
class Compared:
    """One script that both councils judged. `cost_usd` is the old council's, None if it reports none."""

    agreed: bool
    score_difference: float | None
    latency_s: float
    cost_usd: float | None
    new_cost_usd: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """How the new council compares with the replaced one, over the `n` scripts that both judged.

    `agreement` is the share of equal verdicts, with its Wilson interval at 95%. `mean_difference` is new
    minus old score, in points, with the standard error of that mean. `failed` counts the old council's
    failures, `abandoned` the comparisons that a closing event loop cut off or that exceeded the limit of 100.
    """

    n: int
    agreed: int
    agreement: float | None
    interval: Interval | None
    mean_difference: float | None
    standard_error: float | None
    cost_usd: float
    unpriced: int
    new_cost_usd: float
    failed: int
    abandoned: int

    def explain(self) -> str:
        """Return the comparison in words."""
        if self.agreement is None or self.interval is None:
            return f"no comparison yet ({self.failed} failed, {self.abandoned} abandoned)"
        lines = [
            f"verdicts agree on {self.agreed} of {self.n} scripts ({self.agreement:.1%}, "
            f"{self.interval.low:.1%} to {self.interval.high:.1%} at 95%)"
        ]
        if self.mean_difference is not None:
            spread = "" if self.standard_error is None else f", standard error {self.standard_error:.2f}"
            lines.append(f"score, new minus old: {self.mean_difference:+.2f} points on average{spread}")
        old = f"${self.cost_usd:.6f}" if not self.unpriced else f"unknown for {self.unpriced} of {self.n}"
        lines.append(f"cost of these scripts: new ${self.new_cost_usd:.6f}, old {old}")
        if self.failed or self.abandoned:
            lines.append(f"left out: {self.failed} that the old council failed, {self.abandoned} cut off")
        return "\n".join(lines)


class Tally:
    """The sums over some comparisons. Not thread-safe."""

    def __init__(self) -> None:
        self.failed = self.abandoned = 0
        self._n = self._agreed = self._unpriced = 0
        self._cost_usd = self._new_cost_usd = 0.0
        self._with_score = 0
        self._difference = self._difference_squared = 0.0

    def add(self, compared: Compared) -> None:
        """Add one comparison."""
        self._n += 1
        self._agreed += compared.agreed
        self._new_cost_usd += compared.new_cost_usd
        if compared.cost_usd is None:
            self._unpriced += 1
        else:
            self._cost_usd += compared.cost_usd
        if compared.score_difference is not None:
            self._with_score += 1
            self._difference += compared.score_difference
            self._difference_squared += compared.score_difference**2

    def comparison(self) -> Comparison:
        """Return the comparison so far."""
        n, scored = self._n, self._with_score
        mean = self._difference / scored if scored else None
        error = None
        if scored > 1 and mean is not None:
            variance = max(0.0, self._difference_squared - scored * mean**2) / (scored - 1)
            error = math.sqrt(variance / scored)
        return Comparison(
            n=n,
            agreed=self._agreed,
            agreement=self._agreed / n if n else None,
            interval=wilson(self._agreed, n) if n else None,
            mean_difference=mean,
            standard_error=error,
            cost_usd=self._cost_usd,
            unpriced=self._unpriced,
            new_cost_usd=self._new_cost_usd,
            failed=self.failed,
            abandoned=self.abandoned,
        )


@dataclass(slots=True, eq=False)
class _Pair:
    """A script for the old council, with the new one's answer. `asked`: the old one may have started."""

    new: Mapping[str, Any]
    question: Mapping[str, Any]
    log: Callable[[Compared], None]
    asked: bool = False


class ShadowCouncil:
    """Calls the old council in the background. No request waits for it or fails with it.

    `old` has a method `evaluate_script(script_content=..., niche=...)`, or is such a function. If it has a
    parameter `visual_features`, it is passed the script's features as well. A coroutine function runs in the
    request's event loop, where its connections are. When that loop ends with the answer, as that of
    asyncio.run does, it runs in a thread with an event loop of its own. Any other function runs in a thread.
    At most 100 comparisons are under way; further ones count as abandoned.
    """

    def __init__(self, old: Any, share: float, rng: random.Random, *, timeout_s: float = 120.0) -> None:
        self._call: Callable[..., Any] = getattr(old, "evaluate_script", old)
        self._takes_features = _takes(self._call, "visual_features")
        self.share = share
        self._rng = rng
        self._timeout_s = timeout_s
        self._lock = fork_safe_lock()
        self._tasks: set[Any] = set()
        self._in_threads: set[Future[None]] = set()
        after_fork(self, ShadowCouncil._reset)
        self._tally = Tally()

    def _reset(self) -> None:
        self._tasks, self._in_threads = set(), set()  # in a forked child: they are in the other process

    def start(
        self, new: Mapping[str, Any], question: Mapping[str, Any], log: Callable[[Compared], None]
    ) -> None:
        """Start a comparison with an answer of the new council, if the draw falls on it. Returns at once."""
        import asyncio

        with self._lock:
            if self._rng.random() >= self.share:
                return
            if len(self._tasks) + len(self._in_threads) >= _MOST_UNDER_WAY:
                self._tally.abandoned += 1
                return
        if not self._takes_features:  # an old council without this parameter would raise
            question = {name: value for name, value in question.items() if name != "visual_features"}
        pair = _Pair(new, question, log)
        if not _is_coroutine_function(self._call):
            self._start_in_thread(pair)
            return
        task = asyncio.get_running_loop().create_task(self._after_a_moment(pair))
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(task, pair))

    async def _after_a_moment(self, pair: _Pair) -> None:
        import asyncio

        # A loop that ends with the answer has ended by then: nothing was called or paid for in vain.
        await asyncio.sleep(_MOMENT_S)
        await self._compare(pair)

    def _ended(self, task: asyncio.Task[None], pair: _Pair) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            return
        if not pair.asked:
            # The loop ended before the old council was called: call it in a thread.
            self._start_in_thread(pair)
            return
        with self._lock:
            self._tally.abandoned += 1

    def _start_in_thread(self, pair: _Pair) -> None:
        import asyncio

        try:
            future = run_in_thread(lambda: asyncio.run(self._compare(pair)))
        except RuntimeError:  # no more threads
            with self._lock:
                self._tally.abandoned += 1
            return
        self._in_threads.add(future)
        future.add_done_callback(self._in_threads.discard)

    async def _compare(self, pair: _Pair) -> None:
        import asyncio

        pair.asked = True
        task = asyncio.current_task()
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                old = self._call(**pair.question)
                old = await old if inspect.isawaitable(old) else old
            compared = _compared(pair.new, old, time.perf_counter() - started)
        except (Exception, asyncio.CancelledError, SystemExit) as error:
            # A CancelledError without a cancellation of this task is the old council's own, like any error.
            if task is not None and task.cancelling():
                raise
            with self._lock:
                self._tally.failed += 1
                first = self._tally.failed == 1
            if first:
                _log.warning(
                    "the old council failed (%s); further failures are counted", type(error).__name__
                )
            return
        with self._lock:
            self._tally.add(compared)
        try:
            pair.log(compared)
        except Exception as error:  # noqa: BLE001  observing never breaks a request
            _log.warning("a comparison could not be logged (%s)", type(error).__name__)

    async def wait(self) -> None:
        """Wait for the comparisons under way in this event loop and in threads."""
        import asyncio

        loop = asyncio.get_running_loop()
        mine = [task for task in tuple(self._tasks) if task.get_loop() is loop]
        if mine:
            await asyncio.wait(mine)
        if self._in_threads:
            await asyncio.wrap_future(run_in_thread(self.join))

    def join(self) -> None:
        """Wait for the comparisons in threads, no longer than one of them may take."""
        from concurrent.futures import wait

        wait(tuple(self._in_threads), self._timeout_s)

    def report(self) -> Comparison:
        """Return the comparison so far."""
        with self._lock:
            return self._tally.comparison()


def _compared(new: Mapping[str, Any], old: Any, latency_s: float) -> Compared:
    if not isinstance(old, Mapping) or not isinstance(old.get("verdict"), str):
        raise TypeError("the old council did not return a dict with a verdict")
    score = _number(old.get("final_score"))
    return Compared(
        agreed=old["verdict"] == new["verdict"],
        score_difference=None if score is None else new["final_score"] - score,
        latency_s=latency_s,
        cost_usd=_number(old.get("cost")),
        new_cost_usd=new["_routing_metadata"]["cost"],
    )


def _takes(call: Callable[..., Any], name: str) -> bool:
    try:
        return name in inspect.signature(call).parameters
    except (TypeError, ValueError):
        return False


def _is_coroutine_function(call: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(call) or inspect.iscoroutinefunction(getattr(call, "__call__", None))  # noqa: B004


def _number(value: object) -> float | None:
    return float(value) if is_number(value) else None
