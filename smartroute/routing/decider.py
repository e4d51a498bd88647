"""Decide what to do with a classified task: by the caller's choice, by the strategy, or by the baseline."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from smartroute.catalog import Catalog
from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import ConfigError, SmartRouteError, TaskError, fault, shown
from smartroute.identity_cache import cached_by_identity
from smartroute.number_checks import is_number
from smartroute.pricing import PriceTable
from smartroute.records import Classification, Decision, Menu, RuledOut, Rung, Task, Tier
from smartroute.routing.continuity import UNKNOWN_PROVIDER
from smartroute.routing.eligibility import Eligibility, split_effort
from smartroute.routing.strategies import held_back, preferring, reason_to_stay, staying_with

if TYPE_CHECKING:
    from smartroute.protocols import Strategy


class Decider:
    """Turns a classification and a menu into the decision that is carried out. Thread-safe.

    With `smart_routing` False everything goes to the baseline. Otherwise a task's `preferred_model` wins, and
    without one the strategy decides, on the caller's complexity where that is given; a `holdback_share` of
    what it decides by itself goes to the baseline instead, at random.
    """

    def __init__(
        self,
        catalog: Catalog,
        prices: PriceTable,
        eligibility: Eligibility,
        strategy: Strategy,
        *,
        smart_routing: bool = True,
        baseline_model: str | None = None,
        holdback_share: float = 0.0,
        seed: int | None = None,
    ) -> None:
        self._catalog = catalog
        self._prices = prices
        self._eligibility = eligibility
        self._strategy = strategy
        self._smart_routing = smart_routing
        self._baseline_model = baseline_model
        self._holdback_share = holdback_share
        self._draws = random.Random(seed)
        self._lock = fork_safe_lock()

    def baseline(self) -> str | None:
        """Return the declared baseline model, or the default one."""
        return self._baseline_model or self._eligibility.baseline()

    def decide(
        self, task: Task, classification: Classification, menu: Menu, *, hold_back: bool = True
    ) -> Decision:
        """Return the decision. With `hold_back` False the baseline gets no share, and nothing is drawn.

        Raises ConfigError when the strategy breaks, or offers what is barred.
        """
        if not self._smart_routing:
            return self._rolled_back(task, classification, menu)
        decision = self._chosen(task, classification, menu, hold_back)
        if menu.tied_to != UNKNOWN_PROVIDER:
            return decision
        # The provider that would be asked first keeps the conversation: the ladder has its models alone.
        home = self._catalog.card(decision.ladder[0].model).provider
        at_home = staying_with(menu, home)
        if len(at_home.candidates) == len(menu.candidates):
            return decision
        decision = self._chosen(task, classification, at_home, hold_back)
        return replace(decision, reasons=(*decision.reasons, reason_to_stay(home)))

    def _chosen(self, task: Task, classification: Classification, menu: Menu, hold_back: bool) -> Decision:
        if task.preferred_model is not None:
            return self._preferring(task, task.preferred_model, classification, menu)
        decision = self._ask_strategy(task, classification, menu)
        if task.complexity_override is not None:
            return replace(
                decision,
                overridden=True,
                reasons=(f"complexity_override={task.complexity_override.value}", *decision.reasons),
            )
        if hold_back and self._holdback_share and menu.tied_to is None:
            return self._hold_back(decision, menu)
        return decision

    def _preferring(self, task: Task, model: str, classification: Classification, menu: Menu) -> Decision:
        name, effort = split_effort(model, self._catalog)
        if effort is not None and task.params.get("reasoning_effort", effort) != effort:
            raise TaskError(
                f"preferred_model={model!r} and "
                f"reasoning_effort={task.params['reasoning_effort']!r} contradict each other; give one"
            )
        return preferring(classification, menu, self._catalog.card(name).name, effort)

    def _hold_back(self, decision: Decision, menu: Menu) -> Decision:
        baseline = self.baseline()
        if baseline is None:
            return decision
        share = self._holdback_share
        with self._lock:
            held = self._draws.random() < share
        return held_back(decision, menu, self._catalog.card(baseline).name, share, held=held)

    def _ask_strategy(self, task: Task, classification: Classification, menu: Menu) -> Decision:
        try:
            decision = self._strategy.decide(task, classification, menu)
        except SmartRouteError:
            raise
        except Exception as error:
            raise ConfigError(f"{self._strategy!r} raised {fault(error)}") from error
        if not isinstance(decision, Decision) or not _is_listing(decision.ladder) or not decision.ladder:
            raise ConfigError(f"{self._strategy!r} returned no Decision with a ladder, but {shown(decision)}")
        if not isinstance(decision.classification, Classification):
            raise ConfigError(f"{self._strategy!r} returned a Decision without a Classification")
        for name in ("accept_at", "arm_propensity", "action_propensity"):
            if not _is_share(share := getattr(decision, name)):
                raise ConfigError(f"{self._strategy!r} returned {name} {shown(share)}; it must lie in [0, 1]")
        if decision.ruled_out is not menu.ruled_out and not (
            _is_listing(decision.ruled_out) and all(isinstance(out, RuledOut) for out in decision.ruled_out)
        ):
            raise ConfigError(
                f"{self._strategy!r} returned ruled_out {shown(decision.ruled_out)}; "
                "it must be a tuple of RuledOut, such as menu.ruled_out"
            )
        if not _is_listing(decision.reasons) or not _TEXTS.issuperset(map(type, decision.reasons)):
            raise ConfigError(
                f"{self._strategy!r} returned reasons {shown(decision.reasons)}; it must be a tuple of texts"
            )
        offered = _offered(menu)
        for rung in decision.ladder:
            if not isinstance(rung, Rung) or not isinstance(rung.model, str) or type(rung.tier) is not Tier:
                raise ConfigError(f"{self._strategy!r} put {shown(rung)} on the ladder, which is no Rung")
            if rung.model not in offered:
                reason = next((out.reason for out in menu.ruled_out if out.model == rung.model), "unknown")
                raise ConfigError(
                    f"{self._strategy!r} put {rung.model} on the ladder, which is ruled out: {reason}"
                )
        if {type(decision.ladder), type(decision.reasons), type(decision.ruled_out)} == {tuple}:
            return decision
        # The strategy may change its own list later, while a run reads it.
        return replace(
            decision,
            ladder=tuple(decision.ladder),
            reasons=tuple(decision.reasons),
            ruled_out=tuple(decision.ruled_out),
        )

    def _rolled_back(self, task: Task, classification: Classification, menu: Menu) -> Decision:
        """Return the ladder of the baseline model alone, whatever the request.

        Only a conversation that is tied to another provider stays there, with what is nearest to it.
        """
        name = self._baseline_model or self._default_baseline(menu)
        if name is not None and menu.tied_to not in (
            None,
            UNKNOWN_PROVIDER,
            self._catalog.card(name).provider,
        ):
            name = self._nearest(self._catalog.card(name).name, menu)
        if name is None:
            raise ConfigError("smart routing is off and there is no baseline model; set baseline_model")
        card = self._catalog.card(name)
        if (reason := self._eligibility.barred(card.name)) is not None:
            raise ConfigError(f"smart routing is off and the baseline model {card.name} is barred: {reason}")
        price = self._prices.price(card.name)
        tokens = (menu.expected_input_tokens, menu.expected_output_tokens)
        usd = None if price is None else price.plain_cost(*tokens)
        return Decision(
            classification=classification,
            ladder=(Rung(card.name, None, card.tier, usd),),
            accept_at=0.0,
            strategy="baseline",
            reasons=("smart routing is off: everything goes to the baseline model",),
            ruled_out=menu.ruled_out,
        )

    def _default_baseline(self, menu: Menu) -> str | None:
        """Return the default baseline, or what is nearest to it if it cannot take this request."""
        name = self._eligibility.baseline()
        return None if name is None else self._nearest(name, menu)

    def _nearest(self, name: str, menu: Menu) -> str:
        """Return the candidate of this name, or else the cheapest whose tier is nearest to its tier."""
        if not menu.candidates or any(c.model == name for c in menu.candidates):
            return name
        rank = self._catalog.card(name).tier.rank
        return min(menu.candidates, key=lambda candidate: abs(candidate.tier.rank - rank)).model


@cached_by_identity
def _offered(menu: Menu) -> frozenset[str]:
    return frozenset(candidate.model for candidate in menu.candidates)


_TEXTS = frozenset({str})


def _is_share(value: object) -> bool:
    if type(value) is float:  # nearly always; NaN fails the comparison
        return 0.0 <= value <= 1.0
    return is_number(value) and 0.0 <= value <= 1.0


def _is_listing(value: object) -> bool:
    return isinstance(value, tuple | list)
