"""A server that is none of ours: fakellm, in a process of its own, answers through the provider."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from calls import WEATHER

from smartroute import AllModelsFailedError, Catalog, ModelCard, ModelRouter
from smartroute.errors import RateLimitError
from smartroute.records import Call, Reply
from smartroute.routing.retries import RetryPolicy
from smartroute.routing.strategies import FixedLadder

pytest.importorskip("fakellm")
pytestmark = pytest.mark.wire

Ask = Callable[[Call], Reply]

RULES = """\
rules:
  - name: capital
    when: {messages_contain: "capital of France"}
    respond: {content: "Paris"}
  - name: tool
    when: {messages_contain: "weather"}
    respond:
      tool_calls:
        - {name: weather, arguments: {city: Oslo}}
  - name: busy
    when: {messages_contain: "busy"}
    respond: {status: 429, error: "Rate limit exceeded (mock)"}
"""

# It takes a port of its own and tells it: one that we had looked for might be another's by then.
SERVE = """
import socket
import uvicorn
listening = socket.create_server(("127.0.0.1", 0))
print(listening.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config("fakellm.server:app", log_level="warning")).run([listening])
"""


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    rules = tmp_path_factory.mktemp("fakellm") / "rules.yaml"
    rules.write_text(RULES)
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE],
        env={**os.environ, "FAKELLM_CONFIG": str(rules)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    origin = f"http://127.0.0.1:{process.stdout.readline().strip()}"
    try:
        deadline = time.monotonic() + 60
        while not _answers(origin):
            assert process.poll() is None, "fakellm ended before it answered"
            assert time.monotonic() < deadline, "fakellm did not answer within a minute"
            time.sleep(0.05)
        yield origin
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


def _answers(origin: str) -> bool:
    try:
        with urllib.request.urlopen(f"{origin}/_fakellm/stats", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _recent(origin: str) -> list[dict[str, object]]:
    with urllib.request.urlopen(f"{origin}/_fakellm/stats", timeout=5) as response:
        found: list[dict[str, object]] = json.load(response)["recent"]
    return found


def _call(origin: str, provider: str, prompt: str, **fields: object) -> Call:
    model = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5"}[provider]
    api_base = f"{origin}/v1" if provider == "openai" else origin
    return Call(
        model,
        f"{provider}/{model}",
        provider,
        ({"role": "user", "content": prompt},),
        timeout_s=20.0,
        options={"api_base": api_base},
        **fields,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_an_answer(origin: str, provider: str, ask: Ask) -> None:
    prompt = "What is the capital of France?"
    before = len(_recent(origin))
    reply = ask(_call(origin, provider, prompt))
    assert len(_recent(origin)) == before + 1
    assert reply.text == "Paris"
    assert reply.finish_reason == "stop"
    # fakellm counts a token for every four characters.
    assert reply.usage is not None
    assert reply.usage.input_tokens == pytest.approx(len(prompt) / 4, abs=1)
    assert reply.usage.output_tokens == pytest.approx(len("Paris") / 4, abs=1)
    assert _recent(origin)[0]["api"] == provider
    assert _recent(origin)[0]["matched_rule"] == "capital"


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_tool_call(origin: str, provider: str, ask: Ask) -> None:
    before = len(_recent(origin))
    reply = ask(_call(origin, provider, "How is the weather?", params={"tools": [WEATHER]}))
    assert len(_recent(origin)) == before + 1
    assert reply.finish_reason == "tool_calls"
    assert json.loads(reply.tool_calls[0]["function"]["arguments"]) == {"city": "Oslo"}


def _router(origin: str) -> ModelRouter:
    cards = [
        ModelCard("gpt-4o-mini", target="openai/gpt-4o-mini", tier="mini", api_base=f"{origin}/v1"),
        ModelCard("claude-haiku-4-5", target="anthropic/claude-haiku-4-5", api_base=origin),
    ]
    return ModelRouter(
        catalog=Catalog.of(cards),
        strategy=FixedLadder("gpt-4o-mini", "claude-haiku-4-5"),
        retry=RetryPolicy(calls=2, initial_s=0),
        sink=False,
    )


@pytest.mark.parametrize(
    ("prompt", "asked"),
    [
        ("What is the capital of France?", ["gpt-4o-mini"]),
        ("are you busy?", ["gpt-4o-mini"] * 2 + ["claude-haiku-4-5"] * 2),
    ],
)
def test_its_requests_are_the_ledgers_attempts(origin: str, prompt: str, asked: list[str]) -> None:
    before = len(_recent(origin))
    try:
        attempts = _router(origin).run(prompt).attempts
    except AllModelsFailedError as error:
        attempts = error.attempts
    served = _recent(origin)[: len(_recent(origin)) - before]
    assert [attempt.model for attempt in attempts] == asked
    assert [request["model"] for request in reversed(served)] == asked


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_full_server_is_asked_once(origin: str, provider: str, ask: Ask) -> None:
    before = len(_recent(origin))
    with pytest.raises(RateLimitError, match="Rate limit exceeded"):
        ask(_call(origin, provider, "are you busy?"))
    assert len(_recent(origin)) == before + 1
