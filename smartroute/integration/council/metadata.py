"""Record what a council did: the decision and labels of its event, and `_routing_metadata` of its answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from smartroute.integration.council.modes import Council, Evaluation, Script
from smartroute.integration.council.screen_audits import Audit
from smartroute.integration.council.shadow import Compared, Comparison, Tally
from smartroute.records import Attempt, Decision, Outcome, Reply, Rung

if TYPE_CHECKING:
    from smartroute.events.event import Event
    from smartroute.protocols import EventSource

OLD_COUNCIL = "replaced council"
"""The model under which the old council's work is logged."""


def model_used(evaluation: Evaluation, council: Council) -> str:
    """Return the screen's model, or those of the members whose votes counted, joined by "+"."""
    if evaluation.decided_by == "screen" and council.screen is not None:
        return council.screen.name
    without_vote = {*evaluation.ballot.imputed, *evaluation.ballot.failed}
    models = [
        seat.card.name
        for seat in council.seats
        if seat.card is not None and seat.member.scorer is None and seat.member.key not in without_vote
    ]
    return "+".join(dict.fromkeys(models)) or "none"


def routing_metadata(
    evaluation: Evaluation, outcome: Outcome, decision: Decision, script: Script, mode: str
) -> dict[str, Any]:
    """Return what was done and what it cost, beside the familiar keys of an answer."""
    margin = evaluation.margin
    return {
        "model_used": outcome.model,
        "complexity": outcome.complexity.value,
        "cost": outcome.cost_usd,
        "escalated": outcome.escalated,
        "execution_time": outcome.latency_s,
        "id": outcome.id,
        "mode": mode,
        "decided_by": evaluation.decided_by,
        "threshold": script.threshold,
        "imputed": list(evaluation.ballot.imputed),
        "screen_score": evaluation.screen_score,
        "margin": None if margin is None else margin.points,
        "margin_learned": margin is not None and margin.learned,
        "audits": None if margin is None else margin.audits,
        "cached": False,
        "unpriced_attempts": outcome.unpriced_attempts,
        "strategy": decision.strategy,
        "arm": decision.arm,
    }


def cached_metadata(metadata: Mapping[str, Any], outcome: Outcome) -> dict[str, Any]:
    """Return the metadata of an answer that was kept: it cost nothing now."""
    return {
        **metadata,
        "cost": 0.0,
        "cached": True,
        "execution_time": outcome.latency_s,
        "unpriced_attempts": 0,
        "id": outcome.id,
    }


def council_decision(decision: Decision, council: Council, mode: str) -> Decision:
    """Return the decision with the council's models in place of the ladder: the screen, then the members."""
    ladder = [
        Rung(seat.card.name, seat.effort, seat.card.tier, seat.expected_usd)
        for seat in council.seats
        if seat.card is not None
    ]
    if mode == "smart" and council.screen is not None:
        ladder.insert(0, Rung(council.screen.name, None, council.screen.tier))
    reasons = (f"a council of {len(council.seats)}, mode {mode}", *decision.reasons)
    return replace(decision, ladder=tuple(ladder), reasons=reasons)


def answer_reply(answer: Mapping[str, Any]) -> Reply:
    """Return an evaluation as a Reply: its dict as JSON, without `_routing_metadata`."""
    return Reply(
        json.dumps({name: answer[name] for name in answer if not name.startswith("_")}), finish_reason="stop"
    )


def shadow_attempt(compared: Compared, at: float) -> Attempt:
    """Return the old council's work, finished at `at` (Unix time), as an attempt."""
    return Attempt(OLD_COUNCIL, "shadow", compared.cost_usd, compared.latency_s, at - compared.latency_s)


def script_labels(script: Script) -> dict[str, str]:
    """Return the labels that every event about a script carries."""
    return {"council_niche": script.niche, "council_threshold": repr(script.threshold)}


def evaluation_labels(evaluation: Evaluation, answer: Mapping[str, Any], mode: str) -> dict[str, str]:
    """Return the labels of an evaluation's event; `audits_in` reads those of an audit again."""
    ballot, margin = evaluation.ballot, evaluation.margin
    labels = {
        "council_mode": mode,
        "council_decided_by": evaluation.decided_by,
        "council_verdict": answer["verdict"],
        "council_score": repr(answer["final_score"]),
        "council_imputed": ",".join(ballot.imputed),
        "council_failed": ",".join(ballot.failed),
    }
    if evaluation.screen_score is not None:
        labels["council_screen"] = repr(evaluation.screen_score)
    if margin is not None:
        labels["council_margin"] = repr(margin.points)
        labels["council_margin_learned"] = str(margin.learned).lower()
    if evaluation.decided_by == "audit" and not ballot.failed and evaluation.screen_score is not None:
        labels["council_audited"] = "true"
    return labels


def comparison_labels(compared: Compared, script: Script) -> dict[str, str]:
    """Return the labels of the event about a script that both councils judged."""
    labels = script_labels(script) | {"council_agreed": str(compared.agreed).lower()}
    labels["council_new_cost_usd"] = repr(compared.new_cost_usd)
    if compared.score_difference is not None:
        labels["council_score_difference"] = repr(round(compared.score_difference, 2))
    return labels


def comparison_in(source: EventSource) -> Comparison:
    """Return how the councils compare, from the events of a log: over all processes, and after a restart.

    Comparisons that failed or were cut off leave no event, and are 0 here.
    """
    tally = Tally()
    for event in source.events():
        if event.kind != "council_comparison":
            continue
        difference = event.labels.get("council_score_difference")
        shadow: Mapping[str, Any] = next(iter(event.attempts), {})
        try:
            tally.add(
                Compared(
                    agreed=event.labels["council_agreed"] == "true",
                    score_difference=None if difference is None else float(difference),
                    latency_s=shadow.get("latency_s") or 0.0,
                    cost_usd=shadow.get("cost_usd"),
                    new_cost_usd=float(event.labels.get("council_new_cost_usd", "0")),
                )
            )
        except (KeyError, ValueError):
            continue
    return tally.comparison()


def audits_in(events: Iterable[Event]) -> Iterable[Audit]:
    """Yield the audits that a log holds, oldest first."""
    for event in events:
        labels = event.labels
        if event.kind != "council" or labels.get("council_audited") != "true":
            continue
        try:
            yield Audit(
                labels.get("council_niche", ""),
                float(labels["council_screen"]),
                float(labels["council_score"]),
                float(labels["council_threshold"]),
                float(labels["council_margin"]),
            )
        except (KeyError, ValueError):
            continue
