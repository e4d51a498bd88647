"""User code with a mistake in each line marked `rejected`, for a strict type checker to find. Never run."""

from __future__ import annotations

from smartroute import ModelCard, ModelRouter, NoSuchName, Outcome, Price  # rejected: no such name
from smartroute.protocols import Classifier, Provider, Sink
from smartroute.records import Call, Reply, Usage


def ask(router: ModelRouter, outcome: Outcome) -> None:
    router.run(3)  # rejected: neither text nor messages
    router.run("hi", kind=3)  # rejected
    router.run("hi", max_usd="a lot")  # rejected
    router.decide("hi", timeout_s="soon")  # rejected
    length: int = router.run("hi").text  # rejected: text is a string
    usd: float = router.run("hi").attempts[0].cost_usd  # rejected: the cost may be unknown
    sure: float = outcome.confidence  # rejected: so may the confidence
    outcome.cost_usd = 0.0  # rejected: a total is computed
    outcome.latency_s = 0.0  # rejected: records are frozen
    print(router.arun("hi").text, length, usd, sure)  # rejected: a coroutine, not yet awaited
    ModelCard("house", tier="mini", price=0.1)  # rejected: a price has an input and an output rate
    Price(0.1)  # rejected
    Usage("many", 2)  # rejected
    router.no_such_method()  # rejected


class OnlySends:
    def send(self, call: Call) -> Reply:
        return Reply("")


provider: Provider = OnlySends()  # rejected: asend is missing
classifier: Classifier = OnlySends()  # rejected
sink: Sink = print  # rejected
print(NoSuchName)
