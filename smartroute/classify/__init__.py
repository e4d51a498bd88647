"""Classify how hard a task is: by rules, by a model, or by the user's own function."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smartroute.classify.custom import FunctionClassifier, as_classifier
from smartroute.classify.features import FEATURES_VERSION, SCAN_CHARS, Features, estimate_tokens, measure
from smartroute.classify.rules import COMPLEX_FROM, SIMPLE_BELOW, RuleClassifier, complexity_of
from smartroute.lazy_imports import lazy_names

if TYPE_CHECKING:
    from smartroute.classify.llm import LLMClassifier

__all__ = [
    "COMPLEX_FROM",
    "FEATURES_VERSION",
    "SCAN_CHARS",
    "SIMPLE_BELOW",
    "Features",
    "FunctionClassifier",
    "LLMClassifier",
    "RuleClassifier",
    "as_classifier",
    "complexity_of",
    "estimate_tokens",
    "measure",
]

if not TYPE_CHECKING:  # otherwise a type checker believes that every name exists
    __getattr__ = lazy_names(globals(), {"LLMClassifier": "llm"})
