"""Lay records out for a terminal: the demo's pages and a routed answer's bill. Computes no figure."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from smartroute.evaluation.demo_report import DemoReport
    from smartroute.evaluation.scores import FixedModel, TaskResult
    from smartroute.records import Attempt, Outcome
    from smartroute.stats.intervals import Interval

SIMULATED_FOOTER = "simulated: no real model was called, and no money was spent"
LIVE_FOOTER = "real models and real money"


def console_on(stream: TextIO) -> Console:
    """Return a console that prints text as it is: no markup, no emoji names, no guessed colours."""
    from rich.console import Console

    return Console(file=stream, markup=False, emoji=False, highlight=False)


def printable(text: str) -> str:
    """Return the text without the control characters by which it could move a terminal's cursor."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs") else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def show_header(console: Console, *, simulated: bool, seed: int | None, tasks: int, models: int) -> None:
    """Print the first lines of the demo: what is run, and on what."""
    console.rule(_title("smartroute demo", simulated))
    if simulated:
        console.print(
            f"{tasks} tasks on a simulated pool of {models} models, seed {seed}. The models' skill and "
            "prices are made up and documented; the routing, the ledger and the checks are the real ones."
        )
    else:
        console.print(f"{tasks} tasks on real models.")
    console.print(f"{'task':<24} {'complexity':<10} {'answered by':<20} {'cost':>10}  verdict", style="bold")


def show_result(console: Console, result: TaskResult) -> None:
    """Print one line on a routed task."""
    verdict = "right" if result.right else "no answer" if result.error else "wrong"
    arrow = " +" if result.escalated else ""
    console.print(
        f"{_cut(result.id, 24):<24} {result.complexity or '?':<10} "
        f"{_cut((result.model or '-') + arrow, 20):<20} {_result_cost(result):>10}  {verdict}",
        style=None if result.right else "yellow",
        soft_wrap=True,
    )


def show_tasks_footer(console: Console, *, simulated: bool) -> None:
    """Print the last line of the page of tasks."""
    console.print("+ escalated: more than one rung was asked", style="dim")
    _footer(console, simulated)


def show_totals(console: Console, report: DemoReport) -> None:
    """Print the page of totals."""
    console.print()
    if report.stopped is not None:
        console.print(f"Stopped early: {report.stopped}.", style="bold yellow")
    if not report.results:
        _footer(console, report.simulated)
        return
    console.print(_totals_table(report))
    for line in _remarks(report):
        console.print(f"- {line}")
    _footer(console, report.simulated)


def show_explained(console: Console, report: DemoReport) -> None:
    """Print the page that explains one task: its prompt, the decision, the ledger, the answer."""
    result = report.explained
    if result is None or result.decision is None:
        return
    console.print()
    console.rule(_title(f"One task explained: {result.id}", report.simulated))
    console.print(f"prompt: {printable(result.prompt)}")
    console.print(printable(result.decision.explain()))
    console.print(ledger_table(result.attempts, _title("Ledger", report.simulated)))
    console.print(f"answer: {printable(result.answer) or '(none)'}")
    console.print(
        f"{'right' if result.right else 'wrong'}, {_usd(result.cost_usd)}, "
        f"{_believed(result.confidence, result.confidence_source)}"
    )
    _footer(console, report.simulated)


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
            "unknown" if attempt.cost_usd is None else _usd(attempt.cost_usd),
            "" if attempt.confidence_source is None
            else _believed(attempt.confidence, attempt.confidence_source, short=True),
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
        f"{_usd(outcome.cost_usd)} for {calls} {'call' if calls == 1 else 'calls'}"
        + (f", {unpriced} of unknown price not included" if unpriced else ""),
        f"{outcome.latency_s:.2f} s",
        _believed(outcome.confidence, outcome.confidence_source),
    ]
    if outcome.stopped_by is not None:
        parts.append(f"below the threshold, stopped by {outcome.stopped_by}")
    if outcome.baseline_model is not None and outcome.baseline_cost_usd is not None:
        parts.append(
            f"{outcome.baseline_model} would have cost about {_usd(outcome.baseline_cost_usd)}, "
            "an estimate from this answer's tokens"
        )
    console.print("; ".join(parts), style="dim")
    if outcome.simulated:
        console.print(SIMULATED_FOOTER, style="dim")


def show_explanation(console: Console, outcome: Outcome) -> None:
    """Print the decision of a routed request and its ledger."""
    console.print(printable(outcome.decision.explain()))
    console.print(ledger_table(outcome.attempts, _title("Ledger", outcome.simulated)))


def _totals_table(report: DemoReport) -> Table:
    from rich.table import Table

    table = Table(
        title=_title("Totals, with 95% intervals", report.simulated),
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("way", overflow="fold")
    for heading in ("right", "quality", "cost", "routing saves"):
        table.add_column(heading, justify="right")
    routed = report.routed
    table.add_row(
        "routed",
        f"{routed.right}/{routed.n}",
        _share_with(routed.quality, routed.quality_interval),
        _usd(routed.cost_usd) + ("+?" if routed.unpriced_attempts else ""),
        "",
        style="bold",
    )
    best, dearest = report.best_fixed, report.dearest_fixed
    for fixed in report.fixed:
        roles = [role for role, model in (("best fixed", best), ("dearest", dearest)) if model is fixed]
        name = f"{fixed.model}\n  {', '.join(roles)}" if roles else fixed.model
        table.add_row(name, *_fixed_cells(report, fixed))
    if (mix := report.mix) is not None:
        table.add_row(
            "random mix, same cost",
            f"{mix.right:.1f}/{mix.n}",
            _share_with(mix.quality, mix.quality_interval),
            _usd(mix.cost_usd),
            "0%",
        )
    return table


def _fixed_cells(report: DemoReport, fixed: FixedModel) -> tuple[str, str, str, str]:
    saving = report.saving(fixed)
    saved = "unknown"
    if saving is not None:
        saved = f"{saving.share:+.0%}"
        if saving.interval is not None:
            saved += f" ({saving.interval.low * 100:+.0f}..{saving.interval.high * 100:+.0f})"
    score = fixed.score
    if score is None:
        cost = "unknown" if fixed.cost_usd is None else f"about {_usd(fixed.cost_usd)}"
        return "", "not measured", cost, saved
    cost = _usd(score.cost_usd) + ("+?" if score.unpriced_attempts else "")
    return f"{score.right}/{score.n}", _share_with(score.quality, score.quality_interval), cost, saved


def _remarks(report: DemoReport) -> list[str]:
    routed, best = report.routed, report.best_fixed
    lines = [
        f"{report.population}, {report.date}. Escalated: {routed.escalated} of {routed.n}, "
        f"{_share_with(routed.escalation_rate, routed.escalation_rate_interval)}. "
        f"Attempts of unknown price: {routed.unpriced_attempts}. Without an answer: {routed.errors}."
    ]
    if best is None:
        lines.append(
            "The fixed models were not measured: their costs are estimates, the routed answers' tokens at "
            "each model's prices."
        )
    else:
        lines.append(f"Best fixed model: {best.model}, chosen with hindsight on these tasks.")
        difference = report.quality_difference(best)
        if difference is not None:
            share, interval = difference
            lines.append(
                f"Quality, routed minus {best.model}, task by task: {share * 100:+.1f} points "
                f"({interval.low * 100:+.1f} to {interval.high * 100:+.1f})."
            )
    if (mix := report.mix) is not None:
        lines.append(
            f"Random mix: {mix.dearer} for {mix.dearer_share:.0%} of the tasks at random, {mix.cheaper} for "
            "the rest; expected values."
        )
    elif report.no_mix_because is not None:
        lines.append(f"No random mix of the same cost: {report.no_mix_because}.")
    if report.max_usd is not None and report.spent_usd is not None:
        lines.append(
            f"Spent, reservations of unknown costs included: {_usd(report.spent_usd)} "
            f"of at most {_usd(report.max_usd)}."
        )
    return lines


def _footer(console: Console, simulated: bool) -> None:
    console.print(SIMULATED_FOOTER if simulated else LIVE_FOOTER, style="dim")


def _title(text: str, simulated: bool) -> str:
    return f"{text} (simulated)" if simulated else text


def _share_with(share: float, interval: Interval) -> str:
    return f"{share:.0%} ({interval.low * 100:.0f}..{interval.high * 100:.0f})"


def _believed(value: float | None, source: str, *, short: bool = False) -> str:
    number = "unknown" if value is None else f"{value:.2f}"
    return f"{number} {source}" if short else f"confidence {number} by {source}"


def _result_cost(result: TaskResult) -> str:
    return _usd(result.cost_usd) + ("+?" if result.unpriced_attempts else "")


def _usd(usd: float) -> str:
    return f"${usd:.2f}" if usd >= 1 or usd == 0 else f"${usd:.6f}"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "~"
