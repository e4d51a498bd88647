"""Write each event to several sinks; a sink that fails does not affect the others."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import ConfigError, SinkError, shown

if TYPE_CHECKING:
    from smartroute.events.event import Event
    from smartroute.protocols import Sink

_log = logging.getLogger("smartroute")


class FanOut:
    """A sink that hands each event to all of its members, in their order.

    A member that raises loses that event, and the others still get it. Its losses are counted, and the first
    is logged. `lost` is the sum over the members; `losses` has it by member. Raises ConfigError without a
    member, or for one that is not a sink.
    """

    def __init__(self, *sinks: Sink) -> None:
        if not sinks:
            raise ConfigError("a fan-out needs at least one sink")
        for sink in sinks:
            if isinstance(sink, type) or not callable(getattr(sink, "emit", None)):
                raise ConfigError(f"a member of a fan-out must have a method emit(event), got {shown(sink)}")
        self.sinks = sinks
        self._raised = [0] * len(sinks)
        self._lock = fork_safe_lock()

    def emit(self, event: Event) -> None:
        """Hand the event to each member. Never raises, but for Ctrl-C."""
        for index, sink in enumerate(self.sinks):
            try:
                sink.emit(event)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001  observing never breaks a request, nor another sink
                with self._lock:
                    self._raised[index] += 1
                    first = self._raised[index] == 1
                if first:
                    _log.warning(
                        "%s lost an event (%s); further ones are counted", _name(sink), type(error).__name__
                    )

    @property
    def losses(self) -> dict[str, int]:
        """Return how many events each member lost, by the name of its class and its index."""
        return {
            f"{index}:{_name(sink)}": raised + int(getattr(sink, "lost", 0) or 0)
            for index, (sink, raised) in enumerate(zip(self.sinks, self._raised, strict=True))
        }

    @property
    def lost(self) -> int:
        """Return how many events members lost, in total."""
        return sum(self.losses.values())

    def flush(self) -> None:
        """Flush every member that can be. Raises SinkError naming those that lost events."""
        self._each("flush")

    def close(self) -> None:
        """Close every member that can be. Raises SinkError naming those that could not."""
        self._each("close")

    def _each(self, method: str) -> None:
        problems = []
        for sink in self.sinks:
            act: Any = getattr(sink, method, None)
            if act is None:
                continue
            try:
                act()
            except Exception as error:  # noqa: BLE001  the others must be flushed and closed as well
                problems.append(f"{_name(sink)}: {error}")
        if problems:
            raise SinkError("; ".join(problems))


def _name(sink: object) -> str:
    return type(sink).__name__
