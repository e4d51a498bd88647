"""A value that an older version logged counts under its present name, however the log is kept and read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from smartroute.analytics import Analytics, Filter
from smartroute.events.event import Event
from smartroute.sinks import JsonlSource, SqlSink, SqlSource

OLD, NEW = "cost_optimised", "cost_optimized"


def an_outcome(number: int, strategy: str | None, hour: int = 5) -> Event:
    time = f"2026-11-10T{hour:02}:00:00.000000Z"
    event_id = f"{number:032x}"
    return Event(2, "outcome", event_id, event_id, time, False, strategy=strategy, model="m", cost_usd=0.25)


EVENTS = [an_outcome(1, OLD), an_outcome(2, NEW), an_outcome(3, "quality_first"), an_outcome(4, None)]


@pytest.fixture(params=["jsonl", "sqlite"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> JsonlSource | SqlSource:
    if request.param == "jsonl":
        (tmp_path / "events.jsonl").write_bytes(b"".join(event.to_line() for event in EVENTS))
        return JsonlSource(tmp_path / "events.jsonl")
    url = f"sqlite:///{tmp_path / 'events.sqlite'}"
    with SqlSink(url, linger_s=0.0) as sink:
        for event in EVENTS:
            sink.emit(event)
    return SqlSource(url)


def test_an_old_line_gives_the_present_name() -> None:
    line = EVENTS[0].to_line()
    assert json.loads(line)["strategy"] == OLD
    assert Event.from_line(line).strategy == NEW
    assert json.loads(Event.from_line(line).to_line())["strategy"] == NEW


def test_other_fields_keep_the_text_of_the_old_name() -> None:
    event = Event(2, "outcome", "o", "o", "2026-11-10T05:00:00.000000Z", False, kind=OLD, arm=OLD)
    read = Event.from_line(event.to_line())
    assert (read.kind, read.arm) == (OLD, OLD)


@pytest.mark.parametrize("rollup", [True, False])
def test_figures_group_old_lines_under_the_present_name(
    source: JsonlSource | SqlSource, rollup: bool
) -> None:
    groups = Analytics(source, rollup=rollup).grouped(("strategy",))
    counts = {key[0]: figures.requests for key, figures in groups.items()}
    assert counts == {NEW: 2, "quality_first": 1, None: 1}


@pytest.mark.parametrize("rollup", [True, False])
@pytest.mark.parametrize("name", [OLD, NEW])
def test_a_filter_by_either_name_takes_both(source: JsonlSource | SqlSource, rollup: bool, name: str) -> None:
    figures = Analytics(source, rollup=rollup).figures(Filter(strategy=name))
    assert (figures.requests, figures.cost_usd) == (2, 0.5)


def test_a_line_that_two_records_share_is_read_alike(tmp_path: Path) -> None:
    """Two records that were glued together are recovered one by one."""
    glued = EVENTS[0].to_line().rstrip(b"\n") + EVENTS[1].to_line()
    (tmp_path / "events.jsonl").write_bytes(glued)
    for rollup in (True, False):
        analytics = Analytics(JsonlSource(tmp_path / "events.jsonl"), rollup=rollup)
        assert {key[0] for key in analytics.grouped(("strategy",))} == {NEW}
