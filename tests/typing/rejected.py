"""User code with a mistake in each line marked `rejected`, for a strict type checker to find. Never run."""

from __future__ import annotations

from pydantic import BaseModel

from smartroute import ModelCard, ModelRouter, Outcome, Price, RouterConfig
from smartroute import NoSuchName as Missing  # rejected: no such name  # noqa: F401
from smartroute.integration import SmartSingleModelExecutor
from smartroute.integration.council import SmartEnsembleEvaluator
from smartroute.protocols import Classifier, Provider, Sink
from smartroute.records import Call, Reply, Usage
from smartroute.routing.strategies import QualityFirst


class Verdict(BaseModel):
    score: int


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
    score: int = router.run("hi", response_format=Verdict).parsed  # rejected: a Verdict or None
    print(router.run("hi", response_format=Verdict).parsed.points)  # rejected
    router.run("hi", response_format=int)  # rejected: a pydantic model, or a dict
    print(score)
    router.no_such_method()  # rejected


class OnlySends:
    def send(self, call: Call) -> Reply:
        return Reply("")


provider: Provider = OnlySends()  # rejected: asend is missing
classifier: Classifier = OnlySends()  # rejected
sink: Sink = print  # rejected

ModelRouter(acept_at=0.8)  # rejected: there is accept_at
ModelRouter(accept_at="high")  # rejected
ModelRouter(max_usd=[])  # rejected
ModelRouter(providers="openai")  # rejected: a list of names
ModelRouter(catalogue="models.toml")  # rejected: the spelling is American
ModelRouter(on_unknown="guess")  # rejected
ModelRouter(sink=True)  # rejected: a sink, False or None
ModelRouter(provider=OnlySends())  # rejected
ModelRouter(strategy="quality_first")  # rejected: an object with decide
ModelRouter(strategy=QualityFirst)  # rejected: the class, not an object of it
ModelRouter(classifier=len)  # rejected: a function of the task
ModelRouter(estimator=lambda task: 0.5)  # rejected: a function of the task and the reply
ModelRouter(redact=3)  # rejected
RouterConfig(timeuot_s=3)  # rejected
RouterConfig.from_env(log_text="yes")  # rejected
SmartSingleModelExecutor(accept_att=0.8)  # rejected
SmartEnsembleEvaluator(timeuot_s=3)  # rejected
SmartEnsembleEvaluator(mode="clever")  # rejected
strategy: int = ModelRouter().config.strategy  # rejected: it is no longer Any
sink_in_use: str = ModelRouter().config.sink  # rejected
