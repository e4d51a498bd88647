"""Cache results by object identity, for objects that are too large to hash."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar, TypeVarTuple

_T = TypeVar("_T")
_R = TypeVar("_R")
_More = TypeVarTuple("_More")

MAX_RESULTS = 256
"""How many results one function keeps, each with the object that it belongs to."""


def cached_by_identity(function: Callable[[_T, *_More], _R]) -> Callable[[_T, *_More], _R]:
    """Return a function that computes its result once for an object and further hashable arguments.

    The result must depend on the arguments alone, and the object must never change. Thread-safe.
    """
    results: dict[tuple[int, tuple[*_More]], tuple[_T, _R]] = {}

    @functools.wraps(function)
    def cached(of: _T, /, *more: *_More) -> _R:
        entry = results.get((id(of), more))
        # Python reuses the id of an object that is gone. The entries keep their objects alive.
        if entry is not None and entry[0] is of:
            return entry[1]
        result = function(of, *more)
        if len(results) >= MAX_RESULTS:
            results.clear()
        results[id(of), more] = of, result
        return result

    return cached
