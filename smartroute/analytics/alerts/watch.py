"""Notice what needs somebody's attention, say it once, and say when it is over."""

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
from smartroute.errors import ConfigError, InsufficientDataError

_log = logging.getLogger("smartroute")


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule that began or ceased to hold, or changed its level, with its evidence.

    That is the value over `n` of what `of` says, in a period, its 95% interval (`low` and `high`, None where
    none is known) and more in words (`told`). `when` is the bad side of `threshold`. `was` is the level
    before, None for an alert that is new. `simulated` is whether the events were.
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
    told: str = ""
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
        what = _titled(self.rule, self.simulated)
        seen = (
            f"{reading.words()} over {self.n} {self.of} from {moment(self.since)} to {moment(self.until)}"
            + (f" ({self.told})" if self.told else "")
        )
        if not self.raised:
            return f"over: {what}: {seen}"
        past = f"{self.when} {in_words(self.threshold, self.unit)}"
        if self.was == "critical" and self.level == "warning":
            past = f"no longer critical, no more {past}"
        return f"{self.level}: {what}: {past}: {seen}. {self.suggestion}"

    def as_dict(self) -> dict[str, Any]:
        """Return the alert for JSON, with its id and its words; an infinite limit is None."""
        found: dict[str, Any] = {"id": self.id, "text": self.explain(), "interval_level": LEVEL}
        for each in fields(self):
            value = getattr(self, each.name)
            found[each.name] = None if isinstance(value, float) and not math.isfinite(value) else value
        return found


@dataclass(frozen=True, slots=True)
class Status:
    """How a rule stands after a look: its level, what was read, and why nothing was; the alert, if any.

    `simulated` is whether the events were.
    """

    rule: str
    level: Level | None
    reading: Reading | None
    why: str
    alert: Alert | None
    simulated: bool = False

    def explain(self) -> str:
        """Return the status in words."""
        word = self.level or ("not yet" if self.why else "calm")
        what = _titled(self.rule, self.simulated)
        if self.reading is None:
            return f"{word}: {what}: {self.why}"
        more = "; ".join(filter(None, (self.why, self.reading.told)))
        seen = f"{self.reading.words()} over {self.reading.n} {self.reading.of}"
        return f"{word}: {what}: {seen}" + (f" ({more})" if more else "")


def _titled(rule: str, simulated: bool) -> str:
    return f"{rule}, simulated" if simulated else rule


class Watch:
    """Holds rules against figures, and remembers which alerts stand. Thread-safe.

    `deliver` are functions that take an Alert; one that raises is logged and counted in `undelivered`, and
    disturbs nobody. Without any, alerts go to the log of the process.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = DEFAULT_RULES,
        deliver: Iterable[Callable[[Alert], object]] = (),
    ) -> None:
        self.rules = tuple(rules) if isinstance(rules, Iterable) else ()
        if not isinstance(rules, Iterable) or not all(isinstance(rule, Rule) for rule in self.rules):
            raise ConfigError(f"rules must be several of the class Rule, got {rules!r:.80}")
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ConfigError(f"two rules have the same name: {', '.join(sorted(names))}")
        if not isinstance(deliver, Iterable):
            raise ConfigError(f"alerts are delivered to functions, as in deliver=[...], got {deliver!r:.80}")
        self.deliver = tuple(deliver) or (log_alert,)
        for each in self.deliver:
            if not callable(each) or isinstance(each, type):
                raise ConfigError(f"alerts are delivered to functions of an alert, got {each!r:.80}")
        self._levels: dict[str, Level] = {}
        self._lock = fork_safe_lock()
        self._faulty: set[str] = set()
        self.undelivered = 0

    @property
    def standing(self) -> frozenset[str]:
        """Return the names of the rules whose alerts stand."""
        return frozenset(self.levels)

    @property
    def levels(self) -> dict[str, Level]:
        """Return the levels of the alerts that stand, by rule."""
        with self._lock:
            return dict(self._levels)

    def restore(self, levels: Mapping[str, Level]) -> None:
        """Take these alerts, and no others, for standing: those of rules that there are."""
        names = {rule.name for rule in self.rules}
        with self._lock:
            self._levels = {name: level for name, level in levels.items() if name in names}

    def check(
        self, figures: Figures, hours: Hours | None = None, *, simulated: bool = False
    ) -> tuple[Alert, ...]:
        """Return, and deliver, the alerts that begin, change their level or end with these figures.

        A rule with too little to go by is left as it stands, as are those of hours without `hours`.
        """
        statuses = self.look(figures, hours, simulated=simulated)
        alerts = tuple(status.alert for status in statuses if status.alert is not None)
        for alert in alerts:
            self.tell(alert)
        return alerts

    def look(
        self, figures: Figures, hours: Hours | None = None, *, simulated: bool = False
    ) -> tuple[Status, ...]:
        """Return how every rule stands now, and remember it. Delivers nothing."""
        readings = [(rule, *self._read(rule, figures, hours)) for rule in self.rules]
        with self._lock:
            return tuple(
                self._settle(rule, reading, why, figures, simulated) for rule, reading, why in readings
            )

    def _read(self, rule: Rule, figures: Figures, hours: Hours | None) -> tuple[Reading | None, str]:
        """Return what a rule reads; None, and why, where there is nothing to read."""
        try:
            if not isinstance(rule.measure, OfHours):
                reading = rule.measure(figures)
            elif hours is None:
                return None, "it needs the hours before"
            else:
                reading = rule.measure.read(hours)
        except InsufficientDataError as error:
            return None, str(error)
        except Exception as error:  # noqa: BLE001  a measure of somebody's own must not silence the others
            if rule.name not in self._faulty:
                self._faulty.add(rule.name)
                _log.warning("rule %s cannot be measured (%s)", rule.name, type(error).__name__)
            return None, f"its measure raised {type(error).__name__}"
        if reading is None or math.isnan(reading.value):
            return None, "nothing to measure"
        return reading, ""

    def _settle(
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
        alert = Alert(
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
            told=reading.told,
            was=before,
            simulated=simulated,
            when=rule.when,
        )
        return Status(rule.name, level, reading, "", alert, simulated)

    def tell(self, alert: Alert) -> bool:
        """Deliver an alert to everybody. Returns whether all of them took it."""
        taken = True
        for deliver in self.deliver:
            try:
                deliver(alert)
            except Exception as error:  # noqa: BLE001  observing never breaks a request
                taken = False
                with self._lock:
                    self.undelivered += 1
                _log.warning("an alert could not be delivered (%s): %s", type(error).__name__, alert.rule)
        return taken


def log_alert(alert: Alert) -> None:
    """Deliver an alert to the log of the process."""
    level = (
        logging.INFO if not alert.raised else logging.ERROR if alert.level == "critical" else logging.WARNING
    )
    _log.log(level, "%s", alert.explain())
