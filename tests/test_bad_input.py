"""Whatever comes in: a typed error that names the value, or a sensible default; never a lost ledger."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartroute import ConfigError, ModelRouter, SmartRouteError, TaskError, UnknownModelError
from smartroute.errors import NoEligibleModelError
from smartroute.testing import CapturingSink, ScriptedProvider


@pytest.fixture(scope="module")
def router():
    return ModelRouter(provider=ScriptedProvider(lambda call: "ok"), sink=CapturingSink())


@pytest.mark.parametrize(
    "prompt",
    [
        None,
        "",
        "   \n",
        [],
        b"bytes",
        7,
        {"role": "user", "content": "hi"},
        [None],
        ["hi"],
        [{"content": "hi"}],
        [{"role": "wizard", "content": "hi"}],
        [{"role": "user", "content": 7}],
        [{"role": "user", "content": ["hi"]}],
        [{"role": "user", "content": [{"type": ["text"], "text": "hi"}]}],
        [{"role": "assistant", "tool_calls": 5, "content": "hi"}],
        [{"role": "user", "content": ""}],
        [{"role": "user"}],
    ],
)
def test_a_prompt_that_is_none_is_told_so(router, prompt):
    with pytest.raises(TaskError):
        router.run(prompt)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"complexity_override": "tricky"}, TaskError, "tricky"),
        ({"preferred_model": "gpt-99"}, UnknownModelError, "gpt-99"),
        ({"preferred_model": ""}, TaskError, "preferred_model"),
        ({"max_usd": -1}, ConfigError, "max_usd.*-1"),
        ({"max_usd": math.nan}, ConfigError, "max_usd.*nan"),
        ({"timeout_s": 0}, ConfigError, "timeout_s"),
        ({"timeout_s": "soon"}, ConfigError, "timeout_s.*soon"),
        ({"max_tokens": -5}, TaskError, "max_tokens.*-5"),
        ({"max_tokens": 2.5}, TaskError, "max_tokens.*2.5"),
        ({"max_tokens": 10**400}, TaskError, "max_tokens.*1,000,000,000"),
        ({"n": 0}, TaskError, "n must"),
        ({"unit": 7}, TaskError, "unit.*int"),
        ({"requirements": 7}, TaskError, "requirements.*7"),
        ({"labels": 7}, TaskError, "labels.*7"),
        ({"labels": {"a": 1}}, TaskError, "labels"),
        ({"messages": [{"role": "user", "content": "hi"}]}, TaskError, "not both"),
    ],
)
def test_an_option_out_of_range_is_told_by_name_and_value(router, options, error, told):
    with pytest.raises(error, match=told):
        router.run("hi", **options)


@pytest.mark.parametrize("threshold", [math.nan, -0.1, 1.1, "high"])
def test_a_threshold_out_of_range_fails_at_construction(threshold):
    with pytest.raises(ConfigError, match="accept_at"):
        ModelRouter(escalation_threshold=threshold)


@pytest.mark.parametrize("kind", ["no-such-kind", "", "  Score ", None])
def test_an_unknown_kind_is_classified_by_its_text(router, kind):
    assert router.run("What is 2+2?", kind=kind).text == "ok"


@pytest.mark.parametrize(
    "text", ["a\x00b", "half of a pair \ud83d", "\udc00\ud800", "é" * 10, "\u202e\u200b x"]
)
def test_odd_characters_go_through(router, text):
    outcome = router.run(text)
    assert outcome.text == "ok"
    outcome.task.messages[0]["content"].encode("utf-8")


def test_ten_megabytes_fit_nowhere_and_the_error_says_why(router):
    with pytest.raises(NoEligibleModelError, match="context"):
        router.run("word " * 2_000_000)


values = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), st.binary(max_size=5)
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["user", "assistant", "tool", "x"]), "content": values}),
    max_size=4,
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(values, messages), st.one_of(st.none(), st.text(max_size=10)), values)
def test_nothing_escapes_as_a_traceback_from_inside(prompt, kind, requirements):
    sink = CapturingSink()
    router = ModelRouter(provider=ScriptedProvider(lambda call: "ok"), sink=sink)
    try:
        router.run(prompt, kind=kind, requirements=requirements)
    except SmartRouteError:
        assert router.provider.calls == []
    else:
        assert len(sink.captured) == 1
