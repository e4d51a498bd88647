"""Hand events to the sink, so that whatever goes wrong there ends there."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from smartroute.classify import FEATURES_VERSION, Features
from smartroute.concurrency.locks import fork_safe_lock
from smartroute.config import RouterConfig
from smartroute.errors import shown
from smartroute.records import Outcome

if TYPE_CHECKING:
    from smartroute.events.event import Event
    from smartroute.protocols import Sink

_log = logging.getLogger("smartroute")


class Emitter:
    """Opens the log at the first event, and never raises: what is lost is logged once and counted."""

    def __init__(self, config: RouterConfig, *, simulated: bool) -> None:
        self._config = config
        self._simulated = simulated
        self._lock = fork_safe_lock()
        self._sink: Sink | None = None
        self._ready = False
        self._hash_key: bytes | None = None
        self._event_class: type[Event] | None = None
        self._lost = 0

    def emit(self, outcome: Outcome, features: Features) -> None:
        """Hand the event to the sink. Whatever goes wrong is logged once, counted, and ends here."""
        self.emit_event(lambda: self._event_of(outcome, features))

    def emit_event(self, make: Callable[[], Event]) -> None:
        """Hand an event to the sink that `make` builds, where there is a sink; go on whatever goes wrong."""
        try:
            sink = self.open()
            if sink is not None:
                sink.emit(make())
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  observing never breaks a request
            with self._lock:
                self._lost += 1
                first = self._lost == 1
            if first:
                _log.warning(
                    "an event could not be logged (%s: %s); further ones are counted in lost_events",
                    type(error).__name__,
                    shown(error),
                )

    def _event_of(self, outcome: Outcome, features: Features) -> Event:
        if self._event_class is None:
            from smartroute.events.event import Event

            self._event_class = Event
        return self._event_class.of(
            outcome,
            hash_key=self._hash_key,
            features=_surface(features),
            log_text=self._config.log_text,
            redact=self._config.redact,
        )

    def open(self) -> Sink | None:
        """Return the sink, made ready; None when events go nowhere."""
        if self._ready:
            return self._sink
        with self._lock:
            if self._ready:
                return self._sink
            from smartroute.sinks.locations import default_log, default_log_path, hash_key, is_database

            place = self._config.log_path or default_log(self._simulated)
            if self._config.sink is False:
                self._sink = None
            else:
                self._sink = self._config.sink or self._opened(place)
                self._hash_key = hash_key(default_log_path(self._simulated) if is_database(place) else place)
            self._ready = True
            return self._sink

    def _opened(self, place: str | Path) -> Sink:
        from smartroute.sinks.opening import open_sink

        return open_sink(place, simulated=self._simulated, clock=self._config.clock)

    @property
    def lost(self) -> int:
        """Return how many events could not be logged, the sink's own count included."""
        return self._lost + int(getattr(self._sink, "lost", 0) or 0)

    def flush(self) -> None:
        """Make sure that every event is written. Raises SinkError when some were lost."""
        flush = getattr(self._sink, "flush", None)
        if flush is not None:
            flush()

    def close(self) -> None:
        """Close the log, unless the sink is the user's own. The next event opens it again."""
        with self._lock:
            sink, self._sink, self._ready = self._sink, None, False
            if self._config.sink is not None:
                return
            self._lost += int(getattr(sink, "lost", 0) or 0)
        close = getattr(sink, "close", None)
        if close is not None:
            close()


def _surface(features: Features) -> dict[str, Any]:
    """Return the surface features that are not 0, with their version."""
    named = zip(Features._fields, features, strict=True)
    found: dict[str, Any] = dict(itertools.compress(named, features))
    found["features_version"] = FEATURES_VERSION
    return found
