"""What the real litellm brings back from the wire, as a Reply. Tokens are those the servers reported."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from calls import MODELS, PIXEL, WEATHER, call_for
from servers import (
    Answer,
    AnthropicServer,
    GeminiServer,
    OpenAIServer,
    ToolCall,
    WireServer,
    completion,
    once,
)

from smartroute.errors import ProviderUnavailableError
from smartroute.providers.litellm import LiteLLMProvider
from smartroute.records import Call, Reply, Usage

pytestmark = pytest.mark.wire

Ask = Callable[[Call], Reply]


def test_plain_reply_has_text_usage_and_finish_reason(server: WireServer, ask: Ask) -> None:
    server.script(Answer("hello there", input_tokens=12, output_tokens=3))
    reply = ask(call_for(server))
    assert reply.text == "hello there"
    assert reply.usage == Usage(12, 3)
    assert reply.finish_reason == "stop"
    assert reply.logprobs is None
    assert reply.tool_calls == ()
    assert reply.model == MODELS[server.dialect]
    assert reply.raw["choices"][0]["message"]["content"] == "hello there"
    assert json.loads(json.dumps(reply.raw)) == reply.raw
    assert len(server.received) == 1


FINE = {"index": 0, "message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}
COUNTED = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}


@pytest.mark.parametrize(
    ("fields", "surcharge"),
    [
        ({"service_tier": "priority"}, "service_tier='priority'"),
        ({"service_tier": "default"}, None),
        ({"usage": {**COUNTED, "num_search_queries": 2}}, "a web search"),
        ({"usage": {**COUNTED, "completion_tokens_details": {"image_tokens": 3}}}, "an image"),
    ],
)
def test_a_service_that_openai_says_it_gave_is_told_with_the_tokens(
    openai_server: OpenAIServer, ask: Ask, fields: dict[str, Any], surcharge: str | None
) -> None:
    openai_server.script(completion(FINE, **{"usage": COUNTED, **fields}))
    assert ask(call_for(openai_server)).usage == Usage(10, 5, surcharge=surcharge)


@pytest.mark.parametrize(
    ("fields", "surcharge"),
    [
        ({"service_tier": "priority"}, "service_tier='priority'"),
        ({"speed": "fast"}, "speed='fast'"),
        ({"inference_geo": "us"}, "inference_geo='us'"),
        ({"server_tool_use": {"web_search_requests": 1}}, "a web search"),
        ({"service_tier": "standard", "speed": "standard", "inference_geo": "global"}, None),
    ],
)
def test_a_service_that_anthropic_says_it_gave_is_told_with_the_tokens(
    anthropic_server: AnthropicServer, ask: Ask, fields: dict[str, Any], surcharge: str | None
) -> None:
    anthropic_server.script(message_of({"input_tokens": 10, "output_tokens": 5, **fields}))
    assert ask(call_for(anthropic_server)).usage == Usage(10, 5, surcharge=surcharge)


@pytest.mark.parametrize("kept", ["5m", "1h"])
def test_a_cache_that_anthropic_kept_for_an_hour_is_told_with_the_tokens(
    anthropic_server: AnthropicServer, ask: Ask, kept: str
) -> None:
    by_time = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 0}
    by_time[f"ephemeral_{kept}_input_tokens"] = 7
    counted = {"input_tokens": 3, "output_tokens": 5, "cache_creation_input_tokens": 7}
    anthropic_server.script(message_of({**counted, "cache_creation": by_time}))
    surcharge = "a cache kept for an hour or longer" if kept == "1h" else None
    assert ask(call_for(anthropic_server)).usage == Usage(10, 5, cache_write_tokens=7, surcharge=surcharge)


def message_of(usage: dict[str, Any]) -> Answer:
    fixed = {"id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    return Answer(body={**fixed, "content": [{"type": "text", "text": "fine"}], "usage": usage})


GENERATED = {"content": {"role": "model", "parts": [{"text": "fine"}]}, "finishReason": "STOP"}
METADATA = {"promptTokenCount": 10, "candidatesTokenCount": 5, "totalTokenCount": 15}


def test_audio_tokens_and_a_service_tier_of_gemini_are_told(gemini_server: GeminiServer, ask: Ask) -> None:
    heard = [{"modality": "TEXT", "tokenCount": 4}, {"modality": "AUDIO", "tokenCount": 6}]
    body = {"candidates": [GENERATED], "usageMetadata": {**METADATA, "promptTokensDetails": heard}}
    gemini_server.script(Answer(body=body), Answer(body=body, headers={"x-gemini-service-tier": "flex"}))
    assert ask(call_for(gemini_server)).usage == Usage(10, 5, audio_tokens=6)
    surcharge = "service_tier='flex'"
    assert ask(call_for(gemini_server)).usage == Usage(10, 5, audio_tokens=6, surcharge=surcharge)


def test_a_search_that_gemini_made_is_told_with_the_tokens(gemini_server: GeminiServer, ask: Ask) -> None:
    searched = {**GENERATED, "groundingMetadata": {"webSearchQueries": ["what is it"]}}
    gemini_server.script(Answer(body={"candidates": [searched], "usageMetadata": METADATA}))
    assert ask(call_for(gemini_server)).usage == Usage(10, 5, surcharge="a web search")


def test_cached_written_and_reasoning_tokens_are_counted_as_parts_of_the_whole(
    server: WireServer, ask: Ask
) -> None:
    written = 0 if server.dialect == "gemini" else 100
    server.script(
        Answer(
            input_tokens=1000,
            output_tokens=50,
            cached_tokens=400,
            cache_write_tokens=written,
            reasoning_tokens=20,
        )
    )
    assert ask(call_for(server)).usage == Usage(1000, 50, 400, written, 20)


def test_missing_usage_is_unknown_and_not_zero(openai_server: OpenAIServer, ask: Ask) -> None:
    message = {"role": "assistant", "content": "hi"}
    openai_server.script(completion({"index": 0, "message": message, "finish_reason": "stop"}))
    reply = ask(call_for(openai_server))
    assert reply.text == "hi"
    assert reply.usage is None


def test_reasoning_counted_beside_the_answer_is_added_to_the_output(
    openai_server: OpenAIServer, ask: Ask
) -> None:
    # Total 10 + 5 + 20: this server's completion_tokens leave the reasoning out.
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 35,
        "completion_tokens_details": {"reasoning_tokens": 20},
    }
    message = {"role": "assistant", "content": "hi"}
    openai_server.script(completion({"index": 0, "message": message, "finish_reason": "stop"}, usage=usage))
    assert ask(call_for(openai_server)).usage == Usage(10, 25, reasoning_tokens=20)


@pytest.mark.parametrize("server", ["openai", "gemini"], indirect=True)
def test_logprobs_of_the_answers_tokens_come_back(server: WireServer, ask: Ask) -> None:
    server.script(Answer("hello there", logprobs=(("hello", -0.125), (" there", -2.5))))
    assert ask(call_for(server, params={"logprobs": True})).logprobs == (-0.125, -2.5)


def test_length_as_finish_reason(server: WireServer, ask: Ask) -> None:
    server.script(Answer("and then", finish="length"))
    reply = ask(call_for(server, params={"max_tokens": 5}))
    assert (reply.text, reply.finish_reason) == ("and then", "length")


def test_tool_calls_come_back_in_openai_shape_and_the_conversation_can_go_on(
    server: WireServer, ask: Ask
) -> None:
    server.script(
        Answer(text=None, finish="tools", tool_calls=(ToolCall("weather", {"city": "Paris"}),)),
        Answer("It rains in Paris."),
    )
    first = ask(call_for(server, "Weather in Paris?", params={"tools": [WEATHER]}))
    assert first.text == ""
    assert first.finish_reason == "tool_calls"
    assert first.tool_calls[0]["function"]["name"] == "weather"
    assert json.loads(first.tool_calls[0]["function"]["arguments"]) == {"city": "Paris"}

    second = ask(
        call_for(
            server,
            params={"tools": [WEATHER]},
            messages=(
                {"role": "user", "content": "Weather in Paris?"},
                first.raw["choices"][0]["message"],
                {"role": "tool", "tool_call_id": first.tool_calls[0]["id"], "content": "rain"},
            ),
        )
    )
    assert second.text == "It rains in Paris."
    sent = json.dumps(server.received[1].body)
    assert "weather" in sent
    assert "rain" in sent


def test_tools_with_effort_cross_the_responses_bridge(openai_server: OpenAIServer, ask: Ask) -> None:
    openai_server.script(
        Answer(
            text=None,
            thinking="clouds",
            finish="tools",
            input_tokens=700,
            output_tokens=90,
            cached_tokens=200,
            cache_write_tokens=50,
            reasoning_tokens=64,
            tool_calls=(ToolCall("weather", {"city": "Oslo"}),),
        ),
        Answer("Rain in Oslo."),
    )
    reply = ask(call_for(openai_server, model="gpt-5.4", effort="low", params={"tools": [WEATHER]}))
    assert openai_server.received[0].path == "/v1/responses"
    assert openai_server.received[0].body["reasoning"] == {"effort": "low"}
    assert reply.usage == Usage(700, 90, 200, 50, 64)
    assert [c["function"]["name"] for c in reply.tool_calls] == ["weather"]
    assert reply.raw["object"] == "chat.completion"

    messages = (
        {"role": "user", "content": "Weather in Oslo?"},
        reply.raw["choices"][0]["message"],
        {"role": "tool", "tool_call_id": reply.tool_calls[0]["id"], "content": "rain"},
    )
    second = call_for(
        openai_server, model="gpt-5.4", effort="low", params={"tools": [WEATHER]}, messages=messages
    )
    assert ask(second).text == "Rain in Oslo."
    assert {item["type"] for item in openai_server.received[1].body["input"]} >= {
        "function_call",
        "function_call_output",
    }


def test_effort_without_tools_stays_on_chat_completions(openai_server: OpenAIServer, ask: Ask) -> None:
    ask(call_for(openai_server, model="gpt-5.4", effort="high"))
    assert openai_server.received[0].path == "/v1/chat/completions"
    assert openai_server.received[0].body["reasoning_effort"] == "high"


def test_json_schema_reaches_each_provider_in_its_own_words(server: WireServer, ask: Ask) -> None:
    schema = {
        "type": "object",
        "properties": {"score": {"type": "integer"}},
        "required": ["score"],
        "additionalProperties": False,
    }
    wanted = {"type": "json_schema", "json_schema": {"name": "verdict", "strict": True, "schema": schema}}
    server.script('{"score": 7}')
    reply = ask(call_for(server, params={"response_format": wanted}))
    assert json.loads(reply.text) == {"score": 7}
    assert '"score"' in json.dumps(server.received[0].body)


def test_images_pass_through(server: WireServer, ask: Ask) -> None:
    content = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": PIXEL}},
    ]
    ask(call_for(server, messages=({"role": "user", "content": content},)))
    assert PIXEL.partition(",")[2] in json.dumps(server.received[0].body)


def test_signed_thinking_blocks_survive_and_can_be_sent_back(
    anthropic_server: AnthropicServer, ask: Ask
) -> None:
    anthropic_server.script(
        Answer(
            text=None,
            thinking="let me look",
            finish="tools",
            reasoning_tokens=4,
            tool_calls=(ToolCall("weather", {"city": "Rome"}, id="toolu_1"),),
        ),
        Answer("Sunny."),
    )
    fields: dict[str, Any] = {
        "model": "claude-sonnet-4-5",
        "effort": "low",
        "params": {"tools": [WEATHER]},
    }
    first = ask(call_for(anthropic_server, "Rome?", **fields))
    message = first.raw["choices"][0]["message"]
    block = {"type": "thinking", "thinking": "let me look", "signature": "c2lnbmVk"}
    assert message["thinking_blocks"] == [block]
    assert first.usage == Usage(10, 5, reasoning_tokens=4)

    ask(
        call_for(
            anthropic_server,
            messages=(
                {"role": "user", "content": "Rome?"},
                message,
                {"role": "tool", "tool_call_id": first.tool_calls[0]["id"], "content": "sun"},
            ),
            **fields,
        )
    )
    assert block in anthropic_server.received[1].body["messages"][1]["content"]


def test_gemini_thought_signatures_are_kept(gemini_server: GeminiServer, ask: Ask) -> None:
    gemini_server.script(
        Answer(text=None, finish="tools", tool_calls=(ToolCall("weather", {"city": "Rome"}),))
    )
    reply = ask(call_for(gemini_server, params={"tools": [WEATHER]}))
    assert "c2lnbmVk" in json.dumps(reply.raw)


def test_a_models_own_refusal_is_the_text(openai_server: OpenAIServer, ask: Ask) -> None:
    openai_server.script(Answer(text=None, refusal="I'm sorry, I can't help with that."))
    assert ask(call_for(openai_server)).text == "I'm sorry, I can't help with that."


def test_an_empty_answer_is_a_reply_without_text(anthropic_server: AnthropicServer, ask: Ask) -> None:
    anthropic_server.script(Answer(text=None))
    assert ask(call_for(anthropic_server)).text == ""


def test_parameters_pass_through_and_ours_do_not_reach_the_wire(
    openai_server: OpenAIServer, ask: Ask
) -> None:
    params = {"temperature": 0.25, "max_tokens": 7, "seed": 3, "stop": ["END"], "top_p": 0.5}
    ask(call_for(openai_server, params=params))
    body = openai_server.received[0].body
    assert {name: body[name] for name in params} == params
    assert set(body) == {"model", "messages", *params}


def test_the_callers_messages_and_parameters_are_not_edited(server: WireServer, ask: Ask) -> None:
    messages = (
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is this?", "cache_control": {"type": "ephemeral"}},
                {"type": "image_url", "image_url": {"url": PIXEL}},
            ],
        },
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": "call_1",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Rome"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "sun"},
    )
    params = {"tools": [WEATHER], "max_tokens": 5, "stop": ["x"]}
    before = copy.deepcopy((messages, params))
    ask(call_for(server, messages=messages, params=params))
    assert (messages, params) == before


def test_what_litellm_notes_in_metadata_stays_out_of_the_callers(server: WireServer, ask: Ask) -> None:
    metadata = {"app": "shop"}
    ask(call_for(server, params={"metadata": metadata}))
    assert metadata == {"app": "shop"}


def test_messages_that_litellm_edits_in_place_are_a_copy(openai_server: OpenAIServer, ask: Ask) -> None:
    # Mistral takes no names of users: litellm removes them from the very dicts it was given.
    messages = ({"role": "user", "content": "hi", "name": "bob"},)
    call = Call("m", "mistral/m", "mistral", messages, options={"api_base": openai_server.url})
    ask(call)
    assert "name" not in openai_server.received[0].body["messages"][0]
    assert messages[0]["name"] == "bob"


def test_one_call_is_one_request_even_when_the_application_lets_litellm_retry(
    server: WireServer, runner: asyncio.Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    import litellm

    monkeypatch.setattr(litellm, "num_retries", 2)
    server.default = Answer(status=500)
    with pytest.raises(ProviderUnavailableError):
        runner.run(LiteLLMProvider().asend(call_for(server)))
    assert len(server.received) == 1


def test_the_count_of_requests_catches_a_client_that_asks_twice_or_not_at_all(
    openai_server: OpenAIServer,
) -> None:
    provider = LiteLLMProvider()

    def twice(call: Call) -> Reply:
        provider.send(call)
        return provider.send(call)

    def another_model(call: Call) -> Reply:
        return provider.send(replace(call, target="openai/gpt-4o"))

    for broken in (twice, another_model, lambda call: Reply("from a cache")):
        with pytest.raises(AssertionError, match="became requests to"):
            once(broken)(call_for(openai_server))
    assert once(provider.send)(call_for(openai_server)).text == "ok"


def test_litellms_cache_never_answers(
    openai_server: OpenAIServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    import litellm

    monkeypatch.setattr(litellm, "cache", litellm.Cache())
    for _ in range(2):
        ask(call_for(openai_server))
    assert len(openai_server.received) == 2


def test_a_servers_own_address_key_and_headers(
    openai_server: OpenAIServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SERVER_KEY", "my-own-secret-value")
    with OpenAIServer() as other:
        options = {"api_base": other.url, "api_key_env": "MY_SERVER_KEY", "headers": {"X-Team": "blue"}}
        ask(call_for(openai_server, model="qwen3", options=options))
        assert openai_server.received == []
        assert other.received[0].body["model"] == "qwen3"
        assert other.received[0].headers["authorization"] == "Bearer my-own-secret-value"
        assert other.received[0].headers["x-team"] == "blue"


def test_the_real_key_never_goes_to_another_address(server: WireServer, ask: Ask) -> None:
    with type(server)() as other:
        ask(call_for(server, options={"api_base": other.url}))
        assert len(other.received) == 1
        sent = json.dumps(dict(other.received[0].headers)) + other.received[0].path
    assert "0123456789abcdef" not in sent
    assert "no-key-needed" in sent


def test_calling_leaves_litellms_global_settings_alone(openai_server: OpenAIServer, ask: Ask) -> None:
    import litellm

    names = ("drop_params", "num_retries", "request_timeout", "api_key", "api_base", "cache", "callbacks")
    before = {name: getattr(litellm, name) for name in names}
    ask(call_for(openai_server))
    assert {name: getattr(litellm, name) for name in names} == before


LISTENING = """
import asyncio, os, sys
sys.path[:0] = [sys.argv[1]]
from calls import call_for
from servers import OpenAIServer
from smartroute.providers.litellm import LiteLLMProvider
import litellm
from litellm.integrations.custom_logger import CustomLogger

heard = []

class Listener(CustomLogger):
    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        heard.append(kwargs["model"])

async def main(server):
    await LiteLLMProvider().asend(call_for(server))
    for _ in range(500):
        if heard:
            break
        await asyncio.sleep(0.01)
    print(*heard)

litellm.callbacks = [Listener()]
with OpenAIServer() as server:
    server.enter(os.environ)
    asyncio.run(main(server))
"""

MANY_LOOPS = """
import asyncio, gc, os, sys
from concurrent.futures import ThreadPoolExecutor
sys.path[:0] = [sys.argv[1]]
from calls import call_for
from servers import AnthropicServer, GeminiServer, OpenAIServer
from smartroute.providers.litellm import LiteLLMProvider

provider = LiteLLMProvider()

async def main(server):
    replies = await asyncio.gather(*(provider.asend(call_for(server)) for _ in range(4)))
    await provider.aclose()
    return len(replies)

with OpenAIServer() as one, AnthropicServer() as two, GeminiServer() as three:
    servers = (one, two, three)
    for server in servers:
        server.enter(os.environ)
    for server in servers:
        asyncio.run(main(server))
    with ThreadPoolExecutor(6) as pool:
        total = sum(pool.map(lambda n: asyncio.run(main(servers[n % 3])), range(12)))
    provider.send(call_for(one))
    gc.collect()
    print(total, *(len(server.received) for server in servers))
"""


FIRST_USE = """
import os, sys
sys.path[:0] = [sys.argv[1]]
from calls import call_for
from servers import AnthropicServer
from smartroute.testing.network import no_network
from smartroute.providers.litellm import LiteLLMProvider

assert "litellm" not in sys.modules
with no_network(), AnthropicServer() as server:
    server.enter(os.environ)
    provider = LiteLLMProvider()
    provider.warmup()
    assert "litellm" in sys.modules
    print(provider.send(call_for(server)).text)
"""


def _run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    # litellm's log of calls is one for the whole process, and remembers every loop it ever saw.
    return subprocess.run(
        [sys.executable, "-c", program, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("LITELLM_")}
        | variables,
    )


def test_the_applications_litellm_callbacks_hear_of_our_calls() -> None:
    # This application imports litellm itself, which would fetch its price map.
    assert _run(LISTENING, LITELLM_LOCAL_MODEL_COST_MAP="True").stdout == "gpt-4o-mini\n"


@pytest.mark.slow
def test_many_event_loops_at_once_leave_no_noise() -> None:
    done = _run(MANY_LOOPS)
    assert (done.stdout, done.stderr, done.returncode) == ("48 21 20 20\n", "", 0)


def test_first_use_fetches_no_price_map_and_no_table_of_headers() -> None:
    done = _run(FIRST_USE)
    assert (done.stdout, done.stderr, done.returncode) == ("ok\n", "", 0)
