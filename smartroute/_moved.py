"""Old import paths: forward those that moved, and name the new path of those that were renamed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

from smartroute.lazy_imports import load_module

MOVED = {
    "smartroute.analytics.webhook": "smartroute.analytics.alerts.webhook",
    "smartroute.dashboard.report_forms": "smartroute.dashboard.report_formats",
    "smartroute.evaluation.demo": "smartroute.demo.run",
    "smartroute.evaluation.tasks": "smartroute.demo.tasks",
}
"""Documented modules that have moved. Importing the old path gives the module itself."""

RENAMED_MODULES = {"smartroute.catalogue": "smartroute.catalog"}


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
        module = load_module(self._target)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        # The import system has replaced the module's own spec by that of the old path.
        module.__spec__ = self._spec


def forward_old_paths() -> None:
    """Make old import paths work from now on. Calling it again changes nothing."""
    if _OldPaths not in sys.meta_path:
        sys.meta_path.append(_OldPaths)
