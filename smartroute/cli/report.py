"""Print a report on the log, or write it to a file."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from smartroute.analytics import Analytics, Filter, Report, compose
from smartroute.analytics.rollup.log import Progress
from smartroute.catalog import Catalog
from smartroute.cli.options import Selection, log_path, since, until, with_selection
from smartroute.cli.shell import one_clear_line
from smartroute.config import RouterConfig
from smartroute.dashboard.report_formats import comma_separated, html, markdown, show_report
from smartroute.dashboard.terminal import console_on
from smartroute.errors import ConfigError
from smartroute.protocols import EventSource
from smartroute.providers.offline import OfflineProvider
from smartroute.sinks import JsonlSource, open_log
from smartroute.sinks.locations import is_database


class Format(StrEnum):
    """The formats of an export."""

    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    HTML = "html"


@with_selection
def report(
    selection: Selection,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the report as markdown.")] = False,
) -> None:
    """Show what the log holds: cost, savings against several baselines, escalations, quality."""
    with one_clear_line():
        if as_json and as_markdown:
            raise ConfigError("--json and --markdown exclude each other; pass one")
        contents = _composed(selection)
    if as_json:
        typer.echo(_json(contents))
    elif as_markdown:
        typer.echo(markdown(contents))
    else:
        show_report(console_on(sys.stdout), contents)


@with_selection
def export(
    selection: Selection,
    to: Annotated[Path, typer.Argument(help='The file to write; "-" writes to standard output.')],
    format_: Annotated[
        Format | None,
        typer.Option("--format", help="The format; by default that of the file name's ending."),
    ] = None,
) -> None:
    """Write the report to a file: JSON, CSV (the groups), markdown or HTML."""
    with one_clear_line():
        write = _WRITERS[format_ or _format_of(to)]
        contents = _composed(selection)
        text = write(contents)
        if str(to) == "-":
            typer.echo(text, nl=not text.endswith("\n"))
            return
        path = log_path(selection.path, selection.config)
        if to.is_file() and not is_database(path) and to.samefile(path):
            raise ConfigError(f"{to} is the log itself; write the report to another file")
        try:
            to.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{to} cannot be written: {error.strerror}") from None
    typer.echo(f"{contents.population} written to {to}", err=True)


def _format_of(to: Path) -> Format:
    """Return the format that a file's name ends in. Raises ConfigError when it ends in none."""
    form = _FORMATS.get(to.suffix.lower())
    if form is not None:
        return form
    if str(to) == "-":
        raise ConfigError("standard output has no file name that gives a format; pass --format")
    raise ConfigError(
        f"the name {to.name} gives no format; let it end in .json, .csv, .md or .html, or pass --format"
    )


def _json(contents: Report) -> str:
    return json.dumps(contents.as_dict(), indent=2)


_FORMATS = {".json": Format.JSON, ".csv": Format.CSV, ".md": Format.MARKDOWN, ".html": Format.HTML}
_WRITERS = {
    Format.JSON: _json,
    Format.CSV: comma_separated,
    Format.MARKDOWN: markdown,
    Format.HTML: html,
}


def _composed(selection: Selection) -> Report:
    """Return the report on a selection. Shows a progress bar where reading the log takes long."""
    where = _filter(selection)
    source = open_log(log_path(selection.path, selection.config))
    models = _own_models(selection.models, selection.config)
    analytics = Analytics(source)
    with _bar(in_bytes=isinstance(source, JsonlSource)) as progress:
        analytics.catch_up(progress)
    return compose(
        analytics,
        where,
        catalog=_catalog(source) if models is None else models,
        group_by=tuple(_joined(name) for name in selection.group_by.split(",") if name.strip()),
        label_source=selection.labels.value,
    )


def _filter(selection: Selection) -> Filter:
    where = Filter(
        since=None if selection.since is None else since(selection.since),
        until=None if selection.until is None else until(selection.until),
        kind=selection.kind,
        model=selection.model,
        strategy=selection.strategy,
        tenant=selection.tenant,
    )
    if where.since is not None and where.until is not None and str(where.since) >= str(where.until):
        raise ConfigError(f"--until must be later than --since, got {where.until} and {where.since}")
    return where


def _joined(name: str) -> str:
    """Return the name of a group without the spaces around its parts: `kind + model` is `kind+model`."""
    return "+".join(part.strip() for part in name.split("+"))


@contextlib.contextmanager
def _bar(*, in_bytes: bool) -> Iterator[Progress]:
    """Show on a terminal how much of a large log has been read, in bytes or in events."""
    console = console_on(sys.stderr)
    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    least = _WORTH_A_BAR_BYTES if in_bytes else _WORTH_A_BAR_EVENTS
    quiet = not console.is_terminal or console.is_dumb_terminal
    bar = Bar(*columns, console=console, transient=True, disable=quiet)
    # A disabled bar is not entered: up to rich 14.2 it ends with an empty line.
    with contextlib.nullcontext() if quiet else bar:
        task: TaskID | None = None

        def progress(done: int, whole: int) -> None:
            nonlocal task
            if task is None and whole >= least:
                task = bar.add_task("reading the log", total=whole)
            if task is not None:
                bar.update(task, completed=done, total=whole)

        yield progress


_WORTH_A_BAR_BYTES = 16 << 20
_WORTH_A_BAR_EVENTS = 10_000
"""Smaller logs are read before a user would see a bar."""


def _own_models(models: Path | None, config: Path | None) -> Catalog | None:
    """Return a catalog with the models of a file, else with those of the configured router; None without."""
    configured = None if config is None else RouterConfig.from_file(config).catalog
    own = models or configured
    if own is None or isinstance(own, Catalog):
        return own
    return Catalog.default().with_file(own)


def _catalog(source: EventSource) -> Catalog:
    """Return the default catalog; for a simulated log that of the simulated pool."""
    first = next(iter(source.events()), None)
    simulated = first is not None and first.simulated
    return OfflineProvider.catalog() if simulated else Catalog.default()
