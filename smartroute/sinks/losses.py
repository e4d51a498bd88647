"""Count lost events, and log once per outage. A request never fails for a lost event."""

from __future__ import annotations

import logging

from smartroute.errors import SinkError

_log = logging.getLogger("smartroute")


class Losses:
    """The losses of one sink. A spell (an outage) lasts from a loss to the next event that is kept.

    Not thread-safe: the sink holds its own lock.
    """

    def __init__(self) -> None:
        self.count = 0
        self.spell = 0
        self._unreported = 0
        self._reason = ""

    def add(self, reason: str) -> None:
        """Count one lost event. The first of a spell is logged."""
        self.count += 1
        self.spell += 1
        self._unreported += 1
        self._reason = reason
        if self.spell == 1:
            _log.warning("an event was not logged: %s; further losses are counted until one is kept", reason)

    def end_spell(self) -> None:
        """Log that events are kept again."""
        _log.warning("events are logged again; %d were lost", self.spell)
        self.spell = 0

    def report(self) -> None:
        """Raise SinkError when events were lost since the last report."""
        lost, self._unreported = self._unreported, 0
        if lost:
            raise SinkError(f"{lost} events were not logged, the last because {self._reason}")
