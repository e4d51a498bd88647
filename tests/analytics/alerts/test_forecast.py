"""Hourly anomalies and budget forecasts: by hand, and on simulated weeks of known truth."""

import math
import random
from datetime import UTC, datetime

import numpy as np
import pytest

from smartroute.analytics import DEFAULT_RULES, Analytics, Figures, Filter, Hours, OfHours, Rule, Watch
from smartroute.analytics import budget_rule as a_budget
from smartroute.analytics.alerts.forecast import forecast, hour_spending, request_cost
from smartroute.analytics.alerts.hours import HOUR_S, HourSums
from smartroute.analytics.readings import Reading
from smartroute.errors import ConfigError, InsufficientDataError
from smartroute.events.event import Event
from smartroute.sinks import MemorySink

MONDAY = 24 * 4  # the epoch was a Thursday
WEEK = 168
HOURLY = [rule for rule in DEFAULT_RULES if isinstance(rule.measure, OfHours)]


def hours_of(sums, now_s):
    """Return the history with these hourly sums, as of a time."""
    hours = Hours()
    hours._sums.update(sums)
    hours.first = min(sums, default=None)
    hours.advance(now_s)
    return hours


def flat(n, usd, hours):
    """Return hours of n requests at usd each, all the same."""
    return dict.fromkeys(hours, HourSums(n, n * usd, n * usd * usd, 0))


def traffic(weeks, seed, *, peak=200, spread=1.5, start=MONDAY):
    """Return hourly sums: twenty times as many requests at noon as at night, and a third on weekends.

    Costs are lognormal (a variation of 2.9 at spread 1.5), and half as much again in the morning. Days differ
    by 15%.
    """
    rng = np.random.default_rng(seed)
    sums = {}
    for hour in range(start, start + weeks * WEEK):
        if hour % 24 == 0:
            day = math.exp(rng.normal(0, 0.15))
        weekday = (hour // 24 + 3) % 7 < 5
        rate = peak * (1.0 if weekday else 0.3) * (0.05 + math.exp(-((hour % 24 - 13) ** 2) / 18))
        n = rng.poisson(rate * day)
        usd = 0.002 * (1 + 0.5 * math.sin(hour % 24 / 12 * math.pi)) * np.exp(rng.normal(0, spread, n))
        sums[hour] = HourSums(int(n), float(usd.sum()), float((usd * usd).sum()), 0)
    return sums


def replayed(sums, rules, since):
    """Return the alerts that these rules raise while the hours pass, with the hour of each.

    All hours go into the history; those from `since` on are evaluated.
    """
    hours, watch, raised = Hours(), Watch(rules, [lambda alert: None]), []
    for hour in sorted(sums):
        hours._sums[hour] = sums[hour]
        hours.first = hour if hours.first is None else hours.first
        hours.advance((hour + 1) * HOUR_S + 30)
        if hour >= since:
            raised += [(hour, alert) for alert in watch.check(Figures(), hours) if alert.raised]
    return raised


def constant(limit):
    """Return the rule that this project must not have: one limit for all hours."""

    def measure(hours):
        return Reading(hours[hours.current - 1].usd, 4)

    return Rule("constant", OfHours(measure), limit, limit, 4, "")


def most_allowed(judged):
    """Return one false alarm in 400 hours, a little more than two weeks."""
    return judged / 400


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_ordinary_weeks_hardly_ever_raise_an_alert_and_a_constant_limit_often_does(seed):
    sums = traffic(6, seed)
    since = MONDAY + 2 * WEEK
    judged = 4 * WEEK
    assert len(replayed(sums, HOURLY, since)) <= most_allowed(judged)
    past = [hour_sums.usd for hour, hour_sums in sums.items() if hour < since]
    limit = float(np.mean(past) + 2 * np.std(past))
    assert len(replayed(sums, [constant(limit)], since)) > 2 * most_allowed(judged)


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_more_traffic_is_no_cost_anomaly_and_more_expensive_requests_are(seed):
    """The last week has eight times the traffic; then, instead, requests that cost four times as much."""
    sums = traffic(5, seed)
    since = MONDAY + 4 * WEEK
    more = traffic(5, seed, peak=1_600)
    grown = {hour: more[hour] if hour >= since else hour_sums for hour, hour_sums in sums.items()}
    names = {alert.rule for _, alert in replayed(grown, HOURLY, since)}
    assert "cost anomaly" not in names
    assert "unusual spending" in names
    expensive = {
        hour: HourSums(f.requests, 4 * f.usd, 16 * f.squares, 0) if hour >= since else f
        for hour, f in sums.items()
    }
    raised = [hour for hour, alert in replayed(expensive, HOURLY, since) if alert.rule == "cost anomaly"]
    assert raised and raised[0] <= since + 18  # by the afternoon of the first day


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_traffic_that_grows_week_by_week_hardly_ever_raises_an_alert(seed):
    sums = traffic(6, seed)
    grown = {}
    for hour, hour_sums in sums.items():
        factor = 1.05 ** ((hour - MONDAY) / WEEK)
        n = max(1, round(hour_sums.requests * factor))
        known = max(1, hour_sums.requests)
        mean, mean_square = hour_sums.usd / known, hour_sums.squares / known
        grown[hour] = HourSums(n, n * mean, n * mean_square, 0)
    assert len(replayed(grown, HOURLY, MONDAY + 2 * WEEK)) <= most_allowed(4 * WEEK)


def test_one_wild_hour_in_the_past_does_not_hide_the_next():
    now = MONDAY + 2 * WEEK
    sums = flat(50, 0.01, range(MONDAY, now))
    for back in (24, 48):
        sums[now - 1 - back] = HourSums(50, 500.0, 5_000.0, 0)
    sums[now - 1] = HourSums(50, 1.5, 0.045, 0)  # three times the usual
    hours = hours_of(sums, now * HOUR_S + 60)
    watch = Watch(HOURLY, [lambda alert: None])
    assert {alert.rule for alert in watch.check(Figures(), hours)} == {"cost anomaly", "unusual spending"}


def test_an_expensive_hour_shows_what_is_usual_by_how_many_hours():
    """Usual: $0.01 a request, floor a tenth of that, least spread 0.1. Hand: log(0.031 / 0.011) / 0.1."""
    now = MONDAY + 4 * WEEK + 10
    sums = flat(50, 0.01, range(MONDAY, now))
    sums[now - 1] = HourSums(50, 1.5, 1.5 * 0.03, 0)
    reading = request_cost(hours_of(sums, now * HOUR_S + 60))
    assert reading.value == pytest.approx(math.log(0.031 / 0.011) / 0.1, rel=1e-3)
    assert (reading.n, reading.of, reading.unit) == (4, "similar hours", "deviations")
    low, high = 0.011 * math.exp(-0.2) - 0.001, 0.011 * math.exp(0.2) - 0.001
    assert reading.note == (
        f"$0.03 a request in 50 requests; usually $0.01, ${low:.4g} to ${high:.4g}, by 4 hours: "
        "the same hour of the week"
    )
    assert (reading.since, reading.until) == ("1970-02-02T09:00:00.000000Z", "1970-02-02T10:00:00.000000Z")


def test_one_expensive_request_is_no_anomaly_of_its_hour():
    """The mean is as far up as in the test before, but by one request of fifty: its own error is as large."""
    now = MONDAY + 4 * WEEK + 10
    sums = flat(50, 0.01, range(MONDAY, now))
    sums[now - 1] = HourSums(50, 49 * 0.01 + 1.01, 49 * 0.0001 + 1.01**2, 0)
    assert request_cost(hours_of(sums, now * HOUR_S + 60)).value < 2


def test_few_requests_are_not_judged_by_their_mean():
    now = MONDAY + WEEK
    sums = flat(50, 0.01, range(MONDAY, now))
    sums[now - 1] = HourSums(19, 19.0, 19.0, 0)
    assert request_cost(hours_of(sums, now * HOUR_S)) is None


def test_more_traffic_is_named_as_the_reason():
    now = MONDAY + 4 * WEEK + 10
    sums = flat(50, 0.01, range(MONDAY, now))
    sums[now - 1] = HourSums(500, 5.0, 0.05, 0)
    hours = hours_of(sums, now * HOUR_S + 60)
    assert request_cost(hours).value == pytest.approx(0.0, abs=1e-6)
    reading = hour_spending(hours)
    assert reading.value > 5
    assert reading.note.startswith("$5 in 500 requests; usually $0.5, ")
    assert reading.note.endswith("traffic is 10.0 times the usual")


def test_the_current_hour_counts_once_it_costs_more_than_the_last():
    now = MONDAY + 4 * WEEK + 10
    sums = flat(50, 0.01, range(MONDAY, now))
    sums[now] = HourSums(40, 0.4, 0.004, 0)
    usual = hour_spending(hours_of(sums, now * HOUR_S + 600))
    assert usual.until == "1970-02-02T10:00:00.000000Z"
    sums[now] = HourSums(400, 4.0, 0.04, 0)
    reading = hour_spending(hours_of(sums, now * HOUR_S + 600))
    assert reading.value > 5
    assert (reading.since, reading.until) == ("1970-02-02T10:00:00.000000Z", "1970-02-02T10:10:00.000000Z")


def test_with_too_short_a_past_an_hour_is_not_judged_and_the_status_says_why():
    now = MONDAY + 3 * 24
    watch = Watch(HOURLY, [lambda alert: None])
    sums = flat(50, 0.01, range(MONDAY, now))
    sums[now - 1] = HourSums(50, 500.0, 5_000.0, 0)
    statuses = watch.look(Figures(), hours_of(sums, now * HOUR_S + 60))
    for status in statuses:
        assert status.level is None
        assert status.explain().startswith(f"not yet: {status.rule}: an hour needs at least 4 earlier hours")


def test_hours_without_traffic_count_and_the_first_hour_does_not():
    hours = hours_of({MONDAY: HourSums(1, 1.0, 1.0, 0), MONDAY + 5: HourSums(2, 1.0, 1.0, 0)}, 1e6)
    assert list(hours.whole(MONDAY + 3)) == [MONDAY + 1, MONDAY + 2]
    assert hours[MONDAY + 3] == HourSums()
    assert list(Hours().whole(7)) == []


def test_hours_of_a_log_are_those_of_its_events():
    rng = random.Random(1)
    log, expected = MemorySink(), {}
    for number in range(300):
        hour, usd = MONDAY + rng.randrange(72), rng.random()
        time = datetime.fromtimestamp(hour * HOUR_S + rng.randrange(3_600), UTC)
        unpriced = int(rng.random() < 0.2)
        log.emit(
            Event(
                2, "outcome", f"o{number}", f"o{number}", time.strftime("%Y-%m-%dT%H:%M:%S.%fZ"), False,
                model="m", kind="score" if number % 2 else "other", cost_usd=usd, unpriced_attempts=unpriced,
            )
        )  # fmt: skip
        if number % 2:
            known = expected.setdefault(hour, [0, 0.0, 0.0, 0])
            for index, value in enumerate((1, usd, usd * usd, unpriced)):
                known[index] += value
    now_s = (MONDAY + 72) * HOUR_S
    hours = Hours.of(Analytics(log), now_s, where=Filter(kind="score"))
    assert hours.first == min(expected)
    assert len(hours) == len(expected)
    for hour, sums in expected.items():
        assert list(hours[hour]) == pytest.approx(sums)
    by_event = Hours()
    for event in log.events():
        if event.kind == "score":
            by_event.add(event, datetime.fromisoformat(event.time).timestamp())
    by_event.advance(now_s)
    assert all(list(by_event[hour]) == pytest.approx(list(hours[hour])) for hour in expected)


def test_hours_that_are_too_old_are_dropped():
    hours = hours_of(flat(1, 1.0, range(MONDAY, MONDAY + 20 * WEEK)), (MONDAY + 20 * WEEK) * HOUR_S)
    assert len(hours) == 8 * WEEK
    assert hours.first == MONDAY + 12 * WEEK
    for weeks in (5, 521, True, 6.0):
        with pytest.raises(ConfigError, match="weeks"):
            Hours(weeks=weeks)


def test_a_forecast_of_days_that_are_all_alike_is_exact():
    """$1 an hour: $24 a day and, in 31 days, $744; whatever the time of day."""
    start = int(datetime(2026, 9, 1, tzinfo=UTC).timestamp()) // HOUR_S
    now = datetime(2026, 10, 20, 9, 30, tzinfo=UTC).timestamp()
    sums = flat(10, 0.1, range(start, int(now) // HOUR_S))
    sums[int(now) // HOUR_S] = HourSums(5, 0.5, 0.05, 0)
    day, month = (forecast(hours_of(sums, now), period) for period in ("day", "month"))
    assert (day.usd, day.low, day.high) == (pytest.approx(24.0),) * 3
    assert (month.usd, month.low, month.high) == (pytest.approx(744.0),) * 3
    assert (day.days, month.days) == (28, 28)


def test_a_forecast_needs_seven_whole_days():
    now = (MONDAY + 7 * 24) * HOUR_S + 60
    hours = hours_of(flat(10, 0.1, range(MONDAY, MONDAY + 7 * 24)), now)
    with pytest.raises(InsufficientDataError) as caught:  # the first day lacks its first hour
        forecast(hours, "day")
    assert (caught.value.needed, caught.value.have) == (7, 6)
    longer = hours_of(flat(10, 0.1, range(MONDAY - 1, MONDAY + 7 * 24)), now)
    assert forecast(longer, "day").days == 7


def rate_alone(hours, expected):
    """Return the forecast that this project must not make: the last hour's rate, as wide as ours."""
    usd, half = 24 * hours[hours.current - 1].usd, expected.high - expected.usd
    return usd - half, usd + half


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_forecasts_interval_covers_the_true_cost_of_the_day_and_the_month(seed):
    covered = {"day": 0, "month": 0, "rate": 0}
    rounds = 60
    start = int(datetime(2026, 8, 31, tzinfo=UTC).timestamp()) // HOUR_S  # a Monday
    for number in range(rounds):
        sums = traffic(9, 1_000 * seed + number, start=start, peak=60)
        for period, now in (
            ("day", datetime(2026, 10, 1 + number % 28, 9, 30, tzinfo=UTC)),
            ("month", datetime(2026, 10, 8 + number % 20, 9, 30, tzinfo=UTC)),
        ):
            hour = int(now.timestamp()) // HOUR_S
            known = {past: hour_sums for past, hour_sums in sums.items() if past < hour}
            current = sums[hour]
            known[hour] = HourSums(current.requests // 2, current.usd / 2, current.squares / 2, 0)
            hours = hours_of(known, now.timestamp())
            start_of_period, length = (
                (now.replace(hour=0, minute=0), 24)
                if period == "day"
                else (now.replace(day=1, hour=0, minute=0), 31 * 24)
            )
            first = int(start_of_period.timestamp()) // HOUR_S
            truth = sum(sums[hour].usd for hour in range(first, first + length))
            expected = forecast(hours, period)
            covered[period] += expected.low <= truth <= expected.high
            if period == "day":
                low, high = rate_alone(hours, expected)
                covered["rate"] += low <= truth <= high
    least = 0.88 * rounds
    assert covered["day"] >= least
    assert covered["month"] >= least
    assert covered["rate"] < least


def test_a_budget_warns_by_its_forecast_and_is_critical_when_the_interval_is_past_it():
    """Hours cost $0.1 to $0.4 at random, so a day some $6."""
    rng = random.Random(5)
    sums = {}
    for day in range(28):
        for hour in range(24):
            usd = rng.uniform(0.1, 0.4)
            sums[MONDAY + 24 * day + hour] = HourSums(10, usd, usd * usd / 10, 0)
    now = MONDAY + 27 * 24 + 9
    known = {hour: hour_sums for hour, hour_sums in sums.items() if hour < now}
    hours = hours_of(known, now * HOUR_S + 1_800)
    expected = forecast(hours, "day")
    assert expected.low < expected.usd < expected.high

    def level(budget):
        watch = Watch([a_budget(budget)], [lambda alert: None])
        watch.check(Figures(), hours)
        return watch.levels.get("budget forecast per day")

    assert level(expected.high * 1.01) is None
    assert level(expected.usd * 0.999) == "warning"
    assert level(expected.low * 0.999) == "critical"


def test_a_budget_that_is_spent_needs_no_forecast():
    hours = hours_of(flat(10, 0.1, range(MONDAY, MONDAY + 4)), (MONDAY + 4) * HOUR_S - 60)
    watch = Watch([a_budget(3.9), a_budget(4.1, per="month")], [lambda alert: None])
    spent, unknown = watch.look(Figures(), hours)
    assert spent.level == "critical"
    assert spent.alert.explain().startswith(
        "critical: budget forecast per day: above $3.9: $4 (95% interval $4 to more) over 40 requests from "
        "1970-01-05 00:00 UTC to 1970-01-05 03:59 UTC ($4 of $3.9 spent since 1970-01-05 00:00 UTC"
    )
    assert unknown.explain() == ("not yet: budget forecast per month: a forecast needs 7 whole days, got 0")


def test_a_budgets_note_has_what_is_not_known():
    sums = flat(10, 0.1, range(MONDAY + 2, MONDAY + 6))
    sums[MONDAY + 5] = HourSums(10, 9.0, 9.0, 3)
    (status,) = Watch([a_budget(1.0)]).look(Figures(), hours_of(sums, (MONDAY + 6) * HOUR_S - 60))
    assert "as far as known since 1970-01-05 02:00 UTC, and 3 requests of unknown cost" in status.reading.note


@pytest.mark.parametrize(
    ("usd", "per"), [(0, "day"), (math.nan, "day"), (True, "day"), ("5", "day"), (1, "year")]
)
def test_an_invalid_budget_is_refused(usd, per):
    with pytest.raises(ConfigError, match="a budget"):
        a_budget(usd, per=per)
