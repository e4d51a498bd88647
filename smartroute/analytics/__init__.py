"""Read a log: figures, savings, reports, alerts. Knows events and nothing of routers."""

from smartroute.analytics.alerts import DEFAULT_RULES, Alert, AlertSink, Rule, Watch, budget_rule, log_alert
from smartroute.analytics.figures import Figures, LogHistogram
from smartroute.analytics.insights import Insight, find_insights
from smartroute.analytics.query import Analytics, Filter
from smartroute.analytics.report import Report, compose
from smartroute.analytics.savings import Holdback, Saving, measured
from smartroute.analytics.webhook import Webhook

__all__ = [
    "DEFAULT_RULES",
    "Alert",
    "AlertSink",
    "Analytics",
    "Figures",
    "Filter",
    "Holdback",
    "Insight",
    "LogHistogram",
    "Report",
    "Rule",
    "Saving",
    "Watch",
    "Webhook",
    "budget_rule",
    "compose",
    "find_insights",
    "log_alert",
    "measured",
]
