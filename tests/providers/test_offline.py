"""The simulated pool: reproducible, as skilled as it says, and never to be taken for real."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import pkgutil
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from smartroute.errors import ConfigError, InvalidRequestError
from smartroute.protocols import Provider
from smartroute.providers import offline
from smartroute.providers.offline import SKILL, OfflineProvider, Skill, chance_right
from smartroute.records import Call, Purpose, Tier, Usage

ROWS: list[dict[str, Any]] = json.loads(pkgutil.get_data("smartroute", "data/demo_tasks.json") or b"")[
    "tasks"
]
MODELS = ("sim-mini", "sim-standard", "sim-premium")


def call(
    model: str = "sim-mini",
    prompt: str = ROWS[0]["prompt"],
    *,
    purpose: Purpose = "answer",
    number: int = 1,
    **params: Any,
) -> Call:
    return Call(
        model=model,
        target=f"sim/{model}",
        provider="sim",
        messages=({"role": "user", "content": prompt},),
        params=params,
        purpose=purpose,
        number=number,
    )


def row(identity: str) -> dict[str, Any]:
    return next(row for row in ROWS if row["id"] == identity)


def many_calls() -> list[Call]:
    return [
        call(model, row["prompt"], purpose=purpose, number=number, logprobs=True)
        for row in ROWS
        for model in MODELS
        for purpose, number in (("answer", 1), ("sample", 1), ("sample", 2))
    ]


def fingerprint(provider: OfflineProvider, calls: Sequence[Call]) -> str:
    return hashlib.sha256(repr([provider.send(call) for call in calls]).encode()).hexdigest()


def test_it_is_a_provider_that_says_it_is_simulated() -> None:
    provider = OfflineProvider()
    assert isinstance(provider, Provider)
    assert provider.simulated is True
    assert provider.needs_keys is False


def test_catalog_has_three_priced_tiers_of_one_provider() -> None:
    cards = list(OfflineProvider.catalog())
    assert [card.name for card in cards] == list(MODELS)
    assert [card.tier for card in cards] == [Tier.MINI, Tier.STANDARD, Tier.PREMIUM]
    assert {card.provider for card in cards} == {"sim"}
    assert [card.target for card in cards] == [f"sim/{model}" for model in MODELS]
    assert all("simulated" in card.source and card.price is not None for card in cards)
    # A million tokens in and out at 4 and 20 USD.
    assert OfflineProvider.catalog().prices().cost("sim-premium", Usage(1_000_000, 1_000_000)) == 24.0


def test_replies_do_not_depend_on_the_process_or_its_hash_seed() -> None:
    script = "import test_offline as t; print(t.fingerprint(t.OfflineProvider(7), t.many_calls()))"
    prints = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(path())},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for hash_seed in ("0", "4242")
    }
    assert prints == {fingerprint(OfflineProvider(7), many_calls())}


def path() -> list[str]:
    return [os.path.dirname(__file__), *(entry for entry in sys.path if entry)]  # noqa: PTH120


def test_replies_do_not_depend_on_order_or_threads() -> None:
    provider, calls = OfflineProvider(3), many_calls()
    alone = [OfflineProvider(3).send(call) for call in calls]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(provider.send, reversed(calls)))
    assert together[::-1] == alone


def test_seeds_differ_and_repeated_answers_do_not() -> None:
    calls = many_calls()
    assert fingerprint(OfflineProvider(1), calls) != fingerprint(OfflineProvider(2), calls)
    assert OfflineProvider().send(call(number=1)) == OfflineProvider().send(call(number=2))


def test_samples_of_a_hard_task_are_different_draws() -> None:
    hard = row("reasoning-ja-bridge")
    texts = [
        OfflineProvider(seed).send(call("sim-standard", hard["prompt"], purpose="sample", number=number)).text
        for seed in range(10)
        for number in range(1, 6)
    ]
    assert any(len(set(texts[start : start + 5])) > 1 for start in range(0, 50, 5))
    assert set(texts) <= {hard["answer"], *hard["wrong"]}


def test_asend_is_send() -> None:
    provider = OfflineProvider()
    for one in many_calls()[:40]:
        assert asyncio.run(provider.asend(one)) == provider.send(one)


def test_known_prompt_is_answered_from_its_task_whatever_surrounds_it() -> None:
    known = row("general-en-sum")
    plain = OfflineProvider().send(call(prompt=known["prompt"]))
    wrapped = Call(
        model="mine",
        target="sim/sim-mini",
        provider="sim",
        messages=(
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": known["prompt"] + "\n"}]},
            {"role": "system", "content": "Say how sure you are."},
        ),
    )
    assert OfflineProvider().send(wrapped).text == plain.text
    assert plain.text in {known["answer"], *known["wrong"]}


def test_unknown_prompt_gets_a_plain_note() -> None:
    reply = OfflineProvider().send(call(prompt="Tell me a secret."))
    assert reply.text.startswith("[simulated reply of sim-mini] ")
    assert reply.finish_reason == "stop"


class Person(BaseModel):
    name: str
    age: int
    tags: list[str]


@pytest.mark.parametrize(
    "wanted",
    [
        Person,
        {"type": "json_schema", "json_schema": {"name": "person", "schema": Person.model_json_schema()}},
    ],
)
def test_unknown_prompt_with_a_schema_gets_json_that_fits_and_says_so(wanted: object) -> None:
    reply = OfflineProvider().send(call(prompt="Invent a person.", response_format=wanted))
    assert Person.model_validate_json(reply.text).name == "[simulated reply of sim-mini]"


def test_unknown_prompt_with_json_object_gets_an_object_that_says_so() -> None:
    reply = OfflineProvider().send(call(prompt="Invent a person.", response_format={"type": "json_object"}))
    assert json.loads(reply.text)["simulated"] is True


def test_schema_with_references_bounds_and_choices_is_met() -> None:
    schema = {
        "type": "object",
        "properties": {
            "child": {"$ref": "#/$defs/Child"},
            "colour": {"enum": ["red", "blue"]},
            "score": {"type": "integer", "minimum": 1, "maximum": 5},
            "pair": {"type": "array", "items": {"type": "boolean"}, "minItems": 2},
            "maybe": {"anyOf": [{"type": "number", "exclusiveMinimum": 2}, {"type": "null"}]},
            "short": {"type": "string", "maxLength": 4},
        },
        "$defs": {"Child": {"type": "object", "properties": {"kind": {"const": "child"}}}},
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    reply = OfflineProvider().send(call(prompt="Fill it in.", response_format=wanted))
    assert json.loads(reply.text) == {
        "child": {"kind": "child"},
        "colour": "red",
        "score": 1,
        "pair": [False, False],
        "maybe": 3,
        "short": "[sim",
    }


def test_raw_is_a_chat_completion_marked_as_simulated() -> None:
    reply = OfflineProvider().send(call("sim-premium", logprobs=True))
    assert reply.usage is not None
    assert reply.raw["simulated"] is True
    assert reply.raw["object"] == "chat.completion"
    assert reply.raw["usage"]["prompt_tokens"] == reply.usage.input_tokens
    assert reply.raw["usage"]["completion_tokens"] == reply.usage.output_tokens
    choice = reply.raw["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": reply.text}
    assert choice["finish_reason"] == reply.finish_reason == "stop"
    assert "".join(token["token"] for token in choice["logprobs"]["content"]) == reply.text
    assert tuple(token["logprob"] for token in choice["logprobs"]["content"]) == reply.logprobs
    json.dumps(reply.raw)


def test_tokens_are_a_quarter_of_the_letters_and_every_wide_character() -> None:
    # 3 for the message, 2 for eight letters; 3 for the message, 7 characters.
    letters = OfflineProvider().send(call(prompt="abcdefgh")).usage
    ideographs = OfflineProvider().send(call(prompt="明月照在小河上")).usage
    assert letters is not None and letters.input_tokens == 5
    assert ideographs is not None and ideographs.input_tokens == 10


def test_abler_models_are_billed_more_tokens_for_the_same_answer() -> None:
    # Three tokens for the message and five for its 17 letters.
    usages = [OfflineProvider().send(call(model, "Tell me a secret.")).usage for model in MODELS]
    for usage, model, factor in zip(usages, MODELS, (1.0, 1.15, 1.4), strict=True):
        visible = math.ceil(len(OfflineProvider().send(call(model, "Tell me a secret.")).text) / 4)
        assert usage == Usage(
            8, math.ceil(visible * factor), reasoning_tokens=math.ceil(visible * factor) - visible
        )


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_max_tokens_cuts_the_reply_and_its_bill(name: str) -> None:
    reply = OfflineProvider().send(call("sim-premium", "Tell me a secret.", logprobs=True, **{name: 5}))
    assert reply.text == "[simulated reply of "
    assert reply.finish_reason == "length"
    assert reply.usage is not None and reply.usage.output_tokens == 5
    assert reply.logprobs is not None and len(reply.logprobs) == 5


def test_log_probabilities_come_only_when_asked_for() -> None:
    assert OfflineProvider().send(call()).logprobs is None
    asked = OfflineProvider().send(call(logprobs=True)).logprobs
    assert asked is not None and all(value <= 0.0 for value in asked)


def test_judge_grades_the_answer_it_is_shown() -> None:
    known = row("general-en-average")

    def mean_grade(model: str, answer: str) -> float:
        shown = json.dumps({"request": f"user: {known['prompt']}", "answer": answer}, ensure_ascii=False)
        asked = call(model, shown, purpose="judge", max_tokens=300)
        grades = [json.loads(OfflineProvider(seed).send(asked).text)["score"] for seed in range(300)]
        assert all(isinstance(grade, int) and 0 <= grade <= 100 for grade in grades)
        return sum(grades) / len(grades)

    # Means of Beta(8, 1.6), Beta(2, 5) and Beta(2, 2); their standard deviations are 0.115, 0.16, 0.22,
    # so that five standard errors of 300 draws are at most 0.065.
    assert mean_grade("sim-premium", known["answer"]) == pytest.approx(83.3, abs=6.5)
    assert mean_grade("sim-premium", known["wrong"][0]) == pytest.approx(28.6, abs=6.5)
    assert mean_grade("sim-premium", "something else") == pytest.approx(50.0, abs=6.5)


def test_classifier_call_gets_one_word_for_a_known_task() -> None:
    easy, hard = row("general-en-sum"), row("reasoning-ja-bridge")
    words = [
        [
            OfflineProvider(seed)
            .send(
                call(prompt=json.dumps({"kind": "general", "request": known["prompt"]}), purpose="classify")
            )
            .text
            for seed in range(60)
        ]
        for known in (easy, hard)
    ]
    # Difficulty 0.05 is under 1/3 by 1.9 standard deviations of the noise, 0.95 over 2/3 by as much.
    assert words[0].count("simple") > 45
    assert words[1].count("complex") > 45


def test_foreign_model_is_an_invalid_request_and_free() -> None:
    with pytest.raises(InvalidRequestError, match="no model 'openai/gpt-x'") as caught:
        OfflineProvider().send(Call("gpt-x", "openai/gpt-x", "openai", ({"role": "user", "content": "Hi"},)))
    assert caught.value.generated is False


def test_odd_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="seed"):
        OfflineProvider("0")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="sim-mini, sim-standard is missing"):
        OfflineProvider(skill={"sim-premium": Skill(1.0, 1.0)})


def test_stated_chances_are_those_of_the_documentation() -> None:
    # 1 / (1 + exp(-2.5)), 1 / (1 + exp(-1.8)), 1 / (1 + exp(-1.06)), by a desk calculator.
    assert chance_right("sim-mini", 0.1) == pytest.approx(0.924142, abs=1e-6)
    assert chance_right("sim-standard", 0.5) == pytest.approx(0.858149, abs=1e-6)
    assert chance_right("sim-premium", 0.9) == pytest.approx(0.742690, abs=1e-6)


SEEDS = 800


def deviations(skill: Mapping[str, Skill], rows: Sequence[dict[str, Any]]) -> list[float]:
    """Return, per model and task, by how many binomial standard errors the pool misses its stated skill."""
    pools = [OfflineProvider(seed, skill=skill) for seed in range(SEEDS)]
    missed = []
    for row in rows:
        for model in MODELS:
            asked = call(model, row["prompt"])
            right = sum(pool.send(asked).text == row["answer"] for pool in pools)
            chance = chance_right(model, row["difficulty"], SKILL)
            missed.append((right - SEEDS * chance) / math.sqrt(SEEDS * chance * (1.0 - chance)))
    return missed


def as_stated(missed: Sequence[float]) -> bool:
    """Return whether the misses look like standard normals: none beyond 4, and their squares add up.

    36 independent squares have mean 36 and variance 72, so four deviations are 34; that models share luck
    on a task widens this by a few percent only.
    """
    return max(map(abs, missed)) < 4.0 and abs(sum(z * z for z in missed) - 36.0) < 34.0


@pytest.mark.slow
@pytest.mark.no_cover
def test_pool_is_as_skilled_as_it_says_and_a_better_one_is_noticed() -> None:
    rows = sorted(ROWS, key=lambda row: (row["difficulty"], row["id"]))[::5][:12]
    assert len(rows) == 12
    assert as_stated(deviations(SKILL, rows))
    better = {model: Skill(level + 0.4, slope) for model, (level, slope) in SKILL.items()}
    assert not as_stated(deviations(better, rows))


@pytest.mark.slow
@pytest.mark.no_cover
def test_models_share_luck_and_samples_share_more() -> None:
    known = row("general-en-average")

    def right(model: str, seed: int, purpose: Purpose, number: int) -> bool:
        asked = call(model, known["prompt"], purpose=purpose, number=number)
        return OfflineProvider(seed).send(asked).text == known["answer"]

    seeds = range(4_000)
    mini = [right("sim-mini", seed, "answer", 1) for seed in seeds]
    again = [right("sim-mini", seed, "sample", 1) for seed in seeds]
    standard = [right("sim-standard", seed, "answer", 1) for seed in seeds]
    # Expected: P(both right) of a bivariate normal with correlation 0.3 and 0.7 respectively, by scipy.
    from scipy.stats import multivariate_normal, norm

    def both(first: float, second: float, rho: float) -> float:
        corner = [norm.ppf(first), norm.ppf(second)]
        return float(multivariate_normal([0.0, 0.0], [[1.0, rho], [rho, 1.0]]).cdf(corner))

    p_mini, p_standard = (chance_right(model, known["difficulty"]) for model in MODELS[:2])
    for other, chance, rho in ((standard, p_standard, 0.3), (again, p_mini, 0.7)):
        expected = both(p_mini, chance, rho)
        seen = sum(a and b for a, b in zip(mini, other, strict=True)) / len(seeds)
        error = math.sqrt(expected * (1.0 - expected) / len(seeds))
        assert abs(seen - expected) < 4.0 * error
        assert seen - p_mini * chance > 4.0 * error


@pytest.mark.slow
@pytest.mark.no_cover
def test_right_answers_are_surer_on_average_but_not_always() -> None:
    sureness: dict[bool, list[float]] = {True: [], False: []}
    for seed in range(60):
        for known in ROWS:
            reply = OfflineProvider(seed).send(call(prompt=known["prompt"], logprobs=True))
            assert reply.logprobs is not None
            mean = math.fsum(reply.logprobs) / len(reply.logprobs)
            sureness[reply.text == known["answer"]].append(math.exp(mean))
    # Means of Beta(8, 2) and Beta(4, 2.5); five standard errors of at least 1,000 draws are under 0.03.
    assert min(map(len, sureness.values())) > 1_000
    means = {right: sum(values) / len(values) for right, values in sureness.items()}
    assert means[True] == pytest.approx(0.8, abs=0.03)
    assert means[False] == pytest.approx(4.0 / 6.5, abs=0.03)
    doubted = sum(value < means[False] for value in sureness[True]) / len(sureness[True])
    trusted = sum(value > means[True] for value in sureness[False]) / len(sureness[False])
    assert doubted > 0.05 and trusted > 0.1


def test_every_table_of_the_simulation_names_the_same_models() -> None:
    assert offline.SHARED_BY_MODELS + offline.SHARED_BY_DRAWS < 1.0
    for table in (offline.PRICE_USD_PER_MILLION, offline.BILLED_PER_VISIBLE_TOKEN, SKILL):
        assert tuple(table) == MODELS
    for table in (offline.GRADE_OF_RIGHT, offline.GRADE_OF_WRONG):
        assert tuple(table) == MODELS


def test_the_page_on_the_demo_states_every_number_of_the_simulation() -> None:
    page = Path(__file__).parents[2].joinpath("docs", "the-demo.md").read_text("utf-8")
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \| (.*) \|$", page, re.MULTILINE))
    tables = {"PRICE_USD_PER_MILLION"}  # in the table of the models, whose figures a snippet recomputes
    assert set(rows) == {name for name in vars(offline) if name.isupper() and name[0] != "_"} - tables
    for name, stated in rows.items():
        value = getattr(offline, name)
        flat = list(value.values()) if isinstance(value, Mapping) else [value]
        numbers = [float(n) for one in flat for n in (one if isinstance(one, tuple) else (one,))]
        figures = [float(n) for n in re.findall(r"\d+(?:\.\d+)?", stated)]
        assert figures[: len(numbers)] == numbers, name
