"""Give a property test few examples in the quick run, and all of them with --slow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

FULL = False
"""Set by conftest.py before any test module is imported."""


def examples(full: int, *, quick: int, **options: Any) -> Callable[[Any], Any]:
    """Return a decorator that is `settings(max_examples=...)`, by how much of the tests is asked for."""

    def decorated(test: Any) -> Any:
        limits = settings(max_examples=full if FULL else quick, deadline=None, **options)
        return pytest.mark.more_examples(limits(test))

    return decorated
