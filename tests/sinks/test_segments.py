"""Closed segments are compressed and let go; open ones, and their writers, never notice."""

import gzip
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from smartroute.errors import ConfigError, SinkError
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink, JsonlSource, compress_segments, remove_segments
from smartroute.testing import FrozenClock

DAY_S = 86_400
NOON = 1_800_014_400.0  # 2027-01-15, 12:00 UTC


def an_event(name, at="2027-01-15T12:00:00.000000Z"):
    return Event(2, "outcome", str(name), str(name), at, False)


def ids(path):
    return [event.id for event in JsonlSource(path).events()]


def a_log(folder, days):
    """Write one closed segment for each day before noon of 2027-01-15, oldest first."""
    for back in sorted(days, reverse=True):
        with JsonlSink(folder, clock=FrozenClock(NOON - back * DAY_S)) as sink:
            sink.emit(an_event(f"d{back}", f"2027-01-{15 - back:02d}T12:00:00.000000Z"))
    return folder


def test_closed_segments_are_compressed_and_read_as_before(tmp_path):
    a_log(tmp_path, (0, 1, 2))
    plain = {file.name: file.read_bytes() for file in tmp_path.glob("*.jsonl")}
    done = compress_segments(tmp_path)
    assert (done.segments, done.busy) == (3, 0)
    assert done.bytes_before == sum(map(len, plain.values()))
    assert done.bytes_after == sum(file.stat().st_size for file in tmp_path.glob("*.gz"))
    assert list(tmp_path.glob("*.jsonl")) == []
    assert {f.name: gzip.decompress(f.read_bytes()) for f in tmp_path.glob("*.gz")} == {
        f"{name}.gz": content for name, content in plain.items()
    }
    assert ids(tmp_path) == ["d2", "d1", "d0"]
    assert compress_segments(tmp_path).segments == 0


@pytest.mark.skipif(sys.platform == "win32", reason="without locks the day decides")
def test_an_open_segment_is_left_alone(tmp_path):
    sink = JsonlSink(tmp_path)
    sink.emit(an_event("a"))
    assert compress_segments(tmp_path).busy == 1
    assert remove_segments(tmp_path, keep_days=1, clock=FrozenClock(4e9)).busy == 1
    sink.emit(an_event("b"))
    sink.close()
    assert compress_segments(tmp_path).segments == 1
    assert ids(tmp_path) == ["a", "b"]


def test_a_writer_that_comes_back_to_a_compressed_segment_begins_a_new_one(tmp_path):
    sink = JsonlSink(tmp_path, clock=FrozenClock(NOON))
    sink.emit(an_event("a"))
    sink.close()
    compress_segments(tmp_path, clock=FrozenClock(NOON + DAY_S))
    sink.emit(an_event("b"))
    sink.close()
    assert sink.lost == 0
    assert len(list(tmp_path.glob("*.gz"))) == len(list(tmp_path.glob("*.jsonl"))) == 1
    assert sorted(ids(tmp_path)) == ["a", "b"]


def test_an_empty_twin_of_a_compressed_segment_does_not_replace_it(tmp_path):
    """A writer opens its segment again when that has just been packed, and has not locked it yet."""
    a_log(tmp_path, (0,))
    (segment,) = tmp_path.glob("*.jsonl")
    compress_segments(tmp_path)
    segment.touch()
    assert compress_segments(tmp_path).segments == 0
    assert ids(tmp_path) == ["d0"]
    assert not segment.exists()


def test_a_crash_between_the_two_files_counts_nothing_twice(tmp_path):
    a_log(tmp_path, (1,))
    (plain,) = tmp_path.glob("*.jsonl")
    plain.with_name(plain.name + ".gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert ids(tmp_path) == ["d1"]


def test_old_segments_are_removed_packed_or_not(tmp_path):
    a_log(tmp_path, (5, 6))
    compress_segments(tmp_path)
    a_log(tmp_path, (0, 1, 3, 4))
    done = remove_segments(tmp_path, keep_days=3, clock=FrozenClock(NOON))
    assert done.segments == 3
    assert ids(tmp_path) == ["d3", "d1", "d0"]
    assert (tmp_path / "holds.txt").exists()


def test_files_of_other_names_are_nobodys_business(tmp_path):
    a_log(tmp_path, (9,))
    (tmp_path / "notes.jsonl").write_bytes(an_event("note").to_line())
    assert compress_segments(tmp_path).segments == 1
    assert remove_segments(tmp_path, keep_days=1, clock=FrozenClock(4e9)).segments == 1
    assert ids(tmp_path) == ["note"]


def test_a_damaged_segment_is_told_by_name(tmp_path):
    a_log(tmp_path, (1,))
    compress_segments(tmp_path)
    (packed,) = tmp_path.glob("*.gz")
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(SinkError, match="damaged"):
        ids(tmp_path)


@pytest.mark.parametrize("keep_days", [0, -1, 1.5, True, 10**9])
def test_days_to_keep_are_a_whole_number(tmp_path, keep_days):
    with pytest.raises(ConfigError, match="keep_days"):
        remove_segments(tmp_path, keep_days=keep_days)


def test_a_single_file_has_no_segments(tmp_path):
    with pytest.raises(ConfigError, match="one file"):
        compress_segments(tmp_path / "events.jsonl")


def test_a_log_that_does_not_exist_has_none_either(tmp_path):
    assert compress_segments(tmp_path / "nowhere").segments == 0


def test_a_reader_goes_on_in_the_compressed_segment(tmp_path):
    with JsonlSink(tmp_path) as sink:
        for number in range(2_000):
            sink.emit(an_event(number))
    events = JsonlSource(tmp_path).events()
    found = [next(events).id for _ in range(10)]
    compress_segments(tmp_path)
    assert found + [event.id for event in events] == [str(number) for number in range(2_000)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs locks")
def test_compressing_all_the_time_loses_no_event_of_writers_that_open_and_close(tmp_path):
    stop = threading.Event()

    def tend():
        while not stop.is_set():
            compress_segments(tmp_path)

    def write(number):
        sink = JsonlSink(tmp_path)
        for event in range(150):
            sink.emit(an_event(f"{number}/{event}"))
            if event % 3 == 0:
                sink.close()
        sink.close()
        assert sink.lost == 0

    tending = [threading.Thread(target=tend) for _ in range(2)]
    writing = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in (*tending, *writing):
        thread.start()
    for thread in writing:
        thread.join()
    stop.set()
    for thread in tending:
        thread.join()
    found = ids(tmp_path)
    assert sorted(found) == sorted(f"{n}/{e}" for n in range(4) for e in range(150))


_TENDER = """
import sys
from smartroute.sinks import compress_segments
while True:
    compress_segments(sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_killing_who_compresses_loses_nothing_and_doubles_nothing(tmp_path):
    expected = []
    for turn in range(12):
        for segment in range(20):
            name = f"{turn}/{segment}"
            with JsonlSink(tmp_path) as sink:
                sink.emit(an_event(name))
            expected.append(name)
        process = subprocess.Popen([sys.executable, "-c", _TENDER, str(tmp_path)])
        time.sleep(0.05 + 0.03 * turn)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert sorted(ids(tmp_path)) == sorted(expected)
