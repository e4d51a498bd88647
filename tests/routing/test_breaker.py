import pytest

from smartroute.errors import ConfigError
from smartroute.records import Failure
from smartroute.routing.breaker import Breaker
from smartroute.testing import FrozenClock

DOWN = Failure("unavailable", "500", transient=True)


@pytest.fixture
def clock():
    return FrozenClock()


def opened(clock, failures=3):
    breaker = Breaker(failures=failures, cooldown_s=30, clock=clock)
    for _ in range(failures):
        breaker.record("m", DOWN)
    return breaker


def test_it_opens_after_failures_in_a_row_and_only_for_that_model(clock):
    breaker = opened(clock)
    assert not breaker.admits("m")
    assert breaker.is_open("m")
    assert breaker.admits("other")


def test_a_success_in_between_starts_the_count_again(clock):
    breaker = Breaker(failures=2, clock=clock)
    for _ in range(5):
        breaker.record("m", DOWN)
        breaker.record("m", None)
    assert breaker.admits("m")


def test_one_trial_is_let_through_after_the_cooldown(clock):
    breaker = opened(clock)
    clock.advance(31)
    assert breaker.admits("m")
    assert not breaker.admits("m")


def test_a_good_trial_closes_and_a_bad_one_reopens(clock):
    breaker = opened(clock)
    clock.advance(31)
    breaker.admits("m")
    breaker.record("m", DOWN)
    assert not breaker.admits("m")
    clock.advance(31)
    assert breaker.admits("m")
    breaker.record("m", None)
    assert breaker.admits("m")
    assert breaker.admits("m")


def test_a_trial_that_was_cancelled_gives_its_place_free(clock):
    breaker = opened(clock)
    clock.advance(31)
    assert breaker.admits("m")
    breaker.record("m", Failure.cancelled())
    assert breaker.admits("m")


def test_a_trial_that_was_not_made_gives_its_place_free(clock):
    breaker = opened(clock)
    clock.advance(31)
    assert breaker.admits("m")
    breaker.withdraw("m")
    assert breaker.admits("m")
    breaker.withdraw("never heard of")


def test_a_trial_that_never_reports_back_does_not_block_for_ever(clock):
    breaker = opened(clock)
    clock.advance(31)
    assert breaker.admits("m")
    clock.advance(31)
    assert breaker.admits("m")


@pytest.mark.parametrize("kind", ["invalid_request", "context_too_long", "refused", "cancelled", "empty"])
def test_failures_that_are_the_requests_own_fault_do_not_count(clock, kind):
    breaker = Breaker(failures=1, clock=clock)
    breaker.record("m", Failure(kind, "not the model's fault"))
    assert breaker.admits("m")


@pytest.mark.parametrize("settings", [{"failures": 0}, {"cooldown_s": 0}, {"cooldown_s": float("nan")}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError):
        Breaker(**settings)
