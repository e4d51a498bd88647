"""Classify a prompt in four ways: ours, by hand, litellm's complexity router, cascadeflow's detector.

overhead.py runs each in a process, `python peers.py NAME`. A peer may be installed in a separate environment.
Ours does more than the others: it checks the request, classifies, prices all models and builds the ladder.
"""

from __future__ import annotations

import gc
import re
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from workers import serve

Classify = Callable[[str], object]

_CODE = re.compile(
    r"```|\b(?:def|class|function|import|return|SELECT|exception|traceback|compile|debug|regex|API)\b",
    re.IGNORECASE,
)
_REASONING = re.compile(
    r"\b(?:prove|proof|derive|explain|why|how|analy[sz]e|compare|design|evaluate|reason(?:ing)?"
    r"|step by step)\b",
    re.IGNORECASE,
)
_LIGHT = re.compile(
    r"\b(?:what is|who is|define|translate|list|summari[sz]e|classify|extract|rate|score|spell|convert)\b",
    re.IGNORECASE,
)


def by_hand(text: str) -> str:
    """Return a complexity by a simple handwritten rule: three regular expressions and a length."""
    code = _CODE.search(text) is not None
    reasoning = _REASONING.search(text) is not None
    light = _LIGHT.search(text) is not None
    if len(text) > 2_000 or (code and reasoning):
        return "complex"
    if len(text) < 500 and light and not (code or reasoning):
        return "simple"
    return "medium"


def _hand_written() -> Classify:
    return by_hand


def _smartroute() -> Classify:
    from smartroute import ModelRouter

    return ModelRouter().decide


def _litellm() -> Classify:
    from litellm.router_strategy.complexity_router.complexity_router import ComplexityRouter

    without_a_router: Any = None
    return ComplexityRouter("auto", without_a_router, derive_savings_baseline=False).classify


def _cascadeflow() -> Classify:
    detect: Classify = import_module("cascadeflow.quality.complexity").ComplexityDetector().detect
    return detect


PEERS: Mapping[str, Callable[[], Classify]] = {
    "smartroute": _smartroute,
    "hand-written": _hand_written,
    "litellm": _litellm,
    "cascadeflow": _cascadeflow,
}


def time_each_ns(classify: Classify, texts: list[str], repeats: int = 1) -> list[int]:
    """Return the nanoseconds of CPU that each text takes, the least of its repeats."""
    clock = time.thread_time_ns
    times = []
    for text in texts:
        least = None
        for _ in range(repeats):
            begin = clock()
            classify(text)
            took = clock() - begin
            least = took if least is None else min(least, took)
        times.append(least or 0)
    return times


def main(name: str) -> None:
    """Answer {"texts": [...]} by keeping them, and {"repeats": n} with the nanoseconds of each."""
    try:
        classify = PEERS[name]()
    except ImportError as error:
        serve({"missing": f"{type(error).__name__}: {error}"}, lambda request: [])
        return
    texts: list[str] = []

    def answer(request: Mapping[str, Any]) -> Any:
        if "texts" in request:
            texts[:] = request["texts"]
            for text in texts[:50]:
                classify(text[:2_000])
            return len(texts)
        gc.collect()
        return time_each_ns(classify, texts, request["repeats"])

    serve({"version": _version(name)}, answer)


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


if __name__ == "__main__":
    main(sys.argv[1])
