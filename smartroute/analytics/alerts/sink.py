"""Evaluate alert rules in the process that routes, without delaying any request."""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, NamedTuple

from smartroute.analytics.alerts.hours import Hours
from smartroute.analytics.alerts.watch import Alert, Watch
from smartroute.analytics.figures import Figures
from smartroute.clock import Clock
from smartroute.concurrency.background import Background, one_by_one
from smartroute.concurrency.forks import after_fork
from smartroute.errors import ConfigError, SinkError, shown
from smartroute.number_checks import checked_number

if TYPE_CHECKING:
    from smartroute.events.event import Event

_log = logging.getLogger("smartroute")
_BUCKET_S = 60


class _Item(NamedTuple):
    """An outcome, or none, with its time of arrival, and whether the rules are due after it."""

    at_s: float
    event: Event | None
    due: bool


class AlertSink:
    """A sink that evaluates a Watch on the last `window_s` seconds of events, once every `every_s` seconds.

    Give it to a router beside its log. A request queues its event and goes on. One thread adds up events and
    evaluates the rules, another delivers alerts, so neither a slow rule nor a slow or failing delivery delays
    a request. At most `pending` events wait; further ones are counted in `lost`.

    Memory is bounded: one Figures for each minute of the window, and a few numbers for each hour of `hours`.
    The hours are filled from the events, which takes weeks; `Hours.of` gives them from a log, where this
    process alone writes that log. The first event decides whether real or simulated traffic is counted;
    events of the other kind are counted in `lost`.

    `flush` evaluates once more and waits for the deliveries. A forked child starts with no events.
    Raises ConfigError for a `window_s` below 60, an `every_s` that is not above 0 and a `pending` below 1.
    """

    def __init__(
        self,
        watch: Watch,
        *,
        window_s: float = 3_600.0,
        every_s: float = 60.0,
        hours: Hours | None = None,
        pending: int = 10_000,
        clock: Clock | None = None,
    ) -> None:
        checked_number(window_s, "window_s", least=_BUCKET_S)
        checked_number(every_s, "every_s", above=0)
        for value, name, kind in ((watch, "watch", Watch), (hours, "hours", Hours)):
            if not isinstance(value, kind) and (value is not None or name == "watch"):
                raise ConfigError(f"{name} must be of the class {kind.__name__}, got {shown(value)}")
        self.watch = watch
        self._window_s = window_s
        self._every_s = every_s
        self._clock = clock or Clock()
        self._minutes: dict[int, Figures] = {}
        self._hours = Hours() if hours is None else hours  # an empty Hours counts as False
        self._due_s = 0.0
        self._simulated: bool | None = None
        self._other_traffic = 0
        self._loss_logged = False
        self._events = Background(
            one_by_one(self._handle), self._lose, name="smartroute-alerts", pending=pending
        )
        self._alerts = Background(
            one_by_one(watch.notify), self._lose_alert, name="smartroute-alert-delivery", pending=pending
        )
        after_fork(self, AlertSink._reset_in_child)

    def emit(self, event: Event) -> None:
        """Queue an outcome. Returns at once."""
        if event.type != "outcome":
            return
        now_s = self._clock.now()
        # A clock that was set back must not delay the rules until it has caught up.
        due = not self._due_s - self._every_s <= now_s < self._due_s
        if due:
            self._due_s = now_s + self._every_s
        self._events.put(_Item(now_s, event, due), wake=due)

    @property
    def lost(self) -> int:
        """Return how many events were not counted: the queue was full, or they were of the other traffic."""
        return self._events.lost + self._other_traffic

    @property
    def undelivered(self) -> int:
        """Return how many alerts were not delivered: a function raised, or the queue was full."""
        return self.watch.undelivered + self._alerts.lost

    def flush(self, timeout_s: float = 30.0) -> None:
        """Evaluate the rules now, and wait until alerts are delivered. Raises SinkError when some are not."""
        ends = time.monotonic() + timeout_s
        self._events.put(_Item(self._clock.now(), None, True))
        problems = []
        for queue in (self._events, self._alerts):
            try:
                queue.flush(max(0.0, ends - time.monotonic()))
            except SinkError as error:
                problems.append(str(error))
        for deliver in self.watch.deliver:
            flush = getattr(deliver, "flush", None)
            if flush is None:
                continue
            try:
                flush()
            except SinkError as error:
                problems.append(str(error))
        if problems:
            raise SinkError("; ".join(problems))

    def close(self) -> None:
        """Flush as `flush` does, and end the threads. The next event starts them again."""
        try:
            self.flush()
        finally:
            for queue in (self._events, self._alerts):
                with contextlib.suppress(SinkError):  # flush has raised it already
                    queue.close(0.0)

    def _handle(self, item: _Item) -> None:
        if item.event is not None:
            self._count(item.event, item.at_s)
        if item.due:
            self._check(item.at_s)

    def _count(self, event: Event, at_s: float) -> None:
        if self._simulated is None:
            self._simulated = event.simulated
        if event.simulated is not self._simulated:
            self._other_traffic += 1
            self._lose(_Item(at_s, event, False), "real and simulated traffic are not watched together")
            return
        self._minutes.setdefault(int(at_s // _BUCKET_S), Figures()).add(event)
        self._hours.add(event, at_s)

    def _check(self, now_s: float) -> None:
        oldest, newest = (int(at_s // _BUCKET_S) for at_s in (now_s - self._window_s, now_s))
        # A clock that ran ahead and was set back leaves minutes in the future: they are dropped too.
        for minute in [minute for minute in self._minutes if not oldest <= minute <= newest]:
            del self._minutes[minute]
        window = Figures()
        for figures in self._minutes.values():
            window.merge(figures)
        self._hours.advance(now_s)
        for status in self.watch.look(window, self._hours, simulated=bool(self._simulated)):
            if status.alert is not None:
                self._alerts.put(status.alert)

    def _reset_in_child(self) -> None:
        """Drop, in a forked child, the parent's events and active alerts, which the parent keeps."""
        self._minutes = {}
        self.watch.restore({})

    def _lose(self, item: _Item, why: str) -> None:
        if not self._loss_logged:
            self._loss_logged = True
            _log.warning("alerts do not count an event (%s); further ones are counted in lost", why)

    def _lose_alert(self, alert: Alert, why: str) -> None:
        _log.warning("an alert was not delivered (%s): %s", why, alert.rule)
