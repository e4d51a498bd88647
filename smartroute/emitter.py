"""Emit events to the sink; sink failures never reach the caller."""

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
    """Opens the log at the first event, and never raises: the first lost event is logged, all are counted."""

    def __init__(self, config: RouterConfig, *, simulated: bool) -> None:
        self._config = config
        self._simulated = simulated
        self._lock = fork_safe_lock()
        self._sink: Sink | None = None
        self._ready = False
        self._hash_key: bytes | None = None
        self._event_of: Callable[..., Event] | None = None
        self._lost = 0

    def emit(self, outcome: Outcome, features: Features) -> None:
        """Emit the event of an outcome. A failure is logged once, counted, and never raised."""
        self.emit_event(lambda: self._made(outcome, features))

    def emit_event(self, make: Callable[[], Event]) -> None:
        """Emit the event that `make` returns, where there is a sink. Raises KeyboardInterrupt only."""
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

    def _made(self, outcome: Outcome, features: Features) -> Event:
        if self._event_of is None:
            from smartroute.events.writing import event_of

            self._event_of = event_of
        return self._event_of(
            outcome,
            hash_key=self._hash_key,
            features=_surface(features),
            log_text=self._config.log_text,
            redact=self._config.redact,
        )

    def open(self) -> Sink | None:
        """Return the sink, opened; None when events are not logged."""
        if self._ready:
            return self._sink
        with self._lock:
            if self._ready:
                return self._sink
            from smartroute.sinks.locations import default_log, default_log_path, hash_key, is_database

            path = self._config.log_path or default_log(self._simulated)
            if self._config.sink is False:
                self._sink = None
            else:
                self._sink = self._config.sink or self._opened(path)
                self._hash_key = hash_key(default_log_path(self._simulated) if is_database(path) else path)
            self._ready = True
            return self._sink

    def _opened(self, path: str | Path) -> Sink:
        from smartroute.sinks.opening import open_sink

        return open_sink(path, simulated=self._simulated, clock=self._config.clock)

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
        """Close the log, unless the user passed the sink. The next event opens it again."""
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
    surface: dict[str, Any] = dict(itertools.compress(named, features))
    surface["features_version"] = FEATURES_VERSION
    return surface
