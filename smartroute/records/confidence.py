"""Confidence in an answer: a value in [0, 1] or None for unknown, and where it came from."""

from __future__ import annotations

from dataclasses import dataclass

from smartroute.errors import ConfigError, shown


@dataclass(frozen=True, slots=True)
class Confidence:
    """Confidence in an answer: a value in [0, 1] or None for unknown, and its source.

    `source` names the estimator. `calibrated` is True only when labels made the score a probability.
    Raises ConfigError for a value out of range or of a wrong type.
    """

    value: float | None
    source: str
    detail: str = ""
    parts: tuple[Confidence, ...] = ()
    calibrated: bool = False

    def __post_init__(self) -> None:
        if self.value is None:
            return
        # A bool counts as 0 or 1: an estimator may return whether two answers agree.
        if not isinstance(self.value, int | float) or not 0.0 <= self.value <= 1.0:
            raise ConfigError(f"a confidence must lie in [0, 1] or be None, got {shown(self.value)}")


UNKNOWN_CONFIDENCE = Confidence(None, "none", "no estimator had anything to say")
