"""Equal task, equal decision: in this process, in another one, and whatever was asked in between."""

import hashlib
import json
import math
import os
import random
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartroute import Catalog, ModelCard, ModelRouter, Price
from smartroute.budgets import Budget
from smartroute.errors import BudgetExceededError
from smartroute.records import Usage
from smartroute.testing import ScriptedProvider, reply

KEYS = dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"), "k")
prompts = st.lists(st.text(min_size=1, max_size=200).filter(str.strip), min_size=1, max_size=5)
kinds = st.sampled_from(["general", "score", "creative", "reasoning", "extract"])

_OTHER_PROCESS = """
import json, sys
from smartroute import ModelRouter
from smartroute.routing.strategies import FixedLadder
from smartroute.testing import ScriptedProvider

class HashShuffled:
    "A strategy with the usual mistake: its ladder follows the order of a set of strings."

    def decide(self, task, classification, menu):
        names = {candidate.model for candidate in menu.candidates}
        return FixedLadder(*names).decide(task, classification, menu)

strategy = HashShuffled() if "shuffled" in sys.argv else None
router = ModelRouter(provider=ScriptedProvider([]), sink=False, strategy=strategy)
for line in sys.stdin:
    asked = json.loads(line)
    print(json.dumps(router.decide(asked["prompt"], kind=asked["kind"]).explain()), flush=True)
"""


@contextmanager
def another_process(hash_seed, *arguments):
    """A process with a hash seed of its own, which decides what it is sent."""
    process = subprocess.Popen(
        [sys.executable, "-c", _OTHER_PROCESS, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **KEYS, "PYTHONHASHSEED": hash_seed},
    )

    def decide(prompt, kind):
        process.stdin.write(json.dumps({"prompt": prompt, "kind": kind}) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    try:
        yield decide
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def elsewhere():
    with another_process("12345") as decide:
        yield decide


def decides_alike(decide, other, asked, kind):
    """Return whether two deciders agree on every prompt, the first one asked in another order too."""
    first = {prompt: decide(prompt, kind) for prompt in asked}
    again = {prompt: decide(prompt, kind) for prompt in reversed(asked)}
    return first == again == {prompt: other(prompt, kind) for prompt in asked}


@settings(max_examples=60, deadline=None)
@given(asked=prompts, kind=kinds)
def test_the_same_task_gets_the_same_decision_in_every_process(elsewhere, asked, kind):
    router = ModelRouter(provider=ScriptedProvider([]), sink=False)
    assert decides_alike(lambda p, k: router.decide(p, kind=k).explain(), elsewhere, asked, kind)


def test_the_determinism_check_catches_a_ladder_in_the_order_of_a_set():
    with another_process("1", "shuffled") as one, another_process("1", "shuffled") as same:
        assert decides_alike(one, same, ["hi"], "general"), (
            "something other than the seed makes the difference"
        )
        with another_process("2", "shuffled") as other:
            assert not decides_alike(one, other, ["hi"], "general")


LIMIT_USD = 0.004


def spent_by_64_threads():
    """Spend a budget through one router from 64 threads at once; return what was spent, and the router.

    Each call may cost $0.0004 and costs a random part of it, so the budget bears ten to forty at a time.
    """
    card = ModelCard("m", target="x/m", price=Price(1.0, 2.0), max_output_tokens=100)

    def answer(call):
        time.sleep(0.005)
        drawn = random.Random(hashlib.blake2b(call.messages[0]["content"].encode()).digest())
        return reply("ok", usage=Usage(drawn.randint(1, 100), drawn.randint(1, 100)))

    class Slow(ScriptedProvider):
        def send(self, call):
            return answer(call)

    router = ModelRouter(catalog=Catalog.of([card]), provider=Slow([]), sink=False, max_usd=LIMIT_USD)
    spent, refused, gate = [], [], threading.Barrier(64)

    def work(number):
        gate.wait()
        for turn in range(20):
            try:
                spent.append(router.run(f"{number}/{turn}", max_tokens=100).cost_usd)
            except BudgetExceededError as error:
                refused.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(spent) + len(refused) == 64 * 20
    assert refused
    return math.fsum(spent), router


def test_64_threads_through_one_router_never_overspend():
    spent_usd, router = spent_by_64_threads()
    assert 0.5 * LIMIT_USD < spent_usd <= LIMIT_USD
    assert router.spent_usd == pytest.approx(spent_usd, abs=1e-9)


class Forgetful(Budget):
    """Deliberately broken: what is under way is forgotten, and only what was settled counts."""

    def reserve(self, usd):
        self._reserved = 0
        return super().reserve(usd)


def test_the_check_of_64_threads_catches_a_budget_that_forgets_calls_under_way(monkeypatch):
    monkeypatch.setattr("smartroute.router.construction.Budget", Forgetful)
    spent_usd, _ = spent_by_64_threads()
    assert spent_usd > LIMIT_USD
