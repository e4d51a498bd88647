"""Cache answers for a limited time, and let equal requests under way share one evaluation."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

from smartroute.concurrency.forks import after_fork
from smartroute.concurrency.locks import fork_safe_lock

if TYPE_CHECKING:
    from concurrent.futures import Future

T = TypeVar("T")


class Claim(Generic[T]):
    """What there is for a request: a kept `answer`, an evaluation `under_way`, or nothing: then it leads."""

    __slots__ = ("answer", "lead", "under_way")

    def __init__(
        self, *, answer: T | None = None, lead: bool = False, under_way: Future[T | None] | None = None
    ):
        self.answer = answer
        self.lead = lead
        self.under_way = under_way

    async def shared(self) -> T | None:
        """Return the answer of the evaluation under way; None when it was abandoned: claim again."""
        import asyncio

        assert self.under_way is not None
        # The shield: a request that stops waiting must not stop the others.
        return await asyncio.shield(asyncio.wrap_future(self.under_way))


class SharedAnswers(Generic[T]):
    """The answers of the last `keep_s` seconds, at most `most` of them. For any threads and event loops.

    A request that leads must end with `done` or `failed`. `keep_s` 0 keeps no answers; requests under way
    still share one evaluation.
    """

    def __init__(self, keep_s: float, most: int = 1_024) -> None:
        self._keep_s = keep_s
        self._most = most
        self._kept: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()
        self._under_way: dict[Hashable, Future[T | None]] = {}
        self._lock = fork_safe_lock()
        after_fork(self, SharedAnswers._reset)

    def _reset(self) -> None:
        self._under_way.clear()  # in a forked child: who was leading is in the other process

    def claim(self, key: Hashable, now_s: float) -> Claim[T]:
        """Return what there is for a request. When there is nothing, the caller leads."""
        from concurrent.futures import Future

        with self._lock:
            kept = self._kept.get(key)
            if kept is not None and now_s - kept[0] < self._keep_s:
                return Claim(answer=kept[1])
            future = self._under_way.get(key)
            if future is not None:
                return Claim(under_way=future)
            future = self._under_way[key] = Future()
            future.set_running_or_notify_cancel()  # from now on a waiting request cannot cancel it
            return Claim(lead=True)

    def done(self, key: Hashable, answer: T, now_s: float) -> None:
        """Keep an answer, and hand it to the requests that wait for it."""
        with self._lock:
            self._kept[key] = (now_s, answer)
            self._kept.move_to_end(key)
            while len(self._kept) > self._most or now_s - next(iter(self._kept.values()))[0] >= self._keep_s:
                self._kept.popitem(last=False)
                if not self._kept:
                    break
            future = self._under_way.pop(key, None)
        if future is not None:
            future.set_result(answer)

    def failed(self, key: Hashable, error: BaseException) -> None:
        """Fail the waiting requests with an error; after a cancellation, have them claim again."""
        with self._lock:
            future = self._under_way.pop(key, None)
        if future is None:
            return
        if isinstance(error, Exception):
            future.set_exception(error)
        else:
            future.set_result(None)

    def clear(self) -> None:
        """Forget the kept answers."""
        with self._lock:
            self._kept.clear()
