"""Run pytest on a small file, to see which tests it leaves out and what its last line says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

FILE = """
import pytest
from hypothesis import given, strategies
from tiers import examples

def test_quick():
    pass

@pytest.mark.slow
@pytest.mark.parametrize("number", range(3))
def test_slow(number):
    pass

tried = []

@examples(40, quick=10)
@given(strategies.integers())
def test_property(number):
    tried.append(number)

def test_how_many_examples_were_tried(request):
    assert len(tried) == (40 if request.config.option.slow else 10)
"""


@pytest.fixture
def run(tmp_path: Path):
    """Return a function that runs pytest with this project's settings, and gives the lines it printed."""
    (tmp_path / "test_file.py").write_text(FILE)

    def lines(*arguments: str) -> list[str]:
        command = [sys.executable, "-m", "pytest", "-p", "conftest", "-p", "no:cacheprovider", "-p", "no:cov"]
        command += ["-c", str(TESTS.parent / "pyproject.toml"), "--rootdir", str(tmp_path), *arguments]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=inherited | {"PYTHONPATH": str(TESTS)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    return lines


@pytest.mark.parametrize("processes", ["0", "1"])
def test_the_last_line_says_how_many_slow_tests_were_left_out_and_how_to_run_them(run, processes):
    if processes != "0":
        pytest.importorskip("xdist")
    *_, counts, last = run("-n", processes, ".")
    assert "3 passed" in counts
    assert last == "left out: 3 slow tests; run them with pytest --slow"


def test_with_slow_everything_runs_and_properties_try_all_their_examples(run):
    assert "6 passed" in run("--slow", "test_file.py")[-1]


def test_by_their_marker_only_the_slow_tests_run(run):
    assert "3 passed, 3 deselected" in run("-m", "slow", "test_file.py")[-1]


def test_a_slow_test_that_is_named_runs(run):
    assert "1 passed" in run("test_file.py::test_slow[1]")[-1]


def test_without_xdist_the_tests_run_in_one_process(run):
    *_, counts, last = run("-p", "no:xdist", ".")
    assert "3 passed" in counts
    assert last.startswith("left out: 3 slow tests")
