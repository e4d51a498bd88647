"""`smartroute log`, through typer's runner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smartroute.cli.app import app
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink, JsonlSource
from smartroute.testing import FrozenClock


def typed(*arguments: str, **options: Any) -> Any:
    return CliRunner().invoke(app, ["log", *arguments], **options)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log of two days, the older one in 2026."""
    folder = tmp_path / "log"
    for name, at_s in (("old", 1_770_000_000.0), ("new", 1_800_000_000.0)):
        with JsonlSink(folder, clock=FrozenClock(at_s)) as sink:
            time = "2026-02-02T02:40:00.000000Z" if name == "old" else "2027-01-15T08:00:00.000000Z"
            sink.emit(Event(2, "outcome", name, name, time, False))
    return folder


def test_status_counts_what_is_there(log: Path) -> None:
    done = typed("status", "--path", str(log))
    assert done.exit_code == 0, done.output
    first, second, third = done.stdout.splitlines()
    assert first == f"{log} holds 2 outcome events of real traffic"
    assert second == "from 2026-02-02T02:40:00.000000Z to 2027-01-15T08:00:00.000000Z"
    size = sum(file.stat().st_size for file in log.glob("*.jsonl"))
    assert third == f"segments: 2, of them compressed: 0; bytes in all: {size}"
    document = json.loads(typed("status", "--path", str(log), "--json").stdout)
    assert (document["events"], document["holds"], document["bytes"]) == ({"outcome": 2}, "real", size)


def test_status_counts_lines_that_cannot_be_read(log: Path) -> None:
    segment = next(log.glob("*.jsonl"))
    segment.write_bytes(segment.read_bytes() + b"torn\n")
    assert "lines that cannot be read: 1" in typed("status", "--path", str(log)).stdout


def test_segments_are_compressed_and_read_as_before(log: Path) -> None:
    done = typed("compress", "--path", str(log))
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("segments compressed: 2, ")
    assert "of them compressed: 2" in typed("status", "--path", str(log)).stdout
    assert [event.id for event in JsonlSource(log).events()] == ["old", "new"]


def test_removing_asks_first_and_keeps_the_days_asked_for(log: Path) -> None:
    assert typed("remove", "--keep-days", "9999", "--path", str(log), "--yes").stdout.startswith(
        "segments removed: 0"
    )
    refused = typed("remove", "--keep-days", "1", "--path", str(log), input="n\n")
    assert refused.exit_code == 1
    assert len(list(JsonlSource(log).events())) == 2


@pytest.mark.parametrize("days", ["-3", "0", "99999999999"])
def test_a_wrong_number_of_days_is_refused_before_the_user_is_asked(log: Path, days: str) -> None:
    done = typed("remove", "--keep-days", days, "--path", str(log))
    assert done.exit_code == 2
    assert done.stderr.startswith(
        "error: --keep-days must be a whole number of at least 1 and at most 100000"
    )
    assert len(list(JsonlSource(log).events())) == 2


@pytest.mark.parametrize("command", [("status",), ("compress",), ("remove", "--keep-days", "0", "--yes")])
def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path, command: tuple[str, ...]) -> None:
    path = tmp_path / ("nowhere" if command[0] == "status" else "events.jsonl")
    done = typed(*command, "--path", str(path))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


def test_without_a_path_the_log_in_use_is_meant(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROUTING_ANALYTICS_PATH", str(log))
    assert typed("status").stdout.startswith(f"{log} holds 2")


@pytest.mark.parametrize("command", [("compress",), ("remove", "--keep-days", "1", "--yes")])
def test_a_log_that_is_not_there_is_neither_compressed_nor_pruned(
    command: tuple[str, ...], tmp_path: Path
) -> None:
    done = typed(*command, "--path", str(tmp_path / "nowhere"))
    assert done.exit_code == 2 and "there is no log" in done.stderr


def test_a_database_is_named_as_its_user_writes_it(log: Path, tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'copy.sqlite'}"
    assert typed("copy", str(log), address).exit_code == 0
    assert typed("status", "--path", address).stdout.startswith(f"{address} holds 2 outcome events")
    again = typed("copy", str(log), address)
    assert again.exit_code == 2 and again.stderr.startswith(f"error: {address} holds events already")


def test_a_log_is_not_copied_into_a_file_that_is_not_a_log(log: Path, tmp_path: Path) -> None:
    notes = tmp_path / "notes.txt"
    notes.write_text("mine\n")
    done = typed("copy", str(log), str(notes))
    assert done.exit_code == 2 and "notes.txt is not a log" in done.stderr
    assert notes.read_text() == "mine\n"
    (tmp_path / "new").mkdir()
    assert typed("copy", str(log), str(tmp_path / "new")).exit_code == 0


def test_the_help_of_log_lists_its_commands_and_no_installer() -> None:
    text = typed("--help").stdout
    assert all(command in text for command in ("status", "compress", "remove", "copy"))
    assert "completion" not in text
