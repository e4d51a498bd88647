"""Take the commands that read the log from a shell: `report` and `export`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smartroute.cli.options import ConfigOption, LogOption, ModelsOption, log_place
from smartroute.cli.shell import one_clear_line
from smartroute.errors import ConfigError

if TYPE_CHECKING:
    from rich.progress import TaskID

    from smartroute.analytics.filter import Filter
    from smartroute.analytics.report import Report
    from smartroute.analytics.rollup.file_rollup import Progress
    from smartroute.catalog import Catalog
    from smartroute.protocols import EventSource

_Since = Annotated[
    str | None,
    typer.Option(help="From when on: a moment such as 2026-11-23, or 24h or 7d back, from a full hour on."),
]
_Until = Annotated[str | None, typer.Option(help="Before when: likewise.")]


class LabelSource(StrEnum):
    """Whose labels tell quality."""

    USER = "user"
    JUDGE = "judge"
    TEST = "test"


_Labels = Annotated[LabelSource, typer.Option("--labels", help="Whose labels tell quality.")]
_GroupBy = Annotated[
    str,
    typer.Option("--group-by", help="Comma-separated: kind, complexity, model, tenant, day, kind+model, ..."),
]
_GROUPS = "model,complexity,kind"
_Kind = Annotated[str | None, typer.Option(help="Only requests of this kind.")]
_Model = Annotated[str | None, typer.Option(help="Only requests that this model answered.")]
_Strategy = Annotated[str | None, typer.Option(help="Only requests that this strategy decided.")]
_Tenant = Annotated[str | None, typer.Option(help="Only requests of this tenant.")]


class Format(StrEnum):
    """What an export is written as."""

    JSON = "json"
    CSV = "csv"
    MARKDOWN = "markdown"
    HTML = "html"


def report(
    path: LogOption = None,
    since: _Since = None,
    until: _Until = None,
    kind: _Kind = None,
    model: _Model = None,
    strategy: _Strategy = None,
    tenant: _Tenant = None,
    group_by: _GroupBy = _GROUPS,
    labels: _Labels = LabelSource.USER,
    models: ModelsOption = None,
    config: ConfigOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print it as markdown.")] = False,
) -> None:
    """Say what the log holds: cost, savings against several baselines, escalations, confidence, quality."""
    from smartroute.dashboard.report_formats import markdown, show_report
    from smartroute.dashboard.terminal import console_on
    from smartroute.errors import ConfigError

    with one_clear_line():
        if as_json and as_markdown:
            raise ConfigError("--json and --markdown exclude each other; pass one")
        where = _filter(since, until, kind=kind, model=model, strategy=strategy, tenant=tenant)
        found = _composed(log_place(path, config), where, group_by, labels.value, _own_models(models, config))
    if as_json:
        typer.echo(_json(found))
    elif as_markdown:
        typer.echo(markdown(found))
    else:
        show_report(console_on(sys.stdout), found)


def export(
    to: Annotated[Path, typer.Argument(help="The file to write; - for standard output.")],
    path: LogOption = None,
    since: _Since = None,
    until: _Until = None,
    kind: _Kind = None,
    model: _Model = None,
    strategy: _Strategy = None,
    tenant: _Tenant = None,
    group_by: _GroupBy = _GROUPS,
    labels: _Labels = LabelSource.USER,
    models: ModelsOption = None,
    config: ConfigOption = None,
    form: Annotated[
        Format | None, typer.Option("--format", help="By default what the file's name ends in.")
    ] = None,
) -> None:
    """Write the report to a file: JSON, CSV (the groups), markdown or HTML."""
    from smartroute.dashboard.report_formats import comma_separated, html, markdown
    from smartroute.sinks.locations import is_database

    with one_clear_line():
        wanted = form or _FORMATS.get(to.suffix.lower())
        if wanted is None:
            if str(to) == "-":
                raise ConfigError("standard output has no ending that says a format; pass --format")
            raise ConfigError(
                f"{to.name} says no format; end it in .json, .csv, .md or .html, or pass --format"
            )
        where = _filter(since, until, kind=kind, model=model, strategy=strategy, tenant=tenant)
        found = _composed(log_place(path, config), where, group_by, labels.value, _own_models(models, config))
        write = {
            Format.JSON: _json,
            Format.CSV: comma_separated,
            Format.MARKDOWN: markdown,
            Format.HTML: html,
        }
        text = write[wanted](found)
        if str(to) == "-":
            typer.echo(text, nl=not text.endswith("\n"))
            return
        place = log_place(path, config)
        if to.is_file() and not is_database(place) and to.samefile(place):
            raise ConfigError(f"{to} is the log itself; write the report to another file")
        try:
            to.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{to} cannot be written: {error.strerror}") from None
    typer.echo(f"{found.population} written to {to}", err=True)


_FORMATS = {".json": Format.JSON, ".csv": Format.CSV, ".md": Format.MARKDOWN, ".html": Format.HTML}


def _filter(since: str | None, until: str | None, **fields: str | None) -> Filter:
    from smartroute.analytics import Filter

    where = Filter(since=_moment(since, "--since"), until=_moment(until, "--until"), **fields)
    if where.since is not None and where.until is not None and str(where.since) >= str(where.until):
        raise ConfigError(f"--until must lie after --since, got {where.until} and {where.since}")
    return where


def _composed(
    place: str | Path, where: Filter, group_by: str, label_source: str, models: Catalog | None
) -> Report:
    from smartroute.analytics import Analytics, compose
    from smartroute.sinks import JsonlSource, open_log

    source = open_log(place)
    analytics = Analytics(source)
    with _bar(in_bytes=isinstance(source, JsonlSource)) as progress:
        analytics.catch_up(progress)
    names = tuple(_joined(name) for name in group_by.split(",") if name.strip())
    catalog = _catalog(source) if models is None else models
    return compose(analytics, where, catalog=catalog, group_by=names, label_source=label_source)


def _joined(name: str) -> str:
    return "+".join(part.strip() for part in name.split("+"))


@contextlib.contextmanager
def _bar(*, in_bytes: bool) -> Iterator[Progress]:
    """Show on a terminal how far the log has been read, in bytes or in events, where that takes a while."""
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    from smartroute.dashboard.terminal import console_on

    console = console_on(sys.stderr)
    count = DownloadColumn() if in_bytes else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    least = _WORTH_A_BAR_BYTES if in_bytes else _WORTH_A_BAR_EVENTS
    quiet = not console.is_terminal or console.is_dumb_terminal
    bar = Bar(*columns, console=console, transient=True, disable=quiet)
    # Not even entered where it is disabled: up to rich 14.2 it would end with an empty line.
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
"""Less than this is read before one would have seen a bar."""


def _own_models(models: Path | None, config: Path | None) -> Catalog | None:
    """Return the catalog with the user's models: those of a file, else the configured router's."""
    from smartroute.catalog import Catalog
    from smartroute.config import RouterConfig

    configured = None if config is None else RouterConfig.from_file(config).catalog
    own = models or configured
    if own is None or isinstance(own, Catalog):
        return own
    return Catalog.default().with_file(own)


def _catalog(source: EventSource) -> Catalog:
    """Return the default catalog; for a simulated log that of the simulated pool."""
    from smartroute.catalog import Catalog
    from smartroute.providers.offline import OfflineProvider

    first = next(iter(source.events()), None)
    simulated = first is not None and first.simulated
    return OfflineProvider.catalog() if simulated else Catalog.default()


def _moment(text: str | None, option: str) -> datetime | str | None:
    """Return the moment that a user means: "24h" and "7d" count back from now, to the full hour before that.

    Whole hours are what the rollup can tell without the log. Raises ConfigError for what is neither.
    """
    from smartroute.errors import ConfigError

    if text is None:
        return None
    if text[-1:] not in ("h", "d") or not text[:-1].isdecimal():
        try:
            datetime.fromisoformat(text)
        except ValueError:
            raise ConfigError(
                f"{option} must be a moment such as 2026-11-23 or 2026-11-23T08:00, or so far back as 24h or "
                f"7d, got {text!r:.40}"
            ) from None
        return text
    unit = timedelta(hours=1) if text.endswith("h") else timedelta(days=1)
    try:
        back = datetime.now(UTC) - int(text[:-1]) * unit
    except (OverflowError, ValueError):  # before the year 1, or more digits than Python reads
        raise ConfigError(f"{text:.40} lies further back than the calendar does") from None
    return back.replace(minute=0, second=0, microsecond=0)


def _json(found: Report) -> str:
    document: dict[str, Any] = found.as_dict()
    return json.dumps(document, indent=2)
