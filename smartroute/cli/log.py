"""Inspect, compress, prune and copy the event log."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from smartroute.cli.options import LogOption, log_path
from smartroute.cli.shell import one_clear_line
from smartroute.errors import ConfigError
from smartroute.number_checks import checked_whole
from smartroute.protocols import EventSource
from smartroute.sinks import (
    JsonlSource,
    compress_segments,
    copy_events,
    open_log,
    open_sink,
    remove_segments,
    source_of,
)
from smartroute.sinks.locations import is_database
from smartroute.sinks.segments import MOST_KEEP_DAYS

log = typer.Typer(
    help="Inspect, compress, prune or copy the event log.", no_args_is_help=True, add_completion=False
)


@dataclass(frozen=True, slots=True)
class _Status:
    """What a log holds. Times are ISO 8601 in UTC, None without events; a database has no segments."""

    path: str
    holds: str
    events: dict[str, int]
    first: str | None
    last: str | None
    segments: int | None = None
    compressed_segments: int | None = None
    bytes: int | None = None
    bad_lines: int = 0
    foreign_lines: int = 0


@log.command()
def status(
    path: LogOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Count what the log holds, by reading all of it."""
    with one_clear_line():
        counted = _status(log_path(path, None))
    if as_json:
        typer.echo(json.dumps(asdict(counted), indent=2))
        return
    counts = ", ".join(f"{n:,} {kind} events" for kind, n in counted.events.items()) or "no events"
    typer.echo(f"{counted.path} holds {counts} of {counted.holds} traffic")
    if counted.first is not None:
        typer.echo(f"from {counted.first} to {counted.last}")
    if counted.segments is not None:
        typer.echo(
            f"segments: {counted.segments}, of them compressed: {counted.compressed_segments}; "
            f"bytes in all: {counted.bytes:,}"
        )
    if counted.bad_lines or counted.foreign_lines:
        typer.echo(
            f"lines that cannot be read: {counted.bad_lines}; of the other traffic: {counted.foreign_lines}"
        )


@log.command()
def compress(path: LogOption = None) -> None:
    """Compress the closed segments. They are read as before; nothing is lost."""
    with one_clear_line():
        totals = compress_segments(_folder(path))
    typer.echo(
        f"segments compressed: {totals.segments}, {totals.bytes_before:,} bytes into "
        f"{totals.bytes_after:,}; still open: {totals.busy}"
    )


@log.command()
def remove(
    keep_days: Annotated[int, typer.Option("--keep-days", help="How many days back to keep.")],
    path: LogOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
) -> None:
    """Remove the closed segments of earlier days. Their events are deleted for good."""
    with one_clear_line():
        folder = _folder(path)
        checked_whole(keep_days, "--keep-days", least=1, most=MOST_KEEP_DAYS)  # before the user is asked
        if not yes:
            typer.confirm(
                f"Remove segments of more than {keep_days} days ago from {folder}?", abort=True, err=True
            )
        totals = remove_segments(folder, keep_days=keep_days)
    typer.echo(
        f"segments removed: {totals.segments}, {totals.bytes_before:,} bytes; still open: {totals.busy}"
    )


@log.command()
def copy(
    source: Annotated[str, typer.Argument(help="The log to read: a folder, a file or a database.")],
    target: Annotated[str, typer.Argument(help="The log to write: a folder, a file or a database.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Add to a log that has events; those it has are skipped.")
    ] = False,
) -> None:
    """Copy a log, each event once."""
    with one_clear_line():
        origin, existing = open_log(source), source_of(target)
        if isinstance(existing, JsonlSource) and existing.path.is_file():
            open_log(target)  # a file that is not a log is not written to
        if not merge and next(iter(existing.events()), None) is not None:
            raise ConfigError(f"{_named(existing)} holds events already; pass --merge to add to them")
        with open_sink(target) as sink:
            copied = copy_events(origin, sink, known=existing)
    typer.echo(f"events copied: {copied.written:,}, skipped: {copied.skipped:,}")
    if origin.bad_lines or origin.foreign_lines:
        typer.echo(
            f"lines not copied because they cannot be read: {origin.bad_lines}; "
            f"of the other traffic: {origin.foreign_lines}",
            err=True,
        )


def _folder(path: str | None) -> Path:
    """Return the path of a log of files. Raises ConfigError for a database, SinkError without a log."""
    address = log_path(path, None)
    if is_database(address):
        raise ConfigError("a database has no segments; pass the --path of a log of files")
    open_log(address)
    return Path(address)


def _named(source: EventSource) -> str:
    """Return the path or address of a log as its user would write it, without a password."""
    return str(getattr(source, "path", None) or getattr(source, "address", source))


def _status(address: str | Path) -> _Status:
    source = open_log(address)
    counts: Counter[str] = Counter()
    first = last = None
    simulated = None
    for event in source.events():
        counts[event.type] += 1
        simulated = event.simulated
        first = event.time if first is None else min(first, event.time)
        last = event.time if last is None else max(last, event.time)
    counted = _Status(
        path=_named(source),
        holds="unknown" if simulated is None else "simulated" if simulated else "real",
        events=dict(counts),
        first=first,
        last=last,
        bad_lines=source.bad_lines,
        foreign_lines=source.foreign_lines,
    )
    if not isinstance(source, JsonlSource):
        return counted
    folder = source.path
    files = [folder] if folder.is_file() else [*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")]
    return replace(
        counted,
        segments=len(files),
        compressed_segments=sum(file.suffix == ".gz" for file in files),
        bytes=sum(file.stat().st_size for file in files),
    )
