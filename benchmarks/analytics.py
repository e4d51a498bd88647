"""Compare queries on a log's rollup, and building the rollup, with a plain loop over the log's lines.

    python benchmarks/analytics.py                                  # 1,000,000 events, 1.5 GB on disk
    python benchmarks/analytics.py --events 1000000 10000000        # and ten times that, 16 GB
    python benchmarks/analytics.py --folder /a/large/disk --rounds 5

Every row prints what was measured, the target, and whether it was met; no row is a test. Ratios are of CPU
seconds, user and system, because the machine may be doing other things; wall times are beside them. Each
figure is the median of rounds, each in a fresh process. A log of ten times the events is ten times as long:
the traffic of a day is the same.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from log_sides import SHARES
from traffic import Traffic
from workers import Worker

PER_DAY = 100_000 / 3
MOST_WARM, MOST_MB, MOST_BUILD, MOST_LONGER, MOST_CATCH_UP = 0.02, 40.0, 1.2, 2.0, 1.5
NEW_EVENTS = (1_000, 10_000)


class Row(NamedTuple):
    """One figure, with its target if any."""

    what: str
    measured: str
    target: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        verdict = {True: "met", False: "missed", None: ""}[self.met]
        return f"{self.what:54s} {self.measured:>34s}   {self.target:22s} {verdict}".rstrip()


class Measured(NamedTuple):
    """The measurements of a log of one size: rows to print, and the CPU seconds of the three questions.

    `caught_up_s`: those of catching up, by how many events were new.
    """

    rows: list[Row]
    warm_s: float
    caught_up_s: dict[int, float]


def ask(folder: Path, side: str) -> dict[str, Any]:
    """Return the answers of a side of log_sides.py in a fresh process, and their cost."""
    with Worker("log_sides.py", str(folder)) as worker:
        found: dict[str, Any] = worker.ask(side=side)
    return found


def middle(rounds: Sequence[dict[str, Any]], name: str = "cpu_s") -> float:
    """Return the median of a figure over rounds."""
    return statistics.median(each[name] for each in rounds)


def took(rounds: Sequence[dict[str, Any]]) -> str:
    """Return the seconds in words."""
    return f"{middle(rounds):.3g} s CPU, {middle(rounds, 'wall_s'):.3g} s wall"


def at_most(what: str, value: float, limit: float, shown: str, target: str) -> Row:
    """Return the row of a figure that should not be above a limit."""
    return Row(what, shown, f"at most {target}", value <= limit)


def furthest(ours: Any, theirs: Any) -> float:
    """Return the largest relative difference between sums of the same names; infinite for other names."""
    if isinstance(ours, dict):
        if ours.keys() != theirs.keys():
            return math.inf
        return max((furthest(ours[name], theirs[name]) for name in ours), default=0.0)
    if isinstance(ours, list):
        return max(map(furthest, ours, theirs))
    return abs(ours - theirs) / max(abs(theirs), 1e-9)


def measure(folder: Path, events: int, rounds: int) -> Measured:
    """Write a log, and measure everything on it."""
    traffic = Traffic(folder, min(PER_DAY, events / 10))
    traffic.write(events)
    loops, builds, warm = [], [], []
    for _ in range(rounds):
        loops.append(ask(folder, "loop"))
        builds.append(ask(folder, "build"))
        warm += [ask(folder, "rollup") for _ in range(3)]
    loop_s, build_s, warm_s = middle(loops), middle(builds), middle(warm)
    log_mb, rollup_mb = (
        sum(file.stat().st_size for file in folder.glob(pattern)) / 2**20
        for pattern in ("*.jsonl", "rollup-*.sqlite")
    )
    sums = max(furthest(warm[0][name], loops[0][name]) for name in ("model", "hour"))
    caught_up, nothing_s = catching_up(folder, traffic, events, rounds)
    off = [a / b - 1.0 for a, b in zip(warm[0]["latency_s"], loops[0]["latency_s"], strict=True)]
    rows = [
        Row(f"{events:,} events", f"{log_mb:,.0f} MB, rollup {rollup_mb:,.0f} MB"),
        Row("the loop over all lines", took(loops)),
        Row("the rollup's first build", took(builds)),
        Row("the three questions, warm", took(warm)),
        at_most("first build / loop", build_s / loop_s, MOST_BUILD, f"{build_s / loop_s:.2f}", "1.2"),
        at_most("warm / loop", warm_s / loop_s, MOST_WARM, f"{warm_s / loop_s:.2%}", "2%"),
        at_most(
            "warm, memory beyond the imports",
            middle(warm, "grown_mb"),
            MOST_MB,
            f"{middle(warm, 'grown_mb'):.1f} MB (build {middle(builds, 'grown_mb'):.0f} MB)",
            "40 MB",
        ),
        at_most("sums, furthest from the loop's", sums, 1e-9, f"{sums:.1e}", "1e-9"),
        at_most(
            f"latency's {', '.join(f'p{share * 100:g}' for share in SHARES)}, off by",
            max(map(abs, off)),
            0.05,
            ", ".join(f"{each:+.1%}" for each in off),
            "5%",
        ),
        Row("catching up with nothing", f"{nothing_s:.3g} s CPU"),
    ]
    for new, found in caught_up.items():
        each = (middle(found) - nothing_s) / new / (build_s / events)
        rows.append(Row(f"catching up with {new:,} events", took(found)))
        rows.append(Row("  of it an event / an event in the build", f"{each:.2f}"))
    return Measured(rows, warm_s, {new: middle(found) for new, found in caught_up.items()})


def catching_up(
    folder: Path, traffic: Traffic, events: int, rounds: int
) -> tuple[dict[int, list[dict[str, Any]]], float]:
    """Return what reading new events costs, by how many there are, and the CPU seconds of finding none.

    The process has asked before.
    """
    found: dict[int, list[dict[str, Any]]] = {}
    with Worker("log_sides.py", str(folder)) as worker:
        traffic.write(max(1, events // 1_000))
        worker.ask(side="catch up")
        nothing = [worker.ask(side="catch up") for _ in range(3 * rounds)]
        for new in NEW_EVENTS:
            for _ in range(rounds):
                traffic.write(new)
                found.setdefault(new, []).append(worker.ask(side="catch up"))
    return found, middle(nothing)


def main(arguments: Sequence[str]) -> None:
    """Measure and print a line for each figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the logs are written, and removed again")
    chosen = parser.parse_args(arguments)
    sizes: dict[int, Measured] = {}
    for events in sorted(chosen.events):
        with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
            sizes[events] = measure(Path(folder) / "log-simulated", events, chosen.rounds)
        print(*sizes[events].rows, "", sep="\n", flush=True)
    least, *others = sizes
    for events in others:
        between = f"at {events:,} / at {least:,}"
        ratio = sizes[events].warm_s / sizes[least].warm_s
        print(at_most(f"warm {between}", ratio, MOST_LONGER, f"{ratio:.2f}", f"{MOST_LONGER:g}"))
        for new, before_s in sizes[least].caught_up_s.items():
            ratio = sizes[events].caught_up_s[new] / before_s
            what = f"catching up with {new:,} {between}"
            print(at_most(what, ratio, MOST_CATCH_UP, f"{ratio:.2f}", f"{MOST_CATCH_UP:g}"))


if __name__ == "__main__":
    main(sys.argv[1:])
