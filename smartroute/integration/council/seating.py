"""Choose the model that answers for each council member, and estimate what its answers cost."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence

from smartroute.catalog import ModelCard
from smartroute.classify import estimate_tokens
from smartroute.concurrency.locks import fork_safe_lock
from smartroute.integration.council.members import NEUTRAL, CouncilMember
from smartroute.integration.council.modes import Council, Script, Seat, scorer_card
from smartroute.integration.council.prompts import member_messages
from smartroute.records import Attempt, Menu, Task, Tier
from smartroute.router import ModelRouter
from smartroute.routing.eligibility import split_effort

_log = logging.getLogger("smartroute")
_PRIOR_TOKENS = 200
"""The assumed length of an answer before any was seen: a score, a sentence, and some thinking."""


class Seating:
    """Seats the members of a council at each evaluation. Thread-safe.

    Keys, allow-lists and the catalog may change between two evaluations, and so may who can be seated.
    """

    def __init__(self, members: Sequence[CouncilMember], screen_model: str | None) -> None:
        self._members = members
        self._screen_model = screen_model
        self._lengths = OutputLengths()
        self._closed: dict[str, str] = {}

    def seats(self, router: ModelRouter, menu: Menu, script: Script) -> tuple[Seat, ...]:
        """Return a seat for each member. Logs a warning when the members without a model have changed."""
        seats = tuple(self._seat(router, member, menu, script) for member in self._members)
        closed = {seat.member.key: seat.closed for seat in seats if seat.closed is not None}
        if closed != self._closed:
            self._closed = closed
            for key, why in closed.items():
                _log.warning("%s of the council counts as %g every time: %s", key, NEUTRAL, why)
        return seats

    def screen(self, router: ModelRouter, menu: Menu) -> ModelCard | None:
        """Return the model of the screen, None when no model may take the script.

        Without `screen_model`: the cheapest mini model, if possible one that obeys a JSON schema.
        """
        catalog = router.catalog
        if self._screen_model is not None:
            return catalog.card(self._screen_model)
        ranked = sorted(menu.candidates, key=lambda candidate: candidate.tier.rank)
        able = [c for c in ranked if "json_schema" in catalog.card(c.model).abilities]
        small = [c for c in able or ranked if c.tier is Tier.MINI] or able or ranked
        return catalog.card(small[0].model) if small else None

    def learn(self, attempts: Iterable[Attempt]) -> None:
        """Learn how long the members' answers are."""
        self._lengths.learn(attempts)

    def _seat(self, router: ModelRouter, member: CouncilMember, menu: Menu, script: Script) -> Seat:
        if member.scorer is not None:
            return Seat(member, scorer_card(member), expected_usd=0.0)
        effort = None
        if member.model is not None:
            name, effort = split_effort(member.model, router.catalog)
        else:
            of_tier = (candidate.model for candidate in menu.candidates if candidate.tier is member.tier)
            name = next(of_tier, "")
            if not name:
                return Seat(member, None, closed=f"no model of the {member.tier} tier may be called")
        card = router.catalog.card(name)
        if (reason := router.barred(card.name)) is not None:
            return Seat(member, None, closed=f"{card.name} may not be called: {reason}")
        return Seat(member, card, effort, self._expected_usd(router, card, member, script))

    def _expected_usd(
        self, router: ModelRouter, card: ModelCard, member: CouncilMember, script: Script
    ) -> float | None:
        price = router.prices.price(card.name)
        if price is None:
            return None
        messages = member_messages(member, script.text, script.niche, script.visual_features)
        return price.plain_cost(estimate_tokens(Task(messages)), self._lengths.mean_tokens(card.name))


class OutputLengths:
    """The mean output tokens of each model's answers so far. Thread-safe, constant memory per model."""

    def __init__(self) -> None:
        self._sums: dict[str, tuple[int, int]] = {}
        self._lock = fork_safe_lock()

    def learn(self, attempts: Iterable[Attempt]) -> None:
        """Count the members' answers among the attempts."""
        with self._lock:
            for attempt in attempts:
                if attempt.usage is not None and attempt.purpose in ("answer", "audit"):
                    n, total = self._sums.get(attempt.model, (0, 0))
                    self._sums[attempt.model] = (n + 1, total + attempt.usage.output_tokens)

    def mean_tokens(self, model: str) -> int:
        """Return the mean length of a model's answers; before its first answer, 200."""
        n, total = self._sums.get(model, (0, 0))
        return round(total / n) if n else _PRIOR_TOKENS


def full_council_usd(council: Council, attempts: Sequence[Attempt]) -> float | None:
    """Return what the full council would have cost: members' own costs where asked, estimates elsewhere.

    None when one of these costs is unknown.
    """
    seats: dict[str, list[float | None]] = {}
    for seat in council.seats:
        if seat.card is not None and seat.member.scorer is None:
            seats.setdefault(seat.card.name, []).append(seat.expected_usd)
    total = 0.0
    for model, expected in seats.items():
        made = [a for a in attempts if a.model == model and a.purpose in ("answer", "audit")]
        asked = sum(a.number == 1 for a in made)
        answered = [a.cost_usd for a in made if a.failure is None]
        failed = [a.cost_usd for a in made if a.failure is not None]
        # A call that was retried had failed, so the last failures are those of members without an answer.
        own = [*answered, *failed[len(failed) - (asked - len(answered)) :]]
        unasked = len(expected) - asked
        if None in own or (unasked and None in expected):
            return None
        total += math.fsum(usd for usd in own if usd is not None)
        total += unasked * math.fsum(usd for usd in expected if usd is not None) / len(expected)
    return total
