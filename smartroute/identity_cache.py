"""Remember what was made of an object that is too large to hash: told apart by which object it is."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

_T = TypeVar("_T")
_R = TypeVar("_R")
_More = TypeVarTuple("_More")

MOST_REMEMBERED = 256
"""How many results one function keeps, each with the object that it was made of."""


def cached_by_identity(function: Callable[[_T, *_More], _R]) -> Callable[[_T, *_More], _R]:
    """Return a function that makes the result for an object, and further hashable arguments, once.

    For a function of its arguments alone, the first of which never changes. Safe in any thread.
    """
    known: dict[tuple[int, tuple[*_More]], tuple[_T, _R]] = {}

    @functools.wraps(function)
    def remembered(of: _T, /, *more: *_More) -> _R:
        found = known.get((id(of), more))
        # The id of an object that is gone may be another's; one that is kept here is not gone.
        if found is not None and found[0] is of:
            return found[1]
        made = function(of, *more)
        if len(known) >= MOST_REMEMBERED:
            known.clear()
        known[id(of), more] = of, made
        return made

    return remembered
