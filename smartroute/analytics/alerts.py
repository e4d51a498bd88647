"""Notice what needs somebody's attention, say it once, and say when it is over."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from smartroute.analytics.figures import Figures
from smartroute.clock import Clock
from smartroute.errors import ConfigError
from smartroute.locks import fork_safe_lock

if TYPE_CHECKING:
    from smartroute.events import Event

_log = logging.getLogger("smartroute")

Level: TypeAlias = Literal["warning", "critical"]
Measure: TypeAlias = Callable[[Figures], "Reading | None"]
_BUCKET_S = 60


@dataclass(frozen=True, slots=True)
class Reading:
    """What a rule looks at: a value, over `n` requests."""

    value: float
    n: int


@dataclass(frozen=True, slots=True)
class Rule:
    """When to raise an alert and when to take it back.

    It is raised when `measure` is above `raise_at` (below, for `when="below"`), over at least `least_n`
    requests, and taken back when it is at or past `clear_at`: the gap between the two keeps a value that
    hovers about the threshold from ringing all the time. Raises ConfigError when they are the wrong way
    round.
    """

    name: str
    measure: Measure
    raise_at: float
    clear_at: float
    least_n: int
    suggestion: str
    level: Level = "warning"
    when: Literal["above", "below"] = "above"

    def __post_init__(self) -> None:
        if (self.clear_at > self.raise_at) if self.when == "above" else (self.clear_at < self.raise_at):
            raise ConfigError(
                f"rule {self.name}: raised {self.when} {self.raise_at:g}, so clear_at must lie on the "
                f"other side of it, got {self.clear_at:g}"
            )
        if self.least_n < 1:
            raise ConfigError(f"rule {self.name}: least_n must be at least 1, got {self.least_n}")

    def raised(self, value: float, before: bool) -> bool:
        """Return whether the alert stands at this value, given whether it stood before."""
        if self.when == "above":
            return value > (self.clear_at if before else self.raise_at)
        return value < (self.clear_at if before else self.raise_at)


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule that began or ceased to hold, with its evidence: the value, over `n` requests, in a period."""

    rule: str
    level: Level
    raised: bool
    value: float
    threshold: float
    n: int
    since: str | None
    until: str | None
    suggestion: str

    def explain(self) -> str:
        """Return the alert in words."""
        if not self.raised:
            return f"{self.rule} is over: {self.value:.4g} over {self.n} requests until {self.until}"
        return (
            f"{self.level}: {self.rule} is {self.value:.4g}, past {self.threshold:.4g}, over {self.n} "
            f"requests from {self.since} to {self.until}. {self.suggestion}"
        )


def confidence(figures: Figures) -> Reading | None:
    """Return the mean confidence, over the answers where it is known."""
    mean = figures.confidence.mean
    return None if mean is None else Reading(mean, figures.confidence.n)


def escalation_rate(figures: Figures) -> Reading | None:
    """Return the share of requests that escalated."""
    return Reading(figures.escalated / figures.requests, figures.requests) if figures.requests else None


def error_rate(figures: Figures) -> Reading | None:
    """Return the share of requests that ended without an answer."""
    return Reading(figures.failures / figures.requests, figures.requests) if figures.requests else None


def unpriced_share(figures: Figures) -> Reading | None:
    """Return the share of requests with a call of unknown cost."""
    return Reading(figures.unpriced / figures.requests, figures.requests) if figures.requests else None


def savings(figures: Figures) -> Reading | None:
    """Return the share saved against the declared baseline, repriced."""
    pairs = figures.compared
    return Reading(1.0 - pairs.cost / pairs.baseline, pairs.n) if pairs.baseline > 0 else None


def latency_quantile(share: float) -> Measure:
    """Return the measure of a quantile of latency in seconds, within 5%."""

    def measure(figures: Figures) -> Reading | None:
        value = figures.latencies.quantile(share)
        return None if value is None else Reading(value, figures.latency.n)

    return measure


def spent_per_day(figures: Figures) -> Reading | None:
    """Return the USD that a day costs at the rate of the figures' own period; at least a minute is needed."""
    if figures.first is None or figures.last is None:
        return None
    began, ended = (datetime.fromisoformat(t.replace("Z", "+00:00")) for t in (figures.first, figures.last))
    seconds = (ended - began).total_seconds()
    if seconds < _BUCKET_S:
        return None
    return Reading(figures.cost_usd * 86_400 / seconds, figures.requests)


DEFAULT_RULES: tuple[Rule, ...] = (
    Rule(
        "low confidence", confidence, 0.6, 0.65, 50,
        "Look at the kinds with the lowest confidence in the report; raise their tier, or add an estimator.",
        when="below",
    ),
    Rule(
        "high escalation rate", escalation_rate, 0.30, 0.25, 50,
        "Start those kinds one tier higher, or lower accept_at if their first answers were good.",
    ),
    Rule(
        "low savings", savings, 0.30, 0.35, 50,
        "Compare with the best fixed model in the report: it may be the better choice for this traffic.",
        when="below",
    ),
    Rule(
        "errors", error_rate, 0.05, 0.03, 50,
        "See which models fail, and why, in the attempts of the newest events; check keys and quotas.",
        level="critical",
    ),
    Rule(
        "slow answers", latency_quantile(0.95), 30.0, 25.0, 50,
        "Set timeout_s, or move the slowest kind to a faster model.",
    ),
    Rule(
        "calls of unknown cost", unpriced_share, 0.01, 0.005, 100,
        "Give those models a price: until then every total is too low.",
    ),
)  # fmt: skip
"""The usual rules: confidence under 0.6, more than 30% escalated, less than 30% saved, 5% errors, ..."""


def budget_rule(usd_per_day: float, *, level: Level = "critical") -> Rule:
    """Return the rule that the spending's present rate stays within a budget per day."""
    return Rule(
        "budget forecast",
        spent_per_day,
        usd_per_day,
        0.9 * usd_per_day,
        20,
        f"At this rate a day costs more than ${usd_per_day:g}: set max_usd, or see what drives it.",
        level=level,
    )


class Watch:
    """Holds rules against figures, and remembers which alerts stand. Thread-safe.

    `deliver` are functions that take an Alert; one that raises is logged and disturbs nobody.
    """

    def __init__(
        self,
        rules: Iterable[Rule] = DEFAULT_RULES,
        deliver: Iterable[Callable[[Alert], object]] = (),
    ) -> None:
        self.rules = tuple(rules)
        names = [rule.name for rule in self.rules]
        if len(set(names)) < len(names):
            raise ConfigError(f"two rules have the same name: {', '.join(sorted(names))}")
        self._deliver = tuple(deliver) or (log_alert,)
        self._standing: set[str] = set()
        self._lock = fork_safe_lock()

    @property
    def standing(self) -> frozenset[str]:
        """Return the names of the rules whose alerts stand."""
        return frozenset(self._standing)

    def check(self, figures: Figures) -> tuple[Alert, ...]:
        """Return, and deliver, the alerts that begin or end with these figures.

        A rule with too few requests is left as it stands.
        """
        changed = []
        with self._lock:
            for rule in self.rules:
                reading = rule.measure(figures)
                if reading is None or reading.n < rule.least_n:
                    continue
                stood = rule.name in self._standing
                stands = rule.raised(reading.value, stood)
                if stands == stood:
                    continue
                (self._standing.add if stands else self._standing.discard)(rule.name)
                threshold = rule.raise_at if stands else rule.clear_at
                changed.append(
                    Alert(
                        rule.name, rule.level, stands, reading.value, threshold, reading.n,
                        figures.first, figures.last, rule.suggestion,
                    )
                )  # fmt: skip
        for alert in changed:
            self._tell(alert)
        return tuple(changed)

    def _tell(self, alert: Alert) -> None:
        for deliver in self._deliver:
            try:
                deliver(alert)
            except Exception as error:  # noqa: BLE001  observing never breaks a request
                _log.warning("an alert could not be delivered (%s): %s", type(error).__name__, alert.rule)


def log_alert(alert: Alert) -> None:
    """Deliver an alert to the log of the process."""
    level = (
        logging.INFO if not alert.raised else logging.ERROR if alert.level == "critical" else logging.WARNING
    )
    _log.log(level, "%s", alert.explain())


class AlertSink:
    """A sink that holds the last `window_s` seconds of events against a Watch, once every `every_s` seconds.

    Give it to a router beside its log. Memory is bounded: one Figures for each minute of the window.
    """

    def __init__(
        self, watch: Watch, *, window_s: float = 3_600.0, every_s: float = 60.0, clock: Clock | None = None
    ) -> None:
        if window_s < _BUCKET_S or every_s <= 0:
            raise ConfigError(
                f"window_s must be at least {_BUCKET_S} and every_s more than 0, "
                f"got {window_s!r} and {every_s!r}"
            )
        self._watch = watch
        self._window_s = window_s
        self._every_s = every_s
        self._clock = clock or Clock()
        self._minutes: OrderedDict[int, Figures] = OrderedDict()
        self._due = 0.0
        self._lock = fork_safe_lock()

    def emit(self, event: Event) -> None:
        """Count an outcome, and check the rules when it is time."""
        if event.type != "outcome":
            return
        now = self._clock.now()
        with self._lock:
            self._minutes.setdefault(int(now // _BUCKET_S), Figures()).add(event)
            if now < self._due:
                return
            self._due = now + self._every_s
            oldest = int((now - self._window_s) // _BUCKET_S)
            while self._minutes and next(iter(self._minutes)) < oldest:
                self._minutes.popitem(last=False)
            window = Figures()
            for figures in self._minutes.values():
                window.merge(figures)
        self._watch.check(window)
