"""Sums in constant memory that can be merged: histograms, pairs of values, and costs with their tokens."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from smartroute.stats.moments import Moments

GROWTH = 1.1
"""The ratio of the widths of neighboring buckets of a histogram. It makes quantiles accurate to 5%."""

TOKEN_SUMS, TOKEN_PRODUCTS = 6, 21
_LOG_GROWTH = math.log(GROWTH)
NO_TOKENS = (0.0, 0.0, 0.0, 0.0, 0.0)

Tokens: TypeAlias = tuple[float, float, float, float, float]
"""Fresh input, cached input, cache writes, answer and reasoning: tokens as prices count them."""


class LogHistogram:
    """Counts of values by the largest power of GROWTH that is not above them. Values below 0 count as 0.

    `quantile` is off by a factor of at most sqrt(GROWTH), which is 4.9%.
    """

    __slots__ = ("counts", "zeros")

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.zeros = 0

    def add(self, value: float) -> None:
        """Count one value."""
        if value > 0.0:
            self.counts[math.floor(math.log(value) / _LOG_GROWTH)] += 1
        else:
            self.zeros += 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LogHistogram):
            return NotImplemented
        return (self.counts, self.zeros) == (other.counts, other.zeros)

    __hash__ = None  # type: ignore[assignment]

    def merge(self, other: LogHistogram) -> None:
        """Add the counts of another histogram."""
        self.counts.update(other.counts)
        self.zeros += other.zeros

    @property
    def n(self) -> int:
        """Return how many values there are."""
        return self.zeros + sum(self.counts.values())

    def quantile(self, share: float) -> float | None:
        """Return the value that this share of the values does not exceed, to 5%; None without values."""
        n = self.n
        if n == 0:
            return None
        rank = max(1, math.ceil(share * n))
        cumulated = self.zeros
        if rank <= cumulated:
            return 0.0
        for bucket in sorted(self.counts):
            cumulated += self.counts[bucket]
            if rank <= cumulated:
                break
        return math.exp((bucket + 0.5) * _LOG_GROWTH)


@dataclass(slots=True)
class Paired:
    """Sums of the costs of requests, and of what the baseline would have charged for the same tokens. In USD.

    `unanswered` counts requests that were paid for but have no answer to compare: they add to `cost`, and
    their baseline is 0.
    """

    n: int = 0
    unanswered: int = 0
    cost: float = 0.0
    baseline: float = 0.0
    cost_squares: float = 0.0
    baseline_squares: float = 0.0
    products: float = 0.0

    def add(self, cost: float, baseline: float) -> None:
        """Add one answered request."""
        self.n += 1
        self.cost += cost
        self.baseline += baseline
        self.cost_squares += cost * cost
        self.baseline_squares += baseline * baseline
        self.products += cost * baseline

    def add_unanswered(self, cost: float) -> None:
        """Add a request without an answer."""
        self.unanswered += 1
        self.cost += cost
        self.cost_squares += cost * cost

    def merge(self, other: Paired) -> None:
        """Add the sums of another."""
        self.n += other.n
        self.unanswered += other.unanswered
        self.cost += other.cost
        self.baseline += other.baseline
        self.cost_squares += other.cost_squares
        self.baseline_squares += other.baseline_squares
        self.products += other.products


@dataclass(slots=True)
class Joint:
    """Sums of two values that belong together, of their squares and of their product."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0
    other_total: float = 0.0
    other_squares: float = 0.0
    products: float = 0.0

    def add(self, value: float, other: float) -> None:
        """Add a pair of values."""
        self.n += 1
        self.total += value
        self.squares += value * value
        self.other_total += other
        self.other_squares += other * other
        self.products += value * other

    def merge(self, more: Joint) -> None:
        """Add the sums of another."""
        for name in Joint.__slots__:
            setattr(self, name, getattr(self, name) + getattr(more, name))

    @property
    def first(self) -> Moments:
        """Return the moments of the first value."""
        return Moments(self.n, self.total, self.squares)

    @property
    def second(self) -> Moments:
        """Return the moments of the second value."""
        return Moments(self.n, self.other_total, self.other_squares)


@dataclass(slots=True)
class TokenSums:
    """Sums and products of the costs of requests and the tokens of their answers, to reprice at any rates.

    The tokens are those of Tokens. With v = (cost, tokens...), `sums` is the sum of v over the requests, and
    `products` the sum of the upper triangle of v v', row by row.
    """

    n: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0] * TOKEN_SUMS)
    products: list[float] = field(default_factory=lambda: [0.0] * TOKEN_PRODUCTS)

    def add(self, cost: float, tokens: Tokens, *, answered: bool) -> None:
        """Add one request. `n` counts answered ones only: others cost, but have no tokens to reprice."""
        self.n += answered
        values = (cost, *tokens)
        sums, products = self.sums, self.products
        index = 0
        for row, value in enumerate(values):
            sums[row] += value
            for other in values[row:]:
                products[index] += value * other
                index += 1

    def merge(self, other: TokenSums) -> None:
        """Add the sums of another."""
        self.n += other.n
        self.sums = [mine + theirs for mine, theirs in zip(self.sums, other.sums, strict=True)]
        self.products = [mine + theirs for mine, theirs in zip(self.products, other.products, strict=True)]

    def repriced(self, rates: Sequence[float], instead_of: Sequence[float] | None = None) -> Paired:
        """Return the sums of the costs paid, and of what these rates (USD per token) would have charged.

        With `instead_of`, the costs at those rates replace the costs paid.
        """
        paid = (1.0, *NO_TOKENS) if instead_of is None else (0.0, *instead_of)
        other = (0.0, *rates)
        return Paired(
            self.n,
            0,
            _dot(paid, self.sums),
            _dot(other, self.sums),
            self._form(paid, paid),
            self._form(other, other),
            self._form(paid, other),
        )

    def _form(self, one: Sequence[float], other: Sequence[float]) -> float:
        """Return the sum over the requests of (one . v) times (other . v)."""
        terms = []
        index = 0
        for row in range(TOKEN_SUMS):
            for column in range(row, TOKEN_SUMS):
                weight = one[row] * other[column]
                if column > row:
                    weight += one[column] * other[row]
                terms.append(weight * self.products[index])
                index += 1
        return math.fsum(terms)


def _dot(one: Sequence[float], other: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))
