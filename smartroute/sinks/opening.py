"""Open the log that a path or a database's address names."""

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


def open_log(place: str | Path) -> JsonlSource | SqlSource:
    """Return the source of an existing log: a folder, a file or a database.

    Raises SinkError for what is no log, and ConfigError for a path that no file can have and an address that
    names no database.
    """
    if is_database(place):
        database = SqlSource(str(place))
        database.check()
        return database
    source = JsonlSource(place)
    try:
        reason = no_log_because(source.path)
    except FileNotFoundError:
        beside = simulated_beside(source.path)
        simulated = f"; simulated events lie in {beside}" if beside.exists() else ""
        raise SinkError(
            f"there is no log at {source.path}; check the path, or route a request first{simulated}"
        ) from None
    except (OSError, ConfigError) as error:
        raise SinkError(f"the log at {source.path} cannot be read: {error}") from error
    if reason is not None:
        raise SinkError(f"{source.path} is no log: {reason}; check the path")
    return source


def open_sink(
    place: str | Path, *, simulated: bool | None = None, clock: Clock | None = None
) -> JsonlSink | SqlSink:
    """Return the sink that writes to a folder, a file or a database. Raises ConfigError for what is none."""
    if is_database(place):
        return SqlSink(str(place), simulated=simulated)
    return JsonlSink(place, simulated=simulated, clock=clock)


def source_of(place: str | Path) -> JsonlSource | SqlSource:
    """Return the source of a log that may not exist yet, and then has no events."""
    return SqlSource(str(place)) if is_database(place) else JsonlSource(place)
