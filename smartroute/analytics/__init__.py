"""Read a log: figures, savings, reports, alerts. Knows events and nothing of routers."""

from smartroute.analytics.alert_sink import AlertSink
from smartroute.analytics.alerts import Alert, Status, Watch, log_alert
from smartroute.analytics.figures import Figures
from smartroute.analytics.filters import Filter
from smartroute.analytics.hours import Hours
from smartroute.analytics.insights import Insight, find_insights
from smartroute.analytics.log_alerts import check_log
from smartroute.analytics.query import Analytics
from smartroute.analytics.readings import Reading
from smartroute.analytics.report import Report, compose
from smartroute.analytics.rule_settings import rules_from_file
from smartroute.analytics.rules import DEFAULT_RULES, OfHours, Rule, budget_rule
from smartroute.analytics.savings import Holdback, Saving, measured
from smartroute.analytics.sums import LogHistogram
from smartroute.analytics.webhook import Webhook

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
