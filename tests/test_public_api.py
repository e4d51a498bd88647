"""The public names, old import paths, and what `from smartroute import ModelRouter` loads."""

from __future__ import annotations

import importlib
import json
import pickle
import subprocess
import sys
from importlib import metadata

import pytest

import smartroute
from smartroute._moved import MOVED, RENAMED_MODULES
from smartroute.lazy_imports import RENAMED_NAMES

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
    process = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, timeout=60, check=False
    )
    assert process.returncode == 0, process.stderr
    # The interpreter's own build settings are part of the standard library under a name that varies.
    return {
        name for name in json.loads(process.stdout.splitlines()[-1]) if not name.startswith("_sysconfigdata")
    }


LAZY_PACKAGES = ("classify", "confidence", "config", "events", "records", "sinks")


@pytest.fixture(scope="module")
def bare_interpreter() -> set[str]:
    """What an interpreter of this environment loads on its own, by its .pth files."""
    return packages_after("pass")


def test_the_package_has_these_names_and_no_others() -> None:
    assert set(smartroute.__all__) == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_every_name_can_be_imported(name: str) -> None:
    assert getattr(smartroute, name) is not None
    assert name in dir(smartroute)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'NoSuchName'"):
        _ = smartroute.NoSuchName


def test_star_import_gives_the_public_names() -> None:
    namespace: dict[str, object] = {}
    exec("from smartroute import *", namespace)
    assert set(namespace) - {"__builtins__"} == NAMES


@pytest.mark.parametrize("package", ["smartroute", *(f"smartroute.{name}" for name in LAZY_PACKAGES)])
def test_dir_lists_public_names_before_they_are_imported(package: str) -> None:
    code = f"import {package} as package; assert not {{*package.__all__}} - {{*dir(package)}}"
    subprocess.run([sys.executable, "-c", code], check=True)


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


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_moved_module_is_the_same_object_by_its_old_path(old: str, new: str) -> None:
    by_old_path = importlib.import_module(old)
    module = importlib.import_module(new)
    assert by_old_path is module
    assert module.__name__ == new
    assert module.__spec__ is not None
    assert module.__spec__.name == new


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_moved_module_can_be_imported_first_by_its_old_path(old: str, new: str) -> None:
    code = f"import {old}, {new}, sys; assert sys.modules[{old!r}] is sys.modules[{new!r}]"
    assert "smartroute" in packages_after(code)


@pytest.mark.parametrize("old", MOVED)
def test_a_moved_module_can_be_reloaded(old: str) -> None:
    code = f"import importlib, {old} as module; assert importlib.reload(module) is module"
    assert "smartroute" in packages_after(code)


def test_an_object_of_a_moved_module_survives_pickling() -> None:
    from smartroute.evaluation.tasks import load_tasks

    tasks = load_tasks()
    assert pickle.loads(pickle.dumps(tasks)) == tasks
    assert pickle.loads(pickle.dumps(load_tasks)) is load_tasks


def test_a_pickle_made_under_the_old_path_can_be_read() -> None:
    from smartroute.demo.tasks import load_tasks

    assert pickle.loads(b"csmartroute.evaluation.tasks\nload_tasks\n.") is load_tasks


@pytest.mark.parametrize(("old", "new"), RENAMED_MODULES.items())
def test_a_renamed_module_is_an_import_error_that_names_the_new_one(old: str, new: str) -> None:
    with pytest.raises(ImportError, match=f"^{old} is now called {new}$") as caught:
        importlib.import_module(old)
    assert caught.value.name == old


RENAMED = [(module, old, new) for module, names in RENAMED_NAMES.items() for old, new in names.items()]


@pytest.mark.parametrize(("module", "old", "new"), RENAMED)
def test_a_renamed_name_is_an_import_error_that_names_the_new_one(module: str, old: str, new: str) -> None:
    with pytest.raises(ImportError, match=f"{old} is now called {new}: from {module} import {new}$"):
        exec(f"from {module} import {old}")
    assert hasattr(importlib.import_module(module), new)


@pytest.mark.parametrize("setting", ["catalogue", "cost_optimisation"])
def test_a_setting_in_british_spelling_is_refused_with_the_american_one(setting: str) -> None:
    with pytest.raises(smartroute.ConfigError, match=r"did you mean (catalog|cost_optimization)\?$"):
        smartroute.ModelRouter(**{setting: None})  # type: ignore[arg-type]


def test_a_module_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"smartroute\.nowhere"):
        importlib.import_module("smartroute.nowhere")
