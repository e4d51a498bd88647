"""Route one prompt from the command line."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from smartroute.cli.options import ConfigOption, ModelsOption, simulated_pool
from smartroute.cli.shell import for_stream, one_clear_line
from smartroute.config import RouterConfig
from smartroute.dashboard.terminal import console_on, show_bill, show_explanation
from smartroute.errors import ConfigError, LedgerError
from smartroute.records import Decision, Outcome
from smartroute.router import ModelRouter


def route(
    text: Annotated[str, typer.Argument(help='The prompt; "-" reads it from standard input.')],
    kind: Annotated[
        str | None, typer.Option(help="The kind of task: score, classify, extract, creative, ...")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help='Ask this model first, such as "gpt-6-astra" or "gpt-6-astra@high".')
    ] = None,
    max_usd: Annotated[float | None, typer.Option(help="The most that this request may cost.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="The most tokens that an answer may have.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show the decision and the ledger too.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the decision only; call no model.")
    ] = False,
    simulated: Annotated[
        bool, typer.Option("--simulated", help="Use the simulated pool: no key, no cost.")
    ] = False,
    config: ConfigOption = None,
    models: ModelsOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Answer one prompt. The answer goes to standard output, the bill to standard error."""
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
            typer.echo(_json(outcome, explain))
            return
        typer.echo(for_stream(sys.stdout, outcome.text), color=True)
        console = console_on(sys.stderr)
        show_bill(console, outcome)
        if explain:
            show_explanation(console, outcome)


def _router(config: Path | None, models: Path | None, *, simulated: bool) -> ModelRouter:
    """Return a router with the settings of the environment or of a file, and the models of another file."""
    settings: dict[str, Any] = {} if models is None else {"catalog": models}
    if simulated:
        if models is not None:
            raise ConfigError("--simulated has its own models; leave out --models")
        settings = simulated_pool(0)
    if config is None:
        return ModelRouter(**settings)
    return ModelRouter(config=RouterConfig.from_file(config, **settings))


def _read_stdin() -> str:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(encoding="utf-8", errors="replace")
    return sys.stdin.read()


def _show_ledger_of(error: LedgerError, explain: bool, as_json: bool) -> None:
    """Print the calls of a request without an answer: they may have cost something all the same."""
    if error.outcome is None:
        return
    if as_json:
        typer.echo(_json(error.outcome, explain))
    elif explain:
        show_explanation(console_on(sys.stderr), error.outcome)


def _show_decision(decision: Decision, simulated: bool, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"simulated": simulated, **decision.as_dict()}, indent=2))
        return
    typer.echo(for_stream(sys.stdout, decision.explain()))
    if simulated:
        typer.echo("simulated: this is the simulated pool", err=True)


def _json(outcome: Outcome, explain: bool) -> str:
    explanation = {"explanation": outcome.decision.explain()} if explain else {}
    return json.dumps({**outcome.as_dict(), **explanation}, indent=2)
