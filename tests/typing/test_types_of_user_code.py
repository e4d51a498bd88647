"""Let mypy --strict judge user code against the installed package, as a user's own run would."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def complaints(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """Return what mypy --strict says about a file, by line. Runs away from the checkout and its settings."""
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    monkeypatch.chdir(tmp_path)
    cache = HERE.parents[1] / ".mypy_cache" / "user_code"
    out, problems, _ = api.run(
        [
            "--strict",
            "--config-file=",
            f"--cache-dir={cache}",
            f"--python-executable={sys.executable}",
            str(HERE / name),
        ]
    )
    assert problems == ""
    errors = re.findall(rf"{re.escape(name)}:(\d+): error: (.*)", out)
    return {int(line): message for line, message in errors}


def test_mypy_accepts_code_that_uses_the_library_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert complaints("accepted.py", tmp_path, monkeypatch) == {}


def test_mypy_finds_every_marked_mistake_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (HERE / "rejected.py").read_text("utf-8").splitlines()
    marked = {number for number, line in enumerate(lines, start=1) if "# rejected" in line}
    assert set(complaints("rejected.py", tmp_path, monkeypatch)) == marked
