import dataclasses
import json
import math
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartroute.errors import ConfigError
from smartroute.ledger import Budget, Ledger, input_ceiling_tokens, output_ceiling_tokens
from smartroute.records import Attempt, Call, Confidence, Failure, Reply, Timed, Usage


def price(model, usage):
    return None if model == "unpriced" else usage.input_tokens * 1e-6 + usage.output_tokens * 2e-6


def call(model="m", purpose="answer"):
    return Call(model, f"x/{model}", "x", ({"role": "user", "content": "hi"},), purpose=purpose, rung=0)


def enter(ledger, result, model="m"):
    return ledger.enter(call(model), Timed(result, 0.1), 0.0)


def test_a_reply_is_priced_on_its_own_tokens():
    attempt = enter(Ledger(price), Reply("a", Usage(1_000, 500)))
    assert attempt.cost_usd == pytest.approx(0.001 + 0.001)  # by hand: 1000 x 1e-6 + 500 x 2e-6


@pytest.mark.parametrize(
    ("result", "cost_usd"),
    [
        (Reply("a", None), None),
        (Failure("timeout", "late", transient=True), None),
        (Failure.cancelled(), None),
        (Failure("rate_limit", "429", transient=True, generated=False), 0.0),
        (Failure("empty", "nothing", usage=Usage(10, 0)), 1e-5),
    ],
)
def test_a_call_costs_what_is_known_of_it_and_none_otherwise(result, cost_usd):
    assert enter(Ledger(price), result).cost_usd == (None if cost_usd is None else pytest.approx(cost_usd))


def test_a_model_without_a_price_costs_none_never_zero():
    assert enter(Ledger(price), Reply("a", Usage(10, 10)), "unpriced").cost_usd is None


def test_confidence_found_later_is_noted_on_its_own_attempt():
    ledger = Ledger(price)
    first, second = enter(ledger, Reply("a", Usage(1, 1))), enter(ledger, Reply("a", Usage(1, 1)))
    ledger.believe(first, Confidence(0.4, "logprob"))
    assert [a.confidence for a in ledger.attempts] == [0.4, None]
    assert ledger.attempts[1] is second


def test_an_unknown_cost_keeps_its_reservation():
    budget = Budget(1.0)
    ledger = Ledger(price, (budget,))
    kept = ledger.reserve(0.4)
    ledger.enter(call(), Timed(Failure("timeout", "late"), 1.0), 0.0, kept)
    assert (budget.spent_usd, budget.reserved_usd) == (0.0, 0.4)
    assert ledger.reserve(0.7) is None


def test_what_one_budget_refuses_is_given_back_to_the_other():
    task, router = Budget(1.0), Budget(0.1)
    ledger = Ledger(price, (task, router))
    assert ledger.reserve(0.5) is None
    assert task.left_usd == 1.0
    assert router.left_usd == 0.1


def test_a_call_without_a_ceiling_never_fits_under_a_budget():
    assert Ledger(price, (Budget(100.0),)).reserve(None) is None
    assert Ledger(price).reserve(None) is not None


@pytest.mark.parametrize("limit", [-1, float("nan"), "1", None, True])
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


@given(st.lists(st.text(max_size=200), min_size=1, max_size=5))
def test_the_input_ceiling_covers_every_byte(texts):
    messages = [{"role": "user", "content": text} for text in texts]
    total = sum(len(text.encode("utf-8", "replace")) for text in texts)
    assert input_ceiling_tokens(messages, {}) >= total


def test_the_input_ceiling_counts_tools_schemas_and_earlier_tool_calls():
    plain = input_ceiling_tokens([{"role": "user", "content": "hi"}], {})
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 300}}
    assert input_ceiling_tokens([{"role": "user", "content": "hi"}], {"tools": [tool]}) > plain + 300
    history = [{"role": "assistant", "content": None, "tool_calls": [tool]}]
    assert input_ceiling_tokens(history, {}) > len(json.dumps(tool))


def test_the_input_ceiling_counts_whatever_else_may_reach_the_prompt():
    plain = input_ceiling_tokens([{"role": "user", "content": "hi"}], {"max_tokens": 5, "seed": 3})
    told = input_ceiling_tokens([{"role": "user", "content": "hi"}], {"max_tokens": 5, "system": "x" * 300})
    assert told >= plain + 300


def test_the_output_ceiling_knows_the_limits_by_their_other_names():
    # Gemini takes its own name before OpenAI's; a prediction that is rejected is billed as written.
    assert output_ceiling_tokens({"max_tokens": 50, "max_output_tokens": 5_000}, 9_000) == 5_000
    assert output_ceiling_tokens({"max_tokens": 50, "maxOutputTokens": 5_000}, 9_000) == 5_000
    assert output_ceiling_tokens({"max_output_tokens": 50}, 9_000) == 9_000
    assert output_ceiling_tokens({"max_output_tokens": 50}, None) is None
    assert output_ceiling_tokens({"max_tokens": 50, "candidate_count": 8}, 9_000) == 400
    assert output_ceiling_tokens({"max_tokens": 50, "n": 9, "candidateCount": 8}, 9_000) == 450
    prediction = {"type": "content", "content": "x" * 1_000}
    assert output_ceiling_tokens({"max_tokens": 50, "prediction": prediction}, 9_000) > 1_050


def test_the_output_ceiling_is_the_asked_or_the_capped_length_times_the_choices():
    assert output_ceiling_tokens({"max_tokens": 50}, 4_096) == 50
    assert output_ceiling_tokens({"max_completion_tokens": 70, "n": 3}, None) == 210
    assert output_ceiling_tokens({}, 4_096) == 4_096
    assert output_ceiling_tokens({}, None) is None


def test_an_attempt_whose_answer_is_believed_keeps_all_else():
    filled = {field.name: object() for field in dataclasses.fields(Attempt)}
    believed = Attempt(**filled).believed(Confidence(0.75, "judge"))
    kept = {name: getattr(believed, name) for name in filled}
    assert kept == {**filled, "confidence": 0.75, "confidence_source": "judge"}
