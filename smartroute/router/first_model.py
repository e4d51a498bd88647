"""Look up the first model for a complexity, as `get_model_for_complexity` of the replaced system did."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from smartroute.errors import TaskError
from smartroute.records import Classification, Menu, Signal, Task, TaskComplexity
from smartroute.routing.decider import Decider

_SCORES = {TaskComplexity.SIMPLE: 0.0, TaskComplexity.MEDIUM: 0.5, TaskComplexity.COMPLEX: 1.0}


def first_model(
    decider: Decider, menu_of: Callable[[Task], Menu], complexity: TaskComplexity | str, kind: str
) -> str:
    """Return the name of the model that a task of this complexity and kind would be sent to first.

    The holdback is left out, so the answer is the same each time. Raises TaskError for a complexity that
    does not exist.
    """
    task = Task.of("?", kind=kind, complexity_override=complexity)
    level = task.complexity_override
    if level is None:
        raise TaskError(f"complexity must be one of {[c.value for c in TaskComplexity]}, got None")
    score = _SCORES[level]
    classification = Classification(level, score, (Signal("declared", score),), "caller")
    undeclared = replace(task, complexity_override=None)
    return decider.decide(undeclared, classification, menu_of(task), hold_back=False).ladder[0].model
