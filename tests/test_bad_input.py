"""Whatever comes in: a typed error that names the value, or a sensible default; never a lost ledger."""

import math
from collections import UserList

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartroute import (
    Catalog,
    ConfigError,
    ModelCard,
    ModelRouter,
    SmartRouteError,
    TaskError,
    UnknownModelError,
)
from smartroute.errors import NoEligibleModelError
from smartroute.records import Task
from smartroute.routing.abilities import required_abilities
from smartroute.routing.strategies import CostOptimized
from smartroute.testing import CapturingSink, ScriptedProvider

ABLE = Catalog.of([ModelCard("able", "x/able", abilities=("tools", "images"))])


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
        [{"role": "user", "content": " \n"}],
        [{"role": "user"}],
        [{"role": [], "content": "hi"}],
        [{"role": "user", "content": "hi", 5: "a key that is not text"}],
    ],
)
def test_a_prompt_that_is_none_is_told_so(router, prompt):
    with pytest.raises(TaskError):
        router.run(prompt)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"complexity_override": "tricky"}, TaskError, "tricky"),
        ({"preferred_model": "gpt-99"}, UnknownModelError, "gpt-99"),
        ({"preferred_model": ""}, TaskError, "preferred_model"),
        ({"max_usd": -1}, TaskError, "max_usd.*-1"),
        ({"max_usd": math.nan}, TaskError, "max_usd.*nan"),
        ({"timeout_s": 0}, TaskError, "timeout_s"),
        ({"timeout_s": "soon"}, TaskError, "timeout_s.*soon"),
        ({"max_tokens": -5}, TaskError, "max_tokens.*-5"),
        ({"max_tokens": 2.5}, TaskError, "max_tokens.*2.5"),
        ({"max_tokens": 10**400}, TaskError, "max_tokens.*at most 1000000000"),
        ({"n": 0}, TaskError, "n must"),
        ({"max_output_tokens": "many"}, TaskError, "max_output_tokens must.*many"),
        ({"candidateCount": -1}, TaskError, "candidateCount must.*-1"),
        ({"max_usd": 10**400}, TaskError, "max_usd"),
        ({"timeout_s": 10**400}, TaskError, "timeout_s"),
        ({"deployment_id": "gpt-4o"}, TaskError, "deployment_id cannot be passed through: .*ModelCard"),
        ({"tools": 5}, TaskError, "tools must be a list of dicts, got 5"),
        ({"response_format": 5}, TaskError, "response_format must be a dict"),
        ({"extra_headers": {"a": 5}}, TaskError, "extra_headers"),
        ({"extra_body": [1]}, TaskError, "extra_body"),
        ({"stop": [1]}, TaskError, "stop must"),
        ({"modalities": 5}, TaskError, "modalities must be a list of strings, got 5"),
        ({"modalities": "audio"}, TaskError, "modalities must be a list of strings, got 'audio'"),
        ({"temperature": "hot"}, TaskError, "temperature"),
        ({"foo": {1, 2}}, TaskError, "foo cannot be sent as JSON"),
        ({"seed": math.nan}, TaskError, "seed cannot be sent as JSON"),
        ({"metadata": {"a": object()}}, TaskError, "metadata"),
        ({"unit": 7}, TaskError, "unit.*int"),
        ({"requirements": 7}, TaskError, "requirements.*7"),
        ({"labels": 7}, TaskError, "labels.*7"),
        ({"labels": {"a": 1}}, TaskError, "labels"),
        ({"messages": [{"role": "user", "content": "hi"}]}, TaskError, "not both"),
    ],
)
def test_an_option_out_of_range_is_refused_by_name_and_value(router, options, error, message):
    with pytest.raises(error, match=message):
        router.run("hi", **options)


@pytest.mark.parametrize(
    ("misspelled", "meant"),
    [
        ("prefered_model", "preferred_model"),
        ("max_uds", "max_usd"),
        ("timout_s", "timeout_s"),
        ("complexity_overide", "complexity_override"),
        ("message", "messages"),
    ],
)
def test_a_misspelled_option_is_not_taken_for_a_parameter_of_the_provider(router, misspelled, meant):
    with pytest.raises(TaskError, match=f"no option '{misspelled}'; did you mean {meant}"):
        router.run("hi", **{misspelled: "x"})


def test_every_option_of_the_router_is_looked_out_for():
    from inspect import signature

    from smartroute.parameters import _OPTIONS

    # `response_format` is named for its type alone: it goes to the provider as other parameters do.
    parameters = set(signature(ModelRouter.run).parameters) - {"response_format"}
    assert set(_OPTIONS) == parameters - {"self", "prompt", "params"}


def known_to_litellm():
    """What litellm's signature, its lists of parameters and the configurations of its providers name."""
    from inspect import signature

    import litellm
    from litellm.constants import DEFAULT_CHAT_COMPLETION_PARAM_VALUES
    from litellm.types.utils import all_litellm_params

    known = {*signature(litellm.completion).parameters, *DEFAULT_CHAT_COMPLETION_PARAM_VALUES}
    known |= set(all_litellm_params)
    for name in dir(litellm):
        if name.endswith("Config") and isinstance(config := getattr(litellm, name), type):
            known |= set(signature(config.__init__).parameters)
    assert len(known) > 40
    return known


def test_no_parameter_that_litellm_knows_is_taken_for_another_misspelled(caplog):
    from smartroute.parameters import _RESERVED, _warn_if_misspelled, checked_params

    for name in known_to_litellm():
        _warn_if_misspelled(name)
        if name not in {*_RESERVED, "messages", "stream"}:
            checked_params({name: None})
    assert not caplog.records


@pytest.mark.parametrize(
    ("misspelled", "meant"),
    [
        ("temprature", "temperature"),
        ("max_token", "max_tokens"),
        ("topp", "top_p"),
        ("response_fromat", "response_format"),
        ("reasoning_efort", "reasoning_effort"),
        ("frequency_penality", "frequency_penalty"),
    ],
)
def test_a_misspelled_parameter_is_told_once_and_passed_on(caplog, misspelled, meant):
    from smartroute.parameters import _warn_if_misspelled

    _warn_if_misspelled.cache_clear()
    provider = ScriptedProvider(lambda call: "ok")
    router = ModelRouter(provider=provider, sink=False)
    for _ in range(2):
        router.run("hi", **{misspelled: 1})
    messages = [record.getMessage() for record in caplog.records if record.name == "smartroute"]
    assert messages == [f"{misspelled!r} is passed on as it is, but looks like a misspelled {meant}"]
    assert [call.params[misspelled] for call in provider.calls] == [1, 1]


PROVIDERS_OWN = (
    # Anthropic, Gemini, Mistral, xAI, OpenRouter
    *("top_k", "thinking", "cache_control", "context_management", "speed", "container", "mcp_servers"),
    *("safety_settings", "topK", "topP", "cached_content", "thinking_config", "response_schema"),
    *("safe_prompt", "random_seed", "prompt_mode", "search_parameters", "deferred"),
    *("models", "provider", "transforms", "route", "plugins", "reasoning", "include_reasoning", "usage"),
    # vLLM, Ollama, llama.cpp, text-generation-inference
    *("min_p", "top_a", "min_tokens", "repetition_penalty", "length_penalty", "stop_token_ids"),
    *("ignore_eos", "bad_words", "prompt_logprobs", "guided_json", "chat_template_kwargs", "priority"),
    *("num_ctx", "num_predict", "repeat_penalty", "repeat_last_n", "mirostat", "tfs_z", "typical_p"),
    *("keep_alive", "think", "format", "options", "grammar", "n_predict", "cache_prompt", "n_probs"),
    *("max_new_tokens", "do_sample", "best_of", "top_n_tokens", "watermark", "stop_sequences"),
    # litellm, and what carries whatever else there is
    *("conversation", "extra_body", "extra_headers", "drop_params", "allowed_openai_params", "api_version"),
)


def test_parameters_of_the_providers_own_are_passed_on_without_a_word(caplog):
    provider = ScriptedProvider(lambda call: "ok")
    params = {name: {"a": "b"} if name.startswith("extra_") else 1 for name in PROVIDERS_OWN}
    ModelRouter(provider=provider, sink=False).run("hi", **params)
    assert set(params) <= set(provider.calls[0].params)
    assert not caplog.records


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


HALF = "half of a pair \ud83d"
WHOLE = "half of a pair \ufffd"
PAIR = "a whole pair \U0001f600"


def holding(text):
    """Messages and parameters that hold a text in every place that a request has for one."""
    function = {"name": "f", "description": text, "parameters": {"type": "object", "title": text}}
    asked = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": text}}
    picture = {"type": "image_url", "image_url": {"url": text}}
    messages = [
        {"role": "user", "content": text, "name": text, text: 1},
        {"role": "assistant", "content": None, "tool_calls": [asked]},
        {"role": "tool", "tool_call_id": "call_1", "content": text},
        {"role": "user", "content": [{"type": "text", "text": text}, picture]},
    ]
    tools = [{"type": "function", "function": function}]
    return messages, {"tools": tools, "user": text, "stop": [text], "extra_body": {text: [text, 1]}, text: 2}


def test_half_of_a_pair_is_mended_wherever_it_stands_since_no_request_could_carry_it():
    provider = ScriptedProvider(lambda call: "ok")
    router = ModelRouter(catalog=ABLE, provider=provider, sink=False)
    messages, params = holding(HALF)
    router.run(messages=messages, **params)
    (call,) = provider.calls
    assert (list(call.messages), call.params) == holding(WHOLE)
    assert (messages, params) == holding(HALF), "the caller's own are left alone"


def test_what_is_well_formed_is_passed_on_as_it_is():
    provider = ScriptedProvider(lambda call: "ok")
    messages, params = holding(PAIR)
    ModelRouter(catalog=ABLE, provider=provider, sink=False).run(messages=messages, **params)
    assert (list(provider.calls[0].messages), provider.calls[0].params) == (messages, params)


def test_parts_in_a_sequence_of_the_callers_own_are_read_like_a_list():
    picture = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    task = Task.of([{"role": "user", "content": UserList([picture])}])
    assert task.messages[0]["content"] == [picture]
    assert required_abilities(task.params, task.messages) == {"images"}


def test_a_message_that_is_nested_too_deeply_is_refused_by_its_place(router):
    asked = {"id": "call_1", "type": "function", "function": _nested(100_000)}
    with pytest.raises(TaskError, match=r"messages\[1\] is nested too deeply"):
        router.run([{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [asked]}])


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


class Rude:
    def __repr__(self):
        raise RuntimeError("no repr for you")

    __str__ = __repr__


@pytest.mark.parametrize(
    "options",
    [
        {"complexity_override": Rude()},
        {"max_usd": Rude()},
        {"requirements": Rude()},
        {"labels": Rude()},
        {"max_tokens": Rude()},
        {"metadata": Rude()},
        {"kind": Rude()},
    ],
)
def test_a_value_that_cannot_be_shown_is_refused_all_the_same(router, options):
    with pytest.raises(TaskError):
        router.run("hi", **options)


def _nested(depth):
    value = {}
    for _ in range(depth):
        value = {"properties": value}
    return value


def test_a_schema_nested_too_deeply_is_refused_by_name(router):
    with pytest.raises(TaskError, match="tools is nested too deeply"):
        router.run("hi", tools=[{"type": "function", "function": _nested(100_000)}])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"params": {"max_tokens": -5}}, "max_tokens"),
        ({"params": {"max_tokens": "many"}}, "max_tokens"),
        ({"params": {"stream": True}}, "stream"),
        ({"params": {"timeout": 3}}, "timeout"),
        ({"params": "abc"}, "params must be a dict"),
        ({"params": {"max_usd": 1.0}}, "max_usd is a router option; pass it as a keyword, not inside params"),
        ({"params": {5: 1}}, "name of a parameter"),
        ({"limits": 5}, "limits"),
    ],
)
def test_a_task_built_by_hand_is_checked_like_any_other(given, message):
    with pytest.raises(TaskError, match=message):
        Task.of("hi", **given)


@pytest.mark.parametrize("method", ["run_task", "decide_task", "menu"])
def test_what_is_no_task_is_refused_where_a_task_is_taken(router, method):
    with pytest.raises(TaskError, match=r"takes a Task, got 'hi'; router\.task\(\.\.\.\) builds one"):
        getattr(router, method)("hi")


def test_ten_megabytes_reach_a_model_of_unknown_context_and_become_one_event():
    sink = CapturingSink()
    big = ModelRouter(
        catalog=Catalog.of([ModelCard("big", "ollama/big")]),
        provider=ScriptedProvider(lambda call: "ok"),
        sink=sink,
    )
    text = "zebra " * 1_700_000
    assert big.run(text).text == "ok"
    assert big.provider.calls[0].messages[0]["content"] == text
    assert len(sink.captured) == 1
    assert "zebra" not in sink.captured[0].to_line().decode()


def test_the_model_for_no_complexity_is_refused(router):
    with pytest.raises(TaskError, match="complexity must be one of"):
        router.get_model_for_complexity(None)


class Awaited:
    async def emit(self, event):
        raise AssertionError("this is never awaited")


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"strategy": CostOptimized}, "strategy.*not the class"),
        ({"provider": ScriptedProvider}, "provider.*not the class"),
        ({"sink": CapturingSink}, "sink.*not the class"),
        ({"sink": Awaited()}, "sink.*must not have an async emit"),
        ({"classifier": 42}, "classifier.*42"),
        ({"estimator": 42}, "estimator.*42"),
        ({"log_path": "a\0b"}, "log_path"),
    ],
)
def test_a_part_that_is_none_fails_when_the_router_is_built(setting, message):
    with pytest.raises(ConfigError, match=message):
        ModelRouter(**setting)
