"""The JSON shapes of outcomes, decisions and attempts match their published and versioned schemas."""

from __future__ import annotations

import dataclasses
import fractions
import itertools
import json
import math
from pathlib import Path
from typing import Any, Literal

import jsonschema
import pytest

from smartroute import AllModelsFailedError, BudgetExceededError, ModelRouter, Outcome
from smartroute.errors import ConfigError, InvalidRequestError, LedgerError
from smartroute.providers.offline import OfflineProvider
from smartroute.records import (
    SHAPE_VERSION,
    Attempt,
    Call,
    Classification,
    Confidence,
    Decision,
    Failure,
    Reply,
    RuledOut,
    Rung,
    Signal,
    Task,
    TaskComplexity,
    Usage,
    json_schema,
)
from smartroute.testing import ScriptedProvider

NAMES: tuple[Literal["outcome", "decision", "attempt"], ...] = ("outcome", "decision", "attempt")
PROMPT = "How many moons has Saturn, asks Zebulon?"
GOLDEN = Path(__file__).parent / "data"


def closed(schema: Any) -> Any:
    """Return a schema that refuses every property which it does not describe."""
    if isinstance(schema, list):
        return [closed(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(value) for name, value in schema.items()}
    return {**inner, "additionalProperties": False} if "properties" in schema else inner


def check(document: dict[str, Any], name: Literal["outcome", "decision", "attempt"]) -> None:
    text = json.dumps(document, allow_nan=False)
    validator = jsonschema.Draft202012Validator(closed(json_schema(name)))
    validator.validate(json.loads(text))
    assert json.loads(text) == document, "what is read back is what was written"
    assert list(document) == json_schema(name)["required"], "keys come in the order of the schema"


def check_all(outcome: Outcome) -> dict[str, Any]:
    document = outcome.as_dict()
    check(document, "outcome")
    check(outcome.decision.as_dict(), "decision")
    for attempt in outcome.attempts:
        check(attempt.as_dict(), "attempt")
    assert "Zebulon" not in json.dumps(document)
    return document


def failing(call: Call) -> str:
    raise InvalidRequestError("no such model, said to Zebulon", status=404)


def test_an_answered_outcome_matches_its_schema() -> None:
    with ModelRouter(provider=ScriptedProvider(["146"]), sink=False) as router:
        outcome = router.run(PROMPT, kind="fact", conversation_id="c-1")
    document = check_all(outcome)
    assert document["schema"] == SHAPE_VERSION
    assert document["simulated"] is True, "a scripted answer is no real one"
    assert (document["text"], document["kind"], document["conversation_id"]) == ("146", "fact", "c-1")
    assert document["model"] == outcome.model
    assert document["cost_usd"] == outcome.cost_usd
    assert document["error"] is None
    assert document["decision"] == outcome.decision.as_dict()
    assert document["attempts"] == [attempt.as_dict() for attempt in outcome.attempts]
    assert document["attempts"][0]["input_tokens"] == 10


def test_an_outcome_without_an_answer_names_its_error_and_keeps_its_ledger() -> None:
    with (
        ModelRouter(provider=ScriptedProvider(failing), sink=False) as router,
        pytest.raises(AllModelsFailedError) as caught,
    ):
        router.run(PROMPT)
    assert caught.value.outcome is not None
    document = check_all(caught.value.outcome)
    assert document["error"] == {"kind": "AllModelsFailedError", "message": str(caught.value)}
    assert (document["text"], document["model"], document["tool_calls"]) == ("", None, [])
    assert {attempt["failure"] for attempt in document["attempts"]} == {"invalid_request"}
    assert {attempt["failure_status"] for attempt in document["attempts"]} == {404}


def test_an_escalated_outcome_says_so() -> None:
    script = ScriptedProvider(lambda call: failing(call) if call.rung == 0 else "146")
    with ModelRouter(provider=script, sink=False) as router:
        outcome = router.run(PROMPT)
    document = check_all(outcome)
    assert document["escalated"] is True
    assert outcome.escalated


def test_an_outcome_that_a_budget_stopped_matches_its_schema() -> None:
    with (
        ModelRouter(provider=ScriptedProvider(["146"]), sink=False) as router,
        pytest.raises(LedgerError) as caught,
    ):
        router.run(PROMPT, max_usd=1e-9, max_tokens=5)
    assert isinstance(caught.value, BudgetExceededError)
    assert caught.value.outcome is not None
    document = check_all(caught.value.outcome)
    assert document["stopped_by"] == "budget"
    assert document["attempts"] == []
    assert document["cost_usd"] == 0.0


def test_an_outcome_of_the_offline_provider_is_simulated() -> None:
    with ModelRouter(provider=OfflineProvider(), catalog=OfflineProvider.catalog(), sink=False) as router:
        document = check_all(router.run(PROMPT))
    assert document["simulated"] is True


def plain(**changes: Any) -> Outcome:
    usage = Usage(10, 5)
    outcome: Outcome = Outcome(
        id="c0ffee",
        task=Task.of(PROMPT),
        decision=Decision(Classification(TaskComplexity.SIMPLE, 0.5), (Rung("small"),), 0.7, "mine"),
        attempts=(Attempt("small", "answer", 0.001, 0.5, 1.0, rung=0, usage=usage),),
        started_at=1.0,
        latency_s=0.5,
        answer=Reply("146", usage, "stop"),
        answered_by=Rung("small"),
    )
    return dataclasses.replace(outcome, **changes)


class Rude:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __float__(self) -> float:
        raise RuntimeError("no number")

    def __bool__(self) -> bool:
        raise RuntimeError("neither")


ODD = [math.nan, math.inf, 10**400, True, "12", "\ud800", b"x", fractions.Fraction(1, 3), Rude(), object()]


@pytest.mark.parametrize("odd", ODD, ids=[type(value).__name__ + str(n) for n, value in enumerate(ODD)])
def test_the_shapes_hold_whatever_users_own_parts_put_into_a_record(odd: Any) -> None:
    usage = Usage(odd, odd, odd, odd, odd, odd, odd)
    attempt = Attempt(
        *(odd, odd, odd, odd, odd, odd, odd, odd, odd, usage, odd, odd, odd),
        failure=Failure(odd, "no", status=odd),
    )
    decision = Decision(
        Classification(TaskComplexity.SIMPLE, 0.5, (Signal(odd, odd, odd),), odd),
        *((Rung(odd, odd, odd, odd, odd),), odd, odd, odd, odd, odd, odd, (odd,)),
        *((RuledOut(odd, odd),), odd, odd, odd),
    )
    outcome = plain(
        decision=decision,
        attempts=(attempt,),
        started_at=odd,
        latency_s=odd,
        answer=Reply(odd, usage, odd, tool_calls=({"function": {"arguments": odd}},)),
        answered_by=Rung(odd, odd, odd),
        estimate=Confidence(None, odd),
        stopped_by=odd,
        baseline_model=odd,
        baseline_cost_usd=odd,
        simulated=odd,
        answer_changed=odd,
    )
    check_all(outcome)


def test_a_sum_that_no_number_holds_is_unknown() -> None:
    dear = Attempt("small", "answer", 1.7e308, 0.5, 1.0, rung=0)
    document = check_all(plain(attempts=(dear, dear)))
    assert (document["cost_usd"], document["unpriced_attempts"]) == (None, 2)


def test_a_cost_that_is_not_finite_is_unknown() -> None:
    known, unknown = (Attempt("small", "answer", usd, 0.5, 1.0, rung=0) for usd in (0.25, math.nan))
    document = check_all(plain(attempts=(known, unknown)))
    assert (document["cost_usd"], document["unpriced_attempts"]) == (0.25, 1)


def test_tool_calls_are_kept_in_openais_form() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "moons", "arguments": '{"of": "Saturn"}'}}
    document = check_all(plain(answer=Reply("", None, "tool_calls", tool_calls=(call,))))
    assert document["tool_calls"] == [call]


def test_an_error_of_a_provider_is_named_by_its_kind_only() -> None:
    failure = Failure.of(InvalidRequestError("the prompt 'Zebulon' is bad", status=400))
    check_all(plain(attempts=(Attempt("small", "answer", 0.0, 0.5, 1.0, failure=failure),)))


@pytest.mark.parametrize("name", NAMES)
def test_each_schema_is_a_valid_one_that_describes_every_key(name: Any) -> None:
    schema = json_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$id"] == f"urn:smartroute:{name}:{SHAPE_VERSION}"
    for definition in (schema, *schema["$defs"].values()):
        assert definition["required"] == list(definition["properties"])
        for key, described in definition["properties"].items():
            assert described.get("description"), key


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_lets_later_fields_pass(name: Any) -> None:
    outcome = plain()
    parts: dict[str, Outcome | Decision | Attempt] = {
        "outcome": outcome,
        "decision": outcome.decision,
        "attempt": outcome.attempts[0],
    }
    later = {**parts[name].as_dict(), "schema": SHAPE_VERSION + 1, "a_later_field": 1}
    jsonschema.validate(later, json_schema(name))
    lost = {key: value for key, value in later.items() if key != "schema"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(lost, json_schema(name))


def test_an_unknown_shape_has_no_schema() -> None:
    with pytest.raises(ConfigError, match="use outcome, decision or attempt"):
        json_schema("task")  # type: ignore[arg-type]


def test_a_shape_changes_only_with_its_version() -> None:
    """To add a field: raise SHAPE_VERSION, and store the schemas of the new version beside the old ones."""
    schemas = {name: json_schema(name) for name in NAMES}
    golden = json.loads((GOLDEN / f"json_shapes_{SHAPE_VERSION}.json").read_text())
    assert schemas == golden


def test_no_version_loses_a_field_or_changes_its_type() -> None:
    versions = [
        json.loads((GOLDEN / f"json_shapes_{number}.json").read_text())
        for number in range(1, SHAPE_VERSION + 1)
    ]
    for older, newer in itertools.pairwise(versions):
        for name in NAMES:
            for key, described in older[name]["properties"].items():
                assert newer[name]["properties"][key].get("type") == described.get("type"), key
