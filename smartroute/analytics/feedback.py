"""Settle what counts of the feedback in a log: the latest of each source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartroute.events.event import Event


class Feedback:
    """The feedback of a log, by outcome, by conversation and by source.

    Of several words by one source about one outcome the latest counts (by time, then by id). What is said
    of a conversation counts for each of its outcomes that was complete by then and has no word of its own
    from that source. Sources are never mixed.
    """

    def __init__(self) -> None:
        self._outcomes: dict[tuple[str, str], Event] = {}
        self._conversations: dict[tuple[str, str], list[Event]] = {}
        self._sources: set[str] = set()

    @classmethod
    def of(cls, events: Iterable[Event]) -> Feedback:
        """Return the feedback among events, in whatever order they come."""
        found = cls()
        for event in events:
            if event.type == "feedback":
                found._take(event)
        for said in found._conversations.values():
            said.sort(key=_rank)
        return found

    def _take(self, event: Event) -> None:
        source = event.source or "user"
        self._sources.add(source)
        if event.outcome_id:
            key = (event.outcome_id, source)
            known = self._outcomes.get(key)
            if known is None or _rank(event) > _rank(known):
                self._outcomes[key] = event
        elif event.conversation_id is not None:
            said = self._conversations.setdefault((event.conversation_id, source), [])
            if all(other.id != event.id for other in said):
                said.append(event)

    def about(self, outcome: Event) -> dict[str, Event]:
        """Return what counts of what was said about an outcome, by source."""
        found: dict[str, Event] = {}
        for source in self._sources:
            said = self._outcomes.get((outcome.outcome_id, source))
            if said is None and outcome.conversation_id is not None:
                later = self._conversations.get((outcome.conversation_id, source), ())
                said = next((event for event in reversed(later) if event.time >= outcome.time), None)
            if said is not None:
                found[source] = said
        return found


def _rank(event: Event) -> tuple[str, str]:
    return event.time, event.id
