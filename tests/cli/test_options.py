"""Options that several commands share: how they are declared, and what their values mean."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from smartroute.cli.app import COMMANDS, app
from smartroute.cli.app import _load as load_command
from smartroute.cli.options import Selection, since
from smartroute.cli.report import export, report
from smartroute.errors import ConfigError
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink

PER_DAY = 20


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with 20 answered requests of now, 20 of three days ago and 20 of ten days ago."""
    folder = tmp_path_factory.mktemp("options") / "log"
    now = datetime.now(UTC)
    with JsonlSink(folder) as sink:
        for days in (10, 3, 0):
            time = (now - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            for number in range(PER_DAY):
                name = f"{days}-{number}"
                sink.emit(
                    Event(
                        2, "outcome", name, name, time, False,
                        model="m", cost_usd=0.001, unpriced_attempts=0, escalated=False,
                    )
                )  # fmt: skip
    return folder


def counted_by_report(log: Path, text: str) -> int:
    """Return how many requests a report since a time counts."""
    result = CliRunner().invoke(app, ["report", "--path", str(log), "--json", "--since", text])
    assert result.exit_code == 0, result.output
    return int(json.loads(result.stdout)["requests"])


def counted_by_alerts(log: Path, text: str) -> int:
    """Return how many requests the rule on errors measures since a time."""
    arguments = ["alerts", "--path", str(log), "--json", "--stateless", "--since", text]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code in (0, 1), result.output
    return next(int(rule["n"]) for rule in json.loads(result.stdout)["rules"] if rule["rule"] == "errors")


@pytest.mark.parametrize("counted", [counted_by_report, counted_by_alerts])
@pytest.mark.parametrize(
    ("text", "requests"),
    [
        ("1h", PER_DAY),
        ("96h", 2 * PER_DAY),
        ("4d", 2 * PER_DAY),
        ("%Y-%m-%d", 2 * PER_DAY),
        ("%Y-%m-%dT%H:%M", 2 * PER_DAY),
        ("%Y-%m-%dT%H:%M:%S+00:00", 2 * PER_DAY),
        ("999999h", 3 * PER_DAY),
        ("2001-01-01", 3 * PER_DAY),
    ],
)
def test_report_and_alerts_read_since_alike(
    log: Path, counted: Callable[[Path, str], int], text: str, requests: int
) -> None:
    """The forms with % are filled in with the time four days ago."""
    text = (datetime.now(UTC) - timedelta(days=4)).strftime(text)
    assert counted(log, text) == requests


@pytest.mark.parametrize("command", ["report", "alerts"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("soon", "--since must be a date or time such as 2026-11-23"),
        ("", "--since must be a date or time"),
        ("5m", "--since must be a date or time"),
        ("-1h", "--since must be a date or time"),
        ("99999999999d", "--since 99999999999d is further back than the calendar goes"),
        ("9" * 5_000 + "h", "further back than the calendar goes"),
    ],
)
def test_report_and_alerts_refuse_the_same_since(log: Path, command: str, text: str, words: str) -> None:
    result = CliRunner().invoke(app, [command, "--path", str(log), "--since", text])
    assert result.exit_code == 2
    assert words in result.stderr and result.stderr.count("\n") == 1


def test_alerts_refuse_a_start_in_the_future(log: Path) -> None:
    result = CliRunner().invoke(app, ["alerts", "--path", str(log), "--since", "2999-01-01"])
    assert result.exit_code == 2
    assert "--since must not be in the future, got 2999-01-01" in result.stderr


def test_since_counts_back_to_a_full_hour_and_reads_a_date_as_utc() -> None:
    back = since("24h")
    assert (back.minute, back.second, back.microsecond) == (0, 0, 0)
    assert timedelta(hours=24) <= datetime.now(UTC) - back < timedelta(hours=25, seconds=10)
    assert since("2026-11-23") == datetime(2026, 11, 23, tzinfo=UTC)
    assert since("2026-11-23T08:30+02:00") == datetime(2026, 11, 23, 6, 30, tzinfo=UTC)
    with pytest.raises(ConfigError, match="--since must be a date or time"):
        since("yesterday")


@pytest.mark.parametrize("command", [report, export])
def test_report_and_export_take_every_field_of_a_selection_as_an_option(
    command: Callable[..., None],
) -> None:
    parameters = inspect.signature(command).parameters
    for field in fields(Selection):
        assert parameters[field.name].default == field.default
    assert "selection" not in parameters


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_of_commands_shows_each_commands_own_help(name: str) -> None:
    module = import_module(f"smartroute.cli.{'report' if name == 'export' else name}")
    command = getattr(module, name)
    text = command.info.help if isinstance(command, typer.Typer) else inspect.getdoc(command)
    assert COMMANDS[name] == text.partition("\n\n")[0].replace("\n", " ")


@pytest.mark.parametrize("name", COMMANDS)
def test_no_help_has_square_brackets_which_are_read_as_markup_and_vanish(name: str) -> None:
    pages = [load_command(name)]
    while pages:
        page = pages.pop()
        pages += getattr(page, "commands", {}).values()
        for option in page.params:
            assert "[" not in (getattr(option, "help", None) or ""), option.name


@pytest.mark.parametrize("argument", ["--help", "--version", "nosuch"])
def test_help_and_version_import_no_command(argument: str) -> None:
    code = (
        "import sys\nfrom smartroute.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in sys.modules if name.startswith('smartroute.cli.')], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, argument]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert result.stderr.splitlines()[-1] == "['smartroute.cli.app']"


def test_a_command_that_does_not_exist_is_a_mistake() -> None:
    result = CliRunner().invoke(app, ["rout"])
    assert result.exit_code == 2
    assert "No such command 'rout'" in result.stderr
