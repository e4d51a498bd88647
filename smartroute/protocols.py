"""Extend smartroute: the six Protocols that your own classes may implement. None needs to be inherited."""

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
    """Classifies how hard a task is. One that needs a model is a generator that yields its probes."""

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
    """Estimates the confidence in an answer.

    `probes` returns the extra calls it needs, if any. `estimate` gets their results, in order.
    """

    def probes(self, task: Task, reply: Reply) -> tuple[Probe, ...]: ...

    def estimate(self, task: Task, reply: Reply, replies: tuple[Reply | Failure, ...] = ()) -> Confidence: ...


@runtime_checkable
class Sink(Protocol):
    """Takes events. An exception that it raises is logged and counted, and never reaches a request."""

    def emit(self, event: Event) -> None: ...


@runtime_checkable
class EventSource(Protocol):
    """Returns the events of a log, oldest first."""

    def events(self) -> Iterator[Event]: ...
