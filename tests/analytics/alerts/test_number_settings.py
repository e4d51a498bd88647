"""Every number that an alert setting takes: a bool, NaN and text are refused with the field and the value."""

import math

import pytest

from smartroute.analytics import AlertSink, Analytics, Hours, Rule, Watch, Webhook, budget_rule, check_log
from smartroute.analytics.alerts.rules import error_rate, latency_quantile
from smartroute.errors import ConfigError
from smartroute.sinks import MemorySink

SETTINGS = {
    "raise_at": lambda value: a_rule(raise_at=value),
    "clear_at": lambda value: a_rule(clear_at=value),
    "critical_at": lambda value: a_rule(critical_at=value),
    "least_n": lambda value: a_rule(least_n=value),
    "window_s": lambda value: AlertSink(Watch(), window_s=value),
    "every_s": lambda value: AlertSink(Watch(), every_s=value),
    "attempts": lambda value: Webhook("http://x", "s", attempts=value),
    "wait_s": lambda value: Webhook("http://x", "s", wait_s=value),
    "most_wait_s": lambda value: Webhook("http://x", "s", most_wait_s=value),
    "timeout_s": lambda value: Webhook("http://x", "s", timeout_s=value),
    "weeks": lambda value: Hours(weeks=value),
    "hours": lambda value: check_log(Watch(), Analytics(MemorySink()), hours=value),
    "a budget in USD": budget_rule,
    "share of latency_quantile": latency_quantile,
}


def a_rule(**fields):
    usual = {"raise_at": 0.10, "clear_at": 0.05, "least_n": 10, "suggestion": "Look."}
    return Rule("errors", error_rate, **{**usual, **fields})


@pytest.mark.parametrize(("value", "shown"), [(True, "True"), (math.nan, "nan"), ("7", "'7'")])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_bool_nan_and_text_are_refused_as_a_number(name, value, shown):
    with pytest.raises(ConfigError) as caught:
        SETTINGS[name](value)
    message = str(caught.value)
    assert name in message and f"got {shown}" in message
    assert "must be" in message or "must lie" in message


@pytest.mark.parametrize("name", SETTINGS)
def test_a_number_as_text_is_refused_with_its_cure(name):
    with pytest.raises(ConfigError, match="pass a number, not text"):
        SETTINGS[name]("7")


@pytest.mark.parametrize("share", [0, 1, 0.0, 1.0, -0.1, 1.1])
def test_a_quantiles_share_is_above_0_and_below_1(share):
    with pytest.raises(ConfigError, match="share of latency_quantile"):
        latency_quantile(share)
