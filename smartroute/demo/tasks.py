"""Load the bundled demo tasks."""

from __future__ import annotations

import functools
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smartroute.errors import ConfigError
from smartroute.evaluation.checks import Check, passes

_DATA = "data/demo_tasks.json"


@dataclass(frozen=True, slots=True)
class DemoTask:
    """One task with a checkable answer.

    `answer` passes the check and each of `wrong` fails it. `difficulty`, in [0, 1], is the author's guess.
    Only the simulated pool uses it and the wrong answers; no routing decision sees them.
    `expression` is the arithmetic behind the answer, if any.
    """

    id: str
    kind: str
    language: str
    prompt: str
    check: Check = field(hash=False)
    answer: str
    wrong: tuple[str, ...]
    difficulty: float
    expression: str | None = None

    def passes(self, text: str) -> bool:
        """Return whether a text answers this task correctly."""
        return passes(text, self.check)


@functools.cache
def load_tasks() -> tuple[DemoTask, ...]:
    """Return the bundled tasks in the order of their file, which mixes the kinds."""
    data = pkgutil.get_data("smartroute", _DATA)
    if data is None:
        raise ConfigError(f"the file {_DATA} is missing; reinstall smartroute")
    return tuple(_task(row) for row in json.loads(data)["tasks"])


def _task(row: Mapping[str, Any]) -> DemoTask:
    return DemoTask(**{**row, "wrong": tuple(row["wrong"])})
