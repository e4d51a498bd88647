"""Detect charges beyond tokens at the plain rates: service tiers, hosted tools, long caches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def surcharge(params: Mapping[str, Any]) -> str | None:
    """Return what in a request is charged in addition to its tokens, or at other than the plain rates.

    A service tier, speed or region with rates of its own, or a tool that the provider runs and bills by the
    call. None when tokens at the plain rates are the whole price. The contents of `extra_body` count as well.
    """
    if _SURCHARGED.isdisjoint(params):
        return None
    for settings in (params, params.get("extra_body")):
        if not isinstance(settings, Mapping):
            continue
        if (mode := surcharged_mode(settings)) is not None:
            return mode
        if settings.get("web_search_options") is not None:
            return "web_search_options"
        tools = settings.get("tools")
        for tool in tools if isinstance(tools, list | tuple) else ():
            names = (tool.get("type"), *tool) if isinstance(tool, Mapping) else ()
            for name in names:
                if isinstance(name, str) and name.lower().replace("_", "").startswith(_BILLED_TOOLS):
                    return f"the hosted tool {name}"
    return None


def surcharged_mode(settings: Mapping[str, Any]) -> str | None:
    """Return the service mode with rates of its own that a request asks for or a reply reports, else None."""
    for name, plain in _PLAIN_MODES.items():
        mode = settings.get(name)
        if isinstance(mode, str) and mode.lower() not in plain:
            return f"{name}={mode!r:.40}"
    return None


_PLAIN_MODES = {
    "service_tier": ("", "auto", "default", "standard", "standard_only", "on_demand"),
    "speed": ("", "standard"),
    "inference_geo": ("", "global", "not_available"),
}
_SURCHARGED = frozenset({*_PLAIN_MODES, "web_search_options", "tools", "extra_body"})
_BILLED_TOOLS = (
    "websearch",
    "filesearch",
    "codeinterpreter",
    "codeexecution",
    "imagegeneration",
    "googlesearch",
    "googlemaps",
)
LONG_CACHE = "a cache kept for an hour or longer"


def cached_for_long(messages: Iterable[Mapping[str, Any]], params: Mapping[str, Any]) -> bool:
    """Return whether a request asks for a cache that is kept for an hour or more, which costs more to write.

    It may do so in a message, in a tool, or for the request as a whole.
    """
    if params and (
        params.get("prompt_cache_retention") not in _SHORT_RETENTIONS
        or any(_asks_for_an_hour(holder) for holder in _holders_in(params))
    ):
        return True
    return any(_asks_for_an_hour(holder) for message in messages for holder in _holders(message))


_SHORT_RETENTIONS = (None, "in_memory", "in-memory")


def _holders(message: Mapping[str, Any]) -> Iterator[object]:
    yield message
    content = message.get("content")
    if isinstance(content, list | tuple):
        yield from content


def _holders_in(params: Mapping[str, Any]) -> Iterator[object]:
    yield params
    for tool in _mappings(params.get("tools")):
        yield tool
        yield tool.get("function")
    for point in _mappings(params.get("cache_control_injection_points")):
        yield {"cache_control": point.get("control")}


def _mappings(values: object) -> Iterator[Mapping[str, Any]]:
    for value in values if isinstance(values, list | tuple) else ():
        if isinstance(value, Mapping):
            yield value


def _asks_for_an_hour(holder: object) -> bool:
    control = holder.get("cache_control") if isinstance(holder, Mapping) else None
    return isinstance(control, Mapping) and control.get("ttl") not in (None, "5m")
