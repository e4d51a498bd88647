"""Keep every test on loopback and away from the machine's own keys, proxies and logs."""

from __future__ import annotations

import os
import re
from collections.abc import Generator, Iterator
from pathlib import Path

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

from postgres import Server, binaries  # noqa: E402

from smartroute.testing import no_network  # noqa: E402


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
    """Let no measurement run through a simulation.

    pytest-cov stops its own; in a worker of pytest-xdist, one that it began before comes to life by that.
    """
    stopped = []
    while item.get_closest_marker("no_cover") and (running := Coverage.current()) is not None:
        running.stop()
        stopped.append(running)
    try:
        return (yield)
    finally:
        for each in reversed(stopped):
            each.start()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A PostgreSQL server of the tests' own."""
    folder = binaries()
    if folder is None:
        pytest.skip("PostgreSQL is not installed")
    server = Server(folder)
    yield server
    server.remove()
