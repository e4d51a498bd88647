"""Speak the OpenAI, Anthropic and Gemini HTTP APIs on loopback, from a script, and keep every request.

Each server answers what its `script` says, in each provider's own words, and remembers what it was
asked, so that a test can hold the ledger against what really crossed the wire.
"""

from __future__ import annotations

import functools
import itertools
import json
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self

from smartroute.errors import ProviderError
from smartroute.records import Attempt, Call, Outcome, Reply, Usage

_arrivals = itertools.count(1)
_arrived: list[Received] = []
_open: set[WireServer] = set()


@dataclass(frozen=True)
class ToolCall:
    """A call of a function that the model asks for."""

    name: str
    arguments: Mapping[str, Any]
    id: str = "call_1"


@dataclass(frozen=True)
class Answer:
    """What a server says to one request.

    Tokens are counted as `smartroute.Usage` counts them: input with the cached and written ones, output with
    reasoning; each server turns that into its API's own counts. `logprobs` are (token, logprob) pairs.
    `body` replaces the whole JSON document, `raw` the bytes. `drop` closes the connection before the first
    byte or in the middle of the body.
    """

    text: str | None = "ok"
    input_tokens: int = 10
    output_tokens: int = 5
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    finish: Literal["stop", "length", "tools", "filter"] = "stop"
    logprobs: tuple[tuple[str, float], ...] | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    thinking: str | None = None
    refusal: str | None = None
    choices: bool = True
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    error_type: str | None = None
    error_code: str | None = None
    body: Any = None
    raw: bytes | None = None
    delay_s: float = 0.0
    drop: Literal["before", "mid_body"] | None = None

    @property
    def usage(self) -> Usage:
        """Return what a client should count."""
        return Usage(
            self.input_tokens,
            self.output_tokens,
            cached_tokens=self.cached_tokens,
            cache_write_tokens=self.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens,
        )


@dataclass(frozen=True)
class Received:
    """One request as it arrived, and what was answered. `arrival` counts over all servers."""

    arrival: int
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any]
    model: str
    answer: Answer


class WireServer:
    """A loopback HTTP server. Use as a context manager; `url` is what a client takes for its base address."""

    dialect = ""
    key_variable = ""
    key = ""
    base_variable = ""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.default = Answer()
        self._script: deque[Answer] = deque()
        self._by_model: dict[str, deque[Answer]] = {}
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = _Listener(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        _open.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def origin(self) -> str:
        """Return scheme, host and port."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """Return the base address in the form that this provider's clients expect."""
        return self.origin

    def close(self) -> None:
        """Stop, and release the clients that still wait for an answer."""
        _open.discard(self)
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def enter(self, environ: MutableMapping[str, str]) -> None:
        """Put the address, and a key that opens nothing, where litellm looks for them."""
        environ[self.base_variable] = self.url
        environ[self.key_variable] = self.key

    def script(self, *answers: Answer | str, model: str | None = None) -> Self:
        """Queue answers, for any model or for one. When the queue is empty the server says `default`."""
        queue = self._script if model is None else self._by_model.setdefault(model, deque())
        queue.extend(Answer(a) if isinstance(a, str) else a for a in answers)
        return self

    def receive(self, path: str, headers: Mapping[str, str], raw: bytes) -> Received:
        """Record a request, with the answer it gets."""
        body = json.loads(raw) if raw else {}
        model = self.model_of(path, body)
        with self._lock:
            queue = self._by_model.get(model) or self._script
            answer = queue.popleft() if queue else self.default
            lowered = {name.lower(): value for name, value in headers.items()}
            received = Received(next(_arrivals), path, lowered, body, model, answer)
            self.received.append(received)
            _arrived.append(received)
        return received

    def render(self, received: Received) -> Any:
        """Return the JSON document of an answer."""
        answer = received.answer
        if answer.body is not None:
            return answer.body
        return self.failure(answer) if answer.status >= 400 else self.success(received)

    def model_of(self, path: str, body: Mapping[str, Any]) -> str:
        return str(body.get("model", ""))

    def success(self, received: Received) -> Any:
        raise NotImplementedError

    def failure(self, answer: Answer) -> Any:
        raise NotImplementedError

    def wait(self, seconds: float) -> None:
        """Hold an answer back, unless the server is closing."""
        self._closing.wait(seconds)


class OpenAIServer(WireServer):
    """Chat completions and responses."""

    dialect = "openai"
    key_variable = "OPENAI_API_KEY"
    key = "sk-test-0123456789abcdefghij"
    base_variable = "OPENAI_API_BASE"

    @property
    def url(self) -> str:
        return f"{self.origin}/v1"

    def success(self, received: Received) -> Any:
        if received.path.endswith("/responses"):
            return self._response(received)
        answer = received.answer
        message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": answer.refusal}
        if answer.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": json.dumps(call.arguments)},
                }
                for call in answer.tool_calls
            ]
        logprobs = answer.logprobs and {
            "content": [
                {"token": token, "logprob": logprob, "bytes": None, "top_logprobs": []}
                for token, logprob in answer.logprobs
            ],
            "refusal": None,
        }
        finish = {"tools": "tool_calls", "filter": "content_filter"}.get(answer.finish, answer.finish)
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": finish}
        return {
            "id": f"chatcmpl-{received.arrival}",
            "object": "chat.completion",
            "created": 1_800_000_000,
            "model": received.model,
            "choices": [choice] if answer.choices else [],
            "usage": {
                "prompt_tokens": answer.input_tokens,
                "completion_tokens": answer.output_tokens,
                "total_tokens": answer.input_tokens + answer.output_tokens,
                "prompt_tokens_details": {
                    "cached_tokens": answer.cached_tokens,
                    "cache_write_tokens": answer.cache_write_tokens,
                    "audio_tokens": 0,
                },
                "completion_tokens_details": {
                    "reasoning_tokens": answer.reasoning_tokens,
                    "audio_tokens": 0,
                },
            },
        }

    def _response(self, received: Received) -> Any:
        answer = received.answer
        output: list[dict[str, Any]] = []
        if answer.thinking is not None:
            summary = [{"type": "summary_text", "text": answer.thinking}]
            output.append({"type": "reasoning", "id": "rs_1", "summary": summary})
        if answer.text is not None:
            content = [{"type": "output_text", "text": answer.text, "annotations": []}]
            output.append(
                {
                    "type": "message",
                    "id": "msg_1",
                    "role": "assistant",
                    "status": "completed",
                    "content": content,
                }
            )
        output += [
            {
                "type": "function_call",
                "id": f"fc_{call.id}",
                "call_id": call.id,
                "name": call.name,
                "arguments": json.dumps(call.arguments),
                "status": "completed",
            }
            for call in answer.tool_calls
        ]
        cut = answer.finish == "length"
        return {
            "id": f"resp_{received.arrival}",
            "object": "response",
            "created_at": 1_800_000_000,
            "status": "incomplete" if cut else "completed",
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "error": None,
            "model": received.model,
            "output": output if answer.choices else [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "metadata": {},
            "usage": {
                "input_tokens": answer.input_tokens,
                "input_tokens_details": {
                    "cached_tokens": answer.cached_tokens,
                    "cache_write_tokens": answer.cache_write_tokens,
                },
                "output_tokens": answer.output_tokens,
                "output_tokens_details": {"reasoning_tokens": answer.reasoning_tokens},
                "total_tokens": answer.input_tokens + answer.output_tokens,
            },
        }

    def failure(self, answer: Answer) -> Any:
        return {
            "error": {
                "message": answer.error or "something went wrong",
                "type": answer.error_type or "server_error",
                "param": None,
                "code": answer.error_code,
            }
        }


class AnthropicServer(WireServer):
    """Messages."""

    dialect = "anthropic"
    key_variable = "ANTHROPIC_API_KEY"
    key = "sk-ant-test-0123456789abcdef"
    base_variable = "ANTHROPIC_API_BASE"

    def success(self, received: Received) -> Any:
        answer = received.answer
        content: list[dict[str, Any]] = []
        if answer.thinking is not None:
            content.append({"type": "thinking", "thinking": answer.thinking, "signature": "c2lnbmVk"})
        if answer.text:
            content.append({"type": "text", "text": answer.text})
        content += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": dict(call.arguments)}
            for call in answer.tool_calls
        ]
        reasons = {"stop": "end_turn", "length": "max_tokens", "tools": "tool_use", "filter": "refusal"}
        return {
            "id": f"msg_{received.arrival}",
            "type": "message",
            "role": "assistant",
            "model": received.model,
            "content": content if answer.choices else [],
            "stop_reason": reasons[answer.finish],
            "stop_sequence": None,
            "usage": {
                "input_tokens": answer.input_tokens - answer.cached_tokens - answer.cache_write_tokens,
                "cache_read_input_tokens": answer.cached_tokens,
                "cache_creation_input_tokens": answer.cache_write_tokens,
                "output_tokens": answer.output_tokens,
                "output_tokens_details": {"thinking_tokens": answer.reasoning_tokens},
            },
        }

    def failure(self, answer: Answer) -> Any:
        kind = answer.error_type or "api_error"
        return {"type": "error", "error": {"type": kind, "message": answer.error or "something went wrong"}}


class GeminiServer(WireServer):
    """generateContent. A prompt that the filter blocks is `choices=False, finish="filter"`."""

    dialect = "gemini"
    key_variable = "GEMINI_API_KEY"
    key = "AIzaTest0123456789abcdefghij"
    base_variable = "GEMINI_API_BASE"

    def model_of(self, path: str, body: Mapping[str, Any]) -> str:
        return path.partition("?")[0].rpartition("/")[2].partition(":")[0]

    def success(self, received: Received) -> Any:
        answer = received.answer
        parts: list[dict[str, Any]] = []
        if answer.thinking is not None:
            parts.append({"text": answer.thinking, "thought": True})
        if answer.text is not None:
            parts.append({"text": answer.text})
        parts += [
            {"functionCall": {"name": c.name, "args": dict(c.arguments)}, "thoughtSignature": "c2lnbmVk"}
            for c in answer.tool_calls
        ]
        reasons = {"stop": "STOP", "tools": "STOP", "length": "MAX_TOKENS", "filter": "SAFETY"}
        candidate: dict[str, Any] = {
            "content": {"role": "model", "parts": parts},
            "finishReason": reasons[answer.finish],
            "index": 0,
        }
        if answer.logprobs is not None:
            chosen = [{"token": t, "tokenId": 1, "logProbability": p} for t, p in answer.logprobs]
            tops = [{"candidates": [one]} for one in chosen]
            candidate["logprobsResult"] = {"chosenCandidates": chosen, "topCandidates": tops}
        usage = {
            "promptTokenCount": answer.input_tokens,
            "candidatesTokenCount": answer.output_tokens - answer.reasoning_tokens,
            "totalTokenCount": answer.input_tokens + answer.output_tokens,
        }
        if answer.reasoning_tokens:
            usage["thoughtsTokenCount"] = answer.reasoning_tokens
        if answer.cached_tokens:
            usage["cachedContentTokenCount"] = answer.cached_tokens
        reply: dict[str, Any] = {
            "usageMetadata": usage,
            "modelVersion": received.model,
            "responseId": f"r{received.arrival}",
        }
        if answer.choices:
            reply["candidates"] = [candidate]
        elif answer.finish == "filter":
            reply["promptFeedback"] = {"blockReason": "SAFETY"}
        return reply

    def failure(self, answer: Answer) -> Any:
        return {
            "error": {
                "code": answer.status,
                "message": answer.error or "something went wrong",
                "status": answer.error_type or "INTERNAL",
            }
        }


@functools.cache
def _silent() -> socket.socket:
    silent = socket.socket()
    silent.bind(("127.0.0.1", 0))
    return silent


def completion(choice: Mapping[str, Any], **more: Any) -> Answer:
    """Return the answer whose body holds this choice, and nothing that is not given."""
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}
    return Answer(body={**body, **more})


def closed_port() -> int:
    """Return a loopback port where nothing listens: this process holds it."""
    return int(_silent().getsockname()[1])


def once(send: Callable[[Call], Reply]) -> Callable[[Call], Reply]:
    """Return `send`, with every call held against what arrived at the servers meanwhile.

    A call is one request at most, to its own model, and exactly one when a server answered it: a client that
    retries, hedges or answers from a cache behind our back is caught in whatever test it does so.
    """

    def sent_once(call: Call) -> Reply:
        before = len(_arrived)
        answered = False
        try:
            reply = send(call)
            answered = True
            return reply
        except ProviderError as error:
            answered = error.status is not None
            raise
        finally:
            models = [received.model for received in _arrived[before:]]
            if _is_ours(call.options.get("api_base")):
                wanted = [call.target.partition("/")[2]]
                assert models == wanted or (not models and not answered), (
                    f"{call} became requests to {models}"
                )

    return sent_once


def _is_ours(api_base: str | None) -> bool:
    """Return whether a call goes to one of these servers; one with an address of its own may not."""
    return api_base is None or any(api_base.startswith(server.origin) for server in _open)


def assert_ledger_matches(
    servers: WireServer | Sequence[WireServer],
    outcome: Outcome | Sequence[Attempt],
    *,
    targets: Mapping[str, str] | None = None,
    unsent: Sequence[int] = (),
    ordered: bool = True,
) -> None:
    """Assert that the requests which the servers received are the attempts of a ledger, one to one.

    Model, count, order (unless calls ran at the same time: `ordered=False`) and, for whole replies, usage.
    `targets` turns a catalog name into the provider's where they differ; `unsent` are the indices of
    attempts that never reached a server (a refused connection).
    """
    servers = [servers] if isinstance(servers, WireServer) else servers
    received = sorted((r for server in servers for r in server.received), key=lambda r: r.arrival)
    ledger = outcome.attempts if isinstance(outcome, Outcome) else outcome
    attempts = [a for index, a in enumerate(ledger) if index not in unsent]
    asked = [(targets or {}).get(a.model, a.model) for a in attempts]
    served = [r.model for r in received]
    if not ordered:
        assert sorted(served) == sorted(asked), f"the wire saw {served}, the ledger says {asked}"
        return
    assert served == asked, f"the wire saw {served}, the ledger says {asked}"
    for request, attempt in zip(received, attempts, strict=True):
        answer = request.answer
        whole = answer.status == 200 and answer.raw is None and answer.body is None and answer.drop is None
        if whole and (attempt.failure is None or attempt.failure.usage is not None):
            assert attempt.usage == answer.usage, f"{request.model}: {attempt.usage} is not {answer.usage}"
        else:
            assert attempt.failure is not None, (
                f"{request.model} answered {answer}, the ledger has no failure"
            )
            assert attempt.usage is None, f"{request.model}: the ledger has a usage that no server sent"


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that time out hang up on us, and that is what their tests are for."""


def _handler(wire: WireServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            received = wire.receive(self.path, dict(self.headers.items()), raw)
            answer = received.answer
            if answer.delay_s:
                wire.wait(answer.delay_s)
            if answer.drop == "before":
                self._hang_up()
                return
            body = answer.raw if answer.raw is not None else json.dumps(wire.render(received)).encode()
            self.send_response(answer.status)
            self.send_header("Content-Type", "application/json")
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            # Headers stay in the buffer until here, so that a reply is one packet.
            self._headers_buffer.append(b"\r\n")
            head = b"".join(self._headers_buffer)
            self._headers_buffer = []
            self.wfile.write(head + (body[: len(body) // 2] if answer.drop else body))
            if answer.drop:
                self._hang_up()

        def _hang_up(self) -> None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
