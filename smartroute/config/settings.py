"""Types of a router's keyword arguments, for type checkers and editors.

What each setting means is documented at the field of the same name in RouterConfig.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

from smartroute.catalog import Catalog
from smartroute.classify.custom import Judging, Verdict
from smartroute.clock import Clock
from smartroute.pricing import PriceTable
from smartroute.protocols import Classifier, ConfidenceEstimator, Provider, Sink, Strategy
from smartroute.records import Confidence, Reply, Task
from smartroute.routing.retries import RetryPolicy

if TYPE_CHECKING:
    from smartroute.config.router_config import RouterConfig

ClassifierSetting: TypeAlias = Classifier | Callable[[Task], Verdict | Judging] | None
"""A classifier, a function of the task that returns a verdict (or yields probes first), or None for rules."""

EstimatorSetting: TypeAlias = ConfidenceEstimator | Callable[[Task, Reply], float | Confidence | None] | None
"""An estimator, a function of (task, reply) that returns a confidence, or None for the default one."""

SinkSetting: TypeAlias = Sink | Literal[False] | None
"""Where events go: a sink, False for nowhere, or None for the log at `log_path`."""

StrategySetting: TypeAlias = Strategy | None
ProviderSetting: TypeAlias = Provider | None

RedactSetting: TypeAlias = Callable[[str], str] | None
"""A function from text to the text that may be stored."""


class _AllButSeed(TypedDict, total=False):
    accept_at: float
    escalate: bool
    cost_optimization: bool
    smart_routing: bool
    on_unknown: Literal["accept", "escalate"]
    ask_confidence: bool
    ask_logprobs: bool
    holdback_share: float
    baseline_model: str | None
    providers: list[str] | tuple[str, ...] | set[str] | frozenset[str] | None
    catalog: Catalog | str | Path | None
    prices: PriceTable | None
    classifier: ClassifierSetting
    strategy: StrategySetting
    estimator: EstimatorSetting
    provider: ProviderSetting
    sink: SinkSetting
    log_path: str | Path | None
    log_text: bool
    redact: RedactSetting
    max_usd: float | None
    timeout_s: float | None
    call_timeout_s: float | None
    retry: RetryPolicy
    breaker_failures: int
    breaker_cooldown_s: float
    clock: Clock


class RouterSettings(_AllButSeed, total=False):
    """The settings that `ModelRouter` and `RouterConfig` take by name."""

    seed: int | None


class _ConstructorOnly(TypedDict, total=False):
    escalation_threshold: float | None
    enable_escalation: bool | None
    cost_optimization_mode: bool | None
    config: RouterConfig | None


class RouterArguments(RouterSettings, _ConstructorOnly, total=False):
    """Every keyword of `ModelRouter`: for a class that builds a router of its own."""


class CouncilRouterArguments(_AllButSeed, _ConstructorOnly, total=False):
    """Every keyword of `ModelRouter` but `seed`, which the council takes for its own draws."""
