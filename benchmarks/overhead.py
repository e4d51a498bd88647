"""Print what smartroute adds to a request, as ratios to bare litellm and to its peers, with the targets.

    python benchmarks/overhead.py [--quick] [--only import,build,decide,long,calls,event,memory]
                                  [--peer-python PATH]

Everything is measured in one run, in rounds that alternate between the sides, and judged on medians. Where a
peer is not installed its rows say so; `--peer-python` names an interpreter that has it.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import event_write
from imports import BUILD, LITELLM, PYDANTIC, SMARTROUTE, cost_of
from prompts import long_prompts, short_prompts
from rounds import at_share, interleave, paired, spread
from workers import HERE, Worker, WorkerError, environment

OURS, HAND = "smartroute", "hand-written"
NOT_INSTALLED = "not installed"
LONG_CHARS = 200_000
LONG_REPEATS, PATIENCE_S = 5, 10.0
PEERS = ("litellm", "cascadeflow")


@dataclass(frozen=True)
class Row:
    """One line of the table. `met` is None without a target, and where nothing could be measured."""

    what: str
    measured: str
    target: str = ""
    met: bool | None = None

    @property
    def verdict(self) -> str:
        """Return met, missed, or nothing."""
        return "" if self.met is None else "met" if self.met else "missed"


@dataclass(frozen=True)
class Effort:
    """How much to measure."""

    import_rounds: int
    build_rounds: int
    prompts: int
    decide_rounds: int
    long_rounds: int
    call_rounds: int
    calls: dict[str, int]
    event_rounds: int
    memory_marks: tuple[int, ...]
    peer_python: str = sys.executable


FULL = Effort(15, 15, 1_000, 15, 9, 21, {"1": 60, "16": 160}, 40, (10_000, 50_000, 100_000))
QUICK = Effort(5, 5, 1_000, 5, 3, 7, {"1": 30, "16": 80}, 10, (2_000, 10_000, 20_000))


def at_most(what: str, value: float, limit: float, shown: str, target: str) -> Row:
    """Return the row of a value that must not exceed its limit."""
    return Row(what, shown, target, value <= limit)


def importing(effort: Effort) -> Iterator[Row]:
    """Compare the import of the router with pydantic's, with one model defined, and with litellm's."""
    sides = {"pydantic": lambda: cost_of(PYDANTIC), "router": lambda: cost_of(SMARTROUTE)}
    interleave(sides, 1)
    found = interleave(sides, effort.import_rounds)
    pydantic, router = found["pydantic"], found["router"]
    ratio = paired([cost.cpu_s for cost in router], [cost.cpu_s for cost in pydantic])
    ours_ms = 1e3 * statistics.median(cost.cpu_s for cost in router)
    base_ms = 1e3 * statistics.median(cost.cpu_s for cost in pydantic)
    yield at_most(
        "import ModelRouter / pydantic with one model, CPU",
        ratio.median,
        1.5,
        f"{ratio.median:.2f} times ({ours_ms:.0f} / {base_ms:.0f} ms)",
        "at most 1.5",
    )
    more_mb = statistics.median(cost.resident_mb for cost in router) - statistics.median(
        cost.resident_mb for cost in pydantic
    )
    yield at_most("  memory more than pydantic's", more_mb, 10.0, f"{more_mb:.1f} MB", "at most 10 MB")
    heavy = sorted({name for cost in router for name in cost.heavy})
    yield Row("  heavy modules imported", ", ".join(heavy) or "none", "none", not heavy)
    cost_of(LITELLM)
    litellm = [cost_of(LITELLM).cpu_s for _ in range(3)]
    times = 1e3 * statistics.median(litellm) / base_ms
    yield Row(
        "  for comparison: import litellm / pydantic", f"{times:.0f} times ({1e3 * min(litellm):.0f} ms)"
    )


def building(effort: Effort) -> Iterator[Row]:
    """Time the first router of a process, from the default configuration."""
    sides = {
        "build": lambda: cost_of(BUILD, PYDANTIC + SMARTROUTE),
        "both": lambda: cost_of(SMARTROUTE + BUILD, PYDANTIC),
        "again": lambda: cost_of(BUILD, PYDANTIC + SMARTROUTE + BUILD),
    }
    interleave(sides, 1)
    found = {
        name: spread([1e3 * c.cpu_s for c in costs]).median
        for name, costs in interleave(sides, effort.build_rounds).items()
    }
    yield at_most(
        "first ModelRouter() of a process, pydantic loaded",
        found["build"],
        50.0,
        f"{found['build']:.1f} ms",
        "at most 50 ms",
    )
    yield Row("  with the import of smartroute", f"{found['both']:.1f} ms")
    yield Row("  another router of that process", f"{found['again']:.1f} ms")


class Contest:
    """The classifiers, each in a separate process; those that are not installed are left out."""

    def __init__(self, stack: ExitStack, effort: Effort) -> None:
        self._stack = stack
        # A peer is imported from this environment if it has it, else from that of --peer-python.
        self._pythons = tuple(dict.fromkeys((sys.executable, effort.peer_python)))
        self.missing: set[str] = set()
        self.workers: dict[str, Worker] = {}
        for name in (OURS, HAND, *PEERS):
            self.enter(name)

    def enter(self, name: str) -> None:
        """Start a contestant, or note that it is missing."""
        for python in self._pythons:
            worker = self._stack.enter_context(Worker("peers.py", name, python=python))
            if "missing" not in worker.greeting:
                self.workers[name] = worker
                return
        self.missing.add(name)

    def called(self, name: str) -> str:
        """Return a contestant's name with its version."""
        return f"{name} {self.workers[name].greeting['version']}".strip()

    def times_ns(self, names: Sequence[str], texts: Sequence[str], rounds: int) -> dict[str, list[list[int]]]:
        """Return, by contestant, each round's CPU nanoseconds per text."""
        for name in names:
            self.workers[name].ask(texts=list(texts))
        return interleave(
            {name: functools.partial(self.workers[name].ask, repeats=1) for name in names}, rounds
        )

    def glance_ms(self, name: str, text: str) -> str:
        """Return the time that one text takes, as text. A contestant that takes too long is restarted."""
        if name in self.missing:
            return f"{name} {NOT_INSTALLED}"
        worker = self.workers[name]
        try:
            worker.ask(texts=[text])
            (took_ns,) = worker.ask(within_s=PATIENCE_S, repeats=1)
        except WorkerError:
            self.enter(name)
            return f"{name} over {PATIENCE_S:.0f} s"
        return f"{name} {took_ns / 1e6:.0f}"


def deciding(effort: Effort) -> Iterator[Row]:
    """Compare `decide` with a classifier written by hand, and with the classification alone of its peers."""
    prompts = short_prompts(effort.prompts)
    yield Row(f"decide(): {prompts}", "")
    with ExitStack() as stack:
        contest = Contest(stack, effort)
        found = contest.times_ns([*contest.workers], prompts.texts, effort.decide_rounds)
    medians = {name: [statistics.median(times) for times in rounds] for name, rounds in found.items()}
    tails = {name: [at_share(times, 0.99) for times in rounds] for name, rounds in found.items()}
    us = {name: statistics.median(values) / 1e3 for name, values in medians.items()}
    tail_us = {name: statistics.median(values) / 1e3 for name, values in tails.items()}
    ratio = paired(medians[OURS], medians[HAND])
    yield at_most(
        "  median / hand-written classifier's median",
        ratio.median,
        1.0,
        f"{ratio.median:.2f} times ({us[OURS]:.0f} / {us[HAND]:.0f} us)",
        "at most 1",
    )
    tail = paired(tails[OURS], medians[HAND])
    yield at_most(
        "  99th percentile / hand-written classifier's median",
        tail.median,
        5.0,
        f"{tail.median:.2f} times ({tail_us[OURS]:.0f} us; its own {tail_us[HAND]:.0f})",
        "at most 5",
    )
    for name, limit in (("litellm", 8), ("cascadeflow", 20)):
        what = {"litellm": "complexity router", "cascadeflow": "detector"}[name]
        target = f"at most 1/{limit}"
        if name in contest.missing:
            yield Row(f"  median / {name}'s {what}", NOT_INSTALLED, target)
            continue
        share = paired(medians[OURS], medians[name])
        yield at_most(
            f"  median / {contest.called(name)}'s {what}",
            share.median,
            1 / limit,
            f"1/{1 / share.median:.1f} ({us[OURS]:.0f} / {us[name]:.0f} us; p99 {tail_us[name]:.0f})",
            target,
        )


def long_prompt(effort: Effort) -> Iterator[Row]:
    """Time `decide` on a prompt of LONG_CHARS characters, of several kinds, and what peers take."""
    with ExitStack() as stack:
        contest = Contest(stack, effort)
        for kind, text in long_prompts(LONG_CHARS).items():
            found = contest.times_ns([OURS], [text] * LONG_REPEATS, effort.long_rounds)
            ms = statistics.median(itertools.chain(*found[OURS])) / 1e6
            others = ", ".join(contest.glance_ms(name, text) for name in (HAND, *PEERS))
            yield at_most(
                f"decide(), {LONG_CHARS:,} characters: {kind}",
                ms,
                1.0,
                f"{ms:.2f} ms ({others})",
                "at most 1 ms",
            )


def calling(effort: Effort) -> Iterator[Row]:
    """Compare `arun` with bare `litellm.acompletion` over a loopback server, the log on."""
    request = json.dumps({"rounds": effort.call_rounds, "calls": effort.calls})
    found = _child("served_calls.py", request)
    for concurrency, number in effort.calls.items():
        sides = found["rounds"][concurrency]
        cpu = {name: [each[0] for each in rounds] for name, rounds in sides.items()}
        wall = {name: [each[1] for each in rounds] for name, rounds in sides.items()}
        more = paired(cpu["routed"], cpu["bare"])
        control = paired(cpu["bare again"], cpu["bare"])
        yield at_most(
            f"arun / litellm.acompletion, CPU, {concurrency} at a time",
            more.median,
            1.05,
            f"{more} of {1e3 * statistics.median(cpu['bare']):.2f} ms",
            "at most 1.05 (aim 1.03)",
        )
        yield Row("  control: bare / bare", f"{control}")
        flow = paired(wall["bare"], wall["routed"])
        flow_control = paired(wall["bare"], wall["bare again"])
        yield Row(
            f"  throughput, {concurrency} at a time ({number} calls a round)",
            f"{flow} of {1 / statistics.median(wall['bare']):.0f} calls/s",
            "at least 0.95",
            flow.median >= 0.95,
        )
        yield Row("  control: bare / bare", f"{flow_control}")
        if "bare, unheard" in sides:
            stripped = paired(cpu["routed"], cpu["bare, unheard"])
            yield Row("  CPU over acompletion with litellm's own log of calls off too", f"{stripped}")
        asking = paired(cpu["asking"], cpu["bare"])
        yield Row("  CPU when arun also asks for log-probabilities (its default)", f"{asking}")
    yield Row(
        f"  events in the log / calls made, to {found['model']}",
        f"{found['logged']} / {found['made']}",
        "equal",
        found["logged"] == found["made"],
    )


def event(effort: Effort) -> Iterator[Row]:
    """Time one event, built and written to a real file."""
    with tempfile.TemporaryDirectory() as folder:
        found = event_write.measure(event_write.an_outcome(1), Path(folder), effort.event_rounds, 500)
    for name, limit in (("json", 30.0), ("orjson", 10.0)):
        what, target = f"one event built and written, {name}", f"at most {limit:.0f} us"
        if name not in found:
            yield Row(what, NOT_INSTALLED, target)
            continue
        yield at_most(what, found[name], limit, f"{found[name]:.1f} us", target)
    yield Row(f"  a bare write of as many bytes ({found['bytes']:.0f})", f"{found['bare write']:.1f} us")


def memory(effort: Effort) -> Iterator[Row]:
    """Measure the memory of one router over many requests."""
    marks = _child("memory.py", *map(str, effort.memory_marks))
    first, last = marks[0], marks[-1]
    requests = last["requests"] - first["requests"]
    blocks = (last["blocks"] - first["blocks"]) / requests
    shown = " / ".join(str(mark["requests"]) for mark in marks)
    yield at_most(
        f"blocks allocated per request, from {first['requests']:,} to {last['requests']:,} requests",
        blocks,
        0.01,
        f"{blocks:.4f}",
        "flat: at most 0.01",
    )
    if first["resident_mb"] is not None:
        growth = last["resident_mb"] - first["resident_mb"]
        yield at_most(
            f"  memory resident after {shown}",
            growth,
            1.0,
            " / ".join(f"{mark['resident_mb']:.1f}" for mark in marks) + " MB",
            "flat: at most 1 MB more",
        )
    sizes = [mark["stats_entries"] for mark in marks]
    yield Row("  entries of get_stats()", " / ".join(map(str, sizes)), "constant", len(set(sizes)) == 1)
    whole = all(mark["counted"] == mark["requests"] and not mark["lost_events"] for mark in marks)
    yield Row(
        "  requests counted, events lost",
        f"{last['counted']}, {last['lost_events']} ({last['escalations']} escalated)",
        "all, none",
        whole,
    )


def _child(script: str, *arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, str(HERE / script), *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


PARTS: dict[str, Callable[[Effort], Iterator[Row]]] = {
    "import": importing,
    "build": building,
    "decide": deciding,
    "long": long_prompt,
    "calls": calling,
    "event": event,
    "memory": memory,
}


def line(row: Row) -> str:
    """Return a row as a line of the table."""
    return f"{row.what:66s} {row.measured:58s} {row.target:24s} {row.verdict}".rstrip()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, row by row as it is measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--quick", action="store_true", help="fewer rounds: a first impression in two minutes"
    )
    parser.add_argument("--only", metavar="NAME", help=f"parts to measure, of {','.join(PARTS)}")
    parser.add_argument("--peer-python", default=sys.executable, help="an interpreter that has the peers")
    chosen = parser.parse_args(arguments)
    names = chosen.only.split(",") if chosen.only else list(PARTS)
    unknown = [name for name in names if name not in PARTS]
    if unknown:
        parser.error(f"there is no part {', '.join(unknown)}; choose of {', '.join(PARTS)}")
    effort = QUICK if chosen.quick else FULL
    effort = Effort(**{**effort.__dict__, "peer_python": chosen.peer_python})
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(
        f"smartroute {version('smartroute')}, litellm {version('litellm')}, "
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, load {load:.1f}"
    )
    print(line(Row("what", "measured", "target", None)))
    missed = 0
    for name in names:
        for row in PARTS[name](effort):
            missed += row.met is False
            print(line(row), flush=True)
    print(f"{missed} missed" if missed else "none missed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
