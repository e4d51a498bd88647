import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartroute.budgets import Budget, Reserve, Settle
from smartroute.errors import ConfigError


def test_an_unknown_cost_keeps_its_reservation():
    budget = Budget(1.0)
    (kept,) = Reserve((0.4,), (budget,)).perform()
    Settle(((kept, None),)).perform()
    assert (budget.spent_usd, budget.reserved_usd) == (0.0, 0.4)
    assert Reserve((0.7,), (budget,)).perform() == (None,)


def test_a_known_cost_replaces_its_reservation_in_every_budget():
    task, router = Budget(1.0), Budget(2.0)
    (kept,) = Reserve((0.4,), (task, router)).perform()
    assert (task.reserved_usd, router.reserved_usd) == (0.4, 0.4)
    Settle(((kept, 0.1),)).perform()
    assert [(b.spent_usd, b.reserved_usd) for b in (task, router)] == [(0.1, 0.0), (0.1, 0.0)]


def test_what_one_budget_refuses_is_given_back_to_the_other():
    task, router = Budget(1.0), Budget(0.1)
    assert Reserve((0.5,), (task, router)).perform() == (None,)
    assert task.left_usd == 1.0
    assert router.left_usd == 0.1


def test_a_call_without_a_ceiling_never_fits_under_a_budget():
    budget = Budget(100.0)
    unknown, known = Reserve((None, 1.0), (budget,)).perform()
    assert unknown is None
    assert known.usd == 1.0


class Interrupted(Budget):
    """Lets the second reservation be interrupted, as by a Ctrl-C."""

    calls = 0

    def reserve(self, usd):
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return super().reserve(usd)


def test_an_interrupted_reservation_leaves_nothing_reserved():
    budget = Interrupted(1.0)
    with pytest.raises(KeyboardInterrupt):
        Reserve((0.1, 0.1, 0.1), (budget,)).perform()
    assert (budget.reserved_usd, budget.spent_usd) == (0.0, 0.0)


@pytest.mark.parametrize("limit", [-1, float("nan"), -float("inf"), "1", None, True])
def test_a_budget_that_is_no_amount_is_refused_by_value(limit):
    with pytest.raises(ConfigError, match="budget"):
        Budget(limit)


class LeakyBudget(Budget):
    """Deliberately broken: checks and adds in two steps without counting what is under way."""

    def reserve(self, usd):
        if self._spent + math.ceil(usd * 1e12) > (self._limit or 0):
            return False
        self._reserved += math.ceil(usd * 1e12)
        return True


amounts = st.lists(
    st.tuples(st.floats(0, 2, allow_subnormal=False), st.floats(0, 1), st.booleans()), max_size=40
)


def overspent(budget, calls):
    """Make all reservations first, then settle: the order in which calls at the same time do it."""
    kept = [(usd, usd * share, known) for usd, share, known in calls if budget.reserve(usd)]
    for usd, cost, known in kept:
        budget.settle(usd, cost if known else None)
    worst = math.fsum(cost if known else usd for usd, cost, known in kept)
    return worst > budget.limit_usd + 1e-15


@given(st.floats(0, 5), amounts)
def test_no_sequence_of_reservations_overspends(limit, calls):
    assert not overspent(Budget(limit), calls)


def test_the_overspending_check_catches_a_budget_that_forgets_calls_under_way():
    assert overspent(LeakyBudget(1.0), [(0.6, 1.0, True), (0.6, 1.0, True)])


def test_64_threads_never_overspend():
    budget = Budget(1.0)
    spent, gate = [], threading.Barrier(64)

    def work(seed):
        gate.wait()
        for turn in range(50):
            usd = 0.001 * (1 + (seed * 31 + turn * 17) % 13)
            if budget.reserve(usd):
                spent.append(usd * 0.9)
                budget.settle(usd, usd * 0.9)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.9 < math.fsum(spent) <= 1.0
    assert budget.reserved_usd == 0.0
    assert budget.spent_usd == pytest.approx(math.fsum(spent), abs=1e-9)
