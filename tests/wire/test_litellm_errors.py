"""What goes wrong on the wire, turned into our errors. Status codes and bodies are the providers' own."""

from __future__ import annotations

import asyncio
import io
import logging
import socket
import threading
import traceback
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from importlib.metadata import version
from typing import Any

import pytest
from calls import WEATHER, call_for
from servers import Answer, AnthropicServer, GeminiServer, OpenAIServer, WireServer, closed_port, completion

from smartroute.errors import (
    AuthenticationError,
    ContextTooLongError,
    FinalError,
    InvalidRequestError,
    MalformedReplyError,
    ProviderError,
    ProviderTimeoutError,
    ProviderUnavailableError,
    QuotaExhaustedError,
    RateLimitError,
    RefusedError,
    TransientError,
)
from smartroute.providers.litellm import LiteLLMProvider
from smartroute.records import Call, Failure, Reply, Usage

pytestmark = pytest.mark.wire

Ask = Callable[[Call], Reply]
LITELLM = tuple(int(part) for part in version("litellm").split(".")[:2])


def error_of(ask: Ask, call: Call) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        ask(call)
    assert caught.value.model == call.model
    assert call.model in str(caught.value)
    return caught.value


@pytest.mark.parametrize(
    ("answer", "kind", "generated"),
    [
        (Answer(status=400, error="bad", error_type="invalid_request_error"), InvalidRequestError, False),
        (Answer(status=401, error="bad key"), AuthenticationError, False),
        (Answer(status=402, error="pay"), QuotaExhaustedError, False),
        (Answer(status=403, error="not yours"), AuthenticationError, False),
        (Answer(status=404, error="no such model"), InvalidRequestError, False),
        (Answer(status=408), ProviderTimeoutError, False),
        (Answer(status=409), ProviderUnavailableError, False),
        (Answer(status=413, error="too large"), ContextTooLongError, False),
        (Answer(status=422, error="bad field"), InvalidRequestError, False),
        (Answer(status=429), RateLimitError, False),
        (Answer(status=500), ProviderUnavailableError, False),
        (Answer(status=502, raw=b"<html>bad gateway</html>"), ProviderUnavailableError, False),
        (Answer(status=503), ProviderUnavailableError, False),
        (Answer(status=504), ProviderTimeoutError, None),
        (
            Answer(status=529, error="Overloaded", error_type="overloaded_error"),
            ProviderUnavailableError,
            False,
        ),
    ],
    ids=lambda value: str(value.status) if isinstance(value, Answer) else "",
)
def test_http_status_decides_the_error(
    server: WireServer, ask: Ask, answer: Answer, kind: type[ProviderError], generated: bool | None
) -> None:
    server.script(answer)
    error = error_of(ask, call_for(server))
    assert type(error) is kind
    assert error.status == answer.status
    assert error.generated is generated
    assert len(server.received) == 1


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.25"}, 0.25),
        ({"Retry-After-Ms": "1500", "Retry-After": "2"}, 1.5),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-3"}, None),
        ({}, None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_read_from_the_providers_headers(
    server: WireServer, ask: Ask, headers: dict[str, str], wait_s: float | None, status: int
) -> None:
    server.script(Answer(status=status, headers=headers))
    error = error_of(ask, call_for(server))
    assert isinstance(error, TransientError)
    assert error.retry_after_s == wait_s


def test_retry_after_as_a_date_counts_from_the_servers_own_clock(server: WireServer, ask: Ask) -> None:
    # The server sends its own Date header too; a date of ten years ago means: now.
    server.script(Answer(status=429, headers={"Retry-After": "Sun, 06 Nov 2016 08:49:37 GMT"}))
    assert error_of(ask, call_for(server)).retry_after_s == 0.0
    server.script(Answer(status=429, headers={"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}))
    wait_s = error_of(ask, call_for(server)).retry_after_s
    assert wait_s is not None
    assert wait_s > 365 * 86_400


def test_geminis_retry_info_in_the_body_is_read(gemini_server: GeminiServer, ask: Ask) -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
    error_body = {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED", "details": [info]}
    gemini_server.script(Answer(status=429, body={"error": error_body}))
    error = error_of(ask, call_for(gemini_server))
    assert isinstance(error, RateLimitError)
    assert error.retry_after_s == 34.5


@pytest.mark.parametrize("status", [429, 400])
def test_a_used_up_quota_is_not_worth_waiting_for(openai_server: OpenAIServer, ask: Ask, status: int) -> None:
    openai_server.script(
        Answer(
            status=status,
            error="You exceeded your current quota, please check your plan and billing details.",
            error_type="insufficient_quota",
            error_code="insufficient_quota",
        )
    )
    error = error_of(ask, call_for(openai_server))
    assert isinstance(error, FinalError)
    failure = Failure.of(error)
    assert (failure.kind, failure.transient, failure.generated) == ("quota_exhausted", False, False)


def test_anthropics_empty_account_counts_as_quota(anthropic_server: AnthropicServer, ask: Ask) -> None:
    said = "Your credit balance is too low to access the Anthropic API."
    anthropic_server.script(Answer(status=400, error=said, error_type="invalid_request_error"))
    assert type(error_of(ask, call_for(anthropic_server))) is QuotaExhaustedError


TOO_LONG = {
    "openai": Answer(
        status=400,
        error="This model's maximum context length is 8192 tokens. However, your messages have 9001.",
        error_type="invalid_request_error",
        error_code="context_length_exceeded",
    ),
    "anthropic": Answer(
        status=400,
        error="prompt is too long: 210000 tokens > 200000 maximum",
        error_type="invalid_request_error",
    ),
    "gemini": Answer(
        status=400,
        error="The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        error_type="INVALID_ARGUMENT",
    ),
}


def test_a_prompt_longer_than_the_window(server: WireServer, ask: Ask) -> None:
    server.script(TOO_LONG[server.dialect])
    error = error_of(ask, call_for(server))
    assert type(error) is ContextTooLongError
    assert error.generated is False


def test_a_request_larger_than_the_rate_limit_is_too_long(openai_server: OpenAIServer, ask: Ask) -> None:
    said = "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 45000."
    openai_server.script(
        Answer(status=429, error=said, error_type="tokens", error_code="rate_limit_exceeded")
    )
    assert type(error_of(ask, call_for(openai_server))) is ContextTooLongError


def test_geminis_wrong_key_is_a_400(gemini_server: GeminiServer, ask: Ask) -> None:
    said = "API key not valid. Please pass a valid API key."
    gemini_server.script(Answer(status=400, error=said, error_type="INVALID_ARGUMENT"))
    assert type(error_of(ask, call_for(gemini_server))) is AuthenticationError


def test_a_blocked_prompt(openai_server: OpenAIServer, ask: Ask) -> None:
    openai_server.script(
        Answer(
            status=400,
            error="Your request was rejected as a result of our safety system.",
            error_type="invalid_request_error",
            error_code="content_policy_violation",
        )
    )
    error = error_of(ask, call_for(openai_server))
    assert type(error) is RefusedError
    assert error.generated is False


def test_a_filter_that_only_the_error_code_tells_of(openai_server: OpenAIServer, ask: Ask) -> None:
    openai_server.script(
        Answer(status=400, error="Blocked.", error_type="bad_request", error_code="content_filter")
    )
    assert type(error_of(ask, call_for(openai_server))) is RefusedError


def test_anthropics_output_filter(anthropic_server: AnthropicServer, ask: Ask) -> None:
    said = "Output blocked by content filtering policy"
    anthropic_server.script(Answer(status=400, error=said, error_type="invalid_request_error"))
    assert type(error_of(ask, call_for(anthropic_server))) is RefusedError


def test_a_filtered_answer_is_refused_and_still_counted(server: WireServer, ask: Ask) -> None:
    server.script(Answer(text=None, finish="filter", input_tokens=30, output_tokens=2))
    error = error_of(ask, call_for(server))
    assert type(error) is RefusedError
    assert error.generated is None
    assert Failure.of(error).usage == Usage(30, 2)


def test_geminis_blocked_prompt_has_no_candidate(gemini_server: GeminiServer, ask: Ask) -> None:
    gemini_server.script(Answer(choices=False, finish="filter", input_tokens=30, output_tokens=0))
    error = error_of(ask, call_for(gemini_server))
    assert type(error) is RefusedError
    assert error.usage == Usage(30, 0)


@pytest.mark.parametrize("server", ["openai", "gemini"], indirect=True)
def test_no_choices_is_malformed_and_the_tokens_are_counted(server: WireServer, ask: Ask) -> None:
    server.script(Answer(choices=False, input_tokens=30, output_tokens=2))
    error = error_of(ask, call_for(server))
    assert type(error) is MalformedReplyError
    assert error.generated is None
    if server.dialect == "openai" and LITELLM < (1, 105):
        # These versions raise before anybody can read the usage: unknown, then, and not zero.
        assert error.usage is None
    else:
        assert Failure.of(error).usage == Usage(30, 2)


UNREADABLE = {
    "cut_json": Answer(raw=b'{"id": "x", "choices": [{"mes'),
    "html": Answer(raw=b"<html>hello</html>"),
    "empty_body": Answer(raw=b""),
    "null": Answer(raw=b"null"),
    "list": Answer(raw=b"[]"),
    "empty_object": Answer(body={}),
    "another_api": Answer(body={"result": "fine"}),
}


@pytest.mark.parametrize("answer", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_no_completion_is_malformed(server: WireServer, ask: Ask, answer: Answer) -> None:
    server.script(answer)
    error = error_of(ask, call_for(server))
    assert type(error) is MalformedReplyError
    assert error.generated is None
    assert error.usage is None
    assert len(server.received) == 1


def test_what_is_no_json_is_told_as_that(server: WireServer, ask: Ask) -> None:
    server.script(UNREADABLE["html"])
    assert "JSONDecodeError" in str(error_of(ask, call_for(server)))


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"message": "Provider returned error", "code": 502}, ProviderUnavailableError),
        ({"message": "slow down", "code": "429"}, RateLimitError),
        ({"message": "context_length_exceeded", "code": 400}, ContextTooLongError),
        ({"message": "Overloaded", "code": None}, MalformedReplyError),
        ({"message": "Overloaded"}, MalformedReplyError),
        ({"message": "Overloaded", "code": "server_error"}, MalformedReplyError),
        ({"message": "Overloaded", "code": 0}, MalformedReplyError),
    ],
    ids=lambda value: str(value.get("code", "none")) if isinstance(value, dict) else "",
)
def test_an_error_in_a_reply_of_status_200_is_told_and_may_have_cost_something(
    openai_server: OpenAIServer, ask: Ask, body: dict[str, Any], kind: type[ProviderError]
) -> None:
    openai_server.script(Answer(body={"error": body}))
    error = error_of(ask, call_for(openai_server))
    assert type(error) is kind
    assert error.generated is None
    assert body["message"] in str(error)
    assert len(openai_server.received) == 1


GARBLED = {
    "not_http": b"SSH-2.0-OpenSSH\r\n",
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: ten\r\n\r\n{}",
    "chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
}


@pytest.mark.parametrize("garbled", GARBLED.values(), ids=GARBLED.keys())
def test_what_is_no_http_is_a_broken_connection_in_a_thread_as_in_a_loop(ask: Ask, garbled: bytes) -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(garbled)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        base = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        call = Call("m", "openai/m", "p", ({"role": "user", "content": "hi"},), options={"api_base": base})
        error = error_of(ask, call)
        thread.join()
    assert type(error) is ProviderUnavailableError
    assert error.generated is None


def test_a_choice_without_a_message_is_malformed(openai_server: OpenAIServer, ask: Ask) -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    openai_server.script(completion({"index": 0, "finish_reason": "stop"}, usage=usage))
    assert type(error_of(ask, call_for(openai_server))) is MalformedReplyError


@pytest.mark.parametrize("drop", ["before", "mid_body"])
def test_a_connection_that_breaks_may_have_cost_something(server: WireServer, ask: Ask, drop: Any) -> None:
    server.script(Answer(drop=drop))
    error = error_of(ask, call_for(server))
    assert type(error) is ProviderUnavailableError
    assert error.generated is None
    assert error.status is None
    assert len(server.received) == 1


def test_a_refused_connection_is_free(server: WireServer, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    suffix = "/v1" if server.dialect == "openai" else ""
    monkeypatch.setenv(server.base_variable, f"http://127.0.0.1:{closed_port()}{suffix}")
    error = error_of(ask, call_for(server))
    assert type(error) is ProviderUnavailableError
    assert error.generated is False
    assert server.received == []


def test_a_failed_handshake_is_free(
    openai_server: OpenAIServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_BASE", openai_server.url.replace("http:", "https:"))
    error = error_of(ask, call_for(openai_server))
    assert type(error) is ProviderUnavailableError
    assert error.generated is False
    assert openai_server.received == []


def test_a_server_that_takes_no_connection_times_out_for_free(
    server: WireServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        # Once its queue is full, Linux lets further connections hang.
        busy = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(busy.getsockname())
        suffix = "/v1" if server.dialect == "openai" else ""
        monkeypatch.setenv(server.base_variable, f"http://127.0.0.1:{busy.getsockname()[1]}{suffix}")
        error = error_of(ask, call_for(server, timeout_s=0.3))
    assert type(error) is ProviderTimeoutError
    assert error.generated is False


def test_a_slow_answer_times_out_and_may_have_cost_something(server: WireServer, ask: Ask) -> None:
    server.script(Answer(delay_s=30.0))
    error = error_of(ask, call_for(server, timeout_s=0.2))
    assert type(error) is ProviderTimeoutError
    assert error.generated is None
    assert "0.2 s" in str(error)
    assert len(server.received) == 1


def test_a_parameter_that_litellm_knows_to_be_unsupported_is_free_and_unsent(
    anthropic_server: AnthropicServer, ask: Ask
) -> None:
    error = error_of(ask, call_for(anthropic_server, params={"logprobs": True}))
    assert type(error) is InvalidRequestError
    assert error.generated is False
    assert "logprobs" in str(error)
    assert "drop_params" not in str(error)
    assert anthropic_server.received == []


def test_a_parameter_that_the_model_refuses(openai_server: OpenAIServer, ask: Ask) -> None:
    openai_server.script(
        Answer(
            status=400,
            error="Unsupported parameter: 'temperature' is not supported with this model.",
            error_type="invalid_request_error",
            error_code="unsupported_parameter",
        )
    )
    error = error_of(ask, call_for(openai_server, params={"temperature": 0.5}))
    assert type(error) is InvalidRequestError
    assert "'temperature' is not supported" in str(error)


@pytest.mark.parametrize(
    ("answer", "kind", "generated"),
    [
        (Answer(status=429, headers={"Retry-After": "5"}), RateLimitError, False),
        (Answer(status=500), ProviderUnavailableError, False),
        (TOO_LONG["openai"], ContextTooLongError, False),
        (Answer(raw=b'{"x'), MalformedReplyError, None),
        (Answer(choices=False), MalformedReplyError, None),
        (Answer(drop="mid_body"), ProviderUnavailableError, None),
    ],
    ids=["429", "500", "too_long", "bad_json", "no_output", "dropped"],
)
def test_errors_on_the_responses_bridge(
    openai_server: OpenAIServer, ask: Ask, answer: Answer, kind: type[ProviderError], generated: bool | None
) -> None:
    openai_server.script(answer)
    error = error_of(ask, call_for(openai_server, model="gpt-5.4", effort="low", params={"tools": [WEATHER]}))
    assert openai_server.received[0].path == "/v1/responses"
    assert len(openai_server.received) == 1
    assert type(error) is kind
    assert error.generated is generated
    assert error.retry_after_s == (5.0 if answer.status == 429 else None)


@pytest.mark.parametrize("server", ["openai", "anthropic"], indirect=True)
def test_a_missing_key_is_an_authentication_error(
    server: WireServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(server.key_variable)
    error = error_of(ask, call_for(server))
    assert type(error) is AuthenticationError
    assert error.generated is False
    assert server.received == []


def test_a_missing_key_of_a_users_own_card_names_the_variable(openai_server: OpenAIServer, ask: Ask) -> None:
    error = error_of(ask, call_for(openai_server, options={"api_key_env": "MY_SERVER_KEY"}))
    assert type(error) is AuthenticationError
    assert "MY_SERVER_KEY" in str(error)


def test_an_unknown_provider_is_an_invalid_request(openai_server: OpenAIServer, ask: Ask) -> None:
    call = Call("x", "nobody/x", "nobody", ({"role": "user", "content": "hi"},))
    assert type(error_of(ask, call)) is InvalidRequestError


@pytest.mark.parametrize(
    "params",
    [
        {"stream": True},
        {"fallbacks": ["gpt-4o"]},
        {"retry_policy": {"InternalServerErrorRetries": 3}},
        {"mock_response": "not from any model"},
    ],
    ids=lambda params: next(iter(params)),
)
def test_parameters_that_would_break_the_ledger_are_refused(
    openai_server: OpenAIServer, ask: Ask, params: dict[str, Any]
) -> None:
    error = error_of(ask, call_for(openai_server, params=params))
    assert type(error) is InvalidRequestError
    assert next(iter(params)) in str(error)
    assert openai_server.received == []


def test_no_key_in_messages_causes_or_tracebacks(server: WireServer, ask: Ask) -> None:
    key = server.key
    masked = f"{key[:8]}****{key[-4:]}"
    for echoed in (key, masked, f"Bearer {key}"):
        server.script(
            Answer(status=401, error=f"Incorrect API key provided: {echoed}.", headers={"X-Echo": key})
        )
        error = error_of(ask, call_for(server))
        printed = "".join(traceback.format_exception(error))
        assert type(error) is AuthenticationError
        assert key not in printed
        assert "Incorrect API key" in str(error)
        if server.dialect != "gemini":
            assert masked not in printed


def test_a_key_of_no_known_shape_is_cut_out_too(
    openai_server: OpenAIServer, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_SERVER_KEY", "my own secret value")
    options = {
        "api_base": openai_server.url,
        "api_key_env": "MY_SERVER_KEY",
        "headers": {"X-Pass": "another secret value"},
    }
    openai_server.script(Answer(status=400, error="my own secret value and another secret value leaked"))
    error = error_of(ask, call_for(openai_server, options=options))
    assert "[key] and [key] leaked" in str(error)
    assert "secret" not in "".join(traceback.format_exception(error))


def test_the_cause_is_kept_where_it_holds_no_key(openai_server: OpenAIServer, ask: Ask) -> None:
    import litellm

    openai_server.script(Answer(status=500))
    assert isinstance(error_of(ask, call_for(openai_server)).__cause__, litellm.InternalServerError)


def test_an_error_being_handled_meanwhile_is_not_mistaken_for_this_calls(
    openai_server: OpenAIServer, ask: Ask
) -> None:
    openai_server.script(Answer(status=500), Answer(drop="mid_body"))
    try:
        ask(call_for(openai_server))
    except ProviderUnavailableError as first:
        assert first.status == 500
        error = error_of(ask, call_for(openai_server))
        assert error.status is None
        assert error.generated is None


def test_long_messages_of_providers_are_cut(openai_server: OpenAIServer, ask: Ask) -> None:
    openai_server.script(Answer(status=400, error="no " * 5_000, error_type="invalid_request_error"))
    assert len(str(error_of(ask, call_for(openai_server)))) < 500


def test_litellm_prints_no_banner(
    openai_server: OpenAIServer, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    openai_server.script(Answer(status=500))
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), caplog.at_level(logging.WARNING):
        error_of(ask, call_for(openai_server))
    assert out.getvalue() == err.getvalue() == ""


def test_cancellation_passes_through_untouched(server: WireServer) -> None:
    server.script(Answer(delay_s=30.0))

    async def cancelled() -> None:
        task = asyncio.create_task(LiteLLMProvider().asend(call_for(server)))
        while not server.received:
            await asyncio.sleep(0.01)
        task.cancel("enough")
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert len(server.received) == 1
