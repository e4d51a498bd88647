"""A drop-in for the replaced single-model executor: one text, one answer, the same dict."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, Unpack

from smartroute.compat import result_as_dict, unit_of_user
from smartroute.errors import TaskError
from smartroute.integration.owned_router import OwnedRouter
from smartroute.records import Task, TaskComplexity
from smartroute.router import ModelRouter

if TYPE_CHECKING:
    from smartroute.config import RouterArguments

_PLACEHOLDER = "{text}"


class SmartSingleModelExecutor:
    """Answer texts with the cheapest model that answers well, through the replaced executor's interface.

    `router` is the ModelRouter to use; without one, `settings` build it (those of ModelRouter), at the first
    call. One instance serves any number of threads and event loops.
    """

    def __init__(self, router: ModelRouter | None = None, **settings: Unpack[RouterArguments]) -> None:
        self._owned_router = OwnedRouter(router, settings)

    @property
    def router(self) -> ModelRouter:
        """Return the router, built at first use."""
        return self._owned_router.router

    async def execute(
        self,
        text: str,
        task_type: str = "general",
        prompt_template: str | None = None,
        response_format: Any = None,
        complexity_hint: TaskComplexity | str | None = None,
        user_id: str | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """Return the answer as a dict: result, confidence, model_used, complexity, cost (USD), escalated,
        execution_time (s), timestamp.

        `prompt_template` contains the placeholder `{text}`, which the text replaces; other braces, in the
        template and in the text, are left as they are. With `response_format` (OpenAI's shape, or a pydantic
        model class) the result is JSON text; a model whose answer violates the schema is asked to repair it,
        once, before the next model is asked. `complexity_hint` ("simple", "medium", "complex") wins over the
        router's judgment; `user_id` is what an experiment buckets by. Other keywords go to the provider
        (temperature, ...).

        Raises TaskError for a bad request, MissingKeyError without keys, and AllModelsFailedError,
        BudgetExceededError or DeadlineExceededError, ledger included, when there is no answer.
        """
        task = self._task(text, task_type, prompt_template, response_format, complexity_hint, user_id, params)
        return result_as_dict(await self.router.arun_task(task))

    def execute_sync(
        self,
        text: str,
        task_type: str = "general",
        prompt_template: str | None = None,
        response_format: Any = None,
        complexity_hint: TaskComplexity | str | None = None,
        user_id: str | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """Do what `execute` does, and block until the answer is there."""
        task = self._task(text, task_type, prompt_template, response_format, complexity_hint, user_id, params)
        return result_as_dict(self.router.run_task(task))

    def _task(
        self,
        text: str,
        task_type: str,
        template: str | None,
        response_format: Any,
        hint: TaskComplexity | str | None,
        user_id: str | None,
        params: dict[str, Any],
    ) -> Task:
        if not isinstance(text, str):
            raise TaskError(f"text must be a string, got {type(text).__name__}")
        return self.router.task(
            _filled(template, text),
            kind=task_type,
            subject=text,
            unit=unit_of_user(user_id),
            complexity_override=hint,
            response_format=response_format,
            repair=response_format is not None,
            **params,
        )

    def get_stats(self) -> dict[str, Any]:
        """Return the router's totals."""
        return self.router.get_stats()

    def close(self) -> None:
        """Close the router, unless it belongs to the caller."""
        self._owned_router.close()

    async def aclose(self) -> None:
        """Do what `close` does, and close the provider's connections of this event loop."""
        await self._owned_router.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


def _filled(template: str | None, text: str) -> str:
    """Return the template with the text in place of `{text}`, and no other substitution."""
    if template is None:
        return text
    if not isinstance(template, str) or _PLACEHOLDER not in template:
        given = "text without it" if isinstance(template, str) else type(template).__name__
        raise TaskError(f"prompt_template must be text with the placeholder {{text}}, got {given}")
    return template.replace(_PLACEHOLDER, text)
