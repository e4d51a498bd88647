"""Run the pieces of the benchmark at tiny sizes. Nothing here looks at an absolute time."""

from __future__ import annotations

import dataclasses
import gzip
import importlib
import itertools
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from smartroute.sinks import JsonlSource

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
MODULES = (
    "analytics_sql",
    "rounds",
    "workers",
    "prompts",
    "peers",
    "imports",
    "loopback",
    "memory",
    "event_write",
    "overhead",
    "traffic",
    "log_sides",
    "analytics",
)


@pytest.fixture(scope="module")
def bench() -> Iterator[dict[str, ModuleType]]:
    kept = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(FOLDER))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(FOLDER))
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(kept)


@pytest.fixture
def tiny(bench: dict[str, ModuleType]) -> Any:
    return bench["overhead"].Effort(
        import_rounds=1,
        build_rounds=1,
        prompts=8,
        decide_rounds=2,
        long_rounds=1,
        call_rounds=2,
        calls={"1": 3, "2": 4},
        event_rounds=1,
        memory_marks=(20, 60),
    )


def test_every_side_runs_once_in_each_round(bench: dict[str, ModuleType]) -> None:
    seen: list[str] = []
    sides = {name: lambda name=name: seen.append(name) or len(seen) for name in "abc"}
    results = bench["rounds"].interleave(sides, 20)
    assert [sorted(seen[start : start + 3]) for start in range(0, 60, 3)] == [["a", "b", "c"]] * 20
    assert {tuple(seen[start : start + 3]) for start in range(0, 60, 3)} >= {("a", "b", "c"), ("c", "b", "a")}
    assert sorted(itertools.chain(*results.values())) == list(range(1, 61))


def test_ratios_are_taken_round_by_round(bench: dict[str, ModuleType]) -> None:
    # By hand: the ratios are 2, 3 and 1. That of the medians would be 30 / 10 = 3.
    assert bench["rounds"].paired([2.0, 30.0, 100.0], [1.0, 10.0, 100.0]) == (2.0, 1.5, 2.5)


def test_the_99th_percentile_of_a_hundred_values_leaves_one_above(bench: dict[str, ModuleType]) -> None:
    assert bench["rounds"].at_share([float(number) for number in range(100)], 0.99) == 99.0
    assert bench["rounds"].at_share([float(number) for number in range(200)], 0.99) == 198.0


def test_a_value_above_its_limit_is_missed(bench: dict[str, ModuleType]) -> None:
    at_most = bench["overhead"].at_most
    assert at_most("what", 1.5, 1.5, "1.5", "at most 1.5").verdict == "met"
    assert at_most("what", 1.51, 1.5, "1.51", "at most 1.5").verdict == "missed"
    assert bench["overhead"].Row("what", "not installed", "at most 1/20").verdict == ""


def test_prompts_come_from_the_named_folder(
    bench: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dev").mkdir()
    with gzip.open(tmp_path / "dev" / "some.jsonl.gz", "wt", encoding="utf-8") as file:
        for prompt in ("one", None, "two", "two", " ", "three"):
            file.write(json.dumps({"prompt": prompt}) + "\n")
    monkeypatch.setenv("SMARTROUTE_DATA", str(tmp_path))
    found = bench["prompts"].short_prompts(5)
    assert sorted(found.texts[:3]) == ["one", "three", "two"]
    assert len(found.texts) == 5
    assert found.source == "recorded data sets"


def test_without_recorded_prompts_the_demo_tasks_serve(
    bench: dict[str, ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SMARTROUTE_DATA", str(tmp_path))
    found = bench["prompts"].short_prompts(150)
    assert len(found.texts) == 150
    assert found.source == "the bundled demo tasks"


def test_long_prompts_have_the_length_asked_for(bench: dict[str, ModuleType]) -> None:
    assert {len(text) for text in bench["prompts"].long_prompts(1_234).values()} == {1_234}


@pytest.mark.parametrize(
    ("text", "complexity"),
    [
        ("What is 2+2?", "simple"),
        ("Describe the sea.", "medium"),
        ("Explain why this function leaks.", "complex"),
        ("x" * 2_001, "complex"),
    ],
)
def test_the_hand_written_classifier_classifies(
    bench: dict[str, ModuleType], text: str, complexity: str
) -> None:
    assert bench["peers"].by_hand(text) == complexity


def test_a_worker_times_every_text(bench: dict[str, ModuleType]) -> None:
    with bench["workers"].Worker("peers.py", "hand-written") as worker:
        assert worker.greeting == {"version": ""}
        assert worker.ask(texts=["one", "two", "three"]) == 3
        times = worker.ask(repeats=2)
    assert len(times) == 3
    assert all(nanoseconds > 0 for nanoseconds in times)


def test_a_worker_that_takes_too_long_is_ended(bench: dict[str, ModuleType]) -> None:
    with bench["workers"].Worker("peers.py", "hand-written") as worker:
        worker.ask(texts=["where is " * 100_000] * 50)
        with pytest.raises(bench["workers"].WorkerError):
            worker.ask(within_s=0.05, repeats=100)


def test_a_missing_peer_is_said_to_be_missing(
    bench: dict[str, ModuleType], tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for peer in ("litellm", "cascadeflow"):
        (tmp_path / f"{peer}.py").write_text(f"raise ImportError('no {peer} here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    rows = list(bench["overhead"].deciding(tiny))
    assert [row.measured for row in rows[-2:]] == ["not installed", "not installed"]
    assert [row.verdict for row in rows[-2:]] == ["", ""]
    assert all(row.verdict for row in rows[1:3])
    long = list(bench["overhead"].long_prompt(tiny))
    assert all("litellm not installed, cascadeflow not installed" in row.measured for row in long)
    assert len(long) == 5


def test_the_import_is_measured_in_a_fresh_process(bench: dict[str, ModuleType]) -> None:
    cost = bench["imports"].cost_of("import colorsys", before="import decimal")
    assert cost.cpu_s >= 0.0
    assert cost.resident_mb > 1.0
    assert cost.heavy == []
    assert bench["imports"].cost_of("import sys; sys.modules['rich'] = sys").heavy == ["rich"]


def test_building_names_the_first_and_a_further_router(bench: dict[str, ModuleType], tiny: Any) -> None:
    rows = list(bench["overhead"].building(tiny))
    assert len(rows) == 3
    assert rows[0].verdict in ("met", "missed")


def test_the_event_has_a_row_for_each_encoder(bench: dict[str, ModuleType], tiny: Any) -> None:
    rows = list(bench["overhead"].event(tiny))
    assert [row.what.rpartition(" ")[2] for row in rows[:2]] == ["json", "orjson"]


def test_memory_is_watched_at_every_mark(bench: dict[str, ModuleType]) -> None:
    first, last = bench["memory"].watch((20, 60))
    assert (first["requests"], last["requests"]) == (20, 60)
    assert (first["counted"], last["counted"]) == (20, 60)
    assert last["escalations"] > 0
    assert last["lost_events"] == 0
    assert first["blocks"] > 0


@pytest.mark.slow
@pytest.mark.wire
def test_calls_are_made_by_both_sides_and_logged(bench: dict[str, ModuleType], tiny: Any) -> None:
    rows = list(bench["overhead"].calling(tiny))
    assert rows[-1].verdict == "met"
    # 20 calls to warm up, then 2 rounds of 3 and of 4.
    assert rows[-1].measured == "34 / 34"
    assert sum("control" in row.what for row in rows) == 4
    assert sum(bool(row.target) for row in rows) == 5


@pytest.mark.slow
def test_the_script_prints_a_verdict_for_each_target(
    bench: dict[str, ModuleType],
    tiny: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bench["overhead"], "QUICK", dataclasses.replace(tiny, memory_marks=(20, 40)))
    assert bench["overhead"].main(["--quick", "--only", "import,memory"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("import ModelRouter") and line.endswith(("met", "missed")) for line in lines)
    assert any("get_stats" in line and line.endswith("met") for line in lines)
    assert lines[-1].endswith("missed")


def test_an_unknown_part_is_named(bench: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bench["overhead"].main(["--only", "imports"])
    assert "there is no part imports" in capsys.readouterr().err


def test_the_councils_table_compares_the_three_modes(
    bench: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    """`full` asks three models for every script; what it cost is the measure of the others."""
    council = importlib.import_module("council")
    council.main(["--seeds", "1", "--passes", "1"])
    printed = capsys.readouterr().out
    assert printed.startswith("simulated: 72 scripts in each of 1 worlds")
    assert "| `full` | 3.00 |" in printed
    exact = next(line for line in printed.splitlines() if line.startswith("| `exact`"))
    assert "100.0%" in exact


@pytest.mark.slow
@pytest.mark.no_cover
def test_the_table_in_the_documentation_is_what_the_script_prints(
    bench: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    importlib.import_module("council").main([])
    table = [line for line in capsys.readouterr().out.splitlines() if line]
    page = (FOLDER.parent / "docs" / "council.md").read_text("utf-8")
    rows = [line for line in table if line.startswith("|")]
    assert len(rows) == 5
    assert "\n".join(rows) in page
    differ, screened, share, most = re.findall(r"[\d.]+", table[-1])
    assert f"Of {screened} verdicts of the screen {differ} differed ({share}%, at most {most}%)." in page


def test_a_log_in_a_database_is_written_and_read_by_every_side(
    bench: dict[str, ModuleType], postgres: Any
) -> None:
    sql = bench["analytics_sql"]
    url = postgres.url()
    rates = sql.writing(url, 40, 2, 16)
    assert {name: len(values) for name, values in rates.items()} == {
        "SqlSink": 2,
        "bare COPY": 2,
        "bare executemany": 2,
    }
    assert all(rate > 0 for values in rates.values() for rate in values)
    times = sql.reading(url, 30, 2)
    assert times["events"] == [1 + 2 * 40 + 30, 1 + 2 * 40 + 60]
    assert {len(values) for values in times.values()} == {2}


def test_invented_traffic_is_a_log_that_reads_back_whole_and_always_the_same(
    bench: dict[str, ModuleType], tmp_path: Path
) -> None:
    logs = [tmp_path / name for name in "ab"]
    for log in logs:
        traffic = bench["traffic"].Traffic(log, per_day=500)
        traffic.write(2_000)
        traffic.write(37)
    source = JsonlSource(logs[0])
    events = list(source.events())
    assert (len(events), source.bad_lines, source.foreign_lines) == (2_037, 0, 0)
    assert len({event.id for event in events}) == 2_037
    assert len({event.time[:10] for event in events}) >= 4
    assert sum(event.type == "feedback" for event in events) == 61  # 3% of each, rounded
    assert {len(event.attempts) for event in events if event.type == "outcome"} == {1, 2}
    lines = [json.loads(line) for line in _lines_by_time(logs[0])]
    assert [json.loads(event.to_line()) for event in events] == lines
    assert _lines_by_time(logs[0]) == _lines_by_time(logs[1])


def _lines_by_time(log: Path) -> list[bytes]:
    lines = [line for file in sorted(log.glob("*.jsonl")) for line in file.read_bytes().splitlines(True)]
    return sorted(lines, key=lambda line: json.loads(line)["time"])


@pytest.mark.slow
def test_the_rollup_is_held_against_the_loop(
    bench: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The answers agree at any size. Ratios mean nothing at this one, and are not looked at."""
    arguments = ["--events", "2000", "4000", "--rounds", "1", "--folder", str(tmp_path)]
    bench["analytics"].main(arguments)
    lines = capsys.readouterr().out.splitlines()
    for start in ("sums, furthest", "latency's p50"):
        found = [line for line in lines if line.startswith(start)]
        assert len(found) == 2
        assert all(line.endswith("met") for line in found)
    assert sum(line.startswith("first build / loop") for line in lines) == 2
    assert [line.split("  ")[0] for line in lines[-3:]] == [
        "warm at 4,000 / at 2,000",
        "catching up with 1,000 at 4,000 / at 2,000",
        "catching up with 10,000 at 4,000 / at 2,000",
    ]
    assert not list(tmp_path.iterdir())


def test_the_loop_finds_what_is_counted_by_hand(bench: dict[str, ModuleType], tmp_path: Path) -> None:
    hours = ("2026-01-01T00", "2026-01-07T23", "2026-01-08T00")
    events = [
        {
            "type": "outcome",
            "time": f"{hour}:30:00.000000Z",
            "model": model,
            "cost_usd": usd,
            "latency_s": latency_s,
        }
        for hour, model, usd, latency_s in zip(
            hours, ("a", "b", None), (1.0, 2.0, None), (3.0, 1.0, 2.0), strict=True
        )
    ]
    text = "".join(json.dumps(event) + "\n" for event in [*events, {"type": "feedback"}])
    (tmp_path / "2026-01-01-a.jsonl").write_text(text)
    found = bench["log_sides"].by_loop(tmp_path)
    assert found["model"] == {"a": [1, 1.0, 0, 0], "b": [1, 2.0, 0, 0], "None": [1, 0.0, 0, 1]}
    assert list(found["hour"]) == ["2026-01-07T23", "2026-01-08T00"]  # 168 hours end with the newest
    assert found["latency_s"] == [2.0, 3.0, 3.0]
