"""Speak the language of the system that smartroute replaces: its task dicts and its result dicts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from smartroute.errors import TaskError
from smartroute.records import Outcome, Task


def familiar_task(
    task: Mapping[str, Any], *, prompt: str | None, params: Mapping[str, Any] | None = None
) -> Task:
    if not isinstance(task, Mapping):
        raise TaskError(f"task must be a dict with text and type, got {type(task).__name__}")
    text = task.get("text")
    if text is None:
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
        unit=familiar_unit(task.get("user_id")),
    )


def familiar_unit(user_id: object) -> str | None:
    """Return what an experiment buckets a user by: None for nobody, however that is written."""
    unit = "" if user_id is None else str(user_id)
    return unit if unit.strip() else None


def familiar_result(outcome: Outcome) -> dict[str, Any]:
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
