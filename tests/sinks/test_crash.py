"""The log under attack: nothing acknowledged is lost, nothing counts twice, no request learns of it.

An event is acknowledged when `emit` returned and `lost` did not rise. Writers are processes of their own,
which say so over a pipe.
"""

from __future__ import annotations

import json
import logging
import os
import random
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smartroute.analytics import Analytics
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink, JsonlSource

FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
ROOT = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root, to become another user or to mount"
)
LAYOUTS = pytest.mark.parametrize("name", ["log", "events.jsonl"])
NOBODY = 65_534


def an_event(name: str, **fields: object) -> Event:
    known: dict[str, object] = {"simulated": False, "kind": "score", "model": "mini", "cost_usd": 0.25}
    return Event(2, "outcome", name, name, "2026-11-23T10:15:00.000000Z", **(known | fields))  # type: ignore[arg-type]


def ids(path: Path) -> list[str]:
    return [event.id for event in JsonlSource(path).events()]


def requests(path: Path, *, rebuild: bool = False) -> int:
    """What the rollup counts, which must be kept."""
    analytics = Analytics(JsonlSource(path))
    assert analytics.catch_up(rebuild=rebuild)
    figures = analytics.figures()
    assert figures.cost_usd == pytest.approx(0.25 * figures.requests, rel=1e-9)
    return figures.requests


def check(path: Path, acknowledged: set[str], *, more: int = 0) -> None:
    """All that was acknowledged is there once, in the log and in the rollup; `more` may be besides."""
    found = ids(path)
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)
    assert len(found) <= len(acknowledged) + more
    assert requests(path) == requests(path, rebuild=True) == len(found)


def as_nobody(work: Callable[[], object]) -> int:
    """Do it in a forked child that has no rights; returns its exit code."""
    child = os.fork()
    if child == 0:
        code = 99
        try:
            signal.alarm(30)
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            code = int(work() or 0)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


SPAWNER = """
import os, sys
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink

# Loads what reading takes, so that each child lives from its first moment on.
Event.from_line(Event(2, "outcome", "a", "a", "2026-11-23T10:15:00.000000Z", False).to_line())
path, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
sink = JsonlSink(path)
for number in range(first, first + count):
    child = os.fork()
    if child:
        continue
    said = f"up {number} {os.getpid()}\\n"
    os.write(1, said.encode())
    event = 0
    while True:
        id = f"w{number}-{event}"
        sink.emit(Event(2, "outcome", id, id, "2026-11-23T10:15:00.000000Z", False, kind="score",
                        model="mini", cost_usd=0.25, labels={"padding": "x" * (event * 37 % 9000)}))
        if not sink.lost:
            os.write(1, f"{id}\\n".encode())
        event += 1
sys.stdin.read()
"""

ASKING = """
import sys
from smartroute.analytics import Analytics
from smartroute.sinks import JsonlSource
seen = 0
print("up", flush=True)
while True:
    now = Analytics(JsonlSource(sys.argv[1])).figures().requests
    assert now >= seen, (now, seen)
    seen = now
    print(seen, flush=True)
"""


@pytest.mark.slow
@FORKS
@pytest.mark.parametrize(("name", "seed"), [("log", 2026), ("events.jsonl", 2027)])
def test_200_writers_killed_at_random_moments_lose_nothing_that_was_acknowledged(
    tmp_path: Path, name: str, seed: int
) -> None:
    dice = random.Random(seed)
    log = tmp_path / name
    readers = [
        subprocess.Popen([sys.executable, "-c", ASKING, str(log)], stdout=subprocess.PIPE) for _ in range(2)
    ]
    for reader in readers:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"up\n"
    said = b""
    for first in range(0, 200, 20):
        spawner = subprocess.Popen(
            [sys.executable, "-c", SPAWNER, str(log), str(first), "20"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert spawner.stdout is not None and spawner.stdin is not None
        # From a writer's first word on it has up to 0.2 s to live: some are killed before their first event.
        due: list[tuple[float, int]] = []
        born, pending = 0, b""
        os.set_blocking(spawner.stdout.fileno(), False)
        with selectors.DefaultSelector() as selector:
            selector.register(spawner.stdout, selectors.EVENT_READ)
            while born < 20 or due:
                if selector.select(0.002):
                    more = os.read(spawner.stdout.fileno(), 1 << 20)
                    said += more
                    *lines, pending = (pending + more).split(b"\n")
                    for line in lines:
                        if line.startswith(b"up "):
                            born += 1
                            due.append((time.monotonic() + dice.uniform(0.0, 0.2), int(line.split()[2])))
                for moment, writer in [each for each in due if each[0] <= time.monotonic()]:
                    os.kill(writer, signal.SIGKILL)
                    due.remove((moment, writer))
        spawner.stdin.close()
        os.set_blocking(spawner.stdout.fileno(), True)
        said += spawner.stdout.read()
        spawner.stdout.close()
        spawner.wait()
    lines = said.decode().split("\n")
    assert sum(line.startswith("up ") for line in lines) == 200
    acknowledged = {line for line in lines if line.startswith("w")}
    assert len(acknowledged) > 2_000
    time.sleep(0.3)
    for reader in readers:
        assert reader.poll() is None, "a reader that races the writers must not fail, nor count backward"
        reader.kill()
        reader.communicate()
    # Of each writer the last event may be in the log without its word, and no more.
    check(log, acknowledged, more=200)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[..., bool]]:
    """Mounts a small tmpfs, and remounts it with other options."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> bool:
        done = shutil.which("mount") and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)], capture_output=True
        )
        return bool(done) and not done.returncode

    if not mount("size=256k"):
        pytest.skip("a small tmpfs cannot be mounted here")
    yield mount
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_a_rollup_on_a_full_disk_costs_no_answer_and_is_kept_again_when_there_is_room(
    tmp_path: Path, disk: Callable[..., bool], caplog: pytest.LogCaptureFixture
) -> None:
    log, ballast = tmp_path / "disk" / "log", tmp_path / "disk" / "ballast"
    with JsonlSink(log) as sink:
        for number in range(50):
            sink.emit(an_event(f"e{number}"))
        with ballast.open("wb", buffering=0) as stream:
            while shutil.disk_usage(log).free:
                stream.write(b"x" * 4096)
        kept = [f"e{number}" for number in range(50)]
        for number in range(50, 150):
            lost = sink.lost
            sink.emit(an_event(f"e{number}"))
            kept += [f"e{number}"] * (sink.lost == lost)
        assert sink.lost
        reader = Analytics(JsonlSource(log))
        assert [reader.figures().requests for _ in range(2)] == [len(kept)] * 2
        assert not reader.catch_up()
        ballast.unlink()
        assert disk("remount,size=4m")
        sink.emit(an_event("last"))
    assert reader.catch_up()
    check(log, {*kept, "last"})
    assert ids(log) == [*kept, "last"]
    assert len([r for r in caplog.records if "was not logged" in r.getMessage()]) == 1
    assert len([r for r in caplog.records if "no rollup" in r.getMessage()]) == 1


@LAYOUTS
def test_a_disk_that_becomes_read_only_is_a_counted_loss_until_it_is_writable(
    tmp_path: Path, disk: Callable[..., bool], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert disk("remount,size=4m")
    log = tmp_path / "disk" / name
    sink = JsonlSink(log)
    sink.emit(an_event("before"))
    sink.close()
    assert disk("remount,ro")
    for number in range(5):
        sink.emit(an_event(f"e{number}"))
    assert sink.lost == 5
    assert Analytics(JsonlSource(log)).figures().requests == 1
    assert disk("remount,rw")
    sink.emit(an_event("after"))
    sink.close()
    assert len([r for r in caplog.records if "was not logged" in r.getMessage()]) == 1
    check(log, {"before", "after"})
    assert ids(log) == ["before", "after"]


@ROOT
def test_a_mount_that_comes_late_and_goes_hides_events_and_loses_none(
    tmp_path: Path, disk: Callable[..., bool]
) -> None:
    place = tmp_path / "disk"
    subprocess.run(["umount", str(place)], check=True)
    moment = [1_795_428_900.0]

    class Moving:
        def now(self) -> float:
            moment[0] += 2.0
            return moment[0]

    sink = JsonlSink(place / "deep" / "log", clock=Moving())  # type: ignore[arg-type]
    sink.emit(an_event("below"))
    assert disk("size=4m")
    sink.emit(an_event("mounted 1"))
    sink.emit(an_event("mounted 2"))
    check(place / "deep" / "log", {"mounted 1", "mounted 2"})
    subprocess.run(["umount", "-l", str(place)], check=True)
    sink.emit(an_event("below again"))
    assert sink.lost == 0
    check(place / "deep" / "log", {"below", "below again"})


@ROOT
@LAYOUTS
def test_permission_lost_in_mid_life_is_a_counted_loss_until_it_is_back(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    for parent in (tmp_path, *tmp_path.parents[:3]):
        if parent != Path("/tmp"):
            parent.chmod(0o755)
    log = folder / name
    to_child, of_parent = os.pipe()
    to_parent, of_child = os.pipe()

    def write() -> int:
        said: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
        logging.getLogger("smartroute").addHandler(handler)
        sink = JsonlSink(log)
        sink.emit(an_event("before"))
        sink.close()
        os.write(of_child, b"1")
        os.read(to_child, 1)
        for number in range(3):
            sink.emit(an_event(f"e{number}"))
        os.write(of_child, b"2")
        os.read(to_child, 1)
        sink.emit(an_event("after"))
        first = [text for text in said if "was not logged" in text]
        return 0 if (sink.lost, len(first), len(said)) == (3, 1, 2) else 1

    def parent() -> None:
        place = log if name == "log" else folder
        mode = place.stat().st_mode
        place.chmod(0)
        if name != "log":
            log.chmod(0)
        os.write(of_parent, b"1")
        os.read(to_parent, 1)
        place.chmod(mode)
        if name != "log":
            log.chmod(0o600)
        os.write(of_parent, b"2")

    def watch() -> None:
        os.read(to_parent, 1)
        parent()

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = as_nobody(write)
    watcher.join(30)
    for handle in (to_child, of_parent, to_parent, of_child):
        os.close(handle)
    assert code == 0
    assert ids(log) == ["before", "after"]


@ROOT
def test_a_folder_of_another_owner_is_a_counted_loss_and_can_be_read_where_it_may_be(tmp_path: Path) -> None:
    for parent in (tmp_path, *tmp_path.parents[:3]):
        if parent != Path("/tmp"):
            parent.chmod(0o755)
    log = tmp_path / "log"
    with JsonlSink(log) as sink:
        sink.emit(an_event("a"))

    def write_and_read() -> int:
        sink = JsonlSink(log)
        sink.emit(an_event("b"))
        analytics = Analytics(JsonlSource(log))
        return 0 if sink.lost == 1 and analytics.figures().requests == 1 and not analytics.catch_up() else 1

    log.chmod(0o755)
    for file in log.iterdir():
        file.chmod(0o644)
    assert as_nobody(write_and_read) == 0
    assert ids(log) == ["a"]


def whole(name: str) -> bytes:
    return an_event(name).to_line()


NULS = b"\0" * 5_000
RUBBISH = bytes(random.Random(3).randrange(256) for _ in range(3_000)).replace(b"\n", b"")
BAD: dict[str, bytes] = {
    "torn": whole("torn")[:60] + b"\n",
    "glued": whole("torn")[:60],
    "rubbish": RUBBISH + b"\n",
    "rubbish, glued": RUBBISH,
    "NULs": NULS + b"\n",
    "NULs, glued": NULS,
    "flipped": whole("x").replace(b'"model"', b'"mod\xe5l"'),
}


@pytest.mark.parametrize("place", ["first", "middle", "last"])
@pytest.mark.parametrize("bad", BAD)
@LAYOUTS
def test_a_bad_line_anywhere_is_counted_once_and_costs_no_other(
    tmp_path: Path, name: str, bad: str, place: str
) -> None:
    file = tmp_path / "log" / "2026-11-23-host-1-ab.jsonl" if name == "log" else tmp_path / name
    file.parent.mkdir(exist_ok=True)
    lines = [whole(each) for each in ("a", "b", "c", "d")]
    lines.insert({"first": 0, "middle": 2, "last": 4}[place], BAD[bad])
    file.write_bytes(b"".join(lines))
    log = tmp_path / name
    analytics = Analytics(JsonlSource(log))
    assert (analytics.figures().requests, analytics.unreadable()) == (4, (1, 0))
    with JsonlSink(log) as sink:
        sink.emit(an_event("later"))
    assert (analytics.figures().requests, analytics.unreadable()) == (5, (1, 0))
    source = JsonlSource(log)
    assert [event.id for event in source.events()] == ["a", "b", "c", "d", "later"]
    assert source.bad_lines == 1
    check(log, {"a", "b", "c", "d", "later"})


FUTURE = {
    "added": (b'"schema":2', b'"schema":7,"mood":{"of":["the",1]}', True),
    "another type": (b'"type":"outcome"', b'"type":"verdict"', False),
    "another unit": (b'"cost_usd":0.25', b'"cost_usd":{"EUR":0.25}', False),
    "another clock": (b'"time":"2026-11-23T10:15:00.000000Z"', b'"time":1795428900', False),
}


@pytest.mark.parametrize("change", FUTURE)
def test_a_later_version_is_read_as_far_as_it_keeps_its_promise_else_counted(
    tmp_path: Path, change: str
) -> None:
    before, after, readable = FUTURE[change]
    file = tmp_path / "events.jsonl"
    file.write_bytes(whole("a") + whole("b").replace(before, after).replace(b'"schema":2', b'"schema":7'))
    source = JsonlSource(file)
    assert [event.id for event in source.events()] == (["a", "b"] if readable else ["a"])
    assert source.bad_lines == (not readable)
    analytics = Analytics(source)
    assert (analytics.figures().requests, analytics.unreadable()) == (1 + readable, (not readable, 0))


OLD_WRITER = """
import json, os, sys
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
with open(sys.argv[4]) as kept:
    first = json.loads(kept.readline())
if not path.endswith(".jsonl"):
    path = f"{path}/2026-11-23-old-{os.getpid()}-{name}.jsonl"
handle = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
for number in range(count):
    first["id"] = first["outcome_id"] = f"{name}-{number}"
    os.write(handle, json.dumps(first, separators=(",", ":")).encode() + b"\\n")
"""
NEW_WRITER = """
import sys
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink
with JsonlSink(sys.argv[1]) as sink:
    for number in range(int(sys.argv[3])):
        id = f"{sys.argv[2]}-{number}"
        sink.emit(Event(2, "outcome", id, id, "2026-11-24T00:00:00.000000Z", False, model="gpt-4o",
                        tenant="acme", cost_usd=0.5, holdback="routed", holdback_share=0.02,
                        attempts=({"purpose": "answer"},)))
    assert not sink.lost
"""


@LAYOUTS
def test_two_versions_write_one_log_at_once_and_each_is_counted_by_its_own_fields(
    tmp_path: Path, name: str
) -> None:
    log, n = tmp_path / name, 400
    with JsonlSink(log) as sink:
        sink.emit(an_event("first", cost_usd=0.0))
    kept = Path(__file__).parent / "data" / "schema-1.jsonl"
    writers = [
        subprocess.Popen([sys.executable, "-c", script, str(log), f"{word}{number}", str(n), str(kept)])
        for number in range(2)
        for word, script in (("old", OLD_WRITER), ("new", NEW_WRITER))
    ]
    reader = Analytics(JsonlSource(log))
    while any(writer.poll() is None for writer in writers):
        reader.figures()
    assert [writer.returncode for writer in writers] == [0] * 4
    source = JsonlSource(log)
    found = [event.id for event in source.events()]
    assert sorted(found) == sorted(
        ["first", *(f"{word}{w}-{number}" for word in ("old", "new") for w in (0, 1) for number in range(n))]
    )
    assert source.bad_lines == 0
    for analytics in (reader, Analytics(JsonlSource(log), rollup=False)):
        days = analytics.grouped(("day", "tenant"))
        old, new = days["2026-11-23", "acme"], days["2026-11-24", "acme"]
        # By hand: 800 of each; schema-1.jsonl says 0.0004125 USD, three attempts, one of them unpriced.
        assert (old.requests, old.unpriced, old.attempts, old.escalated) == (800, 800, 2_400, 800)
        assert (new.requests, new.unpriced, new.attempts, new.escalated) == (800, 0, 800, 0)
        assert old.cost_usd == pytest.approx(0.33)
        assert new.cost_usd == pytest.approx(400.0)
    assert reader.catch_up(rebuild=True)
    assert reader.figures().requests == 1_601


TENDER = """
import sys
from smartroute.sinks import compress_segments, remove_segments
print("up", flush=True)
while True:
    compress_segments(sys.argv[1])
    remove_segments(sys.argv[1], keep_days=2)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs locks")
def test_compressing_and_removing_elsewhere_loses_no_event_of_writers_and_fails_no_reader(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = tmp_path / "log"
    tender = subprocess.Popen([sys.executable, "-c", TENDER, str(log)], stdout=subprocess.PIPE)
    assert tender.stdout is not None
    assert tender.stdout.readline() == b"up\n"
    stop = threading.Event()
    lost: list[int] = []

    class LongAgo:
        def now(self) -> float:
            return time.time() - 10 * 86_400

    def write(writer: int) -> None:
        sink = JsonlSink(log)
        for number in range(300):
            sink.emit(an_event(f"w{writer}-{number}"))
            if number % 7 == 0:
                sink.close()
        sink.close()
        lost.append(sink.lost)

    def write_what_goes() -> None:
        sink = JsonlSink(log, clock=LongAgo())  # type: ignore[arg-type]
        while not stop.is_set():
            sink.emit(an_event(f"old-{time.time_ns()}"))
            sink.close()
            time.sleep(0.005)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    fleeting = threading.Thread(target=write_what_goes)
    for thread in (*writers, fleeting):
        thread.start()
    rounds = 0
    while any(thread.is_alive() for thread in writers) or rounds < 20:
        list(JsonlSource(log).events())  # raises nothing, although segments go away below it
        Analytics(JsonlSource(log)).figures()
        rounds += 1
    stop.set()
    fleeting.join()
    tender.kill()
    tender.communicate()
    assert lost == [0, 0, 0]
    wanted = {f"w{writer}-{number}" for writer in range(3) for number in range(300)}
    found = ids(log)
    assert len(found) == len(set(found))
    assert {each for each in found if each.startswith("w")} == wanted
    assert requests(log) == requests(log, rebuild=True) == len(found)
    assert not [record for record in caplog.records if "no rollup" in record.getMessage()]


INTERRUPTED = """
import os, signal, sys, threading, time
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink

sink = JsonlSink(sys.argv[1])
def kick():
    while True:
        time.sleep(0.0007)
        os.kill(os.getpid(), signal.SIGINT)
# Not while the libraries are loaded: that is theirs to survive.
sink.emit(Event(2, "outcome", "warm", "warm", "2026-11-23T10:15:00.000000Z", False, cost_usd=0.25))
armed = False
def handler(*_):
    if armed:
        raise KeyboardInterrupt
signal.signal(signal.SIGINT, handler)
threading.Thread(target=kick, daemon=True).start()
said, interrupted = ["warm"], 0
for number in range(3000):
    id = f"e{number}"
    event = Event(2, "outcome", id, id, "2026-11-23T10:15:00.000000Z", False, model="mini", cost_usd=0.25)
    try:
        armed = True
        sink.emit(event)
        armed = False
        said.append(id)
    except KeyboardInterrupt:
        armed = False
        interrupted += 1
    if number % 5 == 0:
        sink.close()
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.stdout.write(f"{interrupted} {sink.lost}\\n" + "\\n".join(said))
sys.stdout.flush()
os._exit(0)
"""


@LAYOUTS
def test_ctrl_c_in_the_middle_of_an_emit_leaves_the_log_whole(tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(tmp_path / name)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    head, *said = done.stdout.split("\n")
    interrupted, lost = map(int, head.split())
    assert interrupted > 20
    assert lost == 0
    check(tmp_path / name, set(said), more=interrupted)


def test_ctrl_c_between_opening_a_segment_and_locking_it_lets_the_file_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = JsonlSink(tmp_path / "log")

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(JsonlSink, "_is_ours", interrupted)
        sink.emit(an_event("a"))
    assert sink._handle is None, "it would be written to without its lock, while it is being compressed"
    sink.emit(an_event("b"))
    check(tmp_path / "log", {"b"})


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs signals")
@LAYOUTS
def test_a_handler_that_emits_or_closes_in_the_middle_of_an_emit_does_not_hang(
    tmp_path: Path, name: str
) -> None:
    sink = JsonlSink(tmp_path / name)
    sink.emit(an_event("before"))

    class Interrupting:
        """A clock at which a signal arrives."""

        def now(self) -> float:
            if armed:
                armed.pop()
                os.kill(os.getpid(), signal.SIGUSR1)
            return time.time()

    def handler(*_: object) -> None:
        sink.emit(an_event("in the handler"))
        sink.close()
        sink.emit(an_event("after closing in the handler"))

    armed = [True]
    sink._clock = Interrupting()  # type: ignore[assignment]
    before = signal.signal(signal.SIGUSR1, handler)
    alarm = signal.signal(signal.SIGALRM, lambda *_: pytest.fail("it hangs"))
    signal.alarm(20)
    try:
        sink.emit(an_event("interrupted"))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, alarm)
        signal.signal(signal.SIGUSR1, before)
    assert sink._handle is None, "closed as soon as the event was written"
    sink.emit(an_event("after"))
    assert sink.lost == 0
    check(
        tmp_path / name,
        {"before", "in the handler", "after closing in the handler", "interrupted", "after"},
    )


SHUTDOWN = """
import atexit, sys, threading
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink

sink = JsonlSink(sys.argv[1])
def emit(id):
    sink.emit(Event(2, "outcome", id, id, "2026-11-23T10:15:00.000000Z", False, model="mini", cost_usd=0.25))

class Last:
    def __del__(self, sink=sink, Event=Event, time="2026-11-23T10:15:00.000000Z"):
        sink.emit(Event(2, "outcome", "finalizer", "finalizer", time, False, model="mini", cost_usd=0.25))

def storm():
    number = 0
    while True:
        emit(f"d{number}")
        number += 1

last = Last()
atexit.register(emit, "at exit")
if sys.argv[2] == "storm":
    threading.Thread(target=storm, daemon=True).start()
emit("main")
"""


@pytest.mark.parametrize("threads", ["storm", "none"])
@LAYOUTS
def test_events_at_the_interpreters_end_are_whole_or_said_to_be_lost(
    tmp_path: Path, name: str, threads: str
) -> None:
    log = tmp_path / name
    done = subprocess.run(
        [sys.executable, "-c", SHUTDOWN, str(log), threads], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    source = JsonlSource(log)
    found = [event.id for event in source.events()]
    assert {"main", "at exit"} <= set(found)
    assert len(found) == len(set(found))
    assert source.bad_lines == 0
    if threads == "none":  # with others running, Python calls no finalizers
        # When the sink itself was finalized before, it may find nothing left to open its file with.
        assert ("finalizer" in found) is (done.stderr.count("an event was not logged") == 0)


OUTLIVED = """
import gc, sys
import smartroute.sinks.jsonl as module
from smartroute.events.event import Event

sink = module.JsonlSink(sys.argv[1])
sink.emit(Event(2, "outcome", "a", "a", "2026-11-23T10:15:00.000000Z", False))
opened = sink._handle
vars(module).clear()  # as the interpreter does at its end
del sink
gc.collect()
import os
try:
    os.fstat(opened)
except OSError:
    print("closed")
"""


def test_a_sink_that_outlives_its_module_closes_its_file_without_a_word(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUTLIVED, str(tmp_path / "log")], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "closed\n", "")


@pytest.mark.slow
@FORKS
@LAYOUTS
def test_forks_in_the_middle_of_other_threads_emits_lose_and_double_nothing(
    tmp_path: Path, name: str
) -> None:
    log = tmp_path / name
    sink = JsonlSink(log)
    stop = threading.Event()
    said: list[list[str]] = [[] for _ in range(4)]

    def storm(thread: int) -> None:
        number = 0
        while not stop.is_set():
            sink.emit(an_event(f"t{thread}-{number}"))
            said[thread].append(f"t{thread}-{number}")
            number += 1
            if number % 50 == 0:
                sink.close()

    threads = [threading.Thread(target=storm, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    wanted = set()
    for number in range(30):
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            for event in range(10):
                sink.emit(an_event(f"c{number}-{event}"))
            os._exit(0 if sink.lost == 0 else 1)
        wanted |= {f"c{number}-{event}" for event in range(10)}
        assert os.waitpid(child, 0)[1] == 0
    stop.set()
    for thread in threads:
        thread.join()
    assert sink.lost == 0
    check(log, wanted.union(*said))


@pytest.mark.parametrize("now", [3e11, 1e300, float("inf"), float("nan"), -1e12, -1e300])
@LAYOUTS
def test_a_clock_that_is_out_of_its_mind_costs_no_event(tmp_path: Path, name: str, now: float) -> None:
    clock = [now]

    class Set:
        def now(self) -> float:
            return clock[0]

    sink = JsonlSink(tmp_path / name, clock=Set())  # type: ignore[arg-type]
    for number, moment in enumerate((now, now, 1_795_428_900.0, now)):
        clock[0] = moment
        sink.emit(an_event(f"e{number}"))
    assert sink.lost == 0
    check(tmp_path / name, {f"e{number}" for number in range(4)})


def test_a_clock_that_raises_costs_counted_events_and_no_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Stopped:
        def now(self) -> float:
            raise RuntimeError("stopped")

    sink = JsonlSink(tmp_path / "log", clock=Stopped())  # type: ignore[arg-type]
    for number in range(3):
        sink.emit(an_event(f"e{number}"))
    assert sink.lost == 3
    assert len(caplog.records) == 1


@pytest.mark.parametrize("kind", ["folder", "file", "to be made"])
def test_a_log_behind_a_symbolic_link_is_one_log(tmp_path: Path, kind: str) -> None:
    real = tmp_path / ("real.jsonl" if kind == "file" else "real")
    link = tmp_path / ("link.jsonl" if kind == "file" else "link")
    if kind == "folder":
        real.mkdir()
    elif kind == "file":
        real.touch()
    link.symlink_to(real)
    sink = JsonlSink(link)
    sink.emit(an_event("a"))
    if kind == "to be made":  # as where a disk is not mounted yet
        assert sink.lost == 1
        real.mkdir()
        sink.emit(an_event("a"))
    sink.close()
    with JsonlSink(real) as other:
        other.emit(an_event("b"))
    check(link, {"a", "b"})
    check(real, {"a", "b"})


@pytest.mark.parametrize(
    "odd",
    [
        "a b",
        "a\nb",
        "%s%d",
        "a?b#c&d",
        "[x]*",
        "'\"",
        "-rf",
        ":memory:",
        "ünï\U0001f600",
        "\udcff",
        "a" * 200,
    ],
)
@pytest.mark.parametrize("suffix", ["", ".jsonl"])
def test_a_path_may_hold_any_character(tmp_path: Path, odd: str, suffix: str) -> None:
    log = tmp_path / (odd + suffix)
    with JsonlSink(log) as sink:
        sink.emit(an_event("a"))
    assert sink.lost == 0
    check(log, {"a"})


def test_a_daemon_that_changes_its_folder_goes_on_in_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    sink, source = JsonlSink("log"), JsonlSource("log")
    sink.emit(an_event("a"))
    monkeypatch.chdir(tmp_path / "elsewhere")
    sink.close()
    sink.emit(an_event("b"))
    assert [event.id for event in source.events()] == ["a", "b"]
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.slow
@LAYOUTS
def test_a_line_of_50_megabytes_is_an_event_like_any_other(tmp_path: Path, name: str) -> None:
    log = tmp_path / name
    with JsonlSink(log) as sink:
        sink.emit(an_event("big", prompt_text="x" * 50_000_000))
        sink.emit(an_event("small"))
        sink.emit(an_event("big, too", prompt_text="y" * 50_000_000))
    assert sink.lost == 0
    check(log, {"big", "small", "big, too"})
    with JsonlSink(log) as sink:
        sink.emit(an_event("later"))
    check(log, {"big", "small", "big, too", "later"})


@pytest.mark.slow
def test_10_000_segments_of_a_day_are_read_in_bounded_memory(tmp_path: Path) -> None:
    script = """
import resource, sys
from smartroute.sinks import JsonlSource
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from smartroute.events.event import Event
Event.from_line(Event(2, "outcome", "a", "a", "2026-11-23T10:15:00.000000Z", False).to_line())
before = peak()
n = sum(1 for _ in JsonlSource(sys.argv[1]).events())
print(n, (peak() - before) // 1024)
"""
    line = an_event("0" * 32, labels={"padding": "x" * 1_000}).to_line()
    for segment in range(10_000):
        names = (f"{segment * 20 + number:032d}".encode() for number in range(20))
        lines = b"".join(line.replace(b"0" * 32, name) for name in names)
        (tmp_path / f"2026-11-23-h-{segment}-00.jsonl").write_bytes(lines)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, check=True)
    n, megabytes = map(int, done.stdout.split())
    assert n == 200_000
    assert megabytes < 200, "the segments hold 230 MB"


def test_an_empty_marker_of_somebody_who_was_killed_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "holds.txt").touch()
    with JsonlSink(tmp_path) as sink:
        sink.emit(an_event("a"))
    with JsonlSink(tmp_path) as other:
        other.emit(an_event("s", simulated=True))
    assert (sink.lost, other.lost) == (0, 1)
    check(tmp_path, {"a"})


def test_a_damaged_old_segment_keeps_no_new_event_out(tmp_path: Path) -> None:
    (tmp_path / "2026-11-20-h-1-00.jsonl.gz").write_bytes(b"\x1f\x8b\x08 not gzip at all")
    with JsonlSink(tmp_path) as sink:
        sink.emit(an_event("a"))
    assert sink.lost == 0
    (tmp_path / "2026-11-20-h-1-00.jsonl.gz").unlink()
    check(tmp_path, {"a"})


def test_both_ways_of_reading_agree_on_a_log_of_randomly_damaged_lines(tmp_path: Path) -> None:
    dice = random.Random(5)
    kept = (Path(__file__).parent / "data" / "schema-1.jsonl").read_bytes().splitlines()[0]
    file = tmp_path / "events.jsonl"
    with file.open("wb") as stream:
        for number in range(1_500):
            record = json.loads(kept) | {"id": f"e{number}", "outcome_id": f"e{number}"}
            line = bytearray(json.dumps(record, separators=(",", ":")).encode())
            for _ in range(dice.choice([0, 0, 1, 3])):
                line[dice.randrange(len(line))] = dice.randrange(256)
            stream.write(bytes(line) + b"\n")
    rolled, scanned = Analytics(JsonlSource(file)), Analytics(JsonlSource(file), rollup=False)
    assert rolled.figures().requests == scanned.figures().requests > 700
    assert rolled.unreadable() == scanned.unreadable()
    rolled.series(24)
    rolled.summary()
