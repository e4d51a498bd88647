"""Locks that are released in a forked child."""

from __future__ import annotations

import threading
import weakref

from smartroute.concurrency.forks import after_fork

_locks: weakref.WeakSet[threading.Lock] = weakref.WeakSet()


def fork_safe_lock() -> threading.Lock:
    """Return a lock that is released in every forked child, whichever thread held it in the parent."""
    lock = threading.Lock()
    _locks.add(lock)
    return lock


def _release(locks: weakref.WeakSet[threading.Lock]) -> None:
    for lock in list(locks):
        # What the standard library does to its own locks; there is no public way.
        lock._at_fork_reinit()  # type: ignore[attr-defined]


# Registered before any object that uses such a lock, so that its own reset finds the lock released.
after_fork(_locks, _release)
