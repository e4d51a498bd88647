"""Measure answer extraction and the agreement of two cheap models on recorded answers.

    python benchmarks/agreement.py [folder of the recorded data]

The folder holds <dataset>.jsonl.gz and responses/<dataset>.jsonl.gz; by default that of SMARTROUTE_DATA,
or ../shared/data/dev beside the checkout.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import sys
from pathlib import Path

from smartroute.confidence import Answer, extract_answer

DATASETS = ("zeroeval_gsm8k", "zeroeval_mathl5", "zeroeval_crux")
ANSWERING, SECOND = "gpt-4o-mini-2024-07-18", "claude-3-haiku-20240307"


def agree(one: Answer | None, other: Answer | None) -> bool:
    """Return whether both texts have an answer and it is the same."""
    return one is not None and other is not None and one.agrees(other) is True


def read(file: Path) -> list[dict]:
    """Return the rows of a gzipped JSONL file."""
    with gzip.open(file, "rt") as lines:
        return [json.loads(line) for line in lines]


def measure(folder: Path, name: str) -> str:
    """Return a row of the table: extraction, then accuracy where the second model agrees and where not."""
    models = {row["prompt_id"]: row["models"] for row in read(folder / f"{name}.jsonl.gz")}
    same = texts = 0
    right: dict[bool, list[float]] = {True: [], False: []}
    for row in read(folder / "responses" / f"{name}.jsonl.gz"):
        recorded = models[row["prompt_id"]]
        for model, text in row["responses"].items():
            if (answer := recorded.get(model, {}).get("ans")) is not None:
                texts += 1
                same += agree(extract_answer(text), extract_answer(str(answer)))
        first, second = (extract_answer(row["responses"].get(model, "")) for model in (ANSWERING, SECOND))
        if first is not None and second is not None:
            right[agree(first, second)].append(recorded[ANSWERING]["q"])
    shares = [f"{sum(found) / len(found):6.1%} of {len(found):4}" for found in (right[True], right[False])]
    return f"{name:<18} {same / texts:8.1%} of {texts:6,}   {shares[0]}   {shares[1]}"


def main() -> None:
    """Print the table, or say what is missing."""
    shared = os.environ.get("SMARTROUTE_DATA") or Path(__file__).parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "folder", type=Path, nargs="?", default=Path(shared) / "dev", help="where the recorded answers are"
    )
    folder: Path = parser.parse_args().folder
    if not (folder / f"{DATASETS[0]}.jsonl.gz").exists():
        sys.exit(f"no recorded answers at {folder}; name the folder as the first argument")
    print(f"{'dataset':<18} {'extracted as recorded':<20}  right where they agree   where they differ")
    for name in DATASETS:
        print(measure(folder, name))
    print(f"answering: {ANSWERING}, second: {SECOND}")


if __name__ == "__main__":
    main()
