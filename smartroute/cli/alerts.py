"""Take the command that holds rules against the log from a shell, or from a job: `alerts`."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from smartroute.cli.options import LogOption, log_place
from smartroute.cli.shell import for_stream, one_clear_line

if TYPE_CHECKING:
    from smartroute.analytics import Rule, Status, Watch, Webhook
    from smartroute.sinks import JsonlSource, SqlSource

SECRET = "SMARTROUTE_WEBHOOK_SECRET"
"""The variable that holds what a webhook is signed with: arguments can be seen by others on the host."""


def alerts(
    path: LogOption = None,
    since: Annotated[
        str, typer.Option(help="How far back the window reaches, in whole hours or days: 1h, 24h, 7d.")
    ] = "1h",
    config: Annotated[
        Path | None,
        typer.Option(
            help="The TOML file that configures the router: its log, and rules and thresholds in its table "
            "alerts."
        ),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only requests of this tenant.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only requests of this kind.")] = None,
    webhook: Annotated[
        str | None, typer.Option(help=f"Post what is new to this address, signed with {SECRET}.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(help="The file that remembers what stands; by default it lies beside the log."),
    ] = None,
    stateless: Annotated[
        bool, typer.Option("--stateless", help="Remember nothing: whatever stands is new.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Print every rule, and not only what is new.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print every rule and what is new as JSON.")
    ] = False,
) -> None:
    """Say what needs attention, once: what stood at the last run is not told again.

    The exit code is 0 when no alert stands, 1 when some do, 2 for a mistake or an undelivered alert.
    """
    from smartroute.analytics import Analytics, Filter, Watch, check_log
    from smartroute.errors import ConfigError, SinkError
    from smartroute.sinks import open_log

    with one_clear_line():
        if stateless and state is not None:
            raise ConfigError("--stateless remembers nothing, so leave out --state")
        hook = None if webhook is None else _webhook(webhook)
        place = log_place(path, config)
        source = open_log(place)
        where = Filter(tenant=tenant, kind=kind)
        file = None if stateless else state or _state_beside(source, place, tenant, kind)
        watch = Watch(_rules(config), deliver=[_ignore if hook is None else hook.post])
        analytics = Analytics(source)
        statuses = check_log(watch, analytics, hours=_hours(since), where=where, state=file)
        for line in analytics.unmet(where):
            typer.echo(for_stream(sys.stderr, " ".join(line.split())), err=True)
        _show(statuses, watch, everything=everything, as_json=as_json)
        if watch.undelivered:
            raise SinkError(
                f"{watch.undelivered} alerts were not delivered; they are told again at the next run"
            )
    raise typer.Exit(1 if any(status.level is not None for status in statuses) else 0)


def _show(statuses: Sequence[Status], watch: Watch, *, everything: bool, as_json: bool) -> None:
    news = [status.alert for status in statuses if status.alert is not None]
    if as_json:
        rules = [
            {
                "rule": status.rule,
                "level": status.level,
                "value": None if status.reading is None else status.reading.value,
                "n": None if status.reading is None else status.reading.n,
                "simulated": status.simulated,
                "text": status.explain(),
            }
            for status in statuses
        ]
        document = {"new": [alert.as_dict() for alert in news], "rules": rules}
        typer.echo(json.dumps(document, indent=2))
        return
    for alert in news:
        typer.echo(alert.explain())
    if everything:
        told = {alert.rule for alert in news}
        for status in statuses:
            if status.rule not in told:
                typer.echo(status.explain())


def _ignore(_: object) -> None:
    """Deliver nowhere: what is new is printed."""


def _rules(config: Path | None) -> tuple[Rule, ...]:
    from smartroute.analytics import DEFAULT_RULES, rules_from_file

    return DEFAULT_RULES if config is None else rules_from_file(config)


def _webhook(url: str) -> Webhook:
    from smartroute.analytics import Webhook
    from smartroute.errors import ConfigError

    secret = os.environ.get(SECRET, "")
    if not secret:
        raise ConfigError(f"set {SECRET} to what the receiver of the webhook checks signatures with")
    return Webhook(url, secret)


def _hours(text: str) -> int:
    from smartroute.errors import ConfigError

    number, unit = text[:-1], text[-1:]
    if unit not in ("h", "d") or not (number.isascii() and number.isdigit()) or len(number) > 5:
        raise ConfigError(f"--since must be whole hours or days back, such as 1h or 7d, got {text!r:.40}")
    return int(number) * (24 if unit == "d" else 1)


def _state_beside(
    source: JsonlSource | SqlSource, place: str | Path, tenant: str | None, kind: str | None
) -> Path:
    """Return the file for what stands: in the log's folder, beside its file, or where this host keeps logs.

    A choice of requests has a file of its own.
    """
    from smartroute.sinks import JsonlSource, default_log_path

    chosen = [] if tenant is None and kind is None else [repr((tenant, kind))]
    if isinstance(source, JsonlSource):
        mark = "".join(f"-{_digest(each)}" for each in chosen)
        if source.path.is_dir():
            return source.path / f"alerts{mark}.json"
        return source.path.with_name(f"{source.path.name}.alerts{mark}.json")
    mark = "".join(f"-{_digest(each)}" for each in [str(place), *chosen])
    return default_log_path(simulated=False).with_name(f"alerts{mark}.json")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
