"""JSON shapes of outcomes, decisions and attempts, and the JSON Schema of each.

Fields are added, never renamed and never given another meaning or type; SHAPE_VERSION rises with each
addition.
No shape holds the prompt, the parameters of the request, a provider's error message, or a key.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from smartroute.errors import ConfigError, shown
from smartroute.records.json_values import (
    as_bool,
    as_count,
    as_flag,
    as_json,
    as_number,
    as_scalar,
    as_text,
    as_texts,
    text_of,
)

if TYPE_CHECKING:
    from smartroute.errors import SmartRouteError
    from smartroute.records.decision import Decision, Rung
    from smartroute.records.outcome import Attempt, Outcome

SHAPE_VERSION = 1
"""The version of all three shapes: the value of `schema` in each of them."""

_SCHEMAS = "data/json_shapes.json"


def attempt_as_dict(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt as a dict that JSON can hold. Unknown values are None, as are infinities and NaN."""
    usage = attempt.usage
    failure = attempt.failure
    return {
        "schema": SHAPE_VERSION,
        "model": text_of(attempt.model),
        "provider": text_of(attempt.provider) or None,
        "effort": as_text(attempt.effort),
        "purpose": text_of(attempt.purpose),
        "rung": as_count(attempt.rung),
        "number": as_count(attempt.number),
        "cost_usd": as_number(attempt.cost_usd),
        "input_tokens": None if usage is None else as_count(usage.input_tokens),
        "output_tokens": None if usage is None else as_count(usage.output_tokens),
        "cached_tokens": None if usage is None else as_count(usage.cached_tokens),
        "cache_write_tokens": None if usage is None else as_count(usage.cache_write_tokens),
        "reasoning_tokens": None if usage is None else as_count(usage.reasoning_tokens),
        "audio_tokens": None if usage is None else as_count(usage.audio_tokens),
        "surcharge": None if usage is None else as_text(usage.surcharge),
        "confidence": as_number(attempt.confidence),
        "confidence_source": as_text(attempt.confidence_source),
        "finish_reason": as_text(attempt.finish_reason),
        "failure": None if failure is None else text_of(failure.kind),
        "failure_status": None if failure is None else as_count(failure.status),
        "latency_s": as_number(attempt.latency_s),
        "started_at": as_number(attempt.started_at),
    }


def decision_as_dict(decision: Decision) -> dict[str, Any]:
    """Return a decision as a dict that JSON can hold. Unknown values are None, as are infinities and NaN."""
    classification = decision.classification
    return {
        "schema": SHAPE_VERSION,
        "complexity": text_of(classification.complexity),
        "score": as_number(classification.score),
        "by": text_of(classification.by),
        "signals": [
            {
                "name": text_of(signal.name),
                "value": as_scalar(signal.value),
                "weight": as_number(signal.weight),
            }
            for signal in classification.signals
        ],
        "strategy": text_of(decision.strategy),
        "accept_at": as_number(decision.accept_at),
        "ladder": [_rung(rung) for rung in decision.ladder],
        "reasons": list(as_texts(decision.reasons)),
        "ruled_out": [
            {"model": text_of(out.model), "reason": text_of(out.reason)} for out in decision.ruled_out
        ],
        "experiment": as_text(decision.experiment),
        "arm": as_text(decision.arm),
        "arm_propensity": as_number(decision.arm_propensity),
        "action_propensity": as_number(decision.action_propensity),
        "overridden": as_bool(decision.overridden),
        "holdback": as_text(decision.holdback),
        "holdback_share": as_number(decision.holdback_share),
    }


def _rung(rung: Rung) -> dict[str, Any]:
    return {
        "model": text_of(rung.model),
        "effort": as_text(rung.effort),
        "tier": text_of(rung.tier),
        "expected_usd": as_number(rung.expected_usd),
        "standin": as_bool(rung.standin),
    }


def outcome_as_dict(outcome: Outcome[Any]) -> dict[str, Any]:
    """Return an outcome as a dict that JSON can hold. Unknown values are None, as are infinities and NaN."""
    attempts = [attempt_as_dict(attempt) for attempt in outcome.attempts]
    cost_usd, unpriced = total_cost(attempt["cost_usd"] for attempt in attempts)
    answer = outcome.answer
    rung = outcome.answered_by
    return {
        "schema": SHAPE_VERSION,
        "simulated": as_bool(outcome.simulated),
        "id": text_of(outcome.id),
        "kind": text_of(outcome.task.kind),
        "conversation_id": as_text(outcome.task.conversation_id),
        "text": "" if answer is None else text_of(answer.text),
        "tool_calls": [] if answer is None else as_json(list(answer.tool_calls)),
        "finish_reason": None if answer is None else as_text(answer.finish_reason),
        "model": None if rung is None else text_of(rung.model),
        "tier": None if rung is None else text_of(rung.tier),
        "effort": None if rung is None else as_text(rung.effort),
        "complexity": text_of(outcome.decision.classification.complexity),
        "escalated": len({a["rung"] for a in attempts if a["purpose"] in ("answer", "screen")}) > 1,
        "answer_changed": as_flag(outcome.answer_changed),
        "confidence": as_number(outcome.estimate.value),
        "confidence_source": text_of(outcome.estimate.source),
        "stopped_by": as_text(outcome.stopped_by),
        "error": _error(outcome.error),
        "cost_usd": cost_usd,
        "unpriced_attempts": unpriced,
        "baseline_model": as_text(outcome.baseline_model),
        "baseline_cost_usd": as_number(outcome.baseline_cost_usd),
        "latency_s": as_number(outcome.latency_s),
        "started_at": as_number(outcome.started_at),
        "attempts": attempts,
        "decision": decision_as_dict(outcome.decision),
    }


def _error(error: SmartRouteError | None) -> dict[str, str] | None:
    return None if error is None else {"kind": type(error).__name__, "message": text_of(error)}


def total_cost(costs_usd: Iterable[float | None]) -> tuple[float | None, int]:
    """Return the sum of the known costs in USD, and how many costs are unknown."""
    costs_usd = list(costs_usd)
    known = [cost_usd for cost_usd in costs_usd if cost_usd is not None]
    try:
        return math.fsum(known), len(costs_usd) - len(known)
    except OverflowError:  # finite costs whose sum is not
        return None, len(costs_usd)


def json_schema(name: Literal["outcome", "decision", "attempt"]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of what `as_dict` of an Outcome, Decision or Attempt returns.

    It lets further properties pass, because later versions add some. Raises ConfigError for another name.
    """
    import json
    import pkgutil

    if name not in ("outcome", "decision", "attempt"):
        raise ConfigError(f"there is no JSON schema {shown(name)}; use outcome, decision or attempt")
    definitions: dict[str, Any] = json.loads(pkgutil.get_data("smartroute", _SCHEMAS) or b"{}")
    definition = definitions.pop(name)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:smartroute:{name}:{SHAPE_VERSION}",
        **definition,
        "$defs": definitions,
    }
