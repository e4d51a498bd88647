"""Queries are answered right while other processes rebuild, lock, delete or damage the rollup."""

import os
import random
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from test_file_rollup import SEGMENT, an_outcome, append, check, feedback_on

from smartroute.analytics import Analytics, compose, query
from smartroute.analytics.rollup import jsonl_log
from smartroute.analytics.rollup.file_rollup import FileRollup
from smartroute.analytics.rollup.jsonl_log import JsonlLog, JsonlSegment
from smartroute.errors import SinkError
from smartroute.sinks import JsonlSink, JsonlSource

OTHER = "2026-11-11-b-1-00.jsonl"
ROLLUP = "rollup-7.sqlite"


class KilledError(Exception):
    """Ends a reader where kill -9 might."""


def killed(*_, **__):
    raise KilledError


def before_the_first(monkeypatch, owner, name, act):
    """Call `act` before the first call of a function."""
    real = getattr(owner, name)
    calls = []

    def acting(*arguments, **named):
        if not calls:
            calls.append(True)
            act()
        return real(*arguments, **named)

    monkeypatch.setattr(owner, name, acting)


def warnings(caplog):
    return [record for record in caplog.records if "no rollup can be kept" in record.getMessage()]


def test_a_reader_that_saw_an_empty_log_cannot_count_its_first_events_as_foreign(tmp_path, monkeypatch):
    log = tmp_path / "log"
    log.mkdir()
    (log / "hash.key").write_bytes(bytes(32))  # a router was here, and has routed nothing yet
    reader = Analytics(JsonlSource(log))
    assert reader.figures().requests == 0

    def first_event_and_another_reader_that_is_killed():
        with JsonlSink(log) as sink:
            sink.emit(an_outcome(1))
        with monkeypatch.context() as patch, pytest.raises(KilledError):
            patch.setattr(FileRollup, "_read_on", killed)
            FileRollup(JsonlLog(log)).catch_up()

    before_the_first(monkeypatch, JsonlLog, "segments", first_event_and_another_reader_that_is_killed)
    reader.catch_up()
    assert (reader.figures().requests, reader.unreadable()) == (1, (0, 0))
    check(log)


def test_no_answer_comes_from_a_rollup_that_another_reader_has_only_started(tmp_path, monkeypatch, caplog):
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n) for n in range(20)))
    append(log / OTHER, *(an_outcome(n) for n in range(20, 30)))

    def another_reader_rebuilds():
        with monkeypatch.context() as patch, pytest.raises(KilledError):
            patch.setattr(JsonlSegment, "blocks", killed)
            FileRollup(JsonlLog(log)).rebuild()

    before_the_first(monkeypatch, query, "several", another_reader_rebuilds)
    assert Analytics(JsonlSource(log)).figures().requests == 30
    assert not warnings(caplog)


def test_a_reader_whose_tables_are_rebuilt_meanwhile_counts_the_segments_it_took_for_unchanged(
    tmp_path, monkeypatch
):
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n) for n in range(20)))
    reader = Analytics(JsonlSource(log))
    reader.figures()
    append(log / OTHER, *(an_outcome(n) for n in range(20, 30)))

    def another_reader_rebuilds():
        with monkeypatch.context() as patch, pytest.raises(KilledError):
            patch.setattr(FileRollup, "_read_on", killed)
            FileRollup(JsonlLog(log)).rebuild()

    before_the_first(monkeypatch, JsonlSegment, "identity", another_reader_rebuilds)
    assert reader.figures().requests == 30
    check(log)


def test_a_rollup_that_is_deleted_before_the_query_is_rebuilt(tmp_path, monkeypatch, caplog):
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n) for n in range(20)))
    before_the_first(monkeypatch, query, "several", JsonlLog(log).discard)
    assert Analytics(JsonlSource(log)).figures().requests == 20
    assert not warnings(caplog)
    assert (log / ROLLUP).exists()


def test_a_segment_that_is_removed_while_it_is_to_be_read_costs_no_answer(tmp_path, monkeypatch, caplog):
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n) for n in range(20)))
    append(log / OTHER, *(an_outcome(n) for n in range(20, 30)))
    before_the_first(monkeypatch, JsonlSegment, "blocks", (log / OTHER).unlink)
    assert Analytics(JsonlSource(log)).figures().requests == 20
    assert not warnings(caplog)


def test_a_log_that_goes_away_while_it_is_read_is_an_error_and_not_an_empty_log(tmp_path, monkeypatch):
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n) for n in range(20)))
    before_the_first(monkeypatch, JsonlLog, "segments", lambda: log.rename(tmp_path / "gone"))
    with pytest.raises(SinkError, match="went away while it was read"):
        Analytics(JsonlSource(log)).figures()
    assert not log.exists()
    (tmp_path / "gone").rename(log)
    events = JsonlSource(log).events()
    next(events)
    shutil.rmtree(log)
    with pytest.raises(SinkError, match="was removed while it was being read"):
        list(events)


def test_a_locked_rollup_costs_time_and_no_answer(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(jsonl_log, "_LOCK_TIMEOUT_S", 0.05)
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n) for n in range(20)))
    reader = Analytics(JsonlSource(log))
    assert reader.figures().requests == 20
    append(log / SEGMENT, an_outcome(20))
    with closing(sqlite3.connect(log / ROLLUP, isolation_level=None)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        assert [reader.figures().requests for _ in range(3)] == [21, 21, 21]
    assert len(warnings(caplog)) == 1
    before = (log / ROLLUP).stat().st_ino
    assert reader.catch_up()
    assert check(log).figures().requests == 21
    assert (log / ROLLUP).stat().st_ino == before, "a rollup that is sound must not be thrown away"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE rollup7_cells SET overhead_usd = 'rubbish'",
        "UPDATE rollup7_cells SET overhead_usd = CAST(x'80' AS TEXT)",
        "UPDATE rollup7_facts SET value = CAST(x'dd' AS TEXT)",
        "UPDATE rollup7_outcomes SET ids = x'00'",
        "UPDATE rollup7_outcomes SET conversations = '7'",
        "DROP TABLE rollup7_cells",
        "ALTER TABLE rollup7_cells RENAME COLUMN cost_usd TO cost",
    ],
)
def test_damaged_values_in_sound_tables_lead_to_a_rebuild(tmp_path, sql, caplog):
    log = tmp_path / "log"
    append(log / SEGMENT, *(an_outcome(n) for n in range(20)))
    reader = Analytics(JsonlSource(log))
    reader.figures()
    with closing(sqlite3.connect(log / ROLLUP)) as database:
        database.execute(sql)
        database.commit()
    assert reader.figures().cost_usd == 10.0
    assert reader.catch_up()
    assert not warnings(caplog)
    assert check(log).figures().requests == 20


def damage(dice, file):
    """Delete, cut, empty or overwrite a file, as disks and people do."""
    content = bytearray(file.read_bytes())
    what = dice.choice(["deleted", "cut", "emptied", "pages", "bytes"])
    if what == "deleted":
        file.unlink()
    elif what in ("cut", "emptied"):
        os.truncate(file, dice.randrange(len(content)) if content and what == "cut" else 0)
    elif content:
        size = 4096 if what == "pages" else 1
        for _ in range(dice.choice([1, 10, 100])):
            start = dice.randrange(0, len(content), size)
            content[start : start + size] = dice.randbytes(len(content[start : start + size]))
        with file.open("r+b") as stream:
            stream.write(content)


@pytest.mark.slow
def test_no_damage_to_a_rollup_raises_an_exception_and_a_rebuild_repairs_all(tmp_path, monkeypatch):
    monkeypatch.setattr(jsonl_log, "_LOCK_TIMEOUT_S", 0.2)
    dice = random.Random(12)
    log, n = tmp_path / "log", 0
    for _ in range(25):
        when = f"2026-11-1{dice.randrange(10)}T05:00:00.000000Z"
        grown = [an_outcome(m, when, unit=f"u{m % 9}") for m in range(n, n + 30)]
        append(log / f"2026-11-10-a-1-{dice.randrange(3)}0.jsonl", *grown, feedback_on(n, f"{n:032x}"))
        n += 30
        reader = Analytics(JsonlSource(log))
        reader.figures()
        with closing(sqlite3.connect(log / ROLLUP)) as holder:  # keeps the -wal from being folded in
            holder.execute("SELECT COUNT(*) FROM rollup7_cells").fetchone()
            append(log / SEGMENT, an_outcome(n))
            n += 1
            reader.figures()
            wal = log / f"{ROLLUP}-wal"
            damage(dice, wal if wal.exists() and dice.random() < 0.3 else log / ROLLUP)
            for analytics in (reader, Analytics(JsonlSource(log))):
                analytics.figures()
                analytics.users()
                analytics.unreadable()
        assert reader.catch_up(rebuild=True)
        assert Analytics(JsonlSource(log)).figures().requests == n
    check(log)
    shutil.rmtree(log)


@pytest.mark.parametrize("rollup", [True, False])
@pytest.mark.filterwarnings("error")
def test_numbers_beyond_a_float_stop_no_query(tmp_path, rollup):
    log = tmp_path / "log"
    call = {"purpose": "answer", "cost_usd": 1e308, "rung": 0, "model": "mini"}
    calls = tuple({**call, "rung": rung} for rung in (0, 1, 2))
    expensive = replace(an_outcome(0), attempts=calls, cost_usd=1e308, escalated=True, answer_changed=True)
    many = an_outcome(1).to_line().replace(b'"time"', b'"input_tokens":1' + b"0" * 400 + b',"time"')
    append(log / SEGMENT, expensive, *(an_outcome(n) for n in range(2, 10)))
    with (log / SEGMENT).open("ab") as stream:
        stream.write(many)
    analytics = Analytics(JsonlSource(log), rollup=rollup)
    assert analytics.figures().requests == 9
    assert analytics.unreadable() == (1, 0)
    assert analytics.grouped("model").keys() == analytics.grouped(("model",)).keys()


@pytest.mark.parametrize("rollup", [True, False])
def test_a_quality_beyond_1_is_a_damaged_line_and_stops_no_report(tmp_path, rollup):
    log = tmp_path / "log"
    first, second = an_outcome(0), an_outcome(1)
    append(log / SEGMENT, first, second, feedback_on(0, first.id, quality=1.0))
    damaged = feedback_on(1, second.id, quality=1.0).to_line().replace(b'"quality":1.0', b'"quality":9.0')
    with (log / SEGMENT).open("ab") as stream:
        stream.write(damaged)
    analytics = Analytics(JsonlSource(log), rollup=rollup)
    assert analytics.unreadable() == (1, 0)
    (quality,) = compose(analytics).quality
    assert (quality.n, quality.mean) == (1, 1.0)
