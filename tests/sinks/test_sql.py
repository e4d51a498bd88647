"""A log in a database: what was acknowledged is there, whatever happens to it, to the process or to both."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from smartroute.config import RouterConfig
from smartroute.errors import ConfigError, SinkError
from smartroute.events import Event
from smartroute.router import ModelRouter
from smartroute.sinks import JsonlSink, JsonlSource, SqlSink, SqlSource, copy_events, open_log, open_sink
from smartroute.sinks.sql_schema import Schema, engine_for
from smartroute.testing import ScriptedProvider

_NOON = "2026-11-23T12:00:00.000000Z"


def an_event(name, **fields):
    return Event(
        2, "outcome", name, name, fields.pop("time", _NOON), fields.pop("simulated", False), **fields
    )


@pytest.fixture(params=["sqlite", "postgres"])
def url(request, tmp_path):
    if request.param == "postgres":
        return request.getfixturevalue("postgres").url()
    return f"sqlite:///{tmp_path / 'events.sqlite'}"


def ids(url):
    source = SqlSource(url)
    try:
        return [event.id for event in source.events()]
    finally:
        source.close()


def test_an_id_is_stored_once_however_often_and_by_whomever_it_comes(url):
    with SqlSink(url) as one, SqlSink(url) as other:
        for sink in (one, other, one):
            for name in "abc":
                sink.emit(an_event(name))
            sink.flush()
    assert ids(url) == ["a", "b", "c"]


def test_odd_text_arrives(url):
    """PostgreSQL's text holds no NUL, and no encoding holds half a character."""
    odd = an_event("odd", model="m\0", tenant="half \ud83d", labels={"nul": "\0", "quote": "'; --"})
    with SqlSink(url) as sink:
        sink.emit(odd)
    source = SqlSource(url)
    (found,) = source.events()
    source.close()
    assert found.labels == {"nul": "\0", "quote": "'; --"}
    assert (found.model, found.tenant) == ("m\0", "half \ufffd")


def test_one_row_that_is_refused_is_lost_alone(url, caplog):
    sink = SqlSink(url, linger_s=5.0)
    for event in (an_event("a"), Event(2, "outcome", "b", None, _NOON, False), an_event("c")):
        sink.emit(event)
    with pytest.raises(SinkError, match=r"1 events were not logged, the last because .* refuses it"):
        sink.flush()
    assert sink.lost == 1
    sink.flush()  # it was said, and is not said again
    sink.close()
    assert ids(url) == ["a", "c"]
    assert sum("was not logged" in record.message for record in caplog.records) == 1


def test_real_and_simulated_events_never_share_a_database(url):
    with SqlSink(url) as real:
        real.emit(an_event("real"))
    simulated = SqlSink(url)
    simulated.emit(an_event("simulated", simulated=True))
    with pytest.raises(SinkError, match="holds real events and this one is not"):
        simulated.flush()
    simulated.close()
    assert ids(url) == ["real"]


def test_a_declared_log_turns_away_the_first_event_of_the_other_kind(url):
    sink = SqlSink(url, simulated=True)
    sink.emit(an_event("real"))
    with pytest.raises(SinkError):
        sink.flush()
    sink.emit(an_event("simulated", simulated=True))
    sink.close()
    assert ids(url) == ["simulated"]


def test_many_that_come_at_once_find_one_set_of_tables(url):
    """Twelve sinks on an empty database, all of them migrating."""
    sinks = [SqlSink(url, linger_s=0.0) for _ in range(12)]
    started = threading.Barrier(len(sinks))

    def write(number, sink):
        started.wait()
        for turn in range(20):
            sink.emit(an_event(f"{number}-{turn}"))
        sink.close()

    threads = [threading.Thread(target=write, args=pair) for pair in enumerate(sinks)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(ids(url)) == Counter(f"{n}-{turn}" for n in range(12) for turn in range(20))


def test_migrations_are_applied_once_and_in_order(url):
    schema = Schema(engine_for(url))
    schema.migrate()
    with SqlSink(url) as sink:
        sink.emit(an_event("kept"))
    schema.migrate()
    assert ids(url) == ["kept"]


def test_a_queue_that_is_full_loses_the_newest_and_says_so(tmp_path, caplog):
    """The database cannot be written: its folder is not there."""
    sink = SqlSink(f"sqlite:///{tmp_path / 'later' / 'events.sqlite'}", most_pending=5)
    for number in range(8):
        sink.emit(an_event(str(number)))
    assert sink.lost == 3
    assert [record.message for record in caplog.records if "was not logged" in record.message]
    with pytest.raises(SinkError, match="5 events still wait"):
        sink.flush(0.3)
    (tmp_path / "later").mkdir()
    with pytest.raises(SinkError, match="3 events were not logged"):
        sink.flush()
    sink.close()
    assert ids(f"sqlite:///{tmp_path / 'later' / 'events.sqlite'}") == list("01234")


def test_emitting_never_waits_for_a_database_that_is_away():
    """Nothing listens on port 9 of loopback."""
    sink = SqlSink("postgresql://nobody@127.0.0.1:9/nothing")
    for number in range(200):
        sink.emit(an_event(str(number)))
    with pytest.raises(SinkError, match="200 events still wait"):
        sink.flush(0.2)
    sink._pending.clear()
    sink.close()


@pytest.mark.slow
def test_a_database_that_is_restarted_under_load_loses_nothing(postgres):
    """Two threads write while the server is killed and started, three times."""
    url = postgres.url()
    sink = SqlSink(url, batch=50, linger_s=0.01)
    stopping = threading.Event()
    written: list[list[str]] = [[], []]

    def write(number):
        while not stopping.is_set():
            name = f"{number}-{len(written[number])}"
            sink.emit(an_event(name))
            written[number].append(name)
            time.sleep(0.001)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        time.sleep(0.4)
        postgres.stop()
        time.sleep(0.3)
        postgres.start()
    time.sleep(0.4)
    stopping.set()
    for thread in threads:
        thread.join()
    sink.flush(60.0)
    sink.close()
    assert sink.lost == 0
    assert Counter(ids(url)) == Counter(written[0] + written[1])


_WRITER = """
import sys
from smartroute.events import Event
from smartroute.sinks import SqlSink

class Telling(SqlSink):
    def _settle(self, n, strangers):
        names = [self._pending[place].id for place in range(n)]
        super()._settle(n, strangers)
        print(*names, sep="\\n", flush=True)

sink = Telling(sys.argv[1], batch=7, linger_s=0.0)
number = 0
while True:
    name = f"{sys.argv[2]}-{number}"
    sink.emit(Event(2, "outcome", name, name, "2026-11-23T12:00:00.000000Z", False))
    number += 1
    if number % 100 == 0:
        sink.flush()
"""


@pytest.mark.slow
def test_a_writer_that_is_killed_loses_nothing_that_was_acknowledged(url):
    """kill -9 at random moments: whatever the writer saw committed is there, and nothing twice."""
    rng = random.Random(5)
    acknowledged: list[str] = []
    for life in range(6):
        writer = subprocess.Popen(
            [sys.executable, "-c", _WRITER, url, str(life)], stdout=subprocess.PIPE, text=True
        )
        assert writer.stdout is not None
        acknowledged.append(writer.stdout.readline().rstrip("\n"))  # it has begun
        time.sleep(rng.uniform(0.0, 0.3))
        writer.kill()
        # The last line may be torn by the kill: a name whose end is missing was not told.
        acknowledged += [line[:-1] for line in writer.stdout if line.endswith("\n")]
        writer.wait()
        writer.stdout.close()
    found = Counter(ids(url))
    assert max(found.values()) == 1
    assert len(acknowledged) > 50
    assert set(acknowledged) <= found.keys()


@pytest.mark.parametrize("end", ["return", "exit", "SIGTERM", "SIGTERM with a handler"])
def test_what_waits_is_written_when_the_process_ends(tmp_path, end):
    """With a linger of an hour nothing is written before the end."""
    url = f"sqlite:///{tmp_path / 'events.sqlite'}"
    last = {
        "return": "",
        "exit": "sys.exit(0)",
        "SIGTERM": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)",
        "SIGTERM with a handler": "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)",
    }[end]
    handler = "signal.signal(signal.SIGTERM, lambda *_: os._exit(7))" if "handler" in end else ""
    program = f"""
import os, signal, sys, time
from smartroute.events import Event
from smartroute.sinks import SqlSink
{handler}
sink = SqlSink({url!r}, linger_s=3600.0)
for name in "abc":
    sink.emit(Event(2, "outcome", name, name, {_NOON!r}, False))
{last}
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert done.returncode == {"SIGTERM": -signal.SIGTERM, "SIGTERM with a handler": 7}.get(end, 0)
    assert ids(url) == ["a", "b", "c"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_writes_its_own_and_the_parents_events_once(url):
    sink = SqlSink(url, linger_s=3600.0)
    sink.emit(an_event("before"))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sink.emit(an_event("of the child"))
            sink.flush()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    sink.emit(an_event("after"))
    sink.close()
    assert sorted(ids(url)) == ["after", "before", "of the child"]


def test_a_closed_sink_opens_again(url):
    sink = SqlSink(url)
    for name in "ab":
        sink.emit(an_event(name))
        sink.close()
    assert ids(url) == ["a", "b"]


def test_a_log_moves_to_a_database_and_back_without_loss(url, tmp_path):
    """More events than the queue holds: the copy waits instead of losing."""
    events = [an_event(f"{n:05}", extra={"future": [n]}, labels={"n": str(n)}) for n in range(10_500)]
    with JsonlSink(tmp_path / "from") as sink:
        for event in events:
            sink.emit(event)
    with SqlSink(url, most_pending=10_000) as database:
        assert copy_events(JsonlSource(tmp_path / "from"), database).written == len(events)
    with JsonlSink(tmp_path / "to") as back:
        source = SqlSource(url)
        assert copy_events(source, back).written == len(events)
        source.close()
    assert list(JsonlSource(tmp_path / "to").events()) == events


def test_a_router_writes_to_the_database_that_log_path_names(url):
    with ModelRouter(config=RouterConfig(provider=ScriptedProvider(["82"]), log_path=url)) as router:
        outcome = router.run("Rate this hook from 0 to 100: 'Lose weight fast!'", kind="score")
    source = open_log(url)
    (found,) = source.events()
    source.close()
    assert found.id == outcome.id
    assert found.cost_usd == outcome.cost_usd


def test_a_password_is_nowhere(caplog):
    address = "postgresql://nobody:s3cret@127.0.0.1:9/nothing"
    sink = SqlSink(address)
    sink.emit(an_event("a"))
    with pytest.raises(SinkError) as waiting:
        sink.flush(0.5)
    with pytest.raises(SinkError) as away:
        open_log(address)
    said = [repr(sink), repr(SqlSource(address)), repr(RouterConfig(log_path=address)), caplog.text]
    said += [str(waiting.value), str(away.value)]
    assert all("nobody" in text for text in said if "RouterConfig" not in text)
    assert not any("s3cret" in text for text in said)
    sink._pending.clear()
    sink.close()


@pytest.mark.parametrize("address", ["mysql://host/base", "nothing://host", "postgresql+nothing://host/base"])
def test_an_address_that_names_no_database_known_here_is_said(address):
    with pytest.raises(ConfigError, match="database is named like"):
        SqlSink(address)


@pytest.mark.parametrize(
    "settings",
    [{"batch": 0}, {"most_pending": 0}, {"linger_s": -1.0}],
    ids=lambda settings: next(iter(settings)),
)
def test_settings_that_cannot_be_are_refused(tmp_path, settings):
    with pytest.raises(ConfigError, match="batch and most_pending must be at least 1"):
        SqlSink(f"sqlite:///{tmp_path / 'x.sqlite'}", **settings)


def test_a_database_without_a_log_is_said_when_it_is_opened_and_empty_when_it_is_read(url):
    with pytest.raises(SinkError, match="there is no log at"):
        open_log(url)
    assert ids(url) == []
    open_sink(url).close()


def test_a_folder_named_like_an_address_is_none(tmp_path):
    """Only text can be an address: a Path is a path."""
    sink = open_sink(Path(tmp_path / "sqlite:") / "x")
    assert isinstance(sink, JsonlSink)


def test_events_that_wait_are_said_once_for_a_spell(caplog):
    sink = SqlSink("postgresql://nobody@127.0.0.1:9/nothing")
    with caplog.at_level(logging.WARNING):
        sink.emit(an_event("a"))
        with pytest.raises(SinkError):
            sink.flush(1.5)  # several tries
    assert sum("events wait" in record.message for record in caplog.records) == 1
    sink._pending.clear()
    sink.close()
