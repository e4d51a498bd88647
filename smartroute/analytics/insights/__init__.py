"""Notice in a log what is worth acting on, and keep silent about what chance alone may have done."""

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
    simple_on_dear_models,
)

if TYPE_CHECKING:
    from smartroute.analytics.query import Analytics
    from smartroute.catalog import Catalog
    from smartroute.pricing.price import PriceTable

__all__ = ["FINDERS", "GROUPINGS", "RATE", "Evidence", "Insight", "find_insights", "insights_in"]

FINDERS: tuple[Callable[[Evidence], Iterator[Insight]], ...] = (
    simple_on_dear_models,
    escalations_never_change,
    escalations_cost_too_much,
    model_dominated,
    confidence_predicts_nothing,
    quality_moved,
    price_moved,
    cheaper_worth_trying,
)
"""Each is silent, or fires falsely with a probability of at most the rate that its insight states."""


def find_insights(
    analytics: Analytics,
    where: Filter | None = None,
    *,
    prices: PriceTable | None = None,
    catalog: Catalog | None = None,
    label_source: str = "user",
) -> tuple[Insight, ...]:
    """Return what is worth acting on among the outcomes that count; what saves most comes first.

    Without `prices` (by default those of the `catalog`) nothing is said about money, and without a
    `catalog` no model that the log does not have is proposed. Quality is what `label_source` said.
    """
    if prices is None and catalog is not None:
        prices = catalog.prices()
    tables = analytics.several(GROUPINGS, where or Filter())
    return insights_in(Evidence(tables, prices, catalog, label_source))


def insights_in(evidence: Evidence) -> tuple[Insight, ...]:
    """Return what the figures of GROUPINGS show; what saves most comes first."""
    found = [insight for finder in FINDERS for insight in finder(evidence)]
    return tuple(sorted(found, key=lambda insight: -(insight.saves_usd or 0.0)))
