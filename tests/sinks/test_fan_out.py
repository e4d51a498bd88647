"""One event, several sinks: what fails in one stays there."""

import asyncio
import logging

import pytest

from smartroute import Catalog, ModelCard, ModelRouter, Price
from smartroute.errors import ConfigError, SinkError
from smartroute.events.event import Event
from smartroute.sinks import FanOut, JsonlSink, JsonlSource, MemorySink
from smartroute.testing import CapturingSink, ScriptedProvider


def an_event(name, *, simulated=False):
    return Event(2, "outcome", name, name, "2026-11-23T08:00:00.000000Z", simulated)


class Broken:
    def __init__(self, error):
        self._error = error

    def emit(self, event):
        raise self._error


def test_every_member_gets_every_event_in_order():
    one, other = CapturingSink(), MemorySink()
    fan = FanOut(one, other)
    for name in ("a", "b"):
        fan.emit(an_event(name))
    assert [event.id for event in one.captured] == [event.id for event in other.events()] == ["a", "b"]
    assert fan.lost == 0


@pytest.mark.parametrize("error", [OSError("full"), SystemExit(1), GeneratorExit(), asyncio.CancelledError()])
def test_a_member_that_raises_loses_its_own_events_only(error, caplog):
    kept = CapturingSink()
    fan = FanOut(Broken(error), kept)
    with caplog.at_level(logging.WARNING, "smartroute"):
        for name in ("a", "b"):
            fan.emit(an_event(name))
    assert len(kept.captured) == 2
    assert fan.losses == {"0:Broken": 2, "1:CapturingSink": 0}
    assert fan.lost == 2
    assert len(caplog.records) == 1


def test_ctrl_c_is_nobodys_loss():
    with pytest.raises(KeyboardInterrupt):
        FanOut(Broken(KeyboardInterrupt())).emit(an_event("a"))


def test_what_members_count_themselves_is_summed():
    memory = MemorySink()
    fan = FanOut(memory, CapturingSink())
    fan.emit(an_event("a"))
    fan.emit(an_event("b", simulated=True))
    assert fan.losses["0:MemorySink"] == 1
    with pytest.raises(SinkError, match="MemorySink: 1 events"):
        fan.flush()


def test_closing_closes_all_although_one_cannot_be(tmp_path):
    class Stuck(CapturingSink):
        def close(self):
            raise OSError("stuck")

    log = JsonlSink(tmp_path / "log")
    fan = FanOut(Stuck(), log)
    fan.emit(an_event("a"))
    with pytest.raises(SinkError, match="Stuck: stuck"):
        fan.close()
    assert log._handle is None
    assert [event.id for event in JsonlSource(tmp_path / "log").events()] == ["a"]


def test_a_router_logs_to_all_of_them(tmp_path):
    memory = MemorySink()
    router = ModelRouter(
        catalog=Catalog.of([ModelCard("m", target="x/m", price=Price(1, 1))]),
        provider=ScriptedProvider(lambda call: "ok"),
        sink=FanOut(JsonlSink(tmp_path / "log", simulated=True), Broken(OSError()), memory),
    )
    outcome = router.run("hi")
    assert router.lost_events == 1
    assert [event.id for event in memory.events()] == [outcome.id]
    assert [event.id for event in JsonlSource(tmp_path / "log").events()] == [outcome.id]


@pytest.mark.parametrize("members", [(), (object(),), (MemorySink,)])
def test_a_fan_out_of_no_sinks_is_refused(members):
    with pytest.raises(ConfigError, match=r"fan-out"):
        FanOut(*members)
