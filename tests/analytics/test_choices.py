"""Every choice of requests with every grouping, in every kind of log, against a count by hand."""

import itertools
import random
from collections import defaultdict

import oracle
import pytest

from smartroute.analytics import Analytics, Filter
from smartroute.analytics.query import DIMENSIONS
from smartroute.events.event import Event
from smartroute.sinks import JsonlSource, open_sink

TENANTS = (
    *(None, "acme", "ACME", " acme", "", "None", "a\nb", "|x|", "\u202eé"),
    *("'; DROP TABLE x; --", '"', "\x1b[2J", "<script>alert(1)</script>"),
)
TIMES = (
    *("2026-01-31T23:59:59.999999Z", "2026-02-01T00:00:00.000000Z", "2026-02-01T00:59:59.999999Z"),
    *("2026-02-28T23:30:00.000000Z", "2028-02-29T12:00:00.000000Z", "2027-01-01T00:00:00.000000Z"),
)
CHOICES = {
    "kind": ("score", ""),
    "complexity": ("simple", "complex"),
    "model": ("mini", "nosuch"),
    "tenant": TENANTS[1:],
    "strategy": ("s1", "s2"),
    "since": ("2026-02-01T00:00:00.000000Z", "2026-02-28T23:00:00.000000Z", "2026-02-01T00:30:00.000000Z"),
    "until": ("2027-01-01T00:00:00.000000Z", "2026-02-28T23:30:00.000000Z"),
}


def events_of(rng, n=150):
    """Outcomes and feedback: early, late, repeated, of three sources, on outcomes and on conversations."""
    events = []
    for number in range(n):
        events.append(
            Event(
                3, "outcome", f"{number:032x}", f"{number:032x}", rng.choice(TIMES), False,
                kind=rng.choice(["score", "", None]), complexity=rng.choice(["simple", "complex", None]),
                model=rng.choice(["mini", "top", None]), tenant=rng.choice(TENANTS),
                strategy=rng.choice(["s1", "s2", None]), arm=rng.choice([None, "a"]),
                unit=rng.choice([None, "u"]), baseline_model=rng.choice([None, "top"]),
                cost_usd=rng.choice([None, 0.0, 0.1, 2.5]), unpriced_attempts=rng.choice([0, 0, 1]),
                escalated=rng.choice([None, False, True]), confidence=rng.choice([None, 0.0, 0.35, 1.0]),
                conversation_id=rng.choice([None, "t1", "t2"]),
            )
        )  # fmt: skip
        of_talk = rng.random() < 0.2
        events.append(
            Event(
                3, "feedback", f"f{number}", "" if of_talk else f"{rng.randrange(n + 9):032x}",
                rng.choice(["2026-01-01T00:00:00.000000Z", *TIMES, "2029-01-01T00:00:00.000000Z"]), False,
                conversation_id=rng.choice(["t1", "t2", "t9"]) if of_talk else None,
                quality=rng.choice([None, 0.0, 0.25, 1.0]), label=rng.choice([None, "good", "bad"]),
                source=rng.choice([None, "user", "judge", "test"]),
            )
        )  # fmt: skip
    rng.shuffle(events)
    return events


def value(record, name):
    if name == "simulated":
        return "False"
    if name in ("hour", "day"):
        return record["time"][: 13 if name == "hour" else 10]
    return record.get("baseline_model" if name == "baseline" else name)


def counted(lines, by, choice):
    """Return by group how many requests there are, what they cost, how many escalated, and the feedback."""
    groups = defaultdict(list)
    where = {name: wanted for name, wanted in choice.items() if name not in ("since", "until")}
    for record in oracle.outcomes(lines, **where):
        if choice.get("since", "") <= record["time"] < choice.get("until", "a"):
            groups[tuple(value(record, name) for name in by)].append(record)
    return {group: figures_by_hand(lines, records) for group, records in groups.items()}


def figures_by_hand(lines, records):
    ratings, curve = defaultdict(list), defaultdict(list)
    for record in records:
        for source, event in oracle.feedback(lines, record).items():
            ratings[source].append((event.get("quality"), event.get("label")))
            if event.get("quality") is not None and record.get("confidence") is not None:
                tenth = min(9, int(10 * record["confidence"]))
                curve[source, tenth].append((event["quality"], record["confidence"]))
    return {
        "requests": len(records),
        "escalated": sum(bool(record.get("escalated")) for record in records),
        "usd": pytest.approx(sum(record.get("cost_usd") or 0.0 for record in records)),
        "labels": {
            source: (
                sum(quality is not None for quality, _ in pairs),
                pytest.approx(sum(quality or 0.0 for quality, _ in pairs)),
                {text: n for text in ("good", "bad") if (n := sum(label == text for _, label in pairs))},
            )
            for source, pairs in ratings.items()
        },
        "curve": {
            tenth: (len(pairs), *(pytest.approx(sum(column)) for column in zip(*pairs, strict=True)))
            for tenth, pairs in curve.items()
        },
    }


def as_counted(figures):
    return {
        "requests": figures.requests,
        "escalated": figures.escalated,
        "usd": figures.cost_usd,
        "labels": {
            source: (labels.quality.n, labels.quality.total, {w: n for w, n in labels.words.items() if n})
            for source, labels in figures.labels.items()
        },
        "curve": {
            (source, tenth): (both.n, both.total, both.other_total)
            for source, labels in figures.labels.items()
            for tenth, both in labels.by_confidence.items()
            if both.n
        },
    }


@pytest.fixture(params=[1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (2, 3))])
def logs(request, tmp_path):
    """A log in segments that were read one by one, the same read in full, and the same in a database."""
    rng = random.Random(request.param)
    events = events_of(rng)
    folder = tmp_path / "log"
    folder.mkdir()
    reader = Analytics(JsonlSource(folder))
    for number in range(3):
        segment = folder / f"2026-11-1{number}-a-1-00.jsonl"
        segment.write_bytes(b"".join(event.to_line() for event in events[number::3]))
        reader.figures()
    with open_sink(address := f"sqlite:///{tmp_path / 'log.sqlite'}") as sink:
        for event in events:
            sink.emit(event)
    lines = [event.to_line() for event in events]
    return rng, lines, (reader, Analytics(folder, rollup=False), Analytics(address))


def test_any_choice_with_any_grouping_is_counted_right(logs):
    rng, lines, readers = logs
    groupings = [(), *((name,) for name in DIMENSIONS), *itertools.permutations(DIMENSIONS, 2)]
    for _ in range(40):
        chosen = [name for name in CHOICES if rng.random() < 0.3]
        choice = {name: rng.choice(CHOICES[name]) for name in chosen}
        by = rng.choice(groupings)
        wanted = counted(lines, by, choice)
        for reader in readers:
            figures = reader.grouped(by, Filter(**choice))
            assert {key: as_counted(group) for key, group in figures.items()} == wanted, (by, choice)
