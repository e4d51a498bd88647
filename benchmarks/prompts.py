"""Load the prompts to measure with: real ones where there is a data folder, else the demo's tasks."""

from __future__ import annotations

import gzip
import json
import os
import random
from collections.abc import Iterator
from importlib import resources
from itertools import cycle, islice
from pathlib import Path
from typing import NamedTuple

PROSE = (
    "The committee met in the spring to consider whether the bridge ought to be widened. It heard the "
    "engineers, who thought so, and the residents, who did not, and it compared the two plans for cost. "
)
CJK = (
    "委员会在春天开会，讨论是否应该加宽这座桥。工程师们认为应该，居民们则不同意；请比较两个方案的费用和噪音。"
)
CODE = (
    "def widened(bridge: Bridge, metres: float) -> Bridge:\n"
    '    """Return the bridge, wider."""\n'
    "    if metres <= 0:\n"
    '        raise ValueError(f"metres must be positive, got {metres}")\n'
    "    return replace(bridge, width=bridge.width + metres)\n\n"
)


class Prompts(NamedTuple):
    """Texts and their source."""

    texts: list[str]
    source: str

    def __str__(self) -> str:
        lengths = sorted(map(len, self.texts))
        return (
            f"{len(self.texts)} prompts from {self.source}, of {lengths[len(lengths) // 2]} characters at "
            f"the median, {lengths[len(lengths) * 9 // 10]} at the 90th percentile, {lengths[-1]} at most"
        )


def data_folder() -> Path:
    """Return the folder with recorded prompts."""
    named = os.environ.get("SMARTROUTE_DATA")
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return (Path(named) if named else beside) / "dev"


def short_prompts(count: int) -> Prompts:
    """Return `count` prompts: drawn from all recorded ones alike, or the demo's tasks, over and over."""
    found = sorted(set(_recorded(data_folder())))
    if found:
        random.Random(20_260_101).shuffle(found)
        return Prompts(list(islice(cycle(found), count)), "recorded data sets")
    return Prompts(list(islice(cycle(_demo()), count)), "the bundled demo tasks")


def _recorded(folder: Path) -> Iterator[str]:
    for file in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                prompt = json.loads(line).get("prompt")
                if isinstance(prompt, str) and prompt.strip():
                    yield prompt


def _demo() -> list[str]:
    document = json.loads(resources.files("smartroute").joinpath("data/demo_tasks.json").read_bytes())
    return [task["prompt"] for task in document["tasks"]]


def long_prompts(characters: int) -> dict[str, str]:
    """Return prompts of this length, by their content."""
    patterns = {
        "Latin prose": PROSE,
        "CJK prose": CJK,
        "code": CODE,
        "one letter": "a",
        "emoji": "\U0001f600",
    }
    return {
        name: (pattern * (characters // len(pattern) + 1))[:characters] for name, pattern in patterns.items()
    }
