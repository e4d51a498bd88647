import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartroute import (
    Catalog,
    ConfigError,
    MissingKeyError,
    ModelCard,
    ModelRouter,
    Price,
    UnknownModelError,
)
from smartroute.errors import NoEligibleModelError
from smartroute.records import Task
from smartroute.routing.abilities import required_abilities
from smartroute.routing.eligibility import _rounded
from smartroute.testing import ScriptedProvider

TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
IMAGE = [
    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}]}
]


def card(name, tier="mini", provider="x", **fields):
    fields.setdefault("price", Price(1.0, 2.0))
    return ModelCard(name, tier=tier, target=f"{provider}/{name}", **fields)


def router_of(*cards, **settings):
    settings.setdefault("provider", ScriptedProvider([]))
    return ModelRouter(catalog=Catalog.of(cards), sink=False, **settings)


def ruled_out(decision):
    return dict(decision.ruled_out)


ABLE = card(
    "able",
    price=Price(5.0, 5.0),
    abilities={"tools", "images", "json_schema", "logprobs", "effort"},
    efforts=("low", "high"),
)
BARE = card("bare", abilities=set())


@pytest.mark.parametrize(
    ("prompt", "options", "reason"),
    [
        ("hi", {"tools": [TOOL]}, "tools"),
        (IMAGE, {}, "images"),
        ("hi", {"response_format": {"type": "json_schema", "json_schema": {}}}, "json_schema"),
        ("hi", {"logprobs": True}, "logprobs"),
        ("hi", {"reasoning_effort": "high"}, "effort"),
    ],
)
def test_a_model_that_cannot_take_the_request_is_ruled_out_with_the_reason(prompt, options, reason):
    decision = router_of(ABLE, BARE).decide(prompt, **options)
    assert [rung.model for rung in decision.ladder] == ["able"]
    assert reason in ruled_out(decision)["bare"]


def test_json_mode_without_a_schema_needs_no_ability():
    task = Task.of("hi", params={"response_format": {"type": "json_object"}})
    assert required_abilities(task.params, task.messages) == frozenset()


def test_too_long_a_prompt_rules_out_small_contexts():
    small, large = (
        card("small", context_tokens=1_000),
        card("large", tier="premium", context_tokens=1_000_000),
    )
    decision = router_of(small, large).decide("many words " * 2_000)
    assert [rung.model for rung in decision.ladder] == ["large"]
    assert "context of 1000 tokens" in ruled_out(decision)["small"]


def test_the_answers_room_counts_into_the_context():
    small, large = card("small", context_tokens=1_000), card("large", tier="premium", context_tokens=100_000)
    assert router_of(small, large).decide("hi", max_tokens=995).ladder[0].model == "large"


def test_too_small_an_output_cap_is_ruled_out():
    short, long = card("short", max_output_tokens=100), card("long", tier="premium", max_output_tokens=9_000)
    decision = router_of(short, long).decide("hi", max_tokens=500)
    assert "output cap of 100" in ruled_out(decision)["short"]


def test_a_refused_parameter_and_an_unknown_effort_rule_out():
    strict = card("strict", refuses={"temperature"}, abilities={"effort"}, efforts=("low",))
    router = router_of(strict, ABLE)
    assert "temperature" in ruled_out(router.decide("hi", temperature=0.3))["strict"]
    assert "reasoning_effort='high'" in ruled_out(router.decide("hi", reasoning_effort="high"))["strict"]
    assert "strict" not in ruled_out(router.decide("hi"))


def test_retired_models_are_never_chosen():
    catalog = Catalog.of([card("old", retired_on="2020-01-01"), card("new", tier="premium")])
    router = ModelRouter(catalog=catalog, provider=ScriptedProvider([]), sink=False)
    assert "retired on 2020-01-01" in ruled_out(router.decide("What is 2+2?"))["old"]
    with pytest.raises(NoEligibleModelError, match="retired"):
        router.decide("hi", preferred_model="old")


def test_what_rules_every_model_out_is_told_in_short_with_what_the_request_asks_for_first():
    cards = [
        card("old", retired_on="2020-01-01"),
        *(card(f"m{n}") for n in range(5)),
        card("big", refuses=["n"]),
    ]
    with pytest.raises(NoEligibleModelError) as caught:
        router_of(*cards).decide("hi", tools=[TOOL])
    assert str(caught.value) == (
        "no model can take this request: cannot take tools (m0, m1, m2 and 3 more); retired (old)"
    )
    assert len(caught.value.ruled_out) == len(cards)


def test_what_the_request_asks_for_is_told_before_the_keys_that_are_missing(monkeypatch):
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(variable, raising=False)
    keyless = [ModelCard(f"m{n}", target=f"openai/m{n}", price=Price(1, 1)) for n in range(3)]
    local = ModelCard("local", target="openai/l", price=Price(0, 0), api_base="http://127.0.0.1:1/v1")
    elsewhere = ModelCard("far", target="anthropic/far", price=Price(1, 1))
    router = ModelRouter(
        catalog=Catalog.of([elsewhere, *keyless, local]),
        providers=["openai", local.provider],
        max_usd=1.0,
        sink=False,
    )
    with pytest.raises(NoEligibleModelError) as caught:
        router.decide("hi")
    indexes = [str(caught.value).find(word) for word in ("pass max_tokens (local)", "no key", "allow-list")]
    assert -1 not in indexes and indexes[0] == min(indexes)


def test_an_allow_list_is_obeyed_by_every_rung():
    cards = [card(f"{p}-{t}", t, p) for p in ("openai", "anthropic") for t in ("mini", "standard", "premium")]
    decision = router_of(*cards, providers=["anthropic"]).decide("What is 2+2?")
    assert [rung.model for rung in decision.ladder] == [
        "anthropic-mini",
        "anthropic-standard",
        "anthropic-premium",
    ]
    assert "allow-list" in ruled_out(decision)["openai-mini"]
    with pytest.raises(NoEligibleModelError, match="allow-list"):
        router_of(*cards, providers=["anthropic"]).decide("hi", preferred_model="openai-mini")


def test_an_empty_allow_list_is_a_mistake():
    with pytest.raises(ConfigError, match="allow-list"):
        router_of(card("m"), providers=[])


class Keyed(ScriptedProvider):
    needs_keys = True


@pytest.fixture
def no_keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("no_keys")
def test_only_providers_with_a_key_are_on_the_ladder(monkeypatch):
    router = ModelRouter(provider=Keyed([]), sink=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    decision = router.decide("What is 2+2?")
    assert {router.catalog.card(rung.model).provider for rung in decision.ladder} == {"anthropic"}
    assert "OPENAI_API_KEY is not set" in ruled_out(decision)["gpt-4o-mini"]


@pytest.mark.usefixtures("no_keys")
def test_without_any_key_the_first_decision_says_what_to_set(monkeypatch):
    router = ModelRouter(provider=Keyed([]), sink=False)
    with pytest.raises(MissingKeyError, match="smartroute demo") as caught:
        router.decide("hi")
    for variable in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"):
        assert variable in str(caught.value)
        assert variable in caught.value.variables
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert router.decide("hi").ladder


@pytest.mark.usefixtures("no_keys")
def test_a_self_hosted_model_needs_no_key():
    local = ModelCard(
        "llama", tier="mini", target="openai/llama", api_base="http://localhost:8000/v1", price=Price(0, 0)
    )
    router = ModelRouter(catalog=Catalog.default().with_cards(local), provider=Keyed([]), sink=False)
    assert [rung.model for rung in router.decide("What is 2+2?").ladder] == ["llama"]


def test_an_unknown_preferred_model_is_named_with_close_matches():
    with pytest.raises(UnknownModelError, match="gpt-4o-mini"):
        ModelRouter(provider=ScriptedProvider([]), sink=False).decide("hi", preferred_model="gpt-4o-mni")


def test_candidates_are_ordered_by_what_this_request_would_cost():
    reader = card("reader", price=Price(1.0, 100.0))
    writer = card("writer", price=Price(2.0, 1.0))
    router = router_of(reader, writer)
    assert router.decide("Name it.", kind="classify").ladder[0].model == "writer"
    assert (
        router.decide("word " * 5_000, kind="classify", complexity_override="simple").ladder[0].model
        == "reader"
    )


requests = st.fixed_dictionaries(
    {
        "prompt": st.integers(1, 3_000).map(lambda n: "word " * n),
        "kind": st.sampled_from([None, "score", "creative"]),
    },
    optional={
        "temperature": st.just(0.2),
        "max_tokens": st.sampled_from([5, 100, 5_000, 90_000]),
        "tools": st.just([TOOL]),
        "reasoning_effort": st.sampled_from(["low", "high", "odd"]),
        "max_usd": st.just(5.0),
        "logprobs": st.just(True),
    },
)


@settings(max_examples=60, deadline=None)
@given(st.lists(requests, min_size=2, max_size=8))
def test_a_menu_that_was_kept_is_the_one_that_would_be_made(asked):
    kept = ModelRouter(provider=ScriptedProvider([]), sink=False)

    def decided(router, request):
        options = dict(request)
        try:
            return router.decide(options.pop("prompt"), **options)
        except NoEligibleModelError as error:
            return str(error)

    for request in asked + asked[::-1]:
        fresh = ModelRouter(provider=ScriptedProvider([]), sink=False)
        assert decided(kept, request) == decided(fresh, request)


@given(st.integers(0, 10**9))
def test_estimated_tokens_are_rounded_up_by_a_sixteenth_at_most(tokens):
    assert tokens <= _rounded(tokens) <= tokens * (1 + 1 / 16)


def test_a_misspelled_provider_fails_when_the_router_is_built():
    with pytest.raises(ConfigError, match=r"opneai.*did you mean 'openai'"):
        ModelRouter(provider=ScriptedProvider([]), providers=["opneai"], sink=False)
