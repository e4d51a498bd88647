"""A log in a database: what was acknowledged is there, whatever happens to it, to the process or to both."""

from __future__ import annotations

import logging
import math
import os
import random
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

from smartroute.analytics import Analytics
from smartroute.cli.app import app
from smartroute.config import RouterConfig
from smartroute.errors import ConfigError, SinkError
from smartroute.events.event import Event
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


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_sqlite_log_is_as_private_as_a_log_of_files(tmp_path):
    place = tmp_path / "events.sqlite"
    with SqlSink(f"sqlite:///{place}") as sink:
        sink.emit(an_event("a"))
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert ids(f"sqlite:///{place}") == ["a"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
def test_a_sqlite_file_that_somebody_made_keeps_its_permissions(tmp_path):
    place = tmp_path / "events.sqlite"
    place.touch()
    place.chmod(0o640)
    with SqlSink(f"sqlite:///{place}") as sink:
        sink.emit(an_event("a"))
    assert stat.S_IMODE(place.stat().st_mode) == 0o640


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


def execute(url, *statements):
    engine = engine_for(url)
    with engine.begin() as connection:
        found = [connection.exec_driver_sql(statement) for statement in statements]
        rows = found[-1].fetchall() if found[-1].returns_rows else []
    engine.dispose()
    return rows


def test_migrations_are_applied_once_and_in_order(url):
    schema = Schema(engine_for(url))
    schema.migrate()
    with SqlSink(url) as sink:
        sink.emit(an_event("kept"))
    schema.migrate()
    assert ids(url) == ["kept"]
    assert schema.version() == Schema.newest
    versions = execute(url, "SELECT version FROM smartroute_migrations ORDER BY version")
    assert [row[0] for row in versions] == list(range(1, Schema.newest + 1))


# The tables of version 1, as they were made; and how its programs write to PostgreSQL.
VERSION_1 = (
    "CREATE TABLE smartroute_migrations (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)",
    "CREATE TABLE smartroute_facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE smartroute_events (id TEXT PRIMARY KEY, outcome_id TEXT NOT NULL, "
    "type TEXT NOT NULL, time TEXT NOT NULL, simulated BOOLEAN NOT NULL, kind TEXT, complexity TEXT, "
    "strategy TEXT, model TEXT, tenant TEXT, conversation_id TEXT, line TEXT NOT NULL)",
    "CREATE INDEX smartroute_events_by_time ON smartroute_events (time, id)",
    "CREATE INDEX smartroute_events_by_outcome ON smartroute_events (outcome_id)",
    "INSERT INTO smartroute_migrations (version, applied_at) VALUES (1, '2026-11-23T00:00:00+00:00')",
    "INSERT INTO smartroute_facts (name, value) VALUES ('holds', 'real')",
)


def as_version_1_writes(url, *events):
    names = "id, outcome_id, type, time, simulated, line"
    rows = ", ".join(
        f"('{event.id}', '{event.outcome_id}', 'outcome', '{event.time}', false, "
        f"'{event.to_line().decode().rstrip()}')"
        for event in events
    )
    if url.startswith("sqlite"):
        execute(url, f"INSERT INTO smartroute_events ({names}) VALUES {rows} ON CONFLICT (id) DO NOTHING")
        return
    execute(
        url,
        "CREATE TEMPORARY TABLE IF NOT EXISTS smartroute_incoming (LIKE smartroute_events) "
        "ON COMMIT DELETE ROWS",
        f"INSERT INTO smartroute_incoming ({names}) VALUES {rows}",
        f"INSERT INTO smartroute_events ({names}) SELECT {names} FROM smartroute_incoming "
        "ON CONFLICT (id) DO NOTHING",
    )


def test_a_database_of_an_earlier_version_is_brought_up_to_date(url):
    """And a program of that version goes on writing to it."""
    execute(url, *VERSION_1)
    old = [an_event(f"old{number}", cost_usd=0.5) for number in range(5)]
    as_version_1_writes(url, *old)
    source = SqlSource(url)
    assert list(source.events()) == old
    with SqlSink(url) as sink:
        sink.emit(an_event("new", cost_usd=0.25))
        sink.emit(old[0])
    as_version_1_writes(url, an_event("late", cost_usd=1.0), old[1])
    assert Counter(ids(url)) == Counter([*(event.id for event in old), "new", "late"])
    assert Analytics(source).catch_up()
    figures = Analytics(source).figures()
    assert (figures.requests, figures.cost_usd) == (7, 3.75)
    source.close()


def test_a_role_that_may_only_add_events_can(postgres):
    """Whoever owns the tables has made them."""
    url = postgres.url()
    Schema(engine_for(url)).migrate()
    execute(
        url,
        "CREATE ROLE writer LOGIN",
        "GRANT SELECT, INSERT ON smartroute_events, smartroute_facts, smartroute_migrations TO writer",
    )
    try:
        with SqlSink(url.replace("tester@", "writer@")) as sink:
            for name in ("a", "b", "a"):
                sink.emit(an_event(name))
        assert ids(url) == ["a", "b"]
    finally:
        execute(url, "DROP OWNED BY writer", "DROP ROLE writer")


def test_a_database_of_an_earlier_version_is_copied_from_and_to(url, tmp_path):
    execute(url, *VERSION_1)
    as_version_1_writes(url, an_event("a"), an_event("b"))
    log = str(tmp_path / "log")
    copy = ["log", "copy"]
    assert CliRunner().invoke(app, [*copy, url, log]).stdout == "events copied: 2, skipped: 0\n"
    with JsonlSink(log) as sink:
        sink.emit(an_event("c"))
    done = CliRunner().invoke(app, [*copy, log, url, "--merge"])
    assert done.stdout == "events copied: 1, skipped: 2\n"
    assert ids(url) == ["a", "b", "c"]


def test_a_reader_brings_an_earlier_version_up_to_date_where_it_may(url):
    execute(url, *VERSION_1)
    as_version_1_writes(url, an_event("a"), an_event("b"))
    source = SqlSource(url)
    assert Analytics(source).catch_up()
    assert Analytics(source).figures().requests == 2
    assert source.schema.version() == Schema.newest
    source.close()


def test_tables_of_a_later_version_are_refused_and_nothing_is_lost(url, caplog):
    """Events wait until a program is there that knows them."""
    Schema(engine_for(url)).migrate()
    execute(url, "INSERT INTO smartroute_migrations (version, applied_at) VALUES (99, 'later')")
    later = "the tables at .* are of version 99 and this smartroute knows version [0-9]+; install a newer one"
    sink = SqlSink(url, linger_s=0.0)
    sink.emit(an_event("a"))
    with pytest.raises(SinkError, match=f"1 events still wait .*: {later}"):
        sink.flush(0.5)
    assert re.search(later, caplog.text)
    for read in (open_log, lambda place: list(SqlSource(place).events())):
        with pytest.raises(SinkError, match=later):
            read(url)
    execute(url, "DELETE FROM smartroute_migrations WHERE version = 99")
    sink.close()
    assert ids(url) == ["a"]


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
    sink._queue._waiting.clear()
    sink.close()


class Telling(SqlSink):
    """Keeps the ids of what was acknowledged."""

    def __init__(self, *arguments, **settings):
        self.acknowledged = []
        super().__init__(*arguments, **settings)

    def _write(self, events):
        super()._write(events)
        self.acknowledged += [event.id for event in events]


def outages(postgres, mode, times):
    """Take the server away and bring it back; return how long each outage was, in seconds."""
    found = []
    for _ in range(times):
        time.sleep(0.4)
        began = time.monotonic()
        postgres.stop(mode)
        time.sleep(0.4)
        postgres.start()
        found.append(time.monotonic() - began)
    time.sleep(0.4)
    return found


class Load:
    """Two threads that emit, and one that routes requests, until the block ends."""

    def __init__(self, sink):
        self.emitted = [[], [], []]
        self.longest_s = 0.0
        self.problems = []
        self._stopping = threading.Event()
        self._sink = sink
        self._router = ModelRouter(provider=ScriptedProvider(lambda call: "82"), sink=sink)
        jobs = (self._emit, self._emit, self._route)
        self._threads = [threading.Thread(target=self._run, args=pair) for pair in enumerate(jobs)]

    def _run(self, number, work):
        try:
            while not self._stopping.is_set():
                name, took_s = work(number)
                self.emitted[number].append(name)
                self.longest_s = max(self.longest_s, took_s)
                time.sleep(0.001)
        except Exception as error:  # noqa: BLE001  whatever it is, the test tells
            self.problems.append(error)

    def _emit(self, number):
        event = an_event(f"{number}-{len(self.emitted[number])}", simulated=True)
        began = time.monotonic()
        self._sink.emit(event)
        return event.id, time.monotonic() - began

    def _route(self, number):
        began = time.monotonic()
        outcome = self._router.run("Rate this hook from 0 to 100: 'Lose weight!'", kind="score")
        return outcome.id, time.monotonic() - began

    def __enter__(self):
        # What the first request imports is no concern of the sink's.
        self.emitted[2].append(self._route(2)[0])
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc):
        self._stopping.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_a_database_that_is_restarted_under_load_loses_nothing(postgres, mode):
    """No event is lost or doubled, no request hears of it, and none waits as long as an outage lasts."""
    url = postgres.url()
    sink = Telling(url, batch=50, linger_s=0.01)
    with Load(sink) as load:
        lasted_s = outages(postgres, mode, times=3)
    before = list(sink.acknowledged)
    sink.flush(60.0)
    sink.close()
    found = Counter(ids(url))
    assert load.problems == []
    assert load.longest_s < min(lasted_s)
    assert sink.lost == 0
    assert found == Counter(name for names in load.emitted for name in names)
    assert len(before) > 0 and set(before) <= found.keys()
    assert Counter(sink.acknowledged) == found


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["immediate", "kill"])
def test_what_a_restart_costs_a_small_queue_is_counted_and_said(postgres, mode, caplog):
    url = postgres.url()
    sink = Telling(url, batch=50, linger_s=0.01, most_pending=100)
    with caplog.at_level(logging.WARNING), Load(sink) as load:
        outages(postgres, mode, times=2)
    with pytest.raises(SinkError, match=f"{sink.lost} events were not logged"):
        sink.flush(60.0)
    sink.close()
    found = Counter(ids(url))
    emitted = sum(map(len, load.emitted))
    assert load.problems == []
    assert sink.lost > 0
    assert max(found.values()) == 1
    assert len(found) + sink.lost == emitted
    assert Counter(sink.acknowledged) == found
    counts = re.findall(r"events are logged again; (\d+) were lost", caplog.text)
    assert sum(map(int, counts)) == sink.lost


_WRITER = """
import sys
from smartroute.events.event import Event
from smartroute.sinks import SqlSink

class Telling(SqlSink):
    def _write(self, events):
        super()._write(events)
        print(*(event.id for event in events), sep="\\n", flush=True)

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
        acknowledged.append(writer.stdout.readline().rstrip("\n"))  # it has started
        time.sleep(rng.uniform(0.0, 0.3))
        writer.kill()
        # The last line may be torn by the kill: a name whose end is missing was not printed.
        acknowledged += [line[:-1] for line in writer.stdout if line.endswith("\n")]
        writer.wait()
        writer.stdout.close()
    found = Counter(ids(url))
    assert max(found.values()) == 1
    assert len(acknowledged) > 50
    assert set(acknowledged) <= found.keys()


_ENDS = {
    # The last lines of a program, what it does to handlers before the sink and after it, and how it may end.
    "return": ("", "", "", {0}),
    "exit": ("sys.exit(0)", "", "", {0}),
    "an exception": ("raise SystemExit(3)", "", "", {3}),
    "Ctrl-C": (
        "os.kill(os.getpid(), signal.SIGINT); time.sleep(30)",
        # A shell that runs us in the background has it ignored, and children inherit that.
        "signal.signal(signal.SIGINT, signal.default_int_handler)",
        "",
        # CPython forgets that it was a Ctrl-C when anything calls eval or exec with text after it, as
        # SQLAlchemy may for its first statement: then it is 1.
        {-signal.SIGINT, 1},
    ),
    "SIGTERM": ("terminate()", "", "", {-signal.SIGTERM}),
    "SIGTERM, a handler before": ("terminate()", "signal.signal(signal.SIGTERM, go)", "", {7}),
    "SIGTERM, a handler after": ("terminate()", "", "signal.signal(signal.SIGTERM, go)", {7}),
    "SIGTERM, a handler that goes on to the one before": (
        "terminate()",
        "",
        "was = signal.getsignal(signal.SIGTERM); calls = []\n"
        "def chain(*args): calls.append(1); assert len(calls) == 1; was(*args)\n"
        "signal.signal(signal.SIGTERM, chain)",
        {-signal.SIGTERM},
    ),
    "SIGTERM, ignored": (
        "terminate(0.1); sys.exit(5)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "",
        {5},
    ),
    "SIGTERM to an event loop": (
        "asyncio.run(serve())",
        "",
        "",
        {6},
    ),
    "SIGTERM, other threads emit": ("terminate()", "emit = in_a_thread", "", {-signal.SIGTERM}),
}


@pytest.mark.parametrize("end", _ENDS)
def test_what_waits_is_written_when_the_process_ends(tmp_path, end):
    """With a linger of an hour nothing is written before the end."""
    url = f"sqlite:///{tmp_path / 'events.sqlite'}"
    last, before, after, codes = _ENDS[end]
    program = f"""
import asyncio, os, signal, sys, threading, time
from smartroute.events.event import Event
from smartroute.sinks import SqlSink

def go(*_):
    os._exit(7)

def terminate(patience_s=30):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(patience_s)

async def serve():
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(stopping.wait(), 30)
    sys.exit(6)

def emit(name):
    sink.emit(Event(2, "outcome", name, name, {_NOON!r}, False))

def in_a_thread(name, direct=emit):
    thread = threading.Thread(target=direct, args=(name,))
    thread.start()
    thread.join()

{before}
sink = SqlSink({url!r}, linger_s=3600.0)
{after}
for name in "abc":
    emit(name)
{last}
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=60, check=False, capture_output=True)
    assert done.returncode in codes, done.stderr.decode()
    assert ids(url) == ["a", "b", "c"]


def test_what_still_waits_when_the_process_ends_is_said():
    program = f"""
import smartroute.sinks.sql as sql
from smartroute.concurrency import background
from smartroute.events.event import Event
background._AT_EXIT_S = 0.5
sink = sql.SqlSink("postgresql://nobody@127.0.0.1:9/nothing")
for name in "abc":
    sink.emit(Event(2, "outcome", name, name, {_NOON!r}, False))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], timeout=60, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert re.search("at exit: 3 events still wait for .*: OperationalError", done.stderr)


def test_what_comes_when_no_thread_can_begin_is_written_by_a_flush(url, monkeypatch, caplog):
    """As at the end of a process on Python 3.12."""
    sink = SqlSink(url, batch=2)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))
        for name in "abc":
            sink.emit(an_event(name))
        assert (
            caplog.text.count(
                "smartroute-sql has no thread, and works at a flush or at exit: can't start new thread"
            )
            == 1
        )
        sink.flush()
    assert ids(url) == ["a", "b", "c"]
    sink.emit(an_event("d"))
    sink.close()
    assert ids(url) == ["a", "b", "c", "d"]


def test_without_a_thread_a_database_that_is_away_is_an_error_at_once(monkeypatch):
    monkeypatch.setattr(threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread")))
    sink = SqlSink("postgresql://nobody@127.0.0.1:9/nothing")
    sink.emit(an_event("a"))
    for _ in range(2):
        with pytest.raises(SinkError, match=r"1 events still wait for .*: OperationalError"):
            sink.flush(600)


def test_an_event_of_the_processes_last_moment_is_written(url):
    program = f"""
import atexit
import smartroute.sinks.sql as sql
from smartroute.events.event import Event
sink = sql.SqlSink({url!r})
atexit.register(lambda: sink.emit(Event(2, "outcome", "a", "a", {_NOON!r}, False)))
"""
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
    assert ids(url) == ["a"]


def test_emitting_never_waits_for_a_server_that_says_nothing():
    """One that accepts connections and then is silent: events queue, and the process can end."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        program = f"""
import smartroute.sinks.sql as sql
from smartroute.concurrency import background
from smartroute.events.event import Event
background._AT_EXIT_S = 0.5
sink = sql.SqlSink("postgresql://nobody@127.0.0.1:{port}/nothing", most_pending=5)
for number in range(9):
    sink.emit(Event(2, "outcome", str(number), str(number), {_NOON!r}, False))
print(sink.lost)
"""
        done = subprocess.run(
            [sys.executable, "-c", program], timeout=60, check=False, capture_output=True, text=True
        )
    assert (done.returncode, done.stdout) == (0, "4\n")
    assert "at exit: 5 events still wait" in done.stderr


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
    texts = [repr(sink), repr(SqlSource(address)), repr(RouterConfig(log_path=address)), caplog.text]
    texts += [str(waiting.value), str(away.value)]
    assert all("nobody" in text for text in texts if "RouterConfig" not in text)
    assert not any("s3cret" in text for text in texts)
    sink._queue._waiting.clear()
    sink.close()


@pytest.mark.parametrize("address", ["mysql://host/base", "nothing://host", "postgresql+nothing://host/base"])
def test_an_address_that_names_no_database_known_here_is_said(address):
    with pytest.raises(ConfigError, match="database is named like") as caught:
        SqlSink(address)
    assert "PostgreSQL and in SQLite" in str(caught.value) and address.partition("host")[0] in str(
        caught.value
    )


def test_an_address_with_a_port_that_is_none_is_said_without_its_password():
    with pytest.raises(ConfigError, match="database is named like") as caught:
        SqlSink("postgresql://nobody:s3cret@host:port/base")
    assert "s3cret" not in str(caught.value)


def test_a_driver_that_is_not_there_is_said_with_the_cure():
    with pytest.raises(ConfigError, match="driver asyncpg is not installed; leave it out"):
        SqlSink("postgresql+asyncpg://host/base")


def test_an_address_is_told_as_it_was_given_without_its_password():
    source = SqlSource("postgresql://u:secret@127.0.0.1:1/base")
    assert source.address == "postgresql://u:***@127.0.0.1:1/base"


def test_reading_makes_no_database(tmp_path):
    address = f"sqlite:///{tmp_path / 'none.sqlite'}"
    with pytest.raises(SinkError, match="there is no log at"):
        open_log(address)
    assert list(SqlSource(address).events()) == []
    assert Analytics(SqlSource(address)).figures().requests == 0
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_database_is_said(tmp_path):
    (tmp_path / "notes.txt").write_text("hello, " * 200)
    with pytest.raises(SinkError, match="check that the file is an SQLite database"):
        open_log(f"sqlite:///{tmp_path / 'notes.txt'}")


@pytest.mark.parametrize(
    "settings",
    [
        {"batch": 0},
        {"batch": "500"},
        {"batch": 2.5},
        {"most_pending": 0},
        {"linger_s": -1.0},
        {"linger_s": math.nan},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(tmp_path, settings):
    (name,) = settings
    with pytest.raises(ConfigError, match=rf"^{name} must be a (whole|finite) number of at least [01], got "):
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
    sink._queue._waiting.clear()
    sink.close()
