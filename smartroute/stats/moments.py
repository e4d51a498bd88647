"""Mean and variance of any number of values, in constant memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Moments:
    """The number, sum and sum of squares of some values."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: Sequence[float]) -> Moments:
        """Return those of these values."""
        return cls(len(values), math.fsum(values), math.fsum(value * value for value in values))

    def add(self, value: float) -> None:
        """Add one value."""
        self.n += 1
        self.total += value
        self.squares += value * value

    def merge(self, other: Moments) -> None:
        """Add those of another."""
        self.n += other.n
        self.total += other.total
        self.squares += other.squares

    @property
    def mean(self) -> float | None:
        """Return the mean, None without values."""
        return self.total / self.n if self.n else None

    @property
    def variance(self) -> float | None:
        """Return the sample variance, None for fewer than two values.

        Loses digits where the mean dwarfs the spread.
        """
        if self.n < 2:
            return None
        return max(0.0, self.squares - self.total * self.total / self.n) / (self.n - 1)
