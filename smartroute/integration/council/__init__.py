"""The council: several models score a script, and a small model may screen it first."""

from smartroute.integration.council.evaluator import SmartEnsembleEvaluator
from smartroute.integration.council.members import DEFAULT_COUNCIL, CouncilMember

__all__ = ["DEFAULT_COUNCIL", "CouncilMember", "SmartEnsembleEvaluator"]
