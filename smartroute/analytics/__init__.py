"""Read a log: figures, savings, reports. Knows events and nothing of routers."""

from smartroute.analytics.figures import Figures, LogHistogram
from smartroute.analytics.query import Analytics, Filter
from smartroute.analytics.report import Report, compose
from smartroute.analytics.savings import Saving

__all__ = ["Analytics", "Figures", "Filter", "LogHistogram", "Report", "Saving", "compose"]
