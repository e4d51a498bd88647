"""Circuit breaker per model: stop calling a model that keeps failing, and try it again after a pause."""

from __future__ import annotations

from dataclasses import dataclass

from smartroute.clock import Clock
from smartroute.concurrency.locks import fork_safe_lock
from smartroute.number_checks import checked_number, checked_whole
from smartroute.records import Failure

_BLAMELESS = frozenset({"invalid_request", "context_too_long", "refused", "cancelled", "empty"})
"""Kinds of failure that say something about the request or its caller, not about the model's health."""


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    opened_at: float | None = None
    trial_at: float | None = None


class Breaker:
    """A circuit breaker per model. Thread-safe.

    After `failures` failures in a row a model's circuit opens and the model is passed over. After
    `cooldown_s` seconds one trial call is let through, and its result closes or reopens the circuit. A trial
    call that never reports back expires after another `cooldown_s`.

    Raises ConfigError for failures below 1 and for a cooldown that is not above 0.
    """

    def __init__(self, failures: int = 5, cooldown_s: float = 30.0, clock: Clock | None = None) -> None:
        self._failures = checked_whole(failures, "breaker failures", least=1)
        self._cooldown_s = checked_number(cooldown_s, "breaker cooldown_s", above=0)
        self._clock = clock or Clock()
        self._circuits: dict[str, _Circuit] = {}
        self._lock = fork_safe_lock()

    def admits(self, model: str) -> bool:
        """Return whether a call may be made now; True for an open circuit claims its one trial."""
        if model not in self._circuits:
            return True
        with self._lock:
            circuit = self._circuits.get(model)
            if circuit is None or circuit.opened_at is None:
                return True
            now = self._clock.monotonic()
            if now - circuit.opened_at < self._cooldown_s:
                return False
            if circuit.trial_at is not None and now - circuit.trial_at < self._cooldown_s:
                return False
            circuit.trial_at = now
            return True

    def withdraw(self, model: str) -> None:
        """Return the trial call of a model: it was granted, and then not made."""
        if model in self._circuits:
            with self._lock:
                circuit = self._circuits.get(model)
                if circuit is not None:
                    circuit.trial_at = None

    def record(self, model: str, failure: Failure | None) -> None:
        """Record how a call ended. A success closes the circuit; a blameless failure only ends the trial."""
        if failure is None:
            if model in self._circuits:
                with self._lock:
                    self._circuits.pop(model, None)
            return
        with self._lock:
            circuit = self._circuits.setdefault(model, _Circuit())
            if failure.kind in _BLAMELESS:
                circuit.trial_at = None
                return
            circuit.failures += 1
            if circuit.trial_at is not None or circuit.failures >= self._failures:
                circuit.opened_at = self._clock.monotonic()
                circuit.trial_at = None

    def is_open(self, model: str) -> bool:
        """Return whether the model is passed over at present (claims nothing)."""
        circuit = self._circuits.get(model)
        return (
            circuit is not None
            and circuit.opened_at is not None
            and self._clock.monotonic() - circuit.opened_at < self._cooldown_s
        )
