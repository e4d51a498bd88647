"""Every setting of a router in one frozen object, checked when it is built."""

from __future__ import annotations

import difflib
import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from smartroute.catalog import Catalog
from smartroute.clock import Clock
from smartroute.config.sources import router_settings_in, settings_in_environment, unreadable_variable
from smartroute.errors import ConfigError, shown
from smartroute.pricing import PriceTable
from smartroute.routing.retries import RetryPolicy
from smartroute.sinks.locations import is_database, log_place

if TYPE_CHECKING:
    from smartroute.config.settings import (
        ClassifierSetting,
        EstimatorSetting,
        ProviderSetting,
        RedactSetting,
        RouterSettings,
        SinkSetting,
        StrategySetting,
    )
else:
    # pydantic would build schemas of these that are never used: the validators below check the six fields,
    # and name what is missing, and the cure.
    ClassifierSetting = EstimatorSetting = ProviderSetting = RedactSetting = SinkSetting = StrategySetting = (
        Any
    )

_DATABASES = ("postgresql", "postgres:", "sqlite")


class RouterConfig(BaseModel):
    """The settings of a ModelRouter. Each has a default.

    Limits are in USD and seconds. `classifier`, `strategy`, `estimator`, `provider`, `sink` and `clock`
    take objects that match the Protocols; a function is enough for `classifier` and `estimator`.
    Raises ConfigError naming the setting, its value and the cure.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    accept_at: float = Field(0.7, ge=0.0, le=1.0)
    """Confidence from which an answer is accepted; below it the next rung is asked."""
    escalate: bool = True
    """False: every answer is accepted, and the next rung is asked only when a rung fails."""
    cost_optimization: bool = True
    """False: quality first, one tier higher."""
    smart_routing: bool = True
    """False: everything goes to the baseline model."""
    on_unknown: Literal["accept", "escalate"] = "accept"
    """What becomes of an answer of unknown confidence."""
    ask_confidence: bool = False
    """True: an instruction is added to the prompt, asking the model to rate its own answer."""
    ask_logprobs: bool = True
    """True: log-probabilities are requested from the models that return them."""

    holdback_share: float = Field(0.0, ge=0.0, le=0.5)
    """The share of requests sent to the baseline model at random, to measure what routing saves."""
    baseline_model: str | None = None
    """The model that savings are measured against; by default the cheapest standard one with a key."""
    providers: tuple[str, ...] | None = None
    """The providers that may be called; None means all."""
    catalog: Catalog | str | Path | None = None
    """The models; a path is read as TOML or JSON and added to the default catalog."""
    prices: PriceTable | None = None
    """Prices that win over the catalog's."""
    classifier: ClassifierSetting = None
    """How hard a task is; by default by rules."""
    strategy: StrategySetting = None
    """Which models are asked, in which order; by default as `cost_optimization` says."""
    estimator: EstimatorSetting = None
    """How far an answer may be believed; by default by what the model reports, log-probabilities and text."""
    provider: ProviderSetting = None
    """What makes the calls; by default litellm."""
    sink: SinkSetting = None
    """Where events go; False for nowhere, None for the JSONL log at `log_path`."""
    log_path: str | Path | None = Field(None, repr=False)
    """A folder, a file or a database's address; by default the user's state directory."""
    log_text: bool = False
    """True: prompts and answers go into the log, through `redact`."""
    redact: RedactSetting = None
    """Applied to any text before it is stored."""

    max_usd: float | None = Field(None, ge=0.0)
    """What this router may spend in all."""
    timeout_s: float | None = Field(None, gt=0.0)
    """How long one task may take, all its calls included."""
    call_timeout_s: float | None = Field(300.0, gt=0.0)
    """How long one call may take."""
    retry: RetryPolicy = RetryPolicy()
    """How often and how fast a transient failure is retried on the same rung."""
    breaker_failures: int = Field(5, ge=1)
    """Failures in a row after which a model is skipped."""
    breaker_cooldown_s: float = Field(30.0, gt=0.0)
    """How long it is skipped before a trial call."""

    seed: int | None = None
    """Seeds the jitter of waits; decisions are deterministic without it."""
    clock: Clock = Field(default_factory=Clock)
    """What gives the time and sleeps."""

    @field_validator(
        "accept_at",
        "holdback_share",
        "max_usd",
        "timeout_s",
        "call_timeout_s",
        "breaker_failures",
        "breaker_cooldown_s",
        "seed",
        mode="before",
    )
    @classmethod
    def _number(cls, value: Any) -> Any:
        # pydantic itself would read text and flags as numbers.
        if isinstance(value, bool):
            raise ValueError("must be a number, not a bool")
        if isinstance(value, str | bytes):
            raise ValueError("must be a finite number, not text")
        return value

    @field_validator("providers", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(f"must be a list of names, such as [{value!r}]")
        return tuple(value) if isinstance(value, list | set | frozenset) else value

    @field_validator("catalog", mode="before")
    @classmethod
    def _models(cls, value: Any) -> Any:
        if value is not None and (not isinstance(value, Catalog | str | Path) or value == ""):
            raise ValueError("must be a Catalog, such as Catalog.of([ModelCard(...)]), or the path of a file")
        return value

    @field_validator("prices", mode="before")
    @classmethod
    def _priced(cls, value: Any) -> Any:
        if value is not None and not isinstance(value, PriceTable):
            raise ValueError('must be a PriceTable, such as PriceTable({"my-model": Price(1.0, 4.0)})')
        return value

    @field_validator("retry", mode="before")
    @classmethod
    def _retries(cls, value: Any) -> Any:
        if not isinstance(value, RetryPolicy | Mapping):
            raise ValueError("must be a RetryPolicy, such as RetryPolicy(calls=3)")
        return value

    @field_validator("classifier", "strategy", "estimator", "provider", "sink", "clock", "redact")
    @classmethod
    def _built(cls, value: Any) -> Any:
        if isinstance(value, type):
            raise ValueError(f"must be an object, not the class: write {value.__name__}(...)")
        return value

    @field_validator("classifier")
    @classmethod
    def _classifies(cls, value: Any) -> Any:
        if value is not None and not callable(value) and not callable(getattr(value, "classify", None)):
            raise ValueError("must be a function of the task, or have a method classify(task)")
        return value

    @field_validator("estimator")
    @classmethod
    def _estimates(cls, value: Any) -> Any:
        if value is not None and not callable(value) and not callable(getattr(value, "estimate", None)):
            raise ValueError(
                "must be a function of (task, reply), or have methods probes and estimate, such as "
                "JudgeConfidence(model) of smartroute.confidence"
            )
        return value

    @field_validator("log_path", mode="before")
    @classmethod
    def _location(cls, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, str | Path) or not str(value).strip():
            raise ValueError("must be a path, or left out for the default location; sink=False is for no log")
        if is_database(value):
            if not str(value).startswith(_DATABASES):
                raise ValueError("must be a path, or the address of a PostgreSQL or SQLite database")
        else:
            log_place(value)
        return value

    @field_validator("redact")
    @classmethod
    def _callable(cls, value: Any) -> Any:
        if value is not None and not callable(value):
            raise ValueError("must be a function from text to text")
        return value

    @field_validator("sink")
    @classmethod
    def _emits(cls, value: Any) -> Any:
        if value is not None and value is not False and not callable(getattr(value, "emit", None)):
            raise ValueError(
                "must have a method emit(event), such as MemorySink() of smartroute.sinks, or be False for "
                "no log; a path or an address goes to log_path"
            )
        if inspect.iscoroutinefunction(getattr(value, "emit", None)):
            raise ValueError("must not have an async emit: it would never be awaited; let emit fill a queue")
        return value

    @field_validator("provider")
    @classmethod
    def _sends(cls, value: Any) -> Any:
        if value is not None and not all(callable(getattr(value, name, None)) for name in ("send", "asend")):
            raise ValueError(
                "must have methods send(call) and asend(call), such as ScriptedProvider(script) of "
                "smartroute.testing; to restrict which real providers are called, use the setting providers"
            )
        return value

    @field_validator("strategy")
    @classmethod
    def _decides(cls, value: Any) -> Any:
        if value is not None and not callable(getattr(value, "decide", None)):
            raise ValueError(
                "must have a method decide(task, classification, menu), such as QualityFirst() of "
                "smartroute.routing.strategies"
            )
        return value

    def __init__(self, **settings: Unpack[RouterSettings]) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigError(_explain(error)) from None

    @classmethod
    def from_env(
        cls, environ: Mapping[str, str] | None = None, **settings: Unpack[RouterSettings]
    ) -> RouterConfig:
        """Return the configuration in environment variables; keyword settings win over them.

        Raises ConfigError naming the variable whose value cannot be read.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {}
        for variable, text, name, value in settings_in_environment(environ):
            try:
                cls(**{name: value})
            except ConfigError as error:
                raise unreadable_variable(variable, text, error) from None
            values[name] = value
        return cls(**{**values, **settings})

    @classmethod
    def from_file(cls, path: str | Path, **settings: Unpack[RouterSettings]) -> RouterConfig:
        """Return the configuration in a TOML file: settings at the top level or under [smartroute].

        Keyword settings win over the file. A relative `catalog` or `log_path` is relative to the file.
        Raises ConfigError naming the file.
        """
        values = router_settings_in(path)
        try:
            return cls(**{**values, **settings})
        except ConfigError as error:
            raise ConfigError(f"{Path(path)}: {error}") from None


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            close = difflib.get_close_matches(field, RouterConfig.model_fields, n=1)
            cure = f"did you mean {close[0]}?" if close else f"known: {', '.join(RouterConfig.model_fields)}"
            lines.append(f"there is no setting {field!r}; {cure}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{field}: {message[:1].lower()}{message[1:]}, got {shown(problem['input'])}")
    return "; ".join(dict.fromkeys(lines))
