"""Copy events from one log to another, without losing or duplicating any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smartroute.errors import SinkError

if TYPE_CHECKING:
    from collections.abc import Callable

    from smartroute.protocols import EventSource, Sink


_FLUSH_EVERY = 10_000


@dataclass(frozen=True, slots=True)
class Copied:
    """How many events were read, written, and skipped because the target had them."""

    read: int
    written: int
    skipped: int


def copy_events(source: EventSource, sink: Sink, *, known: EventSource | None = None) -> Copied:
    """Copy every event of a source to a sink, each id once; skip those that `known` has.

    Give the target's own source as `known` to resume a copy that was interrupted. Fields that this version
    does not know are copied as they are. The sink is flushed at the end. Raises SinkError when an event
    could not be written: what was written until then stays.
    """
    seen = set() if known is None else {event.id for event in known.events()}
    before = _lost(sink)
    flush = getattr(sink, "flush", lambda: None)
    read = written = 0
    for event in source.events():
        read += 1
        if event.id in seen:
            continue
        seen.add(event.id)
        sink.emit(event)
        if _lost(sink) > before:
            raise SinkError(
                f"event {event.id} could not be written; {written} were, of {read} read{_reason(flush)}"
            )
        written += 1
        if written % _FLUSH_EVERY == 0:  # a sink that queues must not fill up
            flush()
    flush()
    return Copied(read, written, read - written)


def _lost(sink: Sink) -> int:
    return int(getattr(sink, "lost", 0) or 0)


def _reason(flush: Callable[[], None]) -> str:
    try:
        flush()
    except SinkError as error:
        return f": {error}"
    return ""
