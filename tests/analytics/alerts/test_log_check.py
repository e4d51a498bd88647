"""Alerts from a log by a scheduled job: one window, one file for active alerts, each delivered once."""

import json
import logging
from datetime import UTC, datetime

import pytest

from smartroute.analytics import DEFAULT_RULES, Analytics, Filter, Rule, Watch, check_log
from smartroute.analytics.alerts.rules import error_rate, escalation_rate
from smartroute.errors import ConfigError, SinkError
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink, JsonlSource, MemorySink
from smartroute.testing import FrozenClock

NOW_S = datetime(2026, 11, 23, 8, 30, tzinfo=UTC).timestamp()
RULES = [
    Rule("errors", error_rate, 0.1, 0.05, 10, "Look."),
    Rule("escalations", escalation_rate, 0.3, 0.2, 10, "Look."),
]


def emitted(log, n, time, *, failed=0, kind="score", simulated=False, usd=0.001):
    """Emit n outcomes at a time, of which so many failed."""
    for index in range(n):
        name = f"{time}-{kind}-{index}"
        answer = {} if index < failed else {"model": "m"}
        log.emit(
            Event(
                2, "outcome", name, name, f"{time}:{index % 60:02}.000000Z", simulated, kind=kind,
                cost_usd=usd, unpriced_attempts=0, escalated=False, **answer,
            )
        )  # fmt: skip
    return log


def check(log, delivered, state=None, **fields):
    watch = Watch(RULES, [delivered.append])
    return check_log(watch, Analytics(log), state=state, clock=FrozenClock(NOW_S), **fields)


def test_the_window_is_the_current_hour_and_whole_ones_before_it():
    log = MemorySink()
    emitted(log, 100, "2026-11-23T06:59", failed=100)
    emitted(log, 40, "2026-11-23T07:00", failed=20)
    emitted(log, 40, "2026-11-23T08:29")
    delivered = []
    statuses = {status.rule: status for status in check(log, delivered)}
    assert statuses["errors"].reading.n == 80
    assert statuses["errors"].reading.value == pytest.approx(0.25)
    assert [alert.rule for alert in delivered] == ["errors"]
    assert delivered[0].since == "2026-11-23T07:00:00.000000Z"
    assert {status.rule: status.reading.n for status in check(log, [], hours=2)}["errors"] == 180
    assert {status.rule: status.reading.n for status in check(log, [], hours=0)}["errors"] == 40
    assert {status.rule: status.reading.n for status in check(log, [], hours=10**9)}["errors"] == 180


def test_only_the_selected_requests_count():
    log = MemorySink()
    emitted(log, 40, "2026-11-23T08:00", failed=40, kind="extract")
    emitted(log, 40, "2026-11-23T08:00")
    delivered = []
    check(log, delivered, where=Filter(kind="score"))
    assert delivered == []
    check(log, delivered, where=Filter(kind="extract"))
    assert len(delivered) == 1


def test_an_active_alert_is_delivered_once_over_many_runs(tmp_path):
    state = tmp_path / "deep" / "alerts.json"
    log, delivered = MemorySink(), []
    emitted(log, 40, "2026-11-23T08:00", failed=20)
    for _ in range(3):
        statuses = check(log, delivered, state)
    assert [alert.raised for alert in delivered] == [True]
    assert statuses[0].level == "warning" and statuses[0].alert is None
    emitted(log, 900, "2026-11-23T08:10")
    for _ in range(3):
        check(log, delivered, state)
    assert [alert.raised for alert in delivered] == [True, False]
    assert json.loads(state.read_text())["levels"] == {}
    assert [path.name for path in state.parent.iterdir()] == ["alerts.json"]
    assert state.stat().st_mode & 0o077 == 0  # as private as the log


def test_without_a_file_every_active_alert_is_new():
    log, delivered = emitted(MemorySink(), 40, "2026-11-23T08:00", failed=20), []
    for _ in range(2):
        check(log, delivered)
    assert [alert.raised for alert in delivered] == [True, True]
    assert delivered[0].id == delivered[1].id


def test_an_alert_that_was_not_delivered_is_delivered_at_the_next_run(tmp_path):
    state, delivered = tmp_path / "alerts.json", []
    log = emitted(MemorySink(), 40, "2026-11-23T08:00", failed=20)

    def down(alert):
        raise OSError

    watch = Watch(RULES, [down])
    check_log(watch, Analytics(log), state=state, clock=FrozenClock(NOW_S))
    assert (watch.undelivered, watch.active) == (1, frozenset())
    check(log, delivered, state)
    check(log, delivered, state)
    assert [alert.raised for alert in delivered] == [True]
    emitted(log, 900, "2026-11-23T08:10")
    watch = Watch(RULES, [down])
    check_log(watch, Analytics(log), state=state, clock=FrozenClock(NOW_S))
    assert watch.levels == {"errors": "warning"}
    check(log, delivered, state)
    assert [alert.raised for alert in delivered] == [True, False]


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "[]",
        '{"version": 1}',
        '{"version": 9, "levels": {}}',
        '{"version": 1, "levels": {"x": 5}}',
        "\x00",
    ],
)
def test_with_a_damaged_file_no_alert_is_taken_for_active(tmp_path, caplog, damaged):
    state, delivered = tmp_path / "alerts.json", []
    state.write_text(damaged)
    log = emitted(MemorySink(), 40, "2026-11-23T08:00", failed=20)
    with caplog.at_level(logging.WARNING, "smartroute"):
        check(log, delivered, state)
        check(log, delivered, state)
    assert len(delivered) == 1
    assert "is damaged: every active alert is delivered again" in caplog.text


def test_a_file_that_cannot_be_written_raises_and_leaves_nothing_behind(tmp_path):
    log = emitted(MemorySink(), 40, "2026-11-23T08:00", failed=20)
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="cannot be"):
        check(log, [], tmp_path / "file" / "alerts.json")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SinkError, match="cannot be"):
        check(log, [], tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("simulated", [True, False])
def test_alerts_about_simulated_events_say_so(tmp_path, simulated):
    with JsonlSink(tmp_path / "log") as sink:
        emitted(sink, 40, "2026-11-23T08:00", failed=20, simulated=simulated)
    delivered = []
    check(JsonlSource(tmp_path / "log"), delivered)
    assert [alert.simulated for alert in delivered] == [simulated]
    assert ("simulated" in delivered[0].explain()) is simulated


def test_an_anomaly_outside_the_window_is_still_marked_as_simulated(tmp_path):
    """The rules of hours may raise an alert when the window is empty; the log says what it holds."""
    with JsonlSink(tmp_path / "log") as sink:
        for day in range(17, 23):
            for hour in range(24):
                emitted(sink, 2, f"2026-11-{day}T{hour:02}:00", simulated=True)
        emitted(sink, 200, "2026-11-23T07:10", simulated=True)
    delivered = []
    watch = Watch(DEFAULT_RULES, [delivered.append])
    check_log(watch, Analytics(JsonlSource(tmp_path / "log")), hours=0, clock=FrozenClock(NOW_S))
    assert [(alert.rule, alert.simulated) for alert in delivered] == [("unusual spending", True)]
    assert "traffic is 100.0 times the usual" in delivered[0].explain()


def test_the_rollup_and_the_log_give_the_same_statuses(tmp_path):
    with JsonlSink(tmp_path / "log") as sink:
        for day in range(17, 23):
            for hour in range(24):
                emitted(sink, 25, f"2026-11-{day}T{hour:02}:00", usd=0.001)
        emitted(sink, 60, "2026-11-23T07:10", failed=9, usd=0.02)
    source = JsonlSource(tmp_path / "log")
    with_rollup, without = (
        check_log(
            Watch(deliver=[lambda alert: None]), Analytics(source, rollup=rollup), clock=FrozenClock(NOW_S)
        )
        for rollup in (True, False)
    )
    assert [status.explain() for status in with_rollup] == [status.explain() for status in without]
    assert {status.rule for status in with_rollup if status.level} >= {"cost anomaly", "unusual spending"}


@pytest.mark.parametrize("hours", [-1, True, 1.5])
def test_an_invalid_window_is_refused(hours):
    with pytest.raises(ConfigError, match="hours"):
        check(MemorySink(), [], hours=hours)


def test_an_empty_log_raises_no_alert():
    assert all(status.level is None for status in check(MemorySink(), []))
