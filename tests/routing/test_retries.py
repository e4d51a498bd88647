import random

import pytest
import tenacity

from smartroute.errors import ConfigError
from smartroute.records import Failure
from smartroute.routing.retries import RetryPolicy

BUSY = Failure("unavailable", "503", transient=True)
RNG = random.Random(0)


def waits(policy, failure=BUSY, calls=6):
    return [policy.wait_s(number, failure, 0.0, RNG) for number in range(1, calls + 1)]


def test_waits_double_up_to_the_most_and_stop_after_the_calls_allowed():
    assert waits(RetryPolicy(calls=6, initial_s=1, max_s=5, jitter=0)) == [1, 2, 4, 5, 5, None]


def test_jitter_adds_up_to_its_share_and_is_reproducible():
    policy = RetryPolicy(initial_s=1, jitter=0.25)
    drawn = [policy.wait_s(1, BUSY, 0.0, random.Random(seed)) for seed in range(50)]
    assert all(1 <= wait_s <= 1.25 for wait_s in drawn)
    assert len(set(drawn)) > 40
    assert drawn[7] == policy.wait_s(1, BUSY, 0.0, random.Random(7))


def test_a_final_failure_is_not_retried():
    assert RetryPolicy().wait_s(1, Failure("authentication", "401"), 0.0, RNG) is None


@pytest.mark.parametrize(("retry_after_s", "expected"), [(7.0, 7.0), (0.1, 1.0), (61.0, None)])
def test_retry_after_replaces_a_shorter_wait_and_a_too_long_one_is_not_waited_for(retry_after_s, expected):
    failure = Failure("rate_limit", "429", transient=True, retry_after_s=retry_after_s)
    assert RetryPolicy(initial_s=1, jitter=0).wait_s(1, failure, 0.0, RNG) == expected


def test_any_of_tenacitys_strategies_can_take_over():
    policy = RetryPolicy(wait=tenacity.wait_fixed(3), stop=tenacity.stop_after_delay(10))
    assert policy.wait_s(9, BUSY, 5.0, RNG) == 3
    assert policy.wait_s(1, BUSY, 10.5, RNG) is None


@pytest.mark.parametrize(
    "settings", [{"calls": 0}, {"calls": True}, {"initial_s": -1}, {"max_s": float("inf")}, {"jitter": "x"}]
)
def test_settings_out_of_range_are_refused_by_name(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        RetryPolicy(**settings)
