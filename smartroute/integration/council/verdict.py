"""Turn members' scores into a verdict, and determine when it is certain before all members were asked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from smartroute.integration.council.members import NEUTRAL, CouncilMember

APPROVED = "APPROVED"
NEEDS_REVISION = "NEEDS_REVISION"
_WEAK = 75.0
_LARGE_SPREAD = 20.0


def final_score(members: Sequence[CouncilMember], scores: Mapping[str, float], missing: float = 0.0) -> float:
    """Return the weighted sum in the order of the members, to two decimals; `missing` replaces absent scores.

    Every step (product, sum, rounding) increases with each score. So replacing absent scores by 0 and by 100
    bounds what the sum can still become, to the last digit.
    """
    return round(_added(member.weight * scores.get(member.key, missing) for member in members), 2)


def _added(terms: Iterable[float]) -> float:
    """Return the terms added one by one, as `sum` does up to Python 3.11; later versions compensate."""
    total = 0.0
    for term in terms:
        total += term
    return total


def verdict_of(score: float, threshold: float) -> str:
    """Return APPROVED for a score of at least the threshold, NEEDS_REVISION below it."""
    return APPROVED if score >= threshold else NEEDS_REVISION


def settled(members: Sequence[CouncilMember], scores: Mapping[str, float], threshold: float) -> str | None:
    """Return the verdict that no score of the missing members can change, None while one could."""
    worst = verdict_of(final_score(members, scores, 0.0), threshold)
    best = verdict_of(final_score(members, scores, 100.0), threshold)
    return worst if worst == best else None


def imputed_score(members: Sequence[CouncilMember], scores: Mapping[str, float]) -> float:
    """Return the estimate for a member that was not asked: the weighted mean of those that were."""
    asked = [member for member in members if member.key in scores]
    weight = _added(member.weight for member in asked)
    if not weight:
        return NEUTRAL
    mean = _added(member.weight * scores[member.key] for member in asked) / weight
    return round(min(100.0, max(0.0, mean)), 2)


@dataclass(frozen=True, slots=True)
class Ballot:
    """The scores of an evaluation (70 for failed members), and which members failed or were not asked.

    `imputed` are members whose score is an estimate. `failed` maps members to what went wrong. `unscored`
    maps scorers that gave no score to the reason: they count as 70 and are not failed members.
    """

    scores: Mapping[str, float]
    imputed: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)
    unscored: Mapping[str, str] = field(default_factory=dict)


def evaluation_as_dict(
    members: Sequence[CouncilMember], ballot: Ballot, threshold: float, timestamp: str
) -> dict[str, Any]:
    """Return an evaluation as the dict of the replaced council, always with all of its keys."""
    failed = ballot.failed
    scores = {member.key: round(float(ballot.scores[member.key]), 2) for member in members}
    score = final_score(members, scores)
    asked = _added(member.weight for member in members if member.key not in ballot.imputed)
    share = 1.0 if not ballot.imputed else min(1.0, asked)
    return {
        "verdict": verdict_of(score, threshold),
        "final_score": score,
        "breakdown": scores,
        "feedback": feedback_on(members, ballot),
        "confidence": round(max(0.0, 1.0 - 0.2 * len(failed)) * share, 2),
        "errors": [f"{key}: {why}" for key, why in failed.items()] or None,
        "timestamp": timestamp,
    }


def feedback_on(members: Sequence[CouncilMember], ballot: Ballot) -> str:
    """Return the reasons as sentences: the weakest member, how far members differ, and which failed."""
    failed = ballot.failed
    sentences: list[str] = []
    without_vote = {*failed, *ballot.unscored, *ballot.imputed}
    # Estimates count where no member voted, and where all failed, their neutral scores.
    judges = (
        [member for member in members if member.key not in without_vote]
        or [member for member in members if member.key not in {*failed, *ballot.unscored}]
        or [*members]
    )
    weakest = min(judges, key=lambda member: ballot.scores[member.key])
    score = ballot.scores[weakest.key]
    if score < _WEAK:
        sentences.append(f"Weakest: {weakest.key} ({score:.1f}). {_suggestion(weakest)}")
    else:
        sentences.append(f"Weakest: {weakest.key} ({score:.1f}); no score calls for a revision of its own.")
    spread = max(ballot.scores[m.key] for m in judges) - score
    if spread > _LARGE_SPREAD:
        sentences.append(f"The members differ by {spread:.1f} points: read their scores one by one.")
    if failed:
        sentences.append(
            f"{len(failed)} of {len(members)} members failed and count as {NEUTRAL:g}: {', '.join(failed)}."
        )
    if ballot.imputed:
        sentences.append(f"Estimated, not asked: {', '.join(ballot.imputed)}.")
    sentences += [
        f"{key} gave no score ({why}) and counts as {NEUTRAL:g}." for key, why in ballot.unscored.items()
    ]
    return " ".join(sentences)


def _suggestion(member: CouncilMember) -> str:
    if not member.rubric:
        return "Suggestion: sharpen what makes people act on it."
    return f"Suggestion: work on what it judges: {member.rubric}."
