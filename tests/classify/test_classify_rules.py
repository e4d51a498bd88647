"""The rules of declared kinds, the score below them, and what every classification promises."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartroute.classify import COMPLEX_FROM, SIMPLE_BELOW, RuleClassifier, complexity_of
from smartroute.records import Classification, Task, TaskComplexity

SIMPLE, MEDIUM, COMPLEX = TaskComplexity
LABELED = Path(__file__).with_name("labeled_prompts.jsonl")


def classify(prompt: Any, **options: Any) -> Classification:
    return RuleClassifier().classify(Task.of(prompt, **options))


def conversation(*turns: str) -> list[dict[str, str]]:
    messages = []
    for turn in turns:
        messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": "Done."}]
    return messages[:-1]


def labeled() -> list[dict[str, str]]:
    return [json.loads(line) for line in LABELED.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("kind", ["score", "classify", "extract"])
@pytest.mark.parametrize(
    ("characters", "expected"),
    [(1, SIMPLE), (499, SIMPLE), (500, MEDIUM), (2000, MEDIUM), (2001, COMPLEX)],
)
def test_light_kinds_are_decided_by_length(kind: str, characters: int, expected: TaskComplexity) -> None:
    assert classify("x" * characters, kind=kind).complexity is expected


@pytest.mark.parametrize("kind", ["psychology", "creative", "reasoning", "strategy"])
def test_demanding_kinds_are_complex_however_short(kind: str) -> None:
    found = classify("Hi", kind=kind)
    assert found.complexity is COMPLEX
    assert found.signals[0][:2] == ("declared_kind", kind)


@pytest.mark.parametrize("requirement", ["creative_reasoning", "deep_analysis", "multi_step_reasoning"])
def test_demanding_requirements_are_complex(requirement: str) -> None:
    assert classify("Hi", requirements={requirement: True}).complexity is COMPLEX
    assert classify("Hi", requirements=[requirement]).complexity is COMPLEX
    assert classify("Hi", requirements={requirement: False}).complexity is SIMPLE


def test_short_light_kinds_come_before_requirements_and_longer_ones_after() -> None:
    assert classify("x" * 499, kind="score", requirements=["deep_analysis"]).complexity is SIMPLE
    assert classify("x" * 500, kind="score", requirements=["deep_analysis"]).complexity is COMPLEX


@pytest.mark.parametrize("wanted", list(TaskComplexity))
def test_an_override_wins_over_everything(wanted: TaskComplexity) -> None:
    for options in ({"kind": "score"}, {"kind": "creative"}, {"requirements": ["deep_analysis"]}):
        found = classify("Prove it. " * 300, complexity_override=wanted, **options)
        assert found.complexity is wanted
        assert found.signals[0][:2] == ("complexity_override", wanted.value)


@pytest.mark.parametrize("kind", [None, "general", "analysis", "no such kind"])
def test_other_kinds_over_2000_characters_are_complex_and_below_scored(kind: str | None) -> None:
    assert classify("so " * 667, kind=kind).complexity is COMPLEX
    assert classify("so " * 666, kind=kind).complexity is SIMPLE


def test_length_counts_the_whole_conversation() -> None:
    messages = [
        {"role": "system", "content": "s" * 700},
        {"role": "user", "content": [{"type": "text", "text": "u" * 700}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"id": "1", "type": "function", "function": {"name": "f", "arguments": "a" * 299}}
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": "t" * 300},
    ]
    assert classify(messages).complexity is SIMPLE
    messages[-1]["content"] += "t"
    found = classify(messages)
    assert found.complexity is COMPLEX
    assert found.signals[0][:2] == ("long_text", 2001.0)


def test_a_subject_is_classified_in_place_of_the_prompt() -> None:
    prompt = "Rate this text from 0 to 100. " * 100
    assert classify(prompt, kind="score").complexity is COMPLEX
    assert classify(prompt, kind="score", subject="Lose weight fast!").complexity is SIMPLE
    assert classify("Hi", subject="Prove there are infinitely many primes.").complexity is not SIMPLE


@pytest.mark.parametrize(
    "prompt",
    [
        "Is P equal to NP?",
        "Prove there are infinitely many primes.",
        "Find the race condition.",
        "证明有无穷多个素数。",
        "素数が無限に存在することを証明してください。",
        "소수가 무한히 많음을 증명하시오.",
    ],
)
def test_short_hard_requests_are_not_simple(prompt: str) -> None:
    assert classify(prompt).complexity is not SIMPLE


@pytest.mark.parametrize("prompt", ["What is 2+2?", "Translate 'good morning' into French.", "commit it"])
def test_short_plain_requests_are_simple(prompt: str) -> None:
    assert classify(prompt).complexity is SIMPLE


@pytest.mark.parametrize(
    "turns",
    [
        ("The worker dies with a segfault.", "Still crashes. Stack trace: main.c:42", "Good.", "commit it"),
        (
            "My page shows the wrong total.",
            "No, still wrong.",
            "Same.",
            "Now it is off by one.",
            "Better, but the second row is missing.",
            "Great.",
            "commit it",
        ),
    ],
    ids=["telling words", "depth alone"],
)
def test_commit_it_after_a_debugging_conversation_is_not_simple(turns: tuple[str, ...]) -> None:
    assert classify(conversation(*turns)).complexity is not SIMPLE


@pytest.mark.parametrize(
    "prompt",
    [
        "设计一个高并发的机器翻译系统。",
        "比较两个翻译模型的优缺点。",
        "機械翻訳システムを設計し、実装してください。",
        "번역 시스템을 설계하고 구현해 주세요.",
        "Спроектируй систему, которая переведёт тексты, и реализуй её.",
        "Translate to Rust: for (int i = 0; i < n; i++) { total += f(); } // why does it deadlock?",
    ],
)
def test_work_on_translation_is_no_request_to_translate(prompt: str) -> None:
    assert classify(prompt).complexity is not SIMPLE


@pytest.mark.parametrize(
    "prompt",
    [
        "请把这句话翻译成英文：天空为什么是蓝色的？",
        "翻译：为什么？",
        "次の文を英語に訳してください：空はなぜ青いのですか。",
        "'왜 하늘은 파란가?'를 영어로 번역해 줘.",
        "Переведите на английский: почему небо голубое?",
        "ترجم 'لماذا' إلى الإنجليزية.",
        "Kannst du das ins Französische übersetzen: Warum ist das Auto kaputt?",
        "Our server crashed.\n\nTranslate this into French.",
    ],
)
def test_hard_words_in_what_is_to_be_translated_do_not_count(prompt: str) -> None:
    assert classify(prompt).complexity is SIMPLE


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("Translate 'hi' into French.", "Find the race condition in my worker."),
        ("翻译成英语：你好", "现在证明有无穷多个素数。"),
    ],
)
def test_a_translation_earlier_on_does_not_make_the_last_request_light(first: str, last: str) -> None:
    found = classify(conversation(first, last))
    assert found.complexity is not SIMPLE
    assert "light" not in {signal.name for signal in found.signals}
    turned = classify(conversation(last, first))
    assert "light" in {signal.name for signal in turned.signals}


def test_a_turn_of_several_parts_begins_with_its_first() -> None:
    parts = [{"type": "text", "text": text} for text in ("Translate into French:", "Why did it crash?")]
    assert classify([{"role": "user", "content": parts}]).complexity is SIMPLE


@pytest.mark.parametrize(
    "prompt",
    [
        "¿Demuestra la afirmación?",
        "«Démontre-le»",
        "“Prove it.”",
        "Prove—rigorously—it",
        "Démontrez\u00a0: c'est faux",
        "l’analyse",
        "…prove it",
    ],
)
def test_typographic_marks_do_not_hide_the_word_beside_them(prompt: str) -> None:
    assert {signal.name for signal in classify(prompt).signals} & {"prove", "reason"}


@pytest.mark.parametrize(
    "prompt", ["請debug這段code", "このworkerのdeadlockを調べて", "이 코드의 deadlock을 찾아줘"]
)
def test_latin_words_inside_another_script_are_read(prompt: str) -> None:
    assert classify(prompt).complexity is not SIMPLE


@pytest.mark.parametrize(
    "prompt",
    [
        "Write a function that merges two sorted lists.",
        "Schreibe eine Funktion, die zwei Listen zusammenführt.",
        "Escribe una función que una dos listas.",
        "Напиши функцию, которая сливает два списка.",
        "请用Python写一个函数，合并两个链表",
        "Review this pull request, please.",
    ],
)
def test_writing_and_reviewing_a_piece_of_code_is_medium(prompt: str) -> None:
    assert classify(prompt).complexity is MEDIUM


def test_code_of_the_assistant_and_of_tools_is_not_the_users() -> None:
    code = "def f(self): return Proof()\n" * 5
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": code},
        {"role": "tool", "tool_call_id": "1", "content": f"Traceback: deadlock, prove it {code}"},
    ]
    assert {signal.name for signal in classify(messages).signals} == {"length"}


# Accuracy by when a prompt was written; the page on classification says what was tuned on which.
# A floor below the figure on the page lets an improvement in one place cost a case in another.
@pytest.mark.parametrize(
    ("written", "hard_found", "hard", "simple_found", "simple"),
    [
        ("before", 47, 49, 44, 44),
        ("after", 38, 39, 47, 47),
        ("last", 28, 32, 26, 26),
        ("review", 58, 84, 69, 76),
    ],
)
def test_accuracy_on_the_labeled_prompts(
    written: str, hard_found: int, hard: int, simple_found: int, simple: int
) -> None:
    total: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for case in labeled():
        if case["written"] == written:
            total[case["label"]] += 1
            is_simple = classify(case["prompt"]).complexity is SIMPLE
            right[case["label"]] += is_simple == (case["label"] == "simple")
    assert (total["not_simple"], total["simple"]) == (hard, simple)
    assert right["not_simple"] >= hard_found - 1
    assert right["simple"] >= simple_found - 1


@given(
    prompt=st.text(min_size=1, max_size=3000).filter(str.strip),
    kind=st.sampled_from([None, "score", "classify", "creative", "odd"]),
    requirements=st.sampled_from([None, ["deep_analysis"]]),
    override=st.sampled_from([None, *TaskComplexity]),
)
@settings(max_examples=150, deadline=None)
def test_score_complexity_and_signals_agree(prompt: str, kind: Any, requirements: Any, override: Any) -> None:
    found = classify(prompt, kind=kind, requirements=requirements, complexity_override=override)
    assert 0.0 <= found.score <= 1.0
    assert complexity_of(found.score) is found.complexity
    assert found.signals
    assert math.isclose(math.fsum(signal.weight for signal in found.signals), found.score, abs_tol=1e-9)
    assert found.by == "rules/1"


@pytest.mark.parametrize("kind", ["score", "creative", "general"])
def test_scores_stay_in_their_band_when_everything_is_said_at_once(kind: str) -> None:
    everything = "Prove, debug, compare, design: theorem? why? must frac sqrt def println() ^ 1 2 3 "
    for complexity in TaskComplexity:
        found = classify(everything, kind=kind, complexity_override=complexity)
        assert found.complexity is complexity
        assert complexity_of(found.score) is complexity


@given(
    word=st.sampled_from(["so ", "blue ", "и ", "猫", "한 "]),
    times=st.integers(1, 300),
    more=st.integers(0, 300),
)
@settings(deadline=None)
def test_more_of_the_same_never_lowers_the_score(word: str, times: int, more: int) -> None:
    assert classify(word * times).score <= classify(word * (times + more)).score


@given(boilerplate=st.text(max_size=500), role=st.sampled_from(["system", "developer", "tool", "assistant"]))
@settings(max_examples=60, deadline=None)
def test_boilerplate_changes_no_content_signal(boilerplate: str, role: str) -> None:
    user = [{"role": "user", "content": "Why is it slow? Compare both."}]
    extra = [{"role": role, "content": boilerplate}]
    assert classify(extra + user) == classify(user) == classify(user + extra)


def test_the_bands_are_where_the_constants_say() -> None:
    assert complexity_of(0.0) is SIMPLE
    assert complexity_of(SIMPLE_BELOW) is MEDIUM
    assert complexity_of(math.nextafter(SIMPLE_BELOW, 0)) is SIMPLE
    assert complexity_of(COMPLEX_FROM) is COMPLEX
    assert complexity_of(math.nextafter(COMPLEX_FROM, 0)) is MEDIUM


def test_the_same_in_every_process() -> None:
    program = (
        "from smartroute.classify import RuleClassifier; from smartroute.records import Task;"
        "print(RuleClassifier().classify(Task.of('Prove, debug and compare 证明 the theorem; why? must')))"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(outputs) == 1
