"""The concave frontier of quality over cost, and the best lottery at a given cost."""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple


class Point(NamedTuple):
    """An option: what it costs, how good it is, and its name."""

    cost: float
    quality: float
    name: str


class Lottery(NamedTuple):
    """A draw between two options, `costlier` with probability `share`, and its expected quality."""

    cheaper: Point
    costlier: Point
    share: float
    quality: float


def concave_frontier(points: Iterable[tuple[float, float, str]]) -> list[Point]:
    """Return the points on the upper concave frontier of quality over cost, cheapest first."""
    kept: list[Point] = []
    for point in (Point(*p) for p in sorted(points, key=lambda p: (p[0], -p[1], p[2]))):
        if kept and point.quality <= kept[-1].quality:
            continue
        while len(kept) > 1 and _slope(kept[-2], kept[-1]) <= _slope(kept[-1], point):
            kept.pop()
        kept.append(point)
    return kept


def lottery_of_cost(points: Iterable[tuple[float, float, str]], cost: float) -> Lottery | None:
    """Return the best lottery that costs so much on average; None when the cost is outside the frontier.

    Between the neighbors c1 <= C <= c2 on the frontier the more expensive is drawn with probability
    w = (C - c1) / (c2 - c1): the expected cost is C, the expected quality (1 - w) q1 + w q2.
    """
    for low, high in pairwise(concave_frontier(points)):
        if low.cost <= cost <= high.cost:
            share = (cost - low.cost) / (high.cost - low.cost)
            return Lottery(low, high, share, (1 - share) * low.quality + share * high.quality)
    return None


def _slope(one: Point, other: Point) -> float:
    run = other.cost - one.cost
    return math.inf if run == 0 else (other.quality - one.quality) / run
