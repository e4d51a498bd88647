"""The figures of a log once more, in plain Python over its lines, from what the docs say of them."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from typing import Any


def outcomes(lines: list[bytes], **where: str) -> list[dict[str, Any]]:
    """Return the outcomes in the lines, each id once, that have these values."""
    by_id: dict[str, dict[str, Any]] = {}
    for line in lines:
        record = json.loads(line)
        if record["type"] == "outcome" and record["id"] not in by_id:
            by_id[record["id"]] = record
    return [r for r in by_id.values() if all(r.get(name) == value for name, value in where.items())]


def feedback(lines: list[bytes], outcome: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the feedback that counts about an outcome, by source."""
    records = [json.loads(line) for line in lines]
    records = [r for r in records if r["type"] == "feedback"]
    result = {}
    for source in {r.get("source") or "user" for r in records}:
        mine = [r for r in records if (r.get("source") or "user") == source]
        own = [r for r in mine if r["outcome_id"] == outcome["outcome_id"]]
        of_conversation = [
            r
            for r in mine
            if r["outcome_id"] == ""
            and outcome.get("conversation_id") is not None
            and r.get("conversation_id") == outcome["conversation_id"]
            and r["time"] >= outcome["time"]
        ]
        for candidates in (own, of_conversation):
            if candidates:
                result[source] = max(candidates, key=lambda r: (r["time"], r["id"]))
                break
    return result


def totals(records: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums over some outcomes."""
    priced = [r for r in records if not r.get("unpriced_attempts")]
    compared = [r for r in priced if r.get("model") and r.get("baseline_cost_usd") is not None]
    lost = [r for r in records if not r.get("model")]
    return {
        "requests": len(records),
        "answered": sum(1 for r in records if r.get("model") and not r.get("error")),
        "escalated": sum(1 for r in records if r.get("escalated")),
        "attempts": sum(len(r.get("attempts", [])) for r in records),
        "failed_attempts": sum(1 for r in records for a in r.get("attempts", []) if a.get("failure")),
        "unpriced": len(records) - len(priced),
        "cost_usd": math.fsum(r.get("cost_usd") or 0.0 for r in records),
        "latency_s": math.fsum(r["latency_s"] for r in records if r.get("latency_s") is not None),
        "confidence": [r["confidence"] for r in records if r.get("confidence") is not None],
        "compared_cost": math.fsum([r.get("cost_usd") or 0.0 for r in compared + lost]),
        "compared_baseline": math.fsum(r["baseline_cost_usd"] for r in compared),
        "compared_n": len(compared),
        "held": [r.get("cost_usd") or 0.0 for r in priced if r.get("holdback") == "held"],
        "overhead": _overhead(records),
        "comparable": sum(1 for r in records if r.get("answer_changed") is not None),
        "changed": sum(1 for r in records if r.get("answer_changed")),
        "climbs": [_climb(r) for r in priced if r.get("answer_changed") is not None],
    }


def _climb(record: dict[str, Any]) -> float:
    answered = [
        a["rung"]
        for a in record["attempts"]
        if a["purpose"] == "answer" and not a.get("failure") and a.get("rung") is not None
    ]
    if not answered:
        return 0.0
    above = [a for a in record["attempts"] if a.get("rung") is not None and a["rung"] > answered[0]]
    return math.fsum(a["cost_usd"] or 0.0 for a in above)


def _overhead(records: list[dict[str, Any]]) -> dict[str, float]:
    by_purpose: dict[str, list[float]] = defaultdict(list)
    for record in records:
        for attempt in record.get("attempts", []):
            if attempt["purpose"] != "answer" and attempt.get("cost_usd"):
                by_purpose[attempt["purpose"]].append(attempt["cost_usd"])
    return {purpose: math.fsum(values) for purpose, values in by_purpose.items()}
