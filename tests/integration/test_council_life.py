"""Many evaluations at once, cut off in the middle, in several loops: no cross-talk, nothing left behind."""

import asyncio
import gc
import inspect
import json
import os
import random
import re
import threading
import warnings
from fractions import Fraction

import numpy as np
import pytest

from smartroute import (
    Catalog,
    ConfigError,
    Decision,
    MissingKeyError,
    ModelCard,
    ModelRouter,
    Price,
    RouterConfig,
    TaskError,
)
from smartroute.clock import Clock
from smartroute.errors import InvalidRequestError, ProviderUnavailableError
from smartroute.integration import ClickThroughScorer, CouncilMember, SmartEnsembleEvaluator
from smartroute.integration.council.scorers import ScoringProvider
from smartroute.records import Call
from smartroute.routing.retries import RetryPolicy
from smartroute.routing.strategies import CostOptimized
from smartroute.sinks import open_log
from smartroute.testing import CapturingSink, FrozenClock, ScriptedProvider, reply

MODES = ("full", "exact", "smart")
CATALOG = Catalog.of(
    [
        ModelCard("small", tier="mini", target="x/small", price=Price(0.1, 0.5), abilities={"json_schema"}),
        ModelCard("a", target="x/a", price=Price(2.0, 10.0), abilities={"json_schema"}),
        ModelCard("b", target="y/b", price=Price(2.0, 10.0)),
    ]
)
MEMBERS = (
    CouncilMember("first", 0.6, rubric="the hook: 100 points", model="a"),
    CouncilMember("second", 0.4, rubric="the logic: 100 points", model="b"),
)


def score_in(call):
    """Return the number that the judged script holds: "script 42" is worth 42."""
    text = call.messages[-1]["content"]
    return float(text.split("\nscript ")[1].split("\n")[0])


def answer(call):
    score = score_in(call)
    if call.purpose == "screen":
        return json.dumps({member.key: {"score": score} for member in MEMBERS})
    return json.dumps({"score": score, "reason": "because"})


class Unhurried(ScriptedProvider):
    """Answers after a random moment, so that replies come back in any order."""

    def __init__(self, script=answer, seconds=0.005):
        super().__init__(script)
        self._seconds = seconds
        self._rng = random.Random(3)

    async def asend(self, call):
        await asyncio.sleep(self._rng.random() * self._seconds)
        return self.send(call)


def council_of(mode="full", script=answer, **settings):
    settings = {
        "members": MEMBERS,
        "catalog": CATALOG,
        "provider": ScriptedProvider(script),
        "sink": CapturingSink(),
        "clock": FrozenClock(),
        "retry": RetryPolicy(calls=1),
        "seed": 1,
        **settings,
    }
    return SmartEnsembleEvaluator(settings.pop("members"), mode=mode, **settings)


@pytest.mark.parametrize("mode", MODES)
def test_fifty_evaluations_at_once_do_not_mix(mode):
    provider = Unhurried()
    council = council_of(mode, provider=provider)

    async def main():
        return await asyncio.gather(*(council.evaluate_script(f"script {n}") for n in range(50)))

    answers = asyncio.run(main())
    assert [found["final_score"] for found in answers] == [float(n) for n in range(50)]
    events = council.router.config.sink.captured
    assert len(events) == 50
    assert sum(len(event.attempts) for event in events) == len(provider.calls)
    for found in answers:
        event = next(e for e in events if e.id == found["_routing_metadata"]["id"])
        assert event.cost_usd == pytest.approx(found["_routing_metadata"]["cost"])
        assert event.labels["council_score"] == repr(found["final_score"])
    assert council.get_stats()["total_requests"] == 50


@pytest.mark.parametrize("mode", MODES)
def test_equal_requests_under_way_share_one_evaluation(mode):
    council = council_of(mode, provider=Unhurried())

    async def main():
        return await asyncio.gather(*(council.evaluate_script("script 20") for _ in range(20)))

    answers = asyncio.run(main())
    paid = [found for found in answers if not found["_routing_metadata"]["cached"]]
    assert len(paid) == 1
    assert {found["final_score"] for found in answers} == {20.0}
    events = council.router.config.sink.captured
    assert len(events) == 20
    assert [event.cost_usd for event in events if event.labels.get("council_cache") == "shared"] == [0.0] * 19
    assert sum(len(event.attempts) for event in events) == len(council.router.provider.calls)


def test_equal_requests_share_across_threads_and_loops():
    council = council_of("full", provider=Unhurried(seconds=0.1))
    gate, answers = threading.Barrier(8), []

    def work():
        gate.wait()
        answers.append(asyncio.run(council.evaluate_script("script 33")))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(council.router.provider.calls) == len(MEMBERS)
    assert {found["final_score"] for found in answers} == {33.0}


def test_the_leading_request_may_be_cancelled_and_the_others_still_get_their_answer():
    council = council_of("full", provider=Unhurried(seconds=0.05))

    async def main():
        leader = asyncio.ensure_future(council.evaluate_script("script 50"))
        await asyncio.sleep(0)
        others = [asyncio.ensure_future(council.evaluate_script("script 50")) for _ in range(3)]
        await asyncio.sleep(0.001)
        leader.cancel()
        others[0].cancel()
        return await asyncio.gather(leader, *others, return_exceptions=True)

    leader, first, *others = asyncio.run(main())
    assert isinstance(leader, asyncio.CancelledError) and isinstance(first, asyncio.CancelledError)
    assert [found["final_score"] for found in others] == [50.0, 50.0]
    cancelled = [e for e in council.router.config.sink.captured if e.stopped_by == "cancelled"]
    assert len(cancelled) == 1
    assert cancelled[0].unpriced_attempts == len(cancelled[0].attempts) == len(MEMBERS)


def test_requests_that_wait_share_the_error_too():
    def broken(call):
        raise KeyError

    class NoLadder:
        def decide(self, task, classification, menu):
            return CostOptimized().decide(task, classification, menu)

    council = council_of(
        "full", members=(CouncilMember("m", 1.0, rubric="all", model="gone"),), strategy=NoLadder()
    )

    async def main():
        asked = [council.evaluate_script("script 1") for _ in range(3)]
        return await asyncio.gather(*asked, return_exceptions=True)

    found = asyncio.run(main())
    assert len(found) == 3 and all(type(error).__name__ == "UnknownModelError" for error in found)


def test_a_loop_closed_and_another_one_opened():
    council = council_of("smart", provider=Unhurried())
    for number in range(3):
        found = asyncio.run(council.evaluate_script(f"script {number}"))
        assert found["final_score"] == float(number)
        asyncio.run(council.aclose())


def test_nothing_is_left_unawaited_or_uncollected():
    council = council_of("smart", provider=Unhurried(seconds=0.02), compare_with=SlowOld(), share=1.0)

    async def main():
        tasks = [asyncio.ensure_future(council.evaluate_script(f"script {n}")) for n in range(20)]
        await asyncio.sleep(0.01)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert asyncio.all_tasks() - {asyncio.current_task()} <= council._old._tasks

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(main())
        gc.collect()
    assert council._answers._under_way == {}


class SlowOld:
    async def evaluate_script(self, script_content, niche):
        await asyncio.sleep(30)


def test_a_cached_answer_is_the_callers_own():
    council = council_of("full")
    first = asyncio.run(council.evaluate_script("script 10"))
    first["breakdown"]["first"] = -1.0
    first["_routing_metadata"]["imputed"].append("mine")
    again = asyncio.run(council.evaluate_script("script 10"))
    assert again["breakdown"]["first"] == 10.0
    assert again["_routing_metadata"]["imputed"] == []
    assert again["_routing_metadata"]["cost"] == 0.0
    assert again["timestamp"] == first["timestamp"]
    paid, hit = council.router.config.sink.captured
    assert (hit.cost_usd, hit.attempts, hit.labels["council_cache"]) == (0.0, (), "hit")
    assert "council_cache" not in paid.labels and paid.cost_usd > 0.0


def test_the_cache_keeps_five_minutes_and_no_more_than_it_should():
    council = council_of("full", cache_s=300.0)
    clock = council.router.config.clock
    calls = council.router.provider.calls

    def evaluated(*args, **kwargs):
        before = len(calls)
        asyncio.run(council.evaluate_script(*args, **kwargs))
        return len(calls) > before

    assert evaluated("script 10")
    assert not evaluated("script 10")
    clock.advance(299.9)
    assert not evaluated("script 10")
    clock.advance(0.2)
    assert evaluated("script 10")
    assert evaluated("script 10", "finance")
    assert evaluated("script 10", visual_features={"cuts": 3})
    assert not evaluated("script 10", {"cuts": 3})
    council.clear_cache()
    assert evaluated("script 10")


def test_the_cache_is_bounded():
    from smartroute.integration.council.answer_cache import SharedAnswers

    answers = SharedAnswers(300.0, most=3)
    for number in range(10):
        assert answers.claim(number, 0.0).lead
        answers.done(number, str(number), 0.0)
    assert [answers.claim(number, 1.0).answer for number in (7, 8, 9)] == ["7", "8", "9"]
    assert answers.claim(6, 1.0).lead


def test_a_changed_threshold_is_another_entry(monkeypatch):
    council = council_of("full")
    assert asyncio.run(council.evaluate_script("script 84"))["verdict"] == "NEEDS_REVISION"
    monkeypatch.setenv("COUNCIL_APPROVAL_THRESHOLD", "84")
    assert asyncio.run(council.evaluate_script("script 84"))["verdict"] == "APPROVED"


class ByUser:
    """An experiment: users of odd length are in arm "whole", the others in arm "cheap"."""

    def decide(self, task, classification, menu):
        decision = CostOptimized().decide(task, classification, menu)
        arm = "whole" if len(task.unit or "") % 2 else "cheap"
        fields = ("classification", "ladder", "accept_at", "reasons", "ruled_out")
        same = {name: getattr(decision, name) for name in fields}
        return Decision(strategy="by_user", arm=arm, experiment="councils", arm_propensity=0.5, **same)


def test_the_user_reaches_the_strategy_and_the_arm_may_choose_the_mode():
    council = council_of({"whole": "full", "cheap": "exact"}, strategy=ByUser())
    whole = asyncio.run(council.evaluate_script("script 10", "fitness", "bob"))
    cheap = asyncio.run(council.evaluate_script("script 10", "fitness", user_id="anna"))
    assert (whole["_routing_metadata"]["mode"], cheap["_routing_metadata"]["mode"]) == ("full", "exact")
    assert whole["_routing_metadata"]["arm"] == "whole"
    events = council.router.config.sink.captured
    assert [(e.strategy, e.experiment, e.arm, e.unit) for e in events] == [
        ("by_user", "councils", "whole", "bob"),
        ("by_user", "councils", "cheap", "anna"),
    ]
    assert [e.arm_propensity for e in events] == [0.5, 0.5]


def test_another_arm_or_mode_is_another_entry_and_the_same_arm_is_not():
    council = council_of({"whole": "full", "cheap": "full"}, strategy=ByUser())
    for user, calls in (("bob", 2), ("eve", 2), ("anna", 4), ("bobby", 4), ("dora", 4)):
        asyncio.run(council.evaluate_script("script 10", user_id=user))
        assert len(council.router.provider.calls) == calls


def test_rolled_back_the_council_convenes_in_full(monkeypatch):
    monkeypatch.setenv("ENABLE_SMART_ROUTING", "false")
    council = council_of("smart", seed=5)
    found = asyncio.run(council.evaluate_script("script 10"))
    assert found["_routing_metadata"]["mode"] == "full"
    assert len(council.router.provider.calls) == len(MEMBERS)


def test_an_audit_is_judged_in_full_and_gets_that_verdict():
    """The screen says 99, the members 10: the verdict is the members', and the audit remembers both."""

    def misled(call):
        if call.purpose == "screen":
            return json.dumps({member.key: {"score": 99} for member in MEMBERS})
        return json.dumps({"score": 10, "reason": "because"})

    council = council_of("smart", misled, audit_share=1.0)
    found = asyncio.run(council.evaluate_script("script 1"))
    assert (found["verdict"], found["final_score"]) == ("NEEDS_REVISION", 10.0)
    metadata = found["_routing_metadata"]
    assert (metadata["decided_by"], metadata["imputed"], metadata["screen_score"]) == ("audit", [], 99.0)
    (event,) = council.router.config.sink.captured
    assert [a["purpose"] for a in event.attempts] == ["screen", "audit", "audit"]
    assert len(council.audits) == 1

    another = council_of("smart")
    assert another.learn_from(council.router.config.sink) == 1
    assert another.audit_report().overall.n == 1


def test_audits_are_a_share_of_the_scripts():
    council = council_of("smart", audit_share=0.25)

    async def main():
        return [await council.evaluate_script(f"script {n / 4}") for n in range(400)]

    decided = [found["_routing_metadata"]["decided_by"] for found in asyncio.run(main())]
    assert 70 <= decided.count("audit") <= 130  # 100 expected, sd 8.7
    usual = inspect.signature(SmartEnsembleEvaluator).parameters
    assert (usual["audit_share"].default, usual["flip_rate"].default) == (0.05, 0.05)


@pytest.mark.parametrize("outcome", ["no JSON", ProviderUnavailableError("503")])
def test_whether_a_script_is_audited_does_not_depend_on_its_screen(outcome):
    def half(call):
        if call.purpose != "screen":
            return answer(call)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    council = council_of("smart", half, audit_share=1.0)
    found = asyncio.run(council.evaluate_script("script 20"))
    assert found["_routing_metadata"]["decided_by"] == "audit"
    assert found["breakdown"] == {"first": 20.0, "second": 20.0}
    assert len(council.audits) == 0


def test_the_next_process_learns_from_a_log_on_disk(tmp_path):
    """The screen is 0 to 24 points too high: with 25 audits the margin is the 25th smallest error, 24."""

    def off(call):
        score = score_in(call)
        if call.purpose == "screen":
            return json.dumps({member.key: {"score": score + score - 20} for member in MEMBERS})
        return json.dumps({"score": score})

    council = council_of("smart", off, audit_share=1.0, sink=None, log_path=tmp_path / "log")
    for n in range(20, 45):
        asyncio.run(council.evaluate_script(f"script {n}"))
    council.close()
    restarted = council_of("smart", off)
    assert restarted.learn_from(open_log(tmp_path / "log")) == 25
    margin = restarted.audits.margin()
    assert (margin.points, margin.audits, margin.learned) == (24.0, 25, True)
    found = asyncio.run(restarted.evaluate_script("script 30"))["_routing_metadata"]
    assert (found["margin"], found["audits"], found["margin_learned"]) == (24.0, 25, True)


def test_an_audit_in_which_a_member_failed_is_left_out():
    def half(call):
        if call.model == "b":
            raise ProviderUnavailableError("503")
        return answer(call)

    council = council_of("smart", half, audit_share=1.0)
    found = asyncio.run(council.evaluate_script("script 20"))
    assert found["breakdown"]["second"] == 70.0 and len(found["errors"]) == 1
    assert len(council.audits) == 0
    assert council.learn_from(council.router.config.sink) == 0


@pytest.mark.parametrize(
    "outcome", ["", "no JSON", '{"first": {"score": 90}}', '{"first": 90, "second": 900}']
)
def test_a_malformed_screen_is_inconclusive(outcome):
    council = council_of(
        "smart", lambda call: outcome if call.purpose == "screen" else answer(call), audit_share=0.0
    )
    found = asyncio.run(council.evaluate_script("script 99"))
    metadata = found["_routing_metadata"]
    assert (metadata["decided_by"], metadata["screen_score"], metadata["escalated"]) == ("exact", None, True)
    assert found["final_score"] == 99.0


def test_a_screen_in_doubt_never_enters_the_verdict():
    def doubtful(call):
        if call.purpose == "screen":
            return json.dumps({member.key: {"score": 86} for member in MEMBERS})
        return answer(call)

    council = council_of("smart", doubtful, audit_share=0.0)
    found = asyncio.run(council.evaluate_script("script 3"))
    assert found["verdict"] == "NEEDS_REVISION"
    assert found["breakdown"] == {"first": 3.0, "second": 3.0}
    assert found["_routing_metadata"]["imputed"] == ["second"]
    assert found["confidence"] == 0.6


def test_without_any_key_the_first_evaluation_says_which_to_set(monkeypatch):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    council = SmartEnsembleEvaluator(sink=False)
    with pytest.raises(MissingKeyError, match="OPENAI_API_KEY"):
        asyncio.run(council.evaluate_script("A script."))


def test_a_member_without_a_key_fails_by_name_and_the_others_vote(monkeypatch, caplog):
    monkeypatch.delenv("ZZ_API_KEY", raising=False)
    locked = ModelCard("b", target="zz/b", price=Price(1.0, 1.0), api_key_env="ZZ_API_KEY")
    provider = ScriptedProvider(answer)
    provider.needs_keys = True
    open_cards = [
        ModelCard(c.name, target=f"ollama/{c.name}", price=c.price) for c in CATALOG if c.name != "b"
    ]
    council = council_of("full", catalog=Catalog.of([*open_cards, locked]), provider=provider)
    found = asyncio.run(council.evaluate_script("script 90"))
    assert found["breakdown"] == {"first": 90.0, "second": 70.0}
    assert found["errors"] == ["second: b may not be called: no key: ZZ_API_KEY is not set"]
    assert found["confidence"] == 0.8
    assert [call.model for call in provider.calls] == ["a"]
    asyncio.run(council.evaluate_script("script 91"))
    assert caplog.messages == [
        "second of the council counts as 70 every time: b may not be called: no key: ZZ_API_KEY is not set"
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"members": []}, "needs members"),
        ({"members": None}, "needs members"),
        ({"members": MEMBERS[:1]}, "sum to 1, and these sum to 0.6"),
        (
            {"members": (MEMBERS[0], CouncilMember("second", 0.400001, rubric="x", tier="mini"))},
            "sum to 1.000001",
        ),
        ({"members": (MEMBERS[0], CouncilMember("first", 0.4, rubric="x", tier="mini"))}, "twice"),
        ({"mode": "fast"}, "mode must be one of"),
        ({"mode": {"arm": "fast"}}, "mode must be one of"),
        ({"audit_share": 1.5}, "audit_share"),
        ({"flip_rate": 0.0}, "flip_rate"),
        ({"flip_rate": "5%"}, "flip_rate"),
        ({"thresholds": [85]}, "thresholds"),
        ({"thresholds": {5: 85}}, "thresholds"),
        ({"cache_s": -1}, "cache_s"),
        ({"thresholds": {"x": 101}}, "the threshold of 'x' must be .* at most 100, got 101"),
        ({"wide_margin": float("nan")}, "wide_margin"),
        ({"compare_with": SlowOld(), "share": 2}, "share"),
        ({"router": ModelRouter(sink=False), "sink": False}, "not both"),
    ],
)
def test_a_wrong_setting_fails_at_construction(arguments, message):
    with pytest.raises(ConfigError, match=message):
        SmartEnsembleEvaluator(**{"members": MEMBERS, **arguments})


@pytest.mark.parametrize("setting", ["audit_share", "flip_rate", "wide_margin", "cache_s", "share", "seed"])
@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), "0.5", -0.1])
def test_a_setting_that_is_no_number_in_its_range_is_named_with_its_value(setting, value):
    with pytest.raises(ConfigError, match=rf"{setting} must .*got {re.escape(repr(value))}"):
        SmartEnsembleEvaluator(MEMBERS, **{setting: value})


def test_a_number_as_text_is_answered_with_the_cure():
    with pytest.raises(ConfigError, match=r"cache_s .*got '300'; pass a number, not text"):
        SmartEnsembleEvaluator(MEMBERS, cache_s="300")


@pytest.mark.parametrize("value", [True, float("nan"), "85", 10**400])
def test_a_threshold_that_is_no_number_names_its_niche(value):
    with pytest.raises(ConfigError, match="the threshold of 'fitness' must be a finite number"):
        SmartEnsembleEvaluator(MEMBERS, thresholds={"fitness": value})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"key": ""}, "key"),
        ({"weight": 0.0}, "weight"),
        ({"weight": True}, "weight"),
        ({"weight": float("nan")}, "weight"),
        ({"weight": "0.5"}, "weight of k .*got '0.5'; pass a number, not text"),
        ({"model": "a", "tier": "mini"}, "exactly one"),
        ({"model": None}, "exactly one"),
        ({"model": None, "tier": "huge"}, "tier"),
        ({"rubric": " "}, "rubric"),
        ({"model": 5}, "model"),
        ({"model": ""}, "model"),
        ({"role": 5}, "role"),
        ({"model": None, "scorer": 5}, "scorer"),
    ],
)
def test_a_wrong_field_of_a_member_is_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        CouncilMember(**{"key": "k", "weight": 0.5, "rubric": "r", "model": "a", **fields})


@pytest.mark.parametrize("value", ["high", "nan", "-1", "101"])
def test_an_invalid_threshold_in_the_environment_is_refused(monkeypatch, value):
    monkeypatch.setenv("COUNCIL_APPROVAL_THRESHOLD", value)
    with pytest.raises(ConfigError, match=f"COUNCIL_APPROVAL_THRESHOLD.*{value}"):
        council_of().get_approval_threshold("fitness")


@pytest.mark.parametrize("script", [None, "", "  ", 7])
def test_an_invalid_script_is_refused(script):
    with pytest.raises(TaskError, match="script"):
        asyncio.run(council_of().evaluate_script(script))


def test_no_niche_means_fitness_and_lone_surrogates_are_replaced_before_members_see_them():
    council = council_of("full", lambda call: '{"score": 90}')
    found = asyncio.run(council.evaluate_script("script \ud800 90", None))
    assert found["_routing_metadata"]["threshold"] == 85.0
    assert all("\ud800" not in call.messages[1]["content"] for call in council.router.provider.calls)
    assert "script \ufffd 90" in council.router.provider.calls[0].messages[1]["content"]


def test_lone_surrogates_beside_the_script_are_replaced_too():
    council = council_of("full", lambda call: '{"score": 90}')
    found = asyncio.run(council.evaluate_script("script", "\ud800", visual_features={"note": "\ud801"}))
    assert found["errors"] is None
    for call in council.router.provider.calls:
        assert call.messages[1]["content"].encode().count("\ufffd".encode()) == 2


def test_an_empty_user_id_is_no_unit_however_it_is_written():
    council = council_of("full", lambda call: '{"score": 90}')
    for n, user_id in enumerate([None, "", "  ", 0]):
        asyncio.run(council.evaluate_script(f"script {n}", user_id=user_id))
    assert [event.unit for event in council.router.config.sink.captured] == [None, None, None, "0"]


@pytest.mark.parametrize("niche", [None, 5, ["finance"]])
def test_a_niche_that_is_not_text_has_the_default_threshold(niche):
    assert council_of().get_approval_threshold(niche) == 85.0


def test_a_hundred_members_are_a_council_too():
    members = [CouncilMember(f"m{n}", 0.01, rubric="all", model="a") for n in range(100)]
    found = asyncio.run(council_of("full", members=members).evaluate_script("script 42"))
    assert (found["final_score"], len(found["breakdown"])) == (42.0, 100)


@pytest.mark.slow
def test_long_scripts_are_not_kept_with_their_answers():
    import tracemalloc

    council = council_of("full", lambda call: '{"score": 90}')
    asyncio.run(council.evaluate_script("warm up"))
    tracemalloc.start()
    try:
        for n in range(20):
            asyncio.run(council.evaluate_script(f"{n} " + "word " * 100_000))
            council.router.provider.calls.clear()
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2_000_000, "twenty scripts of half a megabyte are ten"


@pytest.mark.parametrize(("failing", "confidence"), [(0, 1.0), (1, 0.8), (4, 0.2), (5, 0.0), (7, 0.0)])
def test_confidence_falls_by_a_fifth_per_failed_member_and_ends_at_0(failing, confidence):
    def some(call):
        if int(call.messages[0]["content"].split("rubric number ")[1][0]) < failing:
            raise InvalidRequestError("400")
        return '{"score": 90}'

    members = [CouncilMember(f"m{n}", 1 / 7, rubric=f"rubric number {n}", model="a") for n in range(7)]
    found = asyncio.run(council_of("full", some, members=members).evaluate_script("script"))
    assert found["confidence"] == confidence
    assert len(found["errors"] or ()) == failing


def test_two_scripts_are_one_too_many():
    with pytest.raises(TaskError, match="another name"):
        asyncio.run(council_of().evaluate_script("one", script="two"))


def test_a_member_of_a_tier_uses_its_cheapest_model():
    members = (CouncilMember("m", 1.0, rubric="all", tier="standard"),)
    council = council_of("full", members=members)
    found = asyncio.run(council.evaluate_script("script 10"))
    assert found["_routing_metadata"]["model_used"] == "a"


RUBRICS = ("the hook", "the logic, " * 20, "the words")
ONE_MODEL = tuple(
    CouncilMember(f"m{place}", weight, rubric=rubric, model="a")
    for place, (weight, rubric) in enumerate(zip((0.5, 0.3, 0.2), RUBRICS, strict=True))
)


def wordy(call):
    """Answer at a length of its own for each rubric, after a first failure for the second."""
    place = next(n for n, rubric in enumerate(RUBRICS) if rubric in call.messages[0]["content"])
    if place == 1 and call.number == 1:
        raise ProviderUnavailableError("503")
    return reply('{"score": 10}', input_tokens=100, output_tokens=10 * (1 + place))


def test_a_screen_does_not_score_for_a_member_that_can_never_vote(monkeypatch):
    monkeypatch.delenv("ZZ_API_KEY", raising=False)
    cards = [ModelCard(c.name, target=f"ollama/{c.name}", price=c.price) for c in CATALOG if c.name != "b"]
    locked = ModelCard("b", target="zz/b", price=Price(1.0, 1.0), api_key_env="ZZ_API_KEY")
    provider = ScriptedProvider(answer)
    provider.needs_keys = True
    council = council_of("smart", catalog=Catalog.of([*cards, locked]), provider=provider, audit_share=0.0)
    found = asyncio.run(council.evaluate_script("script 10"))
    assert found["_routing_metadata"]["decided_by"] == "screen"
    assert found["breakdown"] == {"first": 10.0, "second": 70.0}
    assert found["errors"] == ["second: b may not be called: no key: ZZ_API_KEY is not set"]
    assert found["_routing_metadata"]["imputed"] == ["first"]
    assert found["confidence"] == 0.32  # 0.8 for the failure, times 0.4 for those that were asked
    (screen,) = provider.calls
    assert "the hook" in screen.messages[0]["content"] and "the logic" not in screen.messages[0]["content"]


def test_the_baseline_of_a_full_council_is_its_own_cost_also_when_members_share_a_model():
    council = council_of("full", wordy, members=ONE_MODEL, retry=RetryPolicy(calls=2))
    asyncio.run(council.evaluate_script("script 10"))
    (event,) = council.router.config.sink.captured
    assert event.baseline_model == "full council"
    assert event.baseline_cost_usd == pytest.approx(event.cost_usd)
    assert len({a["cost_usd"] for a in event.attempts}) == 4  # three answers and the failure, free


def test_members_that_were_not_asked_are_in_the_baseline_at_an_estimate():
    council = council_of("exact", wordy, members=ONE_MODEL)
    asyncio.run(council.evaluate_script("script 10"))
    (event,) = council.router.config.sink.captured
    assert len(event.attempts) == 1  # 5 of 100 points from half the weight: out of reach
    # Two more prompts at $2 a million tokens and two answers of 200 tokens, the prior, at $10.
    assert event.baseline_cost_usd > event.cost_usd + 2 * 200 * 10 / 1e6


def test_a_members_effort_reaches_the_call():
    thinker = ModelCard("t", target="x/t", price=Price(1.0, 1.0), efforts=("low", "high"))
    members = (CouncilMember("m", 1.0, rubric="all", model="t@high"),)
    council = council_of("full", members=members, catalog=Catalog.of([thinker]))
    asyncio.run(council.evaluate_script("script 10"))
    assert council.router.provider.calls[0].effort == "high"


def test_a_scorer_may_be_a_plain_function_of_ones_own():
    class Length:
        def score(self, script, niche):
            return float(len(script))

    members = (MEMBERS[0], CouncilMember("length", 0.4, scorer=Length()))
    found = asyncio.run(council_of("full", members=members).evaluate_script("script 10"))
    assert found["breakdown"] == {"first": 10.0, "length": 9.0}
    assert found["final_score"] == 9.6


def test_a_call_of_a_scorer_is_free_in_the_ledger_and_a_failing_one_is_no_failed_member():
    class Down:
        def score(self, script, niche):
            raise ConnectionError("secret address")

    members = (MEMBERS[0], CouncilMember("service", 0.4, scorer=Down()))
    council = council_of("full", members=members, max_usd=1.0)
    found = asyncio.run(council.evaluate_script("script 90"))
    assert (found["breakdown"]["service"], found["errors"], found["confidence"]) == (70.0, None, 1.0)
    assert "service gave no score (it raised ConnectionError)" in found["feedback"]
    (event,) = council.router.config.sink.captured
    service = next(a for a in event.attempts if a["model"] == "service")
    assert (service["cost_usd"], service["failure"]) == (0.0, "unknown")
    assert found["_routing_metadata"]["unpriced_attempts"] == 0


class Scoring:
    """A scoring service that does what a function does."""

    def __init__(self, score, **attributes):
        self.score = score
        self.__dict__.update(attributes)


def scored_by(score, **attributes):
    """Return a council of "first" at 0.6 and a service at 0.4 with that score function."""
    members = (MEMBERS[0], CouncilMember("service", 0.4, scorer=Scoring(score, **attributes)))
    return council_of("full", members=members, clock=Clock(), retry=RetryPolicy(calls=3))


async def eventually(script, niche):
    return 55


def raising(error):
    def score(script, niche):
        raise error

    return score


@pytest.mark.parametrize(
    "score",
    [
        lambda script, niche: Fraction(55),
        lambda script, niche: np.float32(55),
        lambda script, niche: np.int64(55),
        lambda script, niche: eventually(script, niche),
    ],
    ids=["fraction", "float32", "int64", "a function that returns a coroutine"],
)
def test_a_score_may_be_any_real_number_now_or_later(score):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = asyncio.run(scored_by(score).evaluate_script("script 90"))
        gc.collect()
    assert found["breakdown"]["service"] == 55.0


@pytest.mark.parametrize(
    "error", [SystemExit(3), StopIteration(1), GeneratorExit(), asyncio.CancelledError()]
)
def test_a_scorer_that_raises_an_unusual_error_is_neutral(error):
    async def within_5_s():
        return await asyncio.wait_for(scored_by(raising(error)).evaluate_script("script 90"), 5)

    found = asyncio.run(within_5_s())
    assert (found["breakdown"]["service"], found["errors"]) == (70.0, None)


@pytest.mark.parametrize("value", [10**400, -1, 100.5, True, "55", None, 1j, float("nan")])
def test_an_invalid_score_of_a_scorer_is_neutral(value):
    found = asyncio.run(scored_by(lambda script, niche: value).evaluate_script("script 90"))
    assert (found["breakdown"]["service"], found["errors"]) == (70.0, None)
    assert "must be a number from 0 to 100" in found["feedback"]


async def forever(script, niche):
    await asyncio.Event().wait()


@pytest.mark.parametrize("settings", [{"timeout_s": 0.1}, {}], ids=["its own", "that of calls"])
def test_a_scorer_that_hangs_is_waited_for_once_and_then_neutral(settings):
    members = scored_by(forever, **settings).members
    council = council_of(
        "full", members=members, clock=Clock(), call_timeout_s=2.0, retry=RetryPolicy(calls=3)
    )
    found = asyncio.run(asyncio.wait_for(council.evaluate_script("script 90"), 30))
    assert found["breakdown"] == {"first": 90.0, "service": 70.0}
    assert "service gave no score (no score within" in found["feedback"]
    (event,) = council.router.config.sink.captured
    assert [a["model"] for a in event.attempts if a.get("failure")] == ["service"]


def test_a_scorer_that_blocks_delays_neither_the_answer_nor_the_end_of_the_loop():
    release = threading.Event()
    council = scored_by(lambda script, niche: release.wait(30), timeout_s=0.1)
    found = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(council.evaluate_script("script 90"))))
    thread.start()
    thread.join(10)
    done = bool(found)
    release.set()
    assert done and found[0]["breakdown"]["service"] == 70.0


def test_an_exhausted_budget_is_named_by_every_member():
    council = council_of("full", max_usd=0.0)
    found = asyncio.run(council.evaluate_script("script 90"))
    assert all("budget" in error for error in found["errors"])
    assert council.router.provider.calls == []


def test_a_deadline_passes_over_the_members_that_are_late():
    class Stuck(ScriptedProvider):
        async def asend(self, call):
            if call.model == "b":
                await asyncio.sleep(30)
            return self.send(call)

    council = council_of("full", provider=Stuck(answer), clock=Clock(), timeout_s=0.1)
    found = asyncio.run(council.evaluate_script("script 90"))
    assert found["breakdown"] == {"first": 90.0, "second": 70.0}
    assert len(found["errors"]) == 1


def test_transient_failures_of_members_are_retried_together():
    failing = {"a", "b"}

    def flaky(call):
        if call.number == 1:
            raise ProviderUnavailableError("503")
        return answer(call)

    council = council_of("full", flaky, retry=RetryPolicy(calls=2))
    found = asyncio.run(council.evaluate_script("script 90"))
    assert found["errors"] is None
    assert len(council.router.config.clock.slept) == 1
    (event,) = council.router.config.sink.captured
    assert {a["model"] for a in event.attempts if a.get("failure")} == failing


def test_settings_may_come_as_a_config():
    config = RouterConfig(catalog=CATALOG, provider=ScriptedProvider(answer), sink=False)
    council = SmartEnsembleEvaluator(MEMBERS, mode="full", config=config)
    assert asyncio.run(council.evaluate_script("script 10"))["final_score"] == 10.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
def test_a_forked_child_does_not_wait_for_a_leading_request_of_its_parent():
    council = council_of("full", provider=Unhurried(seconds=0.05))

    async def main():
        leader = asyncio.ensure_future(council.evaluate_script("script 44"))
        await asyncio.sleep(0.005)
        child = os.fork()
        if child == 0:
            worked = []
            thread = threading.Thread(
                target=lambda: worked.append(asyncio.run(council.evaluate_script("script 44")))
            )
            thread.start()
            thread.join(timeout=10)
            os._exit(0 if worked and worked[0]["final_score"] == 44.0 else 1)
        await leader
        return os.waitpid(child, 0)[1]

    assert asyncio.run(main()) == 0


@pytest.mark.parametrize("timeout_s", ["5", True, float("nan"), float("inf"), 0, -1, None])
def test_a_timeout_of_the_click_through_service_that_is_no_number_above_0_is_refused(timeout_s):
    with pytest.raises(ConfigError, match=rf"timeout_s must .*got {re.escape(repr(timeout_s))}"):
        ClickThroughScorer(timeout_s=timeout_s)


@pytest.mark.parametrize("timeout_s", ["5", True, float("nan"), -1, 10**400])
def test_a_scorers_own_timeout_that_is_no_number_above_0_is_the_default(timeout_s):
    class Scorer:
        def score(self, script, niche):
            return 64

    scorer = Scorer()
    scorer.timeout_s = timeout_s
    call = Call("ease", "scorer/ease", "scorer", (), options={"script": "one", "niche": "fitness"})
    provider = ScoringProvider(ScriptedProvider([]), {"ease": scorer})
    assert asyncio.run(provider.asend(call)).text == "64.0"


def test_a_click_through_service_is_ready_when_it_has_an_address(monkeypatch):
    monkeypatch.delenv("ML_SERVICE_URL", raising=False)
    assert not ClickThroughScorer().ready()
    assert ClickThroughScorer("http://localhost:1/").url == "http://localhost:1"
    monkeypatch.setenv("ML_SERVICE_URL", "http://localhost:2")
    assert ClickThroughScorer().ready()
