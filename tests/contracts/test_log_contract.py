"""What every log does, whatever it is kept in: one suite for each pair of a sink and its source.

OpenTelemetry gives nothing back, so of it only what every sink does is asked.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smartroute.errors import SinkError
from smartroute.events.event import Event
from smartroute.protocols import EventSource, Sink
from smartroute.router import ModelRouter
from smartroute.sinks import FanOut, JsonlSink, JsonlSource, MemorySink
from smartroute.sinks.otel import OtelSink
from smartroute.sinks.sql import SqlSink, SqlSource
from smartroute.testing import CapturingSink, ScriptedProvider

Log = tuple[MemorySink | JsonlSink | SqlSink | FanOut, EventSource]
Taken = tuple[Sink, Callable[[], list[str]]]
"""A sink, and what tells the ids of the events that it took."""


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
        with self._queue._changed:
            assert self._queue._changed.wait_for(lambda: self._queue.idle, timeout=30)


def in_sqlite(tmp_path: Path) -> Log:
    url = f"sqlite:///{tmp_path / 'events.sqlite'}"
    return Committed(url, linger_s=0.0), SqlSource(url)


def in_postgres(url: str) -> Log:
    return Committed(url, linger_s=0.0), SqlSource(url)


def in_a_fan_out(tmp_path: Path) -> Log:
    """Of a log and a member that takes whatever comes."""
    return FanOut(JsonlSink(tmp_path / "log"), CapturingSink()), JsonlSource(tmp_path / "log")


def in_opentelemetry() -> Taken:
    pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))

    def outcome_ids() -> list[str]:
        spans = [span.attributes or {} for span in exporter.get_finished_spans()]
        return [str(span["smartroute.outcome.id"]) for span in spans if "smartroute.outcome.id" in span]

    return OtelSink(tracer_provider=tracers, meter_provider=MeterProvider()), outcome_ids


LOGS = [in_memory, in_a_folder, in_a_file, in_sqlite, in_postgres, in_a_fan_out]


@pytest.fixture(params=LOGS)
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Log]:
    if request.param is in_postgres:
        made = in_postgres(request.getfixturevalue("postgres").url())
    else:
        make: Callable[[Path], Log] = request.param
        made = make(tmp_path)
    yield made
    for item in made:
        close = getattr(item, "close", None)
        if close is not None:
            close()


@pytest.fixture(params=[*LOGS, in_opentelemetry])
def taken(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Taken]:
    if request.param is in_opentelemetry:
        yield in_opentelemetry()
        return
    if request.param is in_postgres:
        sink, source = in_postgres(request.getfixturevalue("postgres").url())
    else:
        sink, source = request.param(tmp_path)
    yield sink, lambda: [event.id for event in source.events()]
    for item in (sink, source):
        getattr(item, "close", lambda: None)()


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
    assert isinstance(log[1], EventSource)


def test_every_sink_has_the_shape_of_one(taken: Taken) -> None:
    assert isinstance(taken[0], Sink)
    assert taken[1]() == []


def test_a_router_hands_its_requests_over_and_closes_what_can_be_closed(taken: Taken) -> None:
    sink, outcome_ids = taken
    with ModelRouter(provider=ScriptedProvider(["82", "83"]), sink=sink) as router:
        ids = [router.run("Rate this hook from 0 to 100", kind="score").id for _ in range(2)]
    assert sorted(outcome_ids()) == sorted(ids)


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


def test_threads_lose_nothing(taken: Taken) -> None:
    sink, outcome_ids = taken

    def write(thread: int) -> None:
        for number in range(200):
            sink.emit(an_event(thread * 1000 + number))

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcome_ids()) == sorted(
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


def test_a_log_takes_events_of_every_version_and_gives_them_back_as_they_were(log: Log) -> None:
    """Return the events of the files that are kept of each version."""
    sink, source = log
    files = sorted((Path(__file__).parents[1] / "sinks" / "data").glob("schema-*.jsonl"))
    events = [event for file in files for event in JsonlSource(file).events()]
    real = [event for event in events if event.simulated is events[0].simulated]
    assert {event.schema for event in real} == {1, 2, 3}
    for event in real:
        sink.emit(event)
    assert sorted(source.events(), key=_by_id) == sorted(real, key=_by_id)
    assert sink.lost == 0


def _by_id(event: Event) -> str:
    return event.id
