"""Import modules on first use: lazy public names of packages, so that importing smartroute stays cheap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

RENAMED_NAMES = {
    "smartroute": {"Catalogue": "Catalog"},
    "smartroute.routing.strategies": {"CostOptimised": "CostOptimized"},
}
"""Names in British spelling, and those that replace them."""


def load_module(name: str) -> ModuleType:
    """Import a module by its full name."""
    from importlib import import_module

    return import_module(name)


def lazy_names(namespace: dict[str, Any], modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return a `__getattr__` for a package that imports a public name when it is first used.

    `namespace` is the package's `globals()`, and `modules` maps each name to the submodule that defines it.
    It raises AttributeError for an unknown name, and ImportError for one that was renamed. The package gets a
    `__dir__` too, which lists the names that are not imported yet.
    """
    package = namespace["__name__"]

    def import_name(name: str) -> Any:
        module = modules.get(name)
        if module is None:
            raise missing_name(package, name)
        value = getattr(load_module(f"{package}.{module}"), name)
        namespace[name] = value
        return value

    namespace["__dir__"] = lambda: sorted({*namespace, *modules})
    return import_name


def missing_name(module: str, name: str) -> ImportError | AttributeError:
    """Return the error for a name that a module lacks. For a renamed one it names the new one."""
    new = RENAMED_NAMES.get(module, {}).get(name)
    if new is None:
        return AttributeError(f"module {module!r} has no attribute {name!r}")
    return ImportError(f"{module}.{name} is now called {new}: from {module} import {new}", name=module)
