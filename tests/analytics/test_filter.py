"""Which outcomes count: by the fields that are given, from one moment on and before another."""

import pytest

from smartroute.analytics import Filter
from smartroute.errors import ConfigError
from smartroute.events.event import Event


def an_outcome(time="2026-11-23T08:00:00.000000Z", **fields):
    return Event(2, "outcome", "o", "o", time, False, **fields)


@pytest.mark.parametrize(
    ("where", "taken"),
    [
        ({"since": "2026-11-23T09:00:00+01:00"}, True),
        ({"since": "2026-11-23T08:00:00.000001"}, False),
        ({"since": "2026-11-23"}, True),
        ({"until": "2026-11-23T08:00:00Z"}, False),
        ({"until": "2026-11-23T08:00:00.000001Z"}, True),
        ({"until": "2026-11-23T10:00:00+02:00"}, False),
    ],
)
def test_moments_are_of_any_zone_and_their_end_is_exclusive(where, taken):
    assert Filter(**where).takes(an_outcome()) is taken


@pytest.mark.parametrize("name", ["kind", "complexity", "model", "tenant", "strategy"])
def test_a_field_that_is_given_must_be_the_outcomes_own(name):
    wanted, other = ("simple", "medium") if name == "complexity" else ("a", "b")
    assert Filter(**{name: wanted}).takes(an_outcome(**{name: wanted}))
    assert not Filter(**{name: wanted}).takes(an_outcome(**{name: other}))
    assert not Filter(**{name: wanted}).takes(an_outcome())
    assert Filter().takes(an_outcome(**{name: other}))


def test_all_that_is_given_must_hold():
    where = Filter(kind="score", tenant="acme", since="2026-11-24")
    assert not where.takes(an_outcome(kind="score", tenant="acme"))


@pytest.mark.parametrize("moment", ["soon", 5, "2026-13-01"])
def test_an_invalid_time_is_refused(moment):
    with pytest.raises(ConfigError, match="since"):
        Filter(since=moment)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"complexity": "hard"}, "complexity must be one of simple, medium, complex, got 'hard'"),
        ({"tenant": ["acme"]}, "tenant must be text"),
        ({"kind": 5}, "kind must be text, got 5"),
    ],
)
def test_a_filter_that_nothing_can_match_is_refused(fields, message):
    with pytest.raises(ConfigError, match=message):
        Filter(**fields)
