"""Evaluate alert rules: raise an alert once, report each change of level, and clear it once."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from smartroute.analytics.alerts.hours import Hours
from smartroute.analytics.alerts.rules import DEFAULT_RULES, Level, OfHours, Rule, Side
from smartroute.analytics.figures import Figures
from smartroute.analytics.readings import LEVEL, Reading, Unit, in_words, moment
from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import ConfigError, InsufficientDataError, shown

_log = logging.getLogger("smartroute")


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that was raised or cleared, or changed its level, with its evidence.

    The evidence is the `value` over `n` of `of` in a period, its 95% interval (`low` and `high`, None when
    unknown) and a `note` in words. `when` is the bad side of `threshold`. `was` is the level before, None for
    a new alert. `simulated` is whether the events were.
    """

    rule: str
    level: Level
    raised: bool
    value: float
    threshold: float
    n: int
    since: str | None
    until: str | None
    suggestion: str
    low: float | None = None
    high: float | None = None
    unit: Unit = ""
    of: str = "requests"
    note: str = ""
    was: Level | None = None
    simulated: bool = False
    when: Side = "above"

    @property
    def id(self) -> str:
        """Return a key that is the same for the same change with the same evidence, and for no other."""
        evidence = (self.rule, self.level, self.raised, self.was, self.value, self.n, self.since, self.until)
        return hashlib.sha256(repr(evidence).encode()).hexdigest()[:32]

    def explain(self) -> str:
        """Return the alert in words."""
        reading = Reading(self.value, self.n, self.low, self.high, self.unit)
        title = _title(self.rule, self.simulated)
        evidence = (
            f"{reading.words()} over {self.n} {self.of} from {moment(self.since)} to {moment(self.until)}"
            + (f" ({self.note})" if self.note else "")
        )
        if not self.raised:
            return f"cleared: {title}: {evidence}"
        breach = f"{self.when} {in_words(self.threshold, self.unit)}"
        if self.was == "critical" and self.level == "warning":
            breach = f"no longer critical, no longer {breach}"
        return f"{self.level}: {title}: {breach}: {evidence}. {self.suggestion}"

    def as_dict(self) -> dict[str, Any]:
        """Return the alert for JSON, with its id and its words; an infinite limit is None."""
        document: dict[str, Any] = {"id": self.id, "text": self.explain(), "interval_level": LEVEL}
        for field in fields(self):
            value = getattr(self, field.name)
            document[field.name] = None if isinstance(value, float) and not math.isfinite(value) else value
        document["told"] = self.note  # the note under its earlier key, which receivers may read
        return document


@dataclass(frozen=True, slots=True)
class Status:
    """A rule after a look: its level, its reading, why it could not be judged, and its alert, if any.

    `level` is None while no alert is active. `reading` is None when there was nothing to measure. `alert` is
    None when nothing changed. `simulated` is whether the events were.
    """

    rule: str
    level: Level | None
    reading: Reading | None
    why: str
    alert: Alert | None
    simulated: bool = False

    def explain(self) -> str:
        """Return the status in words."""
        state = self.level or ("not yet" if self.why else "ok")
        title = _title(self.rule, self.simulated)
        if self.reading is None:
            return f"{state}: {title}: {self.why}"
        notes = "; ".join(filter(None, (self.why, self.reading.note)))
        evidence = f"{self.reading.words()} over {self.reading.n} {self.reading.of}"
        return f"{state}: {title}: {evidence}" + (f" ({notes})" if notes else "")


def _title(rule: str, simulated: bool) -> str:
    return f"{rule}, simulated" if simulated else rule


class Watch:
    """Evaluates rules on figures, and keeps which alerts are active. Thread-safe.

    `deliver` are functions that take an Alert. One that raises is logged and counted in `undelivered`, and
    the others are still called. Without any, alerts go to the process's log.
    Raises ConfigError for rules that are not of the class Rule, two rules of the same name, and a delivery
    that is not a function.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = DEFAULT_RULES,
        deliver: Iterable[Callable[[Alert], object]] = (),
    ) -> None:
        self.rules = tuple(rules) if isinstance(rules, Iterable) else ()
        if not isinstance(rules, Iterable) or not all(isinstance(rule, Rule) for rule in self.rules):
            raise ConfigError(f"rules must be several of the class Rule, got {shown(rules)}")
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ConfigError(f"two rules have the same name: {', '.join(sorted(names))}")
        if not isinstance(deliver, Iterable):
            raise ConfigError(f"alerts are delivered to functions, as in deliver=[...], got {shown(deliver)}")
        self.deliver = tuple(deliver) or (log_alert,)
        for function in self.deliver:
            # A class can be called too, but would only make an object of the alert.
            if not callable(function) or isinstance(function, type):
                raise ConfigError(f"alerts are delivered to functions of an alert, got {shown(function)}")
        self._levels: dict[str, Level] = {}
        self._lock = fork_safe_lock()
        self._faulty: set[str] = set()
        self.undelivered = 0

    @property
    def active(self) -> frozenset[str]:
        """Return the names of the rules whose alerts are active."""
        return frozenset(self.levels)

    @property
    def levels(self) -> dict[str, Level]:
        """Return the levels of the active alerts, by rule."""
        with self._lock:
            return dict(self._levels)

    def restore(self, levels: Mapping[str, Level]) -> None:
        """Take these alerts, and no others, for active. Names of rules that do not exist are ignored."""
        names = {rule.name for rule in self.rules}
        with self._lock:
            self._levels = {name: level for name, level in levels.items() if name in names}

    def check(
        self, figures: Figures, hours: Hours | None = None, *, simulated: bool = False
    ) -> tuple[Alert, ...]:
        """Return, and deliver, the alerts that start, change their level or end with these figures.

        A rule with too little data keeps its state, as do rules of hours without `hours`.
        """
        statuses = self.look(figures, hours, simulated=simulated)
        alerts = tuple(status.alert for status in statuses if status.alert is not None)
        for alert in alerts:
            self.notify(alert)
        return alerts

    def look(
        self, figures: Figures, hours: Hours | None = None, *, simulated: bool = False
    ) -> tuple[Status, ...]:
        """Return the status of every rule, and keep the new levels. Delivers nothing."""
        readings = [(rule, *self._measure(rule, figures, hours)) for rule in self.rules]
        with self._lock:
            return tuple(
                self._status(rule, reading, why, figures, simulated) for rule, reading, why in readings
            )

    def _measure(self, rule: Rule, figures: Figures, hours: Hours | None) -> tuple[Reading | None, str]:
        """Return a rule's reading; None, and why, when there is none."""
        try:
            if not isinstance(rule.measure, OfHours):
                reading = rule.measure(figures)
            elif hours is None:
                return None, "it needs the hours before"
            else:
                reading = rule.measure.read(hours)
        except InsufficientDataError as error:
            return None, str(error)
        except Exception as error:  # noqa: BLE001  a user's own measure must not silence the other rules
            if rule.name not in self._faulty:
                self._faulty.add(rule.name)
                _log.warning("rule %s cannot be measured (%s)", rule.name, type(error).__name__)
            return None, f"its measure raised {type(error).__name__}"
        if reading is None or math.isnan(reading.value):
            return None, "nothing to measure"
        return reading, ""

    def _status(
        self, rule: Rule, reading: Reading | None, why: str, figures: Figures, simulated: bool
    ) -> Status:
        before = self._levels.get(rule.name)
        if reading is None:
            return Status(rule.name, before, None, why, None, simulated)
        if reading.n < rule.least_n:
            return Status(rule.name, before, reading, f"it needs {rule.least_n}", None, simulated)
        level = rule.judge(reading, before)
        if level == before:
            return Status(rule.name, level, reading, "", None, simulated)
        if level is None:
            del self._levels[rule.name]
        else:
            self._levels[rule.name] = level
        alert = _alert(rule, reading, level, before, figures, simulated)
        return Status(rule.name, level, reading, "", alert, simulated)

    def notify(self, alert: Alert) -> bool:
        """Deliver an alert to every function. Return whether none of them raised."""
        delivered = True
        for deliver in self.deliver:
            try:
                deliver(alert)
            except Exception as error:  # noqa: BLE001  observing never breaks a request
                delivered = False
                with self._lock:
                    self.undelivered += 1
                _log.warning("an alert could not be delivered (%s): %s", type(error).__name__, alert.rule)
        return delivered


def _alert(
    rule: Rule, reading: Reading, level: Level | None, before: Level | None, figures: Figures, simulated: bool
) -> Alert:
    return Alert(
        rule=rule.name,
        level=level or before or rule.level,
        raised=level is not None,
        value=reading.value,
        threshold=rule.threshold(level),
        n=reading.n,
        since=reading.since or figures.first,
        until=reading.until or figures.last,
        suggestion=rule.suggestion,
        low=reading.low,
        high=reading.high,
        unit=reading.unit,
        of=reading.of,
        note=reading.note,
        was=before,
        simulated=simulated,
        when=rule.when,
    )


def log_alert(alert: Alert) -> None:
    """Deliver an alert to the process's log: an error when critical, a warning, or INFO when cleared."""
    level = (
        logging.INFO if not alert.raised else logging.ERROR if alert.level == "critical" else logging.WARNING
    )
    _log.log(level, "%s", alert.explain())
