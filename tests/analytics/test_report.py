"""A composed report, and how it is shown on the terminal and as markdown, HTML, CSV and JSON."""

import csv
import dataclasses
import io
import json
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from smartroute.analytics import Analytics, Filter, Insight, compose
from smartroute.cli.app import app
from smartroute.dashboard.report_content import pages
from smartroute.dashboard.report_formats import comma_separated, html, markdown, show_report
from smartroute.dashboard.terminal import console_on
from smartroute.errors import ConfigError
from smartroute.events.event import Event
from smartroute.events.writing import event_of_feedback
from smartroute.pricing import Price, PriceTable
from smartroute.sinks import JsonlSink, MemorySink
from smartroute.stats.prediction_powered import prediction_powered_mean

PRICES = PriceTable({"mini": Price(1, 1), "top": Price(10, 10)}, fill_gaps=False)


def an_outcome(number, model="mini", **fields):
    """An answer of 100 tokens in and out: $0.0002 by mini, $0.002 by top, which is also the baseline."""
    usd = {"mini": 2e-4, "top": 2e-3, None: 0.0}[model]
    usual = {
        "kind": "score",
        "complexity": "simple",
        "model": model,
        "cost_usd": usd,
        "unpriced_attempts": 0,
        "baseline_model": "top",
        "baseline_cost_usd": None if model is None else 2e-3,
        "confidence": 0.8,
        "latency_s": 1.0,
        "escalated": False,
        "input_tokens": 100,
        "output_tokens": 100,
        "error": "AllModelsFailedError" if model is None else None,
        "attempts": ({"model": model or "mini", "purpose": "answer", "cost_usd": usd},),
    }
    time = fields.pop("time", f"2026-11-23T{number // 60:02d}:{number % 60:02d}:00.000000Z")
    return Event(2, "outcome", f"o{number}", f"o{number}", time, False, **{**usual, **fields})


def a_log(*events):
    sink = MemorySink()
    for event in events:
        sink.emit(event)
    return sink


def test_the_first_page_holds_the_success_metrics():
    """30 answers by mini, 10 by top: 60% saved against top alone; one escalated, one in 41 failed."""
    log = a_log(
        *(an_outcome(n) for n in range(30)),
        *(an_outcome(n, "top", escalated=n == 30) for n in range(30, 40)),
        an_outcome(40, None),
    )
    report = compose(Analytics(log), prices=PRICES)
    metrics = {metric.name: metric for metric in report.metrics}
    assert metrics["savings"].value == pytest.approx(1 - (30 * 2e-4 + 10 * 2e-3) / (40 * 2e-3))
    assert metrics["savings"].met is False and metrics["savings"].n == 40
    assert metrics["confidence"].value == pytest.approx(0.8) and metrics["confidence"].met is True
    assert metrics["escalations"].value == pytest.approx(1 / 41) and metrics["escalations"].met is True
    assert metrics["errors"].value == pytest.approx(1 / 41) and metrics["errors"].met is None
    assert report.cost_usd == pytest.approx(0.026)
    assert report.savings[0].baseline == "the declared baseline, top"
    assert report.latency_s["p50"] == pytest.approx(1.0, rel=0.05)


def test_the_period_before_is_the_baseline_of_errors_and_latency():
    before = [
        an_outcome(n, None if n < 8 else "mini", time=f"2026-11-20T00:{n:02d}:00.000000Z") for n in range(40)
    ]
    now = [an_outcome(100 + n, time=f"2026-11-22T00:{n:02d}:00.000000Z", latency_s=1.2) for n in range(40)]
    report = compose(Analytics(a_log(*before, *now)), Filter(since="2026-11-21", until="2026-11-23"))
    metrics = {metric.name: metric for metric in report.metrics}
    assert report.requests == 40
    assert metrics["errors"].met is True and "20.00% of 40" in metrics["errors"].note
    assert metrics["latency"].met is False and "1.000 s" in metrics["latency"].note


def test_a_period_with_hardly_any_time_before_it_has_no_baseline():
    """Twenty centuries before the year 900 is before any calendar; 24 hours after midnight of the first day
    there are fewer hours than asked for."""
    report = compose(Analytics(a_log(an_outcome(1))), Filter(since="0900-01-01"))
    assert {m.name: m.met for m in report.metrics}["errors"] is None
    early = Analytics(a_log(an_outcome(1, time="0001-01-01T02:00:00.000000Z")))
    assert [hour for hour, _ in early.series(24)] == ["0001-01-01T00", "0001-01-01T01", "0001-01-01T02"]


def test_with_few_requests_every_measure_stays_open():
    before = [an_outcome(n, time=f"2026-11-20T00:{n:02d}:00.000000Z") for n in range(40)]
    now = [an_outcome(100 + n, time=f"2026-11-22T00:{n:02d}:00.000000Z") for n in range(29)]
    report = compose(Analytics(a_log(*before, *now)), Filter(since="2026-11-21", until="2026-11-23"))
    assert {metric.met for metric in report.metrics} == {None}


def test_a_councils_verdict_is_no_model_to_send_everything_to():
    log = a_log(an_outcome(1), an_outcome(2, kind="council"))
    joined = Event(**{**an_outcome(3, kind="council").__dict__, "model": "mini+top"})
    log.emit(joined)
    assert [f.model for f in compose(Analytics(log), prices=PRICES).fixed] == ["mini"]


def test_baselines_stand_side_by_side_and_the_best_fixed_model_needs_labels():
    answers = [an_outcome(n) for n in range(40)] + [an_outcome(n, "top") for n in range(40, 80)]
    feedback = [
        event_of_feedback(
            event_id=f"f{n}",
            at_s=1_800_000_000,
            simulated=False,
            outcome_id=f"o{n}",
            quality=float(n % 2 or n >= 40),
        )
        for n in range(80)
    ]
    unlabeled = compose(Analytics(a_log(*answers)), prices=PRICES)
    assert unlabeled.best_fixed is None and any("no best fixed model yet" in note for note in unlabeled.notes)
    report = compose(Analytics(a_log(*answers, *feedback)), prices=PRICES)
    assert report.best_fixed == "top"
    assert [saving.baseline for saving in report.savings] == [
        "the declared baseline, top",
        "the best fixed model, top",
        "the most expensive model, top",
    ]
    assert {f.model: f.cost_usd for f in report.fixed} == {
        "mini": pytest.approx(0.016),
        "top": pytest.approx(0.16),
    }
    assert str(report.mix) == "top for 50% of requests, else mini: quality 0.750"
    assert report.mix.verdict == "no better"
    assert "routing is no better than that mix: quality 0.750, a difference of +0.000" in markdown(report)
    (quality,) = report.quality
    assert (quality.source, quality.n, quality.mean) == ("user", 80, 0.75)
    assert quality.calibration == ((pytest.approx(0.8), 0.75, 80),)


def test_an_unknown_cost_is_noted_and_left_out_of_comparisons():
    log = a_log(an_outcome(1), an_outcome(2, cost_usd=0.0, unpriced_attempts=1))
    report = compose(Analytics(log), prices=PRICES)
    assert report.unpriced == 1
    assert any("1 of 2 requests (50.0%) have a call of unknown cost" in note for note in report.notes)
    assert report.savings[0].n == 1 and "1 answered requests" in report.savings[0].note
    for saving in report.savings:
        assert saving.n == 1 and "1 answered requests" in saving.note
        assert saving.cost_usd == pytest.approx(2e-4)  # what was paid for the one that is compared
    assert "cost at least $" in markdown(report)


def test_a_holdback_is_reported_with_the_difference_in_cost_and_in_quality():
    """Routed answers cost a tenth, and users like 80% of them against 100% of those held back."""
    answers = [an_outcome(n, holdback="routed") for n in range(50)]
    answers += [an_outcome(n, "top", holdback="held") for n in range(50, 100)]
    feedback = [
        event_of_feedback(
            event_id=f"f{n}",
            at_s=1_800_000_000,
            simulated=False,
            outcome_id=f"o{n}",
            quality=float(n >= 50 or n % 5 > 0),
        )
        for n in range(100)
    ]
    report = compose(Analytics(a_log(*answers, *feedback)), prices=PRICES)
    assert report.holdback.saving.share == pytest.approx(0.9)
    assert report.holdback.cost_usd.value == pytest.approx(-1.8e-3)
    assert report.holdback.quality["user"].value == pytest.approx(-0.2)
    text = markdown(report)
    assert "measured difference in cost: -$0.001800 a request" in text
    assert "measured difference in quality by user: -0.200 [" in text
    assert not any("nothing is held back" in note for note in report.notes)


def judged_log(seed, correlation):
    """300 answers that a judge marked, 40 of them marked by a person too, and how far the two agree."""
    rng = np.random.default_rng(seed)
    events = [an_outcome(n) for n in range(300)]
    for n in range(300):
        mark = float(rng.random())
        judged = correlation * mark + (1 - correlation) * float(rng.random())
        for source, quality in (("judge", judged), *([("user", mark)] if n < 40 else [])):
            events.append(
                event_of_feedback(
                    event_id=f"{source}{n}",
                    at_s=1_800_000_000,
                    simulated=False,
                    outcome_id=f"o{n}",
                    source=source,
                    quality=quality,
                )
            )
    return events


def test_a_judge_that_agrees_with_people_narrows_their_interval_and_one_that_does_not_is_reported():
    """Against prediction_powered_mean on the single values."""
    events = judged_log(1, 0.95)
    report = compose(Analytics(a_log(*events)))
    estimate = {quality.source: quality for quality in report.quality}["user"].with_judge
    labels = {(e.source, e.outcome_id): e.quality for e in events if e.type == "feedback"}
    expected = prediction_powered_mean(
        [labels["user", f"o{n}"] for n in range(40)],
        [labels["judge", f"o{n}"] for n in range(40)],
        [labels["judge", f"o{n}"] for n in range(40, 300)],
    )
    assert estimate.value == pytest.approx(expected.value, rel=1e-9)
    assert estimate.interval.low == pytest.approx(expected.interval.low, rel=1e-9)
    assert estimate.judge_helps and estimate.narrowing > 0.3
    assert "narrower than with user alone" in markdown(report)
    assert "the judge adds nothing to the labels of source user" in markdown(
        compose(Analytics(a_log(*judged_log(1, 0.0))))
    )


def test_the_cheapest_model_that_is_as_good_is_shown_beside_the_best_one():
    """Mini is right 3 times in 4, mid nearly always, top always; routing in 11 of 12."""
    prices = PriceTable({"mini": Price(1, 1), "mid": Price(2, 2), "top": Price(10, 10)}, fill_gaps=False)
    right = {"mini": 0.75, "mid": 1.0, "top": 1.0}
    events = []
    for index, model in enumerate(right):
        for n in range(40):
            event = an_outcome(40 * index + n, "mini")
            events.append(Event(**{**event.__dict__, "model": model}))
            events.append(
                event_of_feedback(
                    event_id=f"f{40 * index + n}",
                    at_s=1_800_000_000,
                    simulated=False,
                    outcome_id=event.id,
                    quality=float(n < 40 * right[model]) - (0.01 if model == "mid" and n == 0 else 0),
                )
            )
    savings = {s.baseline: s for s in compose(Analytics(a_log(*events)), prices=prices).savings}
    as_good = savings["the cheapest model as good as routing, mid"]
    assert as_good.baseline_usd == pytest.approx(120 * 400e-6)
    assert "the best fixed model, top" in savings
    assert "quality 1.000 over 40 labels, routing's 0.917 over 120" in as_good.note


def test_a_router_that_loses_is_reported_as_losing():
    log = a_log(*(an_outcome(n, "top", baseline_model="mini", baseline_cost_usd=2e-4) for n in range(40)))
    report = compose(Analytics(log))
    assert report.metrics[0].value == pytest.approx(-9.0)
    assert "-900.0%" in markdown(report)


def test_judges_calls_and_rejected_answers_are_separate_in_the_cost():
    calls = (
        {"model": "mini", "purpose": "answer", "cost_usd": 1e-4},
        {"model": "judge", "purpose": "judge", "cost_usd": 5e-5},
        {"model": "top", "purpose": "answer", "cost_usd": 2e-3},
    )
    report = compose(Analytics(a_log(an_outcome(1, "top", attempts=calls, cost_usd=2.15e-3))))
    assert report.overhead_usd == {"judge": 5e-5}
    assert report.rejected_usd == pytest.approx(1e-4)


def test_an_answer_that_was_given_because_the_next_rung_failed_is_not_rejected():
    calls = (
        {"model": "mini", "purpose": "answer", "rung": 0, "cost_usd": 1e-4},
        {"model": "top", "purpose": "answer", "rung": 1, "cost_usd": 3e-3, "failure": "timeout"},
    )
    report = compose(Analytics(a_log(an_outcome(1, attempts=calls, cost_usd=3.1e-3, escalated=True))))
    assert report.rejected_usd == pytest.approx(3e-3)


def test_an_empty_log_has_nothing_to_report():
    report = compose(Analytics(a_log()))
    (page,) = pages(report)
    assert page.lines == ("0 requests: there is nothing to report yet",)


def test_groups_may_be_joined_and_those_of_time_come_in_order():
    log = a_log(
        an_outcome(1, "top", time="2026-11-22T08:00:00.000000Z"),
        an_outcome(2, time="2026-11-23T08:00:00.000000Z"),
        an_outcome(3, "top", kind="extract", time="2026-11-21T08:00:00.000000Z"),
    )
    report = compose(Analytics(log), group_by=("kind+model", "day"))
    assert [row.group for row in report.rows["day"]] == [
        ("2026-11-21",), ("2026-11-22",), ("2026-11-23",)
    ]  # fmt: skip
    assert [row.group for row in report.rows["kind+model"]] == [
        ("extract", "top"), ("score", "top"), ("score", "mini")
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="grouped by 'colour'"):
        compose(Analytics(log), group_by=("kind+colour",))


def test_a_groups_quality_has_an_interval_once_there_are_labels_enough():
    """Half of 40 right: 0.5, and half a width of 1.96 sqrt(0.25 * 40 / 39 / 40) = 0.157."""
    feedback = [
        event_of_feedback(
            event_id=f"f{n}", at_s=1_800_000_000, simulated=False, outcome_id=f"o{n}", quality=float(n % 2)
        )
        for n in range(40)
    ]
    report = compose(Analytics(a_log(*(an_outcome(n) for n in range(50)), *feedback)), group_by=("model",))
    (row,) = report.rows["model"]
    assert (row.labels, row.mean_quality) == (40, 0.5)
    assert row.quality_interval.low == pytest.approx(0.5 - 0.15693, abs=1e-4)
    assert row.confidence_interval.low == pytest.approx(0.8)


def test_simulated_figures_say_so():
    log = MemorySink()
    event = an_outcome(1)
    log.emit(Event(**{**event.__dict__, "simulated": True}))
    report = compose(Analytics(log))
    assert markdown(report).startswith("# Report (simulated)")
    assert all("(simulated)" in page.title for page in pages(report))
    (row,) = csv.DictReader(io.StringIO(comma_separated(compose(Analytics(log), group_by=("kind",)))))
    assert row["simulated"] == "yes"


def test_csv_has_a_row_for_each_group_and_no_formula():
    log = a_log(an_outcome(1, kind="=cmd()"), an_outcome(2))
    rows = list(csv.DictReader(io.StringIO(comma_separated(compose(Analytics(log), group_by=("kind",))))))
    assert sorted(row["group"] for row in rows) == ["'=cmd()", "score"]
    assert {row["requests"] for row in rows} == {"1"}


def test_names_move_no_cursor_and_are_no_markup(capsys):
    hostile = "a\x1b[2J\\|b\r=1 <b>[c](http://d)"
    report = compose(Analytics(a_log(an_outcome(1, kind=hostile, baseline_model=hostile))), prices=PRICES)
    show_report(console_on(sys.stdout), report)
    shown, text = capsys.readouterr().out, markdown(report)
    assert "\x1b" not in shown + text and "\r" not in shown + text
    assert "<b>" not in text and "](" not in text
    # A backslash that is escaped does not take the pipe's away.
    assert f"| a{UNKNOWN_CHARACTER}[2J" + "\\" * 3 + "|b" in text
    # A bare carriage return would start a row, and that row a formula.
    table = comma_separated(compose(Analytics(a_log(an_outcome(1, kind="\r=1"))), group_by=("kind",)))
    assert [row["group"] for row in csv.DictReader(io.StringIO(table))] == [f"{UNKNOWN_CHARACTER}=1"]


UNKNOWN_CHARACTER = "\N{REPLACEMENT CHARACTER}"


class Cells(HTMLParser):
    """Collects the text of the cells and items of a document, and every tag that could load something."""

    def __init__(self, document):
        super().__init__()
        self.texts, self.loads, self.open = [], [], []
        self.feed(document)

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href")]
        if tag in ("td", "th", "li"):
            self.texts.append("")

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, text):
        if self.open and self.open[-1] in ("td", "th", "li"):
            self.texts[-1] += text


def test_html_holds_the_cells_of_every_page_and_nothing_that_runs_or_loads():
    hostile = "<script>alert(1)</script>"
    report = compose(Analytics(a_log(an_outcome(1, kind=hostile), an_outcome(2))), prices=PRICES)
    document = html(report)
    cells = Cells(document)
    texts = [
        text
        for page in pages(report)
        for row in (page.columns if page.rows else (), *page.rows)
        for text in row
    ]
    assert texts and set(texts) <= set(cells.texts)
    assert hostile in cells.texts and "<script" not in document
    assert cells.loads == []


@pytest.fixture
def folder(tmp_path):
    with JsonlSink(tmp_path / "log") as sink:
        for number in range(5):
            sink.emit(an_outcome(number))
    return tmp_path / "log"


def typed(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_the_command_prints_a_report_in_three_ways(folder):
    shown = typed("report", "--path", folder)
    assert shown.exit_code == 0, shown.output
    assert "Savings by baseline" in shown.stdout and "90.0%" in shown.stdout
    document = json.loads(typed("report", "--path", folder, "--json", "--group-by", "day").stdout)
    assert document["requests"] == 5 and list(document["rows"]) == ["day"]
    assert typed("report", "--path", folder, "--markdown").stdout.startswith("# Report\n")
    assert json.loads(typed("report", "--path", folder, "--json", "--kind", "other").stdout)["requests"] == 0
    assert json.loads(typed("report", "--path", folder, "--json", "--since", "1h").stdout)["requests"] == 0


def test_models_of_the_users_catalog_are_priced(folder, tmp_path):
    models = tmp_path / "models.toml"
    models.write_text(
        '[[models]]\nname = "mini"\ntier = "mini"\ntarget = "openai/mini"\n'
        "price = { input = 3.0, output = 3.0 }\n",
        "utf-8",
    )
    document = json.loads(typed("report", "--path", folder, "--json", "--models", models).stdout)
    (fixed,) = document["fixed"]
    assert fixed["model"] == "mini" and fixed["saving"]["baseline_usd"] == pytest.approx(5 * 600e-6)
    assert typed("report", "--path", folder, "--models", tmp_path / "none.toml").exit_code == 2
    config = tmp_path / "router.toml"
    config.write_text(f'log_path = "{folder}"\ncatalog = "models.toml"\n')
    assert json.loads(typed("report", "--config", config, "--json").stdout)["savings"] == document["savings"]
    assert typed("export", tmp_path / "report.csv", "--config", config).exit_code == 0
    assert typed("report", "--config", tmp_path / "none.toml").exit_code == 2


def test_a_period_may_end_and_quality_come_from_another_label_source(folder):
    period = ("--until", "2026-11-23T00:02:00Z", "--labels", "judge")
    document = json.loads(typed("report", "--path", folder, "--json", *period).stdout)
    assert document["requests"] == 2
    assert "judge" in typed("report", "--path", folder, "--labels", "editors").stderr


def test_an_export_is_written_as_its_name_says(folder, tmp_path):
    starts = {"json": "{", "csv": "dimension,group", "md": "# Report", "html": "<!doctype html>"}
    for name, start in ((f"a.{ending}", start) for ending, start in starts.items()):
        done = typed("export", tmp_path / name, "--path", folder)
        assert done.exit_code == 0, done.output
        assert (tmp_path / name).read_text("utf-8").startswith(start)
    assert typed("export", "-", "--format", "csv", "--path", folder).stdout.startswith("dimension")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "--group-by", "colour"), "colour"),
        (("report", "--since", "soon"), "since"),
        (("report", "--since", "²d"), "since"),
        (("report", "--since", "99999999999d"), "calendar"),
        (("report", "--since", "9" * 5_000 + "h"), "calendar"),
        (("report", "--until", "0001-01-01T00:00+05:00"), "years 1 to 9999"),
        (("report", "--since", "2026-11-25", "--until", "2026-11-20"), "--until must be later than --since"),
        (("export", "a.txt"), "gives no format"),
        (("export", "/nowhere/a.json"), "cannot be written"),
    ],
)
def test_a_mistake_is_one_line(folder, arguments, message):
    done = typed(*arguments, "--path", folder)
    assert done.exit_code == 2
    assert message in done.stderr and done.stderr.count("\n") == 1


def test_groups_are_asked_for_by_one_name_or_by_several():
    log = Analytics(a_log(an_outcome(1)))
    assert list(compose(log, group_by="kind+model").rows) == ["kind+model"]
    assert list(compose(log, group_by=["kind", "day"]).rows) == ["kind", "day"]


def test_a_period_is_shown_to_the_minute_as_in_alerts(folder):
    text = typed("report", "--path", folder, "--markdown", "--since", "2026-11-23").stdout
    start = "since 2026-11-23 00:00 UTC, from 2026-11-23 00:0"
    assert start in text and ".000000Z" not in text
    exact = typed("report", "--path", folder, "--markdown", "--since", "2026-11-23T00:00:00.5Z").stdout
    assert "since 2026-11-23T00:00:00.500000Z, from" in exact


@pytest.mark.parametrize(
    ("latency_s", "text"), [(0.00008, "0.00008 s"), (1.25, "1.25 s"), (4_321.0, "4,321 s")]
)
def test_no_time_is_written_as_a_power_of_ten(latency_s, text):
    page = markdown(compose(Analytics(a_log(*(an_outcome(n, latency_s=latency_s) for n in range(40))))))
    assert f"| latency | {text} |" in page
    assert not re.search(r"\de[-+]\d", page)


def test_a_name_that_no_request_has_is_reported_with_the_closest_or_the_known_ones(folder):
    text = typed("report", "--path", folder, "--kind", "scoer").stdout
    assert "no request of the log has the kind 'scoer'; did you mean score?" in text
    text = typed("report", "--path", folder, "--tenant", "acme", "--model", "zzz").stdout
    assert "no request of the log has the tenant 'acme'; none has a tenant" in text
    assert "no request of the log has the model 'zzz'; there are mini" in text
    quiet = typed("report", "--path", folder, "--kind", "score", "--since", "1h").stdout
    assert "nothing to report" in quiet and "no request of the log" not in quiet


def test_a_missing_log_is_an_error(tmp_path):
    done = typed("report", "--path", tmp_path / "nowhere")
    assert done.exit_code == 2 and "there is no log" in done.stderr


def test_an_export_never_replaces_the_log(tmp_path):
    log = tmp_path / "events.json"
    with JsonlSink(log) as sink:
        sink.emit(an_outcome(1))
    before = log.read_bytes()
    done = typed("export", log, "--path", log)
    assert done.exit_code == 2 and "is the log itself" in done.stderr
    assert log.read_bytes() == before
    assert "there is no log" in typed("export", log, "--path", tmp_path / "none").stderr


def test_groups_may_be_written_with_spaces(folder):
    document = json.loads(
        typed("report", "--path", folder, "--json", "--group-by", "kind + model, day").stdout
    )
    assert list(document["rows"]) == ["kind+model", "day"]


@pytest.mark.parametrize("width", [60, 80, 100])
def test_no_figure_of_a_group_is_broken_on_a_narrow_terminal(width):
    named = [
        Event(**{**an_outcome(n).__dict__, "model": f"a-model-with-a-long-name-{n % 2}"}) for n in range(40)
    ]
    log = a_log(*named)
    report = compose(Analytics(log), prices=PRICES)
    written = io.StringIO()
    show_report(Console(file=written, width=width), report)
    lines = written.getvalue().splitlines()
    tables = [page for page in pages(report) if page.title.startswith("By ")]
    assert tables
    for page in tables:
        for row in page.rows:
            for cell in row[1:]:
                assert any(cell in line.split("  ") or f" {cell}" in line for line in lines), cell
        for column in page.columns[1:]:
            assert any(f" {column}" in line for line in lines), column


@pytest.mark.parametrize("option", ["--since", "--until"])
def test_an_invalid_moment_is_refused_with_examples(folder, option):
    done = typed("report", option, "yesterday", "--path", folder)
    assert done.exit_code == 2
    assert f"{option} must be a date or time such as 2026-11-23" in done.stderr and "7d" in done.stderr


def test_lines_that_could_not_be_read_are_counted(folder):
    (folder / "2026-11-23-other.jsonl").write_bytes(b"rubbish\nmore of it\n")
    shown = typed("report", "--path", folder)
    assert "2 lines of the log could not be read" in shown.stdout


def test_two_forms_at_once_are_refused(folder):
    done = typed("report", "--json", "--markdown", "--path", folder)
    assert done.exit_code == 2 and "pass one" in done.stderr


def test_standard_output_needs_a_format(folder):
    done = typed("export", "-", "--path", folder)
    assert done.exit_code == 2 and "standard output" in done.stderr and "--format" in done.stderr


def test_the_error_of_a_missing_log_names_the_simulated_one_beside_it(tmp_path):
    (tmp_path / "log-simulated").mkdir()
    done = typed("report", "--path", tmp_path / "log")
    assert done.exit_code == 2 and f"simulated events are in {tmp_path / 'log-simulated'}" in done.stderr


def test_models_without_a_price_are_named_once_in_the_report_and_nowhere_else(caplog):
    log = a_log(*(an_outcome(n) for n in range(7)))
    unpriced = [
        Event(**{**event.__dict__, "model": f"own-{number}"}) for number, event in enumerate(log.events())
    ]
    report = compose(Analytics(a_log(*unpriced, an_outcome(7))), prices=PRICES)
    (note,) = (note for note in report.notes if "no price is known" in note)
    assert "own-0, own-1, own-2, own-3, own-4 and 2 more: they are in no comparison" in note
    (page,) = (page for page in pages(report) if page.title == "Every request to one model")
    assert ("own-0", "-", "-", "-", "-", "0") in page.rows
    assert not caplog.records


def test_a_figure_that_is_too_large_for_a_float_is_null_in_json():
    """Ten times 1e308 is more than a float holds."""
    log = a_log(*(an_outcome(n, cost_usd=1e308, latency_s=1e308) for n in range(40)))
    document = json.loads(json.dumps(compose(Analytics(log), prices=PRICES).as_dict(), allow_nan=False))
    assert (document["requests"], document["cost_usd"]) == (40, None)


def test_a_name_with_line_breaks_starts_no_paragraph():
    hostile = "a\n\n# Saved: 100%\u2028b"
    log = a_log(*(an_outcome(n, kind=hostile, baseline_model=hostile, model="mini") for n in range(40)))
    report = compose(Analytics(log), Filter(kind=hostile), prices=PRICES)
    insight = Insight("x", hostile, f"Of kind {hostile}", 1.0, None, 9, None, None, "Do.", "less")
    text = markdown(dataclasses.replace(report, insights=(insight,)))
    assert "# Saved" in text
    assert not any(line.lstrip().startswith("# Saved") for line in text.splitlines())
    assert insight.explain().count("\n") == 3
