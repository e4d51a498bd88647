"""Take commands from a shell: `demo`, `route`, and others'. Knows what goes to which stream.

Answers and reports go to standard output, bills and errors to standard error. A mistake of the user's, or a
request without an answer, is one line and exit code 2.
"""

from __future__ import annotations

import io
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smartroute.cli.alerts import alerts
from smartroute.cli.log import log_app
from smartroute.cli.options import ConfigOption, ModelsOption
from smartroute.cli.report import export, report
from smartroute.cli.shell import for_stream, one_clear_line
from smartroute.errors import LedgerError

if TYPE_CHECKING:
    from rich.console import Console

    from smartroute.demo.report import DemoReport
    from smartroute.demo.tasks import DemoTask
    from smartroute.evaluation.scores import TaskResult
    from smartroute.records import Decision, Outcome
    from smartroute.router import ModelRouter

_LIVE_MAX_TOKENS = 400
"""What a live answer may be long: enough for these tasks, short enough to reserve at premium prices."""

app = typer.Typer(
    name="smartroute",
    help="Send each LLM request to the cheapest model that will answer it well, and account for every call.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from smartroute import __version__

        typer.echo(f"smartroute {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # An answer may hold what the terminal's encoding, or any, has no bytes for.
            stream.reconfigure(errors="backslashreplace")


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Seed of the simulated pool.")] = 0,
    live: Annotated[
        bool, typer.Option("--live", help="Call real models, with the keys that are set.")
    ] = False,
    max_usd: Annotated[float, typer.Option(help="With --live: the most that may be spent in all.")] = 0.05,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --live: do not ask first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Run the bundled tasks through the router and through each single model, and compare.

    Without --live the models are simulated: no key is needed and nothing is spent.
    """
    from smartroute.dashboard.terminal import console_on
    from smartroute.demo.pages import show_explained, show_totals
    from smartroute.demo.tasks import load_tasks

    with one_clear_line():
        tasks = load_tasks()
        router = _live_router(max_usd) if live else _simulated_router(seed)
        with router:
            if live:
                _ask_first(router, tasks, max_usd, yes)
            if as_json:
                report = _run(router, tasks, live, None)
                typer.echo(json.dumps(report.as_dict(), indent=2))
                _leave_if_interrupted(report)
                return
            console = console_on(sys.stdout)
            report = _run_shown(router, tasks, live, console)
            all_logged = router.lost_events == 0
        show_totals(console, report)
        show_explained(console, report)
        logged = "events are logged" if all_logged else "not every event could be logged"
        typer.echo(f"{logged} in {router.config.log_path}", err=True)
        if all_logged:
            place = shlex.quote(str(router.config.log_path))
            typer.echo(
                "to read the routed ones: "
                f"smartroute report --path {place} --strategy cost_optimized --labels test",
                err=True,
            )
        _leave_if_interrupted(report)


@app.command()
def route(
    text: Annotated[str, typer.Argument(help='The prompt; "-" reads it from standard input.')],
    kind: Annotated[
        str | None, typer.Option(help="What is asked: score, classify, extract, creative, ...")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help='Ask this model first, such as "gpt-6-astra" or "gpt-6-astra@high".')
    ] = None,
    max_usd: Annotated[float | None, typer.Option(help="The most that this request may cost.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The most that an answer may be long.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the decision and the ledger.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the decision; call nothing.")] = False,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Use the simulated pool: no key, no cost.")
    ] = False,
    config: ConfigOption = None,
    models: ModelsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Answer one prompt. The answer goes to standard output, the bill to standard error."""
    from smartroute.dashboard.terminal import console_on, show_bill, show_explanation

    with one_clear_line():
        options: dict[str, Any] = {
            "kind": kind, "preferred_model": model, "max_usd": max_usd, "max_tokens": max_tokens
        }  # fmt: skip
        prompt = _read_stdin() if text == "-" else text
        with _router(config, models, simulated=simulated) as router:
            if dry_run:
                _show_decision(router.decide(prompt, **options), router.simulated, as_json)
                return
            try:
                outcome = router.run(prompt, **options)
            except LedgerError as error:
                _show_ledger_of(error, explain, as_json)
                raise
        if as_json:
            typer.echo(json.dumps(_outcome_dict(outcome, explain), indent=2))
            return
        typer.echo(for_stream(sys.stdout, outcome.text), color=True)
        console = console_on(sys.stderr)
        show_bill(console, outcome)
        if explain:
            show_explanation(console, outcome)


def _show_ledger_of(error: LedgerError, explain: bool, as_json: bool) -> None:
    """Print what a request without an answer has to show: its calls may have cost something all the same."""
    from smartroute.dashboard.terminal import console_on, show_explanation

    if error.outcome is None:
        return
    if as_json:
        told = {"kind": type(error).__name__, "message": str(error)}
        typer.echo(json.dumps({**_outcome_dict(error.outcome, explain), "error": told}, indent=2))
    elif explain:
        show_explanation(console_on(sys.stderr), error.outcome)


def _router(config: Path | None, models: Path | None, *, simulated: bool) -> ModelRouter:
    """Return the router of the environment, or of a file of settings, with the models of another file."""
    from smartroute.config import RouterConfig
    from smartroute.errors import ConfigError
    from smartroute.router import ModelRouter

    settings: dict[str, Any] = {} if models is None else {"catalog": models}
    if simulated:
        if models is not None:
            raise ConfigError("--simulated has models of its own; leave out --models")
        settings = _simulated_pool(0)
    if config is None:
        return ModelRouter(**settings)
    return ModelRouter(config=RouterConfig.from_file(config, **settings))


def _simulated_pool(seed: int) -> dict[str, Any]:
    """Return the settings of a router on the simulated pool, whose log is not the real one."""
    from smartroute.providers.offline import OfflineProvider
    from smartroute.sinks.locations import default_log_path

    return {
        "catalog": OfflineProvider.catalog(),
        "provider": OfflineProvider(seed=seed),
        "seed": seed,
        "log_path": default_log_path(simulated=True),
    }


def _simulated_router(seed: int) -> ModelRouter:
    """Return the demo's router: the defaults whatever the environment says, so that a seed has one result."""
    from smartroute.config import RouterConfig
    from smartroute.router import ModelRouter

    return ModelRouter(config=RouterConfig(**_simulated_pool(seed)))


def _live_router(max_usd: float) -> ModelRouter:
    from smartroute.config import RouterConfig
    from smartroute.router import ModelRouter
    from smartroute.sinks.locations import default_log_path

    return ModelRouter(config=RouterConfig(max_usd=max_usd, log_path=default_log_path(simulated=False)))


def _ask_first(router: ModelRouter, tasks: tuple[DemoTask, ...], max_usd: float, yes: bool) -> None:
    """Name the models and the cap, and make sure that the user wants them called. Exits when not."""
    from smartroute.errors import ConfigError

    ladders = [router.decide(t.prompt, kind=t.kind, max_tokens=_LIVE_MAX_TOKENS).ladder for t in tasks]
    models = ", ".join(dict.fromkeys(rung.model for ladder in ladders for rung in ladder))
    cap = f"spend up to ${max_usd:g}"
    if yes:
        typer.echo(f"calling real models ({models}), to {cap}", err=True)
        return
    if not sys.stdin.isatty():
        raise ConfigError(
            "--live calls real models and nobody is there to be asked (standard input is no terminal); "
            "add --yes to agree beforehand"
        )
    typer.confirm(f"Call real models ({models}) and {cap}?", abort=True, err=True)


def _leave_if_interrupted(report: DemoReport) -> None:
    """Exit as a shell expects after Ctrl-C, once the bill so far is printed."""
    if report.interrupted:
        raise typer.Exit(130)


def _run(
    router: ModelRouter, tasks: tuple[DemoTask, ...], live: bool, hear: Callable[[TaskResult], None] | None
) -> DemoReport:
    from smartroute.demo.run import run_demo

    if live:
        return run_demo(router, tasks, fixed=True, params={"max_tokens": _LIVE_MAX_TOKENS}, on_result=hear)
    models = [card.name for card in router.catalog]
    return run_demo(router, tasks, fixed=True, models=models, on_result=hear)


def _run_shown(router: ModelRouter, tasks: tuple[DemoTask, ...], live: bool, console: Console) -> DemoReport:
    """Run the demo with a line for each task, and a progress bar where there is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from smartroute.demo.pages import show_header, show_result, show_tasks_footer

    models = len(router.catalog)
    show_header(console, simulated=router.simulated, seed=router.config.seed, tasks=len(tasks), models=models)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal or console.is_dumb_terminal,
    )
    with bar:
        routed = bar.add_task("routed", total=len(tasks))
        others: dict[str, Any] = {}

        def hear(result: TaskResult) -> None:
            if result.fixed_model is None:
                show_result(bar.console, result)
                bar.advance(routed)
                return
            if result.fixed_model not in others:
                others[result.fixed_model] = bar.add_task(result.fixed_model, total=len(tasks))
            bar.advance(others[result.fixed_model])

        report = _run(router, tasks, live, hear)
    show_tasks_footer(console, simulated=router.simulated)
    return report


def _read_stdin() -> str:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    return sys.stdin.read()


def _show_decision(decision: Decision, simulated: bool, as_json: bool) -> None:
    if not as_json:
        typer.echo(for_stream(sys.stdout, decision.explain()))
        if simulated:
            typer.echo("simulated: this is the simulated pool", err=True)
        return
    typer.echo(json.dumps({"simulated": simulated, **_decision_dict(decision)}, indent=2))


def _decision_dict(decision: Decision) -> dict[str, Any]:
    return {
        "complexity": decision.classification.complexity.value,
        "score": decision.classification.score,
        "by": decision.classification.by,
        "signals": [signal._asdict() for signal in decision.classification.signals],
        "strategy": decision.strategy,
        "accept_at": decision.accept_at,
        "ladder": [rung._asdict() for rung in decision.ladder],
        "reasons": decision.reasons,
        "ruled_out": [out._asdict() for out in decision.ruled_out],
    }


def _outcome_dict(outcome: Outcome, explain: bool) -> dict[str, Any]:
    from smartroute.demo.report import attempt_dict

    explained = {
        "decision": _decision_dict(outcome.decision),
        "explanation": outcome.decision.explain(),
    }
    return {
        "simulated": outcome.simulated,
        "id": outcome.id,
        "text": outcome.text,
        "model": outcome.model,
        "complexity": outcome.complexity.value,
        "escalated": outcome.escalated,
        "confidence": outcome.confidence,
        "confidence_source": outcome.confidence_source,
        "stopped_by": outcome.stopped_by,
        "cost_usd": outcome.cost_usd,
        "unpriced_attempts": outcome.unpriced_attempts,
        "baseline_model": outcome.baseline_model,
        "baseline_cost_usd": outcome.baseline_cost_usd,
        "latency_s": outcome.latency_s,
        "attempts": [
            {**attempt_dict(attempt), "latency_s": attempt.latency_s} for attempt in outcome.attempts
        ],
        **(explained if explain else {}),
    }


# Last, so that `--help` lists what a newcomer wants first.
app.command()(report)
app.command()(export)
app.command()(alerts)
app.add_typer(log_app, name="log")
