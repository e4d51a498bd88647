"""Keep events, and give them back. Each module here is one place to keep them."""

from smartroute.sinks.fan_out import FanOut
from smartroute.sinks.jsonl import JsonlSink
from smartroute.sinks.jsonl_source import JsonlSource
from smartroute.sinks.locations import default_log, default_log_path, simulated_beside
from smartroute.sinks.memory import MemorySink
from smartroute.sinks.opening import open_log, open_sink, source_of
from smartroute.sinks.segments import compress_segments, remove_segments
from smartroute.sinks.sql import SqlSink, SqlSource
from smartroute.sinks.transfer import Copied, copy_events

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
