"""Read a log: figures, savings, reports, alerts. Knows events and nothing of routers."""

from smartroute.analytics.alerts.hours import Hours
from smartroute.analytics.alerts.log_check import check_log
from smartroute.analytics.alerts.rule_settings import rules_from_file
from smartroute.analytics.alerts.rules import DEFAULT_RULES, OfHours, Rule, budget_rule
from smartroute.analytics.alerts.sink import AlertSink
from smartroute.analytics.alerts.watch import Alert, Status, Watch, log_alert
from smartroute.analytics.alerts.webhook import Webhook
from smartroute.analytics.figures import Figures
from smartroute.analytics.filter import Filter
from smartroute.analytics.insights import Insight, find_insights
from smartroute.analytics.query import Analytics
from smartroute.analytics.readings import Reading
from smartroute.analytics.report import Report, compose
from smartroute.analytics.savings import Holdback, Saving, measured
from smartroute.analytics.sums import LogHistogram

__all__ = [
    "DEFAULT_RULES",
    "Alert",
    "AlertSink",
    "Analytics",
    "Figures",
    "Filter",
    "Holdback",
    "Hours",
    "Insight",
    "LogHistogram",
    "OfHours",
    "Reading",
    "Report",
    "Rule",
    "Saving",
    "Status",
    "Watch",
    "Webhook",
    "budget_rule",
    "check_log",
    "compose",
    "find_insights",
    "log_alert",
    "measured",
    "rules_from_file",
]
