"""Hold the bundled advertising scripts: texts written for this project, and invented opinions of them."""

from __future__ import annotations

import functools
import json
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass, field

from smartroute.errors import ConfigError

_DATA = "data/ad_scripts.json"


@dataclass(frozen=True, slots=True)
class AdScript:
    """One script, with each default member's opinion of it as `merit`, and its click-through rate as `ctr`.

    Both are inventions, and serve the simulated council only.
    """

    id: str
    niche: str
    text: str
    merit: Mapping[str, float] = field(hash=False)
    ctr: float


@functools.cache
def load_scripts() -> tuple[AdScript, ...]:
    """Return the bundled scripts, niche by niche."""
    data = pkgutil.get_data("smartroute", _DATA)
    if data is None:
        raise ConfigError(f"the file {_DATA} is missing; reinstall smartroute")
    return tuple(AdScript(**row) for row in json.loads(data)["scripts"])
