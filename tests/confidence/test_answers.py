import gzip
import json
import os
from collections import Counter
from pathlib import Path

import pytest

from smartroute.confidence import Answer, extract_answer

DATA = Path(os.environ.get("SMARTROUTE_DATA") or Path(__file__).parents[3] / "shared" / "data") / "dev"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4", Answer("number", "4")),
        ("The answer is 1,234.50.", Answer("number", "1234.5")),
        ("so that makes\n#### 42", Answer("number", "42")),
        ("Thus $x = \\boxed{\\frac{1}{2}}$.", Answer("text", "frac{1}{2}")),
        ("Therefore \\boxed{17}", Answer("number", "17")),
        ("3/4", Answer("number", "0.75")),
        ("-$110", Answer("number", "-110")),
        ("答案：7", Answer("number", "7")),
        ("Antwort: 12 Äpfel", Answer("number", "12", frozenset({"äpfel"}))),
        ("(B)", Answer("choice", "B")),
        ("Answer: C) because of the tide", Answer("choice", "C")),
        ("The Fjord.", Answer("text", "fjord")),
        ("**positive**", Answer("text", "positive")),
        ("'pvtso'", Answer("text", "pvtso")),
        ('{"reasoning": "...", "answer": "3,360"}', Answer("number", "3360")),
        ('{"label": "Spam", "confidence": 0.2}', Answer("text", "spam")),
        ('{"b": 1, "a": [2]}', Answer("json", '{"a": [2], "b": 1}')),
        ('{"confidence": 0.9, "a": 1}', Answer("json", '{"a": 1}')),
        ('{"reasoning": "a \\( b", "answer": "14"}', Answer("number", "14")),
        ("Look:\n```python\nx = 1  \n```", Answer("code", "x = 1")),
        ("82\nconfidence: 0.9", Answer("number", "82")),
        ("", None),
        ("A long essay about nothing in particular that goes on and on. " * 3, None),
        (
            "A long essay about nothing in particular that goes on and on. " * 3 + "\nTotal: 12",
            Answer("number", "12"),
        ),
    ],
)
def test_the_answer_is_extracted_in_a_form_that_can_be_compared(text, expected):
    assert extract_answer(text) == expected


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("4", "4.0"),
        ("1,000", "1000"),
        ("１２", "12"),
        ("The cat", "cat."),
        ("Oslo", "OSLO"),
        ('{"a": 1, "b": 2}', '{"b": 2, "a": 1}'),
        ('{"a": 1, "b": [2.0]}', '{"b": [2], "a": 1.0}'),
        ("[1, 2]", "[1,2]"),
        ("A.", "(A)"),
        ("1.234,56", "1234.56"),
        ("1,00,000", "100000"),
        ("\u22125", "-5"),
        ("Yes, it is.", "yes"),
        ('{"answer": true}', "Yes"),
        ("12 apples", "12"),
        ("12 apples", "12 red apples"),
        ("2e400", "2E+400"),
    ],
)
def test_equal_answers_in_other_words_agree(one, other):
    assert extract_answer(one).agrees(extract_answer(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("4", "5"),
        ("Oslo", "Bergen"),
        ("-3", "3"),
        ("A", "B"),
        ("C", "C++"),
        ("May 5", "June 5"),
        ("5 km", "5 m"),
        ("2e400", "3e400"),
        ("9007199254740993", "9007199254740992"),
        ("Yes", "No, never."),
    ],
)
def test_different_answers_do_not(one, other):
    assert extract_answer(one).agrees(extract_answer(other)) is False


def agree(one, other):
    return one is not None and other is not None and one.agrees(other) is True


def rows_of(name):
    if not (DATA / f"{name}.jsonl.gz").exists():
        pytest.skip(f"recorded answers are not there: {DATA / name}.jsonl.gz")
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt") as lines:
        rows = {row["prompt_id"]: row["models"] for row in map(json.loads, lines)}
    with gzip.open(DATA / "responses" / f"{name}.jsonl.gz", "rt") as lines:
        return [(rows[row["prompt_id"]], row["responses"]) for row in map(json.loads, lines)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "at_least"), [("zeroeval_gsm8k", 0.99), ("zeroeval_mathl5", 0.97), ("zeroeval_crux", 0.92)]
)
def test_recorded_answers_are_found_in_recorded_texts(name, at_least):
    found = Counter(
        agree(extract_answer(text), extract_answer(str(models[model]["ans"])))
        for models, texts in rows_of(name)
        for model, text in texts.items()
        if models.get(model, {}).get("ans") is not None
    )
    assert found[True] / found.total() > at_least


def agreement(name, one, other):
    """Return the accuracy of `one` where `other` agrees and where it does not, with the counts."""
    right = {True: [], False: []}
    for models, texts in rows_of(name):
        first, second = extract_answer(texts.get(one, "")), extract_answer(texts.get(other, ""))
        if first is not None and second is not None:
            right[agree(first, second)].append(models[one]["q"])
    return {agree: (sum(values) / len(values), len(values)) for agree, values in right.items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["zeroeval_gsm8k", "zeroeval_mathl5", "zeroeval_crux"])
def test_where_two_cheap_models_agree_the_answer_is_far_more_often_right(name):
    found = agreement(name, "gpt-4o-mini-2024-07-18", "claude-3-haiku-20240307")
    assert found[True][0] > found[False][0] + 0.15


def test_code_written_differently_is_unknown_not_wrong():
    one, other = (extract_answer(f"```python\n{code}\n```") for code in ("x = 1", "x=1"))
    assert one.agrees(other) is None
    assert one.agrees(one) is True
