"""Take the commands about the event log from a shell: what is in it, pack it, let go of what is old."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer

from smartroute.shell import one_clear_line

log_app = typer.Typer(help="Look after the event log.", no_args_is_help=True)

_PathOption = Annotated[
    Path | None,
    typer.Option("--path", help="The log: a folder or a file; by default the one that is in use."),
]


@dataclass(frozen=True, slots=True)
class _Status:
    """What is in a log. Times are ISO 8601 in UTC; None for a log without events."""

    path: str
    holds: str
    events: dict[str, int]
    first: str | None
    last: str | None
    segments: int
    compressed_segments: int
    bytes: int
    bad_lines: int
    foreign_lines: int


@log_app.command()
def status(
    path: _PathOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print it as JSON.")] = False,
) -> None:
    """Say what is in the log, by reading all of it."""
    with one_clear_line():
        found = _status(_place(path))
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=2))
        return
    counts = ", ".join(f"{n:,} {kind} events" for kind, n in found.events.items()) or "no events"
    typer.echo(f"{found.path} holds {counts} of {found.holds} traffic")
    if found.first is not None:
        typer.echo(f"from {found.first} to {found.last}")
    typer.echo(
        f"{found.segments} segments, {found.compressed_segments} of them compressed, "
        f"{found.bytes:,} bytes in all"
    )
    if found.bad_lines or found.foreign_lines:
        typer.echo(
            f"{found.bad_lines} lines could not be read, {found.foreign_lines} are of the other traffic"
        )


@log_app.command()
def compress(path: _PathOption = None) -> None:
    """Pack the closed segments. They are read as before; nothing is lost."""
    from smartroute.sinks import compress_segments

    with one_clear_line():
        done = compress_segments(_place(path))
    typer.echo(
        f"{done.segments} segments packed, {done.bytes_before:,} bytes into {done.bytes_after:,}; "
        f"{done.busy} are still open"
    )


@log_app.command()
def remove(
    keep_days: Annotated[int, typer.Option("--keep-days", help="How many days back to keep.")],
    path: _PathOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False,
) -> None:
    """Remove the closed segments of earlier days. Their events are gone."""
    from smartroute.sinks import remove_segments

    with one_clear_line():
        place = _place(path)
        if not yes:
            typer.confirm(
                f"Remove what lies more than {keep_days} days back in {place}?", abort=True, err=True
            )
        done = remove_segments(place, keep_days=keep_days)
    typer.echo(f"{done.segments} segments removed, {done.bytes_before:,} bytes; {done.busy} are still open")


@log_app.command()
def copy(
    source: Annotated[Path, typer.Argument(help="The log to read.")],
    target: Annotated[Path, typer.Argument(help="Where to write it: a folder, or a file.")],
    merge: Annotated[
        bool, typer.Option("--merge", help="Add to a log that is there already; what it has is skipped.")
    ] = False,
) -> None:
    """Copy a log, each event once."""
    from smartroute.errors import ConfigError
    from smartroute.sinks import JsonlSink, JsonlSource, copy_events, open_log

    with one_clear_line():
        origin, there = open_log(source), JsonlSource(target)
        if not merge and next(iter(there.events()), None) is not None:
            raise ConfigError(f"{target} holds events already; pass --merge to add to them")
        with JsonlSink(target) as sink:
            done = copy_events(origin, sink, known=there)
    typer.echo(f"{done.written:,} events copied, {done.skipped:,} skipped")


def _place(path: Path | None) -> Path:
    from smartroute.sinks import default_log_path

    return default_log_path(simulated=False) if path is None else path


def _status(place: Path) -> _Status:
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
    files = [place] if place.is_file() else [*place.glob("*.jsonl"), *place.glob("*.jsonl.gz")]
    assert isinstance(source, JsonlSource)
    return _Status(
        path=str(place),
        holds="unknown" if simulated is None else "simulated" if simulated else "real",
        events=dict(counts),
        first=first,
        last=last,
        segments=len(files),
        compressed_segments=sum(file.suffix == ".gz" for file in files),
        bytes=sum(file.stat().st_size for file in files),
        bad_lines=source.bad_lines,
        foreign_lines=source.foreign_lines,
    )
