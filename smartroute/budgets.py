"""Spending limits: reserve money before a call, settle it after, never overspend.

`Reserve` and `Settle` are steps: a task's generator yields them, and a driver performs them. So a budget may
do I/O without the generator doing any.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import ConfigError, shown
from smartroute.number_checks import checked_number

_PICO = 10**12


class Budget:
    """A limit in USD that many tasks may share. Reserve before a call, settle after it.

    Amounts are whole picodollars inside: limits are rounded down and costs up. So no sum of settled costs
    exceeds the limit as long as no cost exceeds its reservation. An infinite limit only counts. Thread-safe.

    Raises ConfigError when the limit is not a number of at least 0.
    """

    def __init__(self, limit_usd: float) -> None:
        if isinstance(limit_usd, float) and limit_usd == math.inf:
            self.limit_usd, self._limit = math.inf, None
        else:
            self.limit_usd = checked_number(limit_usd, "a budget in USD", least=0)
            self._limit = math.floor(self.limit_usd * _PICO)
        self._spent = 0
        self._reserved = 0
        self._lock = fork_safe_lock()

    _limit: int | None

    @property
    def spent_usd(self) -> float:
        """Return what settled calls cost."""
        return self._spent / _PICO

    @property
    def reserved_usd(self) -> float:
        """Return what is reserved: for calls under way, and permanently where a cost stayed unknown."""
        return self._reserved / _PICO

    @property
    def left_usd(self) -> float:
        """Return what may still be reserved."""
        if self._limit is None:
            return math.inf
        return max(0, self._limit - self._spent - self._reserved) / _PICO

    def reserve(self, usd: float) -> bool:
        """Reserve `usd`, or return False and reserve nothing when it does not fit.

        Raises ConfigError when `usd` is negative or not a finite number.
        """
        if not 0 <= usd < math.inf:
            raise ConfigError(f"a reservation must be a finite number of USD of at least 0, got {shown(usd)}")
        amount = math.ceil(usd * _PICO)
        with self._lock:
            if self._limit is not None and self._spent + self._reserved + amount > self._limit:
                return False
            self._reserved += amount
            return True

    def settle(self, reserved_usd: float, cost_usd: float | None) -> None:
        """Replace a reservation by the cost; an unknown cost keeps the reservation."""
        if cost_usd is None:
            return
        with self._lock:
            self._reserved -= math.ceil(reserved_usd * _PICO)
            self._spent += math.ceil(cost_usd * _PICO)


class Reservation(NamedTuple):
    """Money reserved for one call, in every budget that applies."""

    usd: float
    budgets: tuple[Budget, ...]

    def settle(self, cost_usd: float | None) -> None:
        """Replace this reservation by the cost in every budget; None keeps it."""
        for budget in self.budgets:
            budget.settle(self.usd, cost_usd)


class Reserve(NamedTuple):
    """A step: reserve the most that each of these calls can cost, in every one of the budgets.

    A driver sends back one Reservation per ceiling, in order; None where it does not fit into every budget,
    or where the ceiling is None, which is unknown.
    """

    ceilings_usd: tuple[float | None, ...]
    budgets: tuple[Budget, ...]

    def perform(self) -> tuple[Reservation | None, ...]:
        """Reserve in budgets of this process. What interrupts it leaves nothing reserved."""
        made: list[Reservation | None] = []
        try:
            for usd in self.ceilings_usd:
                made.append(None if usd is None else _reserved(usd, self.budgets))
        except BaseException:  # a Ctrl-C in the middle
            for reservation in made:
                if reservation is not None:
                    reservation.settle(0.0)
            raise
        return tuple(made)


def _reserved(usd: float, budgets: tuple[Budget, ...]) -> Reservation | None:
    for index, budget in enumerate(budgets):
        if not budget.reserve(usd):
            for earlier in budgets[:index]:
                earlier.settle(usd, 0.0)
            return None
    return Reservation(usd, budgets)


class Settle(NamedTuple):
    """A step: replace reservations by what their calls cost in USD; None, which is unknown, keeps them."""

    costs_usd: tuple[tuple[Reservation, float | None], ...]

    def perform(self) -> None:
        """Settle in budgets of this process."""
        for reservation, cost_usd in self.costs_usd:
            reservation.settle(cost_usd)
