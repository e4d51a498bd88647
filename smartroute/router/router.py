"""ModelRouter: run, decide, feedback, totals and life cycle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack

from smartroute.classify import RuleClassifier, measure
from smartroute.clock import Clock
from smartroute.compat import result_as_dict, task_from_dict
from smartroute.config import RouterConfig
from smartroute.errors import TaskError, shown
from smartroute.events.feedback import FeedbackSource, feedback_about
from smartroute.records import Decision, Menu, Outcome, Task, TaskComplexity
from smartroute.router.bookkeeping import Bookkeeping
from smartroute.router.construction import config_of, parts_of, separate
from smartroute.router.first_model import first_model
from smartroute.router.requests import Parsed, answering, answering_later, taking_the_options_of, task_of
from smartroute.routing.drivers import Conducted, LiveDriver
from smartroute.routing.escalation import classify_without_calls, route
from smartroute.routing.run import Run, Steps, Stepwise

if TYPE_CHECKING:
    from smartroute.config import RouterSettings
    from smartroute.pricing import PriceTable
    from smartroute.protocols import Provider

_R = TypeVar("_R")


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
        familiar = {
            "escalation_threshold": escalation_threshold,
            "enable_escalation": enable_escalation,
            "cost_optimization_mode": cost_optimization_mode,
        }
        self.config = config_of(config, settings, familiar)
        parts = parts_of(self.config)
        self.catalog = parts.catalog
        self.prices = parts.prices
        self.provider = parts.provider
        self.simulated = parts.simulated
        self._classifier = parts.classifier
        self._strategy = parts.strategy
        self._eligibility = parts.eligibility
        self._decider = parts.decider
        self._handles = parts.handles
        self._budget = parts.handles.budget
        self._books = Bookkeeping(self.config, self.catalog, simulated=self.simulated)
        self._driver = LiveDriver(self.provider, self.config.clock)

    task = staticmethod(task_of)

    @answering(task_of)
    def run(self, *prompt: Any, **options: Any) -> Outcome:
        """Answer a prompt: a string, or messages in OpenAI chat format. Other keywords go to the provider.

        `kind` declares what is asked (score, classify, extract, creative, ...), `requirements` what it
        takes (deep_analysis, ...); `complexity_override` and `preferred_model` ("gpt-6-astra@high") win over
        the router's judgment; `subject` is the text to classify where that is not the prompt.
        `unit` is the user or conversation that an experiment buckets by; it goes to the log, as do
        `tenant`, `conversation_id` and `labels`. `max_usd` and `timeout_s` limit this task.
        `response_format` is OpenAI's dict, or a pydantic model class, an object of which is `Outcome.parsed`.
        `repair=True` has a model repair an answer that violates it, once, before the next rung is asked.

        Raises TaskError for a bad request, MissingKeyError without keys, and AllModelsFailedError,
        BudgetExceededError or DeadlineExceededError, ledger included, when there is no answer.
        """
        return self.run_task(self.task(*prompt, **options))

    @answering_later(task_of)
    async def arun(self, *prompt: Any, **options: Any) -> Outcome:
        """Do what `run` does, with the same options, without blocking the event loop."""
        return await self.arun_task(self.task(*prompt, **options))

    @taking_the_options_of(task_of)
    def decide(self, *prompt: Any, **options: Any) -> Decision:
        """Return what `run` would do, with the same options, without making a call.

        A classifier that needs calls is replaced by the rules here, and the signals say so.
        """
        return self.decide_task(self.task(*prompt, **options))

    def run_task(self, task: Task[Parsed]) -> Outcome[Parsed]:
        """Do what `run` does with a Task that is built already."""
        steps, features = self.steps(task), measure(task)
        return self._books.finish(*self._driver.drive(steps), features)

    async def arun_task(self, task: Task[Parsed]) -> Outcome[Parsed]:
        """Do what `arun` does with a Task that is built already."""
        steps, features = self.steps(task), measure(task)
        return await self._driver.adrive(
            steps, lambda outcome, cut: self._books.finish(outcome, cut, features)
        )

    async def aconduct(
        self,
        task: Task,
        plan: Callable[[Run], Stepwise[Conducted[_R]]],
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
            self._books.finish(conducted.outcome, interruption, features)
            return conducted

        return await driver.adrive(plan(Run(task, handles)), finish)

    def log_outcome(self, task: Task, conclude: Callable[[Run], Outcome], *, counted: bool = True) -> Outcome:
        """Log what came of a task that needs no call of this router, and return it.

        `conclude` makes the Outcome: of an answer from a cache, say. With `counted` False it is logged, but
        is no request of `get_stats`.
        """
        return self._books.finish(conclude(Run(task, self._handles)), None, measure(task), counted=counted)

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
            tied_to=self._books.conversations.provider_of(task.messages),
        )

    def decide_task(self, task: Task) -> Decision:
        """Do what `decide` does with a Task that is built already."""
        menu = self.menu(task)
        return self._decider.decide(task, classify_without_calls(self._classifier, task), menu)

    def steps(self, task: Task, *, clock: Clock | None = None) -> Steps:
        """Return the steps of a task for a driver to perform.

        With a `clock` the run is separate from this router: it has a breaker and a budget of its own.
        """
        menu = self.menu(task)
        handles = self._handles
        if clock is not None:
            handles = separate(handles, self.config, clock)
        if menu.tied_to is not None:
            handles = replace(handles, tied=True)
        return route(
            task,
            self._classifier,
            lambda task, classification: self._decider.decide(task, classification, menu),
            handles,
        )

    def feedback(
        self,
        outcome_id: str,
        quality: float | None = None,
        *,
        label: str | None = None,
        source: FeedbackSource = "user",
        comment: str | None = None,
    ) -> str:
        """Log feedback on an answer, and return the id of that feedback.

        `outcome_id` is `Outcome.id`; `quality` lies in [0, 1], and a `label` may say more ("wrong", "long"):
        at least one of them. `source` is "user", "judge" or "test"; the three are never mixed in a figure.
        Feedback may come late, even before its outcome is in the log. Of several by one source about one
        outcome the latest counts; sources that contradict each other are reported side by side. A `comment`
        is stored as `redact` leaves it.
        Raises TaskError for a value out of range.
        """
        return self._books.record_feedback(feedback_about(outcome_id, None, quality, label, source, comment))

    def feedback_for(
        self,
        conversation_id: str,
        quality: float | None = None,
        *,
        label: str | None = None,
        source: FeedbackSource = "user",
        comment: str | None = None,
    ) -> str:
        """Log feedback on a conversation, and return the id of that feedback.

        It counts for every outcome of the conversation so far that has none of its own from that source.
        """
        return self._books.record_feedback(
            feedback_about("", conversation_id, quality, label, source, comment)
        )

    @property
    def lost_events(self) -> int:
        """Return how many events could not be logged, the sink's own count included."""
        return self._books.emitter.lost

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
        self._books.emitter.open()

    def flush(self) -> None:
        """Make sure that every event is written. Raises SinkError when some were lost."""
        self._books.emitter.flush()

    def close(self) -> None:
        """Close the log and the provider. The router opens them again when it is used again."""
        self._books.emitter.close()
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
        return f"ModelRouter({len(self.catalog)} models, strategy={self._strategy!r})"

    def classify_task_complexity(self, task: Mapping[str, Any]) -> TaskComplexity:
        """Return the complexity of a task given as a dict: text, type, requirements, complexity_override."""
        built = task_from_dict(task, prompt=None)
        return classify_without_calls(self._classifier, built).complexity

    def get_model_for_complexity(self, complexity: TaskComplexity | str, task_type: str = "general") -> str:
        """Return the name of the model that a task of this complexity and type would be sent to first."""
        return first_model(self._decider, self.menu, complexity, task_type)

    async def route_and_execute(
        self, task: Mapping[str, Any], prompt: str, response_format: Any = None
    ) -> dict[str, Any]:
        """Answer a prompt whose complexity is that of `task`, and return the familiar dict."""
        params = {} if response_format is None else {"response_format": response_format}
        return result_as_dict(await self.arun_task(task_from_dict(task, prompt=prompt, params=params)))

    def get_stats(self) -> dict[str, Any]:
        """Return the familiar totals of this router since it was built or reset, in constant memory."""
        return self._books.totals.as_dict()

    def reset_stats(self) -> None:
        """Forget the totals. The log is not touched."""
        self._books.totals.reset()
