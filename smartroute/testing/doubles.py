"""Test doubles for applications that use smartroute: scripted replies, a frozen clock, no network."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from smartroute.clock import Clock
from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import FinalError
from smartroute.records import Call, Reply, Usage

if TYPE_CHECKING:
    from smartroute.events.event import Event

Scripted: TypeAlias = Reply | str | BaseException
"""One scripted result: a reply, the text of one, or an exception to raise."""


class ScriptExhaustedError(FinalError):
    """A ScriptedProvider was called more often than its script has results for."""

    kind = "script_exhausted"
    generated = False


def reply(text: str, *, input_tokens: int = 10, output_tokens: int = 5, **fields: Any) -> Reply:
    """Return a reply with the usage and the OpenAI shape that a provider would give it."""
    usage = fields.pop("usage", Usage(input_tokens, output_tokens))
    finish_reason = fields.pop("finish_reason", "stop")
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if fields.get("tool_calls"):
        message["tool_calls"] = list(fields["tool_calls"])
    raw = fields.pop("raw", None) or {
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message}],
    }
    return Reply(text=text, usage=usage, finish_reason=finish_reason, raw=raw, **fields)


class ScriptedProvider:
    """A provider that answers from a script and remembers every call.

    `script` is a sequence of results, a dict from model to such a sequence, or a function of the
    Call. The last result of a sequence is not repeated: one call too many fails with ScriptExhaustedError,
    unless `repeat` is true. A string becomes a reply with 10 input and 5 output tokens. Thread-safe.
    """

    needs_keys = False

    def __init__(
        self,
        script: Sequence[Scripted] | Mapping[str, Sequence[Scripted]] | Callable[[Call], Scripted],
        *,
        repeat: bool = False,
        simulated: bool = True,
    ) -> None:
        self.calls: list[Call] = []
        self.simulated = simulated
        self._lock = fork_safe_lock()
        self._function = script if callable(script) else None
        self._queues: dict[str | None, Iterator[Scripted]] = {}
        if not callable(script):
            by_model: Mapping[Any, Sequence[Scripted]] = (
                script if isinstance(script, Mapping) else {None: script}
            )
            for model, results in by_model.items():
                if isinstance(results, str | Reply | BaseException):
                    results = [results]
                self._queues[model] = itertools.cycle(results) if repeat else iter(results)

    def send(self, call: Call) -> Reply:
        """Return the next scripted reply, or raise the scripted exception."""
        with self._lock:
            self.calls.append(call)
            result = self._next(call)
        if isinstance(result, BaseException):
            raise result
        return reply(result, model=call.model) if isinstance(result, str) else result

    async def asend(self, call: Call) -> Reply:
        """Return what `send` does."""
        return self.send(call)

    def _next(self, call: Call) -> Scripted:
        if self._function is not None:
            return self._function(call)
        queue = self._queues.get(call.model, self._queues.get(None))
        if queue is None:
            raise ScriptExhaustedError(
                f"the script has nothing for model {call.model!r}; give it results under that name, or as a "
                "sequence for all models",
                model=call.model,
            )
        try:
            return next(queue)
        except StopIteration:
            raise ScriptExhaustedError(
                f"call {len(self.calls)}, to {call.model!r}, is one more than the script has results for; "
                "add one, or pass repeat=True",
                model=call.model,
            ) from None


class CapturingSink:
    """A sink that keeps every event in `captured`."""

    def __init__(self) -> None:
        self.captured: list[Event] = []

    def emit(self, event: Event) -> None:
        """Keep the event."""
        self.captured.append(event)

    def events(self) -> Iterator[Event]:
        """Yield the events, oldest first."""
        yield from list(self.captured)


class FrozenClock(Clock):
    """A clock that moves only when a test moves it, and when something sleeps on it."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._monotonic = 1_000.0
        self.slept: list[float] = []

    def now(self) -> float:
        """Return the frozen time in seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Return the frozen monotonic time in seconds."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move the clock forward."""
        self._now += seconds
        self._monotonic += seconds

    def sleep(self, seconds: float) -> None:
        """Let time pass at once, and remember it in `slept`."""
        self.slept.append(seconds)
        self.advance(seconds)

    async def asleep(self, seconds: float) -> None:
        """Do what `sleep` does."""
        self.sleep(seconds)
