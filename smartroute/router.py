"""Route requests: `ModelRouter`, and the familiar methods of the system it replaces."""

from __future__ import annotations

import inspect
import logging
import os
import random
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from smartroute.catalog import Catalog
from smartroute.classify import Features, RuleClassifier, as_classifier, measure
from smartroute.clock import Clock
from smartroute.compat import RunningTotals, result_as_dict, task_from_dict
from smartroute.config import RouterConfig, RouterSettings
from smartroute.emitter import Emitter
from smartroute.errors import ConfigError, TaskError, UnknownModelError, shown
from smartroute.events.feedback import FeedbackSource, feedback_about
from smartroute.ledger import Budget
from smartroute.pricing.price import PriceTable
from smartroute.records import (
    Calls,
    Classification,
    Decision,
    Limits,
    Menu,
    Message,
    Outcome,
    Signal,
    Task,
    TaskComplexity,
    Wait,
)
from smartroute.routing.breaker import Breaker
from smartroute.routing.continuity import OpenConversations
from smartroute.routing.decider import Decider
from smartroute.routing.drivers import Conducted, LiveDriver
from smartroute.routing.eligibility import Eligibility
from smartroute.routing.escalation import Handles, Replies, Run, Steps, classify_without_calls, route
from smartroute.routing.strategies import CostOptimized, QualityFirst

if TYPE_CHECKING:
    from smartroute.protocols import Classifier, Provider, Strategy

_log = logging.getLogger("smartroute")
_P = ParamSpec("_P")
_R = TypeVar("_R")


def _taking_the_options_of(
    pattern: Callable[Concatenate[Any, _P], Task],
) -> Callable[[Callable[..., _R]], Callable[Concatenate[Any, _P], _R]]:
    """Give a method the parameters of another, for type checkers, editors and `help`."""

    def sign(method: Callable[..., _R]) -> Callable[Concatenate[Any, _P], _R]:
        returns = inspect.signature(method).return_annotation
        method.__signature__ = inspect.signature(pattern).replace(  # type: ignore[attr-defined]
            return_annotation=returns
        )
        return method

    return sign


class ModelRouter:
    """Send each request to the cheapest model that will answer it well, and account for every call.

    One router may serve many threads and event loops, and survives a fork. Keys are read from the
    environment at the first decision; building a router needs none and opens nothing.

    The first three parameters are those of the system it replaces; every field of RouterConfig is
    accepted by name. Explicit arguments win over `config`, and without `config` over the environment.

        router = ModelRouter()
        outcome = router.run("Rate this hook from 0 to 100: 'Lose weight fast!'", kind="score")
        print(outcome.text, outcome.model, outcome.cost_usd)

    Raises ConfigError when a setting is wrong.
    """

    def __init__(
        self,
        escalation_threshold: float | None = None,
        enable_escalation: bool | None = None,
        cost_optimization_mode: bool | None = None,
        *,
        config: RouterConfig | None = None,
        **settings: Unpack[RouterSettings],
    ) -> None:
        values: dict[str, Any] = {**settings}
        familiar = (
            ("accept_at", "escalation_threshold", escalation_threshold),
            ("escalate", "enable_escalation", enable_escalation),
            ("cost_optimization", "cost_optimization_mode", cost_optimization_mode),
        )
        for name, other, value in familiar:
            if value is not None and name in values:
                raise ConfigError(f"{other} and {name} are one setting; pass one of them")
            if value is not None:
                values[name] = value
        if config is None:
            config = RouterConfig.from_env(**values)
        elif not isinstance(config, RouterConfig):
            raise ConfigError(
                f"config must be a RouterConfig, got {shown(config)}; RouterConfig.from_file(path) reads a "
                "TOML file, and single settings go by name: ModelRouter(accept_at=0.8)"
            )
        elif values:
            config = RouterConfig(**{**_fields(config), **values})
        self.config = config
        self.catalog = _catalog(config)
        catalog_prices = self.catalog.prices()
        self.prices: PriceTable = (
            catalog_prices if config.prices is None else catalog_prices.merged(config.prices)
        )
        self.provider: Provider = config.provider if config.provider is not None else _litellm()
        self.simulated = bool(getattr(self.provider, "simulated", False))
        self._classifier: Classifier = (
            RuleClassifier()
            if config.classifier is None or not config.smart_routing
            else as_classifier(config.classifier)
        )
        self._strategy: Strategy = config.strategy or (
            CostOptimized() if config.cost_optimization else QualityFirst()
        )
        _check_named_models(config, self.catalog)
        self._eligibility = Eligibility(
            self.catalog,
            self.prices,
            providers=config.providers,
            named=_models_of(self._strategy),
            needs_keys=bool(getattr(self.provider, "needs_keys", False)),
        )
        self._conversations = OpenConversations()
        self._providers = {card.name: card.provider for card in self.catalog}
        self._budget = None if config.max_usd is None else Budget(config.max_usd)
        self._stats = RunningTotals()
        self._decider = Decider(
            self.catalog,
            self.prices,
            self._eligibility,
            self._strategy,
            smart_routing=config.smart_routing,
            baseline_model=config.baseline_model,
            holdback_share=config.holdback_share,
            seed=config.seed,
        )
        self._emitter = Emitter(config, simulated=self.simulated)
        self._driver = LiveDriver(self.provider, config.clock)
        self._handles = self._make_handles()

    def _make_handles(self) -> Handles:
        from smartroute.confidence import as_estimator, ask_instruction, default_estimator

        config = self.config
        return Handles(
            catalog=self.catalog,
            prices=self.prices,
            estimator=(
                default_estimator(asked=config.ask_confidence)
                if config.estimator is None or not config.smart_routing
                else as_estimator(config.estimator)
            ),
            breaker=Breaker(config.breaker_failures, config.breaker_cooldown_s, config.clock),
            retry=config.retry,
            clock=config.clock,
            rng=random.Random(config.seed),
            new_id=_new_id,
            budget=self._budget,
            timeout_s=config.timeout_s,
            call_timeout_s=config.call_timeout_s,
            escalate_on_unknown=config.on_unknown == "escalate",
            ask_logprobs=config.ask_logprobs,
            ask_confidence=ask_instruction() if config.ask_confidence else None,
            barred=self._eligibility.barred,
            baseline_model=self._decider.baseline,
            simulated=self.simulated,
        )

    def task(
        self,
        /,
        prompt: str | Sequence[Message] | None = None,
        *,
        messages: Sequence[Message] | None = None,
        kind: str | None = None,
        requirements: Mapping[str, bool] | Sequence[str] | None = None,
        complexity_override: TaskComplexity | str | None = None,
        preferred_model: str | None = None,
        subject: str | None = None,
        unit: str | None = None,
        tenant: str | None = None,
        conversation_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        max_usd: float | None = None,
        timeout_s: float | None = None,
        repair: bool = False,
        **params: Any,
    ) -> Task:
        """Return the checked Task that the options of `run` describe. Raises TaskError."""
        if prompt is not None and messages is not None:
            raise TaskError("pass the prompt or messages=[...], not both")
        return Task.of(
            prompt if messages is None else messages,  # type: ignore[arg-type]
            kind=kind,
            requirements=requirements,
            params=params,
            complexity_override=complexity_override,
            preferred_model=preferred_model,
            subject=subject,
            unit=unit,
            tenant=tenant,
            conversation_id=conversation_id,
            labels=labels,
            limits=None if max_usd is None and timeout_s is None else Limits(max_usd, timeout_s),
            repair=repair,
        )

    @_taking_the_options_of(task)
    def run(self, *prompt: Any, **options: Any) -> Outcome:
        """Answer a prompt: a string, or messages in OpenAI chat format. Other keywords go to the provider.

        `kind` declares what is asked (score, classify, extract, creative, ...), `requirements` what it
        takes (deep_analysis, ...); `complexity_override` and `preferred_model` ("gpt-6-astra@high") win over
        the router's judgement; `subject` is the text to classify where that is not the prompt.
        `unit` is the user or conversation that an experiment buckets by; it goes to the log, as do
        `tenant`, `conversation_id` and `labels`. `max_usd` and `timeout_s` limit this task. `repair=True`
        has a model mend an answer that violates the `response_format`, once, before the next rung is asked.

        Raises TaskError for a bad request, MissingKeyError without keys, and AllModelsFailedError,
        BudgetExceededError or DeadlineExceededError, ledger included, when there is no answer.
        """
        return self.run_task(self.task(*prompt, **options))

    @_taking_the_options_of(task)
    async def arun(self, *prompt: Any, **options: Any) -> Outcome:
        """Do what `run` does, with the same options, without blocking the event loop."""
        return await self.arun_task(self.task(*prompt, **options))

    @_taking_the_options_of(task)
    def decide(self, *prompt: Any, **options: Any) -> Decision:
        """Return what `run` would do, with the same options, without making a call.

        A classifier that needs calls is replaced by the rules here, and the signals say so.
        """
        return self.decide_task(self.task(*prompt, **options))

    def run_task(self, task: Task) -> Outcome:
        """Do what `run` does with a Task that is built already."""
        steps, features = self.steps(task), measure(task)
        return self._finish(*self._driver.drive(steps), features)

    async def arun_task(self, task: Task) -> Outcome:
        """Do what `arun` does with a Task that is built already."""
        steps, features = self.steps(task), measure(task)
        return await self._driver.adrive(steps, lambda outcome, cut: self._finish(outcome, cut, features))

    async def aconduct(
        self,
        task: Task,
        plan: Callable[[Run], Generator[Calls | Wait, Replies, Conducted[_R]]],
        *,
        provider: Provider | None = None,
        prices: PriceTable | None = None,
    ) -> Conducted[_R]:
        """Perform the caller's own steps on this router's account, and return what the plan returns.

        The calls obey the router's keys, breakers, retries, limits and budget. The outcome is counted and
        logged like that of any task; an error in it is raised. `provider` makes the calls in place of the
        router's, and `prices` win over its table. For ensembles and other shapes that are no ladder.
        """
        handles = self._handles
        if prices is not None:
            handles = replace(handles, prices=self.prices.merged(prices))
        driver = self._driver if provider is None else LiveDriver(provider, self.config.clock)
        features = measure(task)

        def finish(conducted: Conducted[_R], interruption: BaseException | None) -> Conducted[_R]:
            self._finish(conducted.outcome, interruption, features)
            return conducted

        return await driver.adrive(plan(Run(task, handles)), finish)

    def log_outcome(self, task: Task, conclude: Callable[[Run], Outcome], *, counted: bool = True) -> Outcome:
        """Log what came of a task that needs no call of this router, and return it.

        `conclude` makes the Outcome: of an answer from a cache, say. With `counted` False it is logged, but
        is no request of `get_stats`.
        """
        return self._finish(conclude(Run(task, self._handles)), None, measure(task), counted=counted)

    def barred(self, model: str) -> str | None:
        """Return why a model may not be called now (retired, allow-list, no key); None when it may."""
        return self._eligibility.barred(model)

    def menu(self, task: Task) -> Menu:
        """Return the models that may take a task, cheapest first, and why the others may not."""
        if not isinstance(task, Task):
            raise TaskError(
                f"this takes a Task, got {shown(task)}; router.task(...) builds one, "
                "and run, arun and decide take a prompt"
            )
        return self._eligibility.menu(
            task,
            accept_at=self.config.accept_at if self.config.escalate else 0.0,
            under_budget=self._budget is not None or task.limits.max_usd is not None,
            tied_to=self._conversations.provider_of(task.messages),
        )

    def decide_task(self, task: Task) -> Decision:
        """Do what `decide` does with a Task that is built already."""
        menu = self.menu(task)
        return self._decider.decide(task, classify_without_calls(self._classifier, task), menu)

    def steps(self, task: Task, *, clock: Clock | None = None) -> Steps:
        """Return the steps of a task for a driver to perform.

        With a `clock` the run stands apart from this router: it has breakers and a budget of its own.
        """
        menu = self.menu(task)
        handles = self._handles
        if clock is not None:
            breaker = Breaker(self.config.breaker_failures, self.config.breaker_cooldown_s, clock)
            budget = None if self.config.max_usd is None else Budget(self.config.max_usd)
            handles = replace(handles, clock=clock, breaker=breaker, budget=budget)
        if menu.tied_to is not None:
            handles = replace(handles, tied=True)
        return route(
            task,
            self._classifier,
            lambda task, classification: self._decider.decide(task, classification, menu),
            handles,
        )

    def _finish(
        self,
        outcome: Outcome,
        interruption: BaseException | None,
        features: Features,
        *,
        counted: bool = True,
    ) -> Outcome:
        """Remember, count and log the outcome; then raise what has to be raised."""
        if outcome.answer is not None and outcome.answer.tool_calls and outcome.model is not None:
            self._conversations.remember(outcome.answer.tool_calls, self._providers[outcome.model])
        if counted:
            self._stats.add(outcome)
        self._emitter.emit(outcome, features)
        if interruption is not None:
            raise interruption
        if outcome.error is not None:
            outcome.error.outcome = outcome
            raise outcome.error
        return outcome

    def feedback(
        self,
        outcome_id: str,
        quality: float | None = None,
        *,
        label: str | None = None,
        source: FeedbackSource = "user",
        comment: str | None = None,
    ) -> str:
        """Log what somebody thought of an answer, and return the id of that feedback.

        `outcome_id` is `Outcome.id`; `quality` lies in [0, 1], and a `label` may say more ("wrong", "long"):
        at least one of them. `source` is "user", "judge" or "test"; the three are never mixed in a figure.
        Feedback may come late, even before its outcome is in the log. Of several by one source about one
        outcome the latest counts; sources that contradict each other are reported side by side. A `comment`
        is stored as `redact` leaves it.
        Raises TaskError for a value out of range.
        """
        return self._give(feedback_about(outcome_id, None, quality, label, source, comment))

    def feedback_for(
        self,
        conversation_id: str,
        quality: float | None = None,
        *,
        label: str | None = None,
        source: FeedbackSource = "user",
        comment: str | None = None,
    ) -> str:
        """Log what somebody thought of a conversation, and return the id of that feedback.

        It counts for every outcome of the conversation so far that has none of its own from that source.
        """
        return self._give(feedback_about("", conversation_id, quality, label, source, comment))

    def _give(self, given: Mapping[str, Any]) -> str:
        from smartroute.events.event import Event
        from smartroute.events.prompts import redacted

        event_id = _new_id()
        now_s = self.config.clock.now()
        said = given["comment"]
        comment = None if said is None else redacted(said, self.config.redact)
        self._emitter.emit_event(
            lambda: Event.of_feedback(
                event_id=event_id, at_s=now_s, simulated=self.simulated, **{**given, "comment": comment}
            )
        )
        return event_id

    @property
    def lost_events(self) -> int:
        """Return how many events could not be logged, the sink's own count included."""
        return self._emitter.lost

    @property
    def spent_usd(self) -> float | None:
        """Return what counts against this router's budget so far, reservations included; None without one."""
        return None if self._budget is None else self._budget.spent_usd + self._budget.reserved_usd

    def warmup(self) -> None:
        """Do now what the first request would do: import litellm, compile patterns, open the log."""
        warm = getattr(self.provider, "warmup", None)
        if warm is not None:
            warm()
        RuleClassifier().classify(Task.of("warm up"))
        self._emitter.open()

    def flush(self) -> None:
        """Make sure that every event is written. Raises SinkError when some were lost."""
        self._emitter.flush()

    def close(self) -> None:
        """Close the log and the provider. The router opens them again when it is used again."""
        self._emitter.close()
        close = getattr(self.provider, "close", None)
        if close is not None:
            close()

    async def aclose(self) -> None:
        """Do what `close` does, and close the provider's connections of this event loop."""
        aclose = getattr(self.provider, "aclose", None)
        if aclose is not None:
            await aclose()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"ModelRouter({len(self._providers)} models, strategy={self._strategy!r})"

    def classify_task_complexity(self, task: Mapping[str, Any]) -> TaskComplexity:
        """Return the complexity of a task given as a dict: text, type, requirements, complexity_override."""
        built = task_from_dict(task, prompt=None)
        return classify_without_calls(self._classifier, built).complexity

    def get_model_for_complexity(self, complexity: TaskComplexity | str, task_type: str = "general") -> str:
        """Return the name of the model that a task of this complexity and type would be sent to first."""
        task = Task.of("?", kind=task_type, complexity_override=complexity)
        if task.complexity_override is None:
            raise TaskError(f"complexity must be one of {[c.value for c in TaskComplexity]}, got None")
        menu = self.menu(task)
        score = {"simple": 0.0, "medium": 0.5, "complex": 1.0}[task.complexity_override.value]
        seen = Classification(task.complexity_override, score, (Signal("declared", score),), "caller")
        undeclared = replace(task, complexity_override=None)
        return self._decider.decide(undeclared, seen, menu, hold_back=False).ladder[0].model

    async def route_and_execute(
        self, task: Mapping[str, Any], prompt: str, response_format: Any = None
    ) -> dict[str, Any]:
        """Answer a prompt whose complexity is that of `task`, and return the familiar dict."""
        params = {} if response_format is None else {"response_format": response_format}
        built = task_from_dict(task, prompt=prompt, params=params)
        outcome = await self.arun_task(built)
        return result_as_dict(outcome)

    def get_stats(self) -> dict[str, Any]:
        """Return the familiar totals of this router since it was built or reset, in constant memory."""
        return self._stats.as_dict()

    def reset_stats(self) -> None:
        """Forget the totals. The log is not touched."""
        self._stats.reset()


def _catalog(config: RouterConfig) -> Catalog:
    if config.catalog is None:
        return Catalog.default()
    if isinstance(config.catalog, str | Path):
        return Catalog.default().with_file(config.catalog)
    return config.catalog


def _check_named_models(config: RouterConfig, catalog: Catalog) -> None:
    """Raise UnknownModelError, naming the setting, for a model of the settings that the catalog lacks."""
    named: Mapping[str, tuple[str, ...]] = {
        "baseline_model": () if config.baseline_model is None else (config.baseline_model,),
        "classifier": _models_of(config.classifier),
        "estimator": _models_of(config.estimator),
        "strategy": _models_of(config.strategy),
    }
    for setting, models in named.items():
        for model in models:
            try:
                catalog.card(model)
            except UnknownModelError as error:
                raise UnknownModelError(f"{setting}: {error}") from None


def _models_of(part: object) -> tuple[str, ...]:
    """Return the models that a part says it asks for: its attribute `models`, if that is a tuple of names."""
    named = getattr(part, "models", ())
    return named if isinstance(named, tuple) and all(isinstance(name, str) for name in named) else ()


def _fields(config: RouterConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in config.model_fields_set}


def _litellm() -> Provider:
    from smartroute.providers.litellm import LiteLLMProvider

    return LiteLLMProvider()


def _new_id() -> str:
    """Return an id that sorts by time: 48 bits of milliseconds, 80 random bits, in hex.

    The bits come from a generator of this process, reseeded in a forked child: asking the system for them
    would give other threads the floor each time.
    """
    return f"{time.time_ns() // 1_000_000:012x}{_ids.getrandbits(80):020x}"


_ids = random.Random()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_ids.seed)
