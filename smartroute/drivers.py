"""Perform the steps of a task for real, in a thread or in a coroutine: the two live drivers.

asyncio and the thread pool are imported where they are used: with them, importing the library would take
a fifth longer. The third driver, which performs them from a recording, is in `evaluation/replay.py`.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from smartroute.clock import Clock
from smartroute.errors import MalformedReplyError, ProviderTimeoutError
from smartroute.locks import fork_safe_lock
from smartroute.records import Call, Failure, Outcome, Reply, Timed, Wait
from smartroute.routing.escalation import Replies, Steps

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from smartroute.protocols import Provider

_CUT_SHORT: Replies = (Timed(Failure.cancelled(), 0.0),)


class Driven(NamedTuple):
    """The outcome of a task, and what interrupted it, to be raised again once the outcome is recorded."""

    outcome: Outcome
    interruption: BaseException | None


class LiveDriver:
    """Drives tasks with a provider. Serves any number of threads and event loops, also after a fork.

    Whatever a provider raises becomes a Failure; what interrupts a call from outside (a cancellation,
    Ctrl-C) becomes a cancelled one, so that the generator can end with a whole ledger.
    """

    def __init__(self, provider: Provider, clock: Clock) -> None:
        self._provider = provider
        self._clock = clock
        self._lock = fork_safe_lock()
        self._pool: ThreadPoolExecutor | None = None
        self._pool_pid = 0

    def drive(self, steps: Steps) -> Driven:
        """Perform the steps in this thread."""
        replies: Replies | None = None
        interruption: BaseException | None = None
        while True:
            try:
                step = next(steps) if replies is None else steps.send(replies)
            except StopIteration as done:
                return Driven(done.value, interruption)
            if isinstance(step, Wait):
                try:
                    self._clock.sleep(step.seconds)
                    replies = ()
                except BaseException as error:  # noqa: BLE001  raised again when the ledger is whole
                    interruption, replies = error, _CUT_SHORT
            else:
                replies, cut = self._send_all(step.calls)
                interruption = cut or interruption

    async def adrive(self, steps: Steps) -> Driven:
        """Perform the steps in this coroutine."""
        import asyncio

        replies: Replies | None = None
        interruption: BaseException | None = None
        while True:
            try:
                step = next(steps) if replies is None else steps.send(replies)
            except StopIteration as done:
                return Driven(done.value, interruption)
            if isinstance(step, Wait):
                try:
                    await self._clock.asleep(step.seconds)
                    replies = ()
                except asyncio.CancelledError as error:
                    interruption, replies = error, _CUT_SHORT
            else:
                replies, cut = await self._asend_all(step.calls)
                interruption = cut or interruption

    def close(self) -> None:
        """Let the threads go that made calls at the same time; new ones are started when needed."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False)

    def _send_all(self, calls: tuple[Call, ...]) -> tuple[Replies, BaseException | None]:
        if len(calls) == 1:
            timed, interruption = _send(self._provider, calls[0])
            return (timed,), interruption
        futures = [self._submit(call) for call in calls]
        try:
            done = [future.result() for future in futures]
        except BaseException as interruption:  # noqa: BLE001  a Ctrl-C; it is raised again when the ledger is whole
            return tuple(_settled(future) for future in futures), interruption
        return tuple(timed for timed, _ in done), next((i for _, i in done if i is not None), None)

    async def _asend_all(self, calls: tuple[Call, ...]) -> tuple[Replies, BaseException | None]:
        if len(calls) == 1:
            timed, interruption = await _asend(self._provider, calls[0])
            return (timed,), interruption
        import asyncio

        tasks = [asyncio.ensure_future(_asend(self._provider, call)) for call in calls]
        try:
            done = await asyncio.gather(*tasks)
        except asyncio.CancelledError as interruption:
            for task in tasks:
                task.cancel()
            done = await asyncio.gather(*tasks)
            return tuple(timed for timed, _ in done), interruption
        return tuple(timed for timed, _ in done), next((i for _, i in done if i is not None), None)

    def _submit(self, call: Call) -> Future[tuple[Timed, BaseException | None]]:
        try:
            return self._threads().submit(_send, self._provider, call)
        except RuntimeError:  # closed by another thread just now
            return self._threads().submit(_send, self._provider, call)

    def _threads(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None or self._pool_pid != os.getpid():
                from concurrent.futures import ThreadPoolExecutor

                self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="smartroute")
                self._pool_pid = os.getpid()
            return self._pool


def _send(provider: Provider, call: Call) -> tuple[Timed, BaseException | None]:
    started = time.perf_counter()
    try:
        return Timed(_checked(provider.send(call), call), time.perf_counter() - started), None
    except Exception as error:  # noqa: BLE001  a provider may raise anything; it becomes a record
        return Timed(Failure.of(error), time.perf_counter() - started), None
    except BaseException as interruption:  # noqa: BLE001  a Ctrl-C; it is raised again when the ledger is whole
        return Timed(Failure.cancelled(), time.perf_counter() - started), interruption


async def _asend(provider: Provider, call: Call) -> tuple[Timed, BaseException | None]:
    import asyncio

    started = time.perf_counter()
    try:
        async with asyncio.timeout(call.timeout_s) as limit:
            reply = await provider.asend(call)
        return Timed(_checked(reply, call), time.perf_counter() - started), None
    except TimeoutError as error:
        late: Exception = error
        if limit.expired():
            late = ProviderTimeoutError(f"no reply within {call.timeout_s:g} s", model=call.model)
            late.__cause__ = error
        return Timed(Failure.of(late), time.perf_counter() - started), None
    except Exception as error:  # noqa: BLE001  a provider may raise anything; it becomes a record
        return Timed(Failure.of(error), time.perf_counter() - started), None
    except BaseException as interruption:  # noqa: BLE001  cancellation; raised again when the ledger is whole
        return Timed(Failure.cancelled(), time.perf_counter() - started), interruption


def _checked(reply: object, call: Call) -> Reply:
    if isinstance(reply, Reply):
        return reply
    raise MalformedReplyError(
        f"the provider returned {type(reply).__name__} for {call.model}, not a Reply", model=call.model
    )


def _settled(future: Future[tuple[Timed, BaseException | None]]) -> Timed:
    if future.done() and not future.cancelled():
        return future.result()[0]
    future.cancel()
    return Timed(Failure.cancelled(), 0.0)
