"""The bundled scripts, and the simulated council that judges them."""

import asyncio
import json
import statistics

import pytest

from smartroute.errors import ProviderUnavailableError
from smartroute.evaluation.council_pool import SimulatedCouncil
from smartroute.evaluation.scripts import load_scripts
from smartroute.integration import DEFAULT_COUNCIL, CouncilMember, SmartEnsembleEvaluator
from smartroute.integration.council.members import THRESHOLDS
from smartroute.integration.council.prompts import member_messages, screen_format, screen_messages
from smartroute.records import Call
from smartroute.testing import CapturingSink

JUDGES = [member for member in DEFAULT_COUNCIL if member.model is not None]
VOICES = {member.model: member.key for member in JUDGES}
SCRIPTS = load_scripts()


def asked(member, script):
    messages = member_messages(member, script.text, script.niche, None)
    return Call(member.model, f"x/{member.model}", "x", messages)


def screened(script):
    messages = screen_messages(JUDGES, script.text, script.niche, None)
    params = {"response_format": screen_format(JUDGES)}
    return Call("mini", "x/mini", "x", messages, params, purpose="screen")


def test_there_are_enough_scripts_and_all_are_different():
    assert len(SCRIPTS) >= 60
    assert len({script.text for script in SCRIPTS}) == len({script.id for script in SCRIPTS}) == len(SCRIPTS)
    assert {script.niche for script in SCRIPTS} > set(THRESHOLDS)
    for script in SCRIPTS:
        assert script.merit.keys() == {member.key for member in JUDGES}
        assert all(0 <= merit <= 100 for merit in script.merit.values())
        assert 0 <= script.ctr <= 0.1
        assert len(script.text.split()) >= 10


def test_scripts_are_good_bad_and_in_between():
    """By hand from merits and rates: 26 of 72 reach their threshold, 17 lie within 6 points of it."""

    def full(script):
        rate = min(100.0, max(0.0, 50 + (script.ctr - 0.01) * 1500))
        g, c, o = (script.merit[member.key] for member in JUDGES)
        return round(0.4 * g + 0.3 * c + 0.2 * o + 0.1 * rate, 2)

    gaps = [full(script) - THRESHOLDS.get(script.niche, 85.0) for script in SCRIPTS]
    assert sum(gap >= 0 for gap in gaps) == 26
    assert sum(abs(gap) <= 6 for gap in gaps) == 17


def test_members_think_what_the_merit_says_give_or_take():
    """216 residuals of mean 0 and sd 3; near the ends of the scale they are cut off: 2.4 to 3.4 will do."""
    pool = SimulatedCouncil(VOICES, seed=4)
    residuals = [
        json.loads(pool.send(asked(member, script)).text)["score"] - script.merit[member.key]
        for script in SCRIPTS
        for member in JUDGES
    ]
    assert abs(statistics.mean(residuals)) < 4 * 3 / len(residuals) ** 0.5
    assert 2.4 < statistics.stdev(residuals) < 3.4


def test_a_screen_is_farther_off_and_wrong_together():
    pool = SimulatedCouncil(VOICES, seed=4)
    rows = []
    for script in SCRIPTS:
        if max(script.merit.values()) > 85:
            continue  # cut off at 100
        scores = json.loads(pool.send(screened(script)).text)
        rows.append([scores[member.key]["score"] - script.merit[member.key] for member in JUDGES])
    flat = [value for row in rows for value in row]
    assert 5.8 < statistics.stdev(flat) < 8.6  # sqrt(6**2 + 4**2) = 7.2
    means = [statistics.mean(row) for row in rows]
    # Independent errors would leave the means a variance of 36 / 3 = 12; the shared one adds 16.
    assert statistics.variance(means) > 1.3 * 12


def test_draws_depend_on_seed_and_script_alone():
    def scores(pool, scripts):
        return {s.id: pool.send(asked(JUDGES[0], s)).text for s in scripts}

    first = scores(SimulatedCouncil(VOICES, seed=1), SCRIPTS)
    assert first == scores(SimulatedCouncil(VOICES, seed=1), reversed(SCRIPTS))
    assert first != scores(SimulatedCouncil(VOICES, seed=2), SCRIPTS)


def test_an_unknown_script_has_a_merit_of_its_own():
    pool = SimulatedCouncil(VOICES)
    one, other = (
        pool.send(Call("gpt-4o", "x/gpt-4o", "x", ({"role": "user", "content": text},)))
        for text in ("one", "other")
    )
    assert 0 <= json.loads(one.text)["score"] <= 100
    assert one.text != other.text


def test_a_drift_moves_the_screen_and_nobody_else():
    script = next(s for s in SCRIPTS if min(s.merit.values()) > 65 and max(s.merit.values()) < 82)
    calm, drifting = SimulatedCouncil(VOICES), SimulatedCouncil(VOICES, drift=-10.0)
    assert calm.send(asked(JUDGES[0], script)).text == drifting.send(asked(JUDGES[0], script)).text
    key = JUDGES[0].key
    before, after = (json.loads(pool.send(screened(script)).text)[key]["score"] for pool in (calm, drifting))
    assert after - before == pytest.approx(-10.0, abs=0.11)


def test_a_model_that_is_down_is_down():
    with pytest.raises(ProviderUnavailableError):
        SimulatedCouncil(VOICES, failing={"gpt-4o"}).send(asked(JUDGES[2], SCRIPTS[0]))


class Rated:
    def __init__(self, pool):
        self._pool = pool

    def score(self, script, niche):
        return self._pool.click_through(script)


def run_council(mode, seed, *, passes=1, **pool_settings):
    pool = SimulatedCouncil(VOICES, seed=seed, **pool_settings)
    members = (*JUDGES, CouncilMember("deep_ctr", 0.1, scorer=Rated(pool)))
    council = SmartEnsembleEvaluator(
        members, mode=mode, provider=pool, sink=CapturingSink(), seed=seed, cache_s=0.0, audit_share=0.1
    )

    async def main():
        return [
            await council.evaluate_script(script.text, script.niche)
            for _ in range(passes)
            for script in SCRIPTS
        ]

    return council, asyncio.run(main())


def test_every_mode_judges_all_scripts_and_exact_agrees_with_full():
    _, full = run_council("full", 3)
    _, exact = run_council("exact", 3)
    assert [answer["verdict"] for answer in exact] == [answer["verdict"] for answer in full]
    cost = [sum(answer["_routing_metadata"]["cost"] for answer in answers) for answers in (exact, full)]
    assert cost[0] < cost[1]


@pytest.mark.slow
@pytest.mark.no_cover
def test_behind_a_learned_screen_few_verdicts_flip_and_a_drift_is_noticed():
    """The product from end to end: eight passes over the scripts, ten percent of them audits."""
    _, full = run_council("full", 3)
    truth = [answer["verdict"] for answer in full]
    council, smart = run_council("smart", 3, passes=8)
    assert council.audits.margin().learned
    flips = sum(answer["verdict"] != truth[n % len(truth)] for n, answer in enumerate(smart))
    assert flips / len(smart) <= 0.05 + 3 * (0.05 * 0.95 / 72) ** 0.5  # 72 scripts, seen eight times each
    assert council.audit_report().kept is True

    drifting = SimulatedCouncil(VOICES, seed=3, drift=-45.0)
    council.router.provider._drift = drifting._drift

    async def later():
        for _ in range(30):
            for script in SCRIPTS:
                await council.evaluate_script(script.text, script.niche)

    before = len(council.audits)
    asyncio.run(later())
    assert len(council.audits) > before + 100
    assert council.audits.margin().points > 20  # the margin has learned of it
