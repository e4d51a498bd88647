"""`smartroute alerts`, through typer's runner, on logs whose events are of the present hour."""

from __future__ import annotations

import json
import os
import threading
import time
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from smartroute.analytics.alerts.webhook import SIGNATURE, verify
from smartroute.cli.app import app
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink, SqlSink

SECRET = "known to the receiver"


def typed(*arguments: str, **options: Any) -> Any:
    return CliRunner().invoke(app, ["alerts", *arguments], **options)


def emitted(sink: Any, failed: int, n: int = 100, *, simulated: bool = False, name: str = "a") -> None:
    at = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    for index in range(n):
        answer = {} if index < failed else {"model": "m"}
        sink.emit(
            Event(
                2, "outcome", f"{name}{index}", f"{name}{index}", at, simulated, kind="score", tenant="t",
                cost_usd=0.001, unpriced_attempts=0, escalated=False, **answer,
            )
        )  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log in which 10 of 100 requests of just now failed."""
    with JsonlSink(tmp_path / "log") as sink:
        emitted(sink, 13)
    return tmp_path / "log"


def test_an_alert_is_printed_once_and_the_exit_code_says_that_it_is_active(log: Path) -> None:
    first = typed("--path", str(log))
    assert first.exit_code == 1, first.output
    assert first.stdout.startswith("warning: errors: above 5.0%: 13.0% (95% interval 7.8% to 21.0%) over 100")
    again = typed("--path", str(log))
    assert (again.exit_code, again.stdout) == (1, "")
    assert json.loads((log / "alerts.json").read_text())["levels"] == {"errors": "warning"}
    with JsonlSink(log) as sink:
        emitted(sink, 0, 900, name="b")
    over = typed("--path", str(log))
    assert over.exit_code == 0
    assert over.stdout.startswith("cleared: errors: 1.3%")
    assert typed("--path", str(log)).stdout == ""


def test_the_state_does_not_disturb_the_log(log: Path) -> None:
    typed("--path", str(log))
    status = CliRunner().invoke(app, ["log", "status", "--path", str(log), "--json"])
    assert json.loads(status.stdout)["events"] == {"outcome": 100}
    assert json.loads(status.stdout)["bad_lines"] == 0


def test_every_rule_is_shown_on_request(log: Path) -> None:
    shown = typed("--path", str(log), "--all", "--stateless").stdout
    assert shown.count("\n") == 8
    assert "ok: high escalation rate: 0.0% (95% interval 0.0% to 3.7%) over 100 requests" in shown
    assert "not yet: cost anomaly: " in shown


def test_json_holds_what_is_new_and_every_rule(log: Path) -> None:
    done = typed("--path", str(log), "--json")
    document = json.loads(done.stdout)
    assert [(alert["rule"], alert["level"], alert["n"]) for alert in document["new"]] == [
        ("errors", "warning", 100)
    ]
    assert len(document["rules"]) == 8
    again = json.loads(typed("--path", str(log), "--json").stdout)
    assert again["new"] == []
    assert [rule["level"] for rule in again["rules"] if rule["rule"] == "errors"] == ["warning"]


def test_stateless_prints_every_time_and_leaves_no_file(log: Path) -> None:
    for _ in range(2):
        assert typed("--path", str(log), "--stateless").stdout.startswith("warning: errors")
    assert not (log / "alerts.json").exists()


def test_the_log_of_the_configured_router_is_watched(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = log.parent / "smartroute.toml"
    config.write_text('[smartroute]\nlog_path = "log"\n')
    monkeypatch.setenv("ROUTING_ANALYTICS_PATH", str(log.parent / "elsewhere"))
    assert typed("--config", str(config), "--stateless").stdout.startswith("warning: errors: above 5.0%")
    other = typed("--config", str(config), "--path", str(log.parent / "other"))
    assert (other.exit_code, "there is no log at" in other.stderr) == (2, True)
    assert "must not be empty" in typed("--config", str(config), "--path", "").stderr
    config.write_text("[smartroute.alerts]\nusd_per_day = 50\n")
    assert "elsewhere" in typed("--config", str(config)).stderr


def test_a_choice_that_no_request_of_the_log_meets_is_reported(log: Path) -> None:
    done = typed("--path", str(log), "--kind", "scoer", "--stateless", "--json")
    assert done.exit_code == 0 and json.loads(done.stdout)["new"] == []
    assert "no request of the log has the kind 'scoer'; did you mean score?" in done.stderr
    assert typed("--path", str(log), "--kind", "score", "--stateless").stderr == ""


def test_alerts_on_simulated_events_are_marked(tmp_path: Path) -> None:
    with JsonlSink(tmp_path / "log") as sink:
        emitted(sink, 10, simulated=True)
    assert "errors, simulated" in typed("--path", str(tmp_path / "log")).stdout
    every = typed("--path", str(tmp_path / "log"), "--all", "--stateless").stdout.splitlines()
    assert len(every) == 8 and all(", simulated: " in line for line in every)
    rules = json.loads(typed("--path", str(tmp_path / "log"), "--json").stdout)["rules"]
    assert all(rule["simulated"] and ", simulated: " in rule["text"] for rule in rules)


def test_thresholds_come_from_the_routers_file(log: Path, tmp_path: Path) -> None:
    config = tmp_path / "smartroute.toml"
    config.write_text("[smartroute]\naccept_at = 0.8\n[smartroute.alerts.errors]\nraise_at = 0.1\n")
    assert typed("--path", str(log), "--config", str(config)).exit_code == 0
    config.write_text("[smartroute.alerts]\nusd_per_day = 0.05\n")
    done = typed("--path", str(log), "--config", str(config))
    assert "critical: budget forecast per day: above $0.05: $0.1 " in done.stdout


def test_each_choice_of_requests_has_its_own_state(log: Path) -> None:
    assert typed("--path", str(log), "--kind", "score").stdout.startswith("warning: errors")
    assert typed("--path", str(log), "--tenant", "t").stdout.startswith("warning: errors")
    assert typed("--path", str(log), "--tenant", "t").stdout == ""
    assert typed("--path", str(log), "--tenant", "u").exit_code == 0
    assert len(list(log.glob("alerts-*.json"))) == 3


def test_a_single_file_and_a_database_have_their_state_beside_them(tmp_path: Path) -> None:
    with JsonlSink(tmp_path / "events.jsonl") as sink:
        emitted(sink, 10)
    typed("--path", str(tmp_path / "events.jsonl"))
    assert (tmp_path / "events.jsonl.alerts.json").exists()
    address = f"sqlite:///{tmp_path / 'events.sqlite'}"
    database = SqlSink(address)
    emitted(database, 10)
    database.close()
    assert typed("--path", address).stdout.startswith("warning: errors")
    assert typed("--path", address).stdout == ""
    folder = Path(os.environ["XDG_STATE_HOME"]) / "smartroute"
    assert len(list(folder.glob("alerts-*.json"))) == 1


class Receiver:
    """A web server that remembers what it got, and answers with one status."""

    def __init__(self, status: int) -> None:
        self.got: list[tuple[str, bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append((self.headers[SIGNATURE], body))
                self.send_response(status)
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/t0ken"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_what_is_new_is_posted_signed_and_once(log: Path) -> None:
    receiver = Receiver(204)
    environment = {"SMARTROUTE_WEBHOOK_SECRET": SECRET}
    for _ in range(2):
        done = typed("--path", str(log), "--webhook", receiver.url, env=environment)
        assert done.exit_code == 1, done.output
    receiver.close()
    ((header, body),) = receiver.got
    assert verify(SECRET, header, body, now_s=time.time())
    assert json.loads(body)["rule"] == "errors"


def test_a_webhook_that_refuses_is_reported_and_tried_again_at_the_next_run(log: Path) -> None:
    environment = {"SMARTROUTE_WEBHOOK_SECRET": SECRET}
    for status, code in ((400, 2), (204, 1)):
        receiver = Receiver(status)
        done = typed("--path", str(log), "--webhook", receiver.url, env=environment)
        receiver.close()
        assert done.exit_code == code
        assert len(receiver.got) == 1
        assert ("1 alerts were not delivered" in done.stderr) is (status == 400)
        assert SECRET not in done.output and "t0ken" not in done.output


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--path", "nowhere"), "there is no log"),
        (("--since", "soon"), "--since"),
        (("--since", "5m"), "--since"),
        (("--webhook", "https://example.com/"), "SMARTROUTE_WEBHOOK_SECRET"),
        (("--stateless", "--state", "x.json"), "--stateless"),
        (("--config", "none.toml"), "cannot read"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(log: Path, arguments: tuple[str, ...], words: str) -> None:
    done = typed(*arguments, *(() if "--path" in arguments else ("--path", str(log))))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert words in done.stderr and done.stderr.count("\n") == 1
