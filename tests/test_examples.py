"""Run the examples as their readers first will: without a key."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("[0-9]*.py"))


TO_COME = {6, 7, 8, 9}
"""The numbers of examples that are planned and not written yet."""


def test_the_examples_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:2]) for path in EXAMPLES]
    assert len(set(numbers)) == len(numbers)
    assert {*numbers, *TO_COME} == set(range(1, max(numbers) + 1))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_that_it_is_simulated_and_ends_with_the_bill(
    path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


def test_the_first_example_shows_an_escalation_and_its_price(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES[0]), run_name="__main__")
    printed = capsys.readouterr().out
    assert "1 escalated" in printed
    invoice = printed[printed.index("Which invoice") : printed.index("Explain in two sentences")]
    assert len(re.findall(r"\$0\.\d{6}", invoice)) == 2
    assert "\n  4711\n" in invoice
