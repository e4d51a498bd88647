"""Print errors as one line with exit code 2, and text that is safe for a terminal."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from typing import Any

import typer

from smartroute.dashboard.terminal import printable
from smartroute.errors import SmartRouteError


@contextlib.contextmanager
def one_clear_line() -> Iterator[None]:
    """Turn an error that smartroute raises on purpose into one line on standard error and exit code 2.

    A missing extra counts as such an error: its ImportError names no module.
    """
    try:
        yield
    except (SmartRouteError, ImportError) as error:
        if isinstance(error, ImportError) and error.name is not None:
            raise
        line = " ".join(str(error).split()) or type(error).__name__
        attempts = getattr(error, "attempts", ())
        if attempts:
            costs = [attempt.cost_usd for attempt in attempts]
            line += f" (spent ${math.fsum(usd for usd in costs if usd is not None):.6f} in {len(costs)} calls"
            line += f", {costs.count(None)} of unknown cost)" if None in costs else ")"
            failure = attempts[-1].failure
            if failure is not None:
                line += f"; the last of them: {' '.join(failure.message.split())}"
        typer.echo(for_stream(sys.stderr, f"error: {line}"), err=True)
        raise typer.Exit(2) from None


def for_stream(stream: Any, text: str) -> str:
    """Return the text as it is for a pipe, and without control characters for a terminal."""
    return printable(text) if stream.isatty() else text
