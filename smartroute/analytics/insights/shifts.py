"""Insights: a model whose quality or price changed within the period."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from typing import NamedTuple

from smartroute.analytics.figures import Figures
from smartroute.analytics.insights.insight import Evidence, Insight, level_for
from smartroute.analytics.savings import LEAST_SAMPLE, label_error, z_value
from smartroute.stats.changes import mean_change_from_moments

LATE_DAYS = 7
LEAST_DAYS = 4
LEAST_MOVE = 0.02
"""A smaller change of quality, or of a price relative to the earlier price, is not reported."""


def quality_moved(evidence: Evidence) -> Iterator[Insight]:
    """Yield the models whose answers have better or worse labels in the last days than before.

    By Welch's test. Labels that are all the same count as if one of them were different (`label_error`).
    """
    tested = {}
    for model, (before, late) in _before_and_late(evidence).items():
        labels = evidence.labels(before), evidence.labels(late)
        if min(moments.n for moments in labels) >= LEAST_SAMPLE:
            tested[model] = (late, *labels)
    level = level_for(len(tested))
    for model, (late, early_labels, late_labels) in sorted(tested.items()):
        change = mean_change_from_moments(
            early_labels,
            late_labels,
            false_alarm_rate=1 - level,
            least_difference=LEAST_MOVE,
        )
        error = (label_error(early_labels) + label_error(late_labels)) ** 0.5
        if not change.changed or abs(change.difference) <= z_value(level) * error:
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
            "periods" + (", and use another model meanwhile." if change.difference < 0 else "."),
            effect=f"{change.difference:+.3f} in quality for the {late.answered} requests that it answered "
            "since",
        )


def price_moved(evidence: Evidence) -> Iterator[Insight]:
    """Yield the models that charged more or less for a token in the last days than before.

    Compares the cost of answers with the cost of their tokens at today's prices: a sum, not a sample. Silent
    where a cost is unknown, or where long prompts or repairs distort it. Silent also where neither the oldest
    nor the newest day was charged at today's prices: these are then not the model's prices, and that ratio
    changes with the mix of tokens alone.
    """
    for model, (before, late) in sorted(_before_and_late(evidence).items()):
        if min(before.answered, late.answered) < LEAST_SAMPLE:
            continue
        early, recent = _charge(evidence, model, before), _charge(evidence, model, late)
        if early is None or recent is None or not _known_prices(evidence, model):
            continue
        was, now = (charged.usd / charged.today_usd for charged in (early, recent))
        if abs(now / was - 1) < LEAST_MOVE:
            continue
        more = recent.usd * (1 - was / now)
        yield Insight(
            name="a model's price moved",
            subject=model,
            claim=f"{model} charges {now / was - 1:+.1%} for a token compared with before",
            value=now / was - 1,
            interval=None,
            n=before.answered + late.answered,
            since=late.first,
            until=late.last,
            suggestion="Compare it with similar models at the new price: see the report's fixed models.",
            effect=f"{'-' if more < 0 else '+'}${abs(more):,.4g} for the {late.answered} requests that it "
            "answered since",
            saves_usd=max(0.0, more),
            false_alarm_rate=0.0,
        )


class _Charge(NamedTuple):
    """The cost of a model's answers, and the cost of their tokens at today's prices."""

    usd: float
    today_usd: float


def _charge(evidence: Evidence, model: str, figures: Figures) -> _Charge | None:
    rates = evidence.rates(model)
    # Long prompts have other rates; a repaired answer has the tokens of a call whose cost is overhead.
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
    return _Charge(paid, today) if today > 0 and paid > 0 else None


def _known_prices(evidence: Evidence, model: str) -> bool:
    """Return whether the model's oldest or newest day was charged at today's prices."""
    table = evidence.tables["model", "day"]
    days = {day: figures for (of, day), figures in table.items() if of == model and day is not None}
    charges = (_charge(evidence, model, days[pick(days)]) for pick in (min, max))
    return any(
        charge is not None and math.isclose(charge.usd, charge.today_usd, rel_tol=1e-6) for charge in charges
    )


def _before_and_late(evidence: Evidence) -> dict[str, tuple[Figures, Figures]]:
    """Return each model's figures before and in the last days: seven, or a third of a short period."""
    table = evidence.tables["model", "day"]
    days = sorted({day for _, day in table if day is not None})
    if not days:
        return {}
    newest = date.fromisoformat(days[-1])
    span = (newest - date.fromisoformat(days[0])).days + 1
    if span < LEAST_DAYS:
        return {}
    late_days = min(LATE_DAYS, span // 3)
    halves: dict[str, tuple[Figures, Figures]] = defaultdict(lambda: (Figures(), Figures()))
    for (model, day), figures in sorted(table.items(), key=lambda item: str(item[0])):
        if model is not None and day is not None:
            is_late = (newest - date.fromisoformat(day)).days < late_days
            halves[model][is_late].merge(figures)
    return dict(halves)
