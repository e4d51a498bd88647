"""The format of the event log: one flat, versioned line per outcome or piece of feedback."""

from smartroute.events.event import SCHEMA, AttemptRecord, Event, attempt_names_for, names_for

__all__ = ["SCHEMA", "AttemptRecord", "Event", "attempt_names_for", "names_for"]
