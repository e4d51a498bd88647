import dataclasses

import pytest

from smartroute.ledger import Ledger
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


def test_an_attempt_whose_answer_is_believed_keeps_all_else():
    filled = {field.name: object() for field in dataclasses.fields(Attempt)}
    believed = Attempt(**filled).believed(Confidence(0.75, "judge"))
    kept = {name: getattr(believed, name) for name in filled}
    assert kept == {**filled, "confidence": 0.75, "confidence_source": "judge"}
