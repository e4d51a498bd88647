"""A clock to read the time and to sleep. Code that waits or stamps takes one, so that tests need not wait."""

from __future__ import annotations

import time


class Clock:
    """The machine's clock. `FrozenClock` of `smartroute.testing` moves only when a test moves it."""

    def now(self) -> float:
        """Return seconds since the Unix epoch, UTC."""
        return time.time()

    def monotonic(self) -> float:
        """Return seconds from an arbitrary start that never run backward."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block this thread."""
        time.sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        """Suspend this coroutine."""
        import asyncio

        await asyncio.sleep(seconds)
