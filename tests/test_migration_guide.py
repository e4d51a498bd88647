"""Run MIGRATION_GUIDE.md from top to bottom: what it shows of other code is played by stand-ins."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from test_docs import ROOT, answer, blocks, run

from smartroute.records import Call, Reply
from smartroute.testing import ScriptedProvider, reply

PAGE = ROOT / "MIGRATION_GUIDE.md"


class OldCouncil:
    """The council that was replaced, as its callers know it."""

    async def evaluate_script(self, script_content: str, niche: str = "fitness") -> dict[str, Any]:
        return {
            "verdict": "NEEDS_REVISION",
            "final_score": 61.0,
            "breakdown": dict.fromkeys(("gemini_3_pro", "claude_3_5", "gpt_4o", "deep_ctr"), 61.0),
            "feedback": "",
            "confidence": 1.0,
            "errors": None,
            "timestamp": "2026-01-01T00:00:00",
        }


class OldExecutor:
    async def execute(self, text: str, **options: Any) -> dict[str, Any]:
        return {"result": "billing"}


def module(name: str, **names: Any) -> ModuleType:
    made = ModuleType(name)
    made.__dict__.update(names)
    return made


class Recorder:
    """A client of a provider: whatever is called on it is remembered, and answered with `answer`."""

    def __init__(self, said: Any) -> None:
        self.called: list[dict[str, Any]] = []
        self._said = said

    def __getattr__(self, name: str) -> Any:
        return self

    def __call__(self, **arguments: Any) -> Any:
        if not arguments:
            return self
        self.called.append(arguments)
        return self._said


class Routes:
    """A router or an application of FastAPI: it knows which function answers which POST."""

    every: ClassVar[list[Routes]] = []

    def __init__(self) -> None:
        self.posts: dict[str, Callable[..., Any]] = {}
        self.every.append(self)

    def post(self, path: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def keep(handler: Callable[..., Any]) -> Callable[..., Any]:
            self.posts[path] = handler
            return handler

        return keep

    def include_router(self, router: Routes, prefix: str) -> None:
        self.posts |= {prefix + path: handler for path, handler in router.posts.items()}


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> dict[str, Recorder]:
    openai_shape = SimpleNamespace(choices=[SimpleNamespace(message=SimpleNamespace(content="82"))])
    clients = {
        "openai": Recorder(openai_shape),
        "anthropic": Recorder(SimpleNamespace(content=[SimpleNamespace(text="82")])),
        "genai": Recorder(SimpleNamespace(text="82")),
        "litellm": Recorder(openai_shape),
    }
    modules = {
        "yourapp": module("yourapp"),
        "yourapp.council": module("yourapp.council", council=OldCouncil()),
        "yourapp.api": module("yourapp.api", router=Routes()),
        "fastapi": module("fastapi", FastAPI=Routes, APIRouter=Routes),
        "yourapp.executor": module("yourapp.executor", executor=OldExecutor()),
        "openai": module("openai", OpenAI=clients["openai"]),
        "anthropic": module("anthropic", Anthropic=clients["anthropic"]),
        "google": module("google", genai=SimpleNamespace(Client=clients["genai"])),
        "litellm": module("litellm", completion=clients["litellm"]),
    }
    for name, made in modules.items():
        monkeypatch.setitem(sys.modules, name, made)
    return clients


def judged(call: Call) -> Reply:
    """Stand for a model: a score for a member or a screen, else a number."""
    shape = call.params.get("response_format") or {}
    if call.purpose == "screen":
        return reply('{"gemini_3_pro": {"score": 40}, "claude_3_5": {"score": 40}, "gpt_4o": {"score": 40}}')
    return reply('{"score": 60, "reason": "scripted"}') if shape else answer(call)


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedProvider]:
    """Let the ready instances start again, with a script for a model, in an empty folder."""
    from smartroute.integration import smart_council, smart_executor
    from smartroute.integration.owned_router import OwnedRouter

    provider = ScriptedProvider(judged)
    monkeypatch.setattr("smartroute.router.construction.litellm_provider", lambda: provider)
    monkeypatch.chdir(tmp_path)
    for ready in (smart_council, smart_executor):
        monkeypatch.setattr(ready, "_owned_router", OwnedRouter(None, {}))
    smart_council.clear_cache()
    yield provider
    smart_council.clear_cache()


def test_every_snippet_of_the_guide_runs(scripted: ScriptedProvider, stand_ins: dict[str, Recorder]) -> None:
    published: list[dict[str, Any]] = []
    Routes.every.clear()
    run(PAGE.read_text("utf-8"), PAGE.name, asyncio=asyncio, publish=published.append)
    assert published == []
    assert {name: len(client.called) for name, client in stand_ins.items()} == {
        "openai": 1,
        "anthropic": 1,
        "genai": 1,
        "litellm": 1,
    }
    assert scripted.calls
    app = next(routes for routes in Routes.every if "/api/v1/routing/execute" in routes.posts)
    evaluate = app.posts["/api/v1/routing/evaluate-script"]
    found = asyncio.run(evaluate({"script": "Tired of hot coffee?", "niche": "finance", "user_id": "u"}))
    assert (found["_routing_metadata"]["threshold"], set(found["breakdown"])) == (
        90.0,
        {"gemini_3_pro", "claude_3_5", "gpt_4o", "deep_ctr"},
    )


def test_nothing_of_the_guide_is_only_compiled() -> None:
    found = [info for info, _, _ in blocks(PAGE.read_text("utf-8"))]
    assert "python no-run" not in found
    assert found.count("python") >= 20


def test_links_within_the_guide_lead_to_its_sections() -> None:
    import re

    text = PAGE.read_text("utf-8")
    sections = {
        re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= sections
