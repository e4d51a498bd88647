"""Do what may take long on a thread of its own, so that whoever asks for it never waits."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from smartroute.concurrency.threads import start_thread
from smartroute.errors import SinkError
from smartroute.number_checks import checked_whole

_log = logging.getLogger("smartroute")
_AT_EXIT_S = 10.0

T = TypeVar("T")


class Background(Generic[T]):
    """Hands items to `act`, in order, on one daemon thread that begins with the first of them.

    At most `pending` items wait. One more, or one for which `act` raises, is lost: counted in `lost`, and
    given to `on_loss` with the reason. A forked child begins with an empty queue: what waits is the parent's
    to do. What waits at exit is done first, for at most 10 seconds.
    """

    def __init__(
        self, act: Callable[[T], object], on_loss: Callable[[T, str], None], *, name: str, pending: int
    ) -> None:
        self._act = act
        self._on_loss = on_loss
        self._name = name
        self._pending = checked_whole(pending, "pending", least=1)
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[T] = deque()
        self._thread: threading.Thread | None = None
        self._awake = self._closing = self._told = False
        self._busy = 0
        self.lost = 0
        self._reported = 0

    def put(self, item: T, *, wake: bool = True) -> None:
        """Queue an item. Returns at once. Without `wake` it may wait for another, or for a full queue."""
        with self._changed:
            full = len(self._waiting) >= self._pending
            if not full:
                self._waiting.append(item)
                if wake or 2 * len(self._waiting) >= self._pending:
                    self._wake()
        if full:
            self._lose(item, f"{self._pending} others are waiting")

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until everything is done. Raises SinkError when that takes longer.

        Where no thread can be begun (Python 3.12 begins none at exit) it is done in this one.
        """
        ends = time.monotonic() + timeout_s
        if self._thread is threading.current_thread():
            return
        with self._changed:
            if self._waiting:
                self._wake()
        while True:
            with self._changed:
                if not self._waiting and not self._busy:
                    return
                left_s = ends - time.monotonic()
                if left_s <= 0:
                    raise SinkError(
                        f"{len(self._waiting) + self._busy} still wait for {self._name}, which has had "
                        f"{timeout_s:g} s"
                    )
                if self._busy or self._works():
                    self._changed.wait(left_s)
                    continue
                self._thread = threading.current_thread()
                item = self._next()
            try:
                self._do(item)
            finally:
                with self._changed:
                    self._thread = None

    def close(self, timeout_s: float = 30.0) -> None:
        """Do what waits, and end the thread. The next item begins another. Raises as `flush` does."""
        try:
            self.flush(timeout_s)
        finally:
            with self._changed:
                self._closing = True
                self._changed.notify_all()

    def newly_lost(self) -> int:
        """Return how many items were lost since this was last asked."""
        with self._changed:
            lost, self._reported = self.lost - self._reported, self.lost
        return lost

    @property
    def idle(self) -> bool:
        """Return whether nothing waits and nothing is being done."""
        return not self._waiting and not self._busy

    def _wake(self) -> None:
        self._awake = True
        self._changed.notify_all()
        if self._works():
            return
        self._closing = False
        try:
            self._thread = start_thread(self._work, self._name)
        except RuntimeError as error:  # no more threads, or the interpreter is ending: the items wait
            if not self._told:
                _log.warning("%s has no thread, and works at a flush or at exit: %s", self._name, error)
            self._told = True
        else:
            self._told = False

    def _works(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and not self._closing

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._awake and not self._leaving():
                    self._changed.wait()
                if self._leaving():
                    return
                if not self._waiting:
                    self._awake = False
                    continue
                item = self._next()
            # The thread must outlive any one item.
            with contextlib.suppress(KeyboardInterrupt):
                self._do(item)

    def _next(self) -> T:
        self._busy += 1
        return self._waiting.popleft()

    def _do(self, item: T) -> None:
        try:
            self._act(item)
        except BaseException as error:
            self._lose(item, str(error) if isinstance(error, SinkError) else type(error).__name__)
            if isinstance(error, KeyboardInterrupt):  # whoever flushes in the main thread may be interrupted
                raise
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _leaving(self) -> bool:
        """Return whether this thread is done for: the queue is closed, or another thread has taken over."""
        return self._closing or self._thread is not threading.current_thread()

    def _lose(self, item: T, why: str) -> None:
        with self._changed:
            self.lost += 1
        self._on_loss(item, why)


_all: weakref.WeakSet[Background[Any]] = weakref.WeakSet()


def _finish() -> None:
    """Do what waits. One queue may fill another, so go round until all are empty, or time is up."""
    ends = time.monotonic() + _AT_EXIT_S
    while (busy := [each for each in list(_all) if not each.idle]) and time.monotonic() < ends:
        for each in busy:
            try:
                each.flush(max(0.0, ends - time.monotonic()))
            except SinkError as error:
                _log.warning("at exit: %s", error)


def _begin_anew() -> None:
    for each in list(_all):
        each._begin()


atexit.register(_finish)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
