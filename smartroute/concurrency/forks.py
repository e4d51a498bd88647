"""Reset objects in a forked child."""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from smartroute.errors import fault

_log = logging.getLogger("smartroute")

T = TypeVar("T")

# By the identity of the reference: an owner need not be hashable, and may be registered more than once.
_resets: dict[int, tuple[weakref.ref[Any], Callable[[Any], object]]] = {}


def after_fork(owner: T, reset: Callable[[T], object]) -> None:
    """Call `reset(owner)` in every forked child, for as long as the owner lives, which this does not prolong.

    Resets run in the order of their registration, on the child's only thread. `reset` must not hold the owner
    itself: pass a function or an unbound method. One that raises is logged, and the others still run.
    """
    reference = weakref.ref(owner, _forget)
    _resets[id(reference)] = (reference, reset)


def _forget(reference: weakref.ref[Any], resets: dict[int, Any] = _resets) -> None:
    # As a default, the dict outlives the names of this module when the interpreter ends.
    resets.pop(id(reference), None)


def _reset_all() -> None:
    for reference, reset in list(_resets.values()):
        owner = reference()
        if owner is None:
            continue
        try:
            reset(owner)
        except Exception as error:  # noqa: BLE001  one reset must not cost the others
            _log.error("a %s was not reset after a fork: %s", type(owner).__name__, fault(error))


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_reset_all)
