"""Run the compared sides in alternation, so that a slow moment of the machine affects all of them."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

_T = TypeVar("_T")


def interleave(sides: Mapping[str, Callable[[], _T]], rounds: int) -> dict[str, list[_T]]:
    """Run every side once per round, in the order of `turns`; return results by side."""
    results: dict[str, list[_T]] = {name: [] for name in sides}
    for names in turns(list(sides), rounds):
        for name in names:
            results[name].append(sides[name]())
    return results


def turns(names: Sequence[str], rounds: int) -> list[list[str]]:
    """Return a shuffled order for each round, the same in every run: no side always follows another."""
    shuffler = random.Random(rounds)
    return [shuffler.sample(names, len(names)) for _ in range(rounds)]


class Spread(NamedTuple):
    """A median with the quartiles around it."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} (quartiles {self.low:.3f} to {self.high:.3f})"


def spread(values: Sequence[float]) -> Spread:
    """Return the median and quartiles of at least one value."""
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high)


def paired(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Return the spread of the ratios ours / theirs, round by round."""
    return spread([a / b for a, b in zip(ours, theirs, strict=True)])


def at_share(values: Sequence[float], share: float) -> float:
    """Return the value that this share of the values does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
