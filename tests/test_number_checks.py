"""One checker for every number that a caller sets."""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartroute.errors import ConfigError, TaskError
from smartroute.number_checks import checked_number, checked_share, checked_whole, is_number

NO_NUMBERS = [
    True, False, math.nan, math.inf, -math.inf, None, "", "5", "0.5", "five", "nan", b"5", [], (1,), {},
    1 + 0j, object(), int, Decimal("0.5"), Fraction(1, 2), np.int64(1), np.float32(0.5), np.bool_(True),
    np.array([1.0]), 10**400, -(10**400),
]  # fmt: skip
CHECKS = [checked_number, checked_share]


@pytest.mark.parametrize("value", NO_NUMBERS, ids=lambda value: f"{type(value).__name__}-{value!r:.12}")
def test_what_is_no_finite_number_is_refused_by_its_name_and_value(value):
    assert not is_number(value)
    for check in CHECKS:
        with pytest.raises(ConfigError, match=r"^wait_s must .*, got ") as caught:
            check(value, "wait_s")
        assert repr(value)[:20] in str(caught.value)


@pytest.mark.parametrize("value", [*(v for v in NO_NUMBERS if type(v) is not int), 1.0, 0.5, np.float64(1)])
def test_what_is_no_whole_number_is_refused(value):
    with pytest.raises(ConfigError, match=r"^batch must be a whole number, got "):
        checked_whole(value, "batch")


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**1000), 2**1000))
def test_every_finite_number_is_returned_as_a_float(value):
    assert is_number(value)
    number = checked_number(value, "wait_s")
    assert type(number) is float
    assert number == float(value)


@given(st.integers())
def test_every_whole_number_is_returned_as_it_is(value):
    assert checked_whole(value, "n") == value


@given(st.floats())
def test_a_share_is_a_number_from_0_to_1(value):
    if 0.0 <= value <= 1.0:
        assert checked_share(value, "share") == value
    else:
        with pytest.raises(ConfigError, match=r"^share must lie in \[0, 1\], got "):
            checked_share(value, "share")


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(-10, 10), st.floats(-10, 10))
def test_limits_are_kept_and_above_and_below_leave_theirs_out(value, low, high):
    for limits, fits in (
        ({"least": low, "most": high}, low <= value <= high),
        ({"above": low, "below": high}, low < value < high),
    ):
        if fits:
            assert checked_number(value, "x", **limits) == value
        else:
            with pytest.raises(ConfigError):
                checked_number(value, "x", **limits)


def test_a_numpy_float_is_a_float_and_comes_back_as_a_plain_one():
    assert type(checked_number(np.float64(0.5), "x")) is float
    assert type(checked_share(np.float64(0.5), "x")) is float


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({}, "a finite number"),
        ({"least": 0}, "a finite number of at least 0"),
        ({"above": 0}, "a finite number above 0"),
        ({"most": 1_000_000}, "a finite number of at most 1000000"),
        ({"least": 0, "most": 2.5}, "a finite number of at least 0 and at most 2.5"),
        ({"above": 0, "below": 1}, "a finite number above 0 and below 1"),
        ({"above": 0, "most": 1e-7}, "a finite number above 0 and at most 1e-07"),
    ],
    ids=lambda value: str(value),
)
def test_a_message_names_the_field_the_limits_and_the_value(limits, words):
    with pytest.raises(ConfigError) as caught:
        checked_number(None, "wait_s", **limits)
    assert str(caught.value) == f"wait_s must be {words}, got None"


@pytest.mark.parametrize(
    ("value", "cure"),
    [
        ("500", "; pass a number, not text"),
        (" 1e3 ", "; pass a number, not text"),
        ("many", ""),
        (True, "; pass a number, not a bool"),
        (np.int64(5), "; pass a plain int or float"),
        (Decimal(5), "; pass a plain int or float"),
        (None, ""),
        (-5, ""),
    ],
)
def test_a_message_says_what_to_pass_instead_where_that_is_known(value, cure):
    with pytest.raises(ConfigError) as caught:
        checked_whole(value, "batch", least=1)
    assert str(caught.value) == f"batch must be a whole number of at least 1, got {value!r}{cure}"


def test_the_error_is_of_the_class_that_the_caller_names():
    for check in (checked_number, checked_whole, checked_share):
        with pytest.raises(TaskError, match="max_usd"):
            check("1", "max_usd", error=TaskError)


class Text(str):
    """A number as text, in a class of the caller's own."""

    __slots__ = ()


class Unprintable:
    def __repr__(self):
        raise RuntimeError("no repr today")


class UnprintableText(str):
    __slots__ = ()

    def __repr__(self):
        raise RuntimeError("no repr today")


@pytest.mark.parametrize("check", [checked_number, checked_whole, checked_share])
def test_a_value_whose_repr_raises_and_a_class_of_text_are_named_all_the_same(check):
    with pytest.raises(ConfigError, match=r"n must .*, got an object of type Unprintable"):
        check(Unprintable(), "n")
    with pytest.raises(
        ConfigError, match=r"n must .*, got an object of type UnprintableText; pass a number, not text"
    ):
        check(UnprintableText("5"), "n")
    with pytest.raises(ConfigError, match=r"n must .*, got '5'; pass a number, not text"):
        check(Text("5"), "n")


def test_a_long_value_is_shortened_and_a_huge_int_does_not_break_the_message():
    with pytest.raises(ConfigError) as caught:
        checked_number("x" * 1_000, "n")
    assert len(str(caught.value)) < 150
    # Python refuses to write an int of more than 4,300 digits.
    with pytest.raises(ConfigError, match="n must be a finite number, got a"):
        checked_number(10**5_000, "n")
    with pytest.raises(ConfigError, match="n must be a whole number of at most 5, got a"):
        checked_whole(10**5_000, "n", most=5)
