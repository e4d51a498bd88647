"""Keep events, and give them back. Each module here is one place to keep them."""

from smartroute.sinks.jsonl import JsonlSink, JsonlSource, open_log
from smartroute.sinks.locations import default_log_path, simulated_beside
from smartroute.sinks.memory import MemorySink

__all__ = ["JsonlSink", "JsonlSource", "MemorySink", "default_log_path", "open_log", "simulated_beside"]
