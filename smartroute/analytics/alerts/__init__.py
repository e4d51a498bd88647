"""Alert rules on a log: which rules exist, when an alert is raised and cleared, and where it is delivered."""

from smartroute.analytics.alerts.hours import Hours
from smartroute.analytics.alerts.log_check import check_log
from smartroute.analytics.alerts.rule_settings import rules_from_file
from smartroute.analytics.alerts.rules import DEFAULT_RULES, OfHours, Rule, budget_rule
from smartroute.analytics.alerts.sink import AlertSink
from smartroute.analytics.alerts.watch import Alert, Status, Watch, log_alert
from smartroute.analytics.alerts.webhook import Webhook

__all__ = [
    "DEFAULT_RULES",
    "Alert",
    "AlertSink",
    "Hours",
    "OfHours",
    "Rule",
    "Status",
    "Watch",
    "Webhook",
    "budget_rule",
    "check_log",
    "log_alert",
    "rules_from_file",
]
