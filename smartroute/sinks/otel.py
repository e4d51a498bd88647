"""Export requests to OpenTelemetry: a span for each, one for each call in it, metrics of tokens and cost.

Names are those of the semantic conventions for generative AI, which are all in development. What they have
no name for is under `smartroute.`. Needs the extra `otel`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smartroute.events.event import AttemptRecord, Event

_PROVIDERS = {
    "azure": "azure.ai.openai",
    "azure_ai": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_ai": "gcp.vertex_ai",
    "watsonx": "ibm.watsonx.ai",
    "xai": "x_ai",
}
# The bounds that the conventions ask for.
_TOKEN_BOUNDS = [4**power for power in range(14)]
_SECOND_BOUNDS = [0.01 * 2**power for power in range(14)]
_USD_BOUNDS = [10.0**power * step for power in range(-6, 1) for step in (1, 2, 5)]


class OtelSink:
    """A sink that turns each event into spans and measurements.

    The providers are those that the application set globally, unless given. A request's span is a child of
    the span that is current when it ends, and has the request's own times. With `costs` the spans of priced
    calls carry the draft attributes `gen_ai.usage.cost.amount`, `.currency` and `.source`; the metric
    `smartroute.client.cost` is there always, and leaves calls of unknown cost out, which
    `smartroute.client.unpriced` counts. No text of prompts or answers is ever exported.

    Raises ImportError naming the extra when OpenTelemetry is not installed.
    """

    def __init__(
        self, *, tracer_provider: Any = None, meter_provider: Any = None, costs: bool = False
    ) -> None:
        try:
            from opentelemetry import metrics, trace
        except ImportError:
            raise ImportError(
                "OpenTelemetry is not installed; install it with pip install 'smartroute[otel]'"
            ) from None
        self._costs = costs
        self._trace: Any = trace
        self._tracer = trace.get_tracer("smartroute", tracer_provider=tracer_provider)
        meter = metrics.get_meter("smartroute", meter_provider=meter_provider)
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            unit="{token}",
            description="Tokens used by a call",
            explicit_bucket_boundaries_advisory=_TOKEN_BOUNDS,
        )
        self._durations = meter.create_histogram(
            "gen_ai.client.operation.duration",
            unit="s",
            description="How long a call took",
            explicit_bucket_boundaries_advisory=_SECOND_BOUNDS,
        )
        self._usd = meter.create_histogram(
            "smartroute.client.cost",
            unit="USD",
            description="What a call cost, where that is known",
            explicit_bucket_boundaries_advisory=_USD_BOUNDS,
        )
        self._unpriced = meter.create_counter(
            "smartroute.client.unpriced", unit="{call}", description="Calls of unknown cost"
        )
        self._requests = meter.create_histogram(
            "smartroute.request.duration",
            unit="s",
            description="How long a request took, with all of its calls",
            explicit_bucket_boundaries_advisory=_SECOND_BOUNDS,
        )
        self._quality = meter.create_histogram(
            "smartroute.feedback.quality", unit="1", description="Feedback on answers, from 0 to 1"
        )

    def emit(self, event: Event) -> None:
        """Export one event."""
        if event.type == "feedback":
            if event.quality is not None:
                self._quality.record(event.quality, {"smartroute.source": event.source or "user"})
            return
        ended_ns = _moment(event.time)
        started_ns = max(0, ended_ns - _nanoseconds(event.latency_s or 0.0))
        span = self._tracer.start_span(
            f"route {event.kind or 'general'}", start_time=started_ns, attributes=_request_attributes(event)
        )
        within = self._trace.set_span_in_context(span)
        for attempt in event.attempts:
            self._export(attempt, event, within, started_ns)
        if event.error is not None:
            span.set_status(self._trace.StatusCode.ERROR, event.error)
        span.end(end_time=ended_ns)
        if event.latency_s is not None:
            labels: dict[str, Any] = {
                "smartroute.kind": event.kind or "general",
                "smartroute.escalated": bool(event.escalated),
            }
            if event.error is not None:
                labels["error.type"] = event.error
            self._requests.record(event.latency_s, labels)

    def _export(self, attempt: AttemptRecord, event: Event, within: Any, fallback_ns: int) -> None:
        model = attempt.get("model", "")
        usd, failure, latency_s = attempt.get("cost_usd"), attempt.get("failure"), attempt.get("latency_s")
        at_s = attempt.get("started_at")
        started_ns = fallback_ns if at_s is None else _nanoseconds(at_s)
        common = _call_attributes(attempt)
        span = self._tracer.start_span(
            f"{common['gen_ai.operation.name']} {model}",
            context=within,
            kind=self._trace.SpanKind.CLIENT,
            start_time=started_ns,
            attributes={**common, **_span_attributes(attempt, event)},
        )
        if self._costs and usd is not None:
            span.set_attributes(
                {
                    "gen_ai.usage.cost.amount": usd,
                    "gen_ai.usage.cost.currency": "USD",
                    "gen_ai.usage.cost.source": "local",
                }
            )
        if failure is not None:
            span.set_status(self._trace.StatusCode.ERROR, failure)
        span.end(end_time=min(started_ns + _nanoseconds(latency_s or 0.0), _LAST_NS))
        measured = {**common, "error.type": failure} if failure is not None else common
        if latency_s is not None:
            self._durations.record(latency_s, measured)
        for kind, count in (("input", attempt.get("input_tokens")), ("output", attempt.get("output_tokens"))):
            if count is not None:
                self._tokens.record(count, {**measured, "gen_ai.token.type": kind})
        purpose = {**common, "smartroute.purpose": attempt.get("purpose", "")}
        if usd is None:
            self._unpriced.add(1, purpose)
        else:
            self._usd.record(usd, purpose)


def _request_attributes(event: Event) -> dict[str, Any]:
    """Return what is known of a request; nothing that may hold text of a prompt."""
    attributes = {
        "smartroute.outcome.id": event.outcome_id,
        "smartroute.kind": event.kind,
        "smartroute.complexity": event.complexity,
        "smartroute.strategy": event.strategy,
        "smartroute.arm": event.arm,
        "smartroute.escalated": event.escalated,
        "smartroute.stopped_by": event.stopped_by,
        "smartroute.confidence": event.confidence,
        "smartroute.confidence.source": event.confidence_source,
        "smartroute.cost_usd": event.cost_usd,
        "smartroute.unpriced_attempts": event.unpriced_attempts,
        "smartroute.simulated": event.simulated,
        "gen_ai.response.model": event.model,
        "gen_ai.conversation.id": event.conversation_id,
        "error.type": event.error,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _call_attributes(attempt: Mapping[str, Any]) -> dict[str, Any]:
    provider = str(attempt.get("provider") or "").partition("@")[0]
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": _PROVIDERS.get(provider, provider or "unknown"),
        "gen_ai.request.model": attempt.get("model", ""),
    }


def _span_attributes(attempt: Mapping[str, Any], event: Event) -> dict[str, Any]:
    reason = attempt.get("finish_reason")
    attributes = {
        "gen_ai.conversation.id": event.conversation_id,
        "gen_ai.response.finish_reasons": None if reason is None else [reason],
        "gen_ai.usage.input_tokens": attempt.get("input_tokens"),
        "gen_ai.usage.output_tokens": attempt.get("output_tokens"),
        "gen_ai.usage.cache_read.input_tokens": attempt.get("cached_tokens"),
        "gen_ai.usage.cache_creation.input_tokens": attempt.get("cache_write_tokens"),
        "smartroute.purpose": attempt.get("purpose"),
        "smartroute.rung": attempt.get("rung"),
        "smartroute.effort": attempt.get("effort"),
        "error.type": attempt.get("failure"),
        "http.response.status_code": attempt.get("failure_status"),
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _moment(time: str) -> int:
    moment = datetime.fromisoformat(time.replace("Z", "+00:00"))
    return min(max(0, int(moment.timestamp() * 1e6) * 1_000), _LAST_NS)


def _nanoseconds(seconds: float) -> int:
    """Return seconds as spans have them: from 0 on, and in 63 bits.

    One moment outside of these, by a clock that is wrong, would cost an exporter all the spans of its batch.
    """
    return int(seconds * 1e9) if 0.0 <= seconds < _LAST_NS / 1e9 else 0 if seconds < 0.0 else _LAST_NS


_LAST_NS = (1 << 63) - 1
