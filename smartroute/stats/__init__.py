"""Statistics as pure functions from numbers to records. Knows nothing of models or money."""

from smartroute.stats.conformal import conformal_quantile
from smartroute.stats.intervals import Interval, clopper_pearson, paired_difference, paired_ratio, wilson

__all__ = ["Interval", "clopper_pearson", "conformal_quantile", "paired_difference", "paired_ratio", "wilson"]
