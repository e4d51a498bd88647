"""Keep the newest events in memory, for tests, notebooks and services that show recent traffic."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from smartroute.concurrency.locks import fork_safe_lock
from smartroute.number_checks import checked_whole
from smartroute.sinks.losses import Losses

if TYPE_CHECKING:
    from smartroute.events.event import Event


class MemorySink:
    """A sink and a source in one. Thread-safe.

    Keeps the newest `maxlen` events (None: all) and counts in `dropped` the older ones that it removed.
    The first event decides whether the log is of simulated or of real traffic.
    """

    def __init__(self, maxlen: int | None = 10_000) -> None:
        if maxlen is not None:
            maxlen = checked_whole(maxlen, "maxlen", least=1)
        self.dropped = 0
        self._events: deque[Event] = deque(maxlen=maxlen)
        self._lock = fork_safe_lock()
        self._losses = Losses()

    def emit(self, event: Event) -> None:
        """Keep the event."""
        with self._lock:
            if self._events and self._events[-1].simulated is not event.simulated:
                self._losses.add(
                    f"the sink holds {_traffic(not event.simulated)} events and this one is "
                    f"{_traffic(event.simulated)}; use another sink for it"
                )
                return
            if len(self._events) == self._events.maxlen:
                self.dropped += 1
            self._events.append(event)
            if self._losses.spell:
                self._losses.end_spell()

    def events(self) -> Iterator[Event]:
        """Yield the events that are kept now, oldest first."""
        with self._lock:
            kept = list(self._events)
        yield from kept

    @property
    def lost(self) -> int:
        """Return how many events were refused."""
        return self._losses.count

    def flush(self) -> None:
        """Raise SinkError when events were refused since the last flush."""
        with self._lock:
            self._losses.report()


def _traffic(simulated: bool) -> str:
    return "simulated" if simulated else "real"
