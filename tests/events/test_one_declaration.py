"""A field of the log is declared once, and all that reads fields follows from its declaration."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import smartroute
from smartroute.events import attempt_names_for, names_for
from smartroute.events.event import AttemptRecord, Event
from smartroute.events.writing import _ANSWERED, _USUAL

PACKAGE = Path(smartroute.__file__).parent

READ_IT = """
import json
from smartroute.analytics.rollup import batch, lines
from smartroute.events.event import Event
from smartroute.events.writing import _USUAL

event = Event(3, "outcome", "o", "o", "2026-11-10T05:00:00.000000Z", False, energy_wh=0.5)
read = Event.from_line(event.to_line())
(record,), bad = lines.records([event.to_line()])
print(json.dumps([read.energy_wh, dict(read.extra), "energy_wh" in _USUAL, record["energy_wh"],
                  "energy_wh" in batch._NUMBERS, bad]))
"""


def test_a_new_field_needs_one_declaration(tmp_path: Path) -> None:
    copy = tmp_path / "smartroute"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    declarations = copy / "events" / "event.py"
    source = declarations.read_text()
    last = "    extra: Mapping[str, Any] = "
    assert source.count(last) == 1
    new = '    energy_wh: float | None = _logged("usual", "figures", "number")\n'
    declarations.write_text(source.replace(last, new + last))
    process = subprocess.run(
        [sys.executable, "-c", READ_IT],
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert json.loads(process.stdout) == [0.5, {}, True, 0.5, True, 0]


def test_the_roles_agree_with_each_other() -> None:
    figures, rare = set(names_for("figures")), set(names_for("rare"))
    assert set(names_for("needed")) < figures
    assert rare < figures
    assert set(names_for("number")) < figures
    assert rare.isdisjoint(names_for("usual")), "what every outcome has is not rare"
    assert not set(names_for("needed")) & set(names_for("usual"))


def test_the_schema_comes_first_in_every_line() -> None:
    assert next(iter(_USUAL)) == "schema"
    assert (
        Event.from_line(Event(3, "outcome", "o", "o", "2026-11-10T05:00:00.000000Z", False).to_line())
        .to_line()
        .startswith(b'{"schema":')
    )


def test_an_attempt_is_written_with_declared_fields_only() -> None:
    assert set(_ANSWERED) < set(AttemptRecord.__annotations__)
    assert set(attempt_names_for("figures")) == {"purpose", "rung", "cost_usd", "failure"}
