"""Make locks that a forked child finds open, whoever held them in the parent when it forked."""

from __future__ import annotations

import os
import threading
import weakref

_locks: weakref.WeakSet[threading.Lock] = weakref.WeakSet()


def fork_safe_lock() -> threading.Lock:
    """Return a lock that is released in every forked child."""
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def _release_in_child() -> None:
    for lock in list(_locks):
        # What the standard library does to its own locks; there is no public way.
        lock._at_fork_reinit()  # type: ignore[attr-defined]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)
