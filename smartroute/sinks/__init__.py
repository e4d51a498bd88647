"""Write events to a log and read them back: files, databases, memory, OpenTelemetry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartroute.lazy_imports import lazy_names

if TYPE_CHECKING:
    from smartroute.sinks.fan_out import FanOut
    from smartroute.sinks.jsonl import JsonlSink
    from smartroute.sinks.jsonl_source import JsonlSource
    from smartroute.sinks.locations import default_log, default_log_path, simulated_beside
    from smartroute.sinks.memory import MemorySink
    from smartroute.sinks.opening import open_log, open_sink, source_of
    from smartroute.sinks.segments import compress_segments, remove_segments
    from smartroute.sinks.sql import SqlSink, SqlSource
    from smartroute.sinks.transfer import Copied, copy_events

# A router needs none of them before its first event, and the import of smartroute waits for none.
_LAZY = {
    "Copied": "transfer",
    "FanOut": "fan_out",
    "JsonlSink": "jsonl",
    "JsonlSource": "jsonl_source",
    "MemorySink": "memory",
    "SqlSink": "sql",
    "SqlSource": "sql",
    "compress_segments": "segments",
    "copy_events": "transfer",
    "default_log": "locations",
    "default_log_path": "locations",
    "open_log": "opening",
    "open_sink": "opening",
    "remove_segments": "segments",
    "simulated_beside": "locations",
    "source_of": "opening",
}

__all__ = [
    "Copied",
    "FanOut",
    "JsonlSink",
    "JsonlSource",
    "MemorySink",
    "SqlSink",
    "SqlSource",
    "compress_segments",
    "copy_events",
    "default_log",
    "default_log_path",
    "open_log",
    "open_sink",
    "remove_segments",
    "simulated_beside",
    "source_of",
]


if not TYPE_CHECKING:  # otherwise a type checker believes that every name exists
    __getattr__ = lazy_names(globals(), _LAZY)
