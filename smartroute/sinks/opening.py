"""Open a log by its path or by the address of its database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from smartroute.errors import ConfigError, SinkError
from smartroute.sinks.jsonl import JsonlSink
from smartroute.sinks.jsonl_source import JsonlSource, no_log_because
from smartroute.sinks.locations import is_database, simulated_beside
from smartroute.sinks.sql import SqlSink, SqlSource

if TYPE_CHECKING:
    from smartroute.clock import Clock


def open_log(location: str | Path) -> JsonlSource | SqlSource:
    """Return the source of an existing log: a folder, a file or a database.

    Raises SinkError for what is not a log, and ConfigError for a path that no file can have and for an
    address that names no database.
    """
    if is_database(location):
        database = SqlSource(str(location))
        database.check()
        return database
    source = JsonlSource(location)
    try:
        reason = no_log_because(source.path)
    except FileNotFoundError:
        beside = simulated_beside(source.path)
        simulated = f"; simulated events are in {beside}" if beside.exists() else ""
        raise SinkError(
            f"there is no log at {source.path}; check the path, or route a request first{simulated}"
        ) from None
    except (OSError, ConfigError) as error:
        raise SinkError(f"the log at {source.path} cannot be read: {error}") from error
    if reason is not None:
        raise SinkError(f"{source.path} is not a log: {reason}; check the path")
    return source


def open_sink(
    location: str | Path, *, simulated: bool | None = None, clock: Clock | None = None
) -> JsonlSink | SqlSink:
    """Return the sink that writes to a folder, a file or a database. Raises ConfigError if invalid."""
    if is_database(location):
        return SqlSink(str(location), simulated=simulated)
    return JsonlSink(location, simulated=simulated, clock=clock)


def source_of(location: str | Path) -> JsonlSource | SqlSource:
    """Return the source of a log that may not exist yet, and then has no events."""
    return SqlSource(str(location)) if is_database(location) else JsonlSource(location)
