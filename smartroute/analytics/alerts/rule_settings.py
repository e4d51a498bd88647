"""Read alert rules and thresholds from the router's configuration file."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from smartroute.analytics.alerts.rules import DEFAULT_RULES, Rule, budget_rule
from smartroute.config import settings_in
from smartroute.errors import ConfigError, shown
from smartroute.number_checks import checked_number

_FIELDS = ("raise_at", "clear_at", "critical_at", "least_n", "suggestion", "surely", "off")


def rules_from_file(path: str | Path, rules: Iterable[Rule] = DEFAULT_RULES) -> tuple[Rule, ...]:
    """Return the rules as changed by the table `alerts` of a TOML file: at the top, or under [smartroute].

    A rule is named with underscores for spaces, and takes `raise_at`, `clear_at`, `critical_at`, `least_n`,
    `suggestion`, `surely`, or `off = true`. `usd_per_day` and `usd_per_month` add budgets. Without the table
    the rules are unchanged. Raises ConfigError for a file that cannot be read and for an invalid setting.
    """
    table = settings_in(path).get("alerts", {})
    if not isinstance(table, Mapping):
        raise ConfigError(f"{path}: alerts must be a table, got {shown(table)}")
    try:
        return _with_settings(tuple(rules), table)
    except ConfigError as error:
        raise ConfigError(f"{path}: alerts: {error}") from None


def _with_settings(rules: tuple[Rule, ...], table: Mapping[str, Any]) -> tuple[Rule, ...]:
    by_name = {rule.name.replace(" ", "_"): rule for rule in rules}
    budgets = []
    for key, value in table.items():
        name = key.replace(" ", "_")
        if name in ("usd_per_day", "usd_per_month"):
            usd = checked_number(value, name, above=0)
            budgets.append(budget_rule(usd, per="day" if name == "usd_per_day" else "month"))
        elif name not in by_name:
            names = ["usd_per_day", "usd_per_month", *(rule.name.replace(" ", "_") for rule in rules)]
            close = difflib.get_close_matches(name, names, n=1)
            cure = f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"
            raise ConfigError(f"there is no rule {shown(key)}; {cure}")
        elif not isinstance(value, Mapping):
            raise ConfigError(f"{key} must be a table, such as {{ raise_at = 0.2 }}, got {shown(value)}")
        elif value.get("off") is True:
            del by_name[name]
        else:
            by_name[name] = _with_fields(by_name[name], value)
    return (*by_name.values(), *budgets)


def _with_fields(rule: Rule, fields: Mapping[str, Any]) -> Rule:
    for name, value in fields.items():
        if name not in _FIELDS:
            raise ConfigError(f"{rule.name} has no field {shown(name)}; it has {', '.join(_FIELDS)}")
        if name == "suggestion" and not isinstance(value, str):
            raise ConfigError(f"{rule.name}: suggestion must be text, got {shown(value)}")
        if name in ("surely", "off") and not isinstance(value, bool):
            raise ConfigError(f"{rule.name}: {name} must be true or false, got {shown(value)}")
    return replace(rule, **{name: value for name, value in fields.items() if name != "off"})
