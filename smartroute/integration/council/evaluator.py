"""Stand in for the replaced CouncilEvaluator: its call forms, its dict, its cache, for fewer calls."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import random
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, Unpack

from smartroute.classify import estimate_tokens
from smartroute.compat import unit_of_user
from smartroute.concurrency.locks import fork_safe_lock
from smartroute.config import CouncilRouterArguments
from smartroute.errors import ConfigError, TaskError
from smartroute.integration.council.answer_cache import SharedAnswers
from smartroute.integration.council.members import (
    DEFAULT_COUNCIL,
    NEUTRAL,
    CouncilMember,
    checked_members,
    checked_thresholds,
    threshold_for,
)
from smartroute.integration.council.metadata import (
    audits_in,
    comparison_labels,
    labels_of,
    model_used,
    of_cached,
    routing_metadata,
    script_labels,
)
from smartroute.integration.council.modes import (
    MAX_TOKENS,
    WAYS,
    Council,
    Mode,
    Script,
    Seat,
    scorer_card,
)
from smartroute.integration.council.prompts import as_json, member_messages
from smartroute.integration.council.scorers import ScoringProvider
from smartroute.integration.council.screen_audits import WIDE_MARGIN, AuditReport, Audits
from smartroute.integration.council.shadow import Compared, Comparison, SideBySide
from smartroute.integration.council.typical import TypicalOutput
from smartroute.integration.council.verdict import as_familiar
from smartroute.integration.owned_router import Account
from smartroute.pricing.price import Price, PriceTable
from smartroute.records import Attempt, Calls, Decision, Menu, Outcome, Reply, Rung, Task, Tier, Wait
from smartroute.request_checks import checked_text
from smartroute.router import ModelRouter
from smartroute.routing.drivers import Conducted
from smartroute.routing.eligibility import split_effort
from smartroute.routing.escalation import Replies, Run, Stop

if TYPE_CHECKING:
    from smartroute.catalog import ModelCard
    from smartroute.protocols import EventSource

_log = logging.getLogger("smartroute")
_MODES = ("smart", "exact", "full")
OLD_COUNCIL = "replaced council"
FULL_COUNCIL = "full council"
"""What an evaluation's cost is compared with in the log: the same script before every member."""


class SmartEnsembleEvaluator:
    """Judge advertising scripts with a council, asking as few of its members as the verdict needs.

    A drop-in replacement of CouncilEvaluator: `await council.evaluate_script(text, niche)` returns the same
    dict, with `_routing_metadata` beside it.

    `mode` is one of "full": every member, in parallel, as the replaced council did; "exact": members in
    turn until the verdict can no longer change: the verdict of "full" for less; "smart": one small model
    scores every rubric first, and members are asked only where that is in doubt. A share of the scripts
    (`audit_share`) is judged in full as well, to learn how much doubt is enough: of all evaluations at most
    `flip_rate` get another verdict than the full council's, averaged over calibration draws. A dict from
    the arms of an experiment to modes lets the router's strategy choose per `user_id`.

    `members` are CouncilMember; `thresholds` win over the usual ones by niche. `screen_model` names the
    model of the screen (by default the cheapest small one). Answers are kept for `cache_s` seconds.
    `compare_with` is an old council to be called beside this one for a `share` of requests. `router` is the
    ModelRouter whose account this uses; without one, `settings` build it (those of ModelRouter), at the
    first evaluation. ENABLE_SMART_ROUTING=false convenes in full. `seed` makes the draws of audits
    repeatable.

    Raises ConfigError when a setting is wrong. One instance serves any number of threads and event loops.
    """

    def __init__(
        self,
        members: Sequence[CouncilMember] = DEFAULT_COUNCIL,
        *,
        mode: Mode | Mapping[str, Mode] = "smart",
        thresholds: Mapping[str, float] | None = None,
        audit_share: float = 0.05,
        flip_rate: float = 0.05,
        wide_margin: float = WIDE_MARGIN,
        screen_model: str | None = None,
        cache_s: float = 300.0,
        compare_with: Any = None,
        share: float = 0.1,
        seed: int | None = None,
        router: ModelRouter | None = None,
        **settings: Unpack[CouncilRouterArguments],
    ) -> None:
        self._account = Account(router, settings)
        self.members = checked_members(members)
        self._modes = _checked_modes(mode)
        self._thresholds = checked_thresholds(thresholds)
        self._audit_share = _share(audit_share, "audit_share")
        self._screen_model = screen_model
        self._lock = fork_safe_lock()
        self._rng = random.Random(seed)
        self.audits = Audits(flip_rate, wide_margin=_points(wide_margin))
        self._answers: SharedAnswers[dict[str, Any]] = SharedAnswers(_seconds(cache_s))
        self._typical = TypicalOutput()
        self._closed: Mapping[str, str] = {}
        self._old: SideBySide | None = None
        if compare_with is not None:
            self._old = SideBySide(compare_with, _share(share, "share"), random.Random(seed))

    @property
    def router(self) -> ModelRouter:
        """Return the router, built at first use."""
        return self._account.router

    def get_approval_threshold(self, niche: str = "fitness") -> float:
        """Return the score from which a script is approved. COUNCIL_APPROVAL_THRESHOLD wins over all."""
        return threshold_for(niche, self._thresholds)

    async def evaluate_script(
        self,
        script_content: str | None = None,
        niche: str | Mapping[str, Any] | None = "fitness",
        user_id: str | None = None,
        *,
        script: str | None = None,
        visual_features: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Return the verdict on a script: verdict, final_score, breakdown, feedback, confidence, errors,
        timestamp.

        `script` is another name of `script_content`; a dict in second place is `visual_features`. `user_id`
        is what an experiment buckets by. `_routing_metadata` says what was done: model_used, complexity,
        cost (USD), escalated, execution_time (s), and mode, decided_by, imputed (members whose score in
        `breakdown` is an estimate), threshold, margin, margin_learned, audits, screen_score, cached,
        unpriced_attempts, strategy, arm, id.

        Raises TaskError for an empty script, NoEligibleModelError for one too long for every model,
        MissingKeyError without any key, ConfigError for a threshold in the environment that is none. A
        member that fails counts as 70 and is named in `errors`.
        """
        if isinstance(niche, Mapping):
            visual_features, niche = niche, "fitness"
        niche = "fitness" if niche is None else niche
        text = script_content if script_content is not None else script
        if script_content is not None and script is not None and script != script_content:
            raise TaskError("script is another name of script_content; pass one of them")
        if not isinstance(text, str):
            raise TaskError(f"a script must be text, got {type(text).__name__}")
        if not text.strip():
            raise TaskError("the script is empty; pass some text as script_content or script")
        niche = checked_text(niche, "niche")
        task = Task.of(
            text,
            kind="council",
            params={"max_tokens": MAX_TOKENS},
            subject=text,
            unit=unit_of_user(user_id),
        )
        # As the task has it: without lone surrogates, which no request could carry.
        text = task.messages[0]["content"]
        judged = Script(text, niche, self.get_approval_threshold(niche), as_json(visual_features))
        task = replace(task, labels=script_labels(judged))
        decision = self.router.decide_task(task)
        mode = self._mode_of(decision)
        key = (mode, decision.arm, judged.threshold, niche, _digest(judged))
        answer = await self._answer(key, task, judged, decision, mode)
        if self._old is not None and not answer["_routing_metadata"]["cached"]:
            self._compare(self._old, answer, judged)
        return answer

    async def _answer(
        self, key: tuple[Any, ...], task: Task, script: Script, decision: Decision, mode: str
    ) -> dict[str, Any]:
        clock = self.router.config.clock
        while True:
            claim = self._answers.claim(key, clock.monotonic())
            if claim.answer is not None:
                return self._hit(claim.answer, task, decision, "hit")
            if claim.lead:
                break
            shared = await claim.shared()
            if shared is not None:
                return self._hit(shared, task, decision, "shared")
        try:
            answer = await self._evaluate(task, script, decision, mode)
        except BaseException as error:
            self._answers.failed(key, error)
            raise
        self._answers.done(key, answer, clock.monotonic())
        return copy.deepcopy(answer)

    def _hit(self, answer: dict[str, Any], task: Task, decision: Decision, how: str) -> dict[str, Any]:
        def conclude(run: Run) -> Outcome:
            return run.conclude(decision, _reply(answer), Rung("cache"), labels={"council_cache": how})

        outcome = self.router.log_outcome(task, conclude)
        hit = copy.deepcopy(answer)
        hit["_routing_metadata"] = of_cached(hit["_routing_metadata"], outcome)
        return hit

    async def _evaluate(self, task: Task, script: Script, decision: Decision, mode: str) -> dict[str, Any]:
        router = self.router
        menu = router.menu(task)
        council = self._council(menu, script)
        scorers = {
            seat.member.key: seat.member.scorer for seat in council.seats if seat.member.scorer is not None
        }

        def plan(run: Run) -> Generator[Calls | Wait, Replies, Conducted[dict[str, Any]]]:
            try:
                convening = yield from WAYS[mode](council, run, script)
            except Stop as stop:
                # There is no answer, and nobody gets to see this one: the router raises what stopped it.
                return Conducted(run.conclude(decision, None, None, stopped_by=stop.stopped_by), {})
            when = datetime.fromtimestamp(run.started_at, UTC).isoformat()
            answer = as_familiar(self.members, convening.ballot, script.threshold, when)
            self._typical.learn(run.ledger.attempts)
            outcome = run.conclude(
                _planned(decision, council, mode),
                _reply(answer),
                Rung(model_used(convening, council)),
                labels=labels_of(convening, answer, mode),
                baseline=(FULL_COUNCIL, _full_usd(council, run.ledger.attempts)),
            )
            metadata = routing_metadata(convening, outcome, decision, script, mode)
            return Conducted(outcome, answer | {"_routing_metadata": metadata})

        conducted = await router.aconduct(
            task,
            plan,
            provider=ScoringProvider(router.provider, scorers),
            prices=PriceTable({key: Price(0.0, 0.0) for key in scorers}),
        )
        return conducted.result

    def _council(self, menu: Menu, script: Script) -> Council:
        seats = [self._seat(member, menu, script) for member in self.members]
        closed = {seat.member.key: seat.closed for seat in seats if seat.closed is not None}
        if closed != self._closed:
            self._closed = closed
            for key, why in closed.items():
                _log.warning("%s of the council counts as %g every time: %s", key, NEUTRAL, why)
        return Council(
            seats=seats,
            screen=self._screen(menu),
            audits=self.audits,
            is_audit=self._draw_audit,
        )

    def _draw_audit(self) -> bool:
        with self._lock:
            return self._rng.random() < self._audit_share

    def _seat(self, member: CouncilMember, menu: Menu, script: Script) -> Seat:
        if member.scorer is not None:
            return Seat(member, scorer_card(member), expected_usd=0.0)
        router, effort = self.router, None
        if member.model is not None:
            name, effort = split_effort(member.model, router.catalog)
        else:
            of_tier = (candidate.model for candidate in menu.candidates if candidate.tier is member.tier)
            name = next(of_tier, "")
            if not name:
                return Seat(member, None, closed=f"no model of the {member.tier} tier may be called")
        card = router.catalog.card(name)
        if (reason := router.barred(card.name)) is not None:
            return Seat(member, None, closed=f"{card.name} may not be called: {reason}")
        return Seat(member, card, effort, self._expected_usd(card, member, script))

    def _expected_usd(self, card: ModelCard, member: CouncilMember, script: Script) -> float | None:
        price = self.router.prices.price(card.name)
        if price is None:
            return None
        messages = member_messages(member, script.text, script.niche, script.visual_features)
        return price.plain_cost(estimate_tokens(Task(messages)), self._typical.tokens(card.name))

    def _screen(self, menu: Menu) -> ModelCard | None:
        catalog = self.router.catalog
        if self._screen_model is not None:
            return catalog.card(self._screen_model)
        ranked = sorted(menu.candidates, key=lambda candidate: candidate.tier.rank)
        able = [c for c in ranked if "json_schema" in catalog.card(c.model).abilities]
        small = [c for c in able or ranked if c.tier is Tier.MINI] or able or ranked
        return catalog.card(small[0].model) if small else None

    def _mode_of(self, decision: Decision) -> str:
        if not self.router.config.smart_routing:
            return "full"
        return self._modes.get(decision.arm, self._modes[None])

    def _compare(self, old: SideBySide, answer: dict[str, Any], script: Script) -> None:
        def log(compared: Compared) -> None:
            task = Task.of(script.text, kind="council_comparison", labels=comparison_labels(compared, script))
            decision = self.router.decide_task(task)

            def conclude(run: Run) -> Outcome:
                outcome = run.conclude(decision, _reply(answer), Rung(OLD_COUNCIL))
                return replace(outcome, attempts=(_shadow(compared, run.started_at),))

            self.router.log_outcome(task, conclude, counted=False)

        question: dict[str, Any] = {"script_content": script.text, "niche": script.niche}
        if script.visual_features:
            question["visual_features"] = json.loads(script.visual_features)
        old.start(copy.deepcopy(answer), question, log)

    def comparison(self) -> Comparison:
        """Return how this council compares with that of `compare_with`. Raises ConfigError without one."""
        if self._old is None:
            raise ConfigError("there is nothing to compare with; pass compare_with=the old council")
        return self._old.report()

    def audit_report(self, level: float = 0.95) -> AuditReport:
        """Return what the audits so far say of the screen, and whether its promise holds."""
        return self.audits.report(level)

    def learn_from(self, source: EventSource) -> int:
        """Take the audits out of a log, so that the margin survives a restart; return how many there were."""
        found = 0
        for audit in audits_in(source.events()):
            self.audits.add(audit)
            found += 1
        return found

    def get_stats(self) -> dict[str, Any]:
        """Return the router's totals."""
        return self.router.get_stats()

    def clear_cache(self) -> None:
        """Forget the answers that are kept."""
        self._answers.clear()

    def close(self) -> None:
        """Wait for comparisons in threads, and close the router, if it is this council's own."""
        if self._old is not None:
            self._old.join()
        self._account.close()

    async def aclose(self) -> None:
        """Wait for comparisons under way, and close the router, if it is this council's own."""
        if self._old is not None:
            await self._old.wait()
        await self._account.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.members)} members, mode={self._modes[None]!r})"


def _full_usd(council: Council, attempts: Sequence[Attempt]) -> float | None:
    """Return what the full council would have cost: its members' own costs, and estimates for the rest."""
    seats: dict[str, list[float | None]] = {}
    for seat in council.seats:
        if seat.card is not None and seat.member.scorer is None:
            seats.setdefault(seat.card.name, []).append(seat.expected_usd)
    total = 0.0
    for model, expected in seats.items():
        made = [a for a in attempts if a.model == model and a.purpose in ("answer", "audit")]
        asked = sum(a.number == 1 for a in made)
        answered = [a.cost_usd for a in made if a.failure is None]
        failed = [a.cost_usd for a in made if a.failure is not None]
        # Whatever was made again had failed, so the last failures are those of members without an answer.
        own = [*answered, *failed[len(failed) - (asked - len(answered)) :]]
        unasked = len(expected) - asked
        if None in own or (unasked and None in expected):
            return None
        total += math.fsum(usd for usd in own if usd is not None)
        total += unasked * math.fsum(usd for usd in expected if usd is not None) / len(expected)
    return total


def _planned(decision: Decision, council: Council, mode: str) -> Decision:
    """Return the decision with what a council does in place of the ladder."""
    seats = [seat for seat in council.seats if seat.card is not None]
    ladder = [
        Rung(seat.card.name, seat.effort, seat.card.tier, seat.expected_usd) for seat in seats if seat.card
    ]
    if mode == "smart" and council.screen is not None:
        ladder.insert(0, Rung(council.screen.name, None, council.screen.tier))
    reasons = (f"a council of {len(council.seats)}, mode {mode}", *decision.reasons)
    return replace(decision, ladder=tuple(ladder), reasons=reasons)


def _shadow(compared: Compared, at: float) -> Attempt:
    """Return the old council's work as an attempt; what it cost is unknown unless it told."""
    return Attempt(OLD_COUNCIL, "shadow", compared.cost_usd, compared.latency_s, at - compared.latency_s)


def _reply(answer: Mapping[str, Any]) -> Reply:
    return Reply(
        json.dumps({name: answer[name] for name in answer if not name.startswith("_")}), finish_reason="stop"
    )


def _digest(script: Script) -> bytes:
    """Return a hash of what is judged: as it stands, a thousand long scripts would fill the memory."""
    parts = json.dumps([script.text, script.visual_features])
    return hashlib.blake2b(parts.encode(), digest_size=32).digest()


def _checked_modes(mode: object) -> Mapping[str | None, str]:
    modes: dict[str | None, str] = {None: "smart"}
    given = mode if isinstance(mode, Mapping) else {None: mode}
    for arm, name in given.items():
        if name not in _MODES:
            raise ConfigError(f"mode must be one of {', '.join(_MODES)}, got {name!r:.80}")
        modes[arm] = name
    return modes


def _share(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value <= 1.0:
        raise ConfigError(f"{name} must be a share from 0 to 1, got {value!r:.80}")
    return float(value)


def _points(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
        raise ConfigError(f"wide_margin must be a number of points of at least 0, got {value!r:.80}")
    return float(value)


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0.0 <= value < math.inf:
        raise ConfigError(f"cache_s must be a number of seconds of at least 0, got {value!r:.80}")
    return float(value)
