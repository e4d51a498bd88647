"""Choose which tests run and on how many cores; keep them on loopback, away from real keys, proxies and logs.

Tests marked `slow` are left out unless `--slow`, a `-m` that names them, or their own path asks for them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from coverage import Coverage
from hypothesis import HealthCheck, settings

# Before anything can import litellm: it would fetch its price map.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
os.environ["LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS"] = "True"

_FOREIGN = re.compile(
    r"_API_KEY|_API_BASE|_BASE_URL|_AUTH_TOKEN|_PROXY$|^AWS_|^AZURE_|^GOOGLE_|^VERTEX|^HF_TOKEN"
    r"|^ROUTER_|^ROUTING_|^SMARTROUTE_(?!DATA$)|^ENABLE_SMART_ROUTING$|^COUNCIL_|^ML_SERVICE_URL$"
)
for _name in [name for name in os.environ if _FOREIGN.search(name.upper())]:
    del os.environ[_name]

# How long an example takes says how busy the machine is, and nothing about the property.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")

import tiers  # noqa: E402
from postgres import Server, binaries  # noqa: E402

from smartroute.testing import no_network  # noqa: E402

_LEFT_OUT = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests too (simulations, crashes)")


def pytest_configure(config: pytest.Config) -> None:
    tiers.FULL = config.option.slow


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Run more than one file on all cores (8 at most), unless -n says otherwise or xdist is missing.

    With --cov it takes a -n: pytest-cov has settled on one process before this file is read.
    """
    if hasattr(config, "workerinput") or not config.pluginmanager.has_plugin("xdist"):
        return
    if config.option.numprocesses is None and getattr(config.option, "cov_source", None):
        return
    one_file = len(config.args) == 1 and ".py" in config.args[0]
    if config.option.numprocesses is None and not one_file:
        config.option.numprocesses = "auto"
        config.option.maxprocesses = config.option.maxprocesses or 8
    if config.option.dist == "no":
        config.option.dist = "worksteal"  # a worker with nothing left takes tests from the other


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the slow tests out where nothing asks for them."""
    if config.option.slow or re.search(r"\bslow\b", config.option.markexpr):
        return
    left_out = [item for item in items if item.get_closest_marker("slow") and not _is_named(item, config)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    config.stash[_LEFT_OUT] = len(left_out)


def _is_named(item: pytest.Item, config: pytest.Config) -> bool:
    """Return whether the command line names this very test, as in tests/test_x.py::test_y."""
    own = item.nodeid.partition("::")[2]
    for argument in config.args:
        path, _, name = argument.partition("::")
        same_file = item.path == (config.invocation_params.dir / path).resolve()
        if name and same_file and (own == name or own.startswith((f"{name}[", f"{name}::"))):
            return True
    return False


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> Generator[None, None, None]:
    """Say in the last line how many tests were left out, and how to run them."""
    config = session.config
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = config.stash.get(_LEFT_OUT, 0)
    yield
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and (count := config.stash.get(_LEFT_OUT, 0)):
        tests = "1 slow test; run it" if count == 1 else f"{count} slow tests; run them"
        reporter.write_line(f"left out: {tests} with pytest --slow")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take the count from a worker of pytest-xdist: the process that reports collects no tests itself."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", 0)


@pytest.fixture(autouse=True)
def _loopback_only() -> Iterator[None]:
    with no_network():
        yield


@pytest.fixture(autouse=True)
def _own_state_directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(directory))
    return directory


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Stop every coverage measurement while a test marked no_cover runs.

    pytest-cov stops its current one; in a worker of pytest-xdist, that resumes an earlier one.
    """
    stopped = []
    while item.get_closest_marker("no_cover") and (running := Coverage.current()) is not None:
        running.stop()
        stopped.append(running)
    try:
        return (yield)
    finally:
        for coverage in reversed(stopped):
            coverage.start()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server on loopback, started for the tests."""
    folder = binaries()
    if folder is None:
        pytest.skip("PostgreSQL is not installed")
    server = Server(folder)
    yield server
    server.remove()
