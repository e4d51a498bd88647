"""Settings of a router: from code, from environment variables or from a TOML file."""

from smartroute.config.router_config import RouterConfig
from smartroute.config.settings import CouncilRouterArguments, RouterArguments, RouterSettings
from smartroute.config.sources import settings_in

__all__ = ["CouncilRouterArguments", "RouterArguments", "RouterConfig", "RouterSettings", "settings_in"]
