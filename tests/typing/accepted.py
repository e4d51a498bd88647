"""User code that a strict type checker accepts. Never run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel

from smartroute import (
    AllModelsFailedError,
    Catalog,
    Decision,
    ModelCard,
    ModelRouter,
    Outcome,
    Price,
    PriceTable,
    RouterConfig,
    TaskComplexity,
    TaskError,
)
from smartroute.events import Event
from smartroute.integration import SmartSingleModelExecutor
from smartroute.integration.council import SmartEnsembleEvaluator
from smartroute.protocols import Asking, Classifier, ConfidenceEstimator, Provider, Sink, Strategy
from smartroute.records import Call, Classification, Confidence, Failure, Menu, Probe, Reply, Task
from smartroute.routing.retries import RetryPolicy
from smartroute.testing import CapturingSink, FrozenClock, ScriptedProvider, no_network


def ask(router: ModelRouter) -> tuple[str, float, str | None, float | None]:
    outcome: Outcome = router.run(
        "Rate this hook.",
        kind="score",
        requirements=["deep_analysis"],
        complexity_override=TaskComplexity.SIMPLE,
        preferred_model="gpt-4o-mini",
        unit="user-7",
        labels={"app": "hooks"},
        max_usd=0.01,
        timeout_s=30,
        temperature=0.2,
        max_tokens=50,
        response_format={"type": "json_object"},
    )
    return outcome.text, outcome.cost_usd, outcome.model, outcome.confidence


async def ask_asynchronously(router: ModelRouter) -> Mapping[str, Any]:
    async with router:
        outcome = await router.arun(messages=[{"role": "user", "content": "hi"}], stop=["\n"])
    return outcome.raw


class Verdict(BaseModel):
    score: int


async def parsed(router: ModelRouter) -> list[Verdict | None]:
    outcome: Outcome[Verdict] = router.run("Rate this hook.", response_format=Verdict)
    verdict: Verdict | None = outcome.parsed
    later: Verdict | None = (await router.arun("Rate it.", kind="score", response_format=Verdict)).parsed
    task: Task[Verdict] = router.task("Rate it.", response_format=Verdict)
    built: Verdict | None = router.run_task(task).parsed
    anything: Any = router.run("Rate it.", response_format={"type": "json_object"}).parsed
    plain: Outcome = router.run("Rate it.")
    print(anything["score"], plain.parsed)
    return [verdict, later, built]


def look_ahead(router: ModelRouter) -> list[str]:
    decision: Decision = router.decide("hi", requirements={"deep_analysis": True})
    return [rung.model for rung in decision.ladder] + [out.reason for out in decision.ruled_out]


def bill(router: ModelRouter) -> float:
    try:
        return sum(attempt.cost_usd or 0.0 for attempt in router.run("hi").attempts)
    except AllModelsFailedError as error:
        return sum(attempt.latency_s for attempt in error.attempts)
    except TaskError:
        return 0.0


async def familiar(router: ModelRouter) -> TaskComplexity:
    task = {"text": "hi", "type": "score"}
    result: dict[str, Any] = await router.route_and_execute(task, "hi")
    model: str = router.get_model_for_complexity("simple", "score")
    print(result["model_used"], model, router.get_stats()["total_cost"])
    return router.classify_task_complexity(task)


def offline(router: ModelRouter) -> str:
    with no_network():
        return router.run("hi").text


def configured() -> ModelRouter:
    catalog = Catalog.default().with_cards(
        ModelCard(
            "house", "openai/house", tier="mini", price=Price(0.1, 0.2), api_base="http://localhost:8000/v1"
        )
    )
    config = RouterConfig(accept_at=0.8, catalog=catalog, prices=PriceTable({"house": Price(0.1, 0.3)}))
    return ModelRouter(config=config)


class EveryoneIsSimple:
    def classify(self, task: Task) -> Classification | Asking:
        return Classification(TaskComplexity.SIMPLE, 0.0, by="everyone")


class AsksAModel:
    def classify(self, task: Task) -> Asking:
        (result,) = yield (Probe(task.messages, "classify", model="gpt-4o-mini"),)
        hard = isinstance(result, Failure) or "hard" in result.text
        return Classification(TaskComplexity.COMPLEX if hard else TaskComplexity.SIMPLE, float(hard))


class CheapestOnly:
    def decide(self, task: Task, classification: Classification, menu: Menu) -> Decision:
        return Decision(classification, (), menu.accept_at, "cheapest_only")


class Echo:
    def send(self, call: Call) -> Reply:
        return Reply(str(call.messages[-1]["content"]))

    async def asend(self, call: Call) -> Reply:
        return self.send(call)


class LongIsGood:
    def probes(self, task: Task, reply: Reply) -> tuple[Probe, ...]:
        return ()

    def estimate(self, task: Task, reply: Reply, replies: tuple[Reply | Failure, ...] = ()) -> Confidence:
        return Confidence(min(1.0, len(reply.text) / 100), "length")


def by_length(task: Task) -> float:
    return min(1.0, len(task.messages) / 10)


def sure(task: Task, reply: Reply) -> float | None:
    return 0.9 if reply.text else None


def without_digits(text: str) -> str:
    return "".join(letter for letter in text if not letter.isdigit())


class Printed:
    def emit(self, event: Event) -> None:
        print(event.outcome_id)


classifiers: list[Classifier] = [EveryoneIsSimple(), AsksAModel()]
strategy: Strategy = CheapestOnly()
provider: Provider = Echo()
scripted: Provider = ScriptedProvider(["7", TimeoutError()])
estimator: ConfidenceEstimator = LongIsGood()
sink: Sink = CapturingSink()
ModelRouter(provider=provider, estimator=estimator, strategy=strategy, sink=sink, clock=FrozenClock())
ModelRouter(0.8, True, False, providers=["openai"], sink=False, seed=None, retry=RetryPolicy(calls=2))
ModelRouter(classifier=by_length, estimator=sure, sink=Printed(), redact=without_digits, log_text=True)
ModelRouter(config=RouterConfig(log_path="log", catalog="models.toml", max_usd=5), on_unknown="escalate")
RouterConfig.from_env({}, timeout_s=30)
RouterConfig.from_file("smartroute.toml", provider=scripted)
SmartSingleModelExecutor(accept_at=0.8, escalation_threshold=None, seed=7)
SmartSingleModelExecutor(ModelRouter())
SmartEnsembleEvaluator(mode="exact", seed=7, timeout_s=30, provider=scripted, config=RouterConfig())
kept: Strategy | None = ModelRouter().config.strategy
events_to: Sink | Literal[False] | None = ModelRouter().config.sink
