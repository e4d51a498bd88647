"""Evaluate alert rules on a log from a scheduled job, with the active alerts kept in a file."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from smartroute.analytics.alerts.hours import HOUR_S, Hours
from smartroute.analytics.alerts.rules import Level
from smartroute.analytics.alerts.watch import Status, Watch
from smartroute.analytics.figures import Figures
from smartroute.analytics.filter import Filter
from smartroute.analytics.query import Analytics
from smartroute.clock import Clock
from smartroute.errors import SinkError
from smartroute.number_checks import checked_whole

_log = logging.getLogger("smartroute")
_VERSION = 1
_MOST_BYTES = 1_000_000


def check_log(
    watch: Watch,
    analytics: Analytics,
    *,
    hours: int = 1,
    where: Filter | None = None,
    state: str | Path | None = None,
    clock: Clock | None = None,
) -> tuple[Status, ...]:
    """Return the status of every rule by the log, and deliver the alerts that start, change or end.

    The window is the current hour and `hours` whole hours before it, UTC, so that a rollup can answer.
    `where` selects the requests; its own `since` and `until` are not used.

    With `state`, the active alerts are read from that file and written back, so an alert that is still active
    is not delivered again. An alert that a delivery function did not take keeps its earlier state and is
    delivered at the next run, so each is delivered at least once. Two runs at the same time may both deliver
    it.
    Raises SinkError when the file cannot be read or written, and ConfigError for invalid `hours`.
    """
    checked_whole(hours, "hours", least=0)
    now_s = (clock or Clock()).now()
    since = datetime.fromtimestamp(max(0, int(now_s // HOUR_S) - hours) * HOUR_S, UTC)
    selection = replace(where or Filter(), since=None, until=None)
    groups = analytics.grouped("simulated", replace(selection, since=since))
    window = Figures()
    for figures in groups.values():
        window.merge(figures)
    past = Hours.of(analytics, now_s, where=selection)
    file = None if state is None else Path(state)
    if file is not None:
        watch.restore(_read_levels(file))
    before = watch.levels
    statuses = watch.look(window, past, simulated=_is_simulated(analytics, groups))
    levels = watch.levels
    for status in statuses:
        # Not delivered: keep the level of before, so that the next run sees the change again.
        if status.alert is not None and not watch.notify(status.alert):
            levels.pop(status.rule, None)
            if status.rule in before:
                levels[status.rule] = before[status.rule]
    watch.restore(levels)
    if file is not None:
        _write_levels(file, levels)
    return statuses


def _is_simulated(analytics: Analytics, groups: Mapping[tuple[str | None, ...], Figures]) -> bool:
    """Return whether traffic is simulated, by the window, or by the log's first event for an empty window."""
    if groups:
        return ("True",) in groups
    first = next(iter(analytics.source.events()), None)
    return first is not None and first.simulated


def _read_levels(file: Path) -> dict[str, Level]:
    """Return the level of each active alert; none, with a warning, from a damaged file."""
    try:
        with file.open("rb") as stream:
            document = json.loads(stream.read(_MOST_BYTES))
        levels = document["levels"]
        if document["version"] != _VERSION or not isinstance(levels, dict):
            raise ValueError
        if not all(level in ("warning", "critical") for level in levels.values()):
            raise ValueError
    except FileNotFoundError:  # the first run
        return {}
    except OSError as error:
        raise SinkError(f"the active alerts cannot be read from {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        _log.warning("%s is damaged: every active alert is delivered again", file)
        return {}
    return cast("dict[str, Level]", levels)


def _write_levels(file: Path, levels: Mapping[str, Level]) -> None:
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}.tmp")
    document = {"version": _VERSION, "levels": dict(sorted(levels.items()))}
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.touch(mode=0o600)  # as private as the log is
        draft.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        os.replace(draft, file)  # noqa: PTH105  atomic, also over an existing file
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise SinkError(f"the active alerts cannot be written to {file}: {error.strerror}") from error
