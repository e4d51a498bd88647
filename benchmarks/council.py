"""Compare the three modes of a council on the bundled scripts: calls, cost, verdicts. All simulated.

    python benchmarks/council.py [--seeds N] [--passes N]

Every seed is a simulated world with its own errors of members and screens. In each, all scripts are judged in
full, exactly, and behind a screen that starts without an audit and learns on the way. `--passes` is how often
it sees the scripts, with other errors every time, as new scripts would bring.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smartroute.evaluation.council_pool import SimulatedCouncil
from smartroute.evaluation.scripts import AdScript, load_scripts
from smartroute.integration import DEFAULT_COUNCIL, CouncilMember, SmartEnsembleEvaluator
from smartroute.stats.intervals import wilson
from smartroute.testing import CapturingSink

MEMBER_SD, SCREEN_SD, SCREEN_SHARED_SD = 3.0, 6.0, 4.0
_JUDGES = tuple(member for member in DEFAULT_COUNCIL if member.model is not None)
_VOICES = {member.model: member.key for member in _JUDGES if member.model is not None}


class ByCtr:
    """The click-through member, answered from the scripts' invented rates."""

    def __init__(self, pool: SimulatedCouncil) -> None:
        self._pool = pool

    def score(self, script: str, niche: str) -> float:
        """Return the score of a script."""
        return self._pool.click_through(script)


@dataclass
class Tally:
    """The sums of a mode over all scripts, passes and seeds."""

    evaluations: int = 0
    calls: int = 0
    cost_usd: float = 0.0
    agreed: int = 0
    screened: int = 0
    screened_flips: int = 0


def varied(scripts: Sequence[AdScript], number: int) -> list[AdScript]:
    """Return the scripts as new ones of the same merit: a pass of another number draws other errors."""
    return [
        AdScript(f"{s.id}/{number}", s.niche, f"{s.text} (take {number})", s.merit, s.ctr) for s in scripts
    ]


async def judge(mode: str, scripts: Sequence[AdScript], seed: int) -> tuple[list[dict[str, Any]], int]:
    """Return the answers of a mode, and how many calls to models they took."""
    pool = SimulatedCouncil(
        _VOICES,
        seed=seed,
        member_sd=MEMBER_SD,
        screen_sd=SCREEN_SD,
        screen_shared_sd=SCREEN_SHARED_SD,
        scripts=scripts,
    )
    members = (*_JUDGES, CouncilMember("deep_ctr", 0.10, scorer=ByCtr(pool)))
    sink = CapturingSink()
    council = SmartEnsembleEvaluator(members, mode=mode, provider=pool, sink=sink, seed=seed)  # type: ignore[arg-type]
    answers = [await council.evaluate_script(script.text, script.niche) for script in scripts]
    calls = sum(a["provider"] != "scorer" for event in sink.captured for a in event.attempts)
    return answers, calls


def measure(seeds: int, passes: int) -> dict[str, Tally]:
    """Return the tally of each mode."""
    tallies = {mode: Tally() for mode in ("full", "exact", "smart")}
    for seed in range(seeds):
        scripts = [one for number in range(passes) for one in varied(load_scripts(), number)]
        truth: list[str] = []
        for mode, tally in tallies.items():
            answers, calls = asyncio.run(judge(mode, scripts, seed))
            verdicts = [answer["verdict"] for answer in answers]
            truth = truth or verdicts
            tally.evaluations += len(answers)
            tally.calls += calls
            tally.cost_usd += sum(answer["_routing_metadata"]["cost"] for answer in answers)
            same = [mine == full for mine, full in zip(verdicts, truth, strict=True)]
            tally.agreed += sum(same)
            by_screen = [answer["_routing_metadata"]["decided_by"] == "screen" for answer in answers]
            tally.screened += sum(by_screen)
            tally.screened_flips += sum(s and not a for s, a in zip(by_screen, same, strict=True))
    return tallies


def main(arguments: Sequence[str]) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--passes", type=int, default=6)
    asked = parser.parse_args(arguments)
    tallies = measure(asked.seeds, asked.passes)
    full = tallies["full"]
    print(f"simulated: {full.evaluations // asked.seeds} scripts in each of {asked.seeds} worlds\n")
    print(
        "| mode | calls per script | cost per script | saved | verdicts as in full (95%) "
        "| by the screen alone |"
    )
    print("|---|---|---|---|---|---|")
    for mode, tally in tallies.items():
        n = tally.evaluations
        agreed = wilson(tally.agreed, n)
        shares = f"{tally.agreed / n:.1%} ({agreed.low:.1%} to {agreed.high:.1%})"
        print(
            f"| `{mode}` | {tally.calls / n:.2f} | ${tally.cost_usd / n:.6f} | "
            f"{1 - tally.cost_usd / full.cost_usd:.0%} | {shares} | {tally.screened / n:.0%} |"
        )
    smart = tallies["smart"]
    if smart.screened:
        flips = wilson(smart.screened_flips, smart.screened)
        print(
            f"\namong screened verdicts {smart.screened_flips} of {smart.screened} differ "
            f"({smart.screened_flips / smart.screened:.1%}, at most {flips.high:.1%})"
        )


if __name__ == "__main__":
    main(sys.argv[1:])
