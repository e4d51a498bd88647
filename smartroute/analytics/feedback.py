"""Find the feedback that counts about an outcome: the latest of each source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smartroute.events.event import Event


class Feedback:
    """The feedback of a log, by outcome, by conversation and by source.

    When one source gives feedback about one outcome several times, the latest counts (by time, then by id).
    Feedback about a conversation counts for each of its outcomes that was complete by then, and that has no
    feedback of its own from that source. Sources are never mixed.
    """

    def __init__(self) -> None:
        self._outcomes: dict[tuple[str, str], Event] = {}
        self._conversations: dict[tuple[str, str], list[Event]] = {}
        self._sources: set[str] = set()

    @classmethod
    def of(cls, events: Iterable[Event]) -> Feedback:
        """Return the feedback among events, which may come in any order."""
        feedback = cls()
        for event in events:
            if event.type == "feedback":
                feedback._take(event)
        for events_of_one in feedback._conversations.values():
            events_of_one.sort(key=_rank)
        return feedback

    def _take(self, event: Event) -> None:
        source = event.source or "user"
        self._sources.add(source)
        if event.outcome_id:
            key = (event.outcome_id, source)
            known = self._outcomes.get(key)
            if known is None or _rank(event) > _rank(known):
                self._outcomes[key] = event
        elif event.conversation_id is not None:
            known_events = self._conversations.setdefault((event.conversation_id, source), [])
            if all(other.id != event.id for other in known_events):
                known_events.append(event)

    def about(self, outcome: Event) -> dict[str, Event]:
        """Return the feedback that counts about an outcome, by source."""
        by_source: dict[str, Event] = {}
        for source in self._sources:
            feedback = self._outcomes.get((outcome.outcome_id, source))
            if feedback is None and outcome.conversation_id is not None:
                events = self._conversations.get((outcome.conversation_id, source), ())
                feedback = next((event for event in reversed(events) if event.time >= outcome.time), None)
            if feedback is not None:
                by_source[source] = feedback
        return by_source


def _rank(event: Event) -> tuple[str, str]:
    return event.time, event.id
