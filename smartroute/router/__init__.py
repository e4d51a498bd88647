"""Route requests: `ModelRouter`, and what it is built from."""

from smartroute.router.router import ModelRouter

__all__ = ["ModelRouter"]
