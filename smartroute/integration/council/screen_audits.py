"""Audit the screen against the full council: learn its margin, and report whether its promise holds.

An audit is an evaluation, drawn before its screen runs, that both the screen and the full council judge.
The promise: the share of all evaluations whose verdict differs from the full council's, averaged over
calibration draws, is at most the flip rate. The share among the screened verdicts alone is larger, and is
reported separately.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import ConfigError
from smartroute.number_checks import checked_number, checked_whole
from smartroute.stats.conformal import conformal_quantile
from smartroute.stats.intervals import Interval, clopper_pearson

WIDE_MARGIN = 30.0
"""The margin in points while there are too few audits to learn one from."""

_KEPT = 2_000


@dataclass(frozen=True, slots=True)
class Margin:
    """How many points from the threshold a screen must be to be believed: learned, or the wide default."""

    points: float
    audits: int
    learned: bool


@dataclass(frozen=True, slots=True)
class Audit:
    """One evaluation, judged by the screen and in full. `margin` (points) was in force when it was drawn."""

    niche: str
    screen: float
    full: float
    threshold: float
    margin: float

    @property
    def error(self) -> float:
        """Return how far the screen was from the full council, in points."""
        return abs(self.screen - self.full)

    @property
    def believed(self) -> bool:
        """Return whether the screen alone would have given the verdict."""
        return abs(self.screen - self.threshold) > self.margin

    @property
    def flipped(self) -> bool:
        """Return whether the screen was believed and gave another verdict than the full council."""
        return self.believed and (self.screen >= self.threshold) != (self.full >= self.threshold)


@dataclass(frozen=True, slots=True)
class Flips:
    """Verdicts that differ from the full council's, among `n`; `high` is a one-sided bound of the share."""

    population: str
    flips: int
    n: int
    share: float | None
    high: float
    level: float


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What the audits show about the screen.

    `overall` counts flips among all audits: an unbiased view of all evaluations that were not audited.
    `screened` counts them among those whose screen was believed, `by_niche` the same per niche. `kept` is
    False when the audits show, at `level`, that more than `flip_rate` of all evaluations flip; None without
    audits. `interval` is the two-sided Clopper-Pearson interval of the overall share.
    """

    margin: Margin
    flip_rate: float
    overall: Flips
    interval: Interval | None
    screened: Flips
    by_niche: tuple[Flips, ...]
    kept: bool | None

    def explain(self) -> str:
        """Return the report in words."""
        learned = f"learned from {self.margin.audits} audits" if self.margin.learned else "the wide default"
        lines = [
            f"margin {self.margin.points:.2f} points ({learned})",
            f"promised: at most {self.flip_rate:.1%} of all evaluations differ from the full council, "
            "averaged over calibration draws",
            *(_described(flips) for flips in (self.overall, self.screened, *self.by_niche)),
        ]
        if self.kept is False:
            lines.append(
                "the promise is broken: scripts or models have changed; call audits.forget(), or use "
                'mode="full"'
            )
        return "\n".join(lines)


class Audits:
    """The latest audits, and the margin learned from them. Thread-safe.

    The last `keep` audits count: older ones are about scripts and models that may have changed. Raises
    ConfigError unless `flip_rate` is above 0 and below 1 and `wide_margin` is at least 0 points.
    """

    def __init__(self, flip_rate: float, *, keep: int = _KEPT, wide_margin: float = WIDE_MARGIN) -> None:
        self.flip_rate = checked_number(flip_rate, "flip_rate", above=0, most=1)
        if self.flip_rate == 1.0:
            raise ConfigError("flip_rate must be below 1, got 1: the screen would decide everything")
        self.wide_margin = checked_number(wide_margin, "wide_margin", least=0)
        self._audits: deque[Audit] = deque(maxlen=checked_whole(keep, "keep", least=1))
        self._lock = fork_safe_lock()
        self._margin: Margin | None = None

    def margin(self) -> Margin:
        """Return the margin in force: the split-conformal quantile of the errors, once it is finite."""
        with self._lock:
            if self._margin is None:
                errors = [audit.error for audit in self._audits]
                points = conformal_quantile(errors, self.flip_rate)
                learned = math.isfinite(points)
                self._margin = Margin(points if learned else self.wide_margin, len(errors), learned)
            return self._margin

    def add(self, audit: Audit) -> None:
        """Learn from one audit. An audit in which a member failed must not be added."""
        with self._lock:
            self._audits.append(audit)
            self._margin = None

    def forget(self) -> None:
        """Forget all audits and start again, for another council or another kind of script."""
        with self._lock:
            self._audits.clear()
            self._margin = None

    def __len__(self) -> int:
        return len(self._audits)

    def report(self, level: float = 0.95) -> AuditReport:
        """Return what the audits show about the screen, with bounds at a confidence level."""
        with self._lock:
            audits = list(self._audits)
        overall = _flips("all evaluations", audits, level)
        believed = [audit for audit in audits if audit.believed]
        niches = sorted({audit.niche for audit in believed})
        interval = clopper_pearson(overall.flips, overall.n, level) if audits else None
        return AuditReport(
            margin=self.margin(),
            flip_rate=self.flip_rate,
            overall=overall,
            interval=interval,
            screened=_flips("screened verdicts", believed, level),
            by_niche=tuple(
                _flips(f"screened verdicts, {niche}", [a for a in believed if a.niche == niche], level)
                for niche in niches
            ),
            kept=None if interval is None else interval.low <= self.flip_rate,
        )


def _flips(population: str, audits: Iterable[Audit], level: float) -> Flips:
    flipped = [audit.flipped for audit in audits]
    n, flips = len(flipped), sum(flipped)
    if not n:
        return Flips(population, 0, 0, None, 1.0, level)
    # The upper end of a two-sided interval at 1 - 2a is a one-sided bound at 1 - a.
    high = clopper_pearson(flips, n, 2 * level - 1).high
    return Flips(population, flips, n, flips / n, high, level)


def _described(flips: Flips) -> str:
    if flips.share is None:
        return f"{flips.population}: no audit yet"
    return (
        f"{flips.population}: {flips.flips} of {flips.n} audits flipped ({flips.share:.1%}, "
        f"at most {flips.high:.1%} at {flips.level:.0%})"
    )
