"""Hold the router on whose account a stand-in works: a given one, or one of its own, built at first use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import ConfigError
from smartroute.router import ModelRouter


class Account:
    """The router that was given, or the one that `settings` build when it is first wanted. Thread-safe.

    Raises ConfigError for both.
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
        """Return the router."""
        router = self._router
        if router is None:
            with self._lock:
                router = self._router = self._router or ModelRouter(**self._settings)
        return router

    def close(self) -> None:
        """Close the router if it is not somebody else's."""
        if self._router is not None and self._is_own:
            self._router.close()

    async def aclose(self) -> None:
        """Do what `close` does, and close connections of this event loop."""
        if self._router is not None and self._is_own:
            await self._router.aclose()
