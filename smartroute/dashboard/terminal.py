"""Show a routed request on a terminal: its bill, decision and ledger. Computes no figure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from smartroute.records import Attempt, Outcome

SIMULATED_FOOTER = "simulated: no real model was called, and no money was spent"


def console_on(stream: TextIO) -> Console:
    """Return a console that prints text as it is: no markup, no emoji names, no guessed colors."""
    from rich.console import Console

    return Console(file=stream, markup=False, emoji=False, highlight=False)


def printable(text: str) -> str:
    """Replace the control characters with which a text could move a terminal's cursor."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def ledger_table(attempts: Sequence[Attempt], title: str) -> Table:
    """Return the attempts as a table: every call, paid or failed."""
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    table.add_column("#", justify="right")
    table.add_column("model", overflow="fold")
    table.add_column("purpose")
    table.add_column("tokens", justify="right")
    table.add_column("cost", justify="right")
    table.add_column("confidence", overflow="fold")
    table.add_column("failure", overflow="fold")
    for number, attempt in enumerate(attempts, start=1):
        failure = attempt.failure
        usage = attempt.usage
        table.add_row(
            str(number),
            attempt.model if attempt.effort is None else f"{attempt.model}@{attempt.effort}",
            attempt.purpose,
            "?" if usage is None else f"{usage.input_tokens}+{usage.output_tokens}",
            "unknown" if attempt.cost_usd is None else in_usd(attempt.cost_usd),
            "" if attempt.confidence_source is None
            else shown_confidence(attempt.confidence, attempt.confidence_source, short=True),
            "" if failure is None else printable(f"{failure.kind}: {failure.message}"),
        )  # fmt: skip
    return table


def show_bill(console: Console, outcome: Outcome) -> None:
    """Print the bill of a routed request, in a few lines."""
    unpriced = outcome.unpriced_attempts
    calls = len(outcome.attempts)
    parts = [
        f"{outcome.model or 'no model'} ({outcome.complexity.value}"
        + (", escalated)" if outcome.escalated else ")"),
        f"{in_usd(outcome.cost_usd)} for {calls} {'call' if calls == 1 else 'calls'}"
        + (f", {unpriced} of unknown price not included" if unpriced else ""),
        f"{outcome.latency_s:.2f} s",
        shown_confidence(outcome.confidence, outcome.confidence_source),
    ]
    if outcome.stopped_by is not None:
        parts.append(f"below the threshold, stopped by {outcome.stopped_by}")
    if outcome.baseline_model is not None and outcome.baseline_cost_usd is not None:
        parts.append(
            f"{outcome.baseline_model} would have cost about {in_usd(outcome.baseline_cost_usd)}, "
            "an estimate from this answer's tokens"
        )
    console.print("; ".join(parts), style="dim")
    if outcome.simulated:
        console.print(SIMULATED_FOOTER, style="dim")


def show_explanation(console: Console, outcome: Outcome) -> None:
    """Print the decision of a routed request and its ledger."""
    console.print(printable(outcome.decision.explain()))
    console.print(ledger_table(outcome.attempts, titled("Ledger", outcome.simulated)))


def titled(text: str, simulated: bool) -> str:
    """Return a title, marked as simulated where the figures under it are."""
    return f"{text} (simulated)" if simulated else text


def shown_confidence(value: float | None, source: str, *, short: bool = False) -> str:
    """Return a confidence with its source. `short` is the form for a table."""
    number = "unknown" if value is None else f"{value:.2f}"
    return f"{number} {source}" if short else f"confidence {number} by {source}"


def in_usd(usd: float) -> str:
    """Return an amount: from a dollar on with cents, below with six decimals."""
    return f"${usd:.2f}" if usd >= 1 or usd == 0 else f"${usd:.6f}"
