"""Count, log and remember the outcome of each task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from smartroute.catalog import ModelCard
from smartroute.classify import Features
from smartroute.compat import RunningTotals
from smartroute.config import RouterConfig
from smartroute.emitter import Emitter
from smartroute.records import Outcome
from smartroute.router.ids import new_id
from smartroute.routing.continuity import OpenConversations


class Bookkeeping:
    """The totals, the log and the open conversations of one router. Thread-safe."""

    def __init__(self, config: RouterConfig, cards: Iterable[ModelCard], *, simulated: bool) -> None:
        self.totals = RunningTotals()
        self.emitter = Emitter(config, simulated=simulated)
        self.conversations = OpenConversations()
        self._config = config
        self._simulated = simulated
        self._providers = {card.name: card.provider for card in cards}

    def finish(
        self,
        outcome: Outcome,
        interruption: BaseException | None,
        features: Features,
        *,
        counted: bool = True,
    ) -> Outcome:
        """Remember, count and log the outcome; then raise the interruption, or the outcome's own error."""
        if outcome.answer is not None and outcome.answer.tool_calls and outcome.model is not None:
            self.conversations.remember(outcome.answer.tool_calls, self._providers[outcome.model])
        if counted:
            self.totals.add(outcome)
        self.emitter.emit(outcome, features)
        if interruption is not None:
            raise interruption
        if outcome.error is not None:
            outcome.error.outcome = outcome
            raise outcome.error
        return outcome

    def record_feedback(self, feedback: Mapping[str, Any]) -> str:
        """Log feedback, its comment redacted first, and return the id of the event."""
        from smartroute.events.prompts import redacted
        from smartroute.events.writing import event_of_feedback

        event_id = new_id()
        now_s = self._config.clock.now()
        comment = feedback["comment"]
        fields = {**feedback, "comment": None if comment is None else redacted(comment, self._config.redact)}
        self.emitter.emit_event(
            lambda: event_of_feedback(event_id=event_id, at_s=now_s, simulated=self._simulated, **fields)
        )
        return event_id
