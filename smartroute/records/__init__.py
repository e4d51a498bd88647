"""What flows through a request: one frozen record per stage, from the task to its outcome."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartroute.lazy_imports import lazy_names
from smartroute.records.calls import Call, Calls, Failure, Probe, Purpose, Reply, Timed, Usage, Wait
from smartroute.records.classification import Classification, Signal, TaskComplexity
from smartroute.records.decision import Candidate, Decision, Menu, RuledOut, Rung, Tier
from smartroute.records.outcome import UNKNOWN_CONFIDENCE, Attempt, Confidence, Outcome, StoppedBy
from smartroute.records.task import Limits, Message, Task

if TYPE_CHECKING:
    from smartroute.records.shapes import SHAPE_VERSION, json_schema

_LAZY = {"SHAPE_VERSION": "shapes", "json_schema": "shapes"}

__all__ = [
    "SHAPE_VERSION",
    "UNKNOWN_CONFIDENCE",
    "Attempt",
    "Call",
    "Calls",
    "Candidate",
    "Classification",
    "Confidence",
    "Decision",
    "Failure",
    "Limits",
    "Menu",
    "Message",
    "Outcome",
    "Probe",
    "Purpose",
    "Reply",
    "RuledOut",
    "Rung",
    "Signal",
    "StoppedBy",
    "Task",
    "TaskComplexity",
    "Tier",
    "Timed",
    "Usage",
    "Wait",
    "json_schema",
]

if not TYPE_CHECKING:  # otherwise a type checker believes that every name exists
    __getattr__ = lazy_names(globals(), _LAZY)
