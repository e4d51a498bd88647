"""An Outcome is generic in what `response_format` parses to. A type checker reads this file, too."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any, assert_type

import pydantic

from smartroute import Classification, Decision, Outcome, Task, TaskComplexity
from smartroute.records import Reply, Rung


class Moons(pydantic.BaseModel):
    count: int


def of_moons(text: str, response_format: Any = Moons) -> Outcome[Moons]:
    return Outcome(
        id="c0ffee",
        task=Task.of("How many moons has Saturn?", params={"response_format": response_format}),
        decision=Decision(Classification(TaskComplexity.SIMPLE, 0.5), (Rung("small"),), 0.7, "mine"),
        attempts=(),
        started_at=1.0,
        latency_s=0.5,
        answer=Reply(text),
        answered_by=Rung("small"),
    )


def test_parsed_is_the_model_that_was_asked_for() -> None:
    outcome = of_moons('{"count": 146}')
    assert_type(outcome.parsed, Moons | None)
    assert outcome.parsed == Moons(count=146)


def test_parsed_is_none_where_the_answer_does_not_match() -> None:
    assert of_moons("many").parsed is None


def test_a_dict_of_a_schema_parses_to_plain_json() -> None:
    outcome: Outcome = of_moons('{"count": 146}', {"type": "json_object"})
    assert outcome.parsed == {"count": 146}


def test_a_bare_outcome_may_parse_to_anything() -> None:
    outcome: Outcome = of_moons('{"count": 146}')
    assert_type(outcome.parsed, Any | None)
    assert outcome.parsed.count == 146  # type: ignore[union-attr]


def test_an_outcome_of_a_model_is_an_outcome_of_its_base() -> None:
    base: Outcome[pydantic.BaseModel] = of_moons('{"count": 146}')
    assert isinstance(base.parsed, Moons)


def test_a_parametrized_outcome_is_the_same_record() -> None:
    outcome = of_moons('{"count": 146}')
    made = Outcome[Moons](
        *(outcome.id, outcome.task, outcome.decision, (), 1.0, 0.5),
        answer=outcome.answer,
        answered_by=outcome.answered_by,
    )
    assert made == outcome
    assert pickle.loads(pickle.dumps(made)) == outcome
    assert replace(made, simulated=True).simulated
    assert not hasattr(made, "__dict__"), "records have slots"


if TYPE_CHECKING:

    def takes_any(outcome: Outcome) -> None: ...

    takes_any(of_moons(""))


def test_a_parametrized_task_is_the_same_record() -> None:
    assert Task[Moons](({"role": "user", "content": "hi"},)) == Task.of("hi")
    assert pickle.loads(pickle.dumps(Task[Moons](()))) == Task(())
