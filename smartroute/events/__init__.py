"""The format of the event log: one flat, versioned line per outcome or piece of feedback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartroute.lazy_imports import lazy_names

if TYPE_CHECKING:
    from smartroute.events.event import SCHEMA, AttemptRecord, Event, attempt_names_for, names_for

_LAZY = dict.fromkeys(("SCHEMA", "AttemptRecord", "Event", "attempt_names_for", "names_for"), "event")
"""A router needs none of these before its first event."""

__all__ = ["SCHEMA", "AttemptRecord", "Event", "attempt_names_for", "names_for"]

if not TYPE_CHECKING:  # otherwise a type checker believes that every name exists
    __getattr__ = lazy_names(globals(), _LAZY)
