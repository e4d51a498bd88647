"""Look up a model's price: the user's rows first, then the installed litellm's map. None when unknown."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import ConfigError, shown
from smartroute.pricing.price import Price
from smartroute.records import Usage

_log = logging.getLogger("smartroute")

_BARE_PROVIDERS = ("openai", "anthropic", "gemini", "google")


class PriceTable:
    """The price of each model: these rows first, then, for models without one, litellm's installed map.

    `prices` maps a model's name, with or without its provider, to its Price. `fill_gaps=False`
    leaves litellm's map out. `targets` gives the litellm id under which a name is looked up there; None
    means that no row of the map is this model (a server of the user's own). A model without a price
    anywhere is None, with one warning. Immutable and thread-safe; litellm itself is never imported.
    Raises ConfigError unless `prices` is a dict from names to Prices.
    """

    def __init__(
        self,
        prices: Mapping[str, Price],
        *,
        fill_gaps: bool = True,
        targets: Mapping[str, str | None] | None = None,
    ) -> None:
        if not isinstance(prices, Mapping) or not all(isinstance(name, str) for name in prices):
            raise ConfigError(
                f"prices must be a dict from model name to Price(input, output), got {shown(prices)}"
            )
        for name, price in prices.items():
            if not isinstance(price, Price):
                raise ConfigError(
                    f"the price of {name!r} must be a Price(input, output) in USD per million tokens, "
                    f"got {shown(price)}"
                )
        self._rows = {canonical_name(name): price for name, price in prices.items()}
        self._targets = {canonical_name(name): target for name, target in (targets or {}).items()}
        self._fill_gaps = fill_gaps
        self._cache: dict[str, Price | None] = {}
        self._warned: set[str] = set()
        self._lock = fork_safe_lock()

    def price(self, model: str, *, warn: bool = True) -> Price | None:
        """Return the price of a model, None when it is unknown. With `warn` that is logged, once a model."""
        try:
            price = self._cache[model]
        except KeyError:
            price = self._find(model)
        if price is None and warn:
            self._warn(model)
        return price

    def cost(self, model: str, usage: Usage, *, batch: bool = False) -> float | None:
        """Return what this usage of a model costs in USD at the plain rates.

        None when its price, or that of its audio, is unknown.
        """
        price = self.price(model)
        if price is None or (usage.audio_tokens and price.audio_apart):
            return None
        return price.cost(usage, batch=batch)

    def merged(self, over: PriceTable) -> PriceTable:
        """Return a table with the rows of both, in which those of `over` win.

        Gaps are filled only when both tables would.
        """
        table = PriceTable({}, fill_gaps=self._fill_gaps and over._fill_gaps)
        table._rows = {**self._rows, **over._rows}
        table._targets = {**self._targets, **over._targets}
        return table

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names that have a row of their own."""
        return iter(self._rows)

    def __len__(self) -> int:
        """Return how many rows the table has of its own."""
        return len(self._rows)

    def __repr__(self) -> str:
        return f"PriceTable({len(self._rows)} prices, fill_gaps={self._fill_gaps})"

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in _OF_THIS_PROCESS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _cache={}, _warned=set(), _lock=fork_safe_lock())

    def _find(self, model: str) -> Price | None:
        with self._lock:
            if model in self._cache:
                return self._cache[model]
            name = canonical_name(model)
            price = self._rows.get(name)
            if price is None and self._fill_gaps:
                # litellm's price map is for models without a price here, and most users never meet one.
                from smartroute.pricing.litellm_map import installed_price

                target = self._targets.get(name, model)
                price = None if target is None else installed_price(target, "fills a gap")
            self._cache[model] = price
            return price

    def _warn(self, model: str) -> None:
        with self._lock:
            if model in self._warned:
                return
            self._warned.add(model)
        _log.warning(
            "no price is known for model %r: its cost counts as unknown, and budgets refuse it; "
            "give its ModelCard a price, or pass prices=PriceTable({%r: Price(input, output)})",
            model,
            model,
        )


_OF_THIS_PROCESS = ("_lock", "_cache", "_warned")


def canonical_name(model: str) -> str:
    """Return a model's name without the prefix of OpenAI, Anthropic or Google: "openai/gpt-4o" is "gpt-4o".

    Other prefixes stay, since another seller may charge another price.
    """
    provider, slash, rest = model.partition("/")
    return rest if slash and provider in _BARE_PROVIDERS else model
