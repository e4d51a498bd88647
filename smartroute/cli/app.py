"""List the commands of the command line, and import the one that runs."""

from __future__ import annotations

import io
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from smartroute import __version__
from smartroute.lazy_imports import load_module

COMMANDS = {
    "demo": "Run the bundled tasks through the router and through each single model, and compare.",
    "route": "Answer one prompt. The answer goes to standard output, the bill to standard error.",
    "report": "Show what the log holds: cost, savings against several baselines, escalations, quality.",
    "export": "Write the report to a file: JSON, CSV (the groups), markdown or HTML.",
    "alerts": "Check the log against the alert rules, and print the alerts that are new or have changed.",
    "log": "Inspect, compress, prune or copy the event log.",
}
"""The first line of each command's help, by name. A newcomer's first commands come first."""

_MODULES = {"export": "report"}
"""Where a command lives in the module of another one."""


class _LazyGroup(TyperGroup):
    """A group that lists its commands without importing them."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command if name is None else _load(name), rest


def _load(name: str) -> Any:
    """Import a command's module, and return its command."""
    module = load_module(f"smartroute.cli.{_MODULES.get(name, name)}")
    command = getattr(module, name)
    if isinstance(command, typer.Typer):
        return get_command(command)
    single = typer.Typer(add_completion=False)
    single.command(name)(command)
    return get_command(single)


def _not_imported() -> None:
    """Stand in for a command where only its name and help are needed."""


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"smartroute {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="smartroute",
    cls=_LazyGroup,
    help="Send each LLM request to the cheapest model that will answer it well, and account for every call.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for _name, _help in COMMANDS.items():
    app.command(_name, help=_help)(_not_imported)


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit."),
    ] = False,
) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # An answer may hold characters that the terminal's encoding, or any encoding, cannot write.
            stream.reconfigure(errors="backslashreplace")
