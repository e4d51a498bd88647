"""Combine several confidence estimators into one."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import NamedTuple

from smartroute.confidence.logprob import LogprobConfidence
from smartroute.confidence.reported import ReportedConfidence, as_number
from smartroute.confidence.text import TextConfidence
from smartroute.errors import ConfigError, shown
from smartroute.protocols import ConfidenceEstimator
from smartroute.records import Confidence, Failure, Probe, Reply, Task

_GRAVE = 0.2
_MOST_ASKED = 64


class _Asked(NamedTuple):
    """How many probes each part of an estimator asked for when it read a reply."""

    by: CombinedConfidence
    task: Task
    reply: Reply
    counts: tuple[int, ...]


# An estimator serves many requests at once, and may see the same task and reply objects in several. What it
# asked for is therefore kept where the request runs: in the context of its thread or coroutine. The bound
# drops requests that end between probes and estimate.
_asked: ContextVar[tuple[_Asked, ...]] = ContextVar("smartroute_asked", default=())


class CombinedConfidence:
    """The first estimator that knows something is believed; a fault in the text caps it.

    Give the estimators in the order in which you trust them. A TextConfidence among them takes no part in
    that order, since it knows only faults: a fault caps the value of the others. After a grave fault (0.2
    or less) no probes are made.
    The source is that of the estimate that decided; `parts` holds them all.
    """

    def __init__(self, *estimators: ConfidenceEstimator) -> None:
        if not estimators:
            raise ConfigError("CombinedConfidence needs at least one estimator")
        self._estimators = estimators

    @property
    def models(self) -> tuple[str, ...]:
        """Return the names of the models that the estimators ask."""
        return tuple(name for estimator in self._estimators for name in getattr(estimator, "models", ()))

    def probes(self, task: Task, reply: Reply) -> tuple[Probe, ...]:
        """Return the probes of all the estimators, in their order."""
        groups = [estimator.probes(task, reply) for estimator in self._estimators]
        if not any(groups) or self._has_grave_fault(task, reply):
            return ()
        probes = tuple(itertools.chain.from_iterable(groups))
        asked = _Asked(self, task, reply, tuple(map(len, groups)))
        _asked.set((asked, *_asked.get()[: _MOST_ASKED - 1]))
        return probes

    def _counts(self, task: Task, reply: Reply) -> Iterable[int]:
        """Return how many probes each estimator asked for; it is asked again where that is not known."""
        for asked in _asked.get():
            if asked.by is self and asked.reply is reply and asked.task is task:
                _asked.set(tuple(other for other in _asked.get() if other is not asked))
                return asked.counts
        return (len(estimator.probes(task, reply)) for estimator in self._estimators)

    def _has_grave_fault(self, task: Task, reply: Reply) -> bool:
        readers = [part for part in self._estimators if isinstance(part, TextConfidence)]
        faults = [reader.estimate(task, reply).value for reader in readers]
        return any(fault is not None and fault <= _GRAVE for fault in faults)

    def estimate(self, task: Task, reply: Reply, replies: tuple[Reply | Failure, ...] = ()) -> Confidence:
        """Return the combined confidence, where each estimator gets the replies to its own probes."""
        parts = []
        counts = self._counts(task, reply) if replies else itertools.repeat(0)
        for estimator, count in zip(self._estimators, counts, strict=False):
            parts.append(estimator.estimate(task, reply, replies[:count]))
            replies = replies[count:]
        return _combined(
            tuple(parts),
            fault=next(
                (
                    part
                    for estimator, part in zip(self._estimators, parts, strict=True)
                    if isinstance(estimator, TextConfidence) and part.value is not None
                ),
                None,
            ),
        )


def _combined(parts: tuple[Confidence, ...], fault: Confidence | None) -> Confidence:
    known = next((part for part in parts if part.value is not None and part is not fault), None)
    if fault is not None and (known is None or (fault.value or 0.0) <= (known.value or 0.0)):
        return Confidence(fault.value, fault.source, fault.detail, parts)
    if known is None:
        return Confidence(None, "none", "; ".join(part.detail for part in parts if part.detail), parts)
    return Confidence(known.value, known.source, known.detail, parts, known.calibrated)


class FunctionEstimator:
    """A function `(task, reply) -> float | None | Confidence`; the source of a bare value is its name."""

    def __init__(self, function: Callable[[Task, Reply], float | Confidence | None]) -> None:
        self._function = function
        self._source = getattr(function, "__name__", type(function).__name__).strip("<>")

    def probes(self, task: Task, reply: Reply) -> tuple[Probe, ...]:
        """Return no probes."""
        return ()

    def estimate(self, task: Task, reply: Reply, replies: tuple[object, ...] = ()) -> Confidence:
        """Return what the function says. Raises ConfigError when that is out of range."""
        value = self._function(task, reply)
        if isinstance(value, Confidence):
            return value
        if value is not None and as_number(value) is None:
            raise ConfigError(f"{self._source} must return a number in [0, 1] or None, got {shown(value)}")
        return Confidence(value, self._source)


def as_estimator(
    candidate: ConfidenceEstimator | Callable[[Task, Reply], float | Confidence | None],
) -> ConfidenceEstimator:
    """Return an estimator as it is, or a plain function as one. Raises ConfigError otherwise."""
    if inspect.isclass(candidate):
        raise ConfigError(f"estimator must be an object, got the class {candidate.__name__}; call it first")
    if isinstance(candidate, ConfidenceEstimator):
        return candidate
    if callable(candidate) and not inspect.iscoroutinefunction(candidate):
        return FunctionEstimator(candidate)
    raise ConfigError(
        "estimator must have methods probes and estimate, or be a function of (task, reply), "
        f"got {type(candidate).__name__}"
    )


def default_estimator(*, asked: bool = False) -> ConfidenceEstimator:
    """Return the default: what the model reports, else log-probabilities, capped by faults in the text.

    No extra calls, and nothing is added to the prompt. `asked` reads the line that `ask_confidence` asks for.
    """
    return CombinedConfidence(ReportedConfidence(asked=asked), LogprobConfidence(), TextConfidence())
