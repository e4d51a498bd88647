"""What is recorded is what a replay gets back."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from smartroute.errors import MalformedReplyError, ProviderTimeoutError, RateLimitError
from smartroute.protocols import Provider
from smartroute.providers.recording import RecordingProvider, Transcript, UnrecordedCallError, call_key
from smartroute.records import Call, Failure, Reply, Usage
from smartroute.testing import ScriptedProvider, reply


def call(prompt: str = "hi", model: str = "small", **fields: Any) -> Call:
    return Call(model, f"openai/{model}", "openai", ({"role": "user", "content": prompt},), **fields)


def full_reply() -> Reply:
    return Reply(
        text="ok \ud800 \u2028 ü",
        usage=Usage(100, 20, 40, 5, 7),
        finish_reason="tool_calls",
        logprobs=(-0.5, -1.25),
        tool_calls=({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},),
        raw={"choices": [{"message": {"content": "ok", "thinking_blocks": [{"signature": "x"}]}}]},
        model="small-2026",
    )


def test_a_recorded_reply_comes_back_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "calls.jsonl"
    recorder = RecordingProvider(ScriptedProvider([full_reply()]), path)
    assert recorder.send(call()) == full_reply()
    timed = Transcript.load(path).lookup(call())
    assert timed.result == full_reply()
    assert timed.latency_s >= 0


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError("slow down", model="small", status=429, retry_after_s=2.5),
        ProviderTimeoutError("late", model="small"),
        MalformedReplyError("empty", model="small", usage=Usage(10, 2)),
        ZeroDivisionError("a provider's own bug"),
    ],
)
def test_a_recorded_failure_comes_back_whole(tmp_path: Path, error: Exception) -> None:
    path = tmp_path / "calls.jsonl"
    recorder = RecordingProvider(ScriptedProvider([error]), path)
    with pytest.raises(type(error)) as caught:
        recorder.send(call())
    assert caught.value is error
    assert Transcript.load(path).lookup(call()).result == Failure.of(error)


def test_equal_calls_come_back_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    recorder = RecordingProvider(ScriptedProvider(["one", "two", "three"]), path)
    for number in (1, 2, 3):
        recorder.send(call(number=number))
    transcript = Transcript.load(path)
    assert len(transcript) == 3

    def texts() -> list[str]:
        return [getattr(transcript.lookup(call()).result, "text", "") for _ in range(3)]

    assert texts() == ["one", "two", "three"]
    transcript.rewind()
    assert texts() == ["one", "two", "three"]


def test_order_is_that_of_the_start_even_when_the_first_call_ends_last(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    second_is_done = threading.Event()
    numbers = iter((1, 2))

    class Slow:
        def send(self, call: Call) -> Reply:
            number = next(numbers)
            if number == 1:
                assert second_is_done.wait(10)
            return reply(str(number))

    recorder = RecordingProvider(Slow(), path)  # type: ignore[arg-type]
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(recorder.send, call())
        while not recorder._counts:
            pass
        recorder.send(call())
        second_is_done.set()
        assert first.result().text == "1"
    lines = [json.loads(line)["occurrence"] for line in path.read_text().splitlines()]
    assert lines == [2, 1]
    assert getattr(Transcript.load(path).lookup(call()).result, "text", None) == "1"


def test_an_unrecorded_call_is_named(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    RecordingProvider(ScriptedProvider(["ok"]), path).send(call())
    transcript = Transcript.load(path)
    transcript.lookup(call())
    with pytest.raises(UnrecordedCallError, match=r"answer call to small .* recorded 1 time"):
        transcript.lookup(call())
    with pytest.raises(
        UnrecordedCallError, match=r"judge call to big at effort low .* was not recorded"
    ) as e:
        transcript.lookup(call(model="big", effort="low", purpose="judge"))
    assert e.value.call.model == "big"
    assert isinstance(e.value, LookupError)


def test_the_key_covers_what_is_asked_and_nothing_else() -> None:
    key = call_key(call())
    assert key == call_key(call(number=3, timeout_s=9.0, rung=2, options={"api_base": "http://x"}))
    different = [
        call("ho"),
        call(model="big"),
        call(effort="low"),
        call(purpose="judge"),
        call(params={"temperature": 1}),
    ]
    assert len({key, *map(call_key, different)}) == 6
    assert call_key(call(params={"a": 1, "b": 2})) == call_key(call(params={"b": 2, "a": 1}))


class Verdict(BaseModel):
    score: int


def test_the_key_is_the_same_in_every_process() -> None:
    params = {"response_format": Verdict, "stop": ("a", "b"), "seen": {"x", "y", "z"}, "bias": {1: 2, "w": 3}}
    code = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from test_recording import Verdict, call, call_key\n"
        "params = {'response_format': Verdict, 'stop': ('a', 'b'), 'seen': {'z', 'x', 'y'}, "
        "'bias': {1: 2, 'w': 3}}\n"
        "print(call_key(call('\\ud800', params=params)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    assert done.stdout.strip() == call_key(call("\ud800", params=params))


def test_torn_and_foreign_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    recorder = RecordingProvider(ScriptedProvider(["one", "two", "three"]), path)
    recorder.send(call())
    recorder.send(call())
    recorder.close()
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    recorder.send(call())
    path.write_bytes(path.read_bytes() + b'\xff\xfe\n[]\n\n{"v": 1}\n')
    transcript = Transcript.load(path)
    assert transcript.bad_lines == 4
    assert [getattr(transcript.lookup(call()).result, "text", "") for _ in range(2)] == ["one", "three"]


def test_recordings_of_two_sessions_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    for text in ("first session", "second session"):
        recorder = RecordingProvider(ScriptedProvider([text]), path)
        recorder.send(call())
        recorder.close()
    transcript = Transcript.load(path)
    got = [getattr(transcript.lookup(call()).result, "text", "") for _ in range(2)]
    assert got == ["first session", "second session"]


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    recorder = RecordingProvider(ScriptedProvider(lambda call: "x" * 5_000), path)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: recorder.send(call(str(n % 50))), range(800)))
    transcript = Transcript.load(path)
    assert (len(transcript), transcript.bad_lines, recorder.lost) == (800, 0, 0)


def test_the_prompt_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    RecordingProvider(ScriptedProvider(["fine"]), path).send(call("a very secret prompt"))
    assert "secret" not in path.read_text()


def test_async_calls_and_cancellations_are_recorded(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"

    class Sleepy:
        async def asend(self, call: Call) -> Reply:
            await asyncio.sleep(30 if call.model == "slow" else 0)
            return reply("awake")

    recorder = RecordingProvider(Sleepy(), path)  # type: ignore[arg-type]

    async def main() -> None:
        assert (await recorder.asend(call())).text == "awake"
        task = asyncio.create_task(recorder.asend(call(model="slow")))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    transcript = Transcript.load(path)
    assert transcript.lookup(call(model="slow")).result == Failure.cancelled()


def test_a_failing_disk_loses_no_reply(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    recorder = RecordingProvider(ScriptedProvider(["one", "two"]), tmp_path)
    assert recorder.send(call()).text == "one"
    assert recorder.send(call()).text == "two"
    assert recorder.lost == 2
    assert len(caplog.records) == 1


def test_a_forked_child_records_its_own_run(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    recorder = RecordingProvider(ScriptedProvider(lambda call: "ok"), path)
    recorder.send(call())
    pid = os.fork()
    if pid == 0:
        recorder.send(call())
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    recorder.send(call())
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted(r["occurrence"] for r in records) == [1, 1, 2]
    assert len({r["run"] for r in records}) == 2


@pytest.mark.parametrize("simulated", [True, False])
def test_it_is_a_provider_and_as_simulated_as_its_inner_one(tmp_path: Path, simulated: bool) -> None:
    path = tmp_path / "calls.jsonl"
    recorder = RecordingProvider(ScriptedProvider(["ok"], simulated=simulated), path)
    assert isinstance(recorder, Provider)
    assert recorder.simulated is simulated
    assert recorder.needs_keys is False
    recorder.send(call())
    assert Transcript.load(path).simulated is simulated
