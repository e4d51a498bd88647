"""Prices: hand calculations, the ceiling's promise, and litellm's map as the other implementation."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import os
import pickle
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from smartroute.errors import ConfigError
from smartroute.pricing import LongContext, Price, PriceTable, canonical_name
from smartroute.pricing.litellm_map import price_from_map
from smartroute.records import Usage

MILLION = 1_000_000

# gpt-6-luna's rates, so that the sums below can be followed with a pencil.
LUNA = Price(
    0.1,
    0.5,
    cached_input=0.01,
    cache_write=0.125,
    batch_input=0.05,
    batch_output=0.25,
    batch_cached_input=0.005,
    batch_cache_write=0.0625,
    long_context=LongContext(
        272_000,
        0.2,
        0.75,
        0.02,
        cache_write=0.25,
        batch_input=0.1,
        batch_output=0.375,
        batch_cached_input=0.01,
        batch_cache_write=0.125,
    ),
)
PLAIN = Price(2.0, 10.0)


@pytest.mark.parametrize(
    ("price", "usage", "batch", "millionths"),
    [
        (PLAIN, Usage(1_000, 200), False, 1_000 * 2 + 200 * 10),
        (PLAIN, Usage(0, 0), False, 0),
        # No rate of their own: cached and written tokens are input, reasoning is output, batch is standard.
        (PLAIN, Usage(1_000, 200, 400, 300, 150), False, 1_000 * 2 + 200 * 10),
        (PLAIN, Usage(1_000, 200), True, 1_000 * 2 + 200 * 10),
        (LUNA, Usage(1_000, 200), False, 1_000 * 0.1 + 200 * 0.5),
        (LUNA, Usage(1_000, 200, cached_tokens=600), False, 400 * 0.1 + 600 * 0.01 + 200 * 0.5),
        (
            LUNA,
            Usage(1_000, 200, cached_tokens=600, cache_write_tokens=300),
            False,
            100 * 0.1 + 600 * 0.01 + 300 * 0.125 + 200 * 0.5,
        ),
        (
            LUNA,
            Usage(1_000, 200, cached_tokens=600, cache_write_tokens=300),
            True,
            100 * 0.05 + 600 * 0.005 + 300 * 0.0625 + 200 * 0.25,
        ),
        (Price(2, 10, reasoning=3), Usage(100, 50, reasoning_tokens=30), False, 100 * 2 + 20 * 10 + 30 * 3),
        # A batch charges reasoning as output.
        (
            Price(2, 10, reasoning=3, batch_input=1, batch_output=5),
            Usage(100, 50, reasoning_tokens=30),
            True,
            100 * 1 + 50 * 5,
        ),
        # Cached tokens of a batch without a rate of their own are the batch's input.
        (
            Price(2, 10, cached_input=0.2, batch_input=1, batch_output=5),
            Usage(100, 50, cached_tokens=40),
            True,
            100 * 1 + 50 * 5,
        ),
        # Half a batch row: the other half stays at the standard rates.
        (
            Price(2, 10, cached_input=0.2, batch_output=5),
            Usage(100, 50, 40),
            True,
            60 * 2 + 40 * 0.2 + 50 * 5,
        ),
        # A part larger than its total counts as the total.
        (
            Price(2, 10, cached_input=0.2, reasoning=3),
            Usage(100, 50, 900, 900, 900),
            False,
            100 * 0.2 + 50 * 3,
        ),
    ],
)
def test_cost_equals_the_hand_calculation(price: Price, usage: Usage, batch: bool, millionths: float) -> None:
    assert price.cost(usage, batch=batch) == pytest.approx(millionths / MILLION, rel=1e-12, abs=0.0)


def test_long_context_rates_begin_above_the_threshold_and_not_at_it() -> None:
    at, above = Usage(272_000, 1_000), Usage(272_001, 1_000)
    assert LUNA.cost(at) == pytest.approx((272_000 * 0.1 + 1_000 * 0.5) / MILLION, rel=1e-12)
    assert LUNA.cost(above) == pytest.approx((272_001 * 0.2 + 1_000 * 0.75) / MILLION, rel=1e-12)


def test_above_the_threshold_every_token_takes_the_long_context_rate() -> None:
    usage = Usage(300_000, 1_000, cached_tokens=200_000, cache_write_tokens=50_000, reasoning_tokens=400)
    expected = 50_000 * 0.2 + 200_000 * 0.02 + 50_000 * 0.25 + 1_000 * 0.75
    assert LUNA.cost(usage) == pytest.approx(expected / MILLION, rel=1e-12)
    batch = 50_000 * 0.1 + 200_000 * 0.01 + 50_000 * 0.125 + 1_000 * 0.375
    assert LUNA.cost(usage, batch=True) == pytest.approx(batch / MILLION, rel=1e-12)


def test_a_rate_that_the_long_context_row_lacks_is_the_ordinary_one() -> None:
    price = Price(
        1, 4, cached_input=0.1, batch_input=0.5, batch_output=2, long_context=LongContext(1_000, 2, 6)
    )
    assert price.cost(Usage(2_000, 10, 500)) == pytest.approx((1_500 * 2 + 500 * 0.1 + 10 * 6) / MILLION)
    assert price.cost(Usage(2_000, 10), batch=True) == pytest.approx((2_000 * 0.5 + 10 * 2) / MILLION)


def test_reasoning_is_never_cheaper_than_output_in_a_long_context() -> None:
    price = Price(1, 4, reasoning=5, long_context=LongContext(1_000, 2, 6))
    assert price.cost(Usage(2_000, 10, reasoning_tokens=10)) == pytest.approx((2_000 * 2 + 10 * 6) / MILLION)


def test_the_ceiling_takes_the_highest_rate_of_each_side() -> None:
    assert LUNA.ceiling(1_000, 200) == pytest.approx((1_000 * 0.125 + 200 * 0.5) / MILLION)
    assert LUNA.ceiling(272_000, 200) == pytest.approx((272_000 * 0.125 + 200 * 0.5) / MILLION)
    assert LUNA.ceiling(272_001, 200) == pytest.approx((272_001 * 0.25 + 200 * 0.75) / MILLION)
    assert Price(2, 10, reasoning=12).ceiling(100, 50) == pytest.approx((100 * 2 + 50 * 12) / MILLION)


rates = st.one_of(st.just(0.0), st.floats(1e-6, 1e5, allow_nan=False))
maybe = st.none() | rates
tokens = st.integers(0, 2_000_000)


def long_contexts() -> st.SearchStrategy[LongContext]:
    return st.builds(
        LongContext,
        above_tokens=st.integers(0, 1_000_000),
        input=rates,
        output=rates,
        cached_input=maybe,
        cache_write=maybe,
        batch_input=maybe,
        batch_output=maybe,
        batch_cached_input=maybe,
        batch_cache_write=maybe,
    )


def prices() -> st.SearchStrategy[Price]:
    return st.builds(
        Price,
        input=rates,
        output=rates,
        cached_input=maybe,
        cache_write=maybe,
        reasoning=maybe,
        batch_input=maybe,
        batch_output=maybe,
        batch_cached_input=maybe,
        batch_cache_write=maybe,
        long_context=st.none() | long_contexts(),
    )


usages = st.builds(Usage, tokens, tokens, tokens, tokens, tokens)


def cost_stays_below(ceiling: Any, price: Price, usage: Usage, batch: bool, spare: tuple[int, int]) -> bool:
    """Whether a reservation at an upper bound of the tokens covers the cost. Exact: no tolerance."""
    bound_in, bound_out = usage.input_tokens + spare[0], usage.output_tokens + spare[1]
    cost = price.cost(usage, batch=batch)
    return 0.0 <= cost <= ceiling(price, bound_in, bound_out)


@settings(max_examples=400, deadline=None)
@given(price=prices(), usage=usages, batch=st.booleans(), spare=st.tuples(tokens, tokens))
def test_no_cost_exceeds_the_ceiling_of_its_tokens_or_of_more(
    price: Price, usage: Usage, batch: bool, spare: tuple[int, int]
) -> None:
    assert cost_stays_below(Price.ceiling, price, usage, batch, spare)


def ceiling_without_cache_writes(price: Price, input_tokens: int, output_tokens: int) -> float:
    return Price(price.input, price.output, long_context=price.long_context).ceiling(
        input_tokens, output_tokens
    )


def ceiling_without_long_context(price: Price, input_tokens: int, output_tokens: int) -> float:
    highest_in = max(price.input, price.cached_input or 0, price.cache_write or 0)
    return (input_tokens * highest_in + output_tokens * max(price.output, price.reasoning or 0)) / MILLION


@pytest.mark.parametrize("broken", [ceiling_without_cache_writes, ceiling_without_long_context])
def test_the_ceiling_property_catches_a_broken_ceiling(broken: Any) -> None:
    @settings(max_examples=400, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    @given(price=prices(), usage=usages, batch=st.just(False), spare=st.just((0, 0)))
    def holds(price: Price, usage: Usage, batch: bool, spare: tuple[int, int]) -> None:
        assert cost_stays_below(broken, price, usage, batch, spare)

    with pytest.raises(AssertionError):
        holds()


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, -math.inf, "2", True])
@pytest.mark.parametrize("name", ["input", "output", "cached_input", "reasoning", "batch_cached_input"])
def test_an_impossible_rate_is_refused_by_name_and_value(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match="at least 0") as caught:
        Price(**{"input": 1.0, "output": 1.0, name: value})
    assert f"price {name} " in str(caught.value)
    assert repr(value) in str(caught.value)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Price(None, 1), ("price input", "None")),  # type: ignore[arg-type]
        (lambda: LongContext(-1, 1, 1), ("above_tokens", "-1")),
        (lambda: LongContext(1.5, 1, 1), ("above_tokens", "1.5")),  # type: ignore[arg-type]
        (lambda: LongContext(1, 1, math.nan), ("long_context.output", "nan")),
        (lambda: Price(1, 1, as_of="yesterday"), ("as_of", "yesterday", "2026-11-23")),
        (lambda: Price(1, 1, long_context={"above_tokens": 1}), ("LongContext(above_tokens", "dict")),  # type: ignore[arg-type]
        (lambda: PriceTable({"m": 3.0}), ("'m'", "Price(input, output)", "3.0")),  # type: ignore[dict-item]
    ],
)
def test_other_mistakes_name_the_field_and_the_value(make: Any, words: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert all(word in str(caught.value) for word in words), caught.value


def map_file() -> Path:
    spec = importlib.util.find_spec("litellm")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "model_prices_and_context_window_backup.json")


def cost_by_the_map(row: dict[str, Any], usage: Usage) -> float:
    """Follow litellm's generic calculator for text tokens on a row of its map, in USD per token."""

    def rate(key: str, otherwise: float) -> float:
        return row.get(f"{key}{above}", row.get(key, otherwise))

    thresholds = {
        key.split("_above_")[1]: 1_000 * int(key.split("_above_")[1].split("k_")[0])
        for key in row
        if key.startswith("input_cost_per_token_above_") and key.endswith("k_tokens")
    }
    above = next((f"_above_{name}" for name, size in thresholds.items() if usage.input_tokens > size), "")
    rate_in = rate("input_cost_per_token", math.nan)
    rate_out = rate("output_cost_per_token", math.nan)
    plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
    return (
        plain * rate_in
        + usage.cached_tokens * rate("cache_read_input_token_cost", rate_in)
        + usage.cache_write_tokens * rate("cache_creation_input_token_cost", rate_in)
        + (usage.output_tokens - usage.reasoning_tokens) * rate_out
        + usage.reasoning_tokens * row.get("output_cost_per_reasoning_token", rate_out)
    )


def test_costs_equal_those_of_litellms_rule_on_every_direct_chat_row_of_its_map() -> None:
    rows = json.loads(map_file().read_bytes())
    compared = 0
    for name, row in rows.items():
        if row.get("litellm_provider") not in ("openai", "anthropic", "gemini") or row.get("mode") != "chat":
            continue
        price = price_from_map(row)
        if price is None:
            continue
        for size in (1_000, 100_001, 128_001, 200_000, 200_001, 272_001):
            for usage in (Usage(size, 700), Usage(size, 700, size // 3, size // 5, 300)):
                assert price.cost(usage) == pytest.approx(cost_by_the_map(row, usage), rel=1e-9), (
                    name,
                    usage,
                )
                compared += 1
    assert compared > 500


def test_a_row_of_the_map_without_a_rate_is_unknown_and_one_of_zero_is_free() -> None:
    assert price_from_map({"mode": "chat", "input_cost_per_token": 1e-6}) is None
    assert price_from_map({"mode": "chat", "output_cost_per_token": 1e-6}) is None
    assert price_from_map({"input_cost_per_token": -1e-6, "output_cost_per_token": 1e-6}) is None
    assert price_from_map({"input_cost_per_token": 0, "output_cost_per_token": 0.0}) == Price(0.0, 0.0)
    per_image = {"mode": "image_generation", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0}
    assert price_from_map(per_image) is None
    tiered = {"input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6, "tiered_pricing": []}
    assert price_from_map(tiered) is None
    by_request = {
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 1e-6,
        "input_cost_per_request": 0.005,
    }
    assert price_from_map(by_request) is None


@pytest.mark.parametrize(
    "model", ["perplexity/sonar", "perplexity/sonar-pro", "gpt-4o-search-preview", "openai/gpt-5-search-api"]
)
def test_a_model_that_searches_for_every_answer_has_no_price_in_tokens(model: str) -> None:
    assert PriceTable({}).price(model) is None
    assert PriceTable({model: PLAIN}).price(model) == PLAIN


def test_audio_with_a_rate_of_its_own_is_of_unknown_cost() -> None:
    row = {"input_cost_per_token": 3e-7, "output_cost_per_token": 2.5e-6}
    separate, same, none = (
        price_from_map({**row, **audio})
        for audio in ({"input_cost_per_audio_token": 1e-6}, {"input_cost_per_audio_token": 3e-7}, {})
    )
    assert separate is not None and same is not None and none is not None
    assert (separate.audio_apart, same.audio_apart, none.audio_apart) == (True, False, False)
    table = PriceTable({"separate": separate, "same": same})
    with_audio = Usage(1_000, 100, audio_tokens=800)
    assert table.cost("separate", with_audio) is None
    assert (
        table.cost("separate", Usage(1_000, 100))
        == table.cost("same", with_audio)
        == pytest.approx(550 / MILLION)
    )
    with pytest.raises(ConfigError, match="audio_apart"):
        Price(1.0, 2.0, audio_apart="yes")  # type: ignore[arg-type]


def test_a_threshold_that_charges_from_itself_on_is_moved_by_one_token() -> None:
    row = {
        "input_cost_per_token": 1e-6,
        "output_cost_per_token": 2e-6,
        "input_cost_per_token_above_128k_tokens": 3e-6,
    }
    ours, xai = price_from_map(row), price_from_map({**row, "litellm_provider": "xai"})
    assert ours is not None
    assert xai is not None
    assert ours.cost(Usage(128_000, 0)) == pytest.approx(0.128)
    assert xai.cost(Usage(128_000, 0)) == pytest.approx(0.384)
    assert xai.cost(Usage(127_999, 0)) == pytest.approx(0.127999)


def test_names_resolve_with_and_without_the_provider_but_not_across_sellers() -> None:
    table = PriceTable({"openai/gpt-4o": Price(7, 7), "gemini-2.0-flash": Price(8, 8)}, fill_gaps=False)
    assert table.price("gpt-4o") == table.price("openai/gpt-4o") == Price(7, 7)
    assert table.price("gemini/gemini-2.0-flash") == table.price("google/gemini-2.0-flash") == Price(8, 8)
    assert table.price("azure/gpt-4o") is None
    assert canonical_name("azure/gpt-4o") == "azure/gpt-4o"


def test_the_users_rows_win_over_the_map_and_the_map_fills_only_gaps() -> None:
    table = PriceTable({"gpt-4o": Price(7, 7)})
    assert table.price("openai/gpt-4o") == Price(7, 7)
    filled = table.price("gpt-4o-mini")
    assert filled is not None
    row = json.loads(map_file().read_bytes())["gpt-4o-mini"]
    assert filled.input == pytest.approx(row["input_cost_per_token"] * MILLION)
    assert "litellm" in filled.source
    assert "gap" in filled.source
    assert PriceTable({}, fill_gaps=False).price("gpt-4o-mini") is None


def test_a_bare_gemini_name_is_the_developer_api_and_not_vertex() -> None:
    table, compared = PriceTable({}), 0
    for key, row in json.loads(map_file().read_bytes()).items():
        listed = price_from_map(row) if key.startswith("gemini/gemini-") else None
        if listed is None:
            continue
        price = table.price(key.removeprefix("gemini/"))
        assert price is not None, key
        assert (price.input, price.output) == (listed.input, listed.output), key
        compared += 1
    assert compared > 5


def test_an_unknown_price_is_none_with_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    table = PriceTable({})
    with caplog.at_level(logging.WARNING, logger="smartroute"):
        for _ in range(3):
            assert table.price("acme/unknown") is None
            assert table.cost("acme/unknown", Usage(10, 10)) is None
        assert table.price("nor-this") is None
    assert [record.args[0] for record in caplog.records if record.args] == ["acme/unknown", "nor-this"]
    assert "ModelCard" in caplog.text


def test_cost_goes_by_the_models_own_price() -> None:
    table = PriceTable({"a": Price(1, 2, batch_input=0.5, batch_output=1), "b": Price(0, 0)})
    assert table.cost("a", Usage(10, 20)) == pytest.approx(50 / MILLION)
    assert table.cost("a", Usage(10, 20), batch=True) == pytest.approx(25 / MILLION)
    assert table.cost("b", Usage(10, 20)) == 0.0


def test_in_a_merged_table_the_second_wins_and_a_refusal_to_fill_gaps_holds() -> None:
    base = PriceTable({"a": Price(1, 1), "b": Price(2, 2)})
    over = PriceTable({"openai/a": Price(9, 9)}, fill_gaps=False)
    merged = base.merged(over)
    assert (merged.price("a"), merged.price("b")) == (Price(9, 9), Price(2, 2))
    assert merged.price("gpt-4o-mini") is None
    assert base.price("a") == Price(1, 1)
    assert sorted(merged) == ["a", "b"]
    assert len(merged) == 2


def test_a_target_says_where_to_look_and_none_says_nowhere() -> None:
    table = PriceTable({}, targets={"mine": "openai/gpt-4o-mini", "gpt-4o": None})
    assert table.price("mine") is not None
    assert table.price("gpt-4o") is None
    assert table.merged(PriceTable({})).price("gpt-4o") is None


def test_many_threads_see_one_price_and_cause_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    table = PriceTable({})
    names = [name for _ in range(200) for name in ("gpt-4o-mini", "not-in-any-map", "gpt-4o")]
    with caplog.at_level(logging.WARNING, logger="smartroute"), ThreadPoolExecutor(16) as pool:
        prices = list(pool.map(table.price, names))
    assert len({id(price) for price in prices}) == 3
    assert len(caplog.records) == 1


@pytest.mark.parametrize("odd", [5, {1: Price(1.0, 2.0)}])
def test_prices_that_are_no_dict_of_names_are_named_by_value(odd: Any) -> None:
    with pytest.raises(ConfigError, match="prices must be a dict from model name to Price"):
        PriceTable(odd)


def test_a_table_survives_pickling() -> None:
    table = pickle.loads(pickle.dumps(PriceTable({"a": LUNA})))
    assert table.price("a") == LUNA


def run_with_fake_litellm(folder: Path, rows: str, code: str) -> str:
    """Run code where `litellm` is a package that cannot be imported, with this text as its map."""
    package = folder / "litellm"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('litellm was imported')\n")
    (package / "model_prices_and_context_window_backup.json").write_text(rows)
    root = Path(__file__).resolve().parents[2]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(root)))}
    process = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


def test_the_map_is_read_as_a_file_without_importing_litellm(tmp_path: Path) -> None:
    rows = {
        "m1": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "litellm_provider": "openai"},
        "free": {"input_cost_per_token": 0, "output_cost_per_token": 0},
        "half": {"input_cost_per_token": 1e-6},
        "gemini-v": {"input_cost_per_token": 1, "output_cost_per_token": 1, "litellm_provider": "vertex_ai"},
    }
    out = run_with_fake_litellm(
        tmp_path,
        json.dumps(rows),
        """
        import sys
        from smartroute.pricing import PriceTable
        table = PriceTable({})
        print(table.price("openai/m1").input, table.price("free").output, table.price("half"))
        print(table.price("gemini-v"), table.price("anthropic/m1"))
        print("litellm" in sys.modules)
        """,
    )
    assert out.split() == ["1.0", "0.0", "None", "None", "None", "False"]


@pytest.mark.parametrize("rows", ["{ not json", "[]", '{"gpt-4o": 3}'])
def test_a_broken_map_fills_no_gaps_and_breaks_nothing(tmp_path: Path, rows: str) -> None:
    code = "from smartroute.pricing import PriceTable; print(PriceTable({}).price('gpt-4o'))"
    assert run_with_fake_litellm(tmp_path, rows, code).strip() == "None"


def test_without_litellm_there_are_no_gaps_filled() -> None:
    code = (
        "import sys; sys.modules['litellm'] = None\n"
        "from smartroute.pricing import PriceTable\n"
        "print(PriceTable({}).price('gpt-4o'))"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "None"
