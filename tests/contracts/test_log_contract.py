"""What every log does, whatever it is kept in: one suite for each pair of a sink and its source."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smartroute.errors import SinkError
from smartroute.events import Event
from smartroute.protocols import EventSource, Sink
from smartroute.sinks import JsonlSink, JsonlSource, MemorySink
from smartroute.sinks.sql import SqlSink, SqlSource

Log = tuple[MemorySink | JsonlSink | SqlSink, EventSource]


def in_memory(tmp_path: Path) -> Log:
    sink = MemorySink(maxlen=None)
    return sink, sink


def in_a_folder(tmp_path: Path) -> Log:
    return JsonlSink(tmp_path / "log"), JsonlSource(tmp_path / "log")


def in_a_file(tmp_path: Path) -> Log:
    return JsonlSink(tmp_path / "events.jsonl"), JsonlSource(tmp_path / "events.jsonl")


class Committed(SqlSink):
    """Waits for each event's commit, so that its source has it at once."""

    def emit(self, event: Event) -> None:
        super().emit(event)
        with self._changed:
            assert self._changed.wait_for(lambda: not self._pending, timeout=30)


def in_sqlite(tmp_path: Path) -> Log:
    url = f"sqlite:///{tmp_path / 'events.sqlite'}"
    return Committed(url, linger_s=0.0), SqlSource(url)


def in_postgres(url: str) -> Log:
    return Committed(url, linger_s=0.0), SqlSource(url)


@pytest.fixture(params=[in_memory, in_a_folder, in_a_file, in_sqlite, in_postgres])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    if request.param is in_postgres:
        made = in_postgres(request.getfixturevalue("postgres").url())
    else:
        make: Callable[[Path], Log] = request.param
        made = make(tmp_path)
    yield made
    for part in made:
        close = getattr(part, "close", None)
        if close is not None:
            close()


def an_event(number: int, **fields: object) -> Event:
    known = {
        "schema": 1,
        "type": "outcome",
        "id": f"e{number}",
        "outcome_id": f"e{number}",
        "time": f"2026-11-23T10:15:00.{number:06d}Z",
        "simulated": False,
    }
    return Event(**{**known, **fields})  # type: ignore[arg-type]


def test_it_has_the_shape_of_the_protocols(log: Log) -> None:
    sink, source = log
    assert isinstance(sink, Sink)
    assert isinstance(source, EventSource)


def test_a_log_without_events_gives_none(log: Log) -> None:
    assert list(log[1].events()) == []


def test_what_goes_in_comes_out_equal_and_oldest_first(log: Log) -> None:
    sink, source = log
    events = [
        an_event(1, cost_usd=0.1, ladder=("a", "b@high"), labels={"page": "home"}, features={"words": 3}),
        an_event(2, type="feedback", outcome_id="e1", quality=0.5, source="user", extra={"grade": "B"}),
        an_event(
            3, prompt_text="two\nlines, \U0001f600 and a NUL \0", attempts=({"model": "a", "cost_usd": None},)
        ),
    ]
    for event in events:
        sink.emit(event)
    assert list(source.events()) == events
    assert list(source.events()) == events
    assert sink.lost == 0


def test_reading_is_not_disturbed_by_writing(log: Log) -> None:
    sink, source = log
    for number in range(3):
        sink.emit(an_event(number))
    seen = []
    for event in source.events():
        seen.append(event.id)
        sink.emit(an_event(len(seen) + 100))
    assert seen == ["e0", "e1", "e2"]
    assert len(list(source.events())) == 6


def test_threads_lose_nothing(log: Log) -> None:
    sink, source = log

    def write(thread: int) -> None:
        for number in range(200):
            sink.emit(an_event(thread * 1000 + number))

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [event.id for event in source.events()]
    assert sorted(found) == sorted(
        f"e{thread * 1000 + number}" for thread in range(8) for number in range(200)
    )


@pytest.mark.parametrize("first", [False, True])
def test_real_and_simulated_events_do_not_share_a_log(
    log: Log, first: bool, caplog: pytest.LogCaptureFixture
) -> None:
    sink, source = log
    sink.emit(an_event(1, simulated=first))
    sink.emit(an_event(2, simulated=not first))
    sink.emit(an_event(3, simulated=not first))
    assert sink.lost == 2
    assert len(caplog.records) == 1
    assert ("holds simulated events" if first else "holds real events") in caplog.text
    sink.emit(an_event(4, simulated=first))
    assert [event.id for event in source.events()] == ["e1", "e4"]


def test_flush_raises_once_for_what_was_lost_since_the_last_one(log: Log) -> None:
    sink, _ = log
    sink.flush()
    sink.emit(an_event(1))
    sink.flush()
    sink.emit(an_event(2, simulated=True))
    sink.emit(an_event(3, simulated=True))
    with pytest.raises(SinkError, match=r"2 events were not logged.*holds real events"):
        sink.flush()
    sink.flush()
    assert sink.lost == 2
