"""Rules and thresholds from the file that configures the router."""

import pytest

from smartroute import RouterConfig
from smartroute.analytics import DEFAULT_RULES, rules_from_file
from smartroute.errors import ConfigError


def read(tmp_path, text, **fields):
    file = tmp_path / "smartroute.toml"
    file.write_text(text, encoding="utf-8")
    return rules_from_file(file, **fields)


@pytest.mark.parametrize("prefix", ["smartroute.", ""])
def test_thresholds_are_changed_rules_removed_and_budgets_added(tmp_path, prefix):
    rules = {
        rule.name: rule
        for rule in read(
            tmp_path,
            f"""
            {"[smartroute]" if prefix else ""}
            accept_at = 0.8

            [{prefix}alerts]
            usd_per_day = 50
            usd_per_month = 1_000.5

            [{prefix}alerts.high_escalation_rate]
            raise_at = 0.2
            clear_at = 0.1
            critical_at = 0.5
            least_n = 200
            suggestion = "Call the team."
            surely = false

            [{prefix}alerts."low savings"]
            off = true
            """,
        )
    }
    changed = rules["high escalation rate"]
    assert (changed.raise_at, changed.clear_at, changed.critical_at) == (0.2, 0.1, 0.5)
    assert (changed.least_n, changed.suggestion, changed.surely) == (200, "Call the team.", False)
    assert "low savings" not in rules
    assert rules["budget forecast per day"].raise_at == 50
    assert rules["budget forecast per month"].raise_at == 1_000.5
    unchanged = [rule for rule in DEFAULT_RULES if rule.name not in ("high escalation rate", "low savings")]
    assert all(rules[rule.name] == rule for rule in unchanged)


@pytest.mark.parametrize("prefix", ["smartroute.", ""])
def test_the_router_reads_the_same_file_and_leaves_the_alerts_alone(tmp_path, prefix):
    file = tmp_path / "smartroute.toml"
    head = "[smartroute]\n" if prefix else ""
    file.write_text(f"{head}accept_at = 0.8\n[{prefix}alerts]\nusd_per_day = 50\n")
    assert RouterConfig.from_file(file).accept_at == 0.8
    assert len(rules_from_file(file)) == len(DEFAULT_RULES) + 1


def test_a_file_without_the_table_changes_nothing(tmp_path):
    assert read(tmp_path, "accept_at = 0.8\n") == DEFAULT_RULES
    assert read(tmp_path, "[alerts]\n", rules=DEFAULT_RULES[:2]) == DEFAULT_RULES[:2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("alerts = 5", "must be a table"),
        ("[alerts]\nusd_per_dya = 5", "did you mean usd_per_day"),
        ("[alerts]\nerrors = 5", "errors must be a table"),
        ("[alerts.high_escalation]\nraise_at = 0.1", "did you mean high_escalation_rate"),
        ("[alerts.zzz]\nraise_at = 0.1", "there is no rule 'zzz'; known: usd_per_day"),
        ("[alerts.errors]\nraise = 0.1", "errors has no field 'raise'; it has raise_at"),
        ("[alerts.errors]\nraise_at = '0.1'", "raise_at must be a finite number"),
        ("[alerts.errors]\nraise_at = true", "raise_at must be a finite number"),
        ("[alerts.errors]\nraise_at = 0.01", "other side"),
        ("[alerts.errors]\nraise_at = nan", "finite"),
        ("[alerts.errors]\nleast_n = 0.5", "least_n"),
        ("[alerts.errors]\noff = 'yes'", "true or false"),
        ("[alerts.errors]\nsuggestion = 5", "must be text"),
        ("[alerts]\nusd_per_day = -5", "above 0"),
        ("[alerts]\nusd_per_day = '5'", "usd_per_day must be a finite number above 0, got '5'; pass a"),
        ("[alerts]\nusd_per_month = true", "usd_per_month must be a finite number above 0, got True"),
        ("[alerts", "not valid TOML"),
        ("smartroute = 5", "smartroute must be a table"),
    ],
)
def test_a_mistake_is_refused_with_its_cure(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message) as caught:
        read(tmp_path, text)
    assert "smartroute.toml" in str(caught.value)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        rules_from_file(tmp_path / "none.toml")
