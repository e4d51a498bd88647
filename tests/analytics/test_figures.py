"""Figures of random logs, held against a recomputation that knows nothing of the code."""

import math
import random
from collections import defaultdict

import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartroute.analytics import Analytics, Filter
from smartroute.errors import ConfigError, SinkError
from smartroute.events.event import Event
from smartroute.sinks import JsonlSink, JsonlSource, MemorySink, open_sink

money = st.floats(0, 10).map(lambda usd: round(usd, 9))
maybe = st.none() | st.floats(0, 1)
models = st.sampled_from(["mini", "top", None])
attempts = st.lists(
    st.fixed_dictionaries(
        {
            "model": st.sampled_from(["mini", "top"]),
            "purpose": st.sampled_from(["answer", "judge", "sample", "screen"]),
            "rung": st.sampled_from([None, 0, 1, 2]),
            "cost_usd": st.none() | money,
            "failure": st.sampled_from([None, "timeout"]),
        }
    ),
    max_size=4,
)


@st.composite
def outcome(draw):
    number = draw(st.integers(0, 30))
    called = tuple(draw(attempts))
    model = draw(models)
    return Event(
        2,
        "outcome",
        f"o{number}",
        f"o{number}",
        f"2026-11-{draw(st.integers(10, 12))}T{draw(st.integers(0, 23)):02d}:00:00.000000Z",
        False,
        kind=draw(st.sampled_from(["score", "general"])),
        complexity=draw(st.sampled_from(["simple", "complex"])),
        strategy="s",
        tenant=draw(st.sampled_from([None, "acme"])),
        model=model,
        error=None if model else "AllModelsFailedError",
        escalated=draw(st.booleans()),
        cost_usd=math.fsum(a["cost_usd"] for a in called if a["cost_usd"] is not None),
        unpriced_attempts=sum(a["cost_usd"] is None for a in called),
        baseline_cost_usd=draw(st.none() | money),
        latency_s=draw(st.none() | st.floats(0, 100)),
        confidence=draw(maybe),
        attempts=called,
        conversation_id=draw(st.sampled_from([None, "chat"])),
        holdback=draw(st.sampled_from([None, "held", "routed"])),
        answer_changed=draw(st.sampled_from([None, False, True])),
    )


@st.composite
def feedback(draw):
    about_conversation = draw(st.booleans())
    return Event(
        2,
        "feedback",
        f"f{draw(st.integers(0, 999))}",
        "" if about_conversation else f"o{draw(st.integers(0, 30))}",
        f"2026-11-{draw(st.integers(10, 12))}T{draw(st.integers(0, 23)):02d}:30:00.000000Z",
        False,
        conversation_id="chat" if about_conversation else None,
        quality=draw(st.none() | st.floats(0, 1)),
        label=draw(st.sampled_from([None, "good", "bad"])),
        source=draw(st.sampled_from(["user", "judge"])),
    )


class Lines:
    """A source of these events, and their lines."""

    def __init__(self, events):
        self.lines = [event.to_line() for event in events]
        self._events = events

    def events(self):
        yield from self._events


def unique_feedback(events):
    """Feedback ids are unique in a log; drop what the strategy drew twice."""
    seen, kept = set(), []
    for event in events:
        if event.type == "outcome" or event.id not in seen:
            seen.add(event.id)
            kept.append(event)
    return kept


def agree(figures, records, lines):
    wanted = oracle.totals(records)
    near = {"rel": 1e-9, "abs": 1e-9}
    for name in (
        *("requests", "answered", "escalated", "attempts", "failed_attempts", "unpriced"),
        *("comparable", "changed"),
    ):
        assert getattr(figures, name) == wanted[name], name
    assert figures.cost_usd == pytest.approx(wanted["cost_usd"], **near)
    assert figures.latency.total == pytest.approx(wanted["latency_s"], **near)
    assert figures.confidence.n == len(wanted["confidence"])
    assert figures.confidence.total == pytest.approx(math.fsum(wanted["confidence"]), **near)
    assert figures.compared.n == wanted["compared_n"]
    assert figures.compared.cost == pytest.approx(wanted["compared_cost"], **near)
    assert figures.compared.baseline == pytest.approx(wanted["compared_baseline"], **near)
    assert figures.held.total == pytest.approx(math.fsum(wanted["held"]), **near)
    assert figures.climbs.n == len(wanted["climbs"])
    assert figures.climbs.total == pytest.approx(math.fsum(wanted["climbs"]), **near)
    assert figures.overhead_usd == pytest.approx(wanted["overhead"], **near)
    qualities = {}
    held, beside = defaultdict(list), defaultdict(list)
    for record in records:
        by_source = oracle.feedback(lines, record)
        for source, event in by_source.items():
            quality = event.get("quality")
            qualities.setdefault(source, []).append(quality)
            if quality is not None:
                held[source, record.get("holdback")].append(quality)
                judged = by_source.get("judge", {}).get("quality")
                if source != "judge" and judged is not None:
                    beside[source].append((quality, judged))
    for source, values in qualities.items():
        known = [value for value in values if value is not None]
        assert figures.labels[source].quality.n == len(known)
        labels = figures.labels[source]
        assert labels.quality.total == pytest.approx(math.fsum(known), **near)
        for name, moments in (("held", labels.held), ("routed", labels.routed)):
            assert moments.n == len(held[source, name])
            assert moments.total == pytest.approx(math.fsum(held[source, name]), **near)
        both = labels.with_judge
        assert both.n == len(beside[source])
        assert both.total == pytest.approx(math.fsum(mine for mine, _ in beside[source]), **near)
        assert both.other_total == pytest.approx(math.fsum(theirs for _, theirs in beside[source]), **near)
        assert both.products == pytest.approx(math.fsum(a * b for a, b in beside[source]), **near)
    assert set(figures.labels) == set(qualities)


@settings(max_examples=120, deadline=None)
@given(st.lists(st.one_of(outcome(), feedback()), max_size=40))
def test_the_figures_of_any_log_are_those_of_a_recomputation(events):
    source = Lines(unique_feedback(events))
    analytics = Analytics(source)
    agree(analytics.figures(), oracle.outcomes(source.lines), source.lines)
    for name in ("kind", "complexity", "model"):
        groups = analytics.grouped(name)
        values = {r.get(name) for r in oracle.outcomes(source.lines)}
        assert {key[0] for key in groups} == values
        for value in values:
            records = [r for r in oracle.outcomes(source.lines) if r.get(name) == value]
            agree(groups[value,], records, source.lines)
    where = Filter(kind="score", tenant="acme")
    agree(analytics.figures(where), oracle.outcomes(source.lines, kind="score", tenant="acme"), source.lines)


@settings(max_examples=60, deadline=None)
@given(st.lists(outcome(), max_size=20), st.lists(outcome(), max_size=20))
def test_figures_of_two_parts_merge_into_those_of_the_whole(one, other):
    ids = {event.id for event in one}
    other = [event for event in other if event.id not in ids]
    first, second = Analytics(Lines(one)).figures(), Analytics(Lines(other)).figures()
    whole = Analytics(Lines(one + other)).figures()
    first.merge(second)
    assert first.requests == whole.requests
    assert first.cost.squares == pytest.approx(whole.cost.squares, rel=1e-9, abs=1e-9)
    assert first.compared.products == pytest.approx(whole.compared.products, rel=1e-9, abs=1e-9)
    assert first.latencies.counts == whole.latencies.counts
    assert first.overhead_usd == pytest.approx(whole.overhead_usd)


def an_outcome(name, time, **fields):
    return Event(
        2, "outcome", name, name, time, False, model="m", cost_usd=0.1, unpriced_attempts=0, **fields
    )


def test_series_have_an_entry_for_every_hour_up_to_the_newest():
    events = [
        an_outcome("a", "2026-11-23T08:10:00.000000Z"),
        an_outcome("b", "2026-11-23T08:50:00.000000Z"),
        an_outcome("c", "2026-11-23T11:00:00.000000Z"),
    ]
    series = Analytics(Lines(events)).series(hours=5)
    assert [(hour, figures.requests) for hour, figures in series] == [
        ("2026-11-23T07", 0),
        ("2026-11-23T08", 2),
        ("2026-11-23T09", 0),
        ("2026-11-23T10", 0),
        ("2026-11-23T11", 1),
    ]
    assert Analytics(Lines([])).series() == []


@pytest.mark.parametrize(("confidence", "tenth"), [(1.7e308, 9), (-1.7e308, 0), (1.0, 9), (0.3, 3)])
def test_a_confidence_beyond_all_tenths_counts_in_the_nearest(confidence, tenth):
    answered = an_outcome("a", "2026-11-23T08:10:00.000000Z", confidence=confidence)
    rating = Event(2, "feedback", "f", "a", "2026-11-23T09:00:00.000000Z", False, quality=0.5)
    labels = Analytics(Lines([answered, rating])).figures().labels["user"]
    assert {tenth: joint.n for tenth, joint in labels.by_confidence.items()} == {tenth: 1}


def test_the_newest_come_first():
    events = [an_outcome(f"o{n}", f"2026-11-23T08:{n:02d}:00.000000Z") for n in range(30)]
    random.Random(3).shuffle(events)
    assert [event.id for event in Analytics(Lines(events)).newest(3)] == ["o29", "o28", "o27"]


@pytest.mark.parametrize("by", ["color", 5, None, ["kind", 5]])
def test_an_unknown_dimension_is_refused(by):
    with pytest.raises(ConfigError, match=r"grouped by .*(color|5|None)"):
        Analytics(Lines([])).grouped(by)


@pytest.mark.parametrize("n", [-1, 1.5, "5", None, True, 10**9])
def test_an_invalid_number_of_hours_or_events_is_refused(n):
    analytics = Analytics(Lines([an_outcome("a", "2026-11-23T08:00:00.000000Z")]))
    with pytest.raises(
        ConfigError, match=r"hours must be a whole number of at least 1 and at most 100000, got"
    ):
        analytics.series(n)
    with pytest.raises(ConfigError, match=r"n must be a whole number of at least 0 and at most 1000000, got"):
        analytics.newest(n)


@pytest.mark.parametrize(
    ("first", "names"),
    [
        ("2026-02-28T22:30:00", ["2026-02-28T22", "2026-02-28T23", "2026-03-01T00", "2026-03-01T01"]),
        ("2028-02-28T22:30:00", ["2028-02-28T22", "2028-02-28T23", "2028-02-29T00", "2028-02-29T01"]),
        ("2026-12-31T22:59:59", ["2026-12-31T22", "2026-12-31T23", "2027-01-01T00", "2027-01-01T01"]),
    ],
)
@pytest.mark.parametrize("rollup", [True, False])
def test_series_go_on_over_the_ends_of_days_months_and_years(tmp_path, first, names, rollup):
    log = tmp_path / "2026-11-10-a-1-00.jsonl"
    moments = (f"{first}.999999Z", f"{names[-2]}:00:00.000000Z", f"{names[-1]}:59:59.999999Z")
    log.write_bytes(b"".join(an_outcome(f"o{n}", time).to_line() for n, time in enumerate(moments)))
    series = Analytics(tmp_path, rollup=rollup).series(4)
    assert [(name, figures.requests) for name, figures in series] == list(
        zip(names, [1, 0, 1, 1], strict=True)
    )


def test_the_summary_has_the_names_of_get_stats(tmp_path):
    from smartroute import Catalog, ModelCard, ModelRouter, Price
    from smartroute.testing import ScriptedProvider

    catalog = Catalog.of(
        [
            ModelCard("mini", tier="mini", target="x/mini", price=Price(1.0, 2.0)),
            ModelCard("mid", tier="standard", target="x/mid", price=Price(5.0, 9.0)),
        ]
    )
    with ModelRouter(
        catalog=catalog,
        provider=ScriptedProvider(lambda call: "82"),
        sink=JsonlSink(tmp_path / "log", simulated=True),
    ) as router:
        for prompt in ("What is 2+2?", "Is P equal to NP?", "Rate it: 5"):
            router.run(prompt)
        stats = router.get_stats()
    summary = Analytics(JsonlSource(tmp_path / "log")).summary()
    shared = set(stats) & set(summary)
    assert set(stats) - shared == {"unpriced_attempts"}
    for name in shared:
        assert summary[name] == (stats[name] if stats[name] is None else pytest.approx(stats[name])), name


def test_a_log_is_opened_by_its_path_or_address(tmp_path):
    address = f"sqlite:///{tmp_path / 'events.sqlite'}"
    for location in (tmp_path / "log", str(tmp_path / "log"), address):
        with open_sink(location) as sink:
            sink.emit(an_outcome("a", "2026-11-23T08:10:00.000000Z"))
        assert Analytics(location).figures().requests == 1


def test_a_path_or_address_without_a_log_is_an_error(tmp_path):
    with pytest.raises(SinkError, match="there is no log at"):
        Analytics(tmp_path / "nowhere")
    for wrong in (None, 5, [], MemorySink):
        with pytest.raises(ConfigError, match="a log is read from a path"):
            Analytics(wrong)
