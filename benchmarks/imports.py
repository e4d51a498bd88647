"""Measure the cost of an import and of building a router: CPU, memory and modules, in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import NamedTuple

from workers import HERE, environment

PYDANTIC = "import pydantic\nclass One(pydantic.BaseModel):\n    number: int = 1\n"
SMARTROUTE = "from smartroute import ModelRouter\n"
LITELLM = "import litellm\n"
BUILD = "ModelRouter()\n"

HEAVY = ("litellm", "openai", "numpy", "scipy", "pandas", "fastapi", "typer", "rich")
"""What must not be imported along with the router."""

_MEASURE = """
import os, sys, time
def _resident_mb():
    try:
        with open("/proc/self/statm") as pages:
            return int(pages.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak / (2**20 if sys.platform == "darwin" else 2**10)
{before}
_begin = time.process_time()
{measured}
_took = time.process_time() - _begin
_resident = _resident_mb()
import json
_heavy = [name for name in {heavy!r} if name in sys.modules]
print(json.dumps([_took, _resident, _heavy]))
"""


class Cost(NamedTuple):
    """What code took in a fresh process: CPU (user and system), memory resident after it, heavy modules."""

    cpu_s: float
    resident_mb: float
    heavy: list[str]


def cost_of(measured: str, before: str = "") -> Cost:
    """Return the cost of a piece of code in a fresh interpreter, after `before`, which is not counted."""
    code = _MEASURE.format(before=before, measured=measured, heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=environment(),
        cwd=HERE.parent,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"a measured process failed:\n{done.stderr}")
    return Cost(*json.loads(done.stdout.splitlines()[-1]))
