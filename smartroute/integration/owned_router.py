"""The router behind a drop-in: the given one, or one built at first use and owned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import ConfigError
from smartroute.router import ModelRouter


class OwnedRouter:
    """Holds the router that a drop-in uses. Thread-safe.

    A given router belongs to the caller. Without one, a ModelRouter is built from `settings` at first use; it
    belongs to the drop-in, which closes it. Raises ConfigError when both are passed.
    """

    def __init__(self, router: ModelRouter | None, settings: Mapping[str, Any]) -> None:
        if router is not None and settings:
            raise ConfigError(f"pass router=... or its settings ({', '.join(sorted(settings))}), not both")
        self._router = router
        self._is_own = router is None
        self._settings = settings
        self._lock = fork_safe_lock()

    @property
    def router(self) -> ModelRouter:
        """Return the router, built at first use. Raises ConfigError when a setting is wrong."""
        router = self._router
        if router is None:
            with self._lock:
                router = self._router = self._router or ModelRouter(**self._settings)
        return router

    def close(self) -> None:
        """Close the router, unless it belongs to the caller."""
        if self._router is not None and self._is_own:
            self._router.close()

    async def aclose(self) -> None:
        """Do what `close` does, and close the provider's connections of this event loop."""
        if self._router is not None and self._is_own:
            await self._router.aclose()
