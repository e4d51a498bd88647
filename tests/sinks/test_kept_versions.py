"""What was written by each version of the format says what it said then. Figures are worked out by hand."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path

import pytest

from smartroute.analytics import Analytics
from smartroute.events.event import SCHEMA, AttemptRecord, Event
from smartroute.sinks import JsonlSource

DATA = Path(__file__).parent / "data"


@pytest.fixture(params=[True, False], ids=["rollup", "log"])
def both_ways(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def kept(tmp_path: Path, name: str, *, rollup: bool) -> Analytics:
    """A copy, for a rollup would stand beside the file."""
    analytics = Analytics(JsonlSource(shutil.copy(DATA / name, tmp_path)), rollup=rollup)
    assert analytics.catch_up() is rollup
    assert analytics.unreadable() == (0, 0)
    return analytics


def test_a_file_of_every_version_is_kept_and_the_present_one_has_every_field() -> None:
    assert all((DATA / f"schema-{version}.jsonl").exists() for version in range(1, SCHEMA + 1))
    lines = [json.loads(line) for line in (DATA / f"schema-{SCHEMA}-full.jsonl").read_text().splitlines()]
    assert {line["schema"] for line in lines} == {SCHEMA}
    said = {name for line in lines for name, value in line.items() if value not in (None, "", [], {})}
    assert said == {field.name for field in fields(Event)} - {"extra"}
    assert {name for attempt in lines[0]["attempts"] for name in attempt} == set(
        AttemptRecord.__annotations__
    )


def test_schema_1_gives_the_figures_it_gave(tmp_path: Path, both_ways: bool) -> None:
    figures = kept(tmp_path, "schema-1.jsonl", rollup=both_ways).figures()
    assert (figures.requests, figures.answered, figures.escalated, figures.unpriced) == (2, 1, 1, 2)
    assert (figures.attempts, figures.failed_attempts) == (3 + 1, 1 + 1)
    assert figures.cost_usd == pytest.approx(0.0000375 + 0.000375)
    assert (figures.latency.n, figures.latency.total) == (2, 3.25 + 30.0)
    assert (figures.confidence.n, figures.confidence.total) == (1, 0.875)
    label = figures.labels["user"].quality  # without a source it was the user's
    assert (label.n, label.total) == (1, 0.5)


def test_schema_2_gives_the_figures_it_gave(tmp_path: Path, both_ways: bool) -> None:
    figures = kept(tmp_path, "schema-2.jsonl", rollup=both_ways).figures()
    assert (figures.requests, figures.answered, figures.escalated, figures.unpriced) == (1, 1, 0, 0)
    assert (figures.held.n, figures.held.total) == (1, 0.0004125)
    assert (figures.labels["judge"].quality.n, figures.labels["judge"].quality.total) == (1, 1.0)
    assert figures.labels["user"].words == {"bad": 1}


def test_schema_2_with_every_field_gives_the_figures_it_gave(tmp_path: Path, both_ways: bool) -> None:
    analytics = kept(tmp_path, "schema-2-full.jsonl", rollup=both_ways)
    figures = analytics.figures()
    assert (figures.requests, figures.answered, figures.escalated, figures.unpriced) == (3, 2, 1, 1)
    assert (figures.attempts, figures.failed_attempts) == (4 + 0 + 1, 1)
    assert figures.cost_usd == 0.875 + 0.0 + 0.25
    assert figures.overhead_usd == {"judge": 0.125}
    assert (figures.latency.n, figures.latency.total) == (3, 2.5 + 2.5 + 0.5)
    assert (figures.confidence.n, figures.confidence.total) == (2, 0.875 + 0.625)
    assert (figures.routed.n, figures.routed.total) == (1, 0.25)  # the other's cost is not known in full
    assert (figures.labels["user"].quality.total, figures.labels["user"].words) == (0.75, {"good": 1})
    assert analytics.grouped("model")["gpt-4o",].cost_usd == 0.875
    assert analytics.users()["user-1"].requests == 3
    comes_back_as_it_was("schema-2-full.jsonl")


def test_schema_3_with_every_field_gives_the_figures_it_gave(tmp_path: Path, both_ways: bool) -> None:
    """The escalated request's more expensive call cost $0.5; one of unknown cost counts as no climb."""
    figures = kept(tmp_path, "schema-3-full.jsonl", rollup=both_ways).figures()
    assert (figures.comparable, figures.changed, figures.climbs.n) == (1, 1, 0)
    assert figures.cost_usd == 0.875 + 0.0 + 0.25
    comes_back_as_it_was("schema-3-full.jsonl")


def comes_back_as_it_was(name: str) -> None:
    """Every field and value is kept, but for a strategy whose name has changed since."""
    lines = (DATA / name).read_bytes().splitlines()
    for event, line in zip(JsonlSource(DATA / name).events(), lines, strict=True):
        written = json.loads(event.to_line())
        expected = {n: v for n, v in json.loads(line).items() if v is not None}
        if expected.get("strategy") == "cost_optimised":
            expected["strategy"] = "cost_optimized"
        assert {n: v for n, v in written.items() if v is not None} == expected
