"""Begin threads for which nobody has to wait: neither a request, nor a loop, nor the end of the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")

_BIRTHS = 20
_LOOK_EVERY_S = 0.05


def start_thread(work: Callable[[], object], name: str) -> threading.Thread:
    """Start a daemon thread, and return it when `work` has begun in it.

    A thread that started may die before its first line: where a tracer watches (coverage, a debugger), Python
    3.11 refuses to set it in two threads at the same time, which happens as soon as the process has an audit
    hook. Then another one is started. Raises RuntimeError when no thread can be begun.
    """
    begun = threading.Event()

    def run() -> None:
        begun.set()
        work()

    for _ in range(_BIRTHS):
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        while not begun.wait(_LOOK_EVERY_S) and thread.is_alive():
            pass
        if begun.is_set():
            return thread
    raise RuntimeError(f"{_BIRTHS} threads in a row ended before they could begin")


def run_in_thread(work: Callable[[], T], name: str = "smartroute-apart") -> Future[T]:
    """Begin some work in a thread of its own, in this context. The future is never cancelled.

    asyncio's own threads will not do: closing a loop waits for them, and so does the end of the process.
    What is no error of the work's own (SystemExit, StopIteration, ...) comes as a RuntimeError: in a future
    it would end the loop, or be lost. Raises RuntimeError when no thread can be begun.
    """
    from concurrent.futures import Future
    from contextvars import copy_context

    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    context = copy_context()

    def run() -> None:
        try:
            result = context.run(work)
        except BaseException as error:  # noqa: BLE001  whatever it is, somebody waits for it elsewhere
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
