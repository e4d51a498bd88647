"""Call the replaced council for a share of requests, beside the new one, and say how often they agree."""

from __future__ import annotations

import inspect
import logging
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from smartroute.locks import fork_safe_lock
from smartroute.stats.intervals import Interval, wilson

_log = logging.getLogger("smartroute")


@dataclass(frozen=True, slots=True)
class Compared:
    """One script that both councils judged. `cost_usd` is the old one's, where it tells; None is unknown."""

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
    failures, `abandoned` comparisons that were cut off (a closed loop, or none of its kind running).
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
        """Return what the comparisons say."""
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


class SideBySide:
    """Asks the old council in the background. Whatever it does, no request waits for it or fails with it.

    `old` has a method `evaluate_script(script_content=..., niche=...)`, or is such a function; a coroutine
    function runs in the event loop of the request, any other in a thread.
    """

    def __init__(self, old: Any, share: float, rng: random.Random, *, timeout_s: float = 120.0) -> None:
        self._call: Callable[..., Any] = getattr(old, "evaluate_script", old)
        self.share = share
        self._rng = rng
        self._timeout_s = timeout_s
        self._lock = fork_safe_lock()
        self._tasks: set[Any] = set()
        self._tally = Tally()

    def start(self, new: Mapping[str, Any], asked: Mapping[str, Any], log: Callable[[Compared], Any]) -> None:
        """Begin a comparison with an answer of the new council, if it is drawn. Returns at once."""
        import asyncio

        with self._lock:
            if self._rng.random() >= self.share:
                return
        task = asyncio.get_running_loop().create_task(self._compare(new, asked, log))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _compare(
        self, new: Mapping[str, Any], asked: Mapping[str, Any], log: Callable[[Compared], Any]
    ) -> None:
        import asyncio

        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                old = await self._ask(asked)
            compared = _compared(new, old, time.perf_counter() - started)
        except asyncio.CancelledError:
            with self._lock:
                self._tally.abandoned += 1
            raise
        except Exception as error:  # noqa: BLE001  the old council may raise anything
            with self._lock:
                self._tally.failed += 1
                first = self._tally.failed == 1
            if first:
                _log.warning(
                    "the council compared with failed (%s); further ones are counted", type(error).__name__
                )
            return
        with self._lock:
            self._tally.add(compared)
        try:
            logged = log(compared)
            if inspect.isawaitable(logged):
                await logged
        except Exception as error:  # noqa: BLE001  observing never breaks a request
            _log.warning("a comparison could not be logged (%s)", type(error).__name__)

    async def _ask(self, asked: Mapping[str, Any]) -> Any:
        import asyncio

        if inspect.iscoroutinefunction(self._call):
            return await self._call(**asked)
        answer = await asyncio.to_thread(self._call, **asked)
        return await answer if inspect.isawaitable(answer) else answer

    async def wait(self) -> None:
        """Wait for the comparisons of this event loop that are under way."""
        import asyncio

        loop = asyncio.get_running_loop()
        mine = [task for task in tuple(self._tasks) if task.get_loop() is loop]
        if mine:
            await asyncio.wait(mine)

    def report(self) -> Comparison:
        """Return what the comparisons so far say."""
        with self._lock:
            return self._tally.comparison()


def _compared(new: Mapping[str, Any], old: Any, latency_s: float) -> Compared:
    if not isinstance(old, Mapping) or not isinstance(old.get("verdict"), str):
        raise TypeError("the council compared with returned no dict with a verdict")
    score = _number(old.get("final_score"))
    return Compared(
        agreed=old["verdict"] == new["verdict"],
        score_difference=None if score is None else new["final_score"] - score,
        latency_s=latency_s,
        cost_usd=_number(old.get("cost")),
        new_cost_usd=new["_routing_metadata"]["cost"],
    )


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
