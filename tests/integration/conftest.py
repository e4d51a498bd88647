"""Give the integration tests a council whose members sit on loopback, in each of its modes."""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# The loopback providers live with the wire tests, which may not have been collected.
sys.path.insert(0, str(Path(__file__).parents[1] / "wire"))

from council_servers import ClickService, Desk, Panel

from smartroute.routing.retries import RetryPolicy
from smartroute.testing import CapturingSink, FrozenClock

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all asynchronous calls, as an application would have."""
    with asyncio.Runner() as runner:
        runner.get_loop()
        yield runner


@pytest.fixture(params=["full", "exact", "smart"])
def mode(request: pytest.FixtureRequest) -> str:
    """Each of the council's modes in turn."""
    return str(request.param)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(scope="session")
def hall() -> Iterator[Panel]:
    """The three providers."""
    with Panel() as panel:
        yield panel


@pytest.fixture
def panel(hall: Panel, desk: Desk | None, monkeypatch: pytest.MonkeyPatch) -> Panel:
    """The three providers, in the environment where litellm looks for them."""
    hall.seat(desk)
    for server in hall.servers:
        monkeypatch.setenv(server.key_variable, server.key)
        monkeypatch.setenv(server.base_variable, server.url)
    return hall


@pytest.fixture
def clicks(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClickService]:
    """The click-through service, configured and running."""
    with ClickService() as service:
        monkeypatch.setenv("ML_SERVICE_URL", service.url)
        yield service


@pytest.fixture
def sink() -> CapturingSink:
    return CapturingSink()


@pytest.fixture
def clock() -> FrozenClock:
    return FrozenClock()


@pytest.fixture
def script() -> str:
    """A script that no other test has asked about."""
    return f"Number {next(_numbers)}: tired of cold coffee? This mug keeps it hot for six hours. Order today."


@pytest.fixture
def convene(panel: Panel, sink: CapturingSink, runner: asyncio.Runner) -> Iterator[Callable[..., Any]]:
    """Return a function that builds a council whose calls are made once and whose audits are off."""
    from smartroute.integration import SmartEnsembleEvaluator

    built: list[Any] = []

    def build(mode: str = "full", **settings: Any) -> Any:
        settings = {"audit_share": 0.0, "seed": 1, "sink": sink, "retry": RetryPolicy(calls=1)} | settings
        evaluator = SmartEnsembleEvaluator(mode=mode, **settings)
        built.append(evaluator)
        return evaluator

    yield build
    for evaluator in built:
        runner.run(evaluator.aclose())


@pytest.fixture
def council(convene: Callable[..., Any], mode: str) -> Any:
    """A council in each mode."""
    return convene(mode)


@pytest.fixture
def evaluate(council: Any, runner: asyncio.Runner) -> Callable[..., dict[str, Any]]:
    """Call `evaluate_script` of the council in each mode."""
    return lambda *args, **named: runner.run(council.evaluate_script(*args, **named))


@pytest.fixture
def doubt(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Put the threshold at a final score, or just beside it, so that the verdict hangs on every member."""
    return lambda final: monkeypatch.setenv("COUNCIL_APPROVAL_THRESHOLD", repr(final))
