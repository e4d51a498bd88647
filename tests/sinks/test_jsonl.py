"""What a log on disk survives: crowds, crashes, full disks, midnight, and readers of damaged files."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from smartroute.analytics import Analytics
from smartroute.clock import Clock
from smartroute.errors import ConfigError, SinkError
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink, JsonlSource, open_log

MIDNIGHT = 1_795_478_400.0  # 2026-11-24T00:00:00Z, by GNU date
DATA = Path(__file__).parent / "data"
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
LAYOUTS = pytest.mark.parametrize("name", ["log", "events.jsonl"])


class SetClock(Clock):
    """A clock that shows what it was set to."""

    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        return self.time


def an_event(name: str, second: int = 0, **fields: object) -> Event:
    time = f"2026-11-23T10:{second // 60:02d}:{second % 60:02d}.000000Z"
    return Event(1, "outcome", name, name, time, **{"simulated": False, **fields})  # type: ignore[arg-type]


def ids(path: Path) -> list[str]:
    return [event.id for event in JsonlSource(path).events()]


def segments(log: Path) -> list[Path]:
    return sorted(log.glob("*.jsonl"))


WRITER = """
import sys
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink

path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
sink = JsonlSink(path)
for number in range(count):
    id = f"{name}-{number}"
    event = Event(1, "outcome", id, id, "2026-11-23T10:15:00.000000Z", False,
                  labels={"padding": "x" * (number * 37 % 3000)}, cost_usd=0.25)
    sink.emit(event)
    if not sink.lost:
        sys.stdout.write(id + "\\n")
        sys.stdout.flush()
"""


def a_writer(path: Path, name: str, count: int, **options: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), name, str(count)],
        stdout=subprocess.PIPE,
        **options,  # type: ignore[call-overload]
    )


def test_a_folder_holds_one_private_segment_per_process_and_says_what_it_holds(tmp_path: Path) -> None:
    log = tmp_path / "deep" / "log"
    with JsonlSink(log, clock=SetClock(MIDNIGHT - 1)) as sink:
        for number in range(3):
            sink.emit(an_event(f"e{number}"))
    (segment,) = segments(log)
    assert segment.name.startswith("2026-11-23-")
    assert f"-{os.getpid()}-" in segment.name
    assert len(segment.read_bytes().splitlines()) == 3
    assert (log / "holds.txt").read_text() == "real\n"
    assert stat.S_IMODE(log.stat().st_mode) == 0o700
    assert stat.S_IMODE(segment.stat().st_mode) == 0o600


def test_nothing_is_made_before_the_first_event(tmp_path: Path) -> None:
    with JsonlSink(tmp_path / "log", simulated=True) as sink:
        sink.check()
        sink.flush()
    assert list(tmp_path.iterdir()) == []


def test_one_event_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = JsonlSink(tmp_path / "log")
    sink.emit(an_event("first"))
    sizes: list[int] = []
    real = os.write

    def counting(handle: int, data: bytes) -> int:
        sizes.append(len(data))
        return real(handle, data)

    monkeypatch.setattr(os, "write", counting)
    event = an_event("big", prompt_text="x" * 1_000_000)
    sink.emit(event)
    assert sizes == [len(event.to_line())]


def test_a_new_day_in_utc_begins_a_new_segment(tmp_path: Path) -> None:
    clock = SetClock(MIDNIGHT - 0.5)
    sink = JsonlSink(tmp_path, clock=clock)
    sink.emit(an_event("before"))
    clock.time = MIDNIGHT
    sink.emit(an_event("after", 1))
    clock.time = MIDNIGHT + 3600
    sink.emit(an_event("later", 2))
    assert [segment.name[:10] for segment in segments(tmp_path)] == ["2026-11-23", "2026-11-24"]
    assert ids(tmp_path) == ["before", "after", "later"]


def test_a_clock_that_goes_back_loses_nothing_and_does_not_flap(tmp_path: Path) -> None:
    clock = SetClock(MIDNIGHT + 1)
    sink = JsonlSink(tmp_path, clock=clock)
    for number in range(10):
        clock.time = MIDNIGHT + (-1) ** number
        sink.emit(an_event(f"e{number}", number))
    assert len(segments(tmp_path)) == 1
    clock.time = MIDNIGHT - 10 * 86_400
    sink.emit(an_event("long ago"))
    assert len(segments(tmp_path)) == 2
    assert sink.lost == 0
    assert len(ids(tmp_path)) == 11


def test_a_named_file_is_that_file_without_rotation(tmp_path: Path) -> None:
    clock = SetClock(MIDNIGHT - 1)
    sink = JsonlSink(tmp_path / "routing.log", clock=clock)
    sink.emit(an_event("before"))
    clock.time = MIDNIGHT + 1
    sink.emit(an_event("after"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["routing.log"]
    assert ids(tmp_path / "routing.log") == ["before", "after"]


@LAYOUTS
def test_a_closed_sink_opens_again(tmp_path: Path, name: str) -> None:
    sink = JsonlSink(tmp_path / name)
    for event in ("a", "b", "c"):
        sink.emit(an_event(event))
        sink.close()
        sink.close()
    assert ids(tmp_path / name) == ["a", "b", "c"]
    assert len(list(tmp_path.rglob("*.jsonl"))) == 1


def test_a_sink_that_is_forgotten_closes_its_file(tmp_path: Path) -> None:
    handles = Path("/proc/self/fd")
    if not handles.exists():
        pytest.skip("needs /proc/self/fd to see open files")

    def open_here() -> int:
        return sum(os.path.realpath(handle).startswith(str(tmp_path)) for handle in handles.iterdir())

    kept = JsonlSink(tmp_path)
    kept.emit(an_event("kept"))
    assert open_here() > 0, "or nothing would be seen below"
    kept.close()
    for number in range(20):
        JsonlSink(tmp_path).emit(an_event(f"e{number}"))
    assert open_here() == 0
    assert len(ids(tmp_path)) == 21


def test_fsync_reaches_the_disk_before_the_event_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sink = JsonlSink(tmp_path / "events.jsonl", fsync=True)
    monkeypatch.setattr(os, "fsync", synced.append)
    sink.emit(an_event("a"))
    sink.emit(an_event("b"))
    assert len(synced) == 2

    def failing(handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    sink.emit(an_event("c"))
    assert sink.lost == 1


@pytest.mark.slow
@LAYOUTS
def test_eight_processes_write_sixteen_thousand_whole_lines(tmp_path: Path, name: str) -> None:
    writers = [a_writer(tmp_path / name, f"w{number}", 2000) for number in range(8)]
    for writer in writers:
        writer.communicate()
        assert writer.returncode == 0
    source = JsonlSource(tmp_path / name)
    found = [event.id for event in source.events()]
    assert len(found) == 16_000
    assert set(found) == {f"w{writer}-{number}" for writer in range(8) for number in range(2000)}
    assert (source.bad_lines, source.foreign_lines) == (0, 0)


@pytest.mark.slow
@LAYOUTS
def test_what_was_acknowledged_survives_kill_9(tmp_path: Path, name: str) -> None:
    dice = random.Random(2026)
    acknowledged: set[str] = set()
    for batch in range(8):
        writers = [a_writer(tmp_path / name, f"b{batch}w{number}", 1_000_000) for number in range(3)]
        outputs: list[bytes] = [b""] * len(writers)
        writing = [threading.Event() for _ in writers]

        def drain(
            index: int, writers: list = writers, outputs: list = outputs, writing: list = writing
        ) -> None:  # type: ignore[type-arg]
            first = writers[index].stdout.read(1)
            writing[index].set()
            outputs[index] = first + writers[index].stdout.read()

        readers = [threading.Thread(target=drain, args=(index,)) for index in range(len(writers))]
        for reader in readers:
            reader.start()
        for writer, started in zip(writers, writing, strict=True):
            assert started.wait(60), "a busy machine may take a while to start a process"
            time.sleep(dice.uniform(0.1, 0.35))
            writer.send_signal(signal.SIGKILL)
        for reader in readers:
            reader.join()
        for writer in writers:
            writer.wait()
            assert writer.stdout is not None
            writer.stdout.close()
        for output in outputs:
            acknowledged.update(output.decode().split("\n")[:-1])
    assert len(acknowledged) > 1000
    found = ids(tmp_path / name)
    assert len(found) == len(set(found))
    assert acknowledged <= set(found)


@FORKS
@LAYOUTS
def test_a_forked_child_writes_its_own_lines_even_if_a_lock_was_held(tmp_path: Path, name: str) -> None:
    sink = JsonlSink(tmp_path / name)
    sink.emit(an_event("parent 1"))
    sink.emit(an_event("refused", simulated=True))
    with sink._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            sink.emit(an_event("child", 1))
            os._exit(0 if sink.lost == 0 else 1)
    assert os.waitpid(child, 0)[1] == 0
    sink.emit(an_event("parent 2", 2))
    assert ids(tmp_path / name) == ["parent 1", "child", "parent 2"]
    assert len(list(tmp_path.rglob("*.jsonl"))) == (2 if name == "log" else 1)


def test_segments_of_a_day_are_merged_by_time(tmp_path: Path) -> None:
    clock = SetClock(MIDNIGHT - 1)
    sinks = [JsonlSink(tmp_path, clock=clock) for _ in range(3)]
    for number in range(30):
        sinks[number % 3].emit(an_event(f"e{number}", number))
    assert len(segments(tmp_path)) == 3
    assert ids(tmp_path) == [f"e{number}" for number in range(30)]


def test_more_segments_than_open_files_can_be_read(tmp_path: Path) -> None:
    clock = SetClock(MIDNIGHT - 1)
    for number in range(200):
        with JsonlSink(tmp_path, clock=clock) as sink:
            sink.emit(an_event(f"e{number}", number))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The limit is on file numbers, and connections of other tests may still hold some.
    taken = max(int(file.name) for file in Path("/dev/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken + 60, hard))
    try:
        assert ids(tmp_path) == [f"e{number}" for number in range(200)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def line(name: str, **fields: object) -> bytes:
    return an_event(name, **fields).to_line()


@pytest.mark.parametrize(
    ("content", "found", "bad"),
    [
        (line("a") + line("b")[:50], ["a"], 1),
        (line("a")[:50] + b"\n" + line("b"), ["b"], 1),
        (line("a") + line("b")[:-1], ["a", "b"], 0),
        (line("a")[:-1] + line("b"), ["a", "b"], 1),
        (line("a")[:50] + line("b") + line("c"), ["b", "c"], 1),
        (line("a")[:-1] + line("b")[:70] + b"\n" + line("c"), ["a", "c"], 1),
        (line("a") + b"\0" * 4096 + line("b"), ["a", "b"], 1),
        (line("a") + b"\0" * 100 + b"\n" + line("b"), ["a", "b"], 1),
        (line("a") + b"\xff\xfe\xfa\n" + line("b"), ["a", "b"], 1),
        (line("a") + line("x").replace(b'"x"', b'"\xc3\x28"') + line("b"), ["a", "b"], 1),
        (line("a") + line("x").replace(b"false", b'"no"') + line("b"), ["a", "b"], 1),
        (line("a") + b"\n  \n\r\n" + line("b").replace(b"\n", b"\r\n"), ["a", "b"], 0),
        (line("a") + b'{"someone": "else"}\n[]\nnull\n' + line("b"), ["a", "b"], 3),
        (line("a", labels={"trap": '{"schema":1,"type":"outcome"'})[:-1] + line("b"), ["a", "b"], 1),
        (line("a", prompt_text="x" * 200_000) + line("b", prompt_text="y" * 65_536), ["a", "b"], 0),
        (b"", [], 0),
    ],
)
@LAYOUTS
def test_whole_events_are_read_and_bad_lines_counted(
    tmp_path: Path, name: str, content: bytes, found: list[str], bad: int
) -> None:
    file = tmp_path / "log" / "2026-11-23-host-1-ab.jsonl" if name == "log" else tmp_path / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)
    source = JsonlSource(tmp_path / name)
    assert [event.id for event in source.events()] == found
    assert source.bad_lines == bad
    assert [event.id for event in source.events()] == found
    assert source.bad_lines == bad


def test_a_newer_schema_is_read_and_an_impossible_one_is_counted(tmp_path: Path) -> None:
    newer = json.loads(line("a")) | {"schema": 2, "colour": "green"}
    impossible = json.loads(line("b")) | {"schema": 3, "cost_usd": {"amount": 1}}
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps(newer) + "\n" + json.dumps(impossible) + "\n")
    source = JsonlSource(file)
    (event,) = source.events()
    assert (event.schema, event.extra, source.bad_lines) == (2, {"colour": "green"}, 1)


def test_lines_of_schema_1_stay_readable() -> None:
    source = JsonlSource(DATA / "schema-1.jsonl")
    answered, failed, feedback = source.events()
    assert source.bad_lines == 0
    assert (answered.model, answered.cost_usd, answered.escalated) == ("gpt-4o", 0.0004125, True)
    assert answered.time == "2026-11-23T10:15:03.250000Z"
    assert answered.ladder == ("gpt-4o-mini", "gpt-4o@high")
    assert [attempt["cost_usd"] for attempt in answered.attempts] == [0.0000375, None, 0.000375]
    assert answered.attempts[1]["failure"] == "timeout"
    assert answered.features == {"words": 9, "script": "latin", "features_version": 1}
    assert answered.labels == {"page": "home"}
    assert (failed.model, failed.error, failed.unpriced_attempts) == (None, "AllModelsFailedError", 1)
    # Written before the field existed, as an extra: a reader of today knows what it is.
    assert (feedback.type, feedback.outcome_id, feedback.quality) == ("feedback", answered.id, 0.5)
    original = (DATA / "schema-1.jsonl").read_bytes().splitlines()
    for event, kept in zip((answered, failed, feedback), original, strict=True):
        written = json.loads(event.to_line())
        assert {name: value for name, value in written.items() if value not in (None, [], {})} == {
            name: value for name, value in json.loads(kept).items() if value not in (None, [], {})
        }


def as_named_now(line: bytes) -> dict[str, object]:
    """Return a kept line, its strategy by the name that it has now."""
    document: dict[str, object] = json.loads(line)
    if document.get("strategy") == "cost_optimised":
        document["strategy"] = "cost_optimized"
    return document


def test_lines_of_schema_2_stay_readable() -> None:
    source = JsonlSource(DATA / "schema-2.jsonl")
    held, judged, of_conversation = source.events()
    assert source.bad_lines == 0
    assert (held.holdback, held.holdback_share) == ("held", 0.02)
    assert (judged.outcome_id, judged.quality, judged.source) == (held.id, 1.0, "judge")
    assert (of_conversation.outcome_id, of_conversation.conversation_id) == ("", held.conversation_id)
    assert (of_conversation.label, of_conversation.comment) == ("bad", "two answers contradict each other")
    original = (DATA / "schema-2.jsonl").read_bytes().splitlines()
    for event, kept in zip((held, judged, of_conversation), original, strict=True):
        assert Event.from_line(event.to_line()) == event
        assert as_named_now(kept).items() <= json.loads(event.to_line()).items()


def test_lines_of_schema_3_stay_readable() -> None:
    source = JsonlSource(DATA / "schema-3.jsonl")
    kept, changed = source.events()
    assert source.bad_lines == 0
    assert (kept.escalated, kept.answer_changed) == (True, False)
    assert (changed.escalated, changed.answer_changed) == (True, True)
    original = (DATA / "schema-3.jsonl").read_bytes().splitlines()
    for event, line in zip((kept, changed), original, strict=True):
        assert Event.from_line(event.to_line()) == event
        assert as_named_now(line).items() <= json.loads(event.to_line()).items()


@LAYOUTS
def test_a_writer_begins_on_a_line_of_its_own_after_a_torn_one(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    sink = JsonlSink(path)
    sink.emit(an_event("a"))
    sink.close()
    (file,) = tmp_path.rglob("*.jsonl")
    with file.open("ab") as stream:
        stream.write(line("torn")[:40])
    sink.emit(an_event("b"))
    assert file.read_bytes() == line("a") + line("torn")[:40] + b"\n" + line("b")


def test_a_short_write_is_lost_and_the_next_record_begins_with_a_newline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sink = JsonlSink(tmp_path / "events.jsonl")
    sink.emit(an_event("a"))
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, data: real(handle, data[:30]))
        sink.emit(an_event("b"))
    sink.emit(an_event("c"))
    assert (tmp_path / "events.jsonl").read_bytes() == line("a") + line("b")[:30] + b"\n" + line("c")
    assert sink.lost == 1
    assert "1 were lost" in caplog.text


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    made = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True
    )
    if not made or made.returncode:
        pytest.skip("a small tmpfs cannot be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@LAYOUTS
def test_a_full_disk_costs_counted_events_and_no_exception(
    small_disk: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    ballast = small_disk / "ballast"
    sink = JsonlSink(small_disk / name)
    sink.emit(an_event("first"))
    ballast.write_bytes(b"x" * 8192)
    kept = ["first"]
    for number in range(100):
        lost = sink.lost
        sink.emit(an_event(f"e{number}", labels={"padding": "x" * 900}))
        if sink.lost == lost:
            kept.append(f"e{number}")
    assert 0 < sink.lost < 100
    assert len([record for record in caplog.records if "was not logged" in record.getMessage()]) == 1
    with pytest.raises(SinkError, match=f"{sink.lost} events were not logged"):
        sink.flush()
    ballast.unlink()
    sink.emit(an_event("last"))
    sink.flush()
    assert ids(small_disk / name) == [*kept, "last"]
    assert len(list(small_disk.rglob("*.jsonl"))) == 1
    sink.close()


def test_a_file_size_limit_tears_one_line_and_later_events_are_whole(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import resource, sys
        from smartroute.events.event import Event
        from smartroute.sinks import JsonlSink
        sink = JsonlSink(sys.argv[1])
        def emit(id):
            time = "2026-11-23T10:15:00.000000Z"
            sink.emit(Event(1, "outcome", id, id, time, False, labels={"p": "x" * 900}))
        emit("a")
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
        for id in "bcdef":
            emit(id)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        emit("z")
        print(sink.lost)
    """)
    file = tmp_path / "events.jsonl"
    done = subprocess.run(
        [sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=True
    )
    lost = int(done.stdout)
    source = JsonlSource(file)
    found = [event.id for event in source.events()]
    assert found[0] == "a"
    assert found[-1] == "z"
    assert len(found) + lost == 7
    assert lost >= 3
    assert source.bad_lines == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_without_room_loses_everything_quietly(caplog: pytest.LogCaptureFixture) -> None:
    sink = JsonlSink("/dev/full")
    for number in range(5):
        sink.emit(an_event(f"e{number}"))
    assert sink.lost == 5
    assert len(caplog.records) == 1
    assert "No space left on device" in caplog.text


@LAYOUTS
def test_a_place_that_cannot_be_written_is_said_once_per_spell_and_tried_again(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    blocker = tmp_path / "blocker"
    blocker.write_text("a file where a folder should be")
    sink = JsonlSink(blocker / name)
    for number in range(3):
        sink.emit(an_event(f"e{number}"))
    assert sink.lost == 3
    assert len(caplog.records) == 1
    blocker.unlink()
    sink.emit(an_event("now"))
    assert ids(blocker / name) == ["now"]
    assert "events are logged again; 3 were lost" in caplog.text
    shutil.rmtree(blocker)


def test_a_read_only_folder_is_a_loss_not_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = JsonlSink(tmp_path / "log")

    def read_only(*_: object) -> int:
        raise OSError(30, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        sink.emit(an_event("a"))
    assert sink.lost == 1
    sink.emit(an_event("b"))
    assert ids(tmp_path / "log") == ["b"]


@LAYOUTS
def test_a_log_that_is_deleted_meanwhile_begins_anew(tmp_path: Path, name: str) -> None:
    clock = SetClock(MIDNIGHT - 100)
    folder = tmp_path / "place"
    sink = JsonlSink(folder / name, clock=clock)
    sink.emit(an_event("gone"))
    shutil.rmtree(folder)
    clock.time += 1
    sink.emit(an_event("new"))
    assert sink.lost == 0
    assert ids(folder / name) == ["new"]


def test_a_file_that_is_rotated_away_is_followed_by_a_new_one(tmp_path: Path) -> None:
    clock = SetClock(MIDNIGHT - 100)
    sink = JsonlSink(tmp_path / "events.jsonl", clock=clock)
    sink.emit(an_event("old"))
    (tmp_path / "events.jsonl").rename(tmp_path / "events.jsonl.1")
    clock.time += 1
    sink.emit(an_event("new"))
    assert ids(tmp_path / "events.jsonl") == ["new"]
    assert ids(tmp_path / "events.jsonl.1") == ["old"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_that_nobody_reads_does_not_hold_a_request_up(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    sink = JsonlSink(tmp_path / "pipe")
    request = threading.Thread(target=sink.emit, args=(an_event("a"),), daemon=True)
    request.start()
    request.join(5)
    assert not request.is_alive()
    assert sink.lost == 1


@LAYOUTS
def test_another_process_refuses_the_other_kind_with_a_cure(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / name
    with JsonlSink(path, simulated=False) as first:
        first.emit(an_event("real"))
    second = JsonlSink(path, simulated=True)
    with pytest.raises(ConfigError, match=r"holds real events.*-simulated"):
        second.check()
    for _ in range(3):
        second.emit(an_event("fake", simulated=True))
    assert second.lost == 3
    assert len(caplog.records) == 1
    assert "-simulated" in caplog.text
    first.check()
    assert ids(path) == ["real"]
    assert len(list(tmp_path.rglob("*.jsonl"))) == 1


@pytest.mark.parametrize("declared", [True, False])
@LAYOUTS
def test_a_declared_sink_takes_its_own_kind_only(tmp_path: Path, name: str, declared: bool) -> None:
    sink = JsonlSink(tmp_path / name, simulated=declared)
    sink.emit(an_event("a", simulated=not declared))
    sink.emit(an_event("b", simulated=declared))
    sink.emit(an_event("c", simulated=not declared))
    sink.emit(an_event("d", simulated=declared))
    assert sink.lost == 2
    assert ids(tmp_path / name) == ["b", "d"]


@LAYOUTS
def test_a_declared_sink_takes_nothing_in_a_log_of_the_other_kind(tmp_path: Path, name: str) -> None:
    with JsonlSink(tmp_path / name) as first:
        first.emit(an_event("a", simulated=True))
    sink = JsonlSink(tmp_path / name, simulated=False)
    for simulated in (False, True, False, True):
        sink.emit(an_event("b", simulated=simulated))
    assert sink.lost == 4
    assert ids(tmp_path / name) == ["a"]


@FORKS
@LAYOUTS
def test_of_two_kinds_that_come_at_once_one_wins(tmp_path: Path, name: str) -> None:
    for round_number in range(10):
        path = tmp_path / str(round_number) / name
        path.parent.mkdir()
        start = time.time() + 0.02
        children = []
        for number in range(4):
            child = os.fork()
            if child == 0:
                signal.alarm(20)
                sink = JsonlSink(path)
                while time.time() < start:
                    pass
                for event in range(5):
                    sink.emit(an_event(f"{number}-{event}", simulated=bool(number % 2)))
                os._exit(0 if sink.lost == 0 else 3 if sink.lost == 5 else 1)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert codes in ([0, 3, 0, 3], [3, 0, 3, 0])
        source = JsonlSource(path)
        found = list(source.events())
        assert len(found) == 10
        assert len({event.simulated for event in found}) == 1


def test_a_mixture_made_by_hand_is_read_by_its_first_kind(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(line("a") + line("b", simulated=True) + line("c"))
    source = JsonlSource(file)
    assert [event.id for event in source.events()] == ["a", "c"]
    assert (source.bad_lines, source.foreign_lines) == (0, 1)


def test_a_folder_whose_marker_is_gone_is_known_by_its_events(tmp_path: Path) -> None:
    with JsonlSink(tmp_path) as first:
        first.emit(an_event("a", simulated=True))
    (tmp_path / "holds.txt").unlink()
    second = JsonlSink(tmp_path)
    second.emit(an_event("b"))
    assert second.lost == 1
    assert (tmp_path / "holds.txt").read_text() == "simulated\n"


def test_a_damaged_marker_is_said_with_its_cure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "holds.txt").write_text("maybe")
    sink = JsonlSink(tmp_path)
    sink.emit(an_event("a"))
    assert sink.lost == 1
    assert "must hold real or simulated" in caplog.text
    with pytest.raises(SinkError, match="must hold real or simulated"):
        list(JsonlSource(tmp_path).events())


def test_opening_a_log_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(SinkError, match=r"there is no log at .*nowhere"):
        open_log(tmp_path / "nowhere")
    with JsonlSink(tmp_path / "log") as sink:
        sink.emit(an_event("a"))
    assert [event.id for event in open_log(str(tmp_path / "log")).events()] == ["a"]


def test_a_log_that_cannot_be_read_is_a_sink_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with JsonlSink(tmp_path / "events.jsonl") as sink:
        sink.emit(an_event("a"))

    def failing(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", failing)
    with pytest.raises(SinkError, match="cannot be read"):
        list(JsonlSource(tmp_path / "events.jsonl").events())


def test_files_that_are_no_segments_are_read_too_and_others_are_left_alone(tmp_path: Path) -> None:
    with JsonlSink(tmp_path, clock=SetClock(MIDNIGHT)) as sink:
        sink.emit(an_event("new", 5))
    (tmp_path / "imported.jsonl").write_bytes(line("old"))
    (tmp_path / "notes.txt").write_text("not a log")
    source = JsonlSource(tmp_path)
    assert [event.id for event in source.events()] == ["old", "new"]
    assert source.bad_lines == 0


def test_an_event_survives_the_disk_equal(tmp_path: Path) -> None:
    event = dataclasses.replace(
        an_event("a"), cost_usd=0.1 + 0.2, attempts=({"model": "m", "cost_usd": 1e-12},), extra={"later": [1]}
    )
    with JsonlSink(tmp_path / "log") as sink:
        sink.emit(event)
    assert list(JsonlSource(tmp_path / "log").events()) == [event]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_marker_that_is_no_file_is_said_and_holds_nobody_up(
    tmp_path: Path, make: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    make(tmp_path / "holds.txt")
    sink = JsonlSink(tmp_path, simulated=False)
    errors: list[BaseException] = []

    def use() -> None:
        sink.emit(an_event("a"))
        for work in (sink.check, lambda: list(JsonlSource(tmp_path).events())):
            try:
                work()
            except (ConfigError, SinkError) as error:
                errors.append(error)

    user = threading.Thread(target=use, daemon=True)
    user.start()
    user.join(10)
    assert not user.is_alive()
    assert sink.lost == 1
    said = [caplog.text, *map(str, errors)]
    assert len(said) == 3
    assert all("holds.txt" in text and "not a regular file" in text and "remove it" in text for text in said)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_what_is_called_like_a_segment_and_is_no_file_is_passed_by(tmp_path: Path) -> None:
    with JsonlSink(tmp_path) as sink:
        sink.emit(an_event("a"))
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "broken.jsonl").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert ids(tmp_path) == ["a"]
    (tmp_path / "holds.txt").unlink()
    assert ids(tmp_path) == ["a"]


@pytest.mark.parametrize("path", ["a\0b", "a\ud800b", "~nobody-of-this-name-here/log", 5, b"log"])
def test_a_path_that_no_system_accepts_is_refused_with_its_value(path: object) -> None:
    for use in (JsonlSink, JsonlSource, open_log):
        with pytest.raises(ConfigError, match="choose another log_path") as caught:
            use(path)  # type: ignore[arg-type]
        assert repr(path) in str(caught.value)


def test_a_path_that_is_too_long_is_a_loss_and_a_sink_error(tmp_path: Path) -> None:
    long = tmp_path / ("x" * 5_000)
    sink = JsonlSink(long)
    sink.emit(an_event("a"))
    assert sink.lost == 1
    with pytest.raises(SinkError):
        list(JsonlSource(long).events())
    with pytest.raises(SinkError):
        open_log(long)


def test_no_content_of_an_event_keeps_it_from_being_written() -> None:
    class Unprintable:
        def __str__(self) -> str:
            raise RuntimeError("no")

    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    for odd in (Unprintable(), deep, {Unprintable(): 1}, 10**5_000):
        line = an_event("a", extra={"odd": odd}).to_line()
        assert Event.from_line(line).id == "a"


def a_folder(place: Path, name: str = "", content: str = "") -> Path:
    place.mkdir()
    if name:
        (place / name).write_text(content)
    return place


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda place: place.write_text("root:x:0:0\n") and place, "none of its lines is an event"),
        (lambda place: place.write_bytes(b"\0" * 9) and place, "none of its lines is an event"),
        (lambda place: os.mkfifo(place) or place, "neither a file nor a folder"),
        (a_folder, "no segment that holds an event"),
        (lambda place: a_folder(place, "notes.txt", "hello\n"), "no segment that holds an event"),
        (lambda place: a_folder(place, "data.jsonl", '{"a": 1}\n'), "no segment that holds an event"),
    ],
    ids=["lines", "bytes", "pipe", "empty folder", "folder", "other jsonl"],
)
def test_what_is_no_log_is_told_and_nothing_is_written_beside_it(
    tmp_path: Path, make: Callable[[Path], Path], why: str
) -> None:
    place = make(tmp_path / "place")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SinkError, match=f"place is not a log: .*{why}.*; check the path"):
        open_log(place)
    assert Analytics(JsonlSource(place)).figures().requests == 0
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", ["2026-11-23-a-1-0.jsonl", "holds.txt", "hash.key"])
def test_a_log_without_a_whole_event_yet_is_one(tmp_path: Path, name: str) -> None:
    log = a_folder(tmp_path / "log", name, "real" if name == "holds.txt" else "")
    assert list(open_log(log).events()) == []
    (tmp_path / "new.jsonl").touch()
    assert list(open_log(tmp_path / "new.jsonl").events()) == []


def test_an_empty_path_is_not_the_present_folder() -> None:
    for use in (JsonlSink, JsonlSource, open_log):
        with pytest.raises(ConfigError, match="must not be empty"):
            use("")
