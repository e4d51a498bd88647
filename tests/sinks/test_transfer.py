"""A log moves between places without loss, and without counting anything twice."""

import os
from itertools import pairwise
from pathlib import Path

import pytest
from typer.testing import CliRunner

from smartroute.cli.app import app
from smartroute.errors import SinkError
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink, JsonlSource, MemorySink, copy_events, open_sink, source_of


def an_event(name, **fields):
    return Event(2, fields.pop("type", "outcome"), name, name, "2026-11-23T08:00:00.000000Z", False, **fields)


def a_log(path, *events):
    with JsonlSink(path) as sink:
        for event in events:
            sink.emit(event)
    return JsonlSource(path)


def test_every_event_arrives_as_it_was_unknown_fields_included(tmp_path):
    events = [an_event("a", extra={"future": [1]}), an_event("b", labels={"x": "y"}), an_event("c")]
    source = a_log(tmp_path / "from", *events)
    memory = MemorySink()
    assert copy_events(source, memory).written == 3
    with JsonlSink(tmp_path / "to.jsonl") as back:
        copy_events(memory, back)
    assert list(JsonlSource(tmp_path / "to.jsonl").events()) == events


def test_an_event_that_stands_twice_is_copied_once(tmp_path):
    source = a_log(tmp_path / "from", an_event("a"), an_event("a"), an_event("b"))
    done = copy_events(source, MemorySink())
    assert (done.read, done.written, done.skipped) == (3, 2, 1)


def test_a_copy_that_was_cut_off_goes_on(tmp_path):
    source = a_log(tmp_path / "from", *(an_event(str(number)) for number in range(10)))
    there = a_log(tmp_path / "to", *(an_event(str(number)) for number in range(4)))
    with JsonlSink(tmp_path / "to") as sink:
        done = copy_events(source, sink, known=there)
    assert (done.written, done.skipped) == (6, 4)
    assert sorted(event.id for event in JsonlSource(tmp_path / "to").events()) == [str(n) for n in range(10)]


def test_an_event_that_cannot_be_written_is_told_and_nothing_pretended():
    memory = MemorySink()
    memory.emit(Event(2, "outcome", "s", "s", "2026-11-23T08:00:00.000000Z", True))
    source = MemorySink()
    source.emit(an_event("a"))
    with pytest.raises(SinkError, match="event a could not be written; 0 were"):
        copy_events(source, memory)


def typed(*arguments):
    return CliRunner().invoke(app, ["log", "copy", *map(str, arguments)])


def test_the_command_copies_and_refuses_to_mix_unasked(tmp_path):
    a_log(tmp_path / "from", an_event("a"), an_event("b"))
    first = typed(tmp_path / "from", tmp_path / "to")
    assert (first.exit_code, first.stdout) == (0, "events copied: 2, skipped: 0\n")
    again = typed(tmp_path / "from", tmp_path / "to")
    assert again.exit_code == 2 and "--merge" in again.stderr
    assert typed(tmp_path / "from", tmp_path / "to", "--merge").stdout == "events copied: 0, skipped: 2\n"
    assert typed(tmp_path / "nowhere", tmp_path / "to").exit_code == 2


def of_every_version():
    """The events that are kept of each version, and some that are hard to keep, all of real traffic."""
    files = sorted((Path(__file__).parent / "data").glob("schema-*.jsonl"))
    events = [event for file in files for event in JsonlSource(file).events() if not event.simulated]
    assert {event.schema for event in events} == {1, 2, 3}
    return [
        *{event.id: event for event in events}.values(),
        an_event("unknown", extra={"future": [1, {"deep": None}], "schema_of": "tomorrow"}),
        an_event("odd", labels={"nul": "\0", "quote": "'; --", "lines": "a\nb"}, prompt_text="\U0001f600"),
        an_event("said", type="feedback", quality=0.25, source="judge", comment="\\u0000 and a tab\t"),
    ]


@pytest.fixture
def places(tmp_path, postgres):
    """A log of each kind, and each kind once more."""
    return [
        str(tmp_path / "folder"),
        f"sqlite:///{tmp_path / 'one.sqlite'}",
        postgres.url(),
        str(tmp_path / "file.jsonl"),
        postgres.url(),
        f"sqlite:///{tmp_path / 'other.sqlite'}",
        str(tmp_path / "other"),
    ]


def held(place):
    source = source_of(place)
    events = sorted(source.events(), key=lambda event: event.id)
    getattr(source, "close", lambda: None)()
    return events


def test_a_log_goes_through_every_place_and_back_as_it_was(places):
    """By the command: folder, SQLite, PostgreSQL, file, PostgreSQL, SQLite, folder."""
    events = sorted(of_every_version(), key=lambda event: event.id)
    a_log(places[0], *events)
    for origin, target in pairwise(places):
        done = typed(origin, target)
        assert (done.exit_code, done.stdout) == (0, f"events copied: {len(events)}, skipped: 0\n"), (
            done.output
        )
        assert held(target) == events
        assert typed(origin, target, "--merge").stdout == f"events copied: 0, skipped: {len(events)}\n"
        assert typed(origin, target).exit_code == 2
        assert held(target) == events


def test_every_place_takes_from_every_other_in_code(places):
    events = sorted(of_every_version(), key=lambda event: event.id)
    first, *others = places
    a_log(first, *events)
    for number, target in enumerate(others):
        with open_sink(target) as sink:
            sink.emit(an_event(f"before {number}"))
        known = source_of(target)
        with open_sink(target) as sink:
            assert copy_events(source_of(first), sink, known=known).written == len(events)
        assert len(held(target)) == len(events) + 1
        with open_sink(first) as sink:  # and back: what is new there is that one event
            done = copy_events(known, sink, known=source_of(first))
            assert (done.written, done.skipped) == (1, len(events))
        events = held(first)
    assert len({event.id for event in events}) == len(events)


def test_simulated_events_stay_simulated_and_apart(places):
    for place in places[:4]:
        with open_sink(place) as sink:
            sink.emit(an_event("real"))
    simulated = places[6]
    with open_sink(simulated) as sink:
        sink.emit(Event(2, "outcome", "s", "s", "2026-11-23T08:00:00.000000Z", True))
    for place in places[:4]:
        refused = typed(simulated, place, "--merge")
        assert refused.exit_code == 2 and "real events" in refused.stderr
        assert [event.id for event in held(place)] == ["real"]
    assert typed(simulated, places[4]).exit_code == 0
    assert [event.simulated for event in held(places[4])] == [True]


def test_what_could_not_be_read_is_told(tmp_path):
    a_log(tmp_path / "from.jsonl", an_event("a"))
    with (tmp_path / "from.jsonl").open("ab") as stream:
        stream.write(b"{torn\n")
    done = typed(tmp_path / "from.jsonl", tmp_path / "to")
    assert (done.exit_code, done.stdout) == (0, "events copied: 1, skipped: 0\n")
    assert done.stderr == "lines not copied because they cannot be read: 1; of the other traffic: 0\n"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_target_that_cannot_be_written_is_told(tmp_path):
    a_log(tmp_path / "from", an_event("a"))
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert typed(tmp_path / "from", locked / "to").exit_code == 2
