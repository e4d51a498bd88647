"""Ceilings: what bounds a call's tokens, why a cost is open, and the promise to a caller with a budget."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartroute import BudgetExceededError, Catalog, ModelCard, ModelRouter, Price
from smartroute.errors import NoEligibleModelError
from smartroute.routing.ceilings import ceiling, input_ceiling_tokens, output_ceiling_tokens
from smartroute.testing import CapturingSink, ScriptedProvider


@given(st.lists(st.text(max_size=200), min_size=1, max_size=5))
def test_the_input_ceiling_covers_every_byte(texts):
    messages = [{"role": "user", "content": text} for text in texts]
    total = sum(len(text.encode("utf-8", "replace")) for text in texts)
    assert input_ceiling_tokens(messages, {}) >= total


def test_the_input_ceiling_counts_tools_schemas_and_earlier_tool_calls():
    plain = input_ceiling_tokens([{"role": "user", "content": "hi"}], {})
    tool = {"type": "function", "function": {"name": "f", "description": "x" * 300}}
    assert input_ceiling_tokens([{"role": "user", "content": "hi"}], {"tools": [tool]}) > plain + 300
    history = [{"role": "assistant", "content": None, "tool_calls": [tool]}]
    assert input_ceiling_tokens(history, {}) > len(json.dumps(tool))


def test_the_input_ceiling_counts_whatever_else_may_reach_the_prompt():
    plain = input_ceiling_tokens([{"role": "user", "content": "hi"}], {"max_tokens": 5, "seed": 3})
    bound = input_ceiling_tokens([{"role": "user", "content": "hi"}], {"max_tokens": 5, "system": "x" * 300})
    assert bound >= plain + 300


def test_the_output_ceiling_knows_the_limits_by_their_other_names():
    # Gemini takes its own name before OpenAI's; a prediction that is rejected is billed as written.
    assert output_ceiling_tokens({"max_tokens": 50, "max_output_tokens": 5_000}, 9_000) == 5_000
    assert output_ceiling_tokens({"max_tokens": 50, "maxOutputTokens": 5_000}, 9_000) == 5_000
    assert output_ceiling_tokens({"max_output_tokens": 50}, 9_000) == 9_000
    assert output_ceiling_tokens({"max_output_tokens": 50}, None) is None
    assert output_ceiling_tokens({"max_tokens": 50, "candidate_count": 8}, 9_000) == 400
    assert output_ceiling_tokens({"max_tokens": 50, "n": 9, "candidateCount": 8}, 9_000) == 450
    prediction = {"type": "content", "content": "x" * 1_000}
    assert output_ceiling_tokens({"max_tokens": 50, "prediction": prediction}, 9_000) > 1_050


def test_the_output_ceiling_is_the_asked_or_the_capped_length_times_the_choices():
    assert output_ceiling_tokens({"max_tokens": 50}, 4_096) == 50
    assert output_ceiling_tokens({"max_completion_tokens": 70, "n": 3}, None) == 210
    assert output_ceiling_tokens({}, 4_096) == 4_096
    assert output_ceiling_tokens({}, None) is None


IMAGE = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "What is this?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        ],
    }
]


def router_with(*cards, **settings):
    return ModelRouter(
        catalog=Catalog.of(cards),
        provider=ScriptedProvider(lambda call: "4"),
        sink=CapturingSink(),
        **settings,
    )


def test_an_image_without_a_known_context_is_ruled_out_with_a_cure_that_works():
    eye = {"target": "x/eye", "price": Price(1.0, 2.0), "abilities": {"images"}, "max_output_tokens": 1_000}
    blind = router_with(ModelCard("eye", tier="mini", **eye))
    with pytest.raises(NoEligibleModelError, match="images and a budget cannot be kept; set context_tokens"):
        blind.decide(IMAGE, max_usd=100.0, max_tokens=10)
    assert blind.run(IMAGE, max_tokens=10).text == "4"  # without a budget nothing needs a ceiling
    cured = router_with(ModelCard("eye", tier="mini", context_tokens=8_000, **eye))
    assert cured.run(IMAGE, max_usd=100.0, max_tokens=10).text == "4"


def test_a_length_among_the_options_of_a_card_limits_its_answer():
    card = ModelCard("m", tier="mini", target="x/m", price=Price(1.0, 2.0), options={"max_tokens": 20})
    assert router_with(card).run("What is 2+2?", max_usd=1.0).text == "4"


parts = st.sampled_from(
    [
        {"type": "text", "text": "x"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_data": "AAAA"}},
        {"type": "text", "text": "y", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
    ]
)
odd_params = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.sampled_from([1, 50, 5_000]),
        "max_completion_tokens": st.sampled_from([1, 50]),
        "n": st.integers(1, 3),
        "service_tier": st.sampled_from(["auto", "flex", "priority"]),
        "extra_body": st.just({"speed": "fast"}),
        "tools": st.just([{"type": "function", "function": {"name": "f"}}]),
        "web_search_options": st.just({}),
        "modalities": st.sampled_from([["text"], ["text", "audio"]]),
        "prompt_cache_retention": st.sampled_from(["in_memory", "24h"]),
        "response_format": st.just({"type": "json_object"}),
    },
)
odd_options = st.fixed_dictionaries(
    {},
    optional={
        "max_tokens": st.sampled_from([0, None, 30]),
        "service_tier": st.sampled_from(["auto", "priority"]),
        "prompt_cache_retention": st.sampled_from(["in_memory", "24h"]),
        "extra_body": st.just({"service_tier": "flex"}),
    },
)
cards = st.builds(
    lambda price, context, cap, options: ModelCard(
        "m",
        tier="mini",
        target="x/m",
        price=price,
        context_tokens=context,
        max_output_tokens=cap,
        abilities={"images", "audio", "files", "tools", "audio_output", "json_schema", "logprobs"},
        options=options,
    ),
    st.sampled_from([None, Price(1.0, 2.0), Price(0.0, 0.0), Price(1.0, 2.0, audio_apart=True)]),
    st.sampled_from([None, 100_000]),
    st.sampled_from([None, 6_000]),
    odd_options,
)


def on_a_ladder(card, messages, params):
    """Return whether a model is offered for a request under a budget that is large enough for all of them."""
    router = router_with(card)
    try:
        return router, bool(router.decide(messages, max_usd=1e6, **params).ladder)
    except NoEligibleModelError:
        return router, False


@given(cards, st.lists(parts, min_size=1, max_size=3), odd_params)
def test_every_model_on_a_ladder_under_a_budget_has_a_ceiling(card, content, params):
    messages = [{"role": "user", "content": content}]
    router, offered = on_a_ladder(card, messages, params)
    known = ceiling(card, router.prices.price("m"), messages, {**params, **card.options})
    assert (known.usd is None) == (known.unknown_because is not None)
    if offered:
        assert known.usd is not None, known.unknown_because
        # The promise as its user sees it: a budget that is large enough never refuses the call.
        assert router.run(messages, max_usd=1e6, **params).text == "4"


def test_that_property_catches_an_eligibility_that_forgets_the_context(monkeypatch):
    card = ModelCard(
        "m", tier="mini", target="x/m", price=Price(1.0, 2.0), max_output_tokens=9, abilities={"images"}
    )
    monkeypatch.setattr("smartroute.routing.eligibility.unknown_because", lambda *_, **__: None)
    router, offered = on_a_ladder(card, IMAGE, {})
    assert offered
    with pytest.raises(BudgetExceededError):
        router.run(IMAGE, max_usd=1e6)
