"""Run the examples as their readers first will: without a key."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from postgres import Server

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("[0-9]*.py"))


def test_the_examples_have_numbers_of_their_own() -> None:
    """Some numbers wait for the parts whose examples they are."""
    numbers = [int(path.name[:2]) for path in EXAMPLES]
    assert numbers == sorted(set(numbers))
    assert numbers[:5] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_that_it_is_simulated_and_ends_with_the_bill(
    path: Path,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    _own_state_directory: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    first, *_ = printed.splitlines()
    assert first.startswith("No key is set")
    assert "simulated" in first
    bill = printed[printed.index("The bill: ") :]
    assert len(bill.splitlines()) <= 4
    usd = re.match(r"The bill: \$(\d+\.\d+) \(simulated\)", bill)
    assert usd is not None, bill
    assert 0 < float(usd[1]) < 0.01
    assert list(tmp_path.iterdir()) == []
    assert not list(_own_state_directory.rglob("*.jsonl")), "the default log is for traffic of one's own"


def test_the_first_example_shows_an_escalation_and_its_price(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES[0]), run_name="__main__")
    printed = capsys.readouterr().out
    assert "1 escalated" in printed
    invoice = printed[printed.index("Which invoice") : printed.index("Explain in two sentences")]
    assert len(re.findall(r"\$0\.\d{6}", invoice)) == 2
    assert "\n  4711\n" in invoice


def test_the_fifth_example_shows_the_mending_that_it_speaks_of() -> None:
    assert "2 tickets filed, answers repaired: 1, escalated: 0" in _run("05")


def _run(name: str, **environment: str) -> str:
    """Run an example as its readers do, and return what it printed."""
    (path,) = [path for path in EXAMPLES if path.name.startswith(name)]
    done = subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


READ = r"the log has (\d+) events, (\d+) of them new to the rollup"


def test_the_ninth_example_reads_the_same_from_postgresql(postgres: Server) -> None:
    url = postgres.url()
    printed = _run("09", SMARTROUTE_DATABASE_URL=url)
    assert "SQLite" not in printed
    assert re.findall(READ, printed) == [("16", "16"), ("32", "16"), ("32", "0")]
    assert "# Report (simulated)" in printed and "- 16 requests, from" in printed
    assert "- 32 requests, from" in _run("09", SMARTROUTE_DATABASE_URL=url)


def test_the_ninth_example_reads_the_same_from_sqlite_and_says_so() -> None:
    printed = _run("09")
    assert "is not set, so a SQLite file replaces PostgreSQL" in printed
    assert re.findall(READ, printed) == [("16", "16"), ("32", "16"), ("32", "0")]


def test_the_ninth_example_names_the_extra_that_is_missing(tmp_path: Path) -> None:
    """As from the wheel without extras."""
    (tmp_path / "sqlalchemy.py").write_text("raise ImportError('no such module')")
    printed = _run("09", PYTHONPATH=str(tmp_path))
    assert "smartroute[sql]" in printed.splitlines()[-1]
