"""Give tests the three servers, already in the environment where litellm looks for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from servers import AnthropicServer, GeminiServer, OpenAIServer, WireServer, once

from smartroute.providers.litellm import LiteLLMProvider
from smartroute.records import Call, Reply

Server = TypeVar("Server", bound=WireServer)


def _running(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with server:
        monkeypatch.setenv(server.key_variable, server.key)
        monkeypatch.setenv(server.base_variable, server.url)
        yield server


@pytest.fixture
def openai_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenAIServer]:
    yield from _running(OpenAIServer(), monkeypatch)


@pytest.fixture
def anthropic_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[AnthropicServer]:
    yield from _running(AnthropicServer(), monkeypatch)


@pytest.fixture
def gemini_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[GeminiServer]:
    yield from _running(GeminiServer(), monkeypatch)


@pytest.fixture(params=["openai", "anthropic", "gemini"])
def server(request: pytest.FixtureRequest) -> WireServer:
    """One of the three, each in turn."""
    found: WireServer = request.getfixturevalue(f"{request.param}_server")
    return found


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all asynchronous calls, as an application would have."""
    with asyncio.Runner() as runner:
        runner.get_loop()
        yield runner


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, runner: asyncio.Runner) -> Callable[[Call], Reply]:
    """Make a call through litellm, with and without an event loop; each is one request and no more."""
    provider = LiteLLMProvider()
    if request.param == "sync":
        return once(provider.send)
    return once(lambda call: runner.run(provider.asend(call)))
