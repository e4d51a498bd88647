"""Find models that are not what they were: their quality or their price moved within the period."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from smartroute.analytics.figures import Figures
from smartroute.analytics.insights.insight import ENOUGH_LABELS, Evidence, Insight, level_for, z
from smartroute.analytics.savings import label_error
from smartroute.stats.changes import mean_change_from_moments

LATE_DAYS = 7
LEAST_DAYS = 4
LEAST_MOVE = 0.02
"""A smaller move of quality, or of a price as a share of it, is not worth a word."""


def quality_moved(evidence: Evidence) -> Iterator[Insight]:
    """Yield the models whose answers were thought better or worse in the last days than before.

    By Welch's test, and with labels that are all alike taken as if one had gone the other way.
    """
    tested = {}
    for model, (before, late) in _halves(evidence).items():
        said = evidence.labels(before), evidence.labels(late)
        if min(labels.n for labels in said) >= ENOUGH_LABELS:
            tested[model] = (late, *said)
    level = level_for(len(tested))
    for model, (late, early_labels, late_labels) in sorted(tested.items()):
        change = mean_change_from_moments(
            early_labels,
            late_labels,
            false_alarm_rate=1 - level,
            least_difference=LEAST_MOVE,
        )
        error = (label_error(early_labels) + label_error(late_labels)) ** 0.5
        if not change.changed or abs(change.difference) <= z(level) * error:
            continue
        yield Insight(
            name="a model's quality moved",
            subject=model,
            claim=f"The quality of {model} by {evidence.label_source} went from {change.before:.3f} to "
            f"{change.late:.3f}, {change.difference:+.3f} "
            f"[{change.interval.low:+.3f}, {change.interval.high:+.3f}]",
            value=change.difference,
            interval=change.interval,
            n=change.n_before + change.n_late,
            since=late.first,
            until=late.last,
            suggestion="See whether the model or its requests changed: compare kinds in the report of both "
            "periods" + (", and give its work to another model meanwhile." if change.difference < 0 else "."),
            effect=f"{change.difference:+.3f} in quality for the {late.answered} requests that it answered "
            "since",
        )


def price_moved(evidence: Evidence) -> Iterator[Insight]:
    """Yield the models that charged more or less for a token in the last days than before.

    What answers cost over what their tokens cost at the prices of today: a sum, not a sample. Silent where
    a cost is unknown, or long prompts or repairs blur it; and where neither the oldest nor the newest day
    was charged at the prices of today, for then these are not the model's, and that ratio moves with the mix
    of tokens alone.
    """
    for model, (before, late) in sorted(_halves(evidence).items()):
        if min(before.answered, late.answered) < ENOUGH_LABELS:
            continue
        early, recent = _charged(evidence, model, before), _charged(evidence, model, late)
        if early is None or recent is None or not _known_prices(evidence, model):
            continue
        was, now = (charged.usd / charged.today_usd for charged in (early, recent))
        if abs(now / was - 1) < LEAST_MOVE:
            continue
        more = recent.usd * (1 - was / now)
        yield Insight(
            name="a model's price moved",
            subject=model,
            claim=f"{model} charges {now / was - 1:+.1%} for a token of what it did before",
            value=now / was - 1,
            interval=None,
            n=before.answered + late.answered,
            since=late.first,
            until=late.last,
            suggestion="Compare it with its neighbours at the new price: see the report's fixed models.",
            effect=f"{'-' if more < 0 else '+'}${abs(more):,.4g} for the {late.answered} requests that it "
            "answered since",
            saves_usd=max(0.0, more),
            false_alarm_rate=0.0,
        )


class _Charged(NamedTuple):
    """What a model's answers cost, and what the prices of today make of their tokens."""

    usd: float
    today_usd: float


def _charged(evidence: Evidence, model: str, figures: Figures) -> _Charged | None:
    rates = evidence.rates(model)
    if (
        rates is None
        or figures.unpriced
        or figures.long
        or "repair" in figures.overhead_usd
        or figures.tokens.n != figures.answered
    ):
        return None
    today = figures.tokens.repriced(rates).baseline
    paid = figures.cost_usd - figures.rejected_usd - sum(figures.overhead_usd.values())
    return _Charged(paid, today) if today > 0 and paid > 0 else None


def _known_prices(evidence: Evidence, model: str) -> bool:
    """Return whether the model's oldest or newest day was charged at the prices of today."""
    table = evidence.tables["model", "day"]
    days = {day: figures for (of, day), figures in table.items() if of == model and day is not None}
    ends = (_charged(evidence, model, days[end(days)]) for end in (min, max))
    return any(end is not None and math.isclose(end.usd, end.today_usd, rel_tol=1e-6) for end in ends)


def _halves(evidence: Evidence) -> dict[str, tuple[Figures, Figures]]:
    """Return each model's figures before the last days and in them: seven, or a third of a short period."""
    table = evidence.tables["model", "day"]
    days = sorted({day for _, day in table if day is not None})
    if not days:
        return {}
    newest = date.fromisoformat(days[-1])
    span = (newest - date.fromisoformat(days[0])).days + 1
    if span < LEAST_DAYS:
        return {}
    late_days = min(LATE_DAYS, span // 3)
    found: dict[str, tuple[Figures, Figures]] = defaultdict(lambda: (Figures(), Figures()))
    for (model, day), figures in sorted(table.items(), key=lambda item: str(item[0])):
        if model is not None and day is not None:
            is_late = (newest - date.fromisoformat(day)).days < late_days
            found[model][is_late].merge(figures)
    return dict(found)
