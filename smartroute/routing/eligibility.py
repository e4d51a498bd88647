"""Say which models may take a request, what each would cost, and why the others may not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from smartroute.catalogue import Catalogue, ModelCard, provider_name
from smartroute.classify import estimate_tokens
from smartroute.errors import ConfigError, MissingKeyError
from smartroute.pricing import Price, PriceTable
from smartroute.records import Candidate, Menu, RuledOut, Task, Usage
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
"""What an answer of a kind is assumed to be long. A prior for ordering models by cost, not a forecast."""

EFFORT_OUTPUT_FACTOR: Mapping[str, float] = {
    "none": 0.7,
    "minimal": 0.8,
    "low": 1.0,
    "medium": 2.0,
    "high": 4.0,
    "xhigh": 6.0,
    "max": 8.0,
}
"""How much more output an effort is assumed to cause, reasoning included. A prior like the one above."""

_PART_ABILITY = {
    "image_url": "images",
    "image": "images",
    "input_image": "images",
    "input_audio": "audio",
    "audio_url": "audio",
    "file": "files",
    "input_file": "files",
    "document": "files",
}
_PARAM_ABILITY = {
    "tools": "tools",
    "functions": "tools",
    "tool_choice": "tools",
    "logprobs": "logprobs",
    "top_logprobs": "logprobs",
    "reasoning_effort": "effort",
}


@dataclass(frozen=True, slots=True)
class _Entry:
    card: ModelCard
    provider: str
    price: Price | None
    static: RuledOut | None


class Eligibility:
    """Who may take a request, given a catalogue, prices, the allow-list and the keys that are set.

    `needs_keys` is False for providers that reach no real API.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        prices: PriceTable,
        *,
        providers: Iterable[str] | None = None,
        needs_keys: bool = True,
    ) -> None:
        self._catalogue = catalogue
        self._prices = prices
        self._allowed = None if providers is None else frozenset(provider_name(name) for name in providers)
        self._needs_keys = needs_keys
        self._variables = tuple(
            dict.fromkeys(variable for card in catalogue for variable in card.key_variables)
        )
        self._entries: dict[tuple[bool, ...], tuple[_Entry, ...]] = {}
        if self._allowed is not None and not self._allowed:
            raise ConfigError("providers is an empty allow-list; name at least one, or leave it out")

    def entries(self) -> tuple[_Entry, ...]:
        """Return every model with what rules it out whatever the request, for the keys set now."""
        keys = tuple(bool(os.environ.get(variable)) for variable in self._variables)
        found = self._entries.get(keys)
        if found is None:
            found = self._entries[keys] = tuple(self._entry(card) for card in self._catalogue)
        return found

    def _entry(self, card: ModelCard) -> _Entry:
        reason = self._static_reason(card)
        return _Entry(
            card,
            card.provider,
            self._prices.price(card.name) if reason is None else None,
            None if reason is None else RuledOut(card.name, reason),
        )

    def _static_reason(self, card: ModelCard) -> str | None:
        if card.retired(self._catalogue.as_of):
            return f"retired on {card.retired_on}"
        if self._allowed is not None and card.provider not in self._allowed:
            return f"provider {card.provider} is not in the allow-list {sorted(self._allowed)}"
        if self._needs_keys and card.key_variables and not any(map(os.environ.get, card.key_variables)):
            return f"no key: {' or '.join(card.key_variables)} is not set"
        return None

    def menu(
        self,
        task: Task,
        *,
        accept_at: float,
        under_budget: bool = False,
        tied_to: str | None = None,
    ) -> Menu:
        """Return the candidates, cheapest first, and who is ruled out and why.

        Raises MissingKeyError when no model is left for want of a key alone.
        """
        needs = required_abilities(task)
        tokens_in = estimate_tokens(task)
        asked_out = _asked_output(task.params)
        tokens_out = EXPECTED_OUTPUT_TOKENS.get(task.kind, 300)
        if asked_out is not None and asked_out < tokens_out:
            tokens_out = asked_out
        usage = Usage(tokens_in, tokens_out)
        params = task.params
        preferred = self.preferred_card(task)
        candidates: list[tuple[float, int, Candidate]] = []
        ruled_out: list[RuledOut] = []
        room = tokens_in + (asked_out or 0)
        for position, entry in enumerate(self.entries()):
            if entry.static is not None:
                ruled_out.append(entry.static)
                continue
            card = entry.card
            reason = None
            if not card.default and card is not preferred:
                reason = "not in the default ladder (older or a preview); name it to use it"
            elif not needs <= card.abilities:
                reason = f"cannot take {', '.join(sorted(needs - card.abilities))}"
            elif card.context_tokens is not None and room > card.context_tokens:
                reason = f"context of {card.context_tokens} tokens is too small for about {room}"
            elif (
                asked_out is not None
                and card.max_output_tokens is not None
                and (asked_out > card.max_output_tokens)
            ):
                reason = f"output cap of {card.max_output_tokens} tokens is below the {asked_out} asked for"
            elif params and card.refuses and (refused := _refused(params, card.refuses)):
                reason = f"does not take {', '.join(refused)}"
            elif "reasoning_effort" in params and params["reasoning_effort"] not in card.efforts:
                reason = f"does not take reasoning_effort={params['reasoning_effort']!r}"
            elif tied_to is not None and tied_to not in (UNKNOWN_PROVIDER, entry.provider):
                reason = f"the conversation has open tool calls or signed thinking of {tied_to}"
            elif under_budget and entry.price is None:
                reason = "its price is unknown, so a budget cannot be kept"
            if reason is not None:
                ruled_out.append(RuledOut(card.name, reason))
                continue
            usd = None if entry.price is None else entry.price.cost(usage)
            candidates.append(
                (
                    float("inf") if usd is None else usd,
                    position,
                    Candidate(card.name, entry.provider, card.tier, usd, card.efforts),
                )
            )
        candidates.sort()
        if not candidates:
            self._complain_of_keys(ruled_out)
        return Menu(
            candidates=tuple(candidate for _, _, candidate in candidates),
            ruled_out=tuple(ruled_out),
            expected_input_tokens=tokens_in,
            expected_output_tokens=tokens_out,
            accept_at=accept_at,
        )

    def preferred_card(self, task: Task) -> ModelCard | None:
        """Return the card of the task's preferred model. Raises UnknownModelError."""
        if task.preferred_model is None:
            return None
        return self._catalogue.card(split_effort(task.preferred_model, self._catalogue)[0])

    def _complain_of_keys(self, ruled_out: list[RuledOut]) -> None:
        keyless = [out for out in ruled_out if out.reason.startswith("no key")]
        if not keyless or any(
            not out.reason.startswith(("no key", "retired", "not in", "provider ")) for out in ruled_out
        ):
            return
        allowed = [
            variable
            for card in self._catalogue
            if any(out.model == card.name for out in keyless)
            for variable in card.key_variables
        ]
        variables = tuple(dict.fromkeys(allowed))
        raise MissingKeyError(
            f"no provider has a key: set {', '.join(variables[:-1])}{' or ' if variables[:-1] else ''}"
            f"{variables[-1]} in the environment, or add a model of your own to the catalogue. "
            "`smartroute demo` needs no key.",
            variables=variables,
        )

    def baseline(self) -> str | None:
        """Return the default baseline: the cheapest standard model that may be called now.

        What a team without a router would most likely send everything to; where no standard model
        may be called, the cheapest of the next higher tier, then of the lower one.
        """
        usage = Usage(1_000, 300)
        priced = [
            (entry.card.tier.rank, entry.price.cost(usage), position, entry.card.name)
            for position, entry in enumerate(self.entries())
            if entry.static is None and entry.card.default and entry.price is not None
        ]
        order = {1: 0, 2: 1, 0: 2}
        best = min(((order[rank], usd, position, name) for rank, usd, position, name in priced), default=None)
        return None if best is None else best[3]


def split_effort(name: str, catalogue: Catalogue) -> tuple[str, str | None]:
    """Return the model and effort of a name such as "o1@high"."""
    model, at, effort = name.rpartition("@")
    if not at:
        return name, None
    card = catalogue.card(model)
    if effort not in card.efforts:
        raise ConfigError(f"{model} has no effort {effort!r}; it takes {list(card.efforts) or 'none'}")
    return model, effort


def required_abilities(task: Task) -> frozenset[str]:
    """Return the abilities that a request needs: from its parameters and from the parts of its messages."""
    needs = {_PARAM_ABILITY[name] for name, value in task.params.items() if value and name in _PARAM_ABILITY}
    wanted = task.params.get("response_format")
    if wanted is not None and not (isinstance(wanted, Mapping) and wanted.get("type") != "json_schema"):
        needs.add("json_schema")
    for message in task.messages:
        content = message.get("content")
        if isinstance(content, list):
            needs.update(_PART_ABILITY[part["type"]] for part in content if part.get("type") in _PART_ABILITY)
        if message.get("tool_calls") or message.get("role") == "tool":
            needs.add("tools")
    return frozenset(needs)


def _asked_output(params: Mapping[str, Any]) -> int | None:
    if not params:
        return None
    asked = [params[name] for name in ("max_tokens", "max_completion_tokens") if params.get(name)]
    return int(max(asked)) if asked else None


def _refused(params: Mapping[str, Any], refuses: frozenset[str]) -> list[str]:
    return sorted(name for name, value in params.items() if name in refuses and value is not None)
