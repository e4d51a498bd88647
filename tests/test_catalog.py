"""The catalog: its data against its sources, and what a user may write into one of their own."""

from __future__ import annotations

import importlib.util
import json
import os
import pickle
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import FrozenInstanceError, replace
from datetime import date, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from smartroute.catalog import ABILITIES, Catalog, ModelCard, provider_name
from smartroute.errors import ConfigError, UnknownModelError
from smartroute.pricing import LongContext, Price, PriceTable
from smartroute.pricing.litellm_map import price_from_map
from smartroute.records import Tier, Usage
from smartroute.router import ModelRouter

ROOT = Path(__file__).resolve().parents[1]
DEFAULT = Catalog.default()
GUIDE = ROOT / "docs" / "models-and-prices.md"

SEEDS = {
    "gpt-4o-mini": False,
    "gemini-2.0-flash": True,
    "gpt-4o": False,
    "claude-3-5-sonnet-20241022": True,
    "gemini-2.0-flash-thinking-exp-1219": True,
    "claude-opus-4-5-20251101": False,
    "o1": True,
}
"""The models of the replaced system, and whether they are retired."""

DIFFERENCES_FROM_THE_INSTALLED_MAP: Mapping[str, str] = {}
"""Models whose rates differ from the installed litellm's map on purpose, with the reason."""


def installed_map() -> dict[str, Any]:
    spec = importlib.util.find_spec("litellm")
    assert spec is not None
    assert spec.submodule_search_locations
    path = Path(spec.submodule_search_locations[0], "model_prices_and_context_window_backup.json")
    return json.loads(path.read_bytes())


def map_key(card: ModelCard) -> str:
    return card.target if card.provider == "gemini" else card.name


def local(name: str = "my-llama", **settings: Any) -> ModelCard:
    settings = {"target": "openai/llama-3.1-8b", "api_base": "http://localhost:8000/v1", **settings}
    return ModelCard(name, **settings)


@pytest.mark.parametrize("card", DEFAULT, ids=lambda card: card.name)
def test_every_row_has_a_source_a_date_and_a_price_that_can_be_believed(card: ModelCard) -> None:
    assert card.source
    assert date.fromisoformat(card.as_of) <= DEFAULT.as_of
    if card.price is None or card.price.input == 0:
        assert card.note, "a row without a price, or a free one, says why"
    else:
        assert card.price.input > 0
        assert card.price.output > card.price.input
        assert (card.price.source, card.price.as_of) == (card.source, card.as_of)
    assert card.abilities <= ABILITIES
    assert bool(card.efforts) == ("effort" in card.abilities)
    assert "logprobs" not in card.abilities & card.refuses


def test_ids_and_targets_are_unique() -> None:
    assert len({card.name for card in DEFAULT}) == len({card.target for card in DEFAULT}) == len(DEFAULT)


def test_the_data_file_has_one_model_a_line() -> None:
    text = resources.files("smartroute").joinpath("data", "catalog.json").read_text("utf-8")
    assert sum('"name"' in line for line in text.splitlines()) == text.count('"name"') == len(DEFAULT)


def test_each_provider_offers_every_tier_on_the_default_ladder() -> None:
    offered = {(card.provider, card.tier) for card in DEFAULT if card.default}
    assert offered == {(provider, tier) for provider in ("openai", "anthropic", "gemini") for tier in Tier}


def test_the_models_of_the_replaced_system_are_there_and_the_retired_ones_priced_but_not_offered() -> None:
    for name, retired in SEEDS.items():
        card = DEFAULT.card(name)
        assert card.retired(DEFAULT.as_of) is retired, name
        assert card.price is not None
        assert not (retired and card.default)


def test_no_retired_or_preview_model_is_on_the_default_ladder() -> None:
    for card in DEFAULT:
        if card.retired(DEFAULT.as_of) or "preview" in card.name:
            assert not card.default, card.name


def test_an_older_model_stays_only_where_it_takes_what_its_cheaper_successors_refuse() -> None:
    for name in ("gpt-4o-mini", "gpt-4o", "claude-haiku-4-5", "claude-opus-4-5-20251101"):
        older = DEFAULT.card(name)
        peers = [
            card
            for card in DEFAULT
            if card.default
            and card.provider == older.provider
            and card.tier is older.tier
            and card is not older
        ]
        assert peers
        assert "temperature" not in older.refuses
        assert all("temperature" in card.refuses for card in peers)
        assert older.price is not None
        cheapest = min(card.price.input for card in peers if card.price is not None)
        assert cheapest < older.price.input, "the older one would be chosen before its successors"


def test_the_snapshot_agrees_with_the_installed_map_wherever_both_have_the_model() -> None:
    rows = installed_map()
    compared = 0
    for card in DEFAULT:
        listed = price_from_map(rows.get(map_key(card), {}))
        if listed is None or card.price is None or card.name in DIFFERENCES_FROM_THE_INSTALLED_MAP:
            continue
        for rate in ("input", "output", "cached_input", "cache_write"):
            assert getattr(card.price, rate) == getattr(listed, rate), (card.name, rate)
        assert (card.price.long_context is None) == (listed.long_context is None), card.name
        assert card.price.audio_apart is listed.audio_apart, card.name
        compared += 1
    assert compared >= 9


def shared_rows() -> list[dict[str, Any]]:
    folder = Path(os.environ.get("SMARTROUTE_DATA") or ROOT.parent / "shared" / "data")
    try:
        return json.loads((folder / "catalogue.json").read_text())["models"]
    except OSError:
        pytest.skip(f"needs catalogue.json in {folder} (set SMARTROUTE_DATA)")


def test_the_snapshot_holds_every_row_of_the_reference_extract_with_its_facts() -> None:
    for row in shared_rows():
        card = DEFAULT.card(row["id"])
        price = card.price
        assert price is not None

        def million(key: str, row: dict[str, Any] = row) -> Any:
            return None if row[key] is None else pytest.approx(row[key] * 1e6)

        assert price.input == million("input_cost_per_token")
        assert price.output == million("output_cost_per_token")
        assert price.cached_input == million("cache_read_input_token_cost")
        assert price.cache_write == million("cache_creation_input_token_cost")
        assert price.batch_input == million("input_cost_per_token_batches")
        assert price.batch_output == million("output_cost_per_token_batches")
        assert (card.context_tokens, card.max_output_tokens) == (
            row["max_input_tokens"],
            row["max_output_tokens"],
        )
        assert str(card.retired_on) == str(row["deprecation_date"])
        assert provider_name(row["provider"]) == card.provider
        for ability, flag in (("images", "vision"), ("tools", "function_calling"), ("effort", "reasoning")):
            assert (ability in card.abilities) == bool(row[f"supports_{flag}"]), (card.name, ability)
        for key, rate in row.get("long_context", {}).items():
            assert price.long_context is not None
            field = {"c": "cached_input", "i": "input", "o": "output"}[key[0]]
            assert getattr(price.long_context, field) == pytest.approx(rate * 1e6)
            assert f"_above_{price.long_context.above_tokens // 1_000}k_tokens" in key


def test_haiku_charges_its_long_context_above_100k_tokens() -> None:
    price = DEFAULT.card("claude-haiku-5-5").price
    assert price is not None
    assert price.cost(Usage(100_000, 100)) == pytest.approx(0.1 * 0.1 + 100 * 0.5e-6)
    assert price.cost(Usage(100_001, 100)) == pytest.approx(100_001 * 0.5e-6 + 100 * 2.5e-6)


ASK_LITELLM = """
import json, os, sys
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
from litellm.utils import get_optional_params
import copy, logging
logging.disable(logging.CRITICAL)
tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
values = dict(
    temperature=0.2, top_p=0.5, stop=["x"], seed=1, logprobs=True, top_logprobs=2, n=2, presence_penalty=0.5,
    frequency_penalty=0.5, logit_bias={"1": 1}, max_tokens=5, max_completion_tokens=5, tools=[tool],
    response_format={"type": "json_object"}, parallel_tool_calls=False, modalities=["text"],
    audio={"voice": "a", "format": "wav"}, prediction={"type": "content", "content": "x"},
    service_tier="flex", web_search_options={}, verbosity="low", functions=[{"name": "f"}],
    thinking={"type": "enabled", "budget_tokens": 1024},
)
answers = {}
for target in json.loads(sys.argv[1]):
    provider, model = target.split("/", 1)
    def ask(**given):
        return get_optional_params(model=model, custom_llm_provider=provider, **copy.deepcopy(given))
    bare = ask()
    refused = []
    for name, value in values.items():
        try:
            sent = ask(**{name: value})
        except Exception:
            refused.append(name)
        else:
            if all(key in bare and bare[key] == item for key, item in sent.items()):
                refused.append(name)
    efforts = []
    for effort in "none minimal low medium high xhigh max".split():
        try:
            ask(reasoning_effort=effort)
        except Exception:
            continue
        efforts.append(effort)
    answers[target] = [refused, efforts]
print("ANSWERS" + json.dumps(answers))
"""

NOT_FORWARDED_BY_THE_OLDEST_LITELLM = {("gemini", "seed")}
SAMPLING_FLAG_THAT_LITELLM_DOES_NOT_ENFORCE = {"gemini-3.5-flash-lite", "gemini-3.8-flash"}


@pytest.mark.slow
def test_refused_parameters_and_efforts_are_those_of_the_installed_litellm() -> None:
    rows = installed_map()
    cards = {c.target: c for c in DEFAULT if map_key(c) in rows and not c.retired(DEFAULT.as_of)}
    process = subprocess.run(
        [sys.executable, "-P", "-c", ASK_LITELLM, json.dumps(list(cards))],
        capture_output=True,
        text=True,
        check=True,
    )
    answers = json.loads(process.stdout.rpartition("ANSWERS")[2])
    for target, (refused, efforts) in answers.items():
        card = cards[target]
        flagged = (
            {"temperature", "top_p"} if card.name in SAMPLING_FLAG_THAT_LITELLM_DOES_NOT_ENFORCE else set()
        )
        known = {name for name in refused if (card.provider, name) not in NOT_FORWARDED_BY_THE_OLDEST_LITELLM}
        assert card.refuses == known | flagged, card.name
        assert set(card.efforts) <= set(efforts), card.name


def test_the_default_catalog_and_its_prices_load_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from smartroute.catalog import Catalog\n"
        "table = Catalog.default().prices()\n"
        "assert all(table.price(card.name) for card in Catalog.default())\n"
        "heavy = {'litellm', 'openai', 'numpy', 'scipy', 'httpx', 'importlib.metadata'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert process.stdout.strip() == "[]"


def test_the_default_catalog_is_read_once() -> None:
    assert Catalog.default() is Catalog.default()


@pytest.mark.parametrize(
    "name",
    ["gemini-3.8-flash", "gemini/gemini-3.8-flash", "google/gemini-3.8-flash"],
)
def test_a_card_is_found_by_name_and_by_target(name: str) -> None:
    assert DEFAULT.card(name).name == "gemini-3.8-flash"
    assert DEFAULT.card("openai/gpt-4o") is DEFAULT.card("gpt-4o")
    assert "anthropic/claude-opus-5-5" in DEFAULT
    assert "gpt-5" not in DEFAULT


def test_an_unknown_name_gets_the_closest_names_and_the_cure() -> None:
    with pytest.raises(UnknownModelError) as caught:
        DEFAULT.card("gpt4o-mini")
    assert all(
        word in str(caught.value) for word in ("'gpt4o-mini'", "did you mean gpt-4o-mini", "with_cards")
    )
    with pytest.raises(UnknownModelError, match="it has my-llama"):
        Catalog.of([local()]).card("zzz")


def test_retirement_is_judged_at_the_date_asked_for() -> None:
    o1 = DEFAULT.card("o1")
    assert o1.retired("2026-10-23")
    assert not o1.retired(date(2026, 10, 22))
    assert o1.retired(datetime(2026, 10, 23, 12))
    assert not DEFAULT.card("gpt-4o").retired("2099-01-01")


def test_a_local_model_is_one_line() -> None:
    card = ModelCard(
        "my-llama",
        tier="mini",
        target="openai/llama-3.1-8b",
        api_base="http://localhost:8000/v1",
        price=Price(0, 0),
    )
    catalog = DEFAULT.with_cards(card)
    assert catalog.card("my-llama") is catalog.card("openai/llama-3.1-8b") is card
    assert card.tier is Tier.MINI
    assert card.options == {"api_base": "http://localhost:8000/v1"}
    assert card.key_variables == ()
    assert catalog.prices().cost("my-llama", Usage(1_000, 1_000)) == 0.0


def test_a_server_of_ones_own_is_never_taken_for_the_provider_whose_protocol_it_speaks() -> None:
    assert local().provider == "openai@localhost:8000"
    assert local(provider="openai").provider == "openai@localhost:8000"
    assert local(provider="our-cluster").provider == "our-cluster"
    assert (
        replace(DEFAULT.card("gpt-4o"), api_base="https://gate.example/v1").provider == "openai@gate.example"
    )
    moved = replace(local(), api_base="http://other:9000")
    assert (moved.provider, moved.options["api_base"]) == ("openai@other:9000", "http://other:9000")
    assert local(api_base="http://user:secret@Host:1/v1").provider == "openai@host:1"
    assert ModelCard("x", "openai/x", options={"api_base": "http://h:1"}).provider == "openai@h:1"


@pytest.mark.parametrize(
    ("card", "variables"),
    [
        (ModelCard("a", "openai/a"), ("OPENAI_API_KEY",)),
        (ModelCard("a", "anthropic/a"), ("ANTHROPIC_API_KEY",)),
        (ModelCard("a", "google/a"), ("GEMINI_API_KEY", "GOOGLE_API_KEY")),
        (ModelCard("a", "mistral/a"), ("MISTRAL_API_KEY",)),
        (ModelCard("a", "ollama/a"), ()),
        (ModelCard("a", "hosted_vllm/a"), ()),
        (ModelCard("a", "bedrock/a"), ()),
        (local(), ()),
        (local(api_key_env="MY_KEY"), ("MY_KEY",)),
        (ModelCard("a", "openai/a", api_key_env="MY_KEY"), ("MY_KEY",)),
        (ModelCard("a", "ollama/a", api_key_env="MY_KEY"), ("MY_KEY",)),
    ],
    ids=lambda value: value.target if isinstance(value, ModelCard) else "",
)
def test_the_key_of_a_card_is_looked_for_where_its_provider_keeps_it(
    card: ModelCard, variables: tuple[str, ...]
) -> None:
    assert card.key_variables == variables


def test_google_is_an_alias_of_gemini() -> None:
    assert provider_name(" Google ") == provider_name("gemini") == "gemini"
    assert provider_name("OpenAI") == "openai"
    assert ModelCard("g", "google/g").target == "gemini/g"
    assert ModelCard("g", provider="google").target == "gemini/g"


def test_a_bare_card_assumes_nothing() -> None:
    card = ModelCard("ollama/llama3")
    assert (card.target, card.tier, card.provider) == ("ollama/llama3", Tier.STANDARD, "ollama")
    assert (card.price, card.context_tokens, card.max_output_tokens) == (None, None, None)
    assert not card.abilities
    assert not card.refuses
    assert card.default
    assert ModelCard("a", "openai/a", efforts=["low"]).abilities == {"effort"}


def test_a_card_is_immutable_hashable_and_can_be_copied() -> None:
    card = DEFAULT.card("gpt-4o")
    assert replace(card) == card
    assert pickle.loads(pickle.dumps(card)) == card
    assert len({card, replace(card), replace(card, price=None)}) == 2
    with pytest.raises(FrozenInstanceError):
        card.tier = Tier.MINI  # type: ignore[misc]


def test_a_catalog_is_immutable_and_can_be_pickled() -> None:
    twin = pickle.loads(pickle.dumps(DEFAULT))
    assert list(twin) == list(DEFAULT)
    assert twin.as_of == DEFAULT.as_of
    with pytest.raises(AttributeError):
        DEFAULT.as_of = date(2030, 1, 1)  # type: ignore[misc]


def test_options_stay_out_of_what_is_printed() -> None:
    assert "hush" not in repr(local(options={"headers": {"x-key": "hush"}}))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": " "}, ("name", "not empty")),
        ({"target": "llama"}, ("target", "provider/model", "'llama'")),
        ({"target": "/llama"}, ("target", "provider/model")),
        ({"tier": "huge"}, ("tier", "mini, standard, premium", "'huge'")),
        ({"tier": None}, ("tier", "mini, standard, premium")),
        ({"price": 3.0}, ("price", "Price(input, output)", "3.0")),
        ({"context_tokens": 0}, ("context_tokens", "at least 1", "0")),
        ({"context_tokens": "8k"}, ("context_tokens", "'8k'")),
        ({"max_output_tokens": True}, ("max_output_tokens", "True")),
        ({"abilities": "tools"}, ("abilities", "list", "'tools'")),
        ({"abilities": ["tool"]}, ("'tool'", "did you mean tools?")),
        ({"abilities": ["qqq"]}, ("'qqq'", "known: audio")),
        ({"abilities": ["effort"]}, ("efforts", "low")),
        ({"refuses": 3}, ("refuses", "list", "3")),
        ({"efforts": [1]}, ("efforts", "1")),
        ({"api_base": "localhost:8000"}, ("api_base", "http://", "'localhost:8000'")),
        ({"api_base": 8000}, ("api_base", "8000")),
        ({"retired_on": "soon"}, ("retired_on", "'soon'", "2026-11-23")),
        ({"as_of": "soon"}, ("as_of", "'soon'")),
        ({"default": "no"}, ("default", "true or false", "'no'")),
        ({"options": []}, ("options", "table", "list")),
        ({"options": {"num_retries": 3}}, ("options", "num_retries", "RetryPolicy")),
        ({"options": {"retry_policy": {}}}, ("options", "retry_policy", "RetryPolicy")),
        ({"options": {"fallbacks": ["gpt-4o"]}}, ("options", "fallbacks", "ladder")),
        ({"options": {"model": "openai/other"}}, ("options", "model", "target")),
        ({"options": {"messages": []}}, ("options", "messages")),
        ({"options": {"stream": True}}, ("options", "stream")),
        ({"options": {"mock_response": "x"}}, ("options", "mock_response", "ScriptedProvider")),
    ],
    ids=str,
)
def test_a_mistake_in_a_card_names_the_field_the_value_and_the_cure(
    settings: dict[str, Any], words: tuple[str, ...]
) -> None:
    with pytest.raises(ConfigError) as caught:
        ModelCard(**{"name": "mine", "target": "openai/mine", **settings})
    assert all(word in str(caught.value) for word in words), caught.value


def test_a_key_put_where_its_variables_name_belongs_is_not_repeated() -> None:
    with pytest.raises(ConfigError, match="not the key itself") as caught:
        ModelCard("a", "openai/a", api_key_env="sk-very-secret")
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="api_key_env") as caught:
        ModelCard("a", "openai/a", options={"api_key": "sk-very-secret"})
    assert "secret" not in str(caught.value)


def test_a_card_replaces_the_one_of_the_same_name_in_its_place() -> None:
    mine = replace(DEFAULT.card("gpt-4o"), price=Price(1, 1))
    changed = DEFAULT.with_cards(mine, local())
    assert [card.name for card in changed] == [*(card.name for card in DEFAULT), "my-llama"]
    assert changed.card("openai/gpt-4o") is mine
    assert DEFAULT.card("gpt-4o") is not mine
    assert (len(changed), changed.as_of) == (len(DEFAULT) + 1, DEFAULT.as_of)


def test_a_catalog_refuses_two_models_of_one_name_and_what_is_no_card() -> None:
    with pytest.raises(ConfigError, match="two models are named 'my-llama'"):
        Catalog.of([local(), local()])
    with pytest.raises(ConfigError, match="ModelCards, got str"):
        Catalog.of(["gpt-4o"])  # type: ignore[list-item]


@pytest.mark.parametrize("odd", [None, 5])
def test_what_is_no_list_path_or_name_is_named_by_value(odd: Any) -> None:
    with pytest.raises(ConfigError, match=f"made of a list of ModelCards, got {odd}"):
        Catalog.of(odd)
    with pytest.raises(ConfigError, match=f"catalog file must be a path, got {odd}"):
        Catalog.from_file(odd)
    with pytest.raises(UnknownModelError, match=f"named by text, got {odd}"):
        Catalog.default().card(odd)


def test_the_date_of_a_users_catalog_is_its_latest_card_or_the_snapshots() -> None:
    assert Catalog.of([local()]).as_of == DEFAULT.as_of
    assert Catalog.of([local(as_of="2030-01-02"), local("b", as_of="2029-01-01")]).as_of == date(2030, 1, 2)
    assert Catalog.of([local()], as_of="2031-01-01").as_of == date(2031, 1, 1)


@pytest.mark.parametrize(
    ("as_of", "judged_at"), [("2027-06-01", "2027-06-01"), ("2020-01-01", str(DEFAULT.as_of))]
)
def test_a_router_judges_retirement_at_the_later_date_of_its_file_and_the_snapshot(
    as_of: str, judged_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "models.toml"
    file.write_text(f'as_of = "{as_of}"\n[[models]]\nname = "mine"\ntarget = "acme/mine"\ntier = "mini"\n')
    monkeypatch.setenv("GEMINI_API_KEY", "a key that nothing is called with")
    router = ModelRouter(catalog=file, sink=False)
    assert str(router.catalog.as_of) == judged_at
    leaving = DEFAULT.card("gemini-3.1-flash-lite")
    assert leaving.retired_on is not None
    left = leaving.retired_on <= router.catalog.as_of
    reasons = {out.model: out.reason for out in router.decide("Hello").ruled_out}
    assert (reasons.get(leaving.name) == f"retired on {leaving.retired_on}") is left


def test_of_two_cards_with_one_target_the_providers_own_answers_to_it() -> None:
    gate = ModelCard("gate", "openai/gpt-4o", api_base="http://gate:1")
    catalog = Catalog.of([gate, ModelCard("direct", "openai/gpt-4o")])
    assert catalog.card("openai/gpt-4o").name == catalog.card("gpt-4o").name == "direct"


def test_prices_go_by_name_and_target_and_gaps_are_filled_by_target() -> None:
    named = ModelCard("cheap", "openai/gpt-4o-mini")
    priced = ModelCard("own", "mistral/own", price=Price(3, 4))
    unpriced = ModelCard("gpt-4o", "openai/gpt-4o", api_base="http://gate:1")
    table = Catalog.of([named, priced, unpriced]).prices()
    assert table.price("own") == table.price("mistral/own") == Price(3, 4)
    filled = table.price("cheap")
    assert filled is not None
    assert "gap" in filled.source
    assert table.price("gpt-4o") is None, "the map knows nothing of the server behind an api_base"
    assert Catalog.of([named]).prices(fill_gaps=False).price("cheap") is None


def test_a_users_price_table_wins_over_the_catalog() -> None:
    table = DEFAULT.prices().merged(PriceTable({"openai/gpt-4o": Price(1, 2)}))
    assert table.price("gpt-4o") == Price(1, 2)
    assert table.price("o1") == DEFAULT.card("o1").price


def test_a_discounted_card_leaves_the_list_price_of_its_model_alone() -> None:
    table = DEFAULT.with_cards(ModelCard("mine", "openai/gpt-4o", price=Price(1, 1))).prices()
    assert table.price("mine") == Price(1, 1)
    assert table.price("openai/gpt-4o") == DEFAULT.card("gpt-4o").price


def test_refreshed_prices_come_from_the_installed_map_and_say_so() -> None:
    stale = replace(DEFAULT.card("gpt-4o"), price=Price(99, 99))
    own = local(price=Price(0, 0))
    unheard = ModelCard("unheard", "mistral/unheard-of", price=Price(5, 5))
    fresh = Catalog.of([stale, own, unheard]).refreshed()
    price = fresh.card("gpt-4o").price
    assert price is not None
    assert price.input == pytest.approx(installed_map()["gpt-4o"]["input_cost_per_token"] * 1e6)
    assert re.search(r"litellm \S+ price map \(refreshed\)", price.source)
    assert fresh.card("my-llama").price == Price(0, 0)
    assert fresh.card("unheard").price == Price(5, 5)


TOML = """
as_of = 2026-12-01

[[models]]
name = "my-llama"
tier = "mini"
target = "openai/llama-3.1-8b"
api_base = "http://localhost:8000/v1"
price = { input = 0, output = 0 }
abilities = ["tools"]
context_tokens = 131_072

[[models]]
name = "big"
target = "mistral/big"
tier = "premium"
retired_on = 2027-01-01
efforts = ["low", "high"]
[models.price]
input = 2
output = 6.5
cached_input = 0.2
long_context = { above_tokens = 128_000, input = 4, output = 13 }

[[models]]
name = "gpt-4o"
like = "gpt-4o"
price = { input = 2, output = 8 }
"""


def test_a_toml_file_and_the_same_json_file_give_the_same_cards(tmp_path: Path) -> None:
    import tomllib

    toml, as_json = tmp_path / "models.toml", tmp_path / "models.json"
    toml.write_text(TOML)
    as_json.write_text(json.dumps(tomllib.loads(TOML), default=str))
    catalog, twin = Catalog.from_file(toml), Catalog.from_file(str(as_json))
    without_source = [replace(c, price=replace(c.price, source="")) for c in catalog if c.price is not None]
    assert without_source == [
        replace(c, price=replace(c.price, source="")) for c in twin if c.price is not None
    ]
    assert catalog.as_of == twin.as_of == date(2026, 12, 1)
    llama, big, cheap = catalog
    assert (llama.tier, llama.abilities, llama.context_tokens) == (Tier.MINI, {"tools"}, 131_072)
    assert big.price is not None
    assert big.price.long_context == LongContext(128_000, 4, 13)
    assert "models.toml" in big.price.source
    assert big.retired("2027-01-01")
    assert cheap.abilities == DEFAULT.card("gpt-4o").abilities
    assert cheap.price is not None
    assert (cheap.price.input, cheap.price.output, cheap.price.cached_input) == (2, 8, None)


def test_a_like_row_on_another_server_keeps_neither_price_nor_provider(tmp_path: Path) -> None:
    path = tmp_path / "models.json"
    row = {"name": "gate", "like": "gpt-4o", "api_base": "http://gate:1/v1"}
    path.write_text(json.dumps({"models": [row, {"name": "x", "like": "gpt-4o", "target": "ollama/x"}]}))
    gate, moved = Catalog.from_file(path)
    assert (gate.price, gate.provider) == (None, "openai@gate:1")
    assert moved.provider == "ollama"


def rows(*models: object, **extra: object) -> str:
    return json.dumps({"models": models, **extra})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", ("is not valid JSON", "line 1")),
        ("[]", ("must be a table with as_of, models", "list")),
        ("{}", ("must have a list of models", "[[models]]", "none")),
        ('{"models": {}}', ("must have a list of models", "dict")),
        (rows(model=1), ("no field 'model'", "did you mean models?")),
        (rows(as_of="soon"), ("as_of", "'soon'")),
        (rows(3), ("model 1", "must be a table", "int")),
        (rows({"target": "a/b"}), ("model 1", "name is missing")),
        (rows({"name": "a", "target": "a/b"}, {"name": "b"}), ("model 2 (b)", "target", "provider/model")),
        (rows({"name": "a", "teir": "mini"}), ("model 1 (a)", "no field 'teir'", "did you mean tier?")),
        (
            rows({"name": "a/b", "tier": "tiny"}),
            ("model 1 (a/b)", "tier", "'tiny'", "mini, standard, premium"),
        ),
        (rows({"name": "a/b", "abilities": ["image"]}), ("model 1 (a/b)", "did you mean images?")),
        (rows({"name": "a/b", "price": 3}), ("model 1 (a/b): price", "must be a table with input, output")),
        (rows({"name": "a/b", "price": {"input": 3}}), ("model 1 (a/b): price", "output is missing")),
        (
            rows({"name": "a/b", "price": {"input": 3, "output": -4}}),
            ("model 1 (a/b)", "price output", "at least 0", "-4"),
        ),
        (
            rows({"name": "a/b", "price": {"input": 3, "outptu": 4}}),
            ("model 1 (a/b): price", "no field 'outptu'", "did you mean output?"),
        ),
        (
            rows({"name": "a/b", "price": {"input": 3, "output": 4, "long_context": {"above_tokens": 3}}}),
            ("model 1 (a/b): price.long_context", "input is missing"),
        ),
        (
            rows({"name": "a/b", "price": {"input": 3, "output": 4, "long_context": {"abov": 3}}}),
            ("price.long_context", "did you mean above_tokens?"),
        ),
        (rows({"name": "a/b", "as_of": "now"}), ("model 1 (a/b)", "as_of", "'now'")),
        (rows({"name": "a", "like": "gpt-4oo"}), ("model 1 (a)", "'gpt-4oo'", "did you mean gpt-4o")),
        (rows({"name": "a/b"}, {"name": "a/b"}), ("two models are named 'a/b'",)),
    ],
)
def test_a_mistake_in_a_file_names_file_row_field_value_and_cure(
    tmp_path: Path, text: str, words: tuple[str, ...]
) -> None:
    path = tmp_path / "models.json"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Catalog.from_file(path)
    assert str(path) in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.toml", None, ("cannot read", "No such file")),
        ("models.yaml", b"models: []", (".toml or .json", "'.yaml'")),
        ("models", b"", (".toml or .json", "no ending")),
        ("models.toml", b"models = ", ("is not valid TOML",)),
        ("models.toml", b"\xff\xfe", ("is not UTF-8",)),
    ],
)
def test_an_unreadable_file_says_what_is_wrong_with_it(
    tmp_path: Path, name: str, content: bytes | None, words: tuple[str, ...]
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        Catalog.from_file(path)
    assert all(word in str(caught.value) for word in (str(path), *words)), caught.value


def snippets(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL)


def test_the_guides_snippets_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (toml,) = snippets("toml")
    Path("models.toml").write_text(toml)
    (as_json,) = snippets("json")
    Path("models.json").write_text(as_json)
    assert len(Catalog.from_file("models.toml")) == 3
    assert len(Catalog.from_file("models.json")) == 1
    scope: dict[str, Any] = {}
    for snippet in snippets("python"):
        exec(snippet, scope)
    assert scope["catalog"].card("my-llama").price == Price(0, 0)


def test_the_guides_table_is_the_catalog() -> None:
    listed = re.findall(r"^\| `(\S+)` \| (\w+) \| ([\d.]+) \| ([\d.]+) \| (.*?) \|$", GUIDE.read_text(), re.M)
    assert [(name, tier, float(rate_in), float(rate_out)) for name, tier, rate_in, rate_out, _ in listed] == [
        (card.name, card.tier.value, card.price.input, card.price.output)
        for card in DEFAULT
        if card.price is not None
    ]
    for name, _, _, _, role in listed:
        card = DEFAULT.card(name)
        assert role.startswith("yes") == card.default
        assert ("retired" in role) == card.retired(DEFAULT.as_of)
