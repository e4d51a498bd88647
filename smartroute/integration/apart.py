"""Run what may block in a thread of its own, for which nobody has to wait: neither a loop nor the process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")


def apart(work: Callable[[], T]) -> Future[T]:
    """Begin some work in a daemon thread, in this context, and return its future, which is never cancelled.

    asyncio's own threads will not do: closing a loop waits for them, and so does the end of the process.
    What is no error of the work's own (SystemExit, StopIteration, ...) comes as a RuntimeError: in a future
    it would end the loop, or be lost.
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

    threading.Thread(target=run, name="smartroute-apart", daemon=True).start()
    return future


def _portable(error: BaseException) -> Exception:
    if isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    wrapped = RuntimeError(f"it raised {type(error).__name__}")
    wrapped.__cause__ = error
    return wrapped
