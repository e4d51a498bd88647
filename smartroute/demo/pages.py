"""Show the demo on a terminal. Computes no figure."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from smartroute.dashboard.terminal import (
    SIMULATED_FOOTER,
    in_usd,
    ledger_table,
    printable,
    shown_confidence,
    titled,
)
from smartroute.demo.report import DemoReport
from smartroute.evaluation.scores import FixedModel, TaskResult
from smartroute.stats.intervals import Interval

LIVE_FOOTER = "real models and real money"


def show_header(console: Console, *, simulated: bool, seed: int | None, tasks: int, models: int) -> None:
    """Print the first lines of the demo: how many tasks run on which models, and a table's heading."""
    console.rule(titled("smartroute demo", simulated))
    if simulated:
        console.print(
            f"{tasks} tasks on a simulated pool of {models} models, seed {seed}. The models' skill and "
            "prices are made up and documented; the routing, the ledger and the checks are real."
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
    """Print the last lines of the page of tasks."""
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
    """Print the page that explains one task: its prompt, decision, ledger and answer."""
    result = report.explained
    if result is None or result.decision is None:
        return
    console.print()
    console.rule(titled(f"One task explained: {result.id}", report.simulated))
    console.print(f"prompt: {printable(result.prompt)}")
    console.print(printable(result.decision.explain()))
    console.print(ledger_table(result.attempts, titled("Ledger", report.simulated)))
    console.print(f"answer: {printable(result.answer) or '(none)'}")
    console.print(
        f"{'right' if result.right else 'wrong'}, {in_usd(result.cost_usd)}, "
        f"{shown_confidence(result.confidence, result.confidence_source)}"
    )
    _footer(console, report.simulated)


def _totals_table(report: DemoReport) -> Table:
    table = Table(
        title=titled("Totals, with 95% intervals", report.simulated),
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
        in_usd(routed.cost_usd) + ("+?" if routed.unpriced_attempts else ""),
        "",
        style="bold",
    )
    best, most_expensive = report.best_fixed, report.most_expensive_fixed
    for fixed in report.fixed:
        roles = (("best fixed", best), ("most expensive", most_expensive))
        name = "\n  ".join((fixed.model, *(role for role, model in roles if model is fixed)))
        table.add_row(name, *_fixed_cells(report, fixed))
    if (mix := report.mix) is not None:
        table.add_row(
            "random mix, same cost",
            f"{mix.right:.1f}/{mix.n}",
            _share_with(mix.quality, mix.quality_interval),
            in_usd(mix.cost_usd),
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
        cost = "unknown" if fixed.cost_usd is None else f"about {in_usd(fixed.cost_usd)}"
        return "", "not measured", cost, saved
    cost = in_usd(score.cost_usd) + ("+?" if score.unpriced_attempts else "")
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
            "The fixed models were not measured. Their costs are estimates: the tokens of the routed "
            "answers at each model's prices."
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
            f"Random mix: {mix.expensive} for {mix.expensive_share:.0%} of the tasks at random, "
            f"{mix.cheap} for the rest; expected values."
        )
    elif report.no_mix_because is not None:
        lines.append(f"No random mix of the same cost: {report.no_mix_because}.")
    if report.max_usd is not None and report.spent_usd is not None:
        lines.append(
            f"Spent, reservations of unknown costs included: {in_usd(report.spent_usd)} "
            f"of at most {in_usd(report.max_usd)}."
        )
    return lines


def _footer(console: Console, simulated: bool) -> None:
    console.print(SIMULATED_FOOTER if simulated else LIVE_FOOTER, style="dim")


def _share_with(share: float, interval: Interval) -> str:
    return f"{share:.0%} ({interval.low * 100:.0f}..{interval.high * 100:.0f})"


def _result_cost(result: TaskResult) -> str:
    return in_usd(result.cost_usd) + ("+?" if result.unpriced_attempts else "")


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "~"
