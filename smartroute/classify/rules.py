"""Classify how hard a task is by rules: declared kinds first, then a score from named signals."""

from __future__ import annotations

import math
from typing import NamedTuple

from smartroute.classify.features import Features, measure
from smartroute.records import Classification, Signal, Task, TaskComplexity

SIMPLE_BELOW = 0.33
"""Scores below this are simple."""

COMPLEX_FROM = 0.66
"""Scores from this on are complex; between the two they are medium."""

LIGHT_KINDS = frozenset({"score", "classify", "extract"})
COMPLEX_KINDS = frozenset({"psychology", "creative", "reasoning", "strategy"})
COMPLEX_REQUIREMENTS = frozenset({"creative_reasoning", "deep_analysis", "multi_step_reasoning"})
SHORT_UNDER_CHARS = 500
LONG_OVER_CHARS = 2_000


def complexity_of(score: float) -> TaskComplexity:
    """Return the complexity whose band contains the score."""
    if score < SIMPLE_BELOW:
        return TaskComplexity.SIMPLE
    return TaskComplexity.MEDIUM if score < COMPLEX_FROM else TaskComplexity.COMPLEX


def middle_of(complexity: TaskComplexity) -> float:
    """Return the score in the middle of a complexity's band, for a verdict that came without a score."""
    floor, width = _BANDS[complexity]
    return floor + width / 2


class RuleClassifier:
    """The default classifier.

    An override wins. Then come, in this order: short scoring, classifying and extracting (simple); texts
    over LONG_OVER_CHARS, demanding kinds and demanding requirements (complex); longer scoring,
    classifying and extracting (medium). Any other task gets a score from what the user's turns say.
    The weights of a classification's signals add up to its score.
    """

    name = "rules/1"

    def classify(self, task: Task) -> Classification:
        """Return the complexity, score and signals of a task. Deterministic; never raises on odd text."""
        features = measure(task)
        signals = content_signals(features)
        content = math.fsum([signal.weight for signal in signals])
        if not 0.0 <= content <= 1.0:
            bound = 0.0 if content < 0.0 else 1.0
            signals.append(Signal("bounds", bound, bound - content))
            content = bound
        rule = _declared(task, features)
        if rule is None:
            return Classification(complexity_of(content), content, tuple(signals), self.name)
        complexity, name, value = rule
        floor, width = _BANDS[complexity]
        scaled = [Signal(name, value, floor)]
        scaled += [Signal(signal.name, signal.value, signal.weight * width) for signal in signals]
        return Classification(complexity, floor + content * width, tuple(scaled), self.name)


class _Band(NamedTuple):
    floor: float
    width: float


# Each band ends a hair below the next one's floor, so that a full score stays inside its own.
_BANDS = {
    TaskComplexity.SIMPLE: _Band(0.0, SIMPLE_BELOW - 0.001),
    TaskComplexity.MEDIUM: _Band(SIMPLE_BELOW, COMPLEX_FROM - SIMPLE_BELOW - 0.001),
    TaskComplexity.COMPLEX: _Band(COMPLEX_FROM, 1.0 - COMPLEX_FROM),
}


def _declared(task: Task, features: Features) -> tuple[TaskComplexity, str, float | str] | None:
    """Return the complexity that was declared rather than scored, with the rule's name and what met it."""
    if task.complexity_override is not None:
        return task.complexity_override, "complexity_override", task.complexity_override.value
    light = task.kind in LIGHT_KINDS
    if light and features.characters < SHORT_UNDER_CHARS:
        return TaskComplexity.SIMPLE, "declared_kind", task.kind
    if features.characters > LONG_OVER_CHARS:
        return TaskComplexity.COMPLEX, "long_text", float(features.characters)
    if task.kind in COMPLEX_KINDS:
        return TaskComplexity.COMPLEX, "declared_kind", task.kind
    if demanding := task.requirements & COMPLEX_REQUIREMENTS:
        return TaskComplexity.COMPLEX, "requirement", min(demanding)
    if light:
        return TaskComplexity.MEDIUM, "declared_kind", task.kind
    return None


class _Weight(NamedTuple):
    """What a count adds: `first` for one, `further` for each after it, `most` in all."""

    signal: str
    position: int
    first: float
    further: float
    most: float


def _weight(signal: str, first: float, further: float, most: float) -> _Weight:
    return _Weight(signal, Features._fields.index(signal), first, further, most)


_WEIGHTS = (
    _weight("prove", 0.50, 0.05, 0.60),
    _weight("debug", 0.40, 0.07, 0.54),
    _weight("reason", 0.35, 0.07, 0.49),
    _weight("relations", 0.45, 0.0, 0.45),
    _weight("formal", 0.32, 0.08, 0.48),
    _weight("design", 0.33, 0.07, 0.47),
    _weight("technical", 0.20, 0.10, 0.40),
    _weight("claims", 0.30, 0.0, 0.30),
    _weight("explain", 0.29, 0.05, 0.39),
    _weight("maths", 0.15, 0.08, 0.39),
    _weight("code", 0.10, 0.06, 0.28),
    _weight("constraints", 0.05, 0.05, 0.30),
    _weight("items", 0.03, 0.03, 0.15),
    _weight("light", -0.45, 0.0, -0.45),
)
_EARLIER_TURN, _MOST_EARLIER_TURNS = 0.06, 0.30
_FURTHER_QUESTION, _MOST_FURTHER_QUESTIONS = 0.05, 0.15
_NUMBER_FROM_THIRD, _MOST_NUMBERS = 0.02, 0.12
# Length alone never leaves the simple band.
_MOST_LENGTH, _LENGTH_UNIT = 0.30, 100


def content_signals(features: Features) -> list[Signal]:
    """Return what the user's turns say about difficulty, each with its weight; zero counts are left out."""
    signals = [Signal("length", float(features.weighted_length), _length_weight(features.weighted_length))]
    for name, position, first, further, most in _WEIGHTS:
        count = features[position]
        if count:
            weight = first + further * (count - 1)
            signals.append(Signal(name, float(count), most if abs(weight) > abs(most) else weight))
    if features.user_turns > 1:
        earlier = features.user_turns - 1
        signals.append(
            Signal("earlier_turns", float(earlier), min(_EARLIER_TURN * earlier, _MOST_EARLIER_TURNS))
        )
    if features.questions > 1:
        weight = min(_FURTHER_QUESTION * (features.questions - 1), _MOST_FURTHER_QUESTIONS)
        signals.append(Signal("questions", float(features.questions), weight))
    if features.numbers > 2:
        weight = min(_NUMBER_FROM_THIRD * (features.numbers - 2), _MOST_NUMBERS)
        signals.append(Signal("numbers", float(features.numbers), weight))
    return signals


def _length_weight(weighted_length: int) -> float:
    """Return up to _MOST_LENGTH, reached at LONG_OVER_CHARS, growing with the logarithm."""
    grown = math.log1p(weighted_length / _LENGTH_UNIT) / math.log1p(LONG_OVER_CHARS / _LENGTH_UNIT)
    return _MOST_LENGTH * min(grown, 1.0)
