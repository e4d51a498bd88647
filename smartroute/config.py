"""Hold every setting of a router in one small frozen object, from code, the environment or a file."""

from __future__ import annotations

import difflib
import inspect
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from smartroute.catalog import Catalog
from smartroute.clock import Clock
from smartroute.errors import ConfigError
from smartroute.pricing.price import PriceTable
from smartroute.routing.retries import RetryPolicy
from smartroute.sinks.locations import is_database, log_place

_log = logging.getLogger("smartroute")


class RouterConfig(BaseModel):
    """The settings of a ModelRouter. Everything has a default; a mistake fails here, with its cure.

    Limits are in USD and seconds. `classifier`, `strategy`, `estimator`, `provider`, `sink` and
    `clock` take objects that fit the Protocols (functions where these are enough).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)

    accept_at: float = Field(0.7, ge=0.0, le=1.0)
    """Confidence from which an answer is accepted; below it the next rung is asked."""
    escalate: bool = True
    """False: no answer is doubted, the ladder only replaces rungs that fail."""
    cost_optimization: bool = True
    """False: quality first, one tier higher."""
    smart_routing: bool = True
    """False: everything goes to the baseline model."""
    on_unknown: Literal["accept", "escalate"] = "accept"
    """What an answer of unknown confidence is taken for."""
    ask_confidence: bool = False
    """True: an instruction is added to the prompt, asking the model to rate its own answer."""
    ask_logprobs: bool = True
    """True: log-probabilities are requested of the models that return them."""

    holdback_share: float = Field(0.0, ge=0.0, le=0.5)
    """The share of requests that goes to the baseline model at random, to measure what routing saves."""
    baseline_model: str | None = None
    """The model that savings are measured against; by default the cheapest standard one with a key."""
    providers: tuple[str, ...] | None = None
    """The providers that may be called; None means all."""
    catalog: Catalog | str | Path | None = None
    """The models; a path is read as TOML or JSON and added to the default catalog."""
    prices: PriceTable | None = None
    """Prices that win over the catalog's."""
    classifier: Any = None
    strategy: Any = None
    estimator: Any = None
    provider: Any = None
    sink: Any = None
    """Where events go; False for nowhere, None for the JSONL log at `log_path`."""
    log_path: str | Path | None = Field(None, repr=False)
    """A folder, a file or a database's address; by default the user's state directory."""
    log_text: bool = False
    """True: prompts and answers go into the log, through `redact`."""
    redact: Any = None

    max_usd: float | None = Field(None, ge=0.0)
    """What this router may spend in its life."""
    timeout_s: float | None = Field(None, gt=0.0)
    """How long one task may take, all its calls together."""
    call_timeout_s: float | None = Field(300.0, gt=0.0)
    """How long one call may take."""
    retry: RetryPolicy = RetryPolicy()
    breaker_failures: int = Field(5, ge=1)
    breaker_cooldown_s: float = Field(30.0, gt=0.0)

    seed: int | None = None
    """Seeds the jitter of waits; decisions are deterministic without it."""
    clock: Clock = Field(default_factory=Clock)

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
    def _no_flag(cls, value: Any) -> Any:
        if isinstance(value, bool):
            raise ValueError("must be a number, not a bool")
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
    def _place(cls, value: Any) -> Any:
        if value is None:
            return None
        if not isinstance(value, str | Path) or not str(value).strip():
            raise ValueError("must be a path, or left out for the default place; sink=False is for no log")
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
                "no log; a place goes by log_path"
            )
        if inspect.iscoroutinefunction(getattr(value, "emit", None)):
            raise ValueError("must not have an async emit, which nobody would await; let it fill a queue")
        return value

    @field_validator("provider")
    @classmethod
    def _sends(cls, value: Any) -> Any:
        if value is not None and not all(callable(getattr(value, name, None)) for name in ("send", "asend")):
            raise ValueError(
                "must have methods send(call) and asend(call), such as ScriptedProvider(script) of "
                "smartroute.testing; which real providers may be called is told by providers"
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

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigError(_explain(error)) from None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None, **settings: Any) -> RouterConfig:
        """Return the configuration that the environment describes; keyword settings win over it.

        Raises ConfigError naming the variable whose value cannot be read.
        """
        environ = os.environ if environ is None else environ
        found: dict[str, Any] = {}
        _warn_of_experiments(environ)
        for variable, (name, read) in _VARIABLES.items():
            text = environ.get(variable)
            if text is None or not text.strip():
                continue
            try:
                found[name] = read(text.strip())
                cls(**{name: found[name]})
            except ValueError as error:
                raise ConfigError(f"environment variable {variable}={text!r}: {error}") from None
        return cls(**{**found, **settings})

    @classmethod
    def from_file(cls, path: str | Path, **settings: Any) -> RouterConfig:
        """Return the configuration in a TOML file: settings at the top level or under [smartroute].

        Keyword settings win over the file. A relative `catalog` or `log_path` is relative to the file.
        """
        found = settings_in(path)
        file = Path(path)
        found.pop("alerts", None)  # the thresholds of whoever watches the log: see rules_from_file
        if isinstance(found.get("retry"), Mapping):
            found["retry"] = _retry(found["retry"], file)
        for name in ("catalog", "log_path"):
            text = found.get(name)
            if isinstance(text, str) and text.strip() and not is_database(text):
                found[name] = file.parent / Path(text).expanduser()
        try:
            return cls(**{**found, **settings})
        except ConfigError as error:
            raise ConfigError(f"{file}: {error}") from None


def settings_in(path: str | Path) -> dict[str, Any]:
    """Return what stands in a TOML file at the top level, or under [smartroute] where there is that.

    Raises ConfigError for a file that cannot be read.
    """
    import tomllib

    if not isinstance(path, str | Path):
        raise ConfigError(f"the configuration file must be a path, got {path!r:.80}")
    file = Path(path)
    try:
        with file.open("rb") as stream:
            table = tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration file {file}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    found = table.get("smartroute", table)
    if not isinstance(found, Mapping):
        raise ConfigError(f"{file}: smartroute must be a table of settings, got {found!r:.80}")
    return dict(found)


def _retry(table: Mapping[str, Any], file: Path) -> RetryPolicy:
    try:
        return RetryPolicy(**table)
    except TypeError:
        known = ["calls", "initial_s", "max_s", "jitter", "retry_after_max_s"]
        wrong = sorted(set(table) - set(known))
        raise ConfigError(
            f"{file}: retry has no field {', '.join(wrong)}; it has {', '.join(known)}"
        ) from None
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("use a number from 0 to 1") from None


def _flag(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("use true or false")


_EXPERIMENTS = "ROUTING_AB_TEST_ENABLED"


def _warn_of_experiments(environ: Mapping[str, str]) -> None:
    """Say that a variable of the replaced system has no effect yet, rather than ignore it in silence."""
    text = environ.get(_EXPERIMENTS, "").strip()
    try:
        wanted = bool(text) and _flag(text)
    except ValueError as error:
        raise ConfigError(f"environment variable {_EXPERIMENTS}={text!r}: {error}") from None
    if wanted:
        _log.warning("%s is true, but this version has no experiments yet: it has no effect", _EXPERIMENTS)


_DATABASES = ("postgresql", "postgres:", "sqlite")
_VARIABLES: Mapping[str, tuple[str, Any]] = {
    "ROUTER_ESCALATION_THRESHOLD": ("accept_at", _number),
    "ROUTER_ENABLE_ESCALATION": ("escalate", _flag),
    "ROUTER_COST_OPTIMIZATION": ("cost_optimization", _flag),
    "ENABLE_SMART_ROUTING": ("smart_routing", _flag),
    "ROUTING_ANALYTICS_PATH": ("log_path", str),
}


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
            lines.append(f"{field}: {message[:1].lower()}{message[1:]}, got {problem['input']!r:.80}")
    return "; ".join(dict.fromkeys(lines))
