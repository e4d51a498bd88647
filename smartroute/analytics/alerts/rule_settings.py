"""Read which rules hold, and past which thresholds, from the file that configures the router."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from smartroute.analytics.alerts.rules import DEFAULT_RULES, Rule, budget_rule
from smartroute.config import settings_in
from smartroute.errors import ConfigError

_NUMBERS = ("raise_at", "clear_at", "critical_at")
_FIELDS = (*_NUMBERS, "least_n", "suggestion", "surely", "off")


def rules_from_file(path: str | Path, rules: Iterable[Rule] = DEFAULT_RULES) -> tuple[Rule, ...]:
    """Return the rules as the table `alerts` of a TOML file changes them: at the top, or under [smartroute].

    A rule is named with underscores for spaces, and takes `raise_at`, `clear_at`, `critical_at`, `least_n`,
    `suggestion`, `surely`, or `off = true`. `usd_per_day` and `usd_per_month` add budgets. Without the table
    the rules are as they were. Raises ConfigError for a file that cannot be read and for what it cannot mean.
    """
    wanted = settings_in(path).get("alerts", {})
    if not isinstance(wanted, Mapping):
        raise ConfigError(f"{path}: alerts must be a table, got {wanted!r:.60}")
    try:
        return _changed(tuple(rules), wanted)
    except ConfigError as error:
        raise ConfigError(f"{path}: alerts: {error}") from None


def _changed(rules: tuple[Rule, ...], wanted: Mapping[str, Any]) -> tuple[Rule, ...]:
    known = {rule.name.replace(" ", "_"): rule for rule in rules}
    budgets = []
    for key, value in wanted.items():
        name = key.replace(" ", "_")
        if name in ("usd_per_day", "usd_per_month"):
            budgets.append(
                budget_rule(_number(value, name), per="day" if name == "usd_per_day" else "month")
            )  # fmt: skip
        elif name not in known:
            names = ["usd_per_day", "usd_per_month", *(rule.name.replace(" ", "_") for rule in rules)]
            close = difflib.get_close_matches(name, names, n=1)
            cure = f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
            raise ConfigError(f"there is no rule {key!r:.60}; {cure}")
        elif not isinstance(value, Mapping):
            raise ConfigError(f"{key} must be a table, such as {{ raise_at = 0.2 }}, got {value!r:.60}")
        elif value.get("off") is True:
            del known[name]
        else:
            known[name] = _with(known[name], value)
    return (*known.values(), *budgets)


def _with(rule: Rule, fields: Mapping[str, Any]) -> Rule:
    for name, value in fields.items():
        if name not in _FIELDS:
            raise ConfigError(f"{rule.name} has no field {name!r:.60}; it has {', '.join(_FIELDS)}")
        if name in _NUMBERS:
            _number(value, f"{rule.name}: {name}")
        elif name == "suggestion" and not isinstance(value, str):
            raise ConfigError(f"{rule.name}: suggestion must be text, got {value!r:.60}")
        elif name in ("surely", "off") and not isinstance(value, bool):
            raise ConfigError(f"{rule.name}: {name} must be true or false, got {value!r:.60}")
    return replace(rule, **{name: value for name, value in fields.items() if name != "off"})


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{name} must be a number, got {value!r:.60}")
    return float(value)
