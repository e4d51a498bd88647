"""Hand work to a daemon thread through a bounded queue, so that callers never wait."""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any, Generic, NamedTuple, TypeVar

from smartroute.concurrency.forks import after_fork
from smartroute.concurrency.threads import start_thread
from smartroute.errors import SinkError
from smartroute.number_checks import checked_number, checked_whole

_log = logging.getLogger("smartroute")
_AT_EXIT_S = 10.0
_CHECK_EVERY_S = 0.5

T = TypeVar("T")


class Retry(NamedTuple):
    """How long to pause before a failed batch is tried again. The pause doubles with each failure."""

    first_s: float
    longest_s: float


class Background(Generic[T]):
    """Hands items to `act` in batches, in order, on one daemon thread that starts with the first item.

    A batch is due when `batch` items wait, or `linger_s` seconds after the first of them. At most `pending`
    items wait; one more is lost. So are the items of a batch for which `act` raises; but with `retry` they
    stay in the queue, where they count as waiting, and are tried again after a pause. Lost items are counted
    in `lost`, and each is given to `on_loss` with the reason.

    A forked child starts with an empty queue: what waits is the parent's to do. What waits at exit is done
    first, for at most 10 seconds. `wording` is what an error says of the items that wait, after their number.
    """

    def __init__(
        self,
        act: Callable[[list[T]], object],
        on_loss: Callable[[T, str], None],
        *,
        name: str,
        pending: int,
        batch: int = 1,
        linger_s: float = 0.0,
        retry: Retry | None = None,
        wording: str | None = None,
    ) -> None:
        self._act = act
        self._on_loss = on_loss
        self._name = name
        self._pending = checked_whole(pending, "pending", least=1)
        self._batch = checked_whole(batch, "batch", least=1)
        self._linger_s = checked_number(linger_s, "linger_s", least=0)
        self._retry = retry
        self._wording = wording or f"still wait for {name}"
        self._reset()
        _queues.add(self)
        after_fork(self, Background._reset)

    def _reset(self) -> None:
        # Its lock is reentrant, for the handler of a signal may flush while its own thread is in `put`.
        self._changed = threading.Condition()
        self._waiting: deque[T] = deque()
        self._busy = 0  # how many of those that wait, the first ones, are being acted on
        self._thread: threading.Thread | None = None
        self._closing = self._hurried = self._warned = False
        self._due_s = math.inf  # when the next batch is due by `linger_s`; inf while nothing asked for one
        self._retry_at_s = 0.0
        self._pause_s = 0.0
        self._because = ""
        self.lost = 0
        self._reported = 0

    def put(self, item: T, *, wake: bool = True) -> bool:
        """Queue an item, and return at once: True when the thread had to be started for it.

        Without `wake` the item may wait for another that wakes the thread, or for a queue half full.
        """
        with self._changed:
            # A batch that cannot come back no longer waits.
            waiting = len(self._waiting) - (0 if self._retry else self._busy)
            if waiting < self._pending:
                self._waiting.append(item)
                return (wake or 2 * (waiting + 1) >= self._pending) and self._wake()
        self._lose([item], f"{self._pending} others are waiting")
        return False

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until everything is done. Raises SinkError when that takes longer.

        Where no thread can start (Python 3.12 starts none at exit) the caller's thread does it, and a batch
        that fails and stays in the queue is an error at once.
        """
        ends = time.monotonic() + timeout_s
        if self._thread is threading.current_thread():
            return
        with self._changed:
            if self._waiting:
                self._hurry()
        while True:
            with self._changed:
                if not self._waiting:
                    return
                left_s = ends - time.monotonic()
                if left_s <= 0:
                    raise self._unfinished(f", which has had {timeout_s:g} s")
                if self._busy or self._works():
                    self._changed.wait(min(left_s, _CHECK_EVERY_S))
                    continue
                self._thread = threading.current_thread()
                batch = self._take()
            try:
                success = self._do(batch)
            finally:
                with self._changed:
                    self._thread = None
                    self._changed.notify_all()
            if not success and self._retry:
                raise self._unfinished()

    def close(self, timeout_s: float = 30.0) -> None:
        """Do what waits, and end the thread. The next item starts another. Raises as `flush` does."""
        try:
            self.flush(timeout_s)
        finally:
            self.stop()

    def stop(self, wait_s: float = 0.0) -> None:
        """End the thread after its present batch, and wait for that. What waits stays in the queue."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            thread = self._thread
        if wait_s and thread is not None and thread is not threading.current_thread():
            thread.join(wait_s)

    def newly_lost(self) -> int:
        """Return how many items were lost since the last call."""
        with self._changed:
            lost, self._reported = self.lost - self._reported, self.lost
        return lost

    @property
    def idle(self) -> bool:
        """Return whether nothing waits and nothing is being done."""
        return not self._waiting

    def _wake(self) -> bool:
        """Make a batch due, and return whether a thread had to be started for it."""
        if self._due_s == math.inf:
            self._due_s = time.monotonic() + self._linger_s
            self._changed.notify_all()
        elif len(self._waiting) == self._batch:
            self._changed.notify_all()
        if self._works():
            return False
        self._closing = False
        try:
            self._thread = start_thread(self._work, self._name)
        except RuntimeError as error:  # no more threads, or the interpreter is ending: the items wait
            if not self._warned:
                _log.warning("%s has no thread, and works at a flush or at exit: %s", self._name, error)
            self._warned = True
            self._because = ": it has no thread"
        else:
            self._warned = False
        return True

    def _hurry(self) -> None:
        """Make everything that waits due now, also what waits to be tried again."""
        self._hurried = True
        self._retry_at_s = 0.0
        self._changed.notify_all()
        self._wake()

    def _works(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and not self._closing

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._leaving() and (wait_s := self._wait_s()) != 0:
                    self._changed.wait(wait_s)
                if self._leaving():
                    return
                batch = self._take()
            # The thread must outlive any one batch.
            with contextlib.suppress(KeyboardInterrupt):
                self._do(batch)

    def _leaving(self) -> bool:
        """Return whether this thread must end: the queue is closed, or another thread has taken over."""
        return self._closing or self._thread is not threading.current_thread()

    def _wait_s(self) -> float | None:
        """Return how long until a batch is due; None when that depends on a change.

        A batch that another thread still acts on, one that is leaving, comes first.
        """
        if self._busy or not self._waiting or self._due_s == math.inf:
            return None
        due_s = self._retry_at_s
        if not self._hurried and len(self._waiting) < self._batch:
            due_s = max(due_s, self._due_s)
        return max(0.0, due_s - time.monotonic())

    def _take(self) -> list[T]:
        batch = list(islice(self._waiting, self._batch))
        self._busy = len(batch)
        return batch

    def _do(self, batch: list[T]) -> bool:
        """Act on a batch, and return whether that succeeded."""
        failure = None
        try:
            self._act(batch)
        except BaseException as error:
            failure = str(error) if isinstance(error, SinkError) else type(error).__name__
            if isinstance(error, KeyboardInterrupt):  # a flush in the main thread may be interrupted
                raise
        finally:
            self._settle(batch, failure)
        return failure is None

    def _settle(self, batch: list[T], failure: str | None) -> None:
        try:
            if failure is not None and self._retry is None:
                self._lose(batch, failure)
        finally:
            with self._changed:
                self._busy = 0
                if failure is not None and self._retry is not None:
                    self._pause(failure, self._retry)
                else:
                    self._remove(len(batch))
                self._changed.notify_all()

    def _pause(self, failure: str, retry: Retry) -> None:
        self._because = f": {failure}"
        self._pause_s = min(2 * self._pause_s or retry.first_s, retry.longest_s)
        self._retry_at_s = time.monotonic() + self._pause_s

    def _remove(self, n: int) -> None:
        for _ in range(n):
            self._waiting.popleft()
        self._because = ""
        self._pause_s = self._retry_at_s = 0.0
        if not self._waiting:
            self._due_s, self._hurried = math.inf, False
        elif not self._hurried:
            self._due_s = time.monotonic() + self._linger_s

    def _lose(self, items: Iterable[T], why: str) -> None:
        for item in items:
            with self._changed:
                self.lost += 1
            self._on_loss(item, why)

    def _unfinished(self, otherwise: str = "") -> SinkError:
        return SinkError(f"{len(self._waiting)} {self._wording}{self._because or otherwise}")


def one_by_one(act: Callable[[T], object]) -> Callable[[list[T]], None]:
    """Return an `act` for the items of a batch, one after the other."""

    def act_on(batch: list[T]) -> None:
        for item in batch:
            act(item)

    return act_on


_queues: weakref.WeakSet[Background[Any]] = weakref.WeakSet()


def finish(queues: Iterable[Background[Any]]) -> None:
    """Do what waits in some queues, for at most 10 seconds, and log what is left.

    One queue may fill another, so this goes round until all are empty, or time is up.
    """
    ends = time.monotonic() + _AT_EXIT_S
    open_queues = list(queues)
    while (busy := [queue for queue in open_queues if not queue.idle]) and time.monotonic() < ends:
        for queue in busy:
            try:
                queue.flush(max(0.0, ends - time.monotonic()))
            except SinkError as error:  # out of time, or a batch that fails: a further try changes nothing
                _log.warning("at exit: %s", error)
                open_queues.remove(queue)


def _finish_all() -> None:
    finish(_queues)


atexit.register(_finish_all)
