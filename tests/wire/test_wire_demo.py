"""`smartroute demo --live`, as a process of its own, against servers on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest
from servers import Answer, OpenAIServer

from smartroute.catalog import Catalog
from smartroute.demo.tasks import load_tasks
from smartroute.records import Usage
from smartroute.sinks import JsonlSource
from smartroute.sinks.locations import default_log_path

pytestmark = pytest.mark.wire


def logged_attempts() -> list[Mapping[str, Any]]:
    """Return every attempt that the demo's log holds, in order."""
    events = JsonlSource(default_log_path(simulated=False)).events()
    return [attempt for event in events for attempt in event.attempts]


def assert_log_matches(server: OpenAIServer) -> None:
    """Assert that the requests which the server received are the attempts in the log, one to one."""
    assert [received.model for received in server.received] == [a["model"] for a in logged_attempts()]


def live(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "smartroute", "demo", "--live", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, env={**os.environ}, stdin=subprocess.DEVNULL, timeout=240
    )


def test_a_live_demo_stops_at_its_budget_and_its_bill_is_what_the_server_saw(
    openai_server: OpenAIServer,
) -> None:
    openai_server.default = Answer("7", input_tokens=40, output_tokens=3)
    done = live("--yes", "--json", "--max-usd", "0.02")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["simulated"] is False
    assert 0 < len(document["tasks"]) < document["planned"] == len(load_tasks())
    assert document["stopped"].startswith(f"the budget ended after {len(document['tasks'])} of")
    attempts = [attempt for task in document["tasks"] for attempt in task["attempts"]]
    assert_log_matches(openai_server)
    # A task that the budget stopped in the middle has calls but no line in the document.
    assert len(attempts) <= len(openai_server.received) <= len(attempts) + 2
    prices = Catalog.default().prices()
    for attempt in attempts:
        expected = prices.cost(attempt["model"], Usage(40, 3))
        assert attempt["cost_usd"] == pytest.approx(expected)
    spent = sum(prices.cost(received.model, Usage(40, 3)) or 0.0 for received in openai_server.received)
    assert document["spent_usd"] == pytest.approx(spent)
    assert spent <= 0.02
    assert document["totals"]["best_fixed_note"] == "not measured"
    assert all(fixed["quality"] is None for fixed in document["totals"]["fixed"])


def test_a_live_demo_asks_first_and_calls_nobody_without_a_yes(openai_server: OpenAIServer) -> None:
    done = live("--max-usd", "0.02")
    assert done.returncode == 2
    assert openai_server.received == []


@pytest.mark.slow
def test_a_large_budget_measures_the_fixed_models_too(openai_server: OpenAIServer) -> None:
    openai_server.default = Answer("7", input_tokens=40, output_tokens=3)
    done = live("--yes", "--json", "--max-usd", "50")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["stopped"] is None
    totals = document["totals"]
    assert len(totals["fixed"]) >= 3
    assert all(fixed["measured"] and fixed["n"] == document["planned"] for fixed in totals["fixed"])
    calls = sum(len(task["attempts"]) for task in document["tasks"])
    assert len(openai_server.received) == calls + document["planned"] * len(totals["fixed"])
    assert_log_matches(openai_server)


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is another signal there")
def test_ctrl_c_prints_the_bill_so_far(openai_server: OpenAIServer) -> None:
    openai_server.default = Answer("7", input_tokens=40, output_tokens=3, delay_s=0.2)
    command = [sys.executable, "-m", "smartroute", "demo", "--live", "--yes", "--json", "--max-usd", "50"]
    # A shell that runs the tests in the background has them, and what they start, ignore Ctrl-C.
    ignored = signal.signal(signal.SIGINT, signal.SIG_DFL)
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    signal.signal(signal.SIGINT, ignored)
    deadline = time.monotonic() + 120
    while len(openai_server.received) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    printed, complained = process.communicate(timeout=60)
    assert process.returncode == 130, complained
    document = json.loads(printed)
    assert document["interrupted"] is True
    assert 4 <= len(document["tasks"]) < document["planned"]
    assert document["spent_usd"] > 0
    assert_log_matches(openai_server)
    assert [a.get("failure") for a in logged_attempts()].count("cancelled") <= 1
