"""Whatever an outcome holds, its event can be written, read back, and is the same then."""

from __future__ import annotations

import dataclasses
import fractions
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiers import examples

from smartroute.events.event import Event
from smartroute.events.values import NEAREST
from smartroute.events.writing import _KINDS, event_of
from smartroute.records import (
    Attempt,
    Classification,
    Confidence,
    Decision,
    Failure,
    Outcome,
    Reply,
    RuledOut,
    Rung,
    Signal,
    Task,
    TaskComplexity,
    Usage,
)

KEY = b"0123456789abcdef0123456789abcdef"


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __bool__(self) -> bool:
        raise RuntimeError("neither")


def nested(depth: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    return deep


DEEP = nested(100_000)
CYCLIC: dict[str, Any] = {"type": "text", "text": "a"}
CYCLIC["self"] = CYCLIC

# By name: hypothesis cannot print the values themselves.
MONSTERS: dict[str, Any] = {"deep": DEEP, "cyclic": CYCLIC, "huge": 10**400, "vast": -(10**5_000)}
monsters = st.sampled_from([*MONSTERS]).map(lambda name: MONSTERS[name])
usual = st.one_of(st.text(max_size=5), st.integers(0, 10**6), st.floats(0, 1), st.none())
odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), 2**64, -1]),
    st.floats(),
    st.sampled_from([12.0, 1e300, math.nan, math.inf, -math.inf]),
    st.text(st.characters(), max_size=5),
    st.sampled_from(["\ud800", "\udfff x", "12", b"x", (), {}, [1], Unprintable()]),
    monsters,
    st.sampled_from([Decimal("0.1"), Decimal("NaN"), fractions.Fraction(1, 3), 1j, object()]),
)
either = st.one_of(usual, odd)
usages = st.none() | st.builds(Usage, either, either, either, either, either)
replies = st.none() | st.builds(Reply, either, usages, either)
failures = st.none() | st.builds(Failure, either, st.text(max_size=3), status=either)
attempts = st.builds(
    Attempt,
    model=either,
    purpose=either,
    cost_usd=either,
    latency_s=either,
    started_at=either,
    provider=either,
    effort=either,
    rung=either,
    number=either,
    usage=usages,
    finish_reason=either,
    confidence=either,
    confidence_source=either,
    failure=failures,
)
hashable = either.filter(lambda value: not isinstance(value, list | dict))
shares = st.floats(0, 1) | st.sampled_from([0, 1, True])
classifications = st.builds(
    Classification,
    st.sampled_from(TaskComplexity),
    shares,
    st.lists(st.builds(Signal, hashable, either), max_size=3).map(tuple),
    either,
)
rungs = st.builds(Rung, either, either, either)
decisions = st.builds(
    Decision,
    classifications,
    st.lists(rungs, max_size=3).map(tuple),
    either,
    either,
    arm=either,
    experiment=either,
    arm_propensity=either,
    action_propensity=either,
    ruled_out=st.lists(st.builds(RuledOut, either, either), max_size=3).map(tuple),
    overridden=either,
)
contents = st.one_of(
    st.text(st.characters(), max_size=5),
    st.none(),
    st.lists(
        st.one_of(
            either,
            st.builds(lambda text: {"type": "text", "text": text}, either),
            st.just({1: 2, "a": 3}),
            monsters.map(lambda monster: {"type": monster}),
            st.builds(lambda: {"x": Unprintable()}),
        ),
        max_size=3,
    ),
)
messages = st.lists(st.builds(lambda role, content: {"role": role, "content": content}, either, contents))
tasks = st.builds(
    Task,
    messages.map(tuple),
    kind=either,
    requirements=st.frozensets(hashable, max_size=2),
    unit=either,
    tenant=either,
    conversation_id=either,
    labels=st.dictionaries(hashable, either, max_size=2),
)
outcomes = st.builds(
    Outcome,
    id=either,
    task=tasks,
    decision=decisions,
    attempts=st.lists(attempts, max_size=3).map(tuple),
    started_at=either,
    latency_s=either,
    answer=replies,
    answered_by=st.none() | rungs,
    estimate=st.builds(Confidence, st.none() | shares, either, calibrated=either),
    stopped_by=either,
    error=st.none(),
    baseline_model=either,
    baseline_cost_usd=either,
    simulated=either,
    detour=either,
)


def an_outcome(content: Any = "Rate it.", **changes: Any) -> Outcome:
    usage = Usage(120, 40)
    plain = Outcome(
        id="c0ffee",
        task=Task(({"role": "user", "content": content},)),
        decision=Decision(Classification(TaskComplexity.SIMPLE, 0.5), (Rung("small"),), 0.7, "cost"),
        attempts=(Attempt("small", "answer", 0.001, 0.5, 1.0, provider="acme", rung=0, usage=usage),),
        started_at=1.0,
        latency_s=0.5,
        answer=Reply("87", usage, "stop"),
        answered_by=Rung("small"),
    )
    return dataclasses.replace(plain, **changes)


def read_back(outcome: Outcome, **options: Any) -> Event:
    event = event_of(outcome, **{"hash_key": KEY, **options})
    found = Event.from_line(event.to_line())
    assert found == event
    return found


@examples(400, quick=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(outcomes, st.booleans())
def test_the_event_of_any_outcome_comes_back_equal(outcome: Outcome, log_text: bool) -> None:
    read_back(outcome, log_text=log_text)


@settings(max_examples=200, deadline=None)
@given(usages, either)
def test_the_event_of_any_reply_comes_back_equal(usage: Usage | None, finish_reason: Any) -> None:
    plain = an_outcome()
    attempt = dataclasses.replace(plain.attempts[0], usage=usage, finish_reason=finish_reason)
    read_back(dataclasses.replace(plain, attempts=(attempt,), answer=Reply("x", usage, finish_reason)))


def test_the_odd_values_are_caught_by_the_property() -> None:
    """Without the repair, an event of a float token count is written and cannot be read."""
    event = event_of(an_outcome(), hash_key=None)
    with pytest.raises(Exception, match="output_tokens"):
        Event.from_line(dataclasses.replace(event, output_tokens=12.5).to_line())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given_count", "kept"),
    [
        (12, 12),
        (12.0, 12),
        (12.5, None),
        (math.nan, None),
        (math.inf, None),
        (True, None),
        ("12", None),
        (2**63 - 1, 2**63 - 1),
        (2**63, None),
        (-1, -1),
        (None, None),
    ],
)
def test_a_token_count_is_a_whole_number_of_64_bits_or_unknown(given_count: Any, kept: int | None) -> None:
    usage = Usage(given_count, 1, 2, 3, 4)
    plain = an_outcome()
    attempt = dataclasses.replace(plain.attempts[0], usage=usage)
    found = read_back(dataclasses.replace(plain, attempts=(attempt,), answer=Reply("x", usage)))
    assert (found.input_tokens, found.output_tokens, found.reasoning_tokens) == (kept, 1, 4)
    assert found.attempts[0]["input_tokens"] == kept


@pytest.mark.parametrize("number", [7, 7.0, "7"])
def test_an_odd_finish_reason_is_told_as_text(number: Any) -> None:
    assert read_back(an_outcome(answer=Reply("x", None, number))).finish_reason == str(number)


def test_a_failure_of_no_kind_is_still_a_failure() -> None:
    failed = dataclasses.replace(an_outcome().attempts[0], failure=Failure(None, ""))  # type: ignore[arg-type]
    assert read_back(an_outcome(attempts=(failed,))).attempts[0]["failure"] == "None"


def test_whole_numbers_are_kept_where_a_fraction_could_stand() -> None:
    plain = an_outcome()
    decision = dataclasses.replace(plain.decision, accept_at=0, arm_propensity=1)
    found = read_back(dataclasses.replace(plain, decision=decision, baseline_cost_usd=2))
    assert (found.accept_at, found.arm_propensity, found.baseline_cost_usd) == (0.0, 1.0, 2.0)
    assert found.cost_usd == 0.001


def test_every_kind_of_field_knows_its_nearest_value() -> None:
    assert {_KINDS[each.name] for each in dataclasses.fields(Event)} == set(NEAREST)


@pytest.mark.parametrize(
    "part",
    [
        pytest.param({"type": "text", "text": "a", 1: 2}, id="mixed keys"),
        pytest.param({"type": "text", "text": "a", "x": DEEP}, id="deep"),
        pytest.param(CYCLIC, id="cyclic"),
        pytest.param({"type": "text", "text": "a", "x": Unprintable()}, id="unprintable"),
        pytest.param({"type": "text", "text": "a", "x": 10**5_000}, id="huge"),
    ],
)
def test_content_that_json_cannot_say_is_hashed_by_its_texts(part: dict[Any, Any]) -> None:
    one = read_back(an_outcome([part]))
    assert one.prompt_chars == 1
    assert one.prompt_hash is not None
    assert read_back(an_outcome([part])).prompt_hash == one.prompt_hash
    assert read_back(an_outcome([part, {"type": "text", "text": "b"}])).prompt_hash != one.prompt_hash
    assert read_back(an_outcome([part]), log_text=True).prompt_text == "a"
