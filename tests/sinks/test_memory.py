"""What only the sink in memory does."""

from __future__ import annotations

import pytest

from smartroute.errors import ConfigError
from smartroute.events.event import Event
from smartroute.sinks import MemorySink


def test_the_newest_events_stay_and_the_others_are_counted() -> None:
    sink = MemorySink(maxlen=2)
    for name in "abcde":
        sink.emit(Event(1, "outcome", name, name, "2026-11-23T10:15:00.000000Z", True))
    assert [event.id for event in sink.events()] == ["d", "e"]
    assert (sink.dropped, sink.lost) == (3, 0)


def test_a_sink_for_no_event_is_refused() -> None:
    with pytest.raises(ConfigError, match="maxlen must be a whole number of at least 1"):
        MemorySink(maxlen=0)
