"""Hold the front door to its names and to its price: what `from smartroute import ModelRouter` loads."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata

import pytest

import smartroute

NAMES = {
    "AllModelsFailedError",
    "Attempt",
    "BudgetExceededError",
    "Catalog",
    "Classification",
    "Confidence",
    "ConfigError",
    "DeadlineExceededError",
    "Decision",
    "MissingKeyError",
    "ModelCard",
    "ModelRouter",
    "Outcome",
    "Price",
    "PriceTable",
    "ProviderError",
    "RouterConfig",
    "SmartRouteError",
    "Task",
    "TaskComplexity",
    "TaskError",
    "UnknownModelError",
    "Usage",
    "__version__",
}

PYDANTIC = {"annotated_types", "pydantic", "pydantic_core", "typing_extensions", "typing_inspection"}

HEAVY = (
    "fastapi",
    "httpx",
    "litellm",
    "numpy",
    "openai",
    "pandas",
    "rich",
    "scipy",
    "starlette",
    "tenacity",
    "tiktoken",
    "typer",
)


def packages_after(code: str) -> set[str]:
    """Return the packages beyond the standard library that a fresh interpreter loads for some code."""
    report = "import json, sys; names = {name.partition('.')[0] for name in sys.modules}"
    report += "; print(json.dumps(sorted(names - sys.stdlib_module_names)))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    # The interpreter's own build settings are part of the standard library under a name that varies.
    return {
        name for name in json.loads(done.stdout.splitlines()[-1]) if not name.startswith("_sysconfigdata")
    }


@pytest.fixture(scope="module")
def bare_interpreter() -> set[str]:
    """What an interpreter of this environment loads on its own, by its .pth files."""
    return packages_after("pass")


def test_the_front_door_has_these_names_and_no_others() -> None:
    assert set(smartroute.__all__) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_can_be_had(name: str) -> None:
    assert getattr(smartroute, name) is not None
    assert name in dir(smartroute)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'NoSuchName'"):
        _ = smartroute.NoSuchName


def test_star_import_gives_the_public_names() -> None:
    found: dict[str, object] = {}
    exec("from smartroute import *", found)
    assert set(found) - {"__builtins__"} == NAMES


def test_the_version_is_the_distributions() -> None:
    assert metadata.version("smartroute") == smartroute.__version__


def test_the_router_loads_pydantic_and_the_standard_library_only(bare_interpreter: set[str]) -> None:
    loaded = packages_after("from smartroute import ModelRouter") - bare_interpreter
    assert "pydantic" in loaded
    assert loaded <= {"smartroute", *PYDANTIC}


@pytest.mark.parametrize(
    "code",
    [
        "from smartroute import *",
        "from smartroute import ModelRouter; ModelRouter()",
        "from smartroute import RouterConfig; RouterConfig()",
        "import smartroute.errors, smartroute.records, smartroute.protocols, smartroute.testing",
        "from smartroute import ModelRouter\n"
        "from smartroute.testing import ScriptedProvider\n"
        "ModelRouter(provider=ScriptedProvider(lambda call: '7'), sink=False).run('2 + 5?')",
    ],
    ids=["every name", "a router", "a config", "the other modules", "an answer"],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str) -> None:
    assert packages_after(code).isdisjoint(HEAVY)


def test_the_check_on_heavy_packages_can_fail() -> None:
    assert "httpx" in packages_after("import httpx") & set(HEAVY)


@pytest.mark.parametrize(
    ("record", "names"),
    [
        (smartroute.Outcome, "id text parsed raw model complexity decision attempts"),
        (smartroute.Outcome, "cost_usd baseline_cost_usd confidence confidence_source escalated latency_s"),
        (smartroute.Attempt, "model purpose cost_usd usage latency_s confidence failure"),
        (smartroute.Decision, "classification ladder accept_at strategy reasons ruled_out explain"),
        (smartroute.Decision, "arm arm_propensity action_propensity"),
    ],
)
def test_a_record_has_the_attributes_that_others_rely_on(record: type, names: str) -> None:
    assert [name for name in names.split() if not hasattr(record, name)] == []


def test_the_router_has_the_familiar_methods() -> None:
    for name in (
        "classify_task_complexity",
        "get_model_for_complexity",
        "route_and_execute",
        "get_stats",
        "reset_stats",
    ):
        assert callable(getattr(smartroute.ModelRouter, name))
