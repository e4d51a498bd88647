"""The old council beside the new one: never slower, never broken by it, and counted honestly."""

import asyncio
import json
import threading
import time

import pytest

from smartroute import Catalog, ConfigError, ModelCard, Price
from smartroute.integration import CouncilMember, SmartEnsembleEvaluator, comparison_in
from smartroute.testing import CapturingSink, ScriptedProvider

MEMBERS = (CouncilMember("only", 1.0, rubric="all of it", model="a"),)
CATALOG = Catalog.of([ModelCard("a", target="x/a", price=Price(1.0, 1.0))])


def council_of(old, **settings):
    return SmartEnsembleEvaluator(
        MEMBERS,
        mode="full",
        compare_with=old,
        share=settings.pop("share", 1.0),
        catalog=CATALOG,
        provider=ScriptedProvider(lambda call: json.dumps({"score": 90})),
        sink=CapturingSink(),
        seed=1,
        **settings,
    )


def run_all(council, scripts):
    async def main():
        answers = [await council.evaluate_script(script) for script in scripts]
        await council.aclose()
        return answers

    return asyncio.run(main())


class Old:
    def __init__(self, verdicts):
        self._verdicts = iter(verdicts)
        self.asked = []

    async def evaluate_script(self, script_content, niche="fitness"):
        self.asked.append((script_content, niche))
        verdict, score = next(self._verdicts)
        return {"verdict": verdict, "final_score": score}


def test_agreement_is_counted_with_its_interval():
    """3 of 4 agree: Wilson at 95% is 0.3006 to 0.9544 (scipy's proportion_ci(method="wilson"))."""
    old = Old([("APPROVED", 88.0), ("APPROVED", 90.0), ("NEEDS_REVISION", 80.0), ("APPROVED", 94.0)])
    council = council_of(old)
    run_all(council, ["one", "two", "three", "four"])
    report = council.comparison()
    assert (report.n, report.agreed, report.agreement) == (4, 3, 0.75)
    assert report.interval.low == pytest.approx(0.3006, abs=1e-4)
    assert report.interval.high == pytest.approx(0.9544, abs=1e-4)
    assert report.mean_difference == pytest.approx((2 + 0 + 10 - 4) / 4)
    assert report.standard_error == pytest.approx(
        5.8878406 / 2
    )  # numpy.std([2, 0, 10, -4], ddof=1) = 5.8878406
    assert report.unpriced == 4
    assert report.new_cost_usd == pytest.approx(council.get_stats()["total_cost"])
    assert old.asked == [(script, "fitness") for script in ("one", "two", "three", "four")]
    text = report.explain()
    assert "3 of 4" in text and "old unknown for 4 of 4" in text


def test_another_process_reads_the_same_from_the_log():
    old = Old([("APPROVED", 88.0), ("NEEDS_REVISION", 80.0), ("APPROVED", 94.0)])
    council = council_of(old)
    run_all(council, ["one", "two", "three"])
    live, read = council.comparison(), comparison_in(council.router.config.sink)
    assert (
        (read.n, read.agreed, read.interval) == (live.n, live.agreed, live.interval) == (3, 2, live.interval)
    )
    assert read.mean_difference == pytest.approx(live.mean_difference)
    assert read.standard_error == pytest.approx(live.standard_error)
    assert read.new_cost_usd == pytest.approx(live.new_cost_usd)
    assert (read.unpriced, live.unpriced) == (3, 3)


def test_each_comparison_is_an_event_and_no_request():
    council = council_of(Old([("NEEDS_REVISION", 80.0)]))
    run_all(council, ["one"])
    evaluation, comparison = council.router.config.sink.captured
    assert evaluation.kind == "council"
    assert comparison.kind == "council_comparison"
    assert comparison.labels["council_agreed"] == "false"
    assert comparison.labels["council_score_difference"] == "10.0"
    assert [(a["purpose"], a["cost_usd"]) for a in comparison.attempts] == [("shadow", None)]
    assert council.get_stats()["total_requests"] == 1


class Slow(Old):
    """Takes half a second, without blocking."""

    async def evaluate_script(self, script_content, niche="fitness"):
        found = await super().evaluate_script(script_content, niche)
        await asyncio.sleep(0.5)
        return found


def test_the_answer_does_not_wait_for_the_old_council():
    async def main():
        started = time.perf_counter()
        await council.evaluate_script("one")
        answered_s = time.perf_counter() - started
        await council.aclose()
        return answered_s

    council = council_of(Slow([("APPROVED", 90.0)]))
    assert asyncio.run(main()) < 0.25
    assert (council.comparison().n, council.comparison().abandoned) == (1, 0)


def test_a_loop_that_closes_in_the_middle_cuts_the_old_council_off_and_does_not_call_it_again():
    async def main():
        await council.evaluate_script("one")
        await asyncio.sleep(0.2)

    old = Slow([("APPROVED", 90.0)] * 2)
    council = council_of(old)
    asyncio.run(main())
    council.close()
    assert old.asked == [("one", "fitness")]
    assert (council.comparison().n, council.comparison().abandoned) == (0, 1)
    assert "1 abandoned" in council.comparison().explain()


class Blocking:
    def __init__(self):
        self.asked = []

    def evaluate_script(self, script_content, niche):
        self.asked.append((script_content, niche))
        time.sleep(0.5)
        return {"verdict": "APPROVED", "final_score": 90.0}


@pytest.mark.parametrize("old", [Slow([("APPROVED", 90.0)] * 3), Blocking()], ids=["async", "blocking"])
def test_an_application_with_a_loop_for_every_call_is_not_slowed_and_compares_as_much(old):
    council = council_of(old)
    asyncio.run(council_of(None).evaluate_script("warm up"))
    started = time.perf_counter()
    for script in ("one", "two", "three"):
        asyncio.run(council.evaluate_script(script))
    assert time.perf_counter() - started < 0.4, "three times half a second are 1.5 s"
    council.close()
    report = council.comparison()
    assert (report.n, report.agreed, report.failed, report.abandoned) == (3, 3, 0, 0)
    assert sorted(old.asked) == [("one", "fitness"), ("three", "fitness"), ("two", "fitness")]
    kinds = [event.kind for event in council.router.config.sink.captured]
    assert (kinds.count("council"), kinds.count("council_comparison")) == (3, 3)


def test_at_most_100_old_councils_hang():
    release = threading.Event()

    def hangs(script_content, niche):
        asked.append(script_content)
        release.wait(30)
        return {"verdict": "APPROVED"}

    async def main():
        for n in range(130):
            await council.evaluate_script(f"script {n}")

    asked = []
    council = council_of(hangs)
    asyncio.run(main())
    release.set()
    council.close()
    assert len(asked) == council.comparison().n == 100
    assert council.comparison().abandoned == 30


def test_when_no_thread_can_be_started_there_is_an_answer_and_no_comparison(monkeypatch):
    def full(thread):
        raise RuntimeError("can't start new thread")

    async def main():
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", full)
            return await council.evaluate_script("one")

    council = council_of(blocking)
    assert asyncio.run(main())["verdict"] == "APPROVED"
    assert (council.comparison().n, council.comparison().abandoned) == (0, 1)


def test_an_old_council_that_is_an_object_with_an_async_call_runs_in_the_loop_of_the_request():
    class Callable:
        async def __call__(self, script_content, niche):
            loops.append(asyncio.get_running_loop())
            return {"verdict": "APPROVED"}

    async def main():
        await council.evaluate_script("one")
        await council.aclose()
        return asyncio.get_running_loop()

    loops = []
    council = council_of(Callable())
    assert asyncio.run(main()) is loops[0]


def blocking(script_content, niche):
    time.sleep(0.5)
    return {"verdict": "APPROVED", "final_score": 90.0}


def test_an_old_council_that_blocks_runs_in_a_thread():
    async def main(council):
        started = time.perf_counter()
        await council.evaluate_script("one")
        await asyncio.sleep(0.01)
        answered = time.perf_counter() - started
        await council.aclose()
        return answered

    council = council_of(blocking)
    assert asyncio.run(main(council)) < 0.4
    assert council.comparison().n == 1


def exits(script_content, niche):
    raise SystemExit("no key")


async def exits_later(script_content, niche):
    raise SystemExit("no key")


async def cancels_itself(script_content, niche):
    raise asyncio.CancelledError


@pytest.mark.parametrize(
    "old",
    [
        lambda script_content, niche: 1 / 0,
        lambda script_content, niche: None,
        lambda script_content, niche: {"verdict": 5},
        lambda script: {"verdict": "APPROVED"},
        exits,
        exits_later,
        cancels_itself,
    ],
)
def test_a_failing_old_council_never_hurts_the_caller(old):
    council = council_of(old)
    (answer,) = run_all(council, ["one"])
    assert answer["verdict"] == "APPROVED"
    report = council.comparison()
    assert (report.n, report.failed) == (0, 1)
    assert report.agreement is None


def test_only_the_share_is_compared_and_never_a_cached_answer():
    old = Old([("APPROVED", 90.0)] * 400)
    council = council_of(old, share=0.25)
    run_all(council, [f"script {n}" for n in range(400)])
    assert 70 <= len(old.asked) <= 130  # 100 expected, sd 8.7
    before = len(old.asked)
    run_all(council, [f"script {n}" for n in range(400)])
    assert len(old.asked) == before


def test_the_cost_that_the_old_council_reports_is_counted():
    council = council_of(lambda script_content, niche: {"verdict": "APPROVED", "cost": 0.01})
    run_all(council, ["one"])
    report = council.comparison()
    assert (report.cost_usd, report.unpriced, report.mean_difference) == (0.01, 0, None)


def test_an_old_council_that_takes_visual_features_gets_them():
    seen = []

    def looking(script_content, niche, visual_features=None):
        seen.append(visual_features)
        return {"verdict": "APPROVED"}

    def blind(script_content, niche):
        seen.append("blind")
        return {"verdict": "APPROVED"}

    for old in (looking, blind):
        council = council_of(old)
        asyncio.run(council.evaluate_script("one", {"cuts": (1, 2)}))
        council.close()
        assert council.comparison().n == 1
    council = council_of(looking)
    asyncio.run(council.evaluate_script("one"))
    council.close()
    assert seen == [{"cuts": [1, 2]}, "blind", None]


def test_there_is_nothing_to_report_without_an_old_council():
    with pytest.raises(ConfigError, match="compare_with"):
        SmartEnsembleEvaluator(MEMBERS, sink=False).comparison()
