"""Reports on a log: the record, and how it is composed. Code that shows a report computes nothing."""

from smartroute.analytics.report.composing import compose
from smartroute.analytics.report.record import Metric, Quality, Report, Row

__all__ = ["Metric", "Quality", "Report", "Row", "compose"]
