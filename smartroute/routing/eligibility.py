"""Which models may take a request, what they would cost, and why the others may not."""

from __future__ import annotations

import difflib
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from smartroute.catalog import Catalog, ModelCard, provider_name
from smartroute.classify import estimate_tokens
from smartroute.errors import ConfigError, MissingKeyError
from smartroute.parameters import asked_choices
from smartroute.pricing import Price, PriceTable
from smartroute.records import Candidate, Menu, RuledOut, Task, Tier
from smartroute.routing.abilities import asked_effort, asked_output, required_abilities
from smartroute.routing.ceilings import limits_output, open_cost, unknown_because
from smartroute.routing.continuity import UNKNOWN_PROVIDER

EXPECTED_OUTPUT_TOKENS: Mapping[str, int] = {
    "score": 60,
    "classify": 20,
    "extract": 120,
    "general": 300,
    "creative": 700,
    "reasoning": 900,
    "strategy": 900,
    "psychology": 600,
}
"""The assumed length of an answer, by kind of task. A prior to order models by cost, not a forecast."""
_EXPECTED_OUTPUT_TOKENS_ELSE = 300

EFFORT_OUTPUT_FACTOR: Mapping[str, float] = {
    "none": 0.7,
    "minimal": 0.8,
    "low": 1.0,
    "medium": 2.0,
    "high": 4.0,
    "xhigh": 6.0,
    "max": 8.0,
}
"""How many times the output an effort is assumed to cause, reasoning included. A prior like the above."""

THINKING_TOKENS: Mapping[str, int] = {"minimal": 1_024, "low": 1_024, "medium": 2_048, "high": 4_096}
"""How much of max_tokens litellm reserves for an Anthropic model's thinking, by effort."""

_KEYS_READ_EVERY_S = 1.0
_UNPRICED = float("inf")
_MENUS_KEPT = 1_000
_NO_NAMES: frozenset[str] = frozenset()


class _Entry(NamedTuple):
    """What each request looks up about a model."""

    position: int
    name: str
    provider: str
    tier: Tier
    context_tokens: float
    price: Price | None
    card: ModelCard


@dataclass(frozen=True, slots=True)
class _Offer:
    """Which models may be called with the keys that are set, and why the others may not."""

    open: tuple[_Entry, ...]
    ruled_out: tuple[RuledOut, ...]
    by_name_only: tuple[_Entry, ...]
    baseline: str | None
    smallest_context_tokens: float
    menus: dict[Any, Menu] = field(default_factory=dict)


class Eligibility:
    """Which models may take a request, given a catalog, prices, the allow-list and the keys that are set.

    `named` are models that the strategy asks for by name: they are offered even when the default ladder
    leaves them out. `needs_keys` is False for providers that reach no real API. Keys are read from the
    environment again after a second, and whenever no model could be called with those found before.

    Raises ConfigError for an empty allow-list, and for an allowed provider that looks misspelled.
    """

    def __init__(
        self,
        catalog: Catalog,
        prices: PriceTable,
        *,
        providers: Iterable[str] | None = None,
        named: Iterable[str] = (),
        needs_keys: bool = True,
    ) -> None:
        self._catalog = catalog
        self._named = frozenset(catalog.card(name).name for name in named)
        self._prices = prices
        self._allowed = None if providers is None else frozenset(provider_name(name) for name in providers)
        self._needs_keys = needs_keys
        self._variables = tuple(
            dict.fromkeys(variable for card in catalog for variable in card.key_variables)
        )
        self._offers: dict[tuple[bool, ...], _Offer] = {}
        self._current: _Offer | None = None
        self._read_at = 0.0
        self._check_allowed()
        if self._allowed is not None and not self._allowed:
            raise ConfigError("providers is an empty allow-list; name at least one, or leave it out")

    def _check_allowed(self) -> None:
        """Raise ConfigError for an allowed provider that looks misspelled; one without models may pass."""
        known = {card.provider for card in self._catalog}
        for name in sorted((self._allowed or frozenset()) - known):
            if close := difflib.get_close_matches(name, known, n=1, cutoff=0.7):
                raise ConfigError(f"providers names {name!r}; did you mean {close[0]!r}?")

    def _offer(self) -> _Offer:
        now = time.monotonic()
        offer = self._current
        # Without a model that can be called, keys are read each time: the user may be about to set one.
        if (
            offer is not None
            and offer.open
            and (not self._needs_keys or now - self._read_at < _KEYS_READ_EVERY_S)
        ):
            return offer
        keys = tuple(bool(os.environ.get(variable)) for variable in self._variables)
        offer = self._offers.get(keys)
        if offer is None:
            offer = self._offers[keys] = self._make_offer()
        self._current, self._read_at = offer, now
        return offer

    def _make_offer(self) -> _Offer:
        entries: list[_Entry] = []
        by_name_only: list[_Entry] = []
        ruled_out: list[RuledOut] = []
        for position, card in enumerate(self._catalog):
            reason = self._static_reason(card)
            if reason is not None:
                ruled_out.append(RuledOut(card.name, reason))
                continue
            entry = _Entry(
                position,
                card.name,
                card.provider,
                card.tier,
                float("inf") if card.context_tokens is None else card.context_tokens,
                self._prices.price(card.name),
                card,
            )
            (entries if card.default or card.name in self._named else by_name_only).append(entry)
        ruled_out += [
            RuledOut(entry.name, "not in the default ladder (older or a preview); name it to use it")
            for entry in by_name_only
        ]
        smallest = min((entry.context_tokens for entry in entries), default=0.0)
        return _Offer(tuple(entries), tuple(ruled_out), tuple(by_name_only), _baseline_of(entries), smallest)

    def _static_reason(self, card: ModelCard) -> str | None:
        if card.retired(self._catalog.as_of):
            return f"retired on {card.retired_on}"
        if self._allowed is not None and card.provider not in self._allowed:
            return f"provider {card.provider} is not in the allow-list {sorted(self._allowed)}"
        if self._needs_keys and card.key_variables and not any(map(os.environ.get, card.key_variables)):
            return f"no key: {' or '.join(card.key_variables)} is not set"
        return None

    def barred(self, name: str) -> str | None:
        """Return why a model may not be called at all (retired, allow-list, no key); None when it may."""
        return self._static_reason(self._catalog.card(name))

    def menu(
        self,
        task: Task,
        *,
        accept_at: float,
        under_budget: bool = False,
        tied_to: str | None = None,
    ) -> Menu:
        """Return the candidates, cheapest first, and the models that are ruled out with the reasons.

        Menus are cached by the shape of the request. Raises MissingKeyError when no model is left only
        because keys are missing.
        """
        offer = self._offer()
        tokens_in = estimate_tokens(task)
        params = task.params
        asked_out = asked_output(params) if params else None
        effort = asked_effort(params)
        tokens_out = EXPECTED_OUTPUT_TOKENS.get(task.kind, _EXPECTED_OUTPUT_TOKENS_ELSE)
        if effort is not None:
            tokens_out = round(tokens_out * effort_factor(effort))
        if asked_out is not None and asked_out < tokens_out:
            tokens_out = asked_out
        choices = asked_choices(params) if params else 1
        tokens_out *= choices
        request = _Request(
            needs=required_abilities(params, task.messages),
            names=frozenset(params) if params else _NO_NAMES,
            effort=effort,
            asked_out=asked_out,
            most_out=None if asked_out is None else asked_out * choices,
            tied_to=tied_to,
            under_budget=under_budget,
            open_cost=open_cost(params, task.messages) if under_budget else None,
        )
        # Whether a context is large enough is decided by the exact estimate, costs by the rounded one.
        room = tokens_in + (asked_out or 0)
        tokens_in = _rounded(tokens_in)
        if task.preferred_model is not None:
            entries, ruled_out = self._with_preferred(task.preferred_model, offer)
            return self._make_menu(entries, ruled_out, request, room, tokens_in, tokens_out, accept_at)
        # Some model's context is too small, and its reason names this very size: not a menu to keep.
        if room > offer.smallest_context_tokens:
            return self._make_menu(
                offer.open, offer.ruled_out, request, room, tokens_in, tokens_out, accept_at
            )
        key = (request, tokens_in, tokens_out, accept_at)
        menu = offer.menus.get(key)
        if menu is None:
            menu = self._make_menu(
                offer.open, offer.ruled_out, request, room, tokens_in, tokens_out, accept_at
            )
            if len(offer.menus) >= _MENUS_KEPT:
                offer.menus.clear()
            offer.menus[key] = menu
        return menu

    def _make_menu(
        self,
        entries: tuple[_Entry, ...],
        ruled_out: tuple[RuledOut, ...],
        request: _Request,
        room: int,
        tokens_in: int,
        tokens_out: int,
        accept_at: float,
    ) -> Menu:
        candidates: list[tuple[float, _Entry, float | None, float | None, float | None]] = []
        refused: list[RuledOut] = []
        for entry in entries:
            reason = request.reason_against(entry, room)
            if reason is not None:
                refused.append(RuledOut(entry.name, reason))
                continue
            price = entry.price
            if price is None:  # allowed without a budget; sorted behind all models with a price
                candidates.append((_UNPRICED, entry, None, None, None))
                continue
            usd, input_usd = price.plain_cost(tokens_in, tokens_out), price.plain_cost(tokens_in, 0)
            most_usd = None
            if request.most_out is not None:
                most_usd = price.plain_cost(tokens_in, request.most_out) - input_usd
            candidates.append((usd, entry, usd, usd - input_usd, most_usd))
        if not candidates:
            self._complain_of_keys((*ruled_out, *refused))
        candidates.sort(key=lambda candidate: (candidate[0], candidate[1].position))
        return Menu(
            candidates=tuple(
                Candidate(
                    entry.name,
                    entry.provider,
                    entry.tier,
                    usd,
                    entry.card.efforts,
                    request.effort,
                    output_usd,
                    most_usd,
                )
                for _, entry, usd, output_usd, most_usd in candidates
            ),
            ruled_out=(*ruled_out, *refused),
            expected_input_tokens=tokens_in,
            expected_output_tokens=tokens_out,
            accept_at=accept_at,
            tied_to=request.tied_to,
        )

    def _with_preferred(self, name: str, offer: _Offer) -> tuple[tuple[_Entry, ...], tuple[RuledOut, ...]]:
        card = self._catalog.card(split_effort(name, self._catalog)[0])
        asked_for = tuple(entry for entry in offer.by_name_only if entry.card is card)
        if not asked_for:
            return offer.open, offer.ruled_out
        return (*offer.open, *asked_for), tuple(out for out in offer.ruled_out if out.model != card.name)

    def _complain_of_keys(self, ruled_out: tuple[RuledOut, ...]) -> None:
        # A missing key is worth an error of its own only where a key is all that is missing.
        keyless = [out for out in ruled_out if out.reason.startswith("no key")]
        if not keyless or any(
            not out.reason.startswith(("no key", "retired", "not in", "provider ")) for out in ruled_out
        ):
            return
        allowed = [
            variable
            for card in self._catalog
            if any(out.model == card.name for out in keyless)
            for variable in card.key_variables
        ]
        variables = tuple(dict.fromkeys(allowed))
        raise MissingKeyError(
            f"no provider has a key: set {', '.join(variables[:-1])}{' or ' if variables[:-1] else ''}"
            f"{variables[-1]} in the environment, or add a model of your own to the catalog. "
            "`smartroute demo` needs no key.",
            variables=variables,
        )

    def baseline(self) -> str | None:
        """Return the default baseline: the cheapest standard model that may be called now.

        A team without a router would most likely send everything to it. Where no standard model may be
        called, it is the cheapest of the next higher tier, then of the lower one.
        """
        return self._offer().baseline


def _baseline_of(entries: Iterable[_Entry]) -> str | None:
    order = {Tier.STANDARD: 0, Tier.PREMIUM: 1, Tier.MINI: 2}
    priced = [
        (order[entry.tier], entry.price.plain_cost(1_000, 300), entry.position, entry.name)
        for entry in entries
        if entry.price is not None
    ]
    return min(priced)[-1] if priced else None


def split_effort(name: str, catalog: Catalog) -> tuple[str, str | None]:
    """Return the model and effort of a name such as "gpt-6-astra@high"."""
    model, at, effort = name.rpartition("@")
    if not at:
        return name, None
    card = catalog.card(model)
    if effort not in card.efforts:
        raise ConfigError(f"{model} has no effort {effort!r}; it takes {list(card.efforts) or 'none'}")
    return model, effort


class _Request(NamedTuple):
    """What a request asks of a model. Equal requests get equal answers from every model."""

    needs: frozenset[str]
    names: frozenset[str]
    effort: str | None
    asked_out: int | None
    most_out: int | None
    tied_to: str | None
    under_budget: bool
    open_cost: str | None = None

    def reason_against(self, entry: _Entry, room: int) -> str | None:
        """Return why a model cannot take this request, in a context of so many tokens; None when it can."""
        card = entry.card
        if not self.needs <= card.abilities:
            return f"cannot take {', '.join(sorted(self.needs - card.abilities))}"
        if room > entry.context_tokens:  # an unknown context is infinite here
            return f"context of {card.context_tokens} tokens is too small for about {room}"
        cap = card.max_output_tokens
        if self.asked_out is not None and cap is not None and self.asked_out > cap:
            return f"output cap of {cap} tokens is below the {self.asked_out} asked for"
        if not self.names.isdisjoint(card.refuses):
            return f"does not take {', '.join(sorted(self.names & card.refuses))}"
        if self.effort is not None and self.effort not in card.efforts:
            return f"does not take reasoning_effort={self.effort!r}"
        if self.effort is not None and not has_room_to_think(entry.provider, self.effort, self.asked_out):
            return (
                f"reasoning_effort={self.effort!r} thinks longer than the {self.asked_out} tokens asked for"
            )
        if self.tied_to is not None and self.tied_to not in (UNKNOWN_PROVIDER, entry.provider):
            return f"the conversation has open tool calls or signed thinking of {self.tied_to}"
        return self._no_ceiling(entry) if self.under_budget else None

    def _no_ceiling(self, entry: _Entry) -> str | None:
        """Return why the most that a call can cost is unknown; None when it is known."""
        card = entry.card
        open_by = self.open_cost
        if open_by is None and card.options and (reason := open_cost(card.options, ())) is not None:
            open_by = f"{reason} in its options"
        return unknown_because(
            card,
            entry.price,
            needs=self.needs,
            has_limit=limits_output(card.options, self.asked_out, card.max_output_tokens),
            open_cost=open_by,
        )


def effort_factor(effort: str | None) -> float:
    """Return how many times the output of an unnamed effort this effort is assumed to cause."""
    return 1.0 if effort is None else EFFORT_OUTPUT_FACTOR.get(effort, 1.0)


def has_room_to_think(provider: str, effort: str, max_tokens: int | None) -> bool:
    """Return whether an answer of so many tokens leaves room for thinking at an effort."""
    # Only for Anthropic's models does litellm take the thinking out of max_tokens.
    if max_tokens is None or provider != "anthropic":
        return True
    return max_tokens > THINKING_TOKENS.get(effort, 0)


def _rounded(tokens: int) -> int:
    """Return an estimated count rounded up to five significant bits: by at most a sixteenth.

    The estimate is no more exact than that, and equal counts share a cached menu.
    """
    shift = max(0, tokens.bit_length() - 5)
    return -(-tokens >> shift) << shift
