"""Turn token usage into dollars. The only module that does. An unknown price is None."""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from datetime import date
from pathlib import Path
from typing import Any

from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import ConfigError
from smartroute.records import Usage

_log = logging.getLogger("smartroute")

_PER_MILLION = 1_000_000
_BARE_PROVIDERS = ("openai", "anthropic", "gemini", "google")


@dataclass(frozen=True, slots=True)
class LongContext:
    """Rates in USD per million tokens of a call whose input exceeds `above_tokens`, for all its tokens.

    A rate left out is the ordinary one of the Price.
    """

    above_tokens: int
    input: float
    output: float
    cached_input: float | None = None
    _: KW_ONLY
    cache_write: float | None = None
    batch_input: float | None = None
    batch_output: float | None = None
    batch_cached_input: float | None = None
    batch_cache_write: float | None = None

    def __post_init__(self) -> None:
        above = self.above_tokens
        if isinstance(above, bool) or not isinstance(above, int) or above < 0:
            raise ConfigError(f"above_tokens must be a whole number of at least 0, got {above!r}")
        for name in _LONG_RATES:
            _check_rate(f"long_context.{name}", getattr(self, name), required=name in ("input", "output"))


_LONG_RATES = tuple(field.name for field in fields(LongContext) if field.name != "above_tokens")


@dataclass(frozen=True, slots=True)
class Price:
    """What a model charges, in USD per million tokens.

    A rate of None falls back: cached input and cache writes on input, reasoning on output, batch on
    the standard rates (no discount is invented), cached input and cache writes of a batch on the
    batch's input. `source` and `as_of` (an ISO date) say where the row comes from. `audio_apart` says that
    audio tokens have rates of their own, which are not among these: what a call with some costs is unknown.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None
    batch_input: float | None = None
    batch_output: float | None = None
    long_context: LongContext | None = None
    source: str = ""
    as_of: str = ""
    _: KW_ONLY
    batch_cached_input: float | None = None
    batch_cache_write: float | None = None
    audio_apart: bool = False

    def __post_init__(self) -> None:
        for name in _RATES:
            _check_rate(name, getattr(self, name), required=name in ("input", "output"))
        if not isinstance(self.audio_apart, bool):
            raise ConfigError(f"audio_apart must be true or false, got {self.audio_apart!r}")
        if self.long_context is not None and not isinstance(self.long_context, LongContext):
            raise ConfigError(
                "long_context must be a LongContext(above_tokens, input, output), "
                f"got {type(self.long_context).__name__}"
            )
        if not isinstance(self.source, str):
            raise ConfigError(f"a price's source must be text, got {self.source!r}")
        if self.as_of:
            _check_date("a price's as_of", self.as_of)

    def cost(self, usage: Usage, *, batch: bool = False) -> float:
        """Return what this usage costs in USD.

        Cached, cache-write and reasoning tokens are parts of their totals; a part that exceeds its
        total counts as the total. Never more than `ceiling` of the same totals.
        """
        tokens_in, tokens_out = usage.input_tokens, usage.output_tokens
        long = self._long(tokens_in)
        cached = min(usage.cached_tokens, tokens_in)
        written = min(usage.cache_write_tokens, tokens_in - cached)
        reasoned = min(usage.reasoning_tokens, tokens_out)
        if long is None and not (batch or cached or written or reasoned):
            return (tokens_in * self.input + tokens_out * self.output) / _PER_MILLION
        rates = self._batch_rates(long) if batch else self._standard_rates(long)
        exact = math.fsum(
            (
                (tokens_in - cached - written) * rates[0],
                cached * rates[1],
                written * rates[2],
                (tokens_out - reasoned) * rates[3],
                reasoned * rates[4],
            )
        )
        # Rounding each part apart may exceed the undivided product by a last digit.
        return min(exact / _PER_MILLION, self.ceiling(tokens_in, tokens_out))

    def rates(self) -> tuple[float, float, float, float, float]:
        """Return USD per token of plain, cached and written input and of plain and reasoned output.

        Those of prompts below any long-context threshold.
        """
        plain, cached, written, answer, reasoned = self._standard_rates(None)
        return (
            plain / _PER_MILLION,
            cached / _PER_MILLION,
            written / _PER_MILLION,
            answer / _PER_MILLION,
            reasoned / _PER_MILLION,
        )

    def plain_cost(self, input_tokens: int, output_tokens: int) -> float:
        """Return what so many tokens cost in USD when none is cached, written or reasoned: `cost`, faster."""
        long = self.long_context
        if long is None or input_tokens <= long.above_tokens:
            return (input_tokens * self.input + output_tokens * self.output) / _PER_MILLION
        return (input_tokens * long.input + output_tokens * long.output) / _PER_MILLION

    def ceiling(self, input_tokens: int, output_tokens: int) -> float:
        """Return the most USD that so many tokens can cost, however they were cached, written or reasoned.

        Grows with both counts, so a reservation at an upper bound of the tokens covers the call.
        """
        long = self._long(input_tokens)
        dearest_in = max(rate for rate in self._input_rates(long) if rate is not None)
        dearest_out = max(rate for rate in self._output_rates(long) if rate is not None)
        return (input_tokens * dearest_in + output_tokens * dearest_out) / _PER_MILLION

    def _long(self, input_tokens: int) -> LongContext | None:
        long = self.long_context
        return long if long is not None and input_tokens > long.above_tokens else None

    def _standard_rates(self, long: LongContext | None) -> tuple[float, float, float, float, float]:
        """Return the rates of plain, cached and written input, and of plain and reasoned output."""
        if long is None:
            rate_in, rate_out = self.input, self.output
            cached, written = self.cached_input, self.cache_write
            reasoned = rate_out if self.reasoning is None else self.reasoning
        else:
            rate_in, rate_out = long.input, long.output
            cached = _first(long.cached_input, self.cached_input)
            written = _first(long.cache_write, self.cache_write)
            reasoned = max(rate_out, self.reasoning or 0.0)
        return (
            rate_in,
            rate_in if cached is None else cached,
            rate_in if written is None else written,
            rate_out,
            reasoned,
        )

    def _batch_rates(self, long: LongContext | None) -> tuple[float, float, float, float, float]:
        rate_in, cached, written, rate_out, reasoned = self._standard_rates(long)
        batch_in, batch_out = self.batch_input, self.batch_output
        batch_cached, batch_written = self.batch_cached_input, self.batch_cache_write
        if long is not None:
            batch_in, batch_out = _first(long.batch_input, batch_in), _first(long.batch_output, batch_out)
            batch_cached = _first(long.batch_cached_input, batch_cached)
            batch_written = _first(long.batch_cache_write, batch_written)
        if batch_in is not None:
            rate_in = batch_in
            cached = batch_in if batch_cached is None else batch_cached
            written = batch_in if batch_written is None else batch_written
        if batch_out is not None:
            rate_out = reasoned = batch_out
        return rate_in, cached, written, rate_out, reasoned

    def _input_rates(self, long: LongContext | None) -> Iterator[float | None]:
        for row in (self, long):
            if row is not None:
                yield from (row.input, row.cached_input, row.cache_write)
                yield from (row.batch_input, row.batch_cached_input, row.batch_cache_write)

    def _output_rates(self, long: LongContext | None) -> Iterator[float | None]:
        yield self.reasoning
        for row in (self, long):
            if row is not None:
                yield from (row.output, row.batch_output)


_NO_RATES = ("long_context", "source", "as_of", "audio_apart")
_RATES = tuple(field.name for field in fields(Price) if field.name not in _NO_RATES)


def _first(one: float | None, other: float | None) -> float | None:
    return other if one is None else one


def _check_rate(name: str, value: object, *, required: bool) -> None:
    if value is None and not required:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise ConfigError(
            f"price {name} must be a finite number of USD per million tokens, at least 0, got {value!r}"
        )


def _check_date(name: str, value: object) -> None:
    try:
        date.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ConfigError(f"{name} must be a date such as 2026-11-23, got {value!r}") from None


class PriceTable:
    """The price of each model: these rows first, then, for models without one, litellm's installed map.

    `prices` maps a model's name, with or without its provider, to its Price. `fill_gaps=False`
    leaves litellm's map out. `targets` says under which litellm id a name is looked up there; None
    means that no row of the map is this model (a server of one's own). A model without a price
    anywhere is None, with one warning. Immutable and thread-safe; litellm itself is never imported.
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
                f"prices must be a dict from model name to Price(input, output), got {prices!r:.80}"
            )
        for name, price in prices.items():
            if not isinstance(price, Price):
                raise ConfigError(
                    f"the price of {name!r} must be a Price(input, output) in USD per million tokens, "
                    f"got {price!r:.80}"
                )
        self._rows = {canonical_name(name): price for name, price in prices.items()}
        self._targets = {canonical_name(name): target for name, target in (targets or {}).items()}
        self._fill_gaps = fill_gaps
        self._found: dict[str, Price | None] = {}
        self._told: set[str] = set()
        self._lock = fork_safe_lock()

    def price(self, model: str, *, warn: bool = True) -> Price | None:
        """Return the price of a model, None when it is unknown. Without `warn` nothing is logged then."""
        try:
            price = self._found[model]
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
        self.__dict__.update(state, _found={}, _told=set(), _lock=fork_safe_lock())

    def _find(self, model: str) -> Price | None:
        with self._lock:
            if model in self._found:
                return self._found[model]
            name = canonical_name(model)
            price = self._rows.get(name)
            if price is None and self._fill_gaps:
                target = self._targets.get(name, model)
                price = None if target is None else installed_price(target, "fills a gap")
            self._found[model] = price
            return price

    def _warn(self, model: str) -> None:
        with self._lock:
            if model in self._told:
                return
            self._told.add(model)
        _log.warning(
            "no price is known for model %r: its cost counts as unknown, and budgets refuse it; "
            "give its ModelCard a price, or pass prices=PriceTable({%r: Price(input, output)})",
            model,
            model,
        )


_OF_THIS_PROCESS = ("_lock", "_found", "_told")


def canonical_name(model: str) -> str:
    """Return a model's name without the prefix of OpenAI, Anthropic or Google: "openai/gpt-4o" is "gpt-4o".

    Other prefixes stay, since another seller's price is another.
    """
    provider, slash, rest = model.partition("/")
    return rest if slash and provider in _BARE_PROVIDERS else model


def installed_price(target: str, why: str) -> Price | None:
    """Return the price that the installed litellm's map has for a litellm id, None when it has none.

    `why` goes into the price's source. A bare name that starts with "gemini" is Google's developer
    API, not Vertex, whose prices differ.
    """
    installed = _installed_map()
    if installed is None or _SEARCHES.search(target):
        return None
    for key, provider in _map_keys(target):
        row = installed.rows.get(key)
        if isinstance(row, dict) and (provider is None or row.get("litellm_provider") in provider):
            return price_from_map(row, source=f"litellm {installed.version} price map ({why})")
    return None


_SEARCHES = re.compile(r"perplexity/(?:preset/|sonar)|-search-(?:preview|api)")
"""Models that search the web for every answer, which the map's rates per token leave out."""

_MAP_PROVIDERS = {
    "openai": ("openai", "text-completion-openai"),
    "anthropic": ("anthropic",),
    "gemini": ("gemini",),
}


def _map_keys(target: str) -> Iterator[tuple[str, tuple[str, ...] | None]]:
    """Yield the keys under which the map may hold an id, with the providers whose row it then is."""
    provider, slash, rest = target.partition("/")
    if provider == "google" and slash:
        provider = "gemini"
    if slash and provider in _MAP_PROVIDERS:
        yield f"{provider}/{rest}", _MAP_PROVIDERS[provider]
        yield rest, _MAP_PROVIDERS[provider]
    elif slash:
        yield target, None
    elif target.startswith("gemini"):
        yield f"gemini/{target}", _MAP_PROVIDERS["gemini"]
    else:
        yield target, None
        for direct, names in _MAP_PROVIDERS.items():
            yield f"{direct}/{target}", names


@dataclass(frozen=True, slots=True)
class _Installed:
    rows: Mapping[str, Any]
    version: str


_MAP_FILE = "model_prices_and_context_window_backup.json"
_map_lock = fork_safe_lock()
_map_cache: list[_Installed | None] = []


def _installed_map() -> _Installed | None:
    """Return the price map of the installed litellm, read as a file once; None when there is none."""
    with _map_lock:
        if not _map_cache:
            _map_cache.append(_read_map())
        return _map_cache[0]


def _read_map() -> _Installed | None:
    from importlib import metadata

    try:
        spec = importlib.util.find_spec("litellm")
    except ValueError:
        return None
    for folder in (spec.submodule_search_locations or ()) if spec is not None else ():
        try:
            rows = json.loads(Path(folder, _MAP_FILE).read_bytes())
        except (OSError, ValueError) as error:
            _log.warning("litellm's price map in %s cannot be read, so it fills no gaps: %s", folder, error)
            continue
        try:
            version = metadata.version("litellm")
        except metadata.PackageNotFoundError:
            version = "of unknown version"
        return _Installed(rows, version) if isinstance(rows, dict) else None
    return None


_TOKEN_MODES = (None, "chat", "completion", "responses")
_INCLUSIVE_PROVIDERS = ("xai",)
_THRESHOLD = re.compile(r"(?:input|output)_cost_per_token_above_(\d+)(k?)_tokens")


def price_from_map(row: Mapping[str, Any], *, source: str = "", as_of: str = "") -> Price | None:
    """Return the Price that a row of litellm's map (USD per token) states, None when it states none.

    A missing or unusable rate is unknown; an explicit 0 is 0. Rows that do not charge by the token,
    or by a table of several tiers, or for each request as well, have no Price.
    """
    if row.get("mode") not in _TOKEN_MODES or "tiered_pricing" in row or "input_cost_per_request" in row:
        return None
    rate_in, rate_out = _rate(row, "input_cost_per_token"), _rate(row, "output_cost_per_token")
    if rate_in is None or rate_out is None:
        return None
    return Price(
        input=rate_in,
        output=rate_out,
        cached_input=_rate(row, "cache_read_input_token_cost"),
        cache_write=_rate(row, "cache_creation_input_token_cost"),
        reasoning=_rate(row, "output_cost_per_reasoning_token"),
        batch_input=_rate(row, "input_cost_per_token_batches"),
        batch_output=_rate(row, "output_cost_per_token_batches"),
        batch_cached_input=_rate(row, "cache_read_input_token_cost_batches"),
        batch_cache_write=_rate(row, "cache_creation_input_token_cost_batches"),
        long_context=_long_context(row, rate_in, rate_out),
        audio_apart=any(
            rate not in (None, plain)
            for rate, plain in (
                (_rate(row, "input_cost_per_audio_token"), rate_in),
                (_rate(row, "output_cost_per_audio_token"), rate_out),
            )
        ),
        source=source,
        as_of=as_of,
    )


def _long_context(row: Mapping[str, Any], rate_in: float, rate_out: float) -> LongContext | None:
    thresholds = {match[1] + match[2] for key in row if (match := _THRESHOLD.fullmatch(key))}
    if not thresholds:
        return None
    lowest = min(thresholds, key=_tokens)
    above = f"_above_{lowest}_tokens"
    # xAI alone charges the higher rates from the threshold on, not above it.
    inclusive = row.get("litellm_provider") in _INCLUSIVE_PROVIDERS
    long_in = _rate(row, f"input_cost_per_token{above}")
    long_out = _rate(row, f"output_cost_per_token{above}")
    return LongContext(
        above_tokens=max(0, _tokens(lowest) - inclusive),
        input=rate_in if long_in is None else long_in,
        output=rate_out if long_out is None else long_out,
        cached_input=_rate(row, f"cache_read_input_token_cost{above}"),
        cache_write=_rate(row, f"cache_creation_input_token_cost{above}"),
        batch_input=_rate(row, f"input_cost_per_token{above}_batches"),
        batch_output=_rate(row, f"output_cost_per_token{above}_batches"),
        batch_cached_input=_rate(row, f"cache_read_input_token_cost{above}_batches"),
        batch_cache_write=_rate(row, f"cache_creation_input_token_cost{above}_batches"),
    )


def _tokens(threshold: str) -> int:
    return int(threshold.removesuffix("k")) * (1_000 if threshold.endswith("k") else 1)


def _rate(row: Mapping[str, Any], key: str) -> float | None:
    """Return a rate of the map in USD per million tokens, without the noise of the multiplication."""
    value = row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return None
    return float(f"{value * _PER_MILLION:.12g}")
