"""The command line, through typer's runner and as real processes."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
from typer.testing import CliRunner

import smartroute
from smartroute.cli.app import app
from smartroute.cli.shell import one_clear_line
from smartroute.clock import Clock
from smartroute.dashboard.terminal import printable
from smartroute.demo.tasks import load_tasks
from smartroute.errors import ProviderTimeoutError
from smartroute.evaluation.checks import passes
from smartroute.events.event import Event
from smartroute.providers.offline import OfflineProvider
from smartroute.records import Call, Reply, json_schema
from smartroute.routing.retries import RetryPolicy
from smartroute.routing.strategies import FixedLadder
from smartroute.sinks import open_log, open_sink
from smartroute.testing import ScriptedProvider

Run = Callable[..., subprocess.CompletedProcess[str]]

KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY")


@pytest.fixture
def shell(tmp_path: Path) -> Run:
    """Return a function that runs `python -m smartroute` in a process of its own, without keys."""

    def run(
        *arguments: str, stdin: str | bytes = "", code: str | None = None, **env: str
    ) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name not in KEYS}
        environment |= {"XDG_STATE_HOME": str(tmp_path / "state"), "PYTHONIOENCODING": "utf-8", **env}
        command = [sys.executable, *(["-c", code] if code else ["-m", "smartroute"]), *arguments]
        sent = stdin if isinstance(stdin, bytes) else stdin.encode()
        done = subprocess.run(command, input=sent, capture_output=True, env=environment, timeout=120)
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run


@pytest.fixture
def typed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return a function that runs the command in this process, without keys."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    return lambda *arguments, **options: CliRunner().invoke(app, list(arguments), **options)


def test_the_demo_succeeds_without_keys_and_says_simulated_on_every_page(shell: Run) -> None:
    done = shell("demo")
    assert done.returncode == 0, done.stderr
    page_one, rest = done.stdout.split("Totals")
    page_two, page_three = rest.split("One task explained")
    for page in (page_one, page_two, page_three):
        assert "simulated: no real model was called" in page
    assert "smartroute demo (simulated)" in page_one
    assert "(simulated)" in page_two.splitlines()[0]
    assert "(simulated)" in page_three.splitlines()[0]
    assert "Ledger (simulated)" in page_three
    assert "chosen with hindsight on these tasks" in page_two
    assert "Traceback" not in done.stderr


def test_the_demo_fits_80_columns_and_uses_no_color_in_a_pipe(shell: Run) -> None:
    lines = shell("demo").stdout.splitlines()
    assert all(len(line) <= 80 for line in lines), max(lines, key=len)
    assert not any("\x1b" in line for line in lines)


@pytest.mark.parametrize("seed", ["0", "2", "5"])
def test_each_way_has_its_figures_on_one_line(shell: Run, seed: str) -> None:
    lines = shell("demo", "--seed", seed).stdout.partition("Totals")[2].splitlines()
    for model in ("sim-mini", "sim-standard", "sim-premium"):
        row = next(line for line in lines if line.startswith(model))
        assert re.fullmatch(
            r"\S+ +\d+/64 +\d+% \(\d+\.\.\d+\) +\$[\d.]+ +[+-]\d+% \([+-]\d+\.\.[+-]\d+\) *", row
        )


def test_the_totals_follow_from_the_lines_of_the_tasks(shell: Run) -> None:
    document = json.loads(shell("demo", "--json").stdout)
    tasks, totals = document["tasks"], document["totals"]
    assert document["simulated"] is True
    assert [task["id"] for task in tasks] == [task.id for task in load_tasks()]
    for task in tasks:
        priced = [a["cost_usd"] for a in task["attempts"] if a["cost_usd"] is not None]
        assert task["cost_usd"] == pytest.approx(math.fsum(priced), rel=1e-12)
        assert task["unpriced_attempts"] == len(task["attempts"]) - len(priced)
        assert task["escalated"] == (len({a["rung"] for a in task["attempts"]}) > 1)
    by_id = {task.id: task for task in load_tasks()}
    assert all(task["right"] == passes(task["answer"], by_id[task["id"]].check) for task in tasks)
    routed = totals["routed"]
    assert routed["n"] == len(tasks)
    assert routed["right"] == sum(task["right"] for task in tasks)
    assert routed["cost_usd"] == pytest.approx(math.fsum(task["cost_usd"] for task in tasks), rel=1e-12)
    assert routed["escalated"] == sum(task["escalated"] for task in tasks)
    assert [fixed["model"] for fixed in totals["fixed"]] == ["sim-mini", "sim-standard", "sim-premium"]
    for fixed in totals["fixed"]:
        assert fixed["right"] == sum(task["right"] for task in fixed["tasks"])
        assert fixed["cost_usd"] == pytest.approx(math.fsum(task["cost_usd"] for task in fixed["tasks"]))
        assert fixed["saved_by_routing"] == pytest.approx(1 - routed["cost_usd"] / fixed["cost_usd"])
    best = min(totals["fixed"], key=lambda fixed: (-fixed["right"], fixed["cost_usd"]))
    assert totals["best_fixed"] == best["model"]
    assert totals["dearest_fixed"] == max(totals["fixed"], key=lambda fixed: fixed["cost_usd"])["model"]
    if (mix := totals["random_mix"]) is not None:
        assert mix["cost_usd"] == pytest.approx(routed["cost_usd"])


def test_attempts_are_priced_as_the_simulated_catalog_says(shell: Run) -> None:
    prices = {card.name: card.price for card in OfflineProvider.catalog()}
    for task in json.loads(shell("demo", "--json").stdout)["tasks"]:
        for attempt in task["attempts"]:
            price = prices[attempt["model"]]
            assert price is not None
            by_hand = (
                attempt["input_tokens"] * price.input + attempt["output_tokens"] * price.output
            ) / 1_000_000
            assert attempt["cost_usd"] == pytest.approx(by_hand)


def test_the_same_seed_prints_the_same_and_another_seed_does_not(shell: Run) -> None:
    one = shell("demo", "--json", "--seed", "3", PYTHONHASHSEED="1")
    same = shell("demo", "--json", "--seed", "3", PYTHONHASHSEED="2")
    other = shell("demo", "--json", "--seed", "4", PYTHONHASHSEED="1")
    assert one.stdout == same.stdout
    assert json.loads(one.stdout)["tasks"] != json.loads(other.stdout)["tasks"]


def test_settings_in_the_environment_do_not_change_what_a_seed_gives(shell: Run) -> None:
    plain = shell("demo", "--json")
    bent = shell("demo", "--json", ROUTER_ESCALATION_THRESHOLD="0.99", ENABLE_SMART_ROUTING="false")
    assert plain.stdout == bent.stdout


def test_the_demo_logs_simulated_events_beside_the_real_log_and_never_in_it(
    shell: Run, tmp_path: Path
) -> None:
    shell("demo", "--json")
    home = tmp_path / "state" / "smartroute"
    assert [path.name for path in home.iterdir()] == ["log-simulated"]
    events = list(open_log(home / "log-simulated").events())
    assert [event.type for event in events].count("outcome") == 4 * len(load_tasks())
    assert all(event.simulated for event in events)


def test_a_configured_log_stays_free_of_simulated_events(shell: Run, tmp_path: Path) -> None:
    shell("demo", "--json", ROUTING_ANALYTICS_PATH=str(tmp_path / "mine.jsonl"))
    assert not (tmp_path / "mine.jsonl").exists()
    assert (tmp_path / "mine-simulated.jsonl").exists()


@pytest.mark.parametrize("command", [("demo",), ("route", "Grüße, 日本 [bold]", "--simulated", "--explain")])
def test_a_terminal_that_knows_only_ascii_does_not_crash(shell: Run, command: tuple[str, ...]) -> None:
    done = shell(*command, PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0")
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).isascii()
    assert "Traceback" not in done.stderr


def test_no_color_is_obeyed_even_where_color_is_forced(shell: Run) -> None:
    done = shell("demo", NO_COLOR="1", FORCE_COLOR="1", TERM="xterm-256color")
    assert done.returncode == 0
    assert "\x1b[33m" not in done.stdout and "\x1b[38" not in done.stdout


def test_live_without_keys_names_the_variables(shell: Run) -> None:
    done = shell("demo", "--live", "--yes")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "OPENAI_API_KEY" in done.stderr and "smartroute demo" in done.stderr


def test_live_refuses_without_a_terminal_to_ask_on(shell: Run) -> None:
    done = shell("demo", "--live", OPENAI_API_KEY="sk-none")
    assert done.returncode == 2
    assert "--yes" in done.stderr
    assert done.stderr.count("\n") == 1


def test_live_names_its_models_and_its_cap_even_where_it_need_not_ask(shell: Run) -> None:
    done = shell("demo", "--live", "--yes", "--max-usd", "0", OPENAI_API_KEY="sk-none")
    assert done.stderr.startswith("calling real models (gpt-")
    assert "to spend up to $0\n" in done.stderr


def test_the_demo_does_not_claim_events_that_it_could_not_log(shell: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way of a folder")
    lost = shell("demo", XDG_STATE_HOME=str(tmp_path / "file"))
    assert lost.returncode == 0
    assert "not every event could be logged in" in lost.stderr
    assert "events are logged in" not in lost.stderr and "smartroute report" not in lost.stderr
    assert "events are logged in" in shell("demo").stderr


def test_the_demo_says_how_to_read_its_log_without_the_fixed_models(shell: Run, tmp_path: Path) -> None:
    printed = shell("demo", XDG_STATE_HOME=str(tmp_path / "a b")).stderr
    command = printed.partition("smartroute ")[2].splitlines()[0]
    document = json.loads(shell(*shlex.split(command), "--json").stdout)
    assert (document["requests"], document["savings"][0]["n"]) == (64, 64)


def test_live_with_an_impossible_budget_says_so(shell: Run) -> None:
    done = shell("demo", "--live", "--yes", "--max-usd", "nan", OPENAI_API_KEY="sk-none")
    assert done.returncode == 2
    assert "max_usd" in done.stderr and "Traceback" not in done.stderr


def test_live_without_money_calls_nothing_and_says_how_far_it_came(shell: Run) -> None:
    done = shell("demo", "--live", "--yes", "--max-usd", "0", "--json", OPENAI_API_KEY="sk-none")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["simulated"] is False
    assert (document["tasks"], document["totals"], document["spent_usd"]) == ([], None, 0.0)
    assert document["stopped"].startswith(f"the budget ended after 0 of {len(load_tasks())} tasks")


def test_the_answer_alone_goes_to_standard_output(shell: Run) -> None:
    prompt = load_tasks()[0].prompt
    done = shell("route", prompt, "--simulated", "--kind", load_tasks()[0].kind)
    document = json.loads(
        shell("route", prompt, "--simulated", "--kind", load_tasks()[0].kind, "--json").stdout
    )
    assert done.returncode == 0
    assert done.stdout == document["text"] + "\n"
    assert "simulated" in done.stderr
    assert f"${document['cost_usd']:.6f}" in done.stderr
    assert document["simulated"] is True
    assert document["cost_usd"] == math.fsum(a["cost_usd"] for a in document["attempts"])


def test_a_dash_reads_the_prompt_from_standard_input_whatever_its_bytes(shell: Run) -> None:
    prompt = load_tasks()[1].prompt
    piped = shell("route", "-", "--simulated", stdin=prompt)
    assert piped.stdout == shell("route", prompt, "--simulated").stdout
    broken = shell("route", "-", "--simulated", stdin=b"what is \xff\xfe?")
    assert broken.returncode == 0, broken.stderr


def test_explain_shows_the_decision_and_the_ledger(typed: Callable[..., Any]) -> None:
    done = typed("route", "Prove there are infinitely many primes.", "--simulated", "--explain")
    assert done.exit_code == 0
    assert "strategy cost_optimized" in done.stderr
    assert "Ledger (simulated)" in done.stderr
    assert "strategy" not in done.stdout


def test_explain_goes_into_the_json_document(typed: Callable[..., Any]) -> None:
    done = typed("route", "hello", "--simulated", "--explain", "--json")
    document = json.loads(done.stdout)
    assert "strategy cost_optimized" in document["explanation"]
    dry = json.loads(typed("route", "hello", "--simulated", "--dry-run", "--json").stdout)
    assert {"simulated": True, **document["decision"]} == dry


OUTCOME_KEYS = (
    "simulated id text model complexity escalated confidence confidence_source stopped_by cost_usd "
    "unpriced_attempts baseline_model baseline_cost_usd latency_s attempts"
)
DECISION_KEYS = "complexity score by signals strategy accept_at ladder reasons ruled_out"
ATTEMPT_KEYS = (
    "model effort purpose rung number cost_usd input_tokens output_tokens confidence confidence_source "
    "failure latency_s"
)


def test_json_is_the_published_shape_and_has_every_key_that_it_ever_had(typed: Callable[..., Any]) -> None:
    document = json.loads(typed("route", "hello", "--simulated", "--json").stdout)
    decision = json.loads(typed("route", "hello", "--simulated", "--dry-run", "--json").stdout)
    jsonschema.validate(document, json_schema("outcome"))
    jsonschema.validate(decision, json_schema("decision"))
    assert document.keys() >= set(OUTCOME_KEYS.split())
    assert decision.keys() >= {"simulated", *DECISION_KEYS.split()}
    assert document["attempts"][0].keys() >= set(ATTEMPT_KEYS.split())
    assert "explanation" not in document


def test_a_request_without_an_answer_leaves_its_ledger_in_the_json_document(
    typed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: OfflineProvider, call: Call) -> Reply:
        raise ProviderTimeoutError(f"{call.model}: no reply")

    monkeypatch.setattr(OfflineProvider, "send", fail)
    monkeypatch.setattr(Clock, "sleep", lambda self, seconds: None)
    done = typed("route", "hello", "--simulated", "--json")
    assert done.exit_code == 2
    document = json.loads(done.stdout)
    assert (document["text"], document["model"], document["error"]["kind"]) == (
        "",
        None,
        "AllModelsFailedError",
    )
    assert [attempt["failure"] for attempt in document["attempts"]] == ["timeout"] * 9
    assert document["unpriced_attempts"] == 9
    assert done.stderr.startswith("error: no rung of") and done.stderr.count("\n") == 1
    assert "Ledger" in typed("route", "hello", "--simulated", "--explain").stderr


MODELS = """
[[models]]
name = "{name}"
target = "openai/llama"
api_base = "http://localhost:1/v1"
tier = "mini"
price = {{ input = 0, output = 0 }}
"""


def ladder_of(done: Any) -> list[str]:
    assert done.exit_code == 0, done.stderr
    return [rung["model"] for rung in json.loads(done.stdout)["ladder"]]


def test_models_of_the_users_own_come_from_a_file(typed: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text(MODELS.format(name="my-llama"))
    dry = ("route", "hello", "--dry-run", "--json", "--models", str(file))
    assert ladder_of(typed(*dry)) == ["my-llama"]
    with_keys = ladder_of(typed(*dry, env={"OPENAI_API_KEY": "sk-none"}))
    assert with_keys[0] == "my-llama" and "gpt-6.1-terra" in with_keys


def test_settings_come_from_a_file_and_not_from_the_environment(
    typed: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text(MODELS.format(name="my-llama"))
    config = tmp_path / "smartroute.toml"
    config.write_text('[smartroute]\naccept_at = 0.93\ncatalog = "own.toml"\nlog_path = "there"\n')
    dry = ("route", "hello", "--dry-run", "--json", "--config", str(config))
    done = typed(*dry, env={"ROUTER_ESCALATION_THRESHOLD": "0.5"})
    assert ladder_of(done) == ["my-llama"]
    assert json.loads(done.stdout)["accept_at"] == 0.93
    (tmp_path / "other.toml").write_text(MODELS.format(name="other-llama"))
    assert ladder_of(typed(*dry, "--models", str(tmp_path / "other.toml"))) == ["other-llama"]
    simulated = typed("route", "hello", "--simulated", "--json", "--explain", "--config", str(config))
    assert json.loads(simulated.stdout)["decision"]["accept_at"] == 0.93
    assert json.loads(simulated.stdout)["simulated"] is True
    assert not (tmp_path / "there").exists(), "simulated traffic never goes to the log of real traffic"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--config", "nosuch.toml"), "cannot read the configuration file nosuch.toml"),
        (("--models", "nosuch.toml"), "nosuch.toml"),
        (("--models", "nosuch.toml", "--simulated"), "--simulated has its own models; leave out --models"),
    ],
)
def test_a_file_that_cannot_be_used_is_reported_in_a_line(
    typed: Callable[..., Any], options: tuple[str, ...], words: str
) -> None:
    done = typed("route", "hello", *options)
    assert done.exit_code == 2
    assert words in done.stderr and done.stderr.count("\n") == 1


def test_help_lists_the_main_job_first(typed: Callable[..., Any]) -> None:
    listed = re.findall(r"^│ (\w+) ", typed("--help").stdout.partition("Commands")[2], re.MULTILINE)
    assert listed == ["demo", "route", "report", "export", "alerts", "log"]


def test_the_models_that_help_names_can_be_asked(
    typed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    named = re.findall(r'"([a-z][\w.@-]+)"', typed("route", "--help").stdout)
    assert named
    for model in named:
        assert typed("route", "hello", "--dry-run", "--model", model).exit_code == 0, model


def test_a_dry_run_calls_nothing_and_logs_nothing(typed: Callable[..., Any], tmp_path: Path) -> None:
    done = typed("route", "hello", "--simulated", "--dry-run")
    assert done.exit_code == 0
    assert "rung 1  sim-mini" in done.stdout
    decision = json.loads(typed("route", "hello", "--simulated", "--dry-run", "--json").stdout)
    assert [rung["model"] for rung in decision["ladder"]] == ["sim-mini", "sim-standard", "sim-premium"]
    assert not (tmp_path / "state" / "smartroute").exists()


def test_the_preferred_model_is_asked(typed: Callable[..., Any]) -> None:
    done = typed("route", "hello", "--simulated", "--model", "sim-premium", "--json")
    assert json.loads(done.stdout)["model"] == "sim-premium"


def test_the_environment_sets_up_route(typed: Callable[..., Any]) -> None:
    done = typed("route", "hello", "--simulated", "--dry-run", env={"ROUTER_ESCALATION_THRESHOLD": "0.93"})
    assert "accept at confidence 0.93" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("route", "   ", "--simulated"), "the prompt is empty"),
        (("route", "hi"), "OPENAI_API_KEY"),
        (("route", "hi", "--simulated", "--model", "nosuch"), "nosuch"),
        (("route", "hi", "--simulated", "--max-usd", "-1"), "max_usd"),
        (("route", "hi", "--simulated", "--max-tokens", "0"), "max_tokens"),
        (("route", "hi", "--simulated", "--max-usd", "0"), "raise max_usd"),
    ],
)
def test_a_mistake_is_one_line_on_standard_error(
    typed: Callable[..., Any], arguments: tuple[str, ...], says: str
) -> None:
    done = typed(*arguments)
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert says in done.stderr


def test_a_request_without_an_answer_is_one_line_with_its_cost_and_the_last_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    provider = ScriptedProvider(lambda call: ProviderTimeoutError("no reply\nwithin 3 s"))
    router = smartroute.ModelRouter(
        provider=provider, strategy=FixedLadder("gpt-4o"), retry=RetryPolicy(calls=2, initial_s=0), sink=False
    )
    with pytest.raises(typer.Exit) as left, one_clear_line():
        router.run("hi")
    assert left.value.exit_code == 2
    assert capsys.readouterr().err == (
        "error: no rung of [gpt-4o] answered (gpt-4o: timeout, 2 calls) (spent $0.000000 in 2 calls, "
        "2 of unknown cost); the last of them: no reply within 3 s\n"
    )


def test_a_wrong_setting_in_the_environment_is_one_line_too(typed: Callable[..., Any]) -> None:
    done = typed("route", "hi", "--simulated", env={"ROUTER_ESCALATION_THRESHOLD": "high"})
    assert done.exit_code == 2
    assert "ROUTER_ESCALATION_THRESHOLD" in done.stderr and done.stderr.count("\n") == 1


def test_markup_in_a_prompt_is_printed_as_it_is(typed: Callable[..., Any]) -> None:
    done = typed("route", "[red]x[/nosuch] :smile:", "--simulated", "--explain")
    assert done.exit_code == 0, done.exception


def test_control_characters_do_not_reach_a_terminal() -> None:
    assert printable("a\x1b[2Jb\x07\r\n\tc\x9b") == "a\ufffd[2Jb\ufffd\ufffd\n\tc\ufffd"
    assert printable("Grüße 日本 🙂") == "Grüße 日本 🙂"


def test_a_pipe_gets_an_answer_as_it_is(typed: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    scripted = ScriptedProvider(["\x1b[31mred\x1b[0m\x07"])
    monkeypatch.setattr("smartroute.router.construction.litellm_provider", lambda: scripted)
    assert typed("route", "hi").stdout == "\x1b[31mred\x1b[0m\x07\n"


def test_the_version_is_the_packages(shell: Run) -> None:
    assert shell("--version").stdout == f"smartroute {smartroute.__version__}\n"


WITHOUT = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
from smartroute.__main__ import main
main()
"""


@pytest.mark.parametrize("names", [("typer", "rich"), ("rich",), ("typer",)])
def test_without_its_extra_the_command_names_the_cure(shell: Run, names: tuple[str, ...]) -> None:
    done = shell("demo", code=WITHOUT.format(names=names))
    assert done.returncode == 1
    assert done.stdout == ""
    assert 'pip install "smartroute[cli]"' in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_database_without_its_extra_is_one_line_with_the_cure(shell: Run) -> None:
    done = shell("report", "--path", "sqlite:///x.sqlite", code=WITHOUT.format(names=("sqlalchemy",)))
    assert done.returncode == 2
    assert done.stderr == (
        "error: SQLAlchemy is not installed; install it with pip install 'smartroute[sql]'\n"
    )


def test_asking_for_help_loads_nothing_heavy(shell: Run) -> None:
    heavy = ("litellm", "openai", "numpy", "scipy", "pydantic", "smartroute.router")
    code = (
        "import sys\nfrom smartroute.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"sys.stderr.write(repr([name for name in {heavy!r} if name in sys.modules]))"
    )
    assert shell("--help", code=code).stderr == "[]"


def test_the_simulated_demo_loads_no_litellm(shell: Run) -> None:
    code = (
        "import sys\nfrom smartroute.__main__ import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.stderr.write(repr([name for name in ('litellm', 'openai', 'scipy') if name in sys.modules]))"
    )
    assert shell("demo", "--json", code=code).stderr == "[]"


@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are a POSIX thing")
class TestOnATerminal:
    """What a person at a terminal sees: both ends of a pseudo-terminal in one process."""

    def seen(self, *arguments: str, types: bytes = b"", **env: str) -> tuple[int, str]:
        """Return the exit code, and what a terminal of 80 columns was sent."""
        import pty
        import threading

        ours, theirs = pty.openpty()
        environment = {name: value for name, value in os.environ.items() if name not in KEYS}
        environment |= {"TERM": "xterm", "COLUMNS": "80", "LINES": "40", "PYTHONIOENCODING": "utf-8", **env}
        process = subprocess.Popen(
            [sys.executable, "-m", "smartroute", *arguments],
            stdin=theirs, stdout=theirs, stderr=theirs, env=environment, close_fds=True,
        )  # fmt: skip
        os.close(theirs)
        if types:
            os.write(ours, types)
        chunks: list[bytes] = []

        def listen() -> None:
            try:
                while chunk := os.read(ours, 4096):
                    chunks.append(chunk)
            except OSError:  # Linux says so when the other end is closed
                return

        listener = threading.Thread(target=listen)
        listener.start()
        code = process.wait(timeout=120)
        listener.join(timeout=30)
        os.close(ours)
        return code, b"".join(chunks).decode(errors="replace")

    def test_the_demo_shows_its_progress(self) -> None:
        code, sent = self.seen("demo")
        assert code == 0
        assert f"{len(load_tasks())}/{len(load_tasks())}" in sent
        assert "sim-premium" in sent

    @pytest.mark.parametrize(
        ("store", "events", "text", "unit"),
        [
            ("log", 180, "x" * 100_000, "MB"),
            ("sqlite", 10_001, "", "10001/10001"),
        ],
    )
    def test_reading_a_log_for_the_first_time_shows_how_far_it_is_and_again_does_not(
        self, tmp_path: Path, store: str, events: int, text: str, unit: str
    ) -> None:
        address = str(tmp_path / "log") if store == "log" else f"sqlite:///{tmp_path / 'log.sqlite'}"
        with open_sink(address) as sink:
            for number in range(events):
                sink.emit(
                    Event(
                        3, "outcome", f"o{number}", f"o{number}", "2026-11-23T08:00:00.000000Z", False,
                        prompt_text=text or None,
                    )
                )  # fmt: skip
        code, sent = self.seen("report", "--path", address)
        assert code == 0
        assert "reading the log" in sent and unit in sent
        code, sent = self.seen("export", str(tmp_path / "report.json"), "--path", address)
        assert code == 0
        assert "reading the log" not in sent
        assert json.loads((tmp_path / "report.json").read_text("utf-8"))["requests"] == events

    def test_after_a_no_nothing_is_called(self) -> None:
        code, sent = self.seen(
            "demo", "--live", types=b"n\n", OPENAI_API_KEY="sk-none", OPENAI_API_BASE="http://127.0.0.1:9"
        )
        assert code == 1
        assert "spend up to $0.05?" in sent
        assert "simulated" not in sent and "Traceback" not in sent

    def test_the_question_names_every_model_that_may_be_called_and_the_whole_cap(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        keys = dict.fromkeys(KEYS, "sk-none")
        for name, key in keys.items():
            monkeypatch.setenv(name, key)
        _, sent = self.seen("demo", "--live", "--max-usd", "0.002", types=b"n\n", **keys)
        asked = " ".join(sent.split())
        named = asked.partition("Call real models (")[2].partition(")")[0].split(", ")
        with smartroute.ModelRouter(config=smartroute.RouterConfig(sink=False)) as router:
            ladders = [router.decide(t.prompt, kind=t.kind, max_tokens=400).ladder for t in load_tasks()]
        assert set(named) == {rung.model for ladder in ladders for rung in ladder}
        assert "spend up to $0.002?" in asked

    def test_an_answer_cannot_move_the_cursor(self) -> None:
        code, sent = self.seen("route", "x", "--simulated", "--model", "\x1b[2Jnosuch", NO_COLOR="1")
        assert code == 2
        assert "nosuch" in sent and "\x1b[2J" not in sent


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_reported_and_is_not_an_alert(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "smartroute", "route", "hello", "--simulated"],
            stdout=full,
            stderr=subprocess.PIPE,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
            timeout=120,
            check=False,
        )
    assert done.returncode == 2
    assert b"the output cannot be written" in done.stderr and b"Traceback" not in done.stderr
