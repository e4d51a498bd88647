"""What OpenTelemetry hears, asked of its own SDK with exporters in memory."""

import builtins

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the extra otel is not installed")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from smartroute import AllModelsFailedError, Catalog, ModelCard, ModelRouter, Price
from smartroute.errors import ProviderUnavailableError
from smartroute.events.event import Event
from smartroute.records import Usage
from smartroute.routing.retries import RetryPolicy
from smartroute.sinks.otel import OtelSink
from smartroute.testing import ScriptedProvider, reply

CATALOG = Catalog.of(
    [
        ModelCard("mini", tier="mini", target="gemini/mini", price=Price(1.0, 2.0)),
        ModelCard("dark", tier="premium", target="openai/dark", price=None),
    ]
)
SECRET = "a secret prompt"


class Heard:
    def __init__(self, script, **settings):
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self._exporter))
        meters = MeterProvider(metric_readers=[self._reader])
        sink = OtelSink(tracer_provider=self.tracers, meter_provider=meters, **settings)
        self.router = ModelRouter(
            catalog=CATALOG, provider=ScriptedProvider(script), sink=sink, retry=RetryPolicy(calls=1)
        )

    def spans(self):
        return {span.name: span for span in self._exporter.get_finished_spans()}

    def metrics(self):
        """Return the data points of each metric."""
        data = self._reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def script(call):
    if call.model == "mini":
        raise ProviderUnavailableError("503", status=503)
    return reply("fine", usage=Usage(100, 20, cached_tokens=40))


def test_a_request_is_a_span_with_one_for_each_call_within():
    heard = Heard(script)
    outcome = heard.router.run(SECRET, kind="score", complexity_override="simple", conversation_id="talk")
    spans = heard.spans()
    assert set(spans) == {"route score", "chat mini", "chat dark"}
    request, failed, answered = spans["route score"], spans["chat mini"], spans["chat dark"]
    assert failed.parent.span_id == answered.parent.span_id == request.context.span_id
    assert (failed.kind, failed.status.status_code) == (SpanKind.CLIENT, StatusCode.ERROR)
    assert failed.attributes["error.type"] == "unavailable"
    assert failed.attributes["http.response.status_code"] == 503
    assert failed.attributes["gen_ai.provider.name"] == "gcp.gemini"
    assert answered.attributes["gen_ai.operation.name"] == "chat"
    assert answered.attributes["gen_ai.request.model"] == "dark"
    assert answered.attributes["gen_ai.usage.input_tokens"] == 100
    assert answered.attributes["gen_ai.usage.cache_read.input_tokens"] == 40
    assert answered.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert answered.attributes["gen_ai.conversation.id"] == "talk"
    assert request.attributes["smartroute.outcome.id"] == outcome.id
    assert request.attributes["smartroute.unpriced_attempts"] == 1
    assert request.status.status_code is StatusCode.UNSET


def test_times_are_those_of_the_request_and_its_calls():
    heard = Heard(script)
    outcome = heard.router.run(SECRET, complexity_override="simple")
    request = heard.spans()["route general"]
    assert request.end_time - request.start_time == pytest.approx(outcome.latency_s * 1e9, abs=2e3)
    for name, attempt in zip(("chat mini", "chat dark"), outcome.attempts, strict=True):
        span = heard.spans()[name]
        assert span.start_time == pytest.approx(attempt.started_at * 1e9, abs=1e3)
        assert span.end_time - span.start_time == pytest.approx(attempt.latency_s * 1e9, abs=1e3)


@pytest.mark.parametrize("year", ["0001", "1969", "2026", "9999"])
@pytest.mark.parametrize("latency_s", [-5.0, 0.5, 1e308, float("inf")])
def test_no_clock_makes_a_time_that_a_batch_cannot_hold(year, latency_s):
    """OTLP holds times as 64 bits without a sign, in nanoseconds since 1970: to the year 2554."""
    heard = Heard(script)
    call = {"model": "m", "purpose": "answer", "latency_s": latency_s, "started_at": latency_s}
    event = Event(
        3, "outcome", "o", "o", f"{year}-01-01T00:00:00.000000Z", True, latency_s=latency_s, attempts=(call,)
    )
    heard.router.config.sink.emit(event)
    spans = heard.spans()
    assert set(spans) == {"route general", "chat m"}
    for span in spans.values():
        assert 0 <= span.start_time <= span.end_time < 1 << 64


def test_a_requests_span_is_a_child_of_the_applications():
    heard = Heard(script)
    with heard.tracers.get_tracer("app").start_as_current_span("page") as page:
        heard.router.run(SECRET, complexity_override="simple")
    assert heard.spans()["route general"].parent.span_id == page.get_span_context().span_id


def test_tokens_time_and_cost_are_measured_and_the_unknown_is_counted():
    heard = Heard(lambda call: reply("ok", usage=Usage(100, 20)))
    heard.router.run("hi", complexity_override="simple")
    heard.router.run("hi", preferred_model="dark")
    found = heard.metrics()
    tokens = {
        (p.attributes["gen_ai.request.model"], p.attributes["gen_ai.token.type"]): p.sum
        for p in found["gen_ai.client.token.usage"]
    }
    assert tokens == {
        ("mini", "input"): 100,
        ("mini", "output"): 20,
        ("dark", "input"): 100,
        ("dark", "output"): 20,
    }
    (cost,) = found["smartroute.client.cost"]
    assert cost.sum == pytest.approx((100 * 1.0 + 20 * 2.0) / 1e6)
    assert cost.attributes["smartroute.purpose"] == "answer"
    (unpriced,) = found["smartroute.client.unpriced"]
    assert (unpriced.value, unpriced.attributes["gen_ai.request.model"]) == (1, "dark")
    assert sum(point.count for point in found["gen_ai.client.operation.duration"]) == 2
    assert sum(point.count for point in found["smartroute.request.duration"]) == 2


@pytest.mark.parametrize("costs", [False, True])
def test_the_draft_names_of_costs_are_behind_a_flag(costs):
    heard = Heard(lambda call: reply("ok", usage=Usage(100, 20)), costs=costs)
    heard.router.run("hi", complexity_override="simple")
    attributes = heard.spans()["chat mini"].attributes
    drafts = {name: value for name, value in attributes.items() if name.startswith("gen_ai.usage.cost")}
    if not costs:
        assert drafts == {}
        return
    assert drafts == {
        "gen_ai.usage.cost.amount": pytest.approx(140e-6),
        "gen_ai.usage.cost.currency": "USD",
        "gen_ai.usage.cost.source": "local",
    }


def test_a_request_without_an_answer_is_an_error():
    def fail(call):
        raise ProviderUnavailableError("503")

    heard = Heard(fail)
    with pytest.raises(AllModelsFailedError):
        heard.router.run(SECRET, complexity_override="simple")
    request = heard.spans()["route general"]
    assert request.status.status_code is StatusCode.ERROR
    assert request.attributes["error.type"] == "AllModelsFailedError"


def test_feedback_is_measured_by_source():
    heard = Heard(script)
    heard.router.feedback("x", 0.25, source="judge")
    heard.router.feedback("x", label="bad")
    (point,) = heard.metrics()["smartroute.feedback.quality"]
    assert (point.sum, point.count, point.attributes["smartroute.source"]) == (0.25, 1, "judge")


def test_no_text_is_exported():
    heard = Heard(lambda call: "a secret answer")
    heard.router.run(SECRET, complexity_override="simple")
    exported = repr([(span.name, dict(span.attributes)) for span in heard.spans().values()])
    assert "secret" not in exported


def test_without_opentelemetry_the_cure_is_named(monkeypatch):
    load = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"smartroute\[otel\]"):
        OtelSink()
