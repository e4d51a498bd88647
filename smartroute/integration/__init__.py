"""Drop-ins for the replaced system's council and executor: change the import line and nothing else.

`smart_council` and `smart_executor` are ready to use. They read no environment variable and open nothing
before their first call.
"""

from smartroute.integration.council.evaluator import SmartEnsembleEvaluator
from smartroute.integration.council.members import DEFAULT_COUNCIL, CouncilMember
from smartroute.integration.council.metadata import comparison_in
from smartroute.integration.council.scorers import ClickThroughScorer, Scorer
from smartroute.integration.council.screen_audits import Audit, AuditReport, Margin
from smartroute.integration.council.shadow import Comparison
from smartroute.integration.executor import SmartSingleModelExecutor

smart_council = SmartEnsembleEvaluator()
smart_executor = SmartSingleModelExecutor()

get_approval_threshold = smart_council.get_approval_threshold

__all__ = [
    "DEFAULT_COUNCIL",
    "Audit",
    "AuditReport",
    "ClickThroughScorer",
    "Comparison",
    "CouncilMember",
    "Margin",
    "Scorer",
    "SmartEnsembleEvaluator",
    "SmartSingleModelExecutor",
    "comparison_in",
    "get_approval_threshold",
    "smart_council",
    "smart_executor",
]
