"""Take the commands about the event log from a shell: what is in it, pack it, let go of what is old."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smartroute.cli.options import LogOption, log_place
from smartroute.cli.shell import one_clear_line

if TYPE_CHECKING:
    from smartroute.protocols import EventSource

log_app = typer.Typer(help="Look after the event log.", no_args_is_help=True)


@dataclass(frozen=True, slots=True)
class _Status:
    """What is in a log. Times are ISO 8601 in UTC, None without events; a database has no segments."""

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


@log_app.command()
def status(
    path: LogOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what is in the log, by reading all of it."""
    with one_clear_line():
        found = _status(log_place(path, None))
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    counts = ", ".join(f"{n:,} {kind} events" for kind, n in found.events.items()) or "no events"
    typer.echo(f"{found.path} holds {counts} of {found.holds} traffic")
    if found.first is not None:
        typer.echo(f"from {found.first} to {found.last}")
    if found.segments is not None:
        typer.echo(
            f"segments: {found.segments}, of them compressed: {found.compressed_segments}; "
            f"bytes in all: {found.bytes:,}"
        )
    if found.bad_lines or found.foreign_lines:
        typer.echo(
            f"lines that cannot be read: {found.bad_lines}; of the other traffic: {found.foreign_lines}"
        )


@log_app.command()
def compress(path: LogOption = None) -> None:
    """Pack the closed segments. They are read as before; nothing is lost."""
    from smartroute.sinks import compress_segments

    with one_clear_line():
        done = compress_segments(_folder(path))
    typer.echo(
        f"segments packed: {done.segments}, {done.bytes_before:,} bytes into {done.bytes_after:,}; "
        f"still open: {done.busy}"
    )


@log_app.command()
def remove(
    keep_days: Annotated[int, typer.Option("--keep-days", help="How many days back to keep.")],
    path: LogOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
) -> None:
    """Remove the closed segments of earlier days. Their events are gone."""
    from smartroute.sinks import remove_segments

    with one_clear_line():
        place = _folder(path)
        if not yes:
            typer.confirm(
                f"Remove what lies more than {keep_days} days back in {place}?", abort=True, err=True
            )
        done = remove_segments(place, keep_days=keep_days)
    typer.echo(f"segments removed: {done.segments}, {done.bytes_before:,} bytes; still open: {done.busy}")


@log_app.command()
def copy(
    source: Annotated[str, typer.Argument(help="The log to read: a folder, a file, or a database.")],
    target: Annotated[str, typer.Argument(help="Where to write it: a folder, a file, or a database.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Add to a log that is there already; what it has is skipped.")
    ] = False,
) -> None:
    """Copy a log, each event once."""
    from smartroute.errors import ConfigError
    from smartroute.sinks import JsonlSource, copy_events, open_log, open_sink, source_of

    with one_clear_line():
        origin, there = open_log(source), source_of(target)
        if isinstance(there, JsonlSource) and there.path.is_file():
            open_log(target)  # a file that is no log is not written to
        if not merge and next(iter(there.events()), None) is not None:
            raise ConfigError(f"{_named(there)} holds events already; pass --merge to add to them")
        with open_sink(target) as sink:
            done = copy_events(origin, sink, known=there)
    typer.echo(f"events copied: {done.written:,}, skipped: {done.skipped:,}")
    if origin.bad_lines or origin.foreign_lines:
        typer.echo(
            f"lines not copied, for they cannot be read: {origin.bad_lines}; "
            f"of the other traffic: {origin.foreign_lines}",
            err=True,
        )


def _folder(path: str | None) -> Path:
    """Return the place of a log of files. Raises ConfigError for a database, SinkError without a log."""
    from smartroute.errors import ConfigError
    from smartroute.sinks import open_log
    from smartroute.sinks.locations import is_database

    place = log_place(path, None)
    if is_database(place):
        raise ConfigError("a database has no segments; this is for a log of files")
    open_log(place)
    return Path(place)


def _named(source: EventSource) -> str:
    """Return where a log is as its user would write it, without a password."""
    return str(getattr(source, "path", None) or getattr(source, "address", source))


def _status(place: str | Path) -> _Status:
    from smartroute.sinks import JsonlSource, open_log

    source = open_log(place)
    counts: Counter[str] = Counter()
    first = last = None
    simulated = None
    for event in source.events():
        counts[event.type] += 1
        simulated = event.simulated
        first = event.time if first is None else min(first, event.time)
        last = event.time if last is None else max(last, event.time)
    found = _Status(
        path=_named(source),
        holds="unknown" if simulated is None else "simulated" if simulated else "real",
        events=dict(counts),
        first=first,
        last=last,
    )
    found = replace(found, bad_lines=source.bad_lines, foreign_lines=source.foreign_lines)
    if not isinstance(source, JsonlSource):
        return found
    folder = source.path
    files = [folder] if folder.is_file() else [*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")]
    return replace(
        found,
        segments=len(files),
        compressed_segments=sum(file.suffix == ".gz" for file in files),
        bytes=sum(file.stat().st_size for file in files),
    )
