"""Start daemon threads that never block a request, an event loop or interpreter exit."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

_MOST_STARTS = 20
_CHECK_EVERY_S = 0.05


def start_thread(work: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread, and return it once `work` runs in it. Raises RuntimeError if none can start.

    A thread that started may die before its first line: where a tracer watches (coverage, a debugger), Python
    3.11 refuses to set it in two threads at the same time, which happens as soon as the process has an audit
    hook. Then another one is started.
    """
    running = threading.Event()

    def run() -> None:
        running.set()
        work()

    for _ in range(_MOST_STARTS):
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        while not running.wait(_CHECK_EVERY_S) and thread.is_alive():
            pass
        if running.is_set():
            return thread
    raise RuntimeError(f"{_MOST_STARTS} threads in a row ended before they could run")


def run_in_thread(work: Callable[[], T], name: str = "smartroute-separate") -> Future[T]:
    """Run work in a thread of its own, with a copy of this context. The future is never cancelled.

    asyncio's own threads will not do: closing a loop waits for them, and so does interpreter exit.
    An exception that is no plain error (SystemExit, StopIteration, ...) arrives as a RuntimeError: in a
    future it would end the loop, or be lost. Raises RuntimeError when no thread can start.
    """
    from concurrent.futures import Future
    from contextvars import copy_context

    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    context = copy_context()

    def run() -> None:
        try:
            result = context.run(work)
        except BaseException as error:  # noqa: BLE001  whatever it is, a caller waits for it elsewhere
            future.set_exception(_portable(error))
        else:
            future.set_result(result)

    start_thread(run, name)
    return future


def _portable(error: BaseException) -> Exception:
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"it raised {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped
