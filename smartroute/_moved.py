"""Old import paths: forward those that moved, and name the new one of those that were renamed."""

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
"""Documented modules that live elsewhere now. Importing the old path gives the module itself."""

RENAMED_MODULES = {"smartroute.catalogue": "smartroute.catalog"}
RENAMED_NAMES = {
    "smartroute": {"Catalogue": "Catalog"},
    "smartroute.routing.strategies": {"CostOptimised": "CostOptimized"},
}
"""Names in British spelling, and those that replace them."""


class _OldPaths:
    """A finder that comes last: Python asks it for a module only after every other finder found none."""

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in RENAMED_MODULES:
            raise ImportError(f"{name} is called {RENAMED_MODULES[name]} now", name=name)
        if name not in MOVED:
            return None
        return ModuleSpec(name, _Forward(MOVED[name]))  # type: ignore[arg-type]


class _Forward:
    """A loader that gives another module in place of an empty one."""

    def __init__(self, target: str) -> None:
        self._target = target

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = import_module(self._target)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has put the old path's spec in the place of the module's own.
        module.__spec__ = self._spec


def forward_old_paths() -> None:
    """Have old import paths answered from now on. Calling it again changes nothing."""
    if _OldPaths not in sys.meta_path:
        sys.meta_path.append(_OldPaths)


def missing_name(module: str, name: str) -> ImportError | AttributeError:
    """Return the error for a name that a module does not have; that of a renamed one says what it is now."""
    new = RENAMED_NAMES.get(module, {}).get(name)
    if new is None:
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    return ImportError(f"{module}.{name} is called {new} now: from {module} import {new}", name=module)
