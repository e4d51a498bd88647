"""Check the log against the alert rules, from a shell or a scheduled job."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from smartroute.analytics import (
    DEFAULT_RULES,
    Alert,
    Analytics,
    Filter,
    Rule,
    Status,
    Watch,
    Webhook,
    check_log,
    rules_from_file,
)
from smartroute.cli import options
from smartroute.cli.options import KindOption, LogOption, TenantOption, log_path
from smartroute.cli.shell import for_stream, one_clear_line
from smartroute.errors import ConfigError, SinkError
from smartroute.protocols import EventSource
from smartroute.sinks import JsonlSource, default_log_path, open_log

SECRET = "SMARTROUTE_WEBHOOK_SECRET"
"""The variable with the secret that signs a webhook: other users of the host can see arguments."""

_HOUR_S = 3600


def alerts(
    path: LogOption = None,
    since: Annotated[
        str,
        typer.Option(
            help="How far back to look, such as 1h, 24h or 7d, or the start: a date or time such as "
            "2026-11-23 or 2026-11-23T08:00 (UTC). Whole hours count."
        ),
    ] = "1h",
    config: Annotated[
        Path | None,
        typer.Option(help="The TOML file that configures the router; its table alerts has rules and limits."),
    ] = None,
    tenant: TenantOption = None,
    kind: KindOption = None,
    webhook: Annotated[
        str | None, typer.Option(help=f"Post new and changed alerts to this address, signed with {SECRET}.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="The file that keeps the active alerts between runs; by default beside the log."),
    ] = None,
    stateless: Annotated[
        bool, typer.Option("--stateless", help="Keep no file: every active alert counts as new.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="Print the state of every rule.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print alerts and rules as JSON.")] = False,
) -> None:
    """Check the log against the alert rules, and print the alerts that are new or have changed.

    An alert that was active at the last run is not printed again.

    The exit code is 0 without an active alert, 1 with one, and 2 for a mistake
    or an alert that could not be delivered.
    """
    with one_clear_line():
        if stateless and state is not None:
            raise ConfigError("--stateless keeps no file; leave out --state")
        deliver = _ignore if webhook is None else _webhook(webhook).post
        address = log_path(path, config)
        source = open_log(address)
        where = Filter(tenant=tenant, kind=kind)
        file = None if stateless else state or _state_beside(source, address, tenant, kind)
        watch = Watch(_rules(config), deliver=[deliver])
        analytics = Analytics(source)
        statuses = check_log(watch, analytics, hours=_hours(since), where=where, state=file)
        for line in analytics.unmet(where):
            typer.echo(for_stream(sys.stderr, " ".join(line.split())), err=True)
        _show(statuses, everything=everything, as_json=as_json)
        if watch.undelivered:
            raise SinkError(
                f"{watch.undelivered} alerts were not delivered; the next run delivers them again"
            )
    raise typer.Exit(1 if any(status.level is not None for status in statuses) else 0)


def _show(statuses: Sequence[Status], *, everything: bool, as_json: bool) -> None:
    news = [status.alert for status in statuses if status.alert is not None]
    if as_json:
        document = {
            "new": [alert.as_dict() for alert in news],
            "rules": [_rule_dict(status) for status in statuses],
        }
        typer.echo(json.dumps(document, indent=2))
        return
    for alert in news:
        typer.echo(alert.explain())
    if everything:
        shown = {alert.rule for alert in news}
        for status in statuses:
            if status.rule not in shown:
                typer.echo(status.explain())


def _rule_dict(status: Status) -> dict[str, object]:
    return {
        "rule": status.rule,
        "level": status.level,
        "value": None if status.reading is None else status.reading.value,
        "n": None if status.reading is None else status.reading.n,
        "simulated": status.simulated,
        "text": status.explain(),
    }


def _ignore(_: Alert) -> None:
    """Deliver an alert nowhere, because the command prints it."""


def _rules(config: Path | None) -> tuple[Rule, ...]:
    return DEFAULT_RULES if config is None else rules_from_file(config)


def _webhook(url: str) -> Webhook:
    secret = os.environ.get(SECRET, "")
    if not secret:
        raise ConfigError(f"set {SECRET} to the secret with which the receiver checks signatures")
    return Webhook(url, secret)


def _hours(text: str) -> int:
    """Return how many full hours before the present one the window has. Raises ConfigError for the future."""
    start = options.since(text)
    hours = int(datetime.now(UTC).timestamp() // _HOUR_S - start.timestamp() // _HOUR_S)
    if hours < 0:
        raise ConfigError(f"--since must not be in the future, got {text}")
    return hours


def _state_beside(source: EventSource, address: str | Path, tenant: str | None, kind: str | None) -> Path:
    """Return the file for the active alerts: in the log's folder, or beside its file.

    For a database the file is in the folder where this host keeps logs. Each choice of tenant and kind has
    its own file.
    """
    chosen = [] if tenant is None and kind is None else [repr((tenant, kind))]
    if isinstance(source, JsonlSource):
        mark = "".join(f"-{_digest(text)}" for text in chosen)
        if source.path.is_dir():
            return source.path / f"alerts{mark}.json"
        return source.path.with_name(f"{source.path.name}.alerts{mark}.json")
    mark = "".join(f"-{_digest(text)}" for text in [str(address), *chosen])
    return default_log_path(simulated=False).with_name(f"alerts{mark}.json")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
