"""Measure what one event costs: built from an outcome, encoded, and written to a real file.

    python benchmarks/event_write.py [--rounds 40] [--events 500]

Prints medians over interleaved rounds in one process, in microseconds per event, with the standard
library's json and with orjson where that is installed, beside a bare write of as many bytes. The garbage
collector runs as it does in an application.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from smartroute.events.event import encode_json, encoder
from smartroute.events.writing import event_of
from smartroute.records import (
    Attempt,
    Classification,
    Confidence,
    Decision,
    Outcome,
    Reply,
    RuledOut,
    Rung,
    Signal,
    Task,
    TaskComplexity,
    Tier,
    Usage,
)
from smartroute.sinks import JsonlSink

KEY = bytes(range(32))


def an_outcome(rungs: int) -> Outcome:
    """Return the outcome of a short prompt that the last of this many rungs answered."""
    usage = Usage(46, 12, cached_tokens=0, reasoning_tokens=0)
    ladder = tuple(Rung(f"model-{n}", None, Tier.MINI, 0.0001 * 4**n) for n in range(max(rungs, 2)))
    signals = tuple(Signal(f"signal_{n}", 0.125 * n, 0.05) for n in range(8))
    attempts = tuple(
        Attempt(
            f"model-{n}",
            "answer",
            0.000123 * 4**n,
            0.8314159,
            1_795_428_900.123456 + n,
            provider="acme",
            rung=n,
            usage=usage,
            finish_reason="stop",
            confidence=0.9,
            confidence_source="text",
        )
        for n in range(rungs)
    )
    return Outcome(
        id="0123456789abcdef0123456789abcdef",
        task=Task.of(
            "Rate this hook from 0 to 100 and say why: 'Lose weight fast, and keep it off!'", kind="score"
        ),
        decision=Decision(
            Classification(TaskComplexity.SIMPLE, 0.2, signals, "rules"),
            ladder,
            0.7,
            "cost",
            ruled_out=tuple(RuledOut(f"other-{n}", "its key is not set") for n in range(4)),
        ),
        attempts=attempts,
        started_at=1_795_428_900.123456,
        latency_s=0.9123456 * rungs,
        answer=Reply("87", usage, "stop"),
        answered_by=ladder[rungs - 1],
        estimate=Confidence(0.9, "text"),
        baseline_model="model-1",
        baseline_cost_usd=0.0005,
    )


@contextmanager
def without_orjson() -> Iterator[None]:
    """Let the encoder be chosen as if orjson were not installed."""
    kept = sys.modules.pop("orjson", None)
    sys.modules["orjson"] = None  # type: ignore[assignment]
    encoder.cache_clear()
    try:
        assert encoder() is encode_json
        yield
    finally:
        del sys.modules["orjson"]
        if kept is not None:
            sys.modules["orjson"] = kept
        encoder.cache_clear()


def per_event_us(work: Callable[[], object], events: int) -> float:
    """Return the microseconds that one call takes."""
    begin = time.perf_counter()
    for _ in range(events):
        work()
    return (time.perf_counter() - begin) / events * 1e6


def measure(outcome: Outcome, folder: Path, rounds: int, events: int) -> dict[str, float]:
    """Return the median microseconds per event of each way."""
    sink = JsonlSink(folder / "log")
    size = len(event_of(outcome, hash_key=KEY).to_line())
    handle = os.open(folder / "bare", os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
    data = b"x" * size

    def build_write() -> None:
        sink.emit(event_of(outcome, hash_key=KEY))

    def build() -> None:
        event_of(outcome, hash_key=KEY)

    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        with without_orjson():
            times.setdefault("json", []).append(per_event_us(build_write, events))
        if encoder() is not encode_json:
            times.setdefault("orjson", []).append(per_event_us(build_write, events))
        times.setdefault("build only", []).append(per_event_us(build, events))
        times.setdefault("bare write", []).append(per_event_us(lambda: os.write(handle, data), events))
    os.close(handle)
    sink.flush()
    sink.close()
    return {"bytes": size, **{name: statistics.median(values) for name, values in times.items()}}


def main() -> None:
    """Print one line per kind of outcome."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--events", type=int, default=500)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    chosen = parser.parse_args()
    found = {}
    for name, rungs in (("answered by the first rung", 1), ("escalated once", 2)):
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(an_outcome(rungs), Path(folder), chosen.rounds, chosen.events)
    if chosen.json:
        print(json.dumps(found))
        return
    print(f"one event built and written, median of {chosen.rounds} rounds of {chosen.events}, us per event")
    print(f"Python {platform.python_version()}, {platform.system()} {platform.machine()}")
    for name, figures in found.items():
        orjson = figures.get("orjson")
        ratio = "orjson is not installed" if orjson is None else f"orjson {orjson:5.1f}"
        if orjson is not None:
            ratio += f"   json / orjson {figures['json'] / orjson:4.2f}"
        print(
            f"  {name:27s} json {figures['json']:5.1f}   {ratio}   "
            f"(build {figures['build only']:.1f}, bare write of {figures['bytes']:.0f} bytes "
            f"{figures['bare write']:.1f})"
        )


if __name__ == "__main__":
    main()
