"""Build the parts of a router from its settings."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from smartroute.budgets import Budget
from smartroute.catalog import Catalog
from smartroute.classify import RuleClassifier, as_classifier
from smartroute.clock import Clock
from smartroute.config import RouterConfig
from smartroute.errors import ConfigError, UnknownModelError, shown
from smartroute.pricing import PriceTable
from smartroute.protocols import Classifier, Provider, Strategy
from smartroute.router.ids import new_id
from smartroute.routing.breaker import Breaker
from smartroute.routing.decider import Decider
from smartroute.routing.eligibility import Eligibility
from smartroute.routing.run import Handles
from smartroute.routing.strategies import CostOptimized, QualityFirst

_FAMILIAR = {
    "escalation_threshold": "accept_at",
    "enable_escalation": "escalate",
    "cost_optimization_mode": "cost_optimization",
}
"""Settings by their names in the replaced system."""


def config_of(
    config: RouterConfig | None, settings: Mapping[str, Any], familiar: Mapping[str, Any]
) -> RouterConfig:
    """Return the configuration that the arguments of a router's constructor describe.

    `familiar` are settings by their names in the replaced system; None means not given.
    Raises ConfigError.
    """
    values = dict(settings)
    for familiar_name, value in familiar.items():
        name = _FAMILIAR[familiar_name]
        if value is not None and name in values:
            raise ConfigError(f"{familiar_name} and {name} are one setting; pass one of them")
        if value is not None:
            values[name] = value
    if config is None:
        return RouterConfig.from_env(**values)
    if not isinstance(config, RouterConfig):
        raise ConfigError(
            f"config must be a RouterConfig, got {shown(config)}; RouterConfig.from_file(path) reads a "
            "TOML file, and single settings go by name: ModelRouter(accept_at=0.8)"
        )
    if not values:
        return config
    return RouterConfig(**{**{name: getattr(config, name) for name in config.model_fields_set}, **values})


@dataclass(frozen=True, slots=True)
class Parts:
    """What a router works with."""

    catalog: Catalog
    prices: PriceTable
    provider: Provider
    simulated: bool
    classifier: Classifier
    strategy: Strategy
    eligibility: Eligibility
    decider: Decider
    handles: Handles


def parts_of(config: RouterConfig) -> Parts:
    """Return the parts of a router with these settings. Raises ConfigError and UnknownModelError."""
    catalog = _catalog(config)
    prices = catalog.prices() if config.prices is None else catalog.prices().merged(config.prices)
    provider = config.provider if config.provider is not None else litellm_provider()
    classifier = (
        RuleClassifier()
        if config.classifier is None or not config.smart_routing
        else as_classifier(config.classifier)
    )
    strategy = config.strategy or (CostOptimized() if config.cost_optimization else QualityFirst())
    _check_named_models(config, catalog)
    eligibility = Eligibility(
        catalog,
        prices,
        providers=config.providers,
        named=_models_of(strategy),
        needs_keys=bool(getattr(provider, "needs_keys", False)),
    )
    decider = Decider(
        catalog,
        prices,
        eligibility,
        strategy,
        smart_routing=config.smart_routing,
        baseline_model=config.baseline_model,
        holdback_share=config.holdback_share,
        seed=config.seed,
    )
    simulated = bool(getattr(provider, "simulated", False))
    handles = _handles(config, catalog, prices, eligibility, decider, simulated)
    return Parts(catalog, prices, provider, simulated, classifier, strategy, eligibility, decider, handles)


def _handles(
    config: RouterConfig,
    catalog: Catalog,
    prices: PriceTable,
    eligibility: Eligibility,
    decider: Decider,
    simulated: bool,
) -> Handles:
    from smartroute.confidence import as_estimator, ask_instruction, default_estimator

    return Handles(
        catalog=catalog,
        prices=prices,
        estimator=(
            default_estimator(asked=config.ask_confidence)
            if config.estimator is None or not config.smart_routing
            else as_estimator(config.estimator)
        ),
        breaker=_breaker(config, config.clock),
        retry=config.retry,
        clock=config.clock,
        rng=random.Random(config.seed),
        new_id=new_id,
        budget=_budget(config),
        timeout_s=config.timeout_s,
        call_timeout_s=config.call_timeout_s,
        escalate_on_unknown=config.on_unknown == "escalate",
        ask_logprobs=config.ask_logprobs,
        ask_confidence=ask_instruction() if config.ask_confidence else None,
        barred=eligibility.barred,
        baseline_model=decider.baseline,
        simulated=simulated,
    )


def separate(handles: Handles, config: RouterConfig, clock: Clock) -> Handles:
    """Return handles with another clock, and with a breaker and a budget of their own."""
    return replace(handles, clock=clock, breaker=_breaker(config, clock), budget=_budget(config))


def _breaker(config: RouterConfig, clock: Clock) -> Breaker:
    return Breaker(config.breaker_failures, config.breaker_cooldown_s, clock)


def _budget(config: RouterConfig) -> Budget | None:
    return None if config.max_usd is None else Budget(config.max_usd)


def _catalog(config: RouterConfig) -> Catalog:
    if config.catalog is None:
        return Catalog.default()
    if isinstance(config.catalog, str | Path):
        return Catalog.default().with_file(config.catalog)
    return config.catalog


def litellm_provider() -> Provider:
    """Return the provider that calls real models. litellm itself is imported at the first call."""
    from smartroute.providers.litellm import LiteLLMProvider

    return LiteLLMProvider()


def _check_named_models(config: RouterConfig, catalog: Catalog) -> None:
    """Raise UnknownModelError, naming the setting, for a model of the settings that the catalog lacks."""
    models_by_setting: Mapping[str, tuple[str, ...]] = {
        "baseline_model": () if config.baseline_model is None else (config.baseline_model,),
        "classifier": _models_of(config.classifier),
        "estimator": _models_of(config.estimator),
        "strategy": _models_of(config.strategy),
    }
    for setting, models in models_by_setting.items():
        for model in models:
            try:
                catalog.card(model)
            except UnknownModelError as error:
                raise UnknownModelError(f"{setting}: {error}") from None


def _models_of(part: object) -> tuple[str, ...]:
    """Return the models that a part says it calls: its attribute `models`, if that is a tuple of names."""
    models = getattr(part, "models", ())
    return models if isinstance(models, tuple) and all(isinstance(name, str) for name in models) else ()
