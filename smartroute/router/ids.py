"""Make ids that sort by time."""

from __future__ import annotations

import random
import time

from smartroute.concurrency.forks import after_fork


def new_id() -> str:
    """Return an id that sorts by time: 48 bits of milliseconds, 80 random bits, in hex.

    The bits come from a generator of this process, reseeded in a forked child: a system call for them
    would release the interpreter's lock to other threads each time.
    """
    return f"{time.time_ns() // 1_000_000:012x}{_ids.getrandbits(80):020x}"


_ids = random.Random()
after_fork(_ids, random.Random.seed)
