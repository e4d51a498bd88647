"""The whole extension surface, on one page: six Protocols. None needs to be inherited."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from smartroute.records import (
    Call,
    Classification,
    Confidence,
    Decision,
    Failure,
    Menu,
    Probe,
    Reply,
    Task,
)

if TYPE_CHECKING:
    from smartroute.events.event import Event

Asking: TypeAlias = Generator[tuple[Probe, ...], tuple[Reply | Failure, ...], Classification]
"""A classification in steps: yields probes to call, receives their replies in order, returns the result."""


@runtime_checkable
class Classifier(Protocol):
    """Says how hard a task is. One that needs a model is a generator that yields its probes."""

    def classify(self, task: Task) -> Classification | Asking: ...


@runtime_checkable
class Strategy(Protocol):
    """Turns what is known of a task into a ladder. Pure: equal arguments, equal decision."""

    def decide(self, task: Task, classification: Classification, menu: Menu) -> Decision: ...


@runtime_checkable
class Provider(Protocol):
    """Makes one call. Raises ProviderError, and nothing else, when there is no reply."""

    def send(self, call: Call) -> Reply: ...

    async def asend(self, call: Call) -> Reply: ...


@runtime_checkable
class ConfidenceEstimator(Protocol):
    """Says how far an answer may be believed.

    `probes` names the extra calls it needs (none by default); `estimate` gets what came of them, in order.
    """

    def probes(self, task: Task, reply: Reply) -> tuple[Probe, ...]: ...

    def estimate(self, task: Task, reply: Reply, replies: tuple[Reply | Failure, ...] = ()) -> Confidence: ...


@runtime_checkable
class Sink(Protocol):
    """Takes events. Whatever it raises is logged and counted, and never reaches a request."""

    def emit(self, event: Event) -> None: ...


@runtime_checkable
class EventSource(Protocol):
    """Gives events back, oldest first."""

    def events(self) -> Iterator[Event]: ...
