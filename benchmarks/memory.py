"""Measure the memory of one router over many requests, with the log on.

    python memory.py 10000 50000 100000

Prints, after each number of requests, the memory resident, the blocks that Python has allocated, and the
size of `get_stats()`, as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prompts import short_prompts


def resident_mb() -> float | None:
    """Return the memory resident now; None where the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def watch(marks: Sequence[int]) -> list[dict[str, Any]]:
    """Return the figures at each number of requests. Every prompt is sent in turn; one in ten escalates."""
    from smartroute import ModelRouter
    from smartroute.records import Call, Reply
    from smartroute.testing import ScriptedProvider, reply

    answered = 0

    def script(call: Call) -> Reply:
        nonlocal answered
        answered += 1
        doubtful = answered % 10 == 0
        return reply("I'm sorry, but I can't help with that." if doubtful else "The answer is 42.")

    provider = ScriptedProvider(script)
    texts = short_prompts(200).texts
    found = []
    with tempfile.TemporaryDirectory() as folder, ModelRouter(provider=provider, log_path=folder) as router:
        done = 0
        for mark in sorted(marks):
            while done < mark:
                router.run(texts[done % len(texts)])
                done += 1
                if not done % 500:
                    provider.calls.clear()
            provider.calls.clear()
            gc.collect()
            stats = router.get_stats()
            found.append(
                {
                    "requests": done,
                    "resident_mb": resident_mb(),
                    "blocks": sys.getallocatedblocks(),
                    "stats_entries": _entries(stats),
                    "counted": stats["total_requests"],
                    "escalations": stats["escalations"],
                    "lost_events": router.lost_events,
                }
            )
    return found


def _entries(value: object) -> int:
    return 1 + sum(map(_entries, value.values())) if isinstance(value, dict) else 1


if __name__ == "__main__":
    print(json.dumps(watch([int(mark) for mark in sys.argv[1:]])))
