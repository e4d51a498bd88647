"""A rollup gives the answers of its log through races, kills, damage and late feedback."""

import dataclasses
import gzip
import json
import os
import random
import signal
import sqlite3
import stat
import struct
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_figures import agree, feedback, outcome
from tiers import examples

from smartroute.analytics import Analytics, Filter
from smartroute.analytics.rollup.cells import DAY, HOUR, MONTH, PACKED, YEAR
from smartroute.analytics.rollup.jsonl_log import JsonlSegment
from smartroute.analytics.rollup.queries import pieces
from smartroute.errors import SinkError
from smartroute.events.event import Event
from smartroute.sinks import JsonlSource, compress_segments, source_of

GROUPINGS = [
    (),
    ("model",),
    ("kind", "complexity"),
    ("day", "tenant"),
    ("hour",),
    ("strategy", "baseline", "simulated"),
    ("hour", "model"),
]
FILTERS = [
    Filter(),
    Filter(tenant="acme"),
    Filter(kind="score", complexity="simple", since="2026-11-10T05:00:00Z"),
    Filter(since="2026-11-11", until="2026-11-12T03:00:00Z"),
    Filter(model="mini", until="2026-12-01"),
    Filter(since="2026-11-10T05:00:01Z"),
]


def an_outcome(number, when="2026-11-10T05:00:00.000000Z", **fields):
    known = {
        "kind": "score",
        "complexity": "simple",
        "strategy": "s",
        "model": "mini",
        "cost_usd": 0.5,
    } | fields
    return Event(2, "outcome", f"{number:032x}", f"{number:032x}", when, False, **known)


def feedback_on(number, about, when="2026-11-10T06:00:00.000000Z", **fields):
    known = {"quality": 0.5, "source": "user"} | fields
    return Event(2, "feedback", f"f{number}", about, when, False, **known)


def copies(events):
    """Return the events as a log has them: those of one id are equal, however often they are in it."""
    first = {}
    return [first.setdefault(event.id, event) for event in events]


def append(path, *events, tail=b""):
    path.parent.mkdir(exist_ok=True, parents=True)
    with path.open("ab") as stream:
        stream.write(b"".join(event.to_line() for event in events) + tail)


def plain(figures):
    """Return figures as values that compare, without labels that later feedback has replaced."""
    values = dataclasses.asdict(figures)
    for labels in values["labels"].values():
        labels["words"] = {label: n for label, n in labels["words"].items() if n}
    return values


def near(value):
    """Return the value with every float accurate to 1e-9."""
    if isinstance(value, float):
        return pytest.approx(value, rel=1e-9, abs=1e-9)
    if isinstance(value, dict):
        return {key: near(item) for key, item in value.items()}
    return [near(item) for item in value] if isinstance(value, list) else value


def same(one, other):
    assert one.keys() == other.keys()
    for names, groups in one.items():
        assert groups.keys() == other[names].keys(), names
        for key, figures in groups.items():
            values, wanted = plain(figures), plain(other[names][key])
            # Most are equal to the last digit, which is much faster to compare.
            assert values == wanted or values == near(wanted), (names, key)


def check(location, filters=FILTERS):
    """Check that every figure from the rollup equals that of a full reading, wherever the log is kept."""
    rolled, scanned = Analytics(source_of(location)), Analytics(source_of(location), rollup=False)
    assert rolled.catch_up()
    for where in filters:
        same(rolled.several(GROUPINGS, where), scanned.several(GROUPINGS, where))
    users = [
        {user: list(sums) for user, sums in analytics.users().items()} for analytics in (rolled, scanned)
    ]
    assert users[0] == near(users[1])
    assert rolled.unreadable() == scanned.unreadable()
    for analytics in (rolled, scanned):
        getattr(analytics.source, "close", lambda: None)()
    return rolled


steps = st.lists(
    st.tuples(
        st.sampled_from(["2026-11-10-a-1-00", "2026-11-11-b-1-00", "2026-11-12-c-1-00"]),
        st.lists(st.one_of(outcome(), feedback()), max_size=12),
        st.sampled_from([b"", b"", b"{torn", b'{"schema":2,"type":"outcome"\n', b"\n", b"\0\0"]),
        st.booleans(),
        st.booleans(),
    ),
    min_size=1,
    max_size=6,
)


@examples(60, quick=15)
@given(steps)
def test_the_rollup_gives_the_figures_of_the_log(tmp_path_factory, steps):
    path = tmp_path_factory.mktemp("logs") / "log"
    events = iter(copies([event for _, written, *_ in steps for event in written]))
    for name, written, tail, packs, asks in steps:
        file = path / f"{name}.jsonl"
        packed = file.with_name(file.name + ".gz")
        if packed.exists():
            continue
        some = [event for event, _ in zip(events, written, strict=False)]
        append(file, *some, tail=tail)
        if packs:
            packed.write_bytes(gzip.compress(file.read_bytes()))
            file.unlink()
        if asks:
            check(path, FILTERS[:2])
    if path.exists():
        check(path)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.one_of(outcome(), feedback()), max_size=40))
def test_the_rollup_gives_the_figures_of_a_recomputation(tmp_path_factory, events):
    path = tmp_path_factory.mktemp("logs") / "log"
    events = copies(events)
    half = len(events) // 2
    file = path / "2026-11-10-a-1-00.jsonl"
    for some in (events[:half], events[half:]):
        append(file, *some)
        rolled = Analytics(JsonlSource(path))
        rolled.figures()
    lines = [event.to_line() for event in events]
    agree(rolled.figures(), oracle.outcomes(lines), lines)
    agree(rolled.figures(Filter(tenant="acme")), oracle.outcomes(lines, tenant="acme"), lines)
    for (model,), figures in rolled.grouped("model").items():
        wanted = [record for record in oracle.outcomes(lines) if record.get("model") == model]
        agree(figures, wanted, lines)


@given(
    st.integers(0, 20_000),
    st.integers(0, 20_000),
    st.sampled_from([HOUR, DAY, MONTH, YEAR]),
    st.booleans(),
    st.booleans(),
)
def test_pieces_of_time_cover_it_once(low, length, grain, endless_before, endless_behind):
    base = datetime(2026, 1, 30, tzinfo=UTC)
    since = None if endless_before else base + timedelta(hours=low)
    until = None if endless_behind else base + timedelta(hours=low + length)
    text = [None if m is None else m.strftime("%Y-%m-%dT%H:00:00.000000Z") for m in (since, until)]
    covered = list(pieces(*text, grain))
    for hour in range(-30, 41_000, 61):
        moment = base + timedelta(hours=hour)
        bucket = moment.strftime("%Y-%m-%dT%H")
        inside = [
            piece
            for piece in covered
            if (piece[1] is None or bucket[: piece[0]] >= piece[1])
            and (piece[2] is None or bucket[: piece[0]] < piece[2])
        ]
        wanted = (since is None or moment >= since) and (until is None or moment < until)
        assert len(inside) == wanted
    assert all(piece[0] <= max(HOUR, grain) for piece in covered)
    if grain == YEAR and endless_before and endless_behind:
        assert covered == [(YEAR, None, None)]


SEGMENT = "2026-11-10-a-1-00.jsonl"


def test_a_query_reads_only_what_is_new(tmp_path, monkeypatch):
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n) for n in range(50)))
    append(log / "2026-11-11-b-1-00.jsonl", an_outcome(50))
    Analytics(JsonlSource(log)).figures()
    read = []
    blocks = JsonlSegment.blocks

    def watched(self, start):
        for block in blocks(self, start):
            read.append((self.name, block.start, len(block.lines)))
            yield block

    monkeypatch.setattr(JsonlSegment, "blocks", watched)
    analytics = Analytics(JsonlSource(log))
    assert analytics.figures().requests == 51
    assert read == []
    before = (log / SEGMENT).stat().st_size
    append(log / SEGMENT, an_outcome(51), an_outcome(52))
    assert analytics.figures().requests == 53
    assert read == [(SEGMENT, before, 2)]


@pytest.mark.parametrize("at_once", [1, 15, 1_000])
@pytest.mark.parametrize("overtaken", range(3))
def test_what_another_reader_stores_meanwhile_counts_once(tmp_path, monkeypatch, at_once, overtaken):
    """One reads all three segments while another is in the middle of them, whatever that stores at once."""
    log = tmp_path / "log"
    names = ["2026-11-10-a-1-00.jsonl", "2026-11-11-b-1-00.jsonl", "2026-11-12-c-1-00.jsonl"]
    for number, name in enumerate(names):
        append(log / name, *(an_outcome(n) for n in range(10 * number, 10 * number + 12)))
        append(log / name, feedback_on(number, f"{10 * number:032x}"), tail=b"{damaged}\n")
    monkeypatch.setattr("smartroute.analytics.rollup.file_rollup._LOAD_EVENTS", at_once)
    blocks = JsonlSegment.blocks

    def watched(self, start):
        yield from blocks(self, start)
        if self.name == names[overtaken]:
            monkeypatch.setattr(JsonlSegment, "blocks", blocks)
            Analytics(JsonlSource(log)).catch_up()

    monkeypatch.setattr(JsonlSegment, "blocks", watched)
    figures = Analytics(JsonlSource(log)).figures()
    assert (figures.requests, figures.cost_usd) == (32, pytest.approx(16.0))
    assert figures.labels["user"].quality.n == 3
    assert check(log).unreadable() == (3, 0)


def test_a_record_that_is_half_written_counts_when_it_is_whole(tmp_path):
    log = tmp_path / "log"
    line = an_outcome(2).to_line()
    append(log / SEGMENT, an_outcome(1), tail=line[:100])
    analytics = Analytics(JsonlSource(log))
    assert (analytics.figures().requests, analytics.unreadable()) == (1, (1, 0))
    with (log / SEGMENT).open("ab") as stream:
        stream.write(line[100:])
    assert (analytics.figures().requests, analytics.unreadable()) == (2, (0, 0))
    check(log)


def test_packing_a_segment_changes_no_figure(tmp_path):
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n) for n in range(9)))
    analytics = check(log)
    compress_segments(log)
    assert [file.name for file in log.glob("*.gz")] == [SEGMENT + ".gz"]
    assert check(log).figures() == analytics.figures()


def test_what_is_removed_from_the_log_counts_no_more(tmp_path):
    log = tmp_path / "log"
    append(log / SEGMENT, an_outcome(1), an_outcome(2))
    append(log / "2026-11-11-b-1-00.jsonl", an_outcome(3))
    assert check(log).figures().requests == 3
    (log / SEGMENT).unlink()
    assert check(log).figures().requests == 1
    with (log / "2026-11-11-b-1-00.jsonl").open("r+b") as stream:
        stream.truncate(0)
    assert check(log).figures().requests == 0


def test_a_segment_that_moves_or_is_copied_counts_once(tmp_path):
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n) for n in range(5)), feedback_on(1, f"{3:032x}"))
    check(log)
    (log / SEGMENT).rename(log / "2026-11-10-z-1-00.jsonl")
    assert check(log).figures().requests == 5
    (log / SEGMENT).write_bytes((log / "2026-11-10-z-1-00.jsonl").read_bytes())
    append(log / SEGMENT, an_outcome(5))
    assert check(log).figures().requests == 6
    append(log / "2026-11-10-z-1-00.jsonl", an_outcome(6))
    assert check(log).figures().requests == 7


def test_late_repeated_and_contradictory_feedback_moves_the_labels(tmp_path):
    log = tmp_path / "log"
    about = f"{7:032x}"
    append(log / SEGMENT, feedback_on(1, about, quality=0.2, label="bad"))
    analytics = Analytics(JsonlSource(log))
    assert analytics.figures().labels == {}
    append(log / SEGMENT, an_outcome(7, confidence=0.93, conversation_id="chat", tenant="acme"))
    assert analytics.figures().labels["user"].quality.total == pytest.approx(0.2)
    later = "2026-11-13T00:00:00.000000Z"
    append(log / "2026-11-13-b-1-00.jsonl", feedback_on(2, about, later, quality=1.0, label="good"))
    append(
        log / SEGMENT, feedback_on(3, about, quality=0.4)
    )  # earlier than the last feedback: changes nothing
    labels = analytics.figures(Filter(tenant="acme")).labels["user"]
    assert (labels.quality.n, labels.quality.total) == (1, pytest.approx(1.0))
    assert {label: n for label, n in labels.words.items() if n} == {"good": 1}
    assert labels.by_confidence[9].total == pytest.approx(1.0)
    about_all = feedback_on(4, "", later, conversation_id="chat", source="judge", quality=None, label="fine")
    append(log / SEGMENT, about_all)
    check(log)
    assert analytics.grouped("hour")["2026-11-10T05",].labels["judge"].words == {"fine": 1}


def test_a_log_of_the_other_traffic_leads_to_a_rebuild(tmp_path):
    log = tmp_path / "log"
    append(log / SEGMENT, an_outcome(1), dataclasses.replace(an_outcome(2), simulated=True))
    analytics = check(log)
    assert (analytics.figures().requests, analytics.unreadable()) == (1, (0, 1))
    (log / "holds.txt").write_text("simulated\n")
    assert check(log).grouped("simulated").keys() == {("True",)}


def test_what_the_rollup_does_not_hold_is_read_from_the_log(tmp_path):
    log = tmp_path / "log"
    append(log / SEGMENT, an_outcome(1, unit="ann"), an_outcome(2, "2026-11-10T05:30:00.000000Z", unit="bo"))
    analytics = Analytics(JsonlSource(log))
    assert analytics.grouped("unit").keys() == {("ann",), ("bo",)}
    assert analytics.figures(Filter(since="2026-11-10T05:10:00Z")).requests == 1
    assert analytics.figures(Filter(since="0001-01-01")).requests == 2
    assert analytics.figures(Filter(until="9999-12-31T23:00:00Z")).requests == 2
    assert analytics.users(Filter(since="2026-11-10T05:10:00Z")).keys() == {"bo"}
    assert analytics.users(Filter(model="mini")).keys() == {"ann", "bo"}
    assert analytics.users(Filter(since="2026-11-11")) == {}


def test_a_rollup_that_cannot_be_kept_costs_time_and_nothing_else(tmp_path, caplog):
    log = tmp_path / "log"
    append(log / SEGMENT, an_outcome(1), an_outcome(2))
    (log / "rollup-7.sqlite").mkdir()
    analytics = Analytics(JsonlSource(log))
    assert not analytics.catch_up()
    assert [analytics.figures().requests for _ in range(3)] == [2, 2, 2]
    assert analytics.unreadable() == (0, 0)
    assert sum("no rollup can be kept" in record.message for record in caplog.records) == 1


@pytest.mark.parametrize("damage", ["overwritten", "middle", "no database"])
def test_a_damaged_rollup_is_rebuilt(tmp_path, damage):
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n, unit=f"u{n}") for n in range(200)))
    check(log)
    file = log / "rollup-7.sqlite"
    content = bytearray(file.read_bytes())
    if damage == "middle":
        content[4096:] = os.urandom(len(content) - 4096)
    else:
        content[:] = b"no database at all" if damage == "no database" else b"\0" * len(content)
    file.write_bytes(content)
    for end in ("-wal", "-shm"):
        file.with_name(file.name + end).unlink(missing_ok=True)
    assert check(log).figures().requests == 200


def test_the_rollup_is_rebuilt_on_request_and_reports_its_progress(tmp_path):
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n) for n in range(30)))
    append(log / "2026-11-11-b-1-00.jsonl", an_outcome(50))
    analytics = check(log)
    with sqlite3.connect(log / "rollup-7.sqlite") as database:
        database.execute("UPDATE rollup7_cells SET requests = requests + 1")
    assert analytics.figures().requests == 32  # nothing new: the stored sums are used
    steps = []
    assert analytics.catch_up(lambda done, whole: steps.append((done, whole)), rebuild=True)
    assert check(log).figures().requests == 31
    size = sum(file.stat().st_size for file in log.glob("*.jsonl"))
    assert steps[-1] == (size, size)
    assert steps == sorted(steps)


def test_a_rollup_is_as_private_as_the_log_and_no_event_source(tmp_path):
    file = tmp_path / "events.jsonl"
    append(file, an_outcome(1))
    assert check(file).figures().requests == 1
    rollup = tmp_path / "events.jsonl.rollup-7.sqlite"
    assert stat.S_IMODE(rollup.stat().st_mode) == 0o600
    assert not Analytics(JsonlSource(tmp_path / "none")).catch_up()
    assert not (tmp_path / "none").exists()
    assert len(list(JsonlSource(tmp_path).events())) == 1


def test_a_log_that_cannot_be_read_says_so_with_and_without_a_rollup(tmp_path):
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n) for n in range(100)))
    content = gzip.compress((log / SEGMENT).read_bytes())
    (log / SEGMENT).unlink()
    (log / f"{SEGMENT}.gz").write_bytes(content[: len(content) // 2])
    for rollup in (True, False):
        with pytest.raises(SinkError, match="cannot be read"):
            Analytics(JsonlSource(log), rollup=rollup).figures()


ASK = """
import sys
from smartroute.analytics import Analytics
from smartroute.sinks import source_of
print("up", flush=True)
while True:
    source = source_of(sys.argv[1])
    figures = Analytics(source).figures()
    getattr(source, "close", lambda: None)()
    print(figures.requests, flush=True)
    if figures.requests == int(sys.argv[2]):
        break
"""


def reader(location, n):
    return subprocess.Popen(
        [sys.executable, "-c", ASK, str(location), str(n)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_readers_that_race_a_writer_and_one_another_count_every_event_once(tmp_path):
    log, n = tmp_path / "log", 3000
    append(log / SEGMENT, an_outcome(0))
    readers = [reader(log, n) for _ in range(4)]
    for process in readers:
        assert process.stdout.readline() == "up\n"
    feedback_events = [feedback_on(m, f"{m:032x}", quality=0.25) for m in range(0, n, 10)]
    for start in range(1, n, 50):
        some = [
            an_outcome(m, f"2026-11-10T{m % 24:02d}:00:00.000000Z") for m in range(start, min(n, start + 50))
        ]
        append(log / (SEGMENT if start % 100 == 1 else "2026-11-10-b-1-00.jsonl"), *some)
        append(log / "2026-11-10-c-1-00.jsonl", *feedback_events[start // 10 : start // 10 + 5])
    for process in readers:
        seen = [int(line) for line in process.communicate(timeout=60)[0].split()]
        assert process.returncode == 0
        assert seen == sorted(seen) and seen[-1] == n
    figures = check(log).figures()
    assert figures.requests == n
    assert figures.cost_usd == pytest.approx(0.5 * n)
    assert figures.labels["user"].quality.total == pytest.approx(0.25 * len(feedback_events))


@pytest.mark.slow
def test_readers_that_are_killed_leave_every_event_counted_once(tmp_path):
    rng = random.Random(6)
    log, n = tmp_path / "log", 0
    for _ in range(12):
        events = [
            an_outcome(m, f"2026-11-1{m % 9}T05:00:00.000000Z", unit=f"u{m % 7}") for m in range(n, n + 4000)
        ]
        append(log / f"2026-11-10-a-1-{rng.randrange(3)}0.jsonl", *events, feedback_on(n, f"{n:032x}"))
        n += 4000
        process = reader(log, -1)
        assert process.stdout.readline() == "up\n"
        time.sleep(rng.uniform(0.0, 0.25))
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    figures = check(log, FILTERS[:2]).figures()
    assert (figures.requests, figures.labels["user"].quality.n) == (n, 12)


def test_the_tables_can_be_read_with_any_tool(tmp_path):
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n, tenant="acme", unit="ann", latency_s=2.0) for n in range(4)))
    Analytics(JsonlSource(log)).figures()
    with sqlite3.connect(log / "rollup-7.sqlite") as database:
        [row] = database.execute(
            "SELECT bucket, kind, tenant, requests, cost_usd, numbers FROM rollup7_cells c "
            "JOIN rollup7_keys k ON k.id = c.key WHERE grain = 13"
        )
        *shown, numbers = row
        assert shown == ["2026-11-10T05", "score", "acme", 4, 2.0]
        mask = int.from_bytes(numbers[:8], "little")
        names = [name for bit, name in enumerate(PACKED) if mask >> bit & 1]
        known = dict(zip(names, struct.unpack(f"<{len(names)}d", numbers[8:]), strict=True))
        assert (known["answered"], known["latency_total"], known["latency_squares"]) == (4, 8.0, 16.0)
        assert database.execute("SELECT day, name, requests, cost_usd FROM rollup7_users").fetchall() == [
            ("2026-11-10", "ann", 4, 2.0)
        ]
        assert json.loads(database.execute("SELECT name FROM rollup7_keys").fetchone()[0])[0] == "score"
