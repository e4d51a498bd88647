"""Read settings from environment variables and TOML files."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from smartroute.errors import ConfigError, shown
from smartroute.routing.retries import RetryPolicy
from smartroute.sinks.locations import is_database

_log = logging.getLogger("smartroute")


class FromVariable(NamedTuple):
    """A setting as an environment variable gives it."""

    variable: str
    text: str
    name: str
    value: Any


def settings_in_environment(environ: Mapping[str, str]) -> Iterator[FromVariable]:
    """Return the settings in environment variables. A variable that is blank counts as not set.

    Raises ConfigError naming the variable whose value cannot be read, or whose spelling is wrong.
    """
    for spelling, variable in _MISSPELLED.items():
        if spelling in environ:
            raise ConfigError(f"there is no environment variable {spelling}; did you mean {variable}?")
    _warn_of_experiments(environ)
    for variable, (name, read) in VARIABLES.items():
        text = environ.get(variable)
        if text is None or not text.strip():
            continue
        try:
            yield FromVariable(variable, text, name, read(text.strip()))
        except ValueError as error:
            raise unreadable_variable(variable, text, error) from None


def unreadable_variable(variable: str, text: str, problem: Exception) -> ConfigError:
    """Return the error for an environment variable whose value is no such setting."""
    return ConfigError(f"environment variable {variable}={text!r}: {problem}")


def settings_in(path: str | Path) -> dict[str, Any]:
    """Return the settings of a TOML file: at the top level, or under [smartroute] where it has that table.

    Raises ConfigError for a file that cannot be read.
    """
    import tomllib

    if not isinstance(path, str | Path):
        raise ConfigError(f"the configuration file must be a path, got {shown(path)}")
    file = Path(path)
    try:
        with file.open("rb") as stream:
            document = tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    table = document.get("smartroute", document)
    if not isinstance(table, Mapping):
        raise ConfigError(f"{file}: smartroute must be a table of settings, got {shown(table)}")
    return dict(table)


def router_settings_in(path: str | Path) -> dict[str, Any]:
    """Return the settings of a TOML file that a router takes, with paths made relative to the file.

    Raises ConfigError for a file that cannot be read, and for a retry policy that cannot be.
    """
    settings = settings_in(path)
    file = Path(path)
    settings.pop("alerts", None)  # alert thresholds, read by rules_from_file
    if isinstance(settings.get("retry"), Mapping):
        settings["retry"] = _retry(settings["retry"], file)
    for name in ("catalog", "log_path"):
        text = settings.get(name)
        if isinstance(text, str) and text.strip() and not is_database(text):
            settings[name] = file.parent / Path(text).expanduser()
    return settings


def _retry(table: Mapping[str, Any], file: Path) -> RetryPolicy:
    try:
        return RetryPolicy(**table)
    except TypeError:
        known = ["calls", "initial_s", "max_s", "jitter", "retry_after_max_s"]
        wrong = sorted(set(table) - set(known))
        raise ConfigError(
            f"{file}: retry has no field {', '.join(wrong)}; it has {', '.join(known)}"
        ) from None
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("use a number from 0 to 1") from None


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("use true or false")


_EXPERIMENTS = "ROUTING_AB_TEST_ENABLED"


def _warn_of_experiments(environ: Mapping[str, str]) -> None:
    """Log that a variable of the replaced system has no effect yet, rather than ignore it silently."""
    text = environ.get(_EXPERIMENTS, "").strip()
    try:
        wanted = bool(text) and _flag(text)
    except ValueError as error:
        raise unreadable_variable(_EXPERIMENTS, text, error) from None
    if wanted:
        _log.warning("%s is true, but this version has no experiments yet: it has no effect", _EXPERIMENTS)


VARIABLES: Mapping[str, tuple[str, Callable[[str], Any]]] = {
    "ROUTER_ESCALATION_THRESHOLD": ("accept_at", _number),
    "ROUTER_ENABLE_ESCALATION": ("escalate", _flag),
    "ROUTER_COST_OPTIMIZATION": ("cost_optimization", _flag),
    "ENABLE_SMART_ROUTING": ("smart_routing", _flag),
    "ROUTING_ANALYTICS_PATH": ("log_path", str),
}
"""Each environment variable, the setting that it gives, and how its text is read."""

_MISSPELLED = {"ROUTER_COST_OPTIMISATION": "ROUTER_COST_OPTIMIZATION"}
