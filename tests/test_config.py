import ast
import inspect
import textwrap
from typing import Any, get_type_hints

import pytest

from smartroute import ConfigError, ModelRouter, RouterConfig
from smartroute.config import RouterArguments, RouterSettings, settings
from smartroute.routing.retries import RetryPolicy


class SendOnly:
    def send(self, call):
        raise NotImplementedError


def test_the_defaults_are_the_documented_ones():
    config = RouterConfig()
    assert (config.accept_at, config.escalate, config.cost_optimization, config.smart_routing) == (
        0.7,
        True,
        True,
        True,
    )
    assert config.on_unknown == "accept"
    assert config.ask_confidence is False


def test_a_configuration_cannot_be_changed_afterward():
    with pytest.raises(Exception, match="frozen"):
        RouterConfig().accept_at = 0.5


def annotations_in(source):
    """Return the annotation of each field of a class, as it is written."""
    (definition,) = ast.parse(textwrap.dedent(source)).body
    fields = (line for line in definition.body if isinstance(line, ast.AnnAssign))
    return {ast.unparse(field.target): ast.unparse(field.annotation) for field in fields}


def test_the_typed_keywords_are_the_settings_with_their_types():
    keywords = get_type_hints(RouterSettings)
    fields = {name: field.annotation for name, field in RouterConfig.model_fields.items()}
    # pydantic sees Any for the six that take objects; their types are compared as they are written.
    written, stated = (
        annotations_in(inspect.getsource(part)) for part in (settings._AllButSeed, RouterConfig)
    )
    objects = {name for name, annotation in fields.items() if annotation is Any}
    assert objects == {"classifier", "strategy", "estimator", "provider", "sink", "redact"}
    for name in objects:
        assert written[name] == stated[name]
        del keywords[name], fields[name]
    # A list or a set of names is taken too, and kept as a tuple.
    assert keywords.pop("providers") == fields.pop("providers") | list[str] | set[str] | frozenset[str]
    assert keywords == fields


def test_the_typed_keywords_of_a_class_that_builds_a_router_are_those_of_the_router():
    from inspect import signature

    parameters = set(signature(ModelRouter).parameters) - {"settings"}
    assert set(RouterArguments.__annotations__) == parameters | set(RouterSettings.__annotations__)


NUMBERS = [
    name
    for name, field in RouterConfig.model_fields.items()
    if field.annotation in (int, float, int | None, float | None)
]


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", ["1", b"1", True, float("nan"), float("inf"), [1]])
def test_a_setting_that_is_a_number_takes_no_text_no_flag_and_nothing_infinite(name, value):
    with pytest.raises(ConfigError, match=f"^{name}: .*, got "):
        RouterConfig(**{name: value})


def test_the_numbers_among_the_settings_are_all_tested():
    assert len(NUMBERS) == 8


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"accept_at": 1.5}, "accept_at.*1.5"),
        ({"accept_at": -0.1}, "accept_at.*-0.1"),
        ({"accept_at": float("nan")}, "accept_at.*finite.*nan"),
        ({"accept_at": True}, "accept_at.*bool"),
        ({"accept_at": "high"}, "accept_at.*high"),
        ({"max_usd": -1}, "max_usd.*-1"),
        ({"max_usd": float("inf")}, "max_usd.*finite"),
        ({"max_usd": "inf"}, "max_usd.*finite.*inf"),
        ({"timeout_s": "inf"}, "timeout_s.*finite.*inf"),
        ({"call_timeout_s": "nan"}, "call_timeout_s.*finite.*nan"),
        ({"timeout_s": 0}, "timeout_s.*0"),
        ({"on_unknown": "guess"}, "on_unknown.*guess"),
        ({"breaker_failures": 0}, "breaker_failures"),
        ({"breaker_failures": True}, "breaker_failures.*bool"),
        ({"sink": object()}, "sink.*emit"),
        ({"provider": object()}, "provider.*send"),
        ({"provider": SendOnly()}, r"provider.*asend\(call\)"),
        ({"strategy": object()}, "strategy.*decide"),
        (
            {"strategy": "quality_first"},
            r"QualityFirst\(\) of .*strategies, got 'quality_first'",
        ),
        ({"estimator": "judge"}, r"JudgeConfidence\(model\) of smartroute.confidence, got 'judge'"),
        ({"sink": "log.jsonl"}, r"MemorySink\(\) of .*log_path, got 'log.jsonl'"),
        (
            {"provider": "openai"},
            r"ScriptedProvider\(script\) of .*providers, got 'openai'",
        ),
        ({"redact": "all"}, "redact.*function"),
        ({"accept_at": "0.8"}, "^accept_at: must be a finite number, not text, got '0.8'$"),
        ({"acept_at": 0.5}, "acept_at.*did you mean accept_at"),
        ({"catalogue": "models.toml"}, "^there is no setting 'catalogue'; did you mean catalog\\?$"),
        ({"cost_optimisation": False}, "setting 'cost_optimisation'; did you mean cost_optimization\\?$"),
        ({"zzz": 1}, "zzz.*known: "),
        ({"providers": "openai"}, r"^providers: must be a list of names, such as \['openai'\]"),
        ({"catalog": {"a": 1}}, r"^catalog: must be a Catalog, .*got \{'a': 1\}$"),
        ({"prices": {"a": (1, 2)}}, r"^prices: must be a PriceTable, .*got \{'a': \(1, 2\)\}$"),
        ({"retry": 3}, r"^retry: must be a RetryPolicy, such as RetryPolicy\(calls=3\), got 3$"),
        ({"log_path": 3}, "^log_path: must be a path, .*got 3$"),
        ({"log_path": ""}, "^log_path: must be a path, .*sink=False.*got ''$"),
    ],
)
def test_a_mistake_fails_at_construction_with_the_field_the_value_and_the_cure(setting, message):
    with pytest.raises(ConfigError, match=message):
        RouterConfig(**setting)


def test_the_objects_that_the_messages_name_are_where_they_say_and_are_taken():
    from smartroute.confidence import JudgeConfidence
    from smartroute.routing.strategies import QualityFirst
    from smartroute.sinks import MemorySink
    from smartroute.testing import ScriptedProvider

    strategy, estimator = QualityFirst(), JudgeConfidence("gpt-4o")
    sink, provider = MemorySink(), ScriptedProvider({})
    config = RouterConfig(strategy=strategy, estimator=estimator, sink=sink, provider=provider)
    assert (config.strategy, config.estimator) == (strategy, estimator)
    assert (config.sink, config.provider) == (sink, provider)


def test_every_mistake_is_reported_at_once():
    with pytest.raises(ConfigError, match=r"(?s)accept_at.*max_usd"):
        RouterConfig(accept_at=2, max_usd=-1)


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("ROUTER_ESCALATION_THRESHOLD", "0.85", "accept_at", 0.85),
        ("ROUTER_ENABLE_ESCALATION", "false", "escalate", False),
        ("ROUTER_COST_OPTIMIZATION", "0", "cost_optimization", False),
        ("ENABLE_SMART_ROUTING", "No", "smart_routing", False),
        ("ROUTING_ANALYTICS_PATH", "/somewhere/log.jsonl", "log_path", "/somewhere/log.jsonl"),
        ("ROUTER_ESCALATION_THRESHOLD", "  ", "accept_at", 0.7),
    ],
)
def test_the_environment_of_the_replaced_system_is_understood(variable, text, field, value):
    assert getattr(RouterConfig.from_env({variable: text}), field) == value


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("ROUTER_ESCALATION_THRESHOLD", "high"),
        ("ROUTER_ESCALATION_THRESHOLD", "1.7"),
        ("ROUTER_ESCALATION_THRESHOLD", "nan"),
        ("ROUTER_ENABLE_ESCALATION", "perhaps"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named_with_its_text(variable, text):
    with pytest.raises(ConfigError, match=f"{variable}='{text}'"):
        RouterConfig.from_env({variable: text})


def test_a_variable_in_british_spelling_is_not_ignored():
    with pytest.raises(ConfigError, match="ROUTER_COST_OPTIMISATION; did you mean ROUTER_COST_OPTIMIZATION"):
        RouterConfig.from_env({"ROUTER_COST_OPTIMISATION": "false"})


def test_the_message_about_a_variable_that_is_not_a_number_says_what_to_use():
    with pytest.raises(ConfigError, match="'high': use a number from 0 to 1"):
        RouterConfig.from_env({"ROUTER_ESCALATION_THRESHOLD": "high"})


@pytest.mark.parametrize("config", ["smartroute.toml", {"accept_at": 0.5}, RouterConfig])
def test_a_router_takes_a_config_and_nothing_that_looks_like_one(config):
    with pytest.raises(ConfigError, match=r"config must be a RouterConfig, got .*from_file"):
        ModelRouter(config=config)


def test_code_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("ROUTER_ESCALATION_THRESHOLD", "0.9")
    assert ModelRouter().config.accept_at == 0.9
    assert ModelRouter(escalation_threshold=0.5).config.accept_at == 0.5
    assert ModelRouter(0.6, False, False).config.escalate is False
    assert ModelRouter(config=RouterConfig()).config.accept_at == 0.7
    assert ModelRouter(config=RouterConfig(max_usd=2.0), accept_at=0.4).config.max_usd == 2.0


@pytest.mark.parametrize(
    ("both", "message"),
    [
        (
            {"escalation_threshold": 0.5, "accept_at": 0.6},
            "escalation_threshold and accept_at are one setting",
        ),
        ({"enable_escalation": True, "escalate": False}, "enable_escalation and escalate are one setting"),
        (
            {"cost_optimization_mode": True, "cost_optimization": True},
            "cost_optimization_mode and cost_optimization are one setting",
        ),
    ],
)
def test_a_setting_is_given_by_one_of_its_names(both, message):
    with pytest.raises(ConfigError, match=message):
        ModelRouter(**both)


def test_a_file_is_read_with_paths_relative_to_it(tmp_path):
    file = tmp_path / "smartroute.toml"
    file.write_text(
        '[smartroute]\naccept_at = 0.8\nproviders = ["openai"]\nlog_path = "log"\n'
        "[smartroute.retry]\ncalls = 5\n"
    )
    config = RouterConfig.from_file(file, max_usd=1.0)
    assert (config.accept_at, config.providers, config.max_usd) == (0.8, ("openai",), 1.0)
    assert config.log_path == tmp_path / "log"
    assert config.retry == RetryPolicy(calls=5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("accept_at = 7", "accept_at.*7"),
        ("accpt_at = 0.7", "did you mean accept_at"),
        ('catalogue = "models.toml"', "no setting 'catalogue'; did you mean catalog\\?"),
        ("cost_optimisation = true", "no setting 'cost_optimisation'; did you mean cost_optimization\\?"),
        ('accept_at = "0.8"', "accept_at: must be a finite number, not text, got '0.8'"),
        ("accept_at = ", "not valid TOML"),
        ("[retry]\ntries = 3", "no field tries"),
        ('[retry]\ncalls = "x"', "retry calls must be a whole number"),
        ("smartroute = 5", "smartroute must be a table of settings, got 5"),
        ('log_path = ""', "log_path: must be a path"),
        ('catalog = ""', "catalog: must be a Catalog"),
    ],
)
def test_a_mistake_in_a_file_names_the_file(tmp_path, text, message):
    file = tmp_path / "smartroute.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=f"smartroute.toml.*{message}"):
        RouterConfig.from_file(file)


@pytest.mark.parametrize("path", [None, 5, b"smartroute.toml"])
def test_a_file_that_is_not_a_path_is_named_by_value(path):
    with pytest.raises(ConfigError, match=f"must be a path, got {path!r}"):
        RouterConfig.from_file(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.toml"):
        RouterConfig.from_file(tmp_path / "nowhere.toml")


def test_the_variable_for_experiments_is_not_ignored_silently(caplog):
    RouterConfig.from_env({"ROUTING_AB_TEST_ENABLED": "false"})
    assert not caplog.records
    RouterConfig.from_env({"ROUTING_AB_TEST_ENABLED": "true"})
    assert "no experiments yet" in caplog.text
    with pytest.raises(ConfigError, match="ROUTING_AB_TEST_ENABLED"):
        RouterConfig.from_env({"ROUTING_AB_TEST_ENABLED": "perhaps"})
