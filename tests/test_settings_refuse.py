"""Every setting that is a number refuses a bool, NaN and a number as text, by its name.

The constructors are found by their annotations: a new one without an entry here fails the first test.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import math
import pkgutil
import re
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import smartroute
from smartroute.analytics.alerts import Rule, Watch
from smartroute.config import RouterConfig
from smartroute.errors import SmartRouteError
from smartroute.router import ModelRouter

_NUMBER = re.compile(r"(int|float|int \| float|float \| int)( \| None)?")
_RULE: dict[str, Any] = {
    "name": "slow",
    "measure": lambda figures: None,
    "raise_at": 5.0,
    "clear_at": 4.0,
    "least_n": 1,
    "suggestion": "wait",
}

# What each constructor needs beside the number under test.
NEEDS: dict[str, Mapping[str, Any]] = {
    "AgreementConfidence": {},
    "AlertSink": {"watch": Watch([Rule(**_RULE)])},
    "Background": {"act": print, "on_loss": print, "name": "x", "pending": 1},
    "Breaker": {},
    "Budget": {"limit_usd": 1.0},
    "ClickThroughScorer": {"url": "http://127.0.0.1:9/"},
    "CouncilMember": {"key": "a", "weight": 1.0, "model": "mini", "rubric": "x"},
    "Hours": {},
    "JudgeConfidence": {"model": "mini"},
    "Limits": {},
    "LongContext": {"above_tokens": 1, "input": 1.0, "output": 1.0},
    "MemorySink": {},
    "ModelCard": {"name": "x", "target": "x/x", "tier": "mini"},
    "ModelRouter": {},
    "OfflineProvider": {},
    "Price": {"input": 1.0, "output": 1.0},
    "RetryPolicy": {},
    "Rule": _RULE,
    "SimulatedCouncil": {"members": {"a": "mini"}},
    "SmartEnsembleEvaluator": {},
    "SqlSink": {"url": "sqlite://"},
    "Webhook": {"url": "http://127.0.0.1:9/", "secret": "x"},
}

# Built by the library from settings that were checked, or of tests' and readers' own numbers.
NO_SETTINGS = {
    "Classification": "a classifier's result, which may be a bool",
    "Confidence": "an estimator's result, which may be a bool",
    "Audits": "of SmartEnsembleEvaluator's flip_rate and wide_margin",
    "Decider": "of RouterConfig's holdback_share and seed",
    "Event": "a record; its reader checks lines",
    "FrozenClock": "a clock of tests, which may be wrong on purpose",
    "OpenConversations": "a fixed size",
    "ReplayClock": "the time of a recorded run",
    "ShadowCouncil": "of SmartEnsembleEvaluator's share",
    "SharedAnswers": "of SmartEnsembleEvaluator's cache_s",
    "Transcript": "counts what its loader read",
}
# Where a message names a parameter in other words.
WORDING = {"Budget": {"limit_usd": "budget in USD"}, "ModelRouter": {"escalation_threshold": "accept_at"}}
BAD = [True, math.nan, "1"]


def constructors() -> Iterator[tuple[type, list[str]]]:
    """Yield each public class whose constructor checks what it takes, and its parameters that are numbers.

    A dataclass without `__post_init__` is a record of results.
    """
    for module in pkgutil.walk_packages(smartroute.__path__, "smartroute."):
        if module.name.endswith("__main__"):
            continue
        for name, cls in vars(importlib.import_module(module.name)).items():
            if name.startswith("_") or not inspect.isclass(cls) or cls.__module__ != module.name:
                continue
            if issubclass(cls, BaseException | tuple | RouterConfig) or typing.is_typeddict(cls):
                continue
            if dataclasses.is_dataclass(cls) and not hasattr(cls, "__post_init__") and name not in NEEDS:
                continue
            try:
                parameters = inspect.signature(cls).parameters.values()
            except ValueError:  # an enum or a Protocol
                continue
            numbers = [one.name for one in parameters if _NUMBER.fullmatch(str(one.annotation))]
            if numbers:
                yield cls, numbers


CONSTRUCTORS = {cls.__name__: (cls, numbers) for cls, numbers in constructors()}
CASES = [
    pytest.param(cls, number, id=f"{name}-{number}")
    for name, (cls, numbers) in sorted(CONSTRUCTORS.items())
    if name in NEEDS
    for number in numbers
]


def test_every_constructor_that_takes_numbers_is_tried() -> None:
    assert set(CONSTRUCTORS) - set(NEEDS) - set(NO_SETTINGS) == set()
    assert (set(NEEDS) | set(NO_SETTINGS)) - set(CONSTRUCTORS) == set()


@pytest.mark.parametrize(("cls", "number"), CASES)
def test_a_constructor_refuses_what_is_no_number_and_names_the_field(cls: type, number: str) -> None:
    cls(**NEEDS[cls.__name__])
    for bad in BAD:
        with pytest.raises(SmartRouteError) as caught:
            cls(**{**NEEDS[cls.__name__], number: bad})
        message = str(caught.value)
        name = WORDING.get(cls.__name__, {}).get(number, number)
        assert re.search(rf"\b{name}\b", message), (bad, message)
        assert repr(bad) in message, (bad, message)


def _numeric_settings() -> list[str]:
    return [
        name
        for name, field in RouterConfig.model_fields.items()
        if {int, float} & {field.annotation, *typing.get_args(field.annotation)}
    ]


@pytest.mark.parametrize("name", _numeric_settings())
def test_a_setting_of_a_router_refuses_what_is_no_number_and_names_the_field(name: str) -> None:
    for bad in BAD:
        for build in (ModelRouter, RouterConfig):
            with pytest.raises(SmartRouteError, match=name):
                build(**{name: bad})
