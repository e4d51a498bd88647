"""Name the options that several commands share, so that they are called and explained alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

LogOption: TypeAlias = Annotated[
    str | None,
    typer.Option("--path", help="The log: a folder, a file or a database; the one in use by default."),
]
ModelsOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--models", help="TOML or JSON with models and prices of your own, as for a router."),
]
ConfigOption: TypeAlias = Annotated[
    Path | None,
    typer.Option("--config", help="The TOML file that configures the router."),
]


def log_place(path: str | None, config: Path | None) -> str | Path:
    """Return the log that is meant: by its path, else that of the configured router, else the one in use."""
    from smartroute.config import RouterConfig
    from smartroute.sinks import default_log

    if path is not None:
        return path
    configured = None if config is None else RouterConfig.from_file(config).log_path
    return configured or default_log(simulated=False)
