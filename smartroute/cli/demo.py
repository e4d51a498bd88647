"""Run the demo, on simulated models or on real ones."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from smartroute.cli.options import simulated_pool
from smartroute.cli.shell import one_clear_line
from smartroute.config import RouterConfig
from smartroute.dashboard.terminal import console_on
from smartroute.demo.pages import show_explained, show_header, show_result, show_tasks_footer, show_totals
from smartroute.demo.report import DemoReport
from smartroute.demo.run import run_demo
from smartroute.demo.tasks import DemoTask, load_tasks
from smartroute.errors import ConfigError
from smartroute.evaluation.scores import TaskResult
from smartroute.router import ModelRouter
from smartroute.sinks import default_log_path

_LIVE_MAX_TOKENS = 400
"""How long a real answer may be: enough for these tasks, short enough to reserve at premium prices."""


def demo(
    seed: Annotated[int, typer.Option(help="Seed of the simulated pool.")] = 0,
    live: Annotated[
        bool, typer.Option("--live", help="Call real models, with the API keys that are set.")
    ] = False,
    max_usd: Annotated[float, typer.Option(help="With --live: the most that the demo may spend.")] = 0.05,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --live: do not ask first.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Run the bundled tasks through the router and through each single model, and compare.

    Without --live the models are simulated: no key is needed and nothing is spent.
    """
    with one_clear_line():
        tasks = load_tasks()
        router = _live_router(max_usd) if live else _simulated_router(seed)
        with router:
            if live:
                _ask_first(router, tasks, max_usd, yes)
            if as_json:
                report = _run(router, tasks, live, None)
                typer.echo(json.dumps(report.as_dict(), indent=2))
                _exit_if_interrupted(report)
                return
            console = console_on(sys.stdout)
            report = _run_shown(router, tasks, live, console)
            all_logged = router.lost_events == 0
        show_totals(console, report)
        show_explained(console, report)
        _show_log(router.config.log_path, all_logged)
        _exit_if_interrupted(report)


def _show_log(path: object, all_logged: bool) -> None:
    """Print where the events are, and the command that reads them."""
    if not all_logged:
        typer.echo(f"not every event could be logged in {path}", err=True)
        return
    typer.echo(f"events are logged in {path}", err=True)
    command = f"smartroute report --path {shlex.quote(str(path))} --strategy cost_optimized --labels test"
    typer.echo(f"for a report on the routed tasks: {command}", err=True)


def _simulated_router(seed: int) -> ModelRouter:
    """Return a router with default settings whatever the environment sets, so that a seed has one result."""
    return ModelRouter(config=RouterConfig(**simulated_pool(seed)))


def _live_router(max_usd: float) -> ModelRouter:
    return ModelRouter(config=RouterConfig(max_usd=max_usd, log_path=default_log_path(simulated=False)))


def _ask_first(router: ModelRouter, tasks: tuple[DemoTask, ...], max_usd: float, yes: bool) -> None:
    """Name the models and the cap, and ask for the user's consent. Exits without it."""
    ladders = [router.decide(t.prompt, kind=t.kind, max_tokens=_LIVE_MAX_TOKENS).ladder for t in tasks]
    models = ", ".join(dict.fromkeys(rung.model for ladder in ladders for rung in ladder))
    cap = f"spend up to ${max_usd:g}"
    if yes:
        typer.echo(f"calling real models ({models}), to {cap}", err=True)
        return
    if not sys.stdin.isatty():
        raise ConfigError(
            "--live calls real models and cannot ask for consent (standard input is not a terminal); "
            "add --yes to agree in advance"
        )
    typer.confirm(f"Call real models ({models}) and {cap}?", abort=True, err=True)


def _exit_if_interrupted(report: DemoReport) -> None:
    """Exit as a shell expects after Ctrl-C, once the bill so far is printed."""
    if report.interrupted:
        raise typer.Exit(130)


def _run(
    router: ModelRouter,
    tasks: tuple[DemoTask, ...],
    live: bool,
    on_result: Callable[[TaskResult], None] | None,
) -> DemoReport:
    if live:
        params = {"max_tokens": _LIVE_MAX_TOKENS}
        return run_demo(router, tasks, fixed=True, params=params, on_result=on_result)
    models = [card.name for card in router.catalog]
    return run_demo(router, tasks, fixed=True, models=models, on_result=on_result)


def _run_shown(router: ModelRouter, tasks: tuple[DemoTask, ...], live: bool, console: Console) -> DemoReport:
    """Run the demo with a line for each task, and with a progress bar on a terminal."""
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
        fixed: dict[str, Any] = {}

        def show(result: TaskResult) -> None:
            if result.fixed_model is None:
                show_result(bar.console, result)
                bar.advance(routed)
                return
            if result.fixed_model not in fixed:
                fixed[result.fixed_model] = bar.add_task(result.fixed_model, total=len(tasks))
            bar.advance(fixed[result.fixed_model])

        report = _run(router, tasks, live, show)
    show_tasks_footer(console, simulated=router.simulated)
    return report
