"""Options that several commands share, and what their values mean."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Concatenate, ParamSpec, TypeAlias, get_type_hints

import typer

from smartroute.config import RouterConfig
from smartroute.errors import ConfigError, shown
from smartroute.providers.offline import OfflineProvider
from smartroute.sinks import default_log, default_log_path

_P = ParamSpec("_P")

LogOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--path", help="The log: a folder, a file or a database. By default the log in use."),
]
ModelsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--models", help="A TOML or JSON file with your own models and prices."),
]
ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", help="The TOML file that configures the router."),
]
KindOption: TypeAlias = Annotated[str | None, typer.Option("--kind", help="Only requests of this kind.")]
TenantOption: TypeAlias = Annotated[
    str | None, typer.Option("--tenant", help="Only requests of this tenant.")
]


class LabelSource(StrEnum):
    """Whose labels measure quality."""

    USER = "user"
    JUDGE = "judge"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which log a report reads, which requests it counts, and how it groups and prices them.

    Each field is an option of every command that takes a selection: see `with_selection`.
    """

    path: LogOption = None
    since: Annotated[
        str | None,
        typer.Option(
            help="The start: a date or time such as 2026-11-23 or 2026-11-23T08:00 (UTC), or how far back, "
            "such as 24h or 7d, from a full hour on."
        ),
    ] = None
    until: Annotated[
        str | None, typer.Option(help="The end, which is not included; written like --since.")
    ] = None
    kind: KindOption = None
    model: Annotated[str | None, typer.Option(help="Only requests that this model answered.")] = None
    strategy: Annotated[str | None, typer.Option(help="Only requests that this strategy decided.")] = None
    tenant: TenantOption = None
    group_by: Annotated[
        str,
        typer.Option(
            "--group-by", help="Comma-separated: kind, complexity, model, tenant, day, kind+model, ..."
        ),
    ] = "model,complexity,kind"
    labels: Annotated[LabelSource, typer.Option("--labels", help="Whose labels measure quality.")] = (
        LabelSource.USER
    )
    models: ModelsOption = None
    config: ConfigOption = None


def with_selection(command: Callable[Concatenate[Selection, _P], None]) -> Callable[..., None]:
    """Give a command one option for each field of a Selection, in place of its first parameter."""
    hints = get_type_hints(Selection, include_extras=True)
    options = [
        inspect.Parameter(
            field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name]
        )
        for field in fields(Selection)
    ]
    own = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in list(inspect.signature(command, eval_str=True).parameters.values())[1:]
    ]

    @functools.wraps(command)
    def with_options(**values: Any) -> None:
        selection = Selection(**{option.name: values.pop(option.name) for option in options})
        command(selection, **values)  # type: ignore[call-arg]

    parameters = [
        *(parameter for parameter in own if parameter.default is inspect.Parameter.empty),
        *options,
        *(parameter for parameter in own if parameter.default is not inspect.Parameter.empty),
    ]
    # What typer reads to find the options.
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def log_path(path: str | None, config: Path | None) -> str | Path:
    """Return the log to read: the given path, else the configured router's log, else the log in use."""
    if path is not None:
        return path
    configured = None if config is None else RouterConfig.from_file(config).log_path
    return configured or default_log(simulated=False)


def since(text: str) -> datetime:
    """Return the time that a user means by --since, with a time zone (UTC where none is given).

    `24h` and `7d` count back from now, and then to the full hour before, because a rollup answers for
    whole hours. Raises ConfigError for text that is no date or time, and for a time before the year 1.
    """
    return _time(text, "--since")


def until(text: str) -> datetime:
    """Return the time that a user means by --until. It is written like --since."""
    return _time(text, "--until")


def _time(text: str, option: str) -> datetime:
    if text[-1:] in ("h", "d") and text[:-1].isdecimal():
        return _back_from_now(text, option)
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"{option} must be a date or time such as 2026-11-23 or 2026-11-23T08:00, or how far back, such "
            f"as 24h or 7d, got {shown(text)}"
        ) from None
    return time if time.tzinfo is not None else time.replace(tzinfo=UTC)


def _back_from_now(text: str, option: str) -> datetime:
    unit = timedelta(hours=1) if text.endswith("h") else timedelta(days=1)
    try:
        back = datetime.now(UTC) - int(text[:-1]) * unit
    except (OverflowError, ValueError):  # before the year 1, or more digits than Python reads
        raise ConfigError(
            f"{option} {text:.40} is further back than the calendar goes; pass a later time"
        ) from None
    return back.replace(minute=0, second=0, microsecond=0)


def simulated_pool(seed: int) -> dict[str, Any]:
    """Return the settings of a router on the simulated pool, which has a log of its own."""
    return {
        "catalog": OfflineProvider.catalog(),
        "provider": OfflineProvider(seed=seed),
        "seed": seed,
        "log_path": default_log_path(simulated=True),
    }
