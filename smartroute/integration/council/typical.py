"""Remember how long models' answers to a council's questions usually are."""

from __future__ import annotations

from collections.abc import Iterable

from smartroute.concurrency.locks import fork_safe_lock
from smartroute.records import Attempt

_PRIOR_TOKENS = 200
"""What an answer is assumed to be long before any was seen: a score, a sentence, and some thinking."""


class TypicalOutput:
    """The mean output tokens of each model's answers so far. Thread-safe, constant memory per model."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[int, int]] = {}
        self._lock = fork_safe_lock()

    def learn(self, attempts: Iterable[Attempt]) -> None:
        """Count the members' answers among the attempts."""
        with self._lock:
            for attempt in attempts:
                if attempt.usage is not None and attempt.purpose in ("answer", "audit"):
                    n, total = self._seen.get(attempt.model, (0, 0))
                    self._seen[attempt.model] = (n + 1, total + attempt.usage.output_tokens)

    def tokens(self, model: str) -> int:
        """Return the mean of a model's answers, or the prior before its first."""
        n, total = self._seen.get(model, (0, 0))
        return round(total / n) if n else _PRIOR_TOKENS
