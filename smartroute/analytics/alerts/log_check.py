"""Hold rules against a log, for a job that comes and goes: what stood at its last run lies in a file."""

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
from smartroute.errors import ConfigError, SinkError

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
    """Return how every rule stands by the log, and deliver the alerts that began, changed or ended.

    The window is the present hour and so many whole ones before it, UTC, so that a rollup answers;
    `where` chooses among the requests, and its own `since` and `until` are not used.

    With `state`, the alerts that stand are read from that file and written back: what stands is not told
    again. An alert that somebody could not be told is left as it was, and told at the next run, so each is
    delivered at least once. Raises SinkError when the file cannot be written. Two runs at a time may both
    tell.
    """
    if isinstance(hours, bool) or not isinstance(hours, int) or hours < 0:
        raise ConfigError(f"hours must be a whole number of at least 0, got {hours!r:.40}")
    now_s = (clock or Clock()).now()
    since = datetime.fromtimestamp(max(0, int(now_s // HOUR_S) - hours) * HOUR_S, UTC)
    chosen = replace(where or Filter(), since=None, until=None)
    groups = analytics.grouped("simulated", replace(chosen, since=since))
    window = Figures()
    for figures in groups.values():
        window.merge(figures)
    past = Hours.of(analytics, now_s, where=chosen)
    file = None if state is None else Path(state)
    if file is not None:
        watch.restore(_read(file))
    before = watch.levels
    statuses = watch.look(window, past, simulated=_is_simulated(analytics, groups))
    levels = watch.levels
    for status in statuses:
        if status.alert is not None and not watch.tell(status.alert):
            levels.pop(status.rule, None)
            if status.rule in before:
                levels[status.rule] = before[status.rule]
    watch.restore(levels)
    if file is not None:
        _write(file, levels)
    return statuses


def _is_simulated(analytics: Analytics, groups: Mapping[tuple[str | None, ...], Figures]) -> bool:
    """Return whether traffic is simulated: what is in the window, or else what comes first in the log."""
    if groups:
        return ("True",) in groups
    first = next(iter(analytics.source.events()), None)
    return first is not None and first.simulated


def _read(file: Path) -> dict[str, Level]:
    """Return the alerts that stood; none, with a warning, from a file that is damaged."""
    try:
        with file.open("rb") as stream:
            document = json.loads(stream.read(_MOST_BYTES))
        levels = document["levels"]
        if document["version"] != _VERSION or not isinstance(levels, dict):
            raise ValueError
        if not all(level in ("warning", "critical") for level in levels.values()):
            raise ValueError
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise SinkError(f"the alerts that stand cannot be read from {file}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError):
        _log.warning("%s is damaged: what stands is told again", file)
        return {}
    return cast("dict[str, Level]", levels)


def _write(file: Path, levels: Mapping[str, Level]) -> None:
    draft = file.with_name(f".{file.name}.{secrets.token_hex(8)}.tmp")
    document = {"version": _VERSION, "levels": dict(sorted(levels.items()))}
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.touch(mode=0o600)  # as private as the log is
        draft.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        os.replace(draft, file)  # noqa: PTH105  atomic, over whatever is there
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise SinkError(f"the alerts that stand cannot be written to {file}: {error.strerror}") from error
