"""Answer three questions about a log in a separate process: by a loop over its lines, or by its rollup.

    python benchmarks/log_sides.py FOLDER

Prints lines of JSON with the answers and their cost: CPU seconds (user and system), wall seconds, and by how
many MB the peak of resident memory exceeds what was resident once everything was imported.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from workers import serve

from smartroute.analytics import Analytics
from smartroute.sinks import JsonlSource

HOURS = 168
SHARES = (0.5, 0.95, 0.99)


def memory_mb(name: str) -> float:
    """Return a line of this process's memory: VmRSS now, VmHWM at most. NaN where the system reports neither.

    The peak that getrusage reports starts with that of the parent process, and would not do.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))


def by_loop(folder: Path) -> dict[str, Any]:
    """Read every line and add up what the three questions need. Trusts each line, and each id to be new."""
    loads = json.loads
    models: dict[str | None, list[float]] = {}
    hours: dict[str, list[float]] = {}
    latencies_s: list[float] = []
    for segment in sorted(folder.glob("*.jsonl")):
        with segment.open(encoding="utf-8") as lines:
            for line in lines:
                event = loads(line)
                if event["type"] != "outcome":
                    continue
                usd = event.get("cost_usd") or 0.0
                model, hour = event.get("model"), event["time"][:13]
                failed = model is None or event.get("error") is not None
                escalated = event.get("escalated") is True
                for sums in (
                    models.setdefault(model, [0, 0.0, 0, 0]),
                    hours.setdefault(hour, [0, 0.0, 0, 0]),
                ):
                    sums[0] += 1
                    sums[1] += usd
                    sums[2] += escalated
                    sums[3] += failed
                if event.get("latency_s") is not None:
                    latencies_s.append(event["latency_s"])
    newest = datetime.fromisoformat(f"{max(hours)}:00:00")
    before = (newest - timedelta(hours=HOURS)).strftime("%Y-%m-%dT%H")
    latencies_s.sort()
    ranks = [-int(-share * len(latencies_s) // 1) for share in SHARES]
    return {
        "model": {str(model): sums for model, sums in models.items()},
        "hour": {hour: sums for hour, sums in hours.items() if hour > before},
        "latency_s": [latencies_s[max(rank, 1) - 1] for rank in ranks],
    }


def by_rollup(folder: Path) -> dict[str, Any]:
    """Query the rollup for the same answers, each question separately, as a dashboard does."""
    analytics = Analytics(JsonlSource(folder))
    models = analytics.grouped("model")
    series = analytics.series(HOURS)
    latencies = analytics.figures().latencies
    return {
        "model": {
            str(name): [f.requests, f.cost_usd, f.escalated, f.failures] for (name,), f in models.items()
        },
        "hour": {hour: [f.requests, f.cost_usd, f.escalated, f.failures] for hour, f in series if f.requests},
        "latency_s": [latencies.quantile(share) for share in SHARES],
    }


def build(folder: Path) -> dict[str, Any]:
    """Rebuild the rollup."""
    for file in folder.glob("rollup-*"):
        file.unlink()
    return catch_up(folder)


def catch_up(folder: Path) -> dict[str, Any]:
    """Read new events."""
    assert Analytics(JsonlSource(folder)).catch_up()
    return {}


SIDES: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "loop": by_loop,
    "rollup": by_rollup,
    "build": build,
    "catch up": catch_up,
}


def measured(side: Callable[[Path], dict[str, Any]], folder: Path) -> dict[str, Any]:
    """Return the answers of a side, and their cost."""
    before_mb = memory_mb("VmRSS")
    wall, cpu = time.perf_counter(), time.process_time()
    answers = side(folder)
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu_s": cpu_s, "wall_s": wall_s, "grown_mb": memory_mb("VmHWM") - before_mb, **answers}


if __name__ == "__main__":
    serve({}, lambda request: measured(SIDES[request["side"]], Path(sys.argv[1])))
