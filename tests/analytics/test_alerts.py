"""Alerts: raised once, with evidence, taken back with a gap, and delivered whatever else happens."""

import hmac
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartroute import Catalogue, ModelCard, ModelRouter, Price
from smartroute.analytics import (
    DEFAULT_RULES,
    Alert,
    AlertSink,
    Figures,
    Rule,
    Watch,
    Webhook,
    budget_rule,
)
from smartroute.analytics.alerts import error_rate, escalation_rate
from smartroute.analytics.webhook import SIGNATURE, signature
from smartroute.errors import ConfigError, ProviderUnavailableError, SinkError
from smartroute.events import Event
from smartroute.testing import FrozenClock, ScriptedProvider


def figures_of(**fields):
    return Figures(**{"requests": 100, "answered": 100, "first": "a", "last": "b", **fields})


def errors(share, n=100):
    return figures_of(requests=n, answered=n - round(share * n))


def rule(**fields):
    usual = {
        "name": "errors",
        "measure": error_rate,
        "raise_at": 0.10,
        "clear_at": 0.05,
        "least_n": 50,
        "suggestion": "Look.",
    }
    return Rule(**{**usual, **fields})


def test_an_alert_is_raised_once_and_taken_back_below_the_gap():
    heard = []
    watch = Watch([rule()], [heard.append])
    for share in (0.09, 0.11, 0.20, 0.08, 0.06, 0.05, 0.09):
        watch.check(errors(share))
    assert [(alert.raised, alert.value, alert.threshold) for alert in heard] == [
        (True, pytest.approx(0.11), 0.10),
        (False, pytest.approx(0.05), 0.05),
    ]
    assert watch.standing == frozenset()


def test_too_few_requests_change_nothing():
    watch = Watch([rule()])
    assert watch.check(errors(1.0, n=49)) == ()
    assert len(watch.check(errors(1.0, n=50))) == 1
    assert watch.check(errors(0.0, n=49)) == ()
    assert watch.standing == {"errors"}


@given(st.lists(st.floats(0, 1), max_size=60))
def test_alerts_of_a_rule_begin_and_end_in_turn(shares):
    heard = []
    watch = Watch([rule()], [heard.append])
    for share in shares:
        watch.check(errors(share, n=1_000))
    assert [alert.raised for alert in heard] == [place % 2 == 0 for place in range(len(heard))]


def test_an_alert_tells_its_evidence_and_what_to_do():
    (alert,) = Watch([rule()]).check(errors(0.2))
    assert alert.explain() == ("warning: errors is 0.2, past 0.1, over 100 requests from a to b. Look.")
    over = Alert("errors", "warning", False, 0.01, 0.05, 100, "a", "b", "Look.")
    assert over.explain() == "errors is over: 0.01 over 100 requests until b"


def calm():
    """Figures at which none of the usual rules holds."""
    figures = figures_of()
    for _ in range(100):
        figures.compared.add(0.1, 1.0)
        figures.confidence.add(0.9)
        figures.latencies.add(1.0)
        figures.latency.add(1.0)
    return figures


def unconfident(figures):
    figures.confidence.total = 0.59 * figures.confidence.n


def unsaving(figures):
    figures.compared.cost = 0.71 * figures.compared.baseline


def slow(figures):
    for _ in range(10):
        figures.latencies.add(60.0)


@pytest.mark.parametrize(
    ("name", "worsen"),
    [
        ("low confidence", unconfident),
        ("high escalation rate", lambda figures: setattr(figures, "escalated", 31)),
        ("low savings", unsaving),
        ("errors", lambda figures: setattr(figures, "answered", 94)),
        ("slow answers", slow),
        ("calls of unknown cost", lambda figures: setattr(figures, "unpriced", 2)),
    ],
)
def test_the_usual_rules_hold_at_their_thresholds_and_at_nothing_else(name, worsen):
    watch = Watch()
    assert watch.check(calm()) == ()
    figures = calm()
    worsen(figures)
    assert [alert.rule for alert in watch.check(figures)] == [name]
    assert {each.name for each in DEFAULT_RULES} >= watch.standing == {name}


def test_a_budget_is_forecast_from_the_rate_of_the_period():
    """$1 in 6 hours is $4 a day."""
    figures = figures_of(first="2026-11-23T00:00:00.000000Z", last="2026-11-23T06:00:00.000000Z")
    figures.cost.total = 1.0
    (alert,) = Watch([budget_rule(3.9)]).check(figures)
    assert (alert.value, alert.level) == (4.0, "critical")
    assert Watch([budget_rule(4.1)]).check(figures) == ()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"clear_at": 0.2}, "other side"),
        ({"when": "below", "clear_at": 0.05}, "other side"),
        ({"least_n": 0}, "least_n"),
    ],
)
def test_a_rule_that_makes_no_sense_is_told(fields, told):
    with pytest.raises(ConfigError, match=told):
        rule(**fields)


def test_two_rules_of_one_name_are_refused():
    with pytest.raises(ConfigError, match="same name"):
        Watch([rule(), rule()])


def test_a_delivery_that_raises_disturbs_nobody(caplog):
    heard = []

    def broken(alert):
        raise RuntimeError

    Watch([rule()], [broken, heard.append]).check(errors(0.5))
    assert len(heard) == 1
    assert "could not be delivered (RuntimeError)" in caplog.text


def test_without_a_delivery_alerts_go_to_the_log(caplog):
    with caplog.at_level(logging.INFO, "smartroute"):
        watch = Watch([rule(level="critical")])
        watch.check(errors(0.5))
        watch.check(errors(0.0))
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


def test_a_router_rings_in_process_and_stops_when_the_window_has_passed():
    def script(call):
        if "fail" in call.messages[0]["content"]:
            raise ProviderUnavailableError("503")
        return "fine"

    heard, clock = [], FrozenClock()
    watch = Watch([rule(least_n=10)], [heard.append])
    sink = AlertSink(watch, window_s=600, every_s=1, clock=clock)
    router = ModelRouter(
        catalogue=Catalogue.of([ModelCard("m", target="x/m", price=Price(1, 1))]),
        provider=ScriptedProvider(script),
        sink=sink,
        clock=clock,
        breaker_failures=1_000,
    )
    for prompt in ["fail"] * 5 + ["hi"] * 15:
        clock.advance(2)
        try:
            router.run(prompt)
        except Exception as error:  # noqa: BLE001
            assert "answered" in str(error)
    assert [alert.raised for alert in heard] == [True]
    clock.advance(1_200)
    for _ in range(12):
        clock.advance(2)
        router.run("hi")
    assert [alert.raised for alert in heard] == [True, False]
    assert router.lost_events == 0


def test_a_window_keeps_no_more_than_its_minutes():
    clock = FrozenClock()
    sink = AlertSink(Watch([rule()]), window_s=120, every_s=1, clock=clock)
    event = Event(2, "outcome", "o", "o", "2026-11-23T00:00:00.000000Z", False, model="m")
    for _ in range(500):
        clock.advance(30)
        sink.emit(event)
    assert len(sink._minutes) <= 4


class Receiver:
    """A web server on loopback that remembers what it got, and answers with the statuses given, then 204."""

    def __init__(self, *statuses):
        self.got, left = [], list(statuses)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((dict(self.headers), body))
                self.send_response(left.pop(0) if left else 204)
                self.end_headers()

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/alerts"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver(request):
    made = Receiver(*getattr(request, "param", ()))
    yield made
    made.close()


def test_a_webhook_posts_the_alert_signed(receiver):
    hook = Webhook(receiver.url, "s3cret", clock=FrozenClock(1_800_000_000.0))
    Watch([rule()], [hook]).check(errors(0.5))
    hook.flush()
    ((headers, body),) = receiver.got
    document = json.loads(body)
    assert (document["rule"], document["raised"], document["n"]) == ("errors", True, 100)
    assert document["text"].startswith("warning: errors is 0.5")
    told = dict(part.split("=", 1) for part in headers[SIGNATURE].split(","))
    assert told["t"] == "1800000000"
    expected = hmac.new(b"s3cret", b"1800000000." + body, "sha256").hexdigest()
    assert hmac.compare_digest(told["v1"], expected)
    assert signature(b"s3cret", "1800000000", body) == expected
    assert "s3cret" not in repr(hook)


@pytest.mark.parametrize("receiver", [(503, 429)], indirect=True)
def test_a_receiver_that_is_down_for_a_while_hears_it_later(receiver):
    clock = FrozenClock()
    hook = Webhook(receiver.url, "s", clock=clock)
    hook(Watch([rule()]).check(errors(0.5))[0])
    hook.flush()
    assert len(receiver.got) == 3
    assert clock.slept == [1.0, 2.0]


@pytest.mark.parametrize("receiver", [(400,), (500,) * 9], indirect=True)
def test_what_cannot_be_delivered_is_counted_and_said(receiver, caplog):
    hook = Webhook(receiver.url, "s", clock=FrozenClock())
    hook(Watch([rule()]).check(errors(0.5))[0])
    with pytest.raises(SinkError, match="1 alerts could not be delivered"):
        hook.flush()
    assert len(receiver.got) in (1, 4)
    assert "was not delivered" in caplog.text


def test_a_full_queue_loses_the_newest_and_waits_for_nobody():
    hook = Webhook("http://127.0.0.1:9/", "s", pending=1, attempts=1)
    alert = Watch([rule()]).check(errors(0.5))[0]
    hook._thread = threading.current_thread()  # nobody works
    hook(alert)
    hook(alert)
    assert hook.lost == 1


@pytest.mark.parametrize(("url", "secret", "told"), [("ftp://x", "s", "address"), ("http://x", "", "secret")])
def test_a_webhook_that_makes_no_sense_is_told(url, secret, told):
    with pytest.raises(ConfigError, match=told):
        Webhook(url, secret)


def test_every_measure_of_nothing_is_silent():
    assert Watch([*DEFAULT_RULES, budget_rule(1.0)]).check(Figures()) == ()
    assert escalation_rate(Figures()) is None
