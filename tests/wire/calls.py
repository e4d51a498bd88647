"""Name what the wire tests ask for: models, a tool, an image, a call."""

from __future__ import annotations

from typing import Any

from servers import WireServer

from smartroute.records import Call

MODELS = {"openai": "gpt-4o-mini", "anthropic": "claude-haiku-4-5", "gemini": "gemini-2.5-flash"}

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tell the weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}

PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def call_for(server: WireServer, prompt: str = "hi", model: str | None = None, **fields: Any) -> Call:
    name = model or MODELS[server.dialect]
    fields.setdefault("messages", ({"role": "user", "content": prompt},))
    fields.setdefault("timeout_s", 10.0)
    return Call(model=name, target=f"{server.dialect}/{name}", provider=server.dialect, **fields)
