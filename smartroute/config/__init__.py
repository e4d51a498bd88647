"""Settings of a router: from code, from environment variables or from a TOML file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartroute.config.router_config import RouterConfig
from smartroute.config.sources import settings_in
from smartroute.lazy_imports import lazy_names

if TYPE_CHECKING:
    from smartroute.config.settings import CouncilRouterArguments, RouterArguments, RouterSettings

_LAZY = dict.fromkeys(("CouncilRouterArguments", "RouterArguments", "RouterSettings"), "settings")
"""Types for type checkers and editors: running code needs none of them."""

__all__ = ["CouncilRouterArguments", "RouterArguments", "RouterConfig", "RouterSettings", "settings_in"]

if not TYPE_CHECKING:  # otherwise a type checker believes that every name exists
    __getattr__ = lazy_names(globals(), _LAZY)
