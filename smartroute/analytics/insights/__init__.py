"""Insights: findings in a log that are worth acting on, with a bounded rate of false alarms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from smartroute.analytics.filter import Filter
from smartroute.analytics.insights.confidence import confidence_predicts_nothing
from smartroute.analytics.insights.escalations import escalations_cost_too_much, escalations_never_change
from smartroute.analytics.insights.insight import GROUPINGS, RATE, Evidence, Insight
from smartroute.analytics.insights.shifts import price_moved, quality_moved
from smartroute.analytics.insights.spending import (
    cheaper_worth_trying,
    model_dominated,
    simple_on_expensive_models,
)

if TYPE_CHECKING:
    from smartroute.analytics.query import Analytics
    from smartroute.catalog import Catalog
    from smartroute.pricing import PriceTable

__all__ = ["FINDERS", "GROUPINGS", "RATE", "Evidence", "Insight", "find_insights", "insights_in"]

FINDERS: tuple[Callable[[Evidence], Iterator[Insight]], ...] = (
    simple_on_expensive_models,
    escalations_never_change,
    escalations_cost_too_much,
    model_dominated,
    confidence_predicts_nothing,
    quality_moved,
    price_moved,
    cheaper_worth_trying,
)
"""Each function yields its insights. A false alarm has at most the probability that the insight states."""


def find_insights(
    analytics: Analytics,
    where: Filter | None = None,
    *,
    prices: PriceTable | None = None,
    catalog: Catalog | None = None,
    label_source: str = "user",
) -> tuple[Insight, ...]:
    """Return the insights into the outcomes that `where` selects, the largest saving first.

    Without `prices` (by default those of the `catalog`) there are no insights about money. Without a
    `catalog` no model is proposed that is not in the log. Quality is by the labels of `label_source`.
    """
    if prices is None and catalog is not None:
        prices = catalog.prices()
    tables = analytics.several(GROUPINGS, where or Filter())
    return insights_in(Evidence(tables, prices, catalog, label_source))


def insights_in(evidence: Evidence) -> tuple[Insight, ...]:
    """Return the insights that the figures of GROUPINGS support, the largest saving first."""
    insights = [insight for finder in FINDERS for insight in finder(evidence)]
    return tuple(sorted(insights, key=lambda insight: -(insight.saves_usd or 0.0)))
