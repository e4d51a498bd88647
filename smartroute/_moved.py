"""Old import paths: forward those that moved, and name the new path of those that were renamed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec
from types import ModuleType

MOVED = {
    "smartroute.analytics.webhook": "smartroute.analytics.alerts.webhook",
    "smartroute.dashboard.report_forms": "smartroute.dashboard.report_formats",
    "smartroute.evaluation.demo": "smartroute.demo.run",
    "smartroute.evaluation.tasks": "smartroute.demo.tasks",
}
"""Documented modules that have moved. Importing the old path gives the module itself."""

RENAMED_MODULES = {"smartroute.catalogue": "smartroute.catalog"}
RENAMED_NAMES = {
    "smartroute": {"Catalogue": "Catalog"},
    "smartroute.routing.strategies": {"CostOptimised": "CostOptimized"},
}
"""Names in British spelling, and those that replace them."""


class _OldPaths:
    """A finder that is asked last, for a module that every other finder lacks."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in RENAMED_MODULES:
            raise ImportError(f"{name} is now called {RENAMED_MODULES[name]}", name=name)
        if name not in MOVED:
            return None
        return ModuleSpec(name, _Forward(MOVED[name]))  # type: ignore[arg-type]


class _Forward:
    """A loader that returns another module instead of creating one."""

    def __init__(self, target: str) -> None:
        self._target = target

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self._target)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has replaced the module's own spec by that of the old path.
        module.__spec__ = self._spec


def forward_old_paths() -> None:
    """Make old import paths work from now on. Calling it again changes nothing."""
    if _OldPaths not in sys.meta_path:
        sys.meta_path.append(_OldPaths)


def missing_name(module: str, name: str) -> ImportError | AttributeError:
    """Return the error for a name that a module lacks. For a renamed one it names the new one."""
    new = RENAMED_NAMES.get(module, {}).get(name)
    if new is None:
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    return ImportError(f"{module}.{name} is now called {new}: from {module} import {new}", name=module)
