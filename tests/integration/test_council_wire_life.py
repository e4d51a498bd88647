"""A council's life over real HTTP: many at once, threads, loops that come and go, cancelled in the middle."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import threading
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from council_servers import DOWN, MEMBERS, Answer, assert_every_request_is_an_attempt, is_screen

pytestmark = pytest.mark.wire


def worth(body: Mapping[str, Any]) -> int:
    """Return the number that the script in a request says it is worth."""
    found = re.search(r"worth (\d+) points", json.dumps(body))
    assert found is not None
    return int(found[1])


@pytest.fixture
def by_worth(desk):
    """Let every member find a script worth what it says it is, without a screen that could decide."""
    desk.says = dict.fromkeys(MEMBERS, worth)
    desk.screen = DOWN


def attempts_of(events):
    return [attempt for event in events for attempt in event.attempts if attempt["provider"] != "scorer"]


def assert_each_script_has_its_own_scores(answers):
    for points, answer in answers:
        asked = set(MEMBERS) - set(answer["_routing_metadata"]["imputed"])
        assert asked
        assert {answer["breakdown"][key] for key in asked} == {float(points)}
        assert answer["errors"] is None


@pytest.mark.usefixtures("by_worth")
def test_fifty_at_once_do_not_mix_and_every_request_is_in_the_ledger(council, panel, sink, runner, script):
    async def fifty():
        return await asyncio.gather(
            *(council.evaluate_script(f"{script} It is worth {n} points.") for n in range(50))
        )

    answers = runner.run(fifty())
    assert_each_script_has_its_own_scores(enumerate(answers))
    assert_every_request_is_an_attempt(panel, attempts_of(sink.captured))
    assert len(sink.captured) == 50
    # In the event of a script stand the requests about that script, and no others.
    asked = Counter(worth(request.body) for _, request in panel.received)
    in_events = {answer["_routing_metadata"]["id"]: points for points, answer in enumerate(answers)}
    assert {in_events[event.id]: len(attempts_of([event])) for event in sink.captured} == asked


@pytest.mark.usefixtures("by_worth")
def test_a_loop_for_every_call_in_eight_threads(council, panel, clicks, sink, script):
    answers: list[tuple[int, dict[str, Any]]] = []

    def work(first: int) -> None:
        for points in range(first, first + 4):
            found = asyncio.run(council.evaluate_script(f"{script} It is worth {points} points."))
            answers.append((points, found))

    threads = [threading.Thread(target=work, args=(first,)) for first in range(0, 80, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == 32
    assert_each_script_has_its_own_scores(answers)
    assert {answer["breakdown"]["deep_ctr"] for _, answer in answers} == {50.0}
    assert_every_request_is_an_attempt(panel, attempts_of(sink.captured))
    assert len(clicks.posted) == 32


@pytest.mark.usefixtures("by_worth")
def test_a_loop_is_closed_and_another_opened_and_the_council_with_it(council, panel, sink, script):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="coroutine .* was never awaited")
        for points in range(5):
            found = asyncio.run(council.evaluate_script(f"{script} It is worth {points} points."))
            assert_each_script_has_its_own_scores([(points, found)])
            if points % 2:
                asyncio.run(council.aclose())
        gc.collect()
    assert_every_request_is_an_attempt(panel, attempts_of(sink.captured))


def test_what_is_cancelled_in_the_middle_is_in_the_ledger_at_an_unknown_cost(
    council, desk, panel, sink, runner, script
):
    slow = Answer('{"score": 50, "reason": "slow"}', delay_s=0.6)
    desk.says, desk.screen = dict.fromkeys(MEMBERS, slow), slow

    async def cut_off_every_other():
        tasks = [asyncio.ensure_future(council.evaluate_script(f"{script} {n}")) for n in range(8)]
        while len(panel.received) < 8:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        for task in tasks[::2]:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    runner.run(council.evaluate_script(script + " Warm-up."))  # imports litellm, which takes seconds
    panel.forget()
    before = len(sink.captured)
    found = runner.run(cut_off_every_other())
    assert [type(one) for one in found] == [asyncio.CancelledError, dict] * 4
    events = sink.captured[before:]
    cut = [event for event in events if event.stopped_by == "cancelled"]
    assert (len(events), len(cut)) == (8, 4)
    for event in cut:
        assert event.attempts
        assert {attempt["failure"] for attempt in event.attempts} == {"cancelled"}
        assert event.unpriced_attempts == len(event.attempts)
    # A request cut off has no usage; which models were asked is known all the same.
    on_the_wire = Counter((dialect, is_screen(request.body)) for dialect, request in panel.received)
    in_the_ledger = Counter((a["provider"], a["purpose"] == "screen") for a in attempts_of(events))
    assert in_the_ledger == on_the_wire
