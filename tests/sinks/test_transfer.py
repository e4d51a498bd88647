"""A log moves between places without loss, and without counting anything twice."""

import os

import pytest
from typer.testing import CliRunner

from smartroute.cli import app
from smartroute.errors import SinkError
from smartroute.events import Event
from smartroute.sinks import JsonlSink, JsonlSource, MemorySink, copy_events


def an_event(name, **fields):
    return Event(2, "outcome", name, name, "2026-11-23T08:00:00.000000Z", False, **fields)


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
    assert (first.exit_code, first.stdout) == (0, "2 events copied, 0 skipped\n")
    again = typed(tmp_path / "from", tmp_path / "to")
    assert again.exit_code == 2 and "--merge" in again.stderr
    assert typed(tmp_path / "from", tmp_path / "to", "--merge").stdout == "0 events copied, 2 skipped\n"
    assert typed(tmp_path / "nowhere", tmp_path / "to").exit_code == 2


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_target_that_cannot_be_written_is_told(tmp_path):
    a_log(tmp_path / "from", an_event("a"))
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert typed(tmp_path / "from", locked / "to").exit_code == 2
