"""One checker for every number that a caller sets."""

from __future__ import annotations

import math

import pytest

from smartroute.errors import ConfigError
from smartroute.number_checks import checked_number, checked_share, is_number


@pytest.mark.parametrize("value", [True, math.nan, math.inf, "5", None, 10**400, -(10**400)])
def test_what_no_float_can_hold_is_no_number(value: object) -> None:
    assert not is_number(value)
    for check in (checked_number, checked_share):
        with pytest.raises(ConfigError, match="cooldown_s"):
            check(value, "cooldown_s")
