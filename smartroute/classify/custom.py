"""Use an object or a plain function of the task as a classifier."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from typing import TypeAlias

from smartroute.classify.rules import complexity_of, middle_of
from smartroute.errors import ConfigError, shown
from smartroute.number_checks import is_number
from smartroute.protocols import Asking, Classifier
from smartroute.records import Classification, Failure, Probe, Reply, Signal, Task, TaskComplexity

Verdict: TypeAlias = Classification | TaskComplexity | str | float
"""What a function may return: a classification, a complexity or its name, or a score in [0, 1]."""

Judging: TypeAlias = Generator[tuple[Probe, ...], tuple[Reply | Failure, ...], Verdict]
"""What a generator function may be: it yields probes, receives what came of them, and returns a verdict."""


def as_classifier(candidate: object) -> Classifier:
    """Return a classifier: the candidate itself when it has `classify`, else a wrapper around the function.

    Raises ConfigError for anything else: a class instead of its instance, a coroutine function, a value.
    """
    if isinstance(candidate, type):
        raise ConfigError(
            f"classifier must be an instance or a function, got the class {candidate.__name__}; "
            f"write {candidate.__name__}(...)"
        )
    classify = getattr(candidate, "classify", None)
    function = classify if callable(classify) else candidate
    if not callable(function):
        raise ConfigError(
            "classifier must have a method classify(task) or be a function of the task, "
            f"got {type(candidate).__name__}"
        )
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError(
            "classifier must not be async, because one classification serves sync and async callers; "
            "write a generator that yields the Probes it wants called"
        )
    if isinstance(candidate, Classifier):
        return candidate
    return FunctionClassifier(function)


class FunctionClassifier:
    """A function of the task as a classifier. `by` names it in every classification it makes."""

    def __init__(self, function: Callable[[Task], Verdict | Judging], *, by: str | None = None) -> None:
        self._function = function
        self.name = by or f"function:{getattr(function, '__name__', type(function).__name__)}"

    def classify(self, task: Task) -> Classification | Asking:
        """Return the function's verdict as a classification.

        What the function raises passes through; an invalid verdict raises ConfigError.
        """
        verdict = self._function(task)
        if isinstance(verdict, Generator):
            return self._asking(verdict)
        return self._classification(verdict)

    def _asking(self, judging: Judging) -> Asking:
        return self._classification((yield from judging))

    def _classification(self, verdict: object) -> Classification:
        if isinstance(verdict, Classification):
            return verdict
        if isinstance(verdict, str):
            try:
                complexity = TaskComplexity(verdict.strip().lower())
            except ValueError:
                raise self._unusable(verdict) from None
            score = middle_of(complexity)
            return Classification(complexity, score, (Signal(self.name, complexity.value, score),), self.name)
        if is_number(verdict) and 0.0 <= verdict <= 1.0:
            score = float(verdict)
            return Classification(complexity_of(score), score, (Signal(self.name, score, score),), self.name)
        raise self._unusable(verdict)

    def _unusable(self, verdict: object) -> ConfigError:
        return ConfigError(
            f"classifier {self.name} must return a Classification, one of "
            f"{[complexity.value for complexity in TaskComplexity]} or a score in [0, 1], "
            f"got {shown(verdict)}"
        )
