"""Score advertising scripts with a council of models: a drop-in for the replaced CouncilEvaluator."""

from __future__ import annotations

import copy
import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TypeAlias, Unpack

from smartroute.compat import unit_of_user
from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import ConfigError, TaskError
from smartroute.integration.council.answer_cache import SharedAnswers
from smartroute.integration.council.members import (
    DEFAULT_COUNCIL,
    CouncilMember,
    checked_members,
    checked_thresholds,
    threshold_for,
)
from smartroute.integration.council.metadata import (
    OLD_COUNCIL,
    answer_reply,
    audits_in,
    cached_metadata,
    comparison_labels,
    council_decision,
    evaluation_labels,
    model_used,
    routing_metadata,
    script_labels,
    shadow_attempt,
)
from smartroute.integration.council.modes import (
    MAX_TOKENS,
    MODES,
    Council,
    Mode,
    Script,
    checked_modes,
)
from smartroute.integration.council.prompts import as_json
from smartroute.integration.council.scorers import ScoringProvider
from smartroute.integration.council.screen_audits import WIDE_MARGIN, AuditReport, Audits
from smartroute.integration.council.seating import Seating, full_council_usd
from smartroute.integration.council.shadow import Compared, Comparison, ShadowCouncil
from smartroute.integration.council.verdict import evaluation_as_dict
from smartroute.integration.owned_router import OwnedRouter
from smartroute.number_checks import checked_number, checked_share, checked_whole
from smartroute.pricing import Price, PriceTable
from smartroute.records import Decision, Outcome, Rung, Task
from smartroute.request_checks import checked_text
from smartroute.router import ModelRouter
from smartroute.routing.conclusion import conclude
from smartroute.routing.drivers import Conducted
from smartroute.routing.run import Run, Stepwise, Stop

if TYPE_CHECKING:
    from smartroute.config import CouncilRouterArguments
    from smartroute.protocols import EventSource

FULL_COUNCIL = "full council"
"""The baseline of an evaluation in the log: the same script before every member."""

_Evaluated: TypeAlias = Stepwise[Conducted[dict[str, Any]]]


class SmartEnsembleEvaluator:
    """Judge advertising scripts with a council, asking as few of its members as the verdict needs.

    A drop-in replacement of CouncilEvaluator: `await council.evaluate_script(text, niche)` returns the same
    dict, with `_routing_metadata` beside it.

    `mode` is one of

    - "full": every member, in parallel, as the replaced council did;
    - "exact": members in turn until the verdict can no longer change: the verdict of "full" for less;
    - "smart": one small model scores every rubric first, and members are asked only where that is in doubt.
      A share of the scripts (`audit_share`) is judged in full as well, to learn how much doubt is enough: of
      all evaluations at most `flip_rate` get another verdict than the full council's, averaged over
      calibration draws.

    A dict from the arms of an experiment to modes lets the router's strategy choose per `user_id`.

    `members` are CouncilMember; `thresholds` win over the usual ones by niche. `screen_model` names the
    model of the screen (by default the cheapest mini model). `wide_margin` (points) holds until there are
    enough audits. Answers are kept for `cache_s` seconds. `compare_with` is an old council, called beside
    this one for a `share` of requests. ENABLE_SMART_ROUTING=false means "full". `seed` makes the draws of
    audits and comparisons repeatable.

    `router` is the ModelRouter to use; without one, `settings` build it (those of ModelRouter), at the first
    evaluation. Raises ConfigError when a setting is wrong. One instance serves any number of threads and
    event loops.
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
        self._owned_router = OwnedRouter(router, settings)
        self.members = checked_members(members)
        self._modes = checked_modes(mode)
        self._thresholds = checked_thresholds(thresholds)
        self._audit_share = checked_share(audit_share, "audit_share")
        self._seating = Seating(self.members, screen_model)
        self._lock = fork_safe_lock()
        self._rng = random.Random(None if seed is None else checked_whole(seed, "seed"))
        self.audits = Audits(flip_rate, wide_margin=wide_margin)
        cache_s = checked_number(cache_s, "cache_s", least=0)
        self._answers: SharedAnswers[dict[str, Any]] = SharedAnswers(cache_s)
        share = checked_share(share, "share")
        self._old: ShadowCouncil | None = None
        if compare_with is not None:
            self._old = ShadowCouncil(compare_with, share, random.Random(seed))

    @property
    def router(self) -> ModelRouter:
        """Return the router, built at first use."""
        return self._owned_router.router

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
        is what an experiment buckets by. `_routing_metadata` reports what was done: model_used, complexity,
        cost (USD), escalated, execution_time (s), and mode, decided_by, imputed (members whose score in
        `breakdown` is an estimate), threshold, margin, margin_learned, audits, screen_score, cached,
        unpriced_attempts, strategy, arm, id.

        Raises TaskError for an empty script, NoEligibleModelError for one too long for every model,
        MissingKeyError without any key, ConfigError for an invalid threshold in the environment. A member
        that fails counts as 70 and is named in `errors`.
        """
        if isinstance(niche, Mapping):  # evaluate_script(text, {...}), as some callers write it
            visual_features, niche = niche, "fitness"
        niche = checked_text("fitness" if niche is None else niche, "niche")
        text = _script_text(script_content, script)
        judged = Script(text, niche, self.get_approval_threshold(niche), as_json(visual_features))
        params = {"max_tokens": MAX_TOKENS}
        task = Task.of(text, kind="council", params=params, subject=text, unit=unit_of_user(user_id))
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
        """Return a kept answer, one that an equal request is waiting for, or a new one."""
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
            # The leading request was cancelled: claim again.
        try:
            answer = await self._evaluate(task, script, decision, mode)
        except BaseException as error:
            self._answers.failed(key, error)
            raise
        self._answers.done(key, answer, clock.monotonic())
        return copy.deepcopy(answer)

    def _hit(self, answer: dict[str, Any], task: Task, decision: Decision, how: str) -> dict[str, Any]:
        """Return a copy of a kept answer, and log the request that it answers."""
        labels = {"council_cache": how}
        outcome = self.router.log_outcome(
            task, lambda run: conclude(run, decision, answer_reply(answer), Rung("cache"), labels=labels)
        )
        hit = copy.deepcopy(answer)
        hit["_routing_metadata"] = cached_metadata(hit["_routing_metadata"], outcome)
        return hit

    async def _evaluate(self, task: Task, script: Script, decision: Decision, mode: str) -> dict[str, Any]:
        router = self.router
        menu = router.menu(task)
        seats = self._seating.seats(router, menu, script)
        council = Council(seats, self._seating.screen(router, menu), self.audits, self._draw_audit)
        scorers = {seat.member.key: seat.member.scorer for seat in seats if seat.member.scorer is not None}
        conducted = await router.aconduct(
            task,
            lambda run: self._plan(run, council, script, decision, mode),
            provider=ScoringProvider(router.provider, scorers),
            prices=PriceTable({key: Price(0.0, 0.0) for key in scorers}),
        )
        return conducted.result

    def _plan(self, run: Run, council: Council, script: Script, decision: Decision, mode: str) -> _Evaluated:
        """Evaluate the script with the council; the result is the answer for the caller."""
        try:
            evaluation = yield from MODES[mode](council, run, script)
        except Stop as stop:
            # No caller sees this empty answer: the router raises what stopped the run.
            return Conducted(conclude(run, decision, None, None, stopped_by=stop.stopped_by), {})
        attempts = run.ledger.attempts
        self._seating.learn(attempts)
        started_at = datetime.fromtimestamp(run.started_at, UTC).isoformat()
        answer = evaluation_as_dict(self.members, evaluation.ballot, script.threshold, started_at)
        outcome = conclude(
            run,
            council_decision(decision, council, mode),
            answer_reply(answer),
            Rung(model_used(evaluation, council)),
            labels=evaluation_labels(evaluation, answer, mode),
            baseline=(FULL_COUNCIL, full_council_usd(council, attempts)),
        )
        answer["_routing_metadata"] = routing_metadata(evaluation, outcome, decision, script, mode)
        return Conducted(outcome, answer)

    def _draw_audit(self) -> bool:
        with self._lock:
            return self._rng.random() < self._audit_share

    def _mode_of(self, decision: Decision) -> str:
        if not self.router.config.smart_routing:
            return "full"
        return self._modes.get(decision.arm, self._modes[None])

    def _compare(self, old: ShadowCouncil, answer: dict[str, Any], script: Script) -> None:
        """Have the old council judge the script too, if the draw falls on it. Returns at once."""

        def log(compared: Compared) -> None:
            task = Task.of(script.text, kind="council_comparison", labels=comparison_labels(compared, script))
            decision = self.router.decide_task(task)

            def concluded(run: Run) -> Outcome:
                outcome = conclude(run, decision, answer_reply(answer), Rung(OLD_COUNCIL))
                return replace(outcome, attempts=(shadow_attempt(compared, run.started_at),))

            self.router.log_outcome(task, concluded, counted=False)

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
        """Return what the audits so far show about the screen, and whether its promise holds."""
        return self.audits.report(level)

    def learn_from(self, source: EventSource) -> int:
        """Take the audits out of a log, so that the margin survives a restart; return how many there were."""
        n = 0
        for audit in audits_in(source.events()):
            self.audits.add(audit)
            n += 1
        return n

    def get_stats(self) -> dict[str, Any]:
        """Return the router's totals."""
        return self.router.get_stats()

    def clear_cache(self) -> None:
        """Forget the answers that are kept."""
        self._answers.clear()

    def close(self) -> None:
        """Wait for comparisons in threads, and close the router unless it belongs to the caller."""
        if self._old is not None:
            self._old.join()
        self._owned_router.close()

    async def aclose(self) -> None:
        """Wait for comparisons under way, and close the router unless it belongs to the caller."""
        if self._old is not None:
            await self._old.wait()
        await self._owned_router.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self.members)} members, mode={self._modes[None]!r})"


def _script_text(script_content: str | None, script: str | None) -> str:
    """Return the script from either of its two names, without lone surrogates. Raises TaskError."""
    if script_content is not None and script is not None and script != script_content:
        raise TaskError("script is another name of script_content; pass one of them")
    text = script_content if script_content is not None else script
    if not isinstance(text, str):
        raise TaskError(f"a script must be text, got {type(text).__name__}")
    if not text.strip():
        raise TaskError("the script is empty; pass some text as script_content or script")
    return checked_text(text, "script_content")


def _digest(script: Script) -> bytes:
    """Return a hash of what is judged: a thousand long scripts as cache keys would fill the memory."""
    judged = json.dumps([script.text, script.visual_features])
    return hashlib.blake2b(judged.encode(), digest_size=32).digest()
