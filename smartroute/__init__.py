"""Send each LLM request to the cheapest model that will answer it well, and prove what that saved.

from smartroute import ModelRouter

outcome = ModelRouter().run("Rate this hook from 0 to 100: 'Lose weight fast!'", kind="score")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartroute._moved import forward_old_paths
from smartroute.errors import (
    AllModelsFailedError,
    BudgetExceededError,
    ConfigError,
    DeadlineExceededError,
    MissingKeyError,
    ProviderError,
    SmartRouteError,
    TaskError,
    UnknownModelError,
)
from smartroute.lazy_imports import lazy_names
from smartroute.records import (
    Attempt,
    Classification,
    Confidence,
    Decision,
    Outcome,
    Task,
    TaskComplexity,
    Usage,
)

if TYPE_CHECKING:
    from smartroute.catalog import Catalog, ModelCard
    from smartroute.config import RouterConfig
    from smartroute.pricing import Price, PriceTable
    from smartroute.router import ModelRouter

__version__ = "0.1.0"

forward_old_paths()

_LAZY = {
    "Catalog": "catalog",
    "ModelCard": "catalog",
    "RouterConfig": "config",
    "Price": "pricing",
    "PriceTable": "pricing",
    "ModelRouter": "router",
}

__all__ = [
    "AllModelsFailedError",
    "Attempt",
    "BudgetExceededError",
    "Catalog",
    "Classification",
    "Confidence",
    "ConfigError",
    "DeadlineExceededError",
    "Decision",
    "MissingKeyError",
    "ModelCard",
    "ModelRouter",
    "Outcome",
    "Price",
    "PriceTable",
    "ProviderError",
    "RouterConfig",
    "SmartRouteError",
    "Task",
    "TaskComplexity",
    "TaskError",
    "UnknownModelError",
    "Usage",
    "__version__",
]


if not TYPE_CHECKING:  # otherwise a type checker believes that every name exists
    __getattr__ = lazy_names(globals(), _LAZY)
