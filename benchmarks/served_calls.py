"""Compare `arun` with bare `litellm.acompletion`: the same calls to a loopback server in another process.

    python served_calls.py '{"rounds": 9, "calls": {"1": 60, "16": 160}}'

One client process makes all calls, in rounds whose order is shuffled: bare, routed, bare again (the control,
which shows the noise), bare with litellm's own log of calls off (as smartroute's provider has it without a
callback), and routed with log-probabilities asked for (the default where a model has them). Prints the CPU
and wall seconds of a call, round by round, as JSON.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from rounds import turns
from workers import HERE

PROMPT = "Rate this hook from 0 to 100 and say why: 'Lose weight fast, and keep it off!'"
PARAMETERS: Mapping[str, Any] = {"temperature": 0.0, "max_tokens": 64}
SETTLING_S, RESTING_CPU_S = 0.03, 0.002

Once = Callable[[], Awaitable[object]]


async def round_of(once: Once, calls: int, concurrency: int) -> tuple[float, float]:
    """Return the CPU and the wall seconds of a number of calls, with a number of them at a time.

    CPU includes what is left over when the last answer is there, such as a log of calls; the round ends
    when the process has come to rest.
    """
    left = iter(range(calls))

    async def caller() -> None:
        for _ in left:
            await once()

    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(concurrency)))
    took = time.perf_counter() - wall
    await _rest()
    return time.process_time() - cpu, took


async def _rest() -> None:
    for _ in range(100):
        before = time.process_time()
        await asyncio.sleep(SETTLING_S)
        if time.process_time() - before < RESTING_CPU_S:
            return


async def measure(rounds: int, calls: Mapping[int, int], folder: Path) -> dict[str, Any]:
    """Return {concurrency: {side: [[cpu_s, wall_s], ...]}} per call, and what the log then holds."""
    from smartroute import ModelRouter

    plain = ModelRouter(log_path=folder / "log", ask_logprobs=False)
    asking = ModelRouter(log_path=folder / "log-of-asking")
    plain.warmup()
    asking.warmup()
    import litellm

    decision = plain.decide(PROMPT, kind="score", **PARAMETERS)
    target = plain.catalog.card(decision.ladder[0].model).target
    messages = [{"role": "user", "content": PROMPT}]
    made = 0

    async def bare() -> object:
        return await litellm.acompletion(
            model=target,
            messages=messages,
            num_retries=0,
            max_retries=0,
            caching=False,
            timeout=plain.config.call_timeout_s,
            **PARAMETERS,
        )

    unheard = _switch()

    async def bare_unheard() -> object:
        token = unheard.set(True)
        try:
            return await bare()
        finally:
            unheard.reset(token)

    async def routed() -> object:
        nonlocal made
        made += 1
        outcome = await plain.arun(PROMPT, kind="score", **PARAMETERS)
        assert len(outcome.attempts) == 1, outcome.attempts
        return outcome

    async def routed_asking() -> object:
        return await asking.arun(PROMPT, kind="score", **PARAMETERS)

    sides: dict[str, Once] = {"bare": bare, "routed": routed, "bare again": bare, "asking": routed_asking}
    if unheard is not None:
        sides["bare, unheard"] = bare_unheard
    results: dict[str, Any] = {}
    for once in sides.values():
        await round_of(once, 20, 4)
    for concurrency, number in calls.items():
        found: dict[str, list[list[float]]] = {name: [] for name in sides}
        for names in turns(list(sides), rounds):
            for name in names:
                cpu, wall = await round_of(sides[name], number, concurrency)
                found[name].append([cpu / number, wall / number])
        results[str(concurrency)] = found
    plain.flush()
    logged = sum(len(file.read_bytes().splitlines()) for file in (folder / "log").glob("*.jsonl"))
    for router in (plain, asking):
        await router.aclose()
    return {"model": target, "made": made, "logged": logged, "rounds": results}


def _switch() -> Any:
    try:
        from litellm._internal_context import is_internal_call
    except ImportError:
        return None
    return is_internal_call


def main(request: Mapping[str, Any]) -> None:
    """Start the server, measure, and print the result."""
    with (
        subprocess.Popen(
            [sys.executable, str(HERE / "loopback.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
        tempfile.TemporaryDirectory() as folder,
    ):
        assert server.stdin is not None and server.stdout is not None
        try:
            port = int(server.stdout.readline())
            os.environ["OPENAI_API_BASE"] = f"http://127.0.0.1:{port}/v1"
            # Only one provider has a key, and its address is loopback.
            for variable in ("ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
                os.environ.pop(variable, None)
            calls = {int(concurrency): number for concurrency, number in request["calls"].items()}
            found = asyncio.run(measure(request["rounds"], calls, Path(folder)))
        finally:
            server.stdin.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
