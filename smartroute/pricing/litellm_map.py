"""Read prices from the map of the installed litellm, a JSON file, without importing litellm."""

from __future__ import annotations

import importlib.util
import json
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smartroute.concurrency.locks import fork_safe_lock
from smartroute.number_checks import is_number
from smartroute.pricing.price import PER_MILLION, LongContext, Price

_log = logging.getLogger("smartroute")


def installed_price(target: str, why: str) -> Price | None:
    """Return the price that the installed litellm's map has for a litellm id, None when it has none.

    `why` becomes part of the price's source. A bare name that starts with "gemini" is Google's developer
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
    """Return the Price in a row of litellm's map (USD per token), None when the row has none.

    A missing or unusable rate is unknown; an explicit 0 is 0. A row that does not charge by the token,
    or charges by a table of several tiers, or for each request as well, has no Price.
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
    value: Any = row.get(key)
    if not is_number(value) or value < 0:
        return None
    return float(f"{value * PER_MILLION:.12g}")
