"""Council modes: "full" asks every member, "exact" until the verdict is certain, "smart" screens first.

Each mode is a generator of the steps that a driver performs, and does no I/O. Retries, budgets, breakers and
the ledger are those of every other request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from smartroute.catalog import ModelCard
from smartroute.errors import ConfigError, shown
from smartroute.integration.council.members import NEUTRAL, CouncilMember
from smartroute.integration.council.prompts import (
    member_format,
    member_messages,
    read_score,
    read_screen,
    screen_format,
    screen_messages,
)
from smartroute.integration.council.scorers import is_ready
from smartroute.integration.council.screen_audits import Audit, Audits, Margin
from smartroute.integration.council.verdict import Ballot, final_score, imputed_score, settled
from smartroute.pricing import Price
from smartroute.records import Failure, Message, Purpose, Reply
from smartroute.routing.run import SCORER, Ask, Run, Stepwise

Mode: TypeAlias = Literal["smart", "exact", "full"]
DecidedBy: TypeAlias = Literal["screen", "exact", "full", "audit"]
EvaluationSteps: TypeAlias = Stepwise["Evaluation"]

MAX_TOKENS = 4_096
"""The longest answer of a member in tokens, its thinking included."""


@dataclass(frozen=True, slots=True)
class Script:
    """What is judged: the text, its niche, the threshold to reach, and visual features (JSON, or empty)."""

    text: str
    niche: str
    threshold: float
    visual_features: str = ""


@dataclass(frozen=True, slots=True)
class Seat:
    """A member, and the model that answers for it. `closed` is the reason when no model may.

    A scorer has a card of its own, under which its calls are in the ledger.
    """

    member: CouncilMember
    card: ModelCard | None
    effort: str | None = None
    expected_usd: float | None = None
    closed: str | None = None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of an evaluation: the ballot, which mode decided, and the screen's score and margin."""

    ballot: Ballot
    decided_by: DecidedBy
    screen_score: float | None = None
    margin: Margin | None = None


@dataclass(slots=True)
class Council:
    """The seats, the screen's model (None when no model may screen), and the audits so far."""

    seats: Sequence[Seat]
    screen: ModelCard | None
    audits: Audits
    is_audit: Callable[[], bool] = field(default=lambda: False)

    @property
    def members(self) -> tuple[CouncilMember, ...]:
        """Return the members in their order."""
        return tuple(seat.member for seat in self.seats)


class _Votes:
    """The scores of one evaluation as they come in."""

    def __init__(self, council: Council, run: Run, script: Script) -> None:
        self._council = council
        self._run = run
        self._script = script
        self.scores: dict[str, float] = {}
        self.failed: dict[str, str] = {}
        self.unscored: dict[str, str] = {}

    def ask(
        self, seats: Sequence[Seat], purpose: Purpose, rung: int, *also: Ask
    ) -> Stepwise[tuple[Reply | Failure, ...]]:
        """Have members vote, all at the same time, and return the answers to the other questions.

        A member without a model, or whose scorer has no service, counts as neutral without a call.
        """
        voters: list[Seat] = []
        for seat in seats:
            if seat.member.scorer is not None and not is_ready(seat.member.scorer):
                self._count(seat, Failure("barred", "no scoring service is configured"))
            elif seat.card is None:
                self._count(seat, Failure("barred", seat.closed or "no model may answer for it"))
            else:
                voters.append(seat)
        answers = yield from self._run.ask_each(
            [*(self._question(seat, purpose, rung) for seat in voters), *also]
        )
        for seat, answer in zip(voters, answers, strict=False):
            self._count(seat, answer)
        return answers[len(voters) :]

    def _question(self, seat: Seat, purpose: Purpose, rung: int) -> Ask:
        assert seat.card is not None
        script = self._script
        if seat.member.scorer is not None:
            options = {"script": script.text, "niche": script.niche}
            return Ask(seat.card, (), {}, purpose, rung=rung, options=options)
        messages = member_messages(seat.member, script.text, script.niche, script.visual_features)
        return question(seat.card, messages, member_format(), purpose, rung, seat.effort)

    def _count(self, seat: Seat, answer: Reply | Failure) -> None:
        key = seat.member.key
        if isinstance(answer, Reply):
            score = read_score(answer.text, self._script.text, cut=answer.finish_reason == "length")
            if score is not None:
                self.scores[key] = score
                return
            why = "its answer holds no score from 0 to 100"
        else:
            why = answer.message
        self.scores[key] = NEUTRAL
        (self.unscored if seat.member.scorer is not None else self.failed)[key] = why

    def ballot(self) -> Ballot:
        """Return the scores so far, with estimates for members that were not asked."""
        members = self._council.members
        imputed = tuple(member.key for member in members if member.key not in self.scores)
        estimate = imputed_score(members, self.scores)
        return self._ballot({**dict.fromkeys(imputed, estimate), **self.scores}, imputed)

    def screened(self, screen: Mapping[str, float]) -> Ballot:
        """Return the screen's scores, replaced by the votes of the members that were asked."""
        members = self._council.members
        imputed = tuple(member.key for member in members if member.key not in self.scores)
        return self._ballot({**screen, **self.scores}, imputed)

    def _ballot(self, scores: Mapping[str, float], imputed: tuple[str, ...]) -> Ballot:
        return Ballot(scores, imputed, dict(self.failed), dict(self.unscored))


def question(
    card: ModelCard,
    messages: tuple[Message, ...],
    shape: Mapping[str, Any],
    purpose: Purpose,
    rung: int,
    effort: str | None = None,
) -> Ask:
    """Return the question to a model, with the parameters that it accepts."""
    cap = card.max_output_tokens
    params: dict[str, Any] = {"max_tokens": MAX_TOKENS if cap is None else min(MAX_TOKENS, cap)}
    if not card.efforts:  # a model that reasons sets its own temperature
        params["temperature"] = 0
    if "json_schema" in card.abilities:
        params["response_format"] = shape
    return Ask(card, messages, params, purpose, effort, rung)


def scorer_card(member: CouncilMember) -> ModelCard:
    """Return the card under which a scorer's calls are in the ledger: they cost nothing."""
    return ModelCard(
        member.key,
        target=f"{SCORER}/{member.key}",
        provider=SCORER,
        price=Price(0.0, 0.0),
        max_output_tokens=1,
        default=False,
    )


def in_full(council: Council, run: Run, script: Script) -> EvaluationSteps:
    """Have every member vote, in parallel."""
    votes = _Votes(council, run, script)
    yield from votes.ask(council.seats, "answer", 0)
    return Evaluation(votes.ballot(), "full")


def exactly(council: Council, run: Run, script: Script) -> EvaluationSteps:
    """Have members vote in turn, until no vote of the others can change the verdict."""
    votes = _Votes(council, run, script)
    yield from _until_settled(council, votes, script, 0)
    return Evaluation(votes.ballot(), "exact")


def behind_a_screen(council: Council, run: Run, script: Script) -> EvaluationSteps:
    """Have one small model score every rubric, and the members vote only where that leaves doubt.

    Whether this is an audit is drawn before the screen runs. The screen does not score for scorers: they are
    asked at the same time, and their scores count as votes. Nor does it score for a member without a model,
    which has failed already.
    """
    audited = council.is_audit()
    margin = council.audits.margin()
    votes = _Votes(council, run, script)
    judges = [seat.member for seat in council.seats if seat.member.scorer is None and seat.card is not None]
    others = [seat for seat in council.seats if seat.member.scorer is not None or seat.card is None]
    screen: dict[str, float] | None = None
    if council.screen is not None and judges:
        messages = screen_messages(judges, script.text, script.niche, script.visual_features)
        ask = question(council.screen, messages, screen_format(judges), "screen", 0)
        (answer,) = yield from votes.ask(others, "audit" if audited else "answer", 1, ask)
        screen = read_screen(answer.text, judges, script.text) if isinstance(answer, Reply) else None
    score = None if screen is None else final_score(council.members, {**screen, **votes.scores})
    if audited:
        # Scorers and members without a model have voted already.
        rest = [seat for seat in council.seats if seat.member.key not in votes.scores]
        yield from votes.ask(rest, "audit", 1)
        ballot = votes.ballot()
        if score is not None and not votes.failed:
            full = final_score(council.members, ballot.scores)
            council.audits.add(Audit(script.niche, score, full, script.threshold, margin.points))
        return Evaluation(ballot, "audit", score, margin)
    if screen is not None and score is not None and abs(score - script.threshold) > margin.points:
        return Evaluation(votes.screened(screen), "screen", score, margin)
    yield from _until_settled(council, votes, script, 1)
    return Evaluation(votes.ballot(), "exact", score, margin)


MODES: Mapping[str, Callable[[Council, Run, Script], EvaluationSteps]] = {
    "full": in_full,
    "exact": exactly,
    "smart": behind_a_screen,
}


def checked_modes(mode: object) -> Mapping[str | None, str]:
    """Return the mode of each arm of an experiment; that of None is for every other arm.

    `mode` is the name of a mode, or a dict from arms to such names. Raises ConfigError for anything else.
    """
    modes: dict[str | None, str] = {None: "smart"}
    given = mode if isinstance(mode, Mapping) else {None: mode}
    for arm, name in given.items():
        if not isinstance(name, str) or name not in MODES:
            raise ConfigError(f"mode must be one of {', '.join(MODES)}, got {shown(name)}")
        modes[arm] = name
    return modes


def _until_settled(council: Council, votes: _Votes, script: Script, rung: int) -> Stepwise[None]:
    for seat in soonest_per_dollar(council.seats):
        if settled(council.members, votes.scores, script.threshold) is not None:
            return
        if seat.member.key not in votes.scores:
            yield from votes.ask((seat,), "answer", rung)


def soonest_per_dollar(seats: Sequence[Seat]) -> tuple[Seat, ...]:
    """Return the seats in the order of asking: free ones first, then by weight per expected dollar.

    A vote narrows the range of the final score by its weight, so this order narrows it fastest for the money.
    Members of unknown price come last, heaviest first.
    """

    def rank(seat: Seat) -> tuple[float, float]:
        if seat.card is None or seat.member.scorer is not None or seat.expected_usd == 0.0:
            return (-float("inf"), -seat.member.weight)
        if seat.expected_usd is None:
            return (0.0, -seat.member.weight)
        return (-seat.member.weight / seat.expected_usd, -seat.member.weight)

    return tuple(sorted(seats, key=rank))
