"""Run the examples as with a key: the real litellm, real HTTP, and a server on loopback that counts."""

from __future__ import annotations

import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from servers import Answer, OpenAIServer

from smartroute.emitter import Emitter
from smartroute.events.event import Event

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("[0-9]*.py"))


@pytest.mark.wire
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_with_a_key_an_example_calls_real_models_and_says_so(
    path: Path,
    openai_server: OpenAIServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events: list[Event] = []  # wherever an example keeps its log

    def seen(emitter: Emitter, *outcome: Any, make: Any = Emitter._made) -> Event:
        events.append(make(emitter, *outcome))
        return events[-1]

    monkeypatch.setattr(Emitter, "_made", seen)
    openai_server.default = Answer("82", input_tokens=1_000, output_tokens=100)
    runpy.run_path(str(path), run_name="__main__")
    printed = capsys.readouterr().out
    assert printed.startswith("Real models, by OPENAI_API_KEY")
    assert "simulated" not in printed
    assert openai_server.received
    usd = re.search(r"The bill: \$(\d+\.\d+)", printed)
    assert usd is not None
    assert float(usd[1]) > 0
    attempts = sorted(attempt["model"] for event in events for attempt in event.attempts)
    assert sorted(received.model for received in openai_server.received) == attempts
