"""Statistics as pure functions: numbers in, records out. Knows nothing of models or money."""

from smartroute.stats.intervals import Interval, paired_difference, paired_ratio, wilson

__all__ = ["Interval", "paired_difference", "paired_ratio", "wilson"]
