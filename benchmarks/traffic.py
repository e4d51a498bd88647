"""Write a log of invented traffic, fast and always the same: lines as the library itself writes them.

Every line is one that `Event.to_line` made, with other values put in the places of some. The traffic has
hours of the day and of the week, tenants with kinds of tasks of their own, costs and latencies with heavy
tails, escalations, failed calls, requests without an answer, a holdback, conversations, and late feedback.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from event_write import KEY, an_outcome

from smartroute.events.event import encode_json
from smartroute.events.writing import event_of, event_of_feedback
from smartroute.sinks.jsonl_source import MARKER

START_S = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
HOUR_S, DAY_S = 3_600, 86_400

FEEDBACK_SHARE = 0.03
TENANTS, USERS, PROCESSES = 8, 5_000, 2
KINDS = ("score", "generate", "analyse", "extract", "translate", "general")
LEVELS = ("simple", "medium", "complex")
STRATEGIES = ("cost_optimized", "quality_first")
MODELS = ("mini-a", "mini-b", "standard-a", "standard-b", "premium-a")
BASELINE = 2
INPUT_USD = np.array([0.15, 0.10, 2.5, 3.0, 15.0]) * 1e-6
OUTPUT_USD = np.array([0.60, 0.40, 10.0, 15.0, 75.0]) * 1e-6
LATENCY_S = np.array([0.7, 0.5, 1.6, 1.9, 4.0])

SHAPES = ("answered", "escalated", "retried", "lost")
SHAPE_SHARES = (0.87, 0.11, 0.015, 0.005)

# By name: what stands in a line instead of a value, until that is put in. Numbers stand without quotes.
_PLACE = re.compile(r'"@(\w+)#"|@(\w+)@')


class Template(NamedTuple):
    """A line with places for values, and which these are."""

    text: str
    names: tuple[str, ...]


def template_of(record: dict[str, Any]) -> Template:
    """Return a line of this record, in which "@name@" is a place for text and "@name#" for a number."""
    names: list[str] = []

    def place(found: re.Match[str]) -> str:
        names.append(found[1] or found[2])
        return "%r" if found[1] else "%s"

    line = encode_json(record).decode().replace("%", "%%")
    return Template(_PLACE.sub(place, line), tuple(names))


def outcome_template(shape: str, talk: bool, holdback: str | None) -> Template:
    """Return the line of an outcome."""
    event = event_of(an_outcome(1 if shape == "answered" else 2), hash_key=KEY)
    record = {name: value for name, value in event.__dict__.items() if name != "extra"}
    for name in ("id", "time", "kind", "complexity", "strategy", "tenant", "unit", "model"):
        record[name] = f"@{name}@"
    for name in ("cost_usd", "baseline_cost_usd", "latency_s", "confidence", "input_tokens", "output_tokens"):
        record[name] = f"@{name}#"
    record.update(outcome_id="@id@", simulated=True, baseline_model=MODELS[BASELINE])
    record.update(escalated=shape == "escalated", ladder=["@drafter@", "@model@"])
    attempts = [dict(attempt) for attempt in event.attempts]
    for attempt, number in zip(attempts, ("first", "last"), strict=False):
        attempt.update(model="@drafter@", cost_usd=f"@{number}_usd#", latency_s=f"@{number}_s#")
        attempt.update(input_tokens="@input_tokens#", output_tokens="@output_tokens#")
        attempt.update(confidence="@draft_confidence#")
    attempts[-1].update(model="@model@", cost_usd="@last_usd#", latency_s="@last_s#")
    attempts[-1].update(confidence="@confidence#")
    if shape in ("retried", "lost"):
        for attempt in attempts if shape == "lost" else attempts[:1]:
            attempt.update(failure="timeout", cost_usd=0.0)
            for name in [name for name in attempt if name.endswith("_tokens") or "confidence" in name]:
                del attempt[name]
    if shape == "lost":
        record.update(error="AllModelsFailedError", cost_usd=0.0, confidence=None, baseline_cost_usd=None)
        for name in ("model", "provider", "tier", "finish_reason", "input_tokens", "output_tokens"):
            del record[name]
    record["attempts"] = attempts
    if talk:
        record["conversation_id"] = "@talk@"
    if holdback is not None:
        record.update(holdback=holdback, holdback_share=0.02)
    return template_of(record)


def feedback_template(source: str, about_talk: bool) -> Template:
    """Return the line of a word of feedback."""
    event = event_of_feedback(
        event_id="@id@",
        at_s=float(START_S),
        simulated=True,
        outcome_id="" if about_talk else "@about@",
        conversation_id="@about@" if about_talk else None,
        source=source,
    )
    record = {name: value for name, value in event.__dict__.items() if name != "extra"}
    return template_of({**record, "time": "@time@", "quality": "@quality#"})


_OUTCOMES = {
    (shape, talk, holdback): outcome_template(SHAPES[shape], bool(talk), (None, "held", "routed")[holdback])
    for shape in range(len(SHAPES))
    for talk in range(2)
    for holdback in range(3)
}
_FEEDBACK = {
    (judge, about_talk): feedback_template("judge" if judge else "user", bool(about_talk))
    for judge in range(2)
    for about_talk in range(2)
}


def filled(templates: dict[Any, Template], which: Any, values: dict[str, Any]) -> Any:
    """Return a line for each row of some columns, by the template that it names."""
    lines = np.empty(len(which[0]), dtype=object)
    for key, template in templates.items():
        mine = np.flatnonzero(
            np.all([column == each for column, each in zip(which, key, strict=True)], axis=0)
        )
        columns = [values[name][mine].tolist() for name in template.names]
        lines[mine] = [template.text % row for row in zip(*columns, strict=True)]
    return lines


def ids(times_us: Any, rng: np.random.Generator) -> Any:
    """Return ids as the router makes them: milliseconds, then 80 random bits."""
    random = rng.integers(0, 1 << 40, (2, len(times_us))).tolist()
    return np.array(
        [f"{t:012x}{a:010x}{b:010x}" for t, a, b in zip((times_us // 1_000).tolist(), *random, strict=True)],
        dtype=object,
    )


def texts(times_us: Any) -> Any:
    """Return times as events write them."""
    written = np.datetime_as_string(times_us.astype("datetime64[us]"))
    return np.array([f"{text}Z" for text in written.tolist()], dtype=object)


def busyness(hours: Any) -> Any:
    """Return how much goes on in hours since the epoch: less at night and at weekends."""
    by_day = 1.0 + 0.8 * np.sin((hours % 24 - 9) / 24 * 2 * np.pi)
    return by_day * np.where((hours // 24 + 3) % 7 >= 5, 0.5, 1.0)


@dataclass
class Words:
    """Feedback that is still to come: when, about what, and how good that was."""

    times_us: Any
    about: Any
    of_talk: Any
    judge: Any
    quality: Any

    def sooner(self, until_us: int | None) -> tuple[Words, Words]:
        """Return what comes before a time, and the rest."""
        now = np.ones(len(self.times_us), bool) if until_us is None else self.times_us < until_us
        return Words(*(each[now] for each in self.columns)), Words(*(each[~now] for each in self.columns))

    def and_then(self, more: Words) -> Words:
        """Return both."""
        return Words(*(np.concatenate(each) for each in zip(self.columns, more.columns, strict=True)))

    @property
    def columns(self) -> tuple[Any, ...]:
        """Return the columns in their order."""
        return self.times_us, self.about, self.of_talk, self.judge, self.quality


class Traffic:
    """Traffic that goes on from where it was last written, into the segments of two processes a day."""

    def __init__(self, folder: Path, per_day: float, seed: int = 1) -> None:
        self.folder = folder
        self._per_hour = per_day / 24
        self._rng = np.random.default_rng(seed)
        self._at_s = START_S
        self._words = Words(*(np.array([], dtype=kind) for kind in (np.int64, object, bool, bool, float)))

    def write(self, events: int) -> None:
        """Write this many lines, feedback included."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / MARKER).write_text("simulated\n")
        outcomes = max(1, round(events * (1.0 - FEEDBACK_SHARE)))
        feedback = events - outcomes
        hours = max(1, round(outcomes / self._per_hour))
        starts_s = self._at_s + np.arange(hours) * HOUR_S
        weights = busyness(starts_s // HOUR_S)
        counts = self._rng.multinomial(outcomes, weights / weights.sum())
        by_day = defaultdict(list)
        for place, start in enumerate(starts_s.tolist()):
            by_day[start // DAY_S].append(place)
        said = 0
        for number, (day, places) in enumerate(sorted(by_day.items()), start=1):
            last = number == len(by_day)
            n = int(counts[places].sum())
            words = feedback - said if last else min(feedback - said, round(n * feedback / outcomes))
            said += words
            self._day(day, starts_s[places], counts[places], words, last=last)
        self._at_s += hours * HOUR_S

    def _day(self, day: int, starts_s: Any, counts: Any, feedback: int, *, last: bool) -> None:
        rng, n = self._rng, int(counts.sum())
        times_us = np.repeat(starts_s, counts) * 1_000_000 + rng.integers(0, HOUR_S * 1_000_000, n)
        times_us.sort()
        values = self._outcomes(times_us)
        which = values.pop("which")
        lines = filled(_OUTCOMES, which, values)
        about = rng.choice(n, min(feedback, n), replace=False)
        of_talk = (rng.random(len(about)) < 0.1) & (which[1][about] == 1)
        self._words = self._words.and_then(
            Words(
                times_us[about] + (rng.exponential(3 * HOUR_S, len(about)) * 1e6).astype(np.int64) + 1,
                np.where(of_talk, values["talk"][about], values["id"][about]),
                of_talk,
                rng.random(len(about)) < 0.3,
                np.round(np.clip(rng.normal(values["confidence"][about], 0.2), 0.0, 1.0), 2),
            )
        )
        until_us = None if last else (day + 1) * DAY_S * 1_000_000
        words, self._words = self._words.sooner(until_us)
        if last:  # a log ends somewhere: what would be said later is said now
            np.minimum(words.times_us, int(starts_s[-1] + HOUR_S) * 1_000_000 - 1, out=words.times_us)
        said = filled(
            _FEEDBACK,
            (words.judge, words.of_talk),
            {
                "id": ids(words.times_us, rng),
                "about": words.about,
                "time": texts(words.times_us),
                "quality": words.quality,
            },
        )
        order = np.argsort(np.concatenate((times_us, words.times_us)), kind="stable")
        together = np.concatenate((lines, said))[order]
        writer = rng.integers(0, PROCESSES, len(together))
        date = np.datetime64(day, "D")
        for process in range(PROCESSES):
            segment = self.folder / f"{date}-host-{4711 + process}-{process:016x}.jsonl"
            with segment.open("ab") as stream:
                stream.write("".join(together[writer == process].tolist()).encode())

    def _outcomes(self, times_us: Any) -> dict[str, Any]:
        rng, n = self._rng, len(times_us)
        users = (USERS * rng.random(n) ** 2).astype(np.int64)
        tenants = users % TENANTS
        kinds = (tenants + (3 * rng.random(n) ** 2).astype(np.int64)) % len(KINDS)
        levels = rng.choice(len(LEVELS), n, p=(0.55, 0.3, 0.15))
        shapes = rng.choice(len(SHAPES), n, p=SHAPE_SHARES)
        drafters = np.minimum(levels * 2 - (levels > 0) + (rng.random(n) < 0.3), len(MODELS) - 2)
        models = np.where(shapes == 1, np.minimum(drafters + 2, len(MODELS) - 1), drafters)
        holdback = np.where(rng.random(n) < 0.02, 1, 2) * (tenants == 0)
        models = np.where(holdback == 1, BASELINE, models)
        read = np.maximum(8, rng.lognormal(5.5 + 0.5 * levels, 0.9).astype(np.int64))
        written = np.maximum(1, rng.lognormal(4.5 + 0.6 * levels, 0.8).astype(np.int64))
        first_usd = read * INPUT_USD[drafters] + written * OUTPUT_USD[drafters]
        last_usd = read * INPUT_USD[models] + written * OUTPUT_USD[models]
        first_s = LATENCY_S[drafters] * rng.lognormal(0.0, 0.5, n)
        last_s = LATENCY_S[models] * rng.lognormal(0.0, 0.5, n)
        names = np.array(MODELS, dtype=object)
        talks = users * 1_000 + times_us // (DAY_S * 1_000_000) % 1_000
        return {
            "which": (shapes, (rng.random(n) < 0.3).astype(np.int64), holdback),
            "id": ids(times_us, rng),
            "time": texts(times_us),
            "kind": np.array(KINDS, dtype=object)[kinds],
            "complexity": np.array(LEVELS, dtype=object)[levels],
            "strategy": np.array(STRATEGIES, dtype=object)[(tenants == 3).astype(np.int64)],
            "tenant": np.array([f"tenant-{each}" for each in range(TENANTS)], dtype=object)[tenants],
            "unit": np.array([f"user-{each}" for each in range(USERS)], dtype=object)[users],
            "talk": np.array([f"talk-{each}" for each in talks.tolist()], dtype=object),
            "model": names[models],
            "drafter": names[drafters],
            "input_tokens": read,
            "output_tokens": written,
            "first_usd": first_usd,
            "last_usd": last_usd,
            "cost_usd": np.where(shapes == 1, first_usd, 0.0) + last_usd,
            "baseline_cost_usd": read * INPUT_USD[BASELINE] + written * OUTPUT_USD[BASELINE],
            "first_s": first_s,
            "last_s": last_s,
            "latency_s": np.where(shapes == 0, 0.0, first_s) + last_s,
            "confidence": rng.beta(9.0 - 2.0 * levels, 2.0),
            "draft_confidence": rng.beta(4.0, 4.0, n),
        }
