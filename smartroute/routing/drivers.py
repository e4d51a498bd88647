"""Perform the steps of a task, in a thread or in a coroutine: the two live drivers.

asyncio and concurrent.futures are imported where they are used: with them, importing the library would
take a fifth longer. The third driver, which replays a recording, is in `evaluation/replay.py`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeAlias, TypeVar

from smartroute.budgets import Reserve, Settle
from smartroute.clock import Clock
from smartroute.concurrency.threads import run_in_thread
from smartroute.errors import MalformedReplyError, ProviderTimeoutError
from smartroute.records import Call, Calls, Failure, Outcome, Reply, Timed, Wait
from smartroute.routing.run import Replies, Steps, Stepwise

if TYPE_CHECKING:
    from concurrent.futures import Future

    from smartroute.protocols import Provider

_Sent: TypeAlias = tuple[Timed, BaseException | None]
_Result = TypeVar("_Result")
_Ended = TypeVar("_Ended")
_Finished = TypeVar("_Finished")
_GRACE_S = 0.1


class Driven(NamedTuple):
    """The outcome of a task, and what interrupted it, to be raised again once the outcome is recorded."""

    outcome: Outcome
    interruption: BaseException | None


@dataclass(frozen=True, slots=True)
class Conducted(Generic[_Result]):
    """What the caller's own steps return: the Outcome to log, and the result that the caller wants."""

    outcome: Outcome
    result: _Result


class LiveDriver:
    """Drives tasks with a provider. Serves any number of threads and event loops, also after a fork.

    Whatever a provider raises becomes a Failure. What interrupts a call from outside (a cancellation,
    Ctrl-C) becomes a Failure of kind "cancelled", so that the generator can end with a whole ledger.
    """

    def __init__(self, provider: Provider, clock: Clock) -> None:
        self._provider = provider
        self._clock = clock

    def drive(self, steps: Steps) -> Driven:
        """Perform the steps in this thread."""
        result: object = None
        interruption: BaseException | None = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                return Driven(end.value, interruption)
            if isinstance(step, Calls):
                result, cut = self._send_all(step)
                interruption = cut or interruption
                continue
            try:
                if isinstance(step, Wait):
                    self._clock.sleep(step.seconds)
                    result = ()
                else:
                    result = in_process(step)
            except BaseException as error:  # noqa: BLE001  raised again when the ledger is whole
                interruption, result = error, None

    async def adrive(
        self,
        steps: Stepwise[_Ended],
        finish: Callable[[_Ended, BaseException | None], _Finished],
    ) -> _Finished:
        """Perform the steps in this coroutine, and return what `finish` makes of their return value.

        A coroutine whose event loop is discarded is closed, and its return value is lost: so `finish` is
        called here, not by the caller.
        """
        result: object = None
        interruption: BaseException | None = None
        while True:
            try:
                step = steps.send(result)
            except StopIteration as end:
                ended: _Ended = end.value
                break
            if isinstance(step, Calls):
                try:
                    result, cut = await self._asend_all(step.calls)
                except GeneratorExit as closed:
                    result, cut = tuple(_CUT_OFF[0] for _ in step.calls), closed
                interruption = cut or interruption
                continue
            try:
                if isinstance(step, Wait):
                    await self._clock.asleep(step.seconds)
                    result = ()
                else:
                    result = in_process(step)
            except BaseException as error:  # noqa: BLE001  raised again when the ledger is whole
                interruption, result = error, None
        # Out here, so that an error raised at the end has no StopIteration for its context.
        return finish(ended, interruption)

    def _send_all(self, step: Calls) -> tuple[Replies, BaseException | None]:
        if len(step.calls) == 1 and step.within_s is None:
            timed, interruption = _send(self._provider, step.calls[0])
            return (timed,), interruption
        return _send_in_threads(self._provider, step)

    async def _asend_all(self, calls: tuple[Call, ...]) -> tuple[Replies, BaseException | None]:
        if len(calls) == 1:
            timed, cut = await _asend(self._provider, calls[0])
            return (timed,), cut
        import asyncio

        tasks = [asyncio.ensure_future(_asend(self._provider, call)) for call in calls]
        interruption: BaseException | None = None
        try:
            await asyncio.wait(tasks)
        except asyncio.CancelledError as error:
            interruption = error
            for task in tasks:
                task.cancel()
            # Cancelled once more: the caller does not wait for a provider to clean up.
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(tasks)
        except GeneratorExit:
            for task in tasks:
                # The loop may be closed already.
                with contextlib.suppress(RuntimeError):
                    task.cancel()
            raise
        settled = [_CUT_OFF if not task.done() or task.cancelled() else task.result() for task in tasks]
        return (
            tuple(timed for timed, _ in settled),
            interruption or next((cut for _, cut in settled if cut is not None), None),
        )


_CUT_OFF: _Sent = (Timed(Failure.cancelled(), 0.0), None)


def in_process(step: Reserve | Settle) -> object:
    """Perform a budget's step, for budgets of this process, and return what is sent back."""
    if isinstance(step, Reserve):
        return step.perform()
    step.perform()
    return ()


def _send_in_threads(provider: Provider, step: Calls) -> tuple[Replies, BaseException | None]:
    """Make each call in a thread, and give up on those that are not back in time.

    The threads are daemons: nothing can stop a server that trickles, and it must not keep the process alive.
    """
    from concurrent.futures import wait

    started = time.perf_counter()
    pending: list[Future[_Sent]] = []
    interruption: BaseException | None = None
    try:
        for call in step.calls:
            pending.append(_started(provider, call))
        wait(pending, None if step.within_s is None else step.within_s + _GRACE_S)
    except BaseException as error:  # noqa: BLE001  a Ctrl-C; it is raised again when the ledger is whole
        interruption = error
    waited_s = time.perf_counter() - started
    settled: list[_Sent] = []
    for call, future in zip_longest(step.calls, pending):
        if future is not None and future.done():
            failed = future.exception()
            settled.append(future.result() if failed is None else (Timed(Failure.of(failed), waited_s), None))
        elif interruption is not None:
            settled.append((Timed(Failure.cancelled(), waited_s), None))
        else:
            settled.append((Timed(Failure.of(_late(call, waited_s)), waited_s), None))
    return (
        tuple(timed for timed, _ in settled),
        interruption or next((cut for _, cut in settled if cut is not None), None),
    )


def _started(provider: Provider, call: Call) -> Future[_Sent]:
    from concurrent.futures import Future

    try:
        return run_in_thread(partial(_send, provider, call), "smartroute-call")
    except RuntimeError as error:  # no more threads, or the interpreter is ending
        not_made = Failure("unknown", "no thread could be started for the call", generated=False, error=error)
        future: Future[_Sent] = Future()
        future.set_result((Timed(not_made, 0.0), None))
        return future


def _send(provider: Provider, call: Call) -> _Sent:
    started = time.perf_counter()
    try:
        return Timed(_checked(provider.send(call), call), time.perf_counter() - started), None
    except Exception as error:  # noqa: BLE001  a provider may raise anything; it becomes a record
        return Timed(Failure.of(error), time.perf_counter() - started), None
    except BaseException as interruption:  # noqa: BLE001  a Ctrl-C; it is raised again when the ledger is whole
        return Timed(Failure.cancelled(), time.perf_counter() - started), interruption


async def _asend(provider: Provider, call: Call) -> _Sent:
    import asyncio

    task = asyncio.current_task()
    cancelled_before = 0 if task is None else task.cancelling()
    started = time.perf_counter()
    try:
        async with asyncio.timeout(call.timeout_s) as limit:
            reply = await provider.asend(call)
        return Timed(_checked(reply, call), time.perf_counter() - started), None
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  a provider may raise anything
        latency_s = time.perf_counter() - started
        # What counts is who cancelled: a provider may turn a cancellation into an error of its own, or
        # raise one without any request to cancel.
        if task is not None and task.cancelling() > cancelled_before:
            cut = error if isinstance(error, asyncio.CancelledError) else asyncio.CancelledError()
            return Timed(Failure.cancelled(), latency_s), cut
        if limit.expired():
            late = _late(call, latency_s)
            late.__cause__ = error
            return Timed(Failure.of(late), latency_s), None
        return Timed(Failure.of(error), latency_s), None
    except BaseException as interruption:  # noqa: BLE001  raised again when the ledger is whole
        return Timed(Failure.cancelled(), time.perf_counter() - started), interruption


def _late(call: Call, waited_s: float) -> ProviderTimeoutError:
    limit_s = waited_s if call.timeout_s is None else call.timeout_s
    return ProviderTimeoutError(f"no reply within {limit_s:g} s", model=call.model)


def _checked(reply: object, call: Call) -> Reply:
    if isinstance(reply, Reply):
        return reply
    raise MalformedReplyError(
        f"the provider returned {type(reply).__name__} for {call.model}, not a Reply", model=call.model
    )
