"""What is counted, the token estimate against real tokenizers, odd text, and time against length."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import re
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartroute.classify import Features, RuleClassifier, estimate_tokens, measure
from smartroute.classify.features import SCAN_CHARS, scanned_text, surface
from smartroute.records import Task

DATA = Path(os.environ.get("SMARTROUTE_DATA") or Path(__file__).parents[3] / "shared" / "data")


def test_counts_by_hand() -> None:
    task = Task.of(
        [
            {"role": "system", "content": "Be brief."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Why 3 or 4?\n- a\n- b"},
                    {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
                    {"type": "file", "file": {"file_id": "f"}},
                ],
            },
            {"role": "assistant", "content": "Four."},
            {"role": "user", "content": "Must it be 5?"},
        ],
        params={"tools": [{"type": "function", "function": {"name": "f"}}]},
    )
    found = measure(task)
    assert found.characters == 9 + 19 + 5 + 13
    assert found.user_characters == 19 + 13
    assert (found.messages, found.user_turns, found.tools, found.images, found.attachments) == (4, 2, 1, 1, 1)
    assert (found.questions, found.items, found.numbers, found.explain, found.constraints) == (2, 2, 3, 1, 1)
    assert found.scanned == 19 + 1 + 13


def test_scripts_by_hand() -> None:
    # 1 letter, 1 accented, 2 Cyrillic, 3 Han, 1 kana, 1 Hangul, 1 Thai, 1 ideographic full stop, 1 emoji.
    found = surface("aéдя漢字文か한ก。😀")
    assert (found.letters, found.accented, found.other_narrow) == (1, 1, 2)
    assert (found.han, found.kana, found.hangul, found.other_wide, found.astral) == (3, 1, 1, 2, 1)


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_every_character_belongs_to_one_class(text: str) -> None:
    found = surface(text)
    assert sum(found[2:]) == found.length == len(text)
    assert min(found) >= 0
    assert found.astral == sum(ord(character) > 0xFFFF for character in text)
    assert found.accented == sum(0x7F < ord(character) < 0x100 for character in text)
    assert found.other_narrow == sum(0xFF < ord(character) < 0x800 for character in text)


def test_one_han_character_weighs_three_latin_ones() -> None:
    assert measure(Task.of("漢" * 10)).weighted_length == measure(Task.of("a" * 30)).weighted_length == 30


def test_token_estimate_by_hand() -> None:
    # "abc 12": 2 words x 0.38 + 3 letters x 0.145 + 2 digits x 0.63 + 1 space x 0.10 = 2.555, up to 3;
    # 4 for the message and 3 for the reply.
    assert estimate_tokens(Task.of("abc 12")) == 3 + 4 + 3


def test_token_estimate_counts_every_message_tools_and_images() -> None:
    user: list[dict[str, Any]] = [{"role": "user", "content": "Hello there"}]
    plain = estimate_tokens(Task.of(user))
    assert estimate_tokens(Task.of([{"role": "system", "content": "x" * 4000}, *user])) > plain + 400
    assert (
        estimate_tokens(Task.of([*user, {"role": "tool", "tool_call_id": "1", "content": "y" * 4000}]))
        > plain
    )
    image = {"type": "image_url", "image_url": {"url": "u"}}
    low = {"type": "image_url", "image_url": {"url": "u", "detail": "low"}}
    text = {"type": "text", "text": "Hello there"}
    assert estimate_tokens(Task.of([{"role": "user", "content": [text, image]}])) == plain + 765
    assert estimate_tokens(Task.of([{"role": "user", "content": [text, low]}])) == plain + 85
    tool = {"type": "function", "function": {"name": "f", "description": "d" * 400}}
    one = estimate_tokens(Task.of(user, params={"tools": [tool]}))
    many = estimate_tokens(Task.of(user, params={"tools": [tool] * 100}))
    assert one > plain + 70
    assert many - plain == pytest.approx(100 * (one - plain), abs=1)


def test_a_long_text_is_scaled_from_its_ends() -> None:
    sentence = "The quick brown fox jumps over the lazy dog. "
    short, long = (estimate_tokens(Task.of(sentence * times)) - 7 for times in (40, 4000))
    assert long == pytest.approx(100 * short, rel=0.02)


def _tokenizers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    # litellm ships the vocabularies, so no download is needed; it need not be imported for that.
    found = importlib.util.find_spec("litellm")
    if found is None or found.origin is None:
        pytest.skip("litellm, which ships the vocabularies, is not installed")
    monkeypatch.setenv(
        "TIKTOKEN_CACHE_DIR", str(Path(found.origin).parent / "litellm_core_utils" / "tokenizers")
    )
    tiktoken = pytest.importorskip("tiktoken")
    return [tiktoken.get_encoding(name) for name in ("cl100k_base", "o200k_base")]


@pytest.mark.parametrize(
    "dataset",
    ["mmlu_pro", "zeroeval_gsm8k", "zeroeval_mathl5", "zeroeval_crux", "bfcl_v1", "routerbench_mbpp"],
)
def test_token_estimate_is_close_to_the_tokenizers_on_recorded_prompts(
    dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = DATA / "dev" / f"{dataset}.jsonl.gz"
    if not path.exists():
        pytest.skip("the recorded outcomes (SMARTROUTE_DATA) are not here")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        prompts = [json.loads(line)["prompt"] for line in lines][:200]
    for tokenizer in _tokenizers(monkeypatch):
        counts = [len(tokenizer.encode(prompt, disallowed_special=())) for prompt in prompts]
        ratios = [(estimate_tokens(Task.of(p)) - 7) / count for p, count in zip(prompts, counts, strict=True)]
        assert statistics.median(abs(ratio - 1) for ratio in ratios) < 0.13
        assert 0.88 < statistics.fmean(ratios) < 1.15


def test_content_is_read_from_both_ends_only() -> None:
    filler = "so " * 2000
    assert measure(Task.of(f"prove {filler}")).prove == 1
    assert measure(Task.of(f"{filler} prove")).prove == 1
    assert measure(Task.of(f"{filler} prove {filler}")).prove == 0
    assert len(scanned_text(Task.of(filler * 10))) == 2 * SCAN_CHARS + 1
    turns = [{"role": "user", "content": "so " * 100} for _ in range(50)]
    assert len(scanned_text(Task.of(turns))) <= 2 * SCAN_CHARS + 50
    assert measure(Task.of([*turns, {"role": "user", "content": "Prove it."}])).prove == 1


def test_a_conversation_without_user_turns_is_measured() -> None:
    task = Task.of([{"role": "system", "content": "Prove it."}])
    assert measure(task).prove == 0
    assert measure(task).characters == 9
    assert RuleClassifier().classify(task).score == 0.0


ODD = [
    "\x00",
    "\x00" * 5000,
    "\u202e\u200b\ufeff",
    "\U0010ffff" * 3000,
    "e\u0301" * 2000,
    "ǅﬁİẞ" * 500,
    "😀👩‍👩‍👧" * 300,
    "NaN",
    "inf" * 900,
    "\ud800 lone",
    "\n" * 5000 + "x",
]


@pytest.mark.parametrize("text", ODD, ids=range(len(ODD)))
def test_odd_text_never_raises(text: str) -> None:
    for task in (Task.of(text + "."), Task(({"role": "user", "content": text},)), Task.of("x", subject=text)):
        assert 0.0 <= RuleClassifier().classify(task).score <= 1.0
        assert estimate_tokens(task) > 0


def test_odd_shapes_never_raise() -> None:
    messages: Any = (
        {"role": "user", "content": [{"type": "text"}, {"type": "text", "text": None}, {"type": "odd"}]},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{}, {"function": None}, {"function": {"arguments": {}}}],
        },
        {"role": "user", "content": [{"type": "image_url", "image_url": "https://example.org/a.png"}]},
        {"role": "user"},
    )
    for params in ({}, {"tools": None}, {"tools": 5}, {"tools": [None, object()]}, {"response_format": dict}):
        assert measure(Task(messages, params=params)).messages == 4


def test_measuring_twice_is_free_and_threads_do_not_mix() -> None:
    tasks = [Task.of(f"Why {'so ' * n}?") for n in range(20)]
    expected = [measure(task) for task in tasks]
    assert measure(tasks[-1]) is measure(tasks[-1])
    wrong: list[Features] = []

    def work() -> None:
        for _ in range(50):
            wrong.extend(
                found
                for task, right in zip(tasks, expected, strict=True)
                if (found := measure(task)) != right
            )

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def growth(work: Callable[[str], object], unit: str) -> float:
    """Return how much longer 1,900 characters of a repeated unit take than 240, per character."""

    def seconds(characters: int) -> float:
        text = (unit * characters)[:characters]
        best = float("inf")
        for _ in range(7):
            start = time.thread_time()
            for _ in range(5):
                work(text)
            best = min(best, time.thread_time() - start)
        return best / characters

    return seconds(1_900) / seconds(240)


UNITS = [
    "a",
    " ",
    "\n ",
    "\n- ",
    "\n 1. ",
    "A",
    "A ",
    "=",
    "(",
    "$^",
    "?",
    "证",
    "か。",
    "д",
    "é",
    "\x00",
    "-",
    "PA=",
]


@pytest.mark.parametrize("unit", UNITS, ids=map(repr, UNITS))
def test_time_grows_no_faster_than_the_text(unit: str) -> None:
    classifier = RuleClassifier()
    # A quadratic scan would make this about 8; short texts carry fixed costs, so linear is below 1.
    assert growth(lambda text: classifier.classify(Task(({"role": "user", "content": text},))), unit) < 3


def test_the_growth_measure_catches_a_quadratic_pattern() -> None:
    quadratic = re.compile(r"\s+x")
    assert growth(quadratic.search, " ") > 3


def test_a_long_text_costs_no_more_than_the_scanned_part() -> None:
    def seconds(text: str) -> float:
        best = float("inf")
        for _ in range(20):
            task = Task.of(text)
            start = time.thread_time()
            RuleClassifier().classify(task)
            best = min(best, time.thread_time() - start)
        return best

    assert seconds("lorem ipsum " * 100_000) < 4 * seconds("lorem ipsum " * 200)


def a_deep_list(depth: int) -> list[Any]:
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    return deep


def a_deep_schema(depth: int) -> dict[str, Any]:
    deep: dict[str, Any] = {}
    for _ in range(depth):
        deep = {"properties": deep}
    return deep


@pytest.mark.parametrize("params", ["tools", "functions", "response_format"])
def test_no_depth_of_a_schema_is_too_much(params: str) -> None:
    deep = a_deep_schema(100_000)
    task = Task(
        ({"role": "user", "content": "Hello."},),
        params={params: deep if params == "response_format" else [deep]},
    )
    flat = Task(({"role": "user", "content": "Hello."},))
    # 16 characters a level as str writes it: {'properties': }, at 0.18 tokens each, if all of it is read.
    assert estimate_tokens(flat) + 1_000 < estimate_tokens(task) <= estimate_tokens(flat) + 288_001


def test_a_schema_that_is_too_deep_to_be_written_counts_as_if_it_were() -> None:
    def tools(depth: int) -> Task:
        return Task(({"role": "user", "content": "Hello."},), params={"tools": [a_deep_schema(depth)]})

    # By hand: 10 further levels are 160 characters, about 29 tokens at 0.18 each.
    shallow, deep = estimate_tokens(tools(100)), estimate_tokens(tools(2_000))
    assert deep - shallow == pytest.approx(1_900 * 16 * 0.18, abs=2)


def test_a_cyclic_or_unprintable_schema_is_no_crash() -> None:
    class Unprintable:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    cyclic = a_deep_schema(2_000)
    cyclic["self"] = cyclic
    wide: list[Any] = [Unprintable()]
    wide.extend([wide] * 100_000)
    for schema in (cyclic, {"a": Unprintable()}, {Unprintable(): 1}, {"a": wide}):
        task = Task(({"role": "user", "content": "Hello."},), params={"tools": [schema]})
        assert measure(task).tools == 1
        assert 0 < estimate_tokens(task) < 10**6


def test_deep_parts_and_calls_are_passed_by() -> None:
    deep = a_deep_list(100_000)
    task = Task(
        (
            {"role": "user", "content": [{"type": "text", "text": "Hello."}, {"type": deep}, {"text": deep}]},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"detail": deep}}, deep]},
            {"role": "assistant", "content": deep, "tool_calls": [{"function": {"arguments": deep}}, deep]},
        )
    )
    found = measure(task)
    assert (found.characters, found.images) == (6, 1)
    assert RuleClassifier().classify(task).score >= 0.0
