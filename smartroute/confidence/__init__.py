"""Estimate how likely an answer is to be right, and name the source of the estimate."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartroute.confidence.answers import Answer, extract_answer, same_answer
from smartroute.confidence.combine import (
    CombinedConfidence,
    FunctionEstimator,
    as_estimator,
    default_estimator,
)
from smartroute.confidence.logprob import LogprobConfidence
from smartroute.confidence.reported import ReportedConfidence, ask_instruction, without_report
from smartroute.confidence.text import TextConfidence, bare_json, format_fault
from smartroute.lazy_imports import lazy_names

if TYPE_CHECKING:
    from smartroute.confidence.agreement import AgreementConfidence
    from smartroute.confidence.judge import JudgeConfidence

_LAZY = {"AgreementConfidence": "agreement", "JudgeConfidence": "judge"}

__all__ = [
    "AgreementConfidence",
    "Answer",
    "CombinedConfidence",
    "FunctionEstimator",
    "JudgeConfidence",
    "LogprobConfidence",
    "ReportedConfidence",
    "TextConfidence",
    "as_estimator",
    "ask_instruction",
    "bare_json",
    "default_estimator",
    "extract_answer",
    "format_fault",
    "same_answer",
    "without_report",
]

if not TYPE_CHECKING:  # otherwise a type checker believes that every name exists
    __getattr__ = lazy_names(globals(), _LAZY)
