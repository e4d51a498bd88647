"""Adjust p-values for multiple tests: Holm, Benjamini and Hochberg."""

from __future__ import annotations

from collections.abc import Sequence

from smartroute.number_checks import checked_share


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return the p-values adjusted by Holm's step-down method, in the order given.

    Acting on those of at most `rate` makes the chance of even one false alarm at most `rate`, however
    the tests depend on each other. No p-values give none. Raises ConfigError outside [0, 1].
    Source: Holm (1979), Scandinavian Journal of Statistics 6, 65-70.
    """
    order = _order(p_values)
    adjusted = [0.0] * len(order)
    least = 0.0
    for rank, index in enumerate(order):
        least = max(least, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = least
    return tuple(adjusted)


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return the p-values adjusted by the step-up method of Benjamini and Hochberg, in the order given.

    Acting on those of at most `rate` makes the expected share of false alarms among the alarms at most
    `rate`, for tests that are independent or positively dependent. When every null holds, as on A/A traffic,
    any alarm is false, and `rate` bounds the chance of one. No p-values give none.
    Raises ConfigError outside [0, 1].
    Source: Benjamini and Hochberg (1995), JRSS B 57, 289-300; the dependence: Benjamini and Yekutieli (2001),
    Annals of Statistics 29, 1165-1188.
    """
    order = _order(p_values)
    adjusted = [0.0] * len(order)
    most = 1.0
    for rank in range(len(order), 0, -1):
        index = order[rank - 1]
        most = min(most, p_values[index] * len(order) / rank)
        adjusted[index] = most
    return tuple(adjusted)


def _order(p_values: Sequence[float]) -> list[int]:
    for p_value in p_values:
        checked_share(p_value, "a p-value")
    return sorted(range(len(p_values)), key=p_values.__getitem__)
