"""Take the commands that read the log from a shell: `report` and `export`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smartroute.shell import one_clear_line

if TYPE_CHECKING:
    from smartroute.analytics.report import Report
    from smartroute.catalogue import Catalogue
    from smartroute.protocols import EventSource

_Log = Annotated[
    str | None,
    typer.Option("--path", help="The log: a folder, a file or a database; the one in use by default."),
]
_Since = Annotated[
    str | None,
    typer.Option(help="From when on: a moment such as 2026-11-23, or 24h or 7d back."),
]
_GroupBy = Annotated[
    str,
    typer.Option("--group-by", help="Comma-separated: kind, complexity, model, tenant, day, ..."),
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


def report(
    path: _Log = None,
    since: _Since = None,
    kind: _Kind = None,
    model: _Model = None,
    strategy: _Strategy = None,
    tenant: _Tenant = None,
    group_by: _GroupBy = _GROUPS,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print it as markdown.")] = False,
) -> None:
    """Say what the log holds: cost, savings against several baselines, escalations, confidence, quality."""
    from smartroute.dashboard.report_pages import markdown, show_report
    from smartroute.dashboard.terminal import console_on

    with one_clear_line():
        found = _composed(path, since, group_by, kind=kind, model=model, strategy=strategy, tenant=tenant)
    if as_json:
        typer.echo(_json(found))
    elif as_markdown:
        typer.echo(markdown(found))
    else:
        show_report(console_on(sys.stdout), found)


def export(
    to: Annotated[Path, typer.Argument(help="The file to write; - for standard output.")],
    path: _Log = None,
    since: _Since = None,
    kind: _Kind = None,
    model: _Model = None,
    strategy: _Strategy = None,
    tenant: _Tenant = None,
    group_by: _GroupBy = _GROUPS,
    form: Annotated[
        Format | None, typer.Option("--format", help="By default what the file's name ends in.")
    ] = None,
) -> None:
    """Write the report to a file: JSON, CSV (the groups) or markdown."""
    from smartroute.dashboard.report_pages import comma_separated, markdown
    from smartroute.errors import ConfigError

    with one_clear_line():
        wanted = form or _FORMATS.get(to.suffix.lower())
        if wanted is None:
            raise ConfigError(f"{to.name} says no format; end it in .json, .csv or .md, or pass --format")
        found = _composed(path, since, group_by, kind=kind, model=model, strategy=strategy, tenant=tenant)
        write = {Format.JSON: _json, Format.CSV: comma_separated, Format.MARKDOWN: markdown}[wanted]
        text = write(found)
        if str(to) == "-":
            typer.echo(text, nl=not text.endswith("\n"))
            return
        try:
            to.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{to} cannot be written: {error.strerror}") from None
    typer.echo(f"{found.population} written to {to}", err=True)


_FORMATS = {".json": Format.JSON, ".csv": Format.CSV, ".md": Format.MARKDOWN}


def _composed(path: str | None, since: str | None, group_by: str, **fields: str | None) -> Report:
    from smartroute.analytics import Analytics, Filter, compose
    from smartroute.sinks import default_log, open_log

    source = open_log(default_log(simulated=False) if path is None else path)
    names = tuple(name.strip() for name in group_by.split(",") if name.strip())
    where = Filter(since=_moment(since), **fields)
    return compose(Analytics(source), where, catalogue=_catalogue(source), group_by=names)


def _catalogue(source: EventSource) -> Catalogue:
    """Return the default catalogue; that of the simulated pool for a simulated log."""
    from smartroute.catalogue import Catalogue
    from smartroute.providers.offline import OfflineProvider

    first = next(iter(source.events()), None)
    simulated = first is not None and first.simulated
    return OfflineProvider.catalogue() if simulated else Catalogue.default()


def _moment(text: str | None) -> datetime | str | None:
    """Return the moment that a user means: "24h" and "7d" count back from now."""
    if text is None or text[-1:] not in ("h", "d") or not text[:-1].isdigit():
        return text
    unit = timedelta(hours=1) if text.endswith("h") else timedelta(days=1)
    return datetime.now(UTC) - int(text[:-1]) * unit


def _json(found: Report) -> str:
    document: dict[str, Any] = found.as_dict()
    return json.dumps(document, indent=2)
