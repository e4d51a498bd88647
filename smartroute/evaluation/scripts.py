"""Load the bundled advertising scripts: texts written for this project, with invented scores."""

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
    """One script, with each default member's score of it as `merit`, and its click-through rate as `ctr`.

    Merit is in points from 0 to 100. Both are invented, and only the simulated council uses them.
    """

    id: str
    niche: str
    text: str
    merit: Mapping[str, float] = field(hash=False)
    ctr: float


@functools.cache
def load_scripts() -> tuple[AdScript, ...]:
    """Return the bundled scripts, grouped by niche."""
    data = pkgutil.get_data("smartroute", _DATA)
    if data is None:
        raise ConfigError(f"the file {_DATA} is missing; reinstall smartroute")
    return tuple(AdScript(**row) for row in json.loads(data)["scripts"])
