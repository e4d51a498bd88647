"""The dicts of the system that smartroute replaces: task in, result and `get_stats` out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import TaskError
from smartroute.records import Outcome, Task, TaskComplexity


def task_from_dict(
    task: Mapping[str, Any], *, prompt: str | None, params: Mapping[str, Any] | None = None
) -> Task:
    """Return the task of a dict of the replaced system: text, type, requirements and so on.

    `prompt` is what models are sent, where it differs from the text that is classified. Raises TaskError.
    """
    if not isinstance(task, Mapping):
        raise TaskError(f"task must be a dict with text and type, got {type(task).__name__}")
    text = task.get("text")
    if text is None:  # callers of `route_and_execute` may pass the prompt alone
        text = prompt if prompt is not None else ""
    if not isinstance(text, str):
        raise TaskError(f"task['text'] must be a string, got {type(text).__name__}")
    return Task.of(
        prompt if prompt is not None else (text if text.strip() else "?"),
        kind=task.get("type") or "general",
        requirements=task.get("requirements"),
        params=params,
        complexity_override=task.get("complexity_override"),
        preferred_model=task.get("preferred_model"),
        subject=text,
        unit=unit_of_user(task.get("user_id")),
    )


def unit_of_user(user_id: object) -> str | None:
    """Return what an experiment buckets a user by. None, and text that is empty or blank, give None."""
    unit = "" if user_id is None else str(user_id)
    return unit if unit.strip() else None


def result_as_dict(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as the dict that callers of the replaced system read."""
    return {
        "result": outcome.text,
        "confidence": outcome.confidence,
        "model_used": outcome.model,
        "complexity": outcome.complexity.value,
        "cost": outcome.cost_usd,
        "escalated": outcome.escalated,
        "execution_time": outcome.latency_s,
        "timestamp": datetime.fromtimestamp(outcome.started_at, UTC).isoformat(),
    }


class RunningTotals:
    """Totals of the outcomes added since the last reset. Thread-safe.

    Requests without an answer count in `total_requests`, `failures` and `total_cost`, and in no model.
    """

    def __init__(self) -> None:
        self._lock = fork_safe_lock()
        self._clear()

    def _clear(self) -> None:
        self._requests = 0
        self._failures = 0
        self._escalations = 0
        self._by_complexity: Counter[str] = Counter()
        self._by_model: Counter[str] = Counter()
        self._cost_usd = 0.0
        self._unpriced_attempts = 0
        self._confidence_sum = 0.0
        self._confidence_count = 0
        self._compared = 0
        self._compared_cost_usd = 0.0
        self._baseline_cost_usd = 0.0

    def add(self, outcome: Outcome) -> None:
        """Count one outcome."""
        cost_usd = outcome.cost_usd
        unpriced = outcome.unpriced_attempts
        model = outcome.model
        confidence = outcome.confidence
        with self._lock:
            self._requests += 1
            self._escalations += outcome.escalated
            self._by_complexity[outcome.complexity.value] += 1
            self._cost_usd += cost_usd
            self._unpriced_attempts += unpriced
            if model is None:
                self._failures += 1
            else:
                self._by_model[model] += 1
            if confidence is not None:
                self._confidence_sum += confidence
                self._confidence_count += 1
            # A failure saves nothing, but its calls are paid: left out, failing would look like saving.
            if outcome.answer is None:
                self._compared_cost_usd += cost_usd
            elif outcome.baseline_cost_usd is not None and not unpriced:
                self._compared += 1
                self._compared_cost_usd += cost_usd
                self._baseline_cost_usd += outcome.baseline_cost_usd

    def reset(self) -> None:
        """Set all totals to zero."""
        with self._lock:
            self._clear()

    def as_dict(self) -> dict[str, Any]:
        """Return the totals under the names of the replaced system.

        `avg_confidence` is over the answers whose confidence is known (None without any).
        `cost_savings_pct` compares with the declared baseline model, priced on the answers' own tokens, over
        the `compared_requests` where both costs are known. A request with an attempt of unknown cost is left
        out. The cost of requests without an answer counts as cost of routing.
        Negative when routing cost more. `total_cost` is incomplete when `unpriced_attempts` is not 0.
        """
        with self._lock:
            known = self._confidence_count
            stats: dict[str, Any] = {
                "total_requests": self._requests,
                "by_complexity": {level.value: self._by_complexity[level.value] for level in TaskComplexity},
                "by_model": dict(self._by_model),
                "escalations": self._escalations,
                "total_cost": self._cost_usd,
                "avg_confidence": self._confidence_sum / known if known else None,
                "failures": self._failures,
                "unpriced_attempts": self._unpriced_attempts,
            }
            if not self._requests:
                return stats
            answered = self._requests - self._failures
            stats["complexity_distribution"] = {
                level.value: self._by_complexity[level.value] / self._requests for level in TaskComplexity
            }
            stats["model_distribution"] = {name: count / answered for name, count in self._by_model.items()}
            stats["avg_cost_per_request"] = self._cost_usd / self._requests
            stats["escalation_rate"] = self._escalations / self._requests
            stats["compared_requests"] = self._compared
            stats["cost_savings_pct"] = (
                100.0 * (1.0 - self._compared_cost_usd / self._baseline_cost_usd)
                if self._baseline_cost_usd > 0
                else None
            )
            return stats
