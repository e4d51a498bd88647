"""Alerts in the process that routes: what is counted, when it is checked, and that no request waits."""

import os
import threading

import pytest

from smartroute import Catalog, ModelCard, ModelRouter, Price
from smartroute.analytics import AlertSink, Hours, Rule, Watch, Webhook
from smartroute.analytics.alerts.rules import error_rate
from smartroute.errors import ConfigError, ProviderUnavailableError, SinkError
from smartroute.events.event import Event
from smartroute.sinks import FanOut, MemorySink
from smartroute.testing import FrozenClock, ScriptedProvider

HOUR_S = 3_600
MONDAY_S = 1_800_230_400.0  # 2027-01-18, midnight


def rule(**fields):
    usual = {"raise_at": 0.10, "clear_at": 0.05, "least_n": 10, "suggestion": "Look."}
    return Rule("errors", error_rate, **{**usual, **fields})


def an_event(number=0, *, failed=False, simulated=False, usd=0.001):
    answer = {} if failed else {"model": "m"}
    name = f"o{number}"
    return Event(
        2, "outcome", name, name, "2027-01-18T00:00:00.000000Z", simulated, cost_usd=usd, unpriced_attempts=0,
        **answer,
    )  # fmt: skip


def test_an_alert_is_raised_in_process_and_cleared_when_the_window_has_passed():
    def script(call):
        if "fail" in call.messages[0]["content"]:
            raise ProviderUnavailableError("503")
        return "fine"

    delivered, clock = [], FrozenClock()
    watch = Watch([rule()], [delivered.append])
    sink = AlertSink(watch, window_s=600, every_s=1, clock=clock)
    router = ModelRouter(
        catalog=Catalog.of([ModelCard("m", target="x/m", price=Price(1, 1))]),
        provider=ScriptedProvider(script),
        sink=FanOut(MemorySink(), sink),
        clock=clock,
        breaker_failures=1_000,
    )
    for prompt in ["fail"] * 8 + ["hi"] * 12:
        clock.advance(2)
        try:
            router.run(prompt)
        except Exception as error:  # noqa: BLE001
            assert "answered" in str(error)
    router.flush()
    assert [alert.raised for alert in delivered] == [True]
    assert delivered[0].simulated and "errors, simulated" in delivered[0].explain()
    clock.advance(1_200)
    for _ in range(12):
        clock.advance(2)
        router.run("hi")
    router.flush()
    assert [alert.raised for alert in delivered] == [True, False]
    assert router.lost_events == 0


def test_a_request_does_not_wait_for_a_delivery_nor_for_a_rule():
    """Both end only after the requests have returned: waiting for either would never end."""
    go, delivered = threading.Event(), []

    def slow_measure(figures):
        go.wait(10)
        return error_rate(figures)

    def slow_delivery(alert):
        go.wait(10)
        delivered.append(alert)

    slow = Rule("slow", slow_measure, 0.1, 0.05, 10, "")
    sink = AlertSink(Watch([rule(), slow], [slow_delivery]), every_s=1, clock=FrozenClock())
    for number in range(100):
        sink.emit(an_event(number, failed=True))
    assert delivered == []
    go.set()
    sink.close()
    assert {alert.rule for alert in delivered} == {"errors", "slow"}
    assert sink.lost == 0


def test_a_delivery_that_hangs_keeps_no_event_from_being_counted():
    go = threading.Event()
    clock = FrozenClock()
    sink = AlertSink(Watch([rule()], [lambda alert: go.wait(10)]), every_s=1, pending=50, clock=clock)
    for number in range(300):
        clock.advance(2)
        sink.emit(an_event(number, failed=True))
        sink._events.flush()
    assert sink.lost == 0
    assert not sink._alerts.idle
    go.set()
    sink.close()


def test_events_beyond_the_queue_are_lost_counted_and_logged_once(caplog):
    go = threading.Event()

    def stuck(figures):
        go.wait(10)

    sink = AlertSink(Watch([Rule("x", stuck, 1, 0, 1, "")]), pending=5)
    for number in range(20):
        sink.emit(an_event(number))
    assert sink.lost >= 14
    go.set()
    sink.flush()
    records = [record for record in caplog.records if "do not count an event" in record.getMessage()]
    assert len(records) == 1


def test_a_webhook_that_cannot_deliver_is_reported_by_a_flush_and_by_no_request():
    hook = Webhook("http://127.0.0.1:9/", "s", attempts=1, timeout_s=1, clock=FrozenClock())
    sink = AlertSink(Watch([rule()], [hook]), every_s=1, clock=FrozenClock())
    for number in range(20):
        sink.emit(an_event(number, failed=True))
    with pytest.raises(SinkError, match="1 alerts could not be delivered"):
        sink.close()
    assert sink.lost == 0


def test_alerts_that_no_delivery_took_are_counted():
    def broken(alert):
        raise OSError

    sink = AlertSink(Watch([rule()], [broken]), every_s=1, clock=FrozenClock())
    for number in range(20):
        sink.emit(an_event(number, failed=True))
    sink.close()
    assert (sink.undelivered, sink.lost) == (1, 0)


def test_rules_are_checked_when_due_and_not_between():
    clock, looks = FrozenClock(), []
    sink = AlertSink(
        Watch([Rule("x", lambda figures: looks.append(figures.requests), 1, 0, 1, "")]),
        every_s=60,
        clock=clock,
    )
    for number in range(181):
        sink.emit(an_event(number))
        clock.advance(1)
    sink._events.flush()
    assert looks == [1, 61, 121, 181]
    clock.advance(-7_200)  # a clock that was set back
    sink.emit(an_event(181))
    sink._events.flush()
    assert len(looks) == 5


def test_a_window_keeps_no_more_than_its_minutes_and_hours_no_more_than_their_weeks():
    clock = FrozenClock()
    hours = Hours(weeks=6)
    sink = AlertSink(Watch([rule()]), window_s=120, every_s=1, hours=hours, clock=clock)
    for number in range(500):
        clock.advance(30)
        sink.emit(an_event(number))
    sink.flush()
    assert len(sink._minutes) <= 4
    for number in range(60):
        clock.advance(86_400)
        sink.emit(an_event(number))
    sink.flush()
    assert 40 <= len(hours) <= 43


def test_a_clock_that_runs_ahead_for_a_while_leaves_nothing_behind():
    """Ten failures a year ahead count for nothing once the clock is right, nor when that year has passed."""
    clock, hours, looks = FrozenClock(MONDAY_S), Hours(weeks=6), []
    watch = Watch([Rule("x", lambda figures: looks.append(figures.requests), 1, 0, 1, "")])
    sink = AlertSink(watch, window_s=600, every_s=1, hours=hours, clock=clock)
    sink.emit(an_event())
    clock.advance(365 * 86_400)
    for _ in range(10):
        sink.emit(an_event(failed=True))
    sink.flush()
    clock.advance(-365 * 86_400)
    for number in range(100):
        clock.advance(60)
        sink.emit(an_event(number))
    sink.flush()
    assert looks[-1] == 11 and len(sink._minutes) == 11
    assert [hours[hours.current - back].requests for back in range(3)] == [
        41,
        59,
        0,
    ]  # the first was forgotten
    assert len(hours) == 2


def test_the_hours_are_filled_from_events_and_a_cost_that_jumps_raises_an_alert():
    """Five days of 40 requests an hour at $0.001, then an hour at $0.01."""
    clock, delivered = FrozenClock(MONDAY_S), []
    sink = AlertSink(Watch(deliver=[delivered.append]), every_s=HOUR_S / 4, clock=clock)
    for hour in range(24 * 5 + 3):
        for index in range(40):
            usd = (0.01 if hour == 24 * 5 + 1 else 0.001) * (0.8 + 0.4 * (index % 2))
            sink.emit(an_event(usd=usd))
            clock.advance(HOUR_S / 40)
    sink.flush()
    anomalies = [alert for alert in delivered if alert.rule == "cost anomaly"]
    assert [(alert.raised, alert.level) for alert in anomalies] == [(True, "critical"), (False, "critical")]
    assert anomalies[0].since == "2027-01-23T01:00:00.000000Z"
    assert anomalies[0].note.startswith("$0.01 a request in 40 requests; usually $0.001, ")
    assert anomalies[0].n >= 4


def test_the_first_event_decides_whether_traffic_is_simulated(caplog):
    sink = AlertSink(Watch([rule()]), every_s=1, clock=FrozenClock())
    for number in range(20):
        sink.emit(an_event(number, simulated=number % 2 == 0))
    sink.flush()
    assert sink.lost == 10
    assert "not watched together" in caplog.text


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_counts_its_own_requests_only():
    delivered = []
    sink = AlertSink(Watch([rule()], [delivered.append]), every_s=1, clock=FrozenClock())
    for number in range(20):
        sink.emit(an_event(number, failed=True))
    sink.flush()
    assert len(delivered) == 1
    child = os.fork()
    if child == 0:
        for number in range(20):
            sink.emit(an_event(number, failed=number < 1))
        sink.flush()
        counted = sum(figures.requests for figures in sink._minutes.values())
        os._exit(0 if counted == 20 and len(delivered) == 1 and not sink.watch.active else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sink.watch.active == {"errors"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window_s": 59}, "window_s must be a finite number of at least 60, got 59"),
        ({"window_s": "60"}, "window_s must be a finite number of at least 60, got '60'"),
        ({"window_s": float("inf")}, "window_s must be a finite number"),
        ({"every_s": 0}, "every_s must be a finite number above 0, got 0"),
        ({"every_s": None}, "every_s must be a finite number above 0, got None"),
        ({"pending": 0}, "pending"),
        ({"hours": 5}, "hours must be of the class Hours, got 5"),
        ({"watch": rule()}, "watch must be of the class Watch"),
    ],
)
def test_an_invalid_setting_of_a_sink_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        AlertSink(**{"watch": Watch([rule()]), **fields})


def test_a_delivery_that_raises_system_exit_is_counted_and_the_thread_goes_on():
    def leave(alert):
        raise SystemExit(3)

    sink = AlertSink(Watch([rule()], [leave]), every_s=1, clock=FrozenClock())
    for failed in (True, False, True):
        for number in range(400):
            sink.emit(an_event(number, failed=failed))
        sink.flush()
    assert sink.undelivered >= 1
    assert sink._alerts._thread.is_alive()
