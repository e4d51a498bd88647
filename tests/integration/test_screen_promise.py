"""The promise of the screen, by simulation: at most 5% of all evaluations flip, averaged over calibration
draws.

The distribution is the worst for the promise: thresholds are where a screen flips as soon as its error
exceeds the margin.
"""

import json

import numpy as np
import pytest

from smartroute import ConfigError, ModelCard
from smartroute.integration import CouncilMember
from smartroute.integration.council.modes import Council, Script, Seat, behind_a_screen
from smartroute.integration.council.screen_audits import Audit, Audits, Margin
from smartroute.integration.council.verdict import final_score, verdict_of
from smartroute.records import Reply
from smartroute.stats.conformal import conformal_quantile

REPETITIONS = 2_000
AUDITS = 19
FRESH = 50
RATE = 0.05


def draw(rng, n, scale=1.0):
    """Return n audits' (screen, full, threshold): the full score is off by r, the threshold just within r."""
    screen = rng.uniform(40, 60, n)
    error = scale * rng.gamma(2.0, 3.0, n)
    side = rng.choice([-1.0, 1.0], n)
    return screen, screen - side * error, screen - side * error * (1 - 1e-9)


def conformal_margin(screen, full, thresholds):
    """Return the margin that the product learns from audits."""
    audits = Audits(RATE)
    for row in zip(screen, full, thresholds, strict=True):
        audits.add(Audit("fitness", *map(float, row), margin=30.0))
    margin = audits.margin()
    assert margin.learned and margin.audits == len(screen)
    return margin.points


def largest_of_ten(screen, full, thresholds):
    """The deliberately broken margin: the plain maximum of ten audits, which promises 9% and no better."""
    return float(np.abs(screen - full)[:10].max())


def flip_share(margin_of, seed, scale=1.0):
    """Return the mean share of flips over the repetitions, and its standard error."""
    rng = np.random.default_rng(seed)
    shares = np.empty(REPETITIONS)
    for repetition in range(REPETITIONS):
        margin = margin_of(*draw(rng, AUDITS))
        screen, full, threshold = draw(rng, FRESH, scale)
        believed = np.abs(screen - threshold) > margin
        shares[repetition] = np.mean(believed & ((screen >= threshold) != (full >= threshold)))
    return shares.mean(), shares.std(ddof=1) / np.sqrt(REPETITIONS)


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_share_of_flips_is_at_most_what_is_promised(seed):
    mean, error = flip_share(conformal_margin, seed)
    assert mean <= RATE + 3 * error
    assert mean >= RATE - 6 * error  # n = 19 makes the bound exact here: 1/20


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_maximum_of_ten_audits_fails_the_same_test(seed):
    mean, error = flip_share(largest_of_ten, seed)
    assert mean > RATE + 3 * error
    assert mean == pytest.approx(1 / 11, abs=6 * error)


@pytest.mark.slow
@pytest.mark.no_cover
def test_under_a_shifted_distribution_the_promise_breaks():
    mean, error = flip_share(conformal_margin, 1, scale=2.0)
    assert mean > RATE + 3 * error


class Answers:
    """Stands for the account on which a council makes its calls: a screen and a member that say so much."""

    def __init__(self, screen, full):
        self._says = {"screen": json.dumps({"judge": screen})}
        self._full = json.dumps({"score": full})

    def ask_each(self, asks):
        return tuple(Reply(self._says.get(ask.purpose, self._full)) for ask in asks)
        yield  # a generator without steps


class LargestOfTen(Audits):
    """The same broken margin, where the product keeps its own."""

    def margin(self):
        first = [audit.error for audit in self._audits][:10]
        return Margin(max(first), len(first), True) if first else super().margin()


class Draws:
    """Draws that are audits at first, and then never again."""

    def __init__(self, audits):
        self._left = audits

    def __call__(self):
        self._left -= 1
        return self._left >= 0


def convened(steps):
    """Return what the steps of a council come to, none of which waits for anything."""
    try:
        next(steps)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for a call")


def drawn_scripts(rng, n, scale=1.0):
    """Return n scripts' (screen, full, threshold), as members say them: with two decimals.

    The threshold lies a thousandth nearer to the screen than the full score.
    """
    screen = np.round(rng.uniform(40, 60, n), 2)
    error = rng.choice([-1, 1], n) * rng.gamma(2.0, 3.0, n) * scale
    full = np.round(np.clip(screen + error, 1.0, 99.0), 2)
    threshold = full + np.copysign(0.001, screen - full)
    return list(zip(screen.tolist(), full.tolist(), threshold.tolist(), strict=True))


def flips_of_smart(council, scripts):
    """Return how many verdicts of the product's own steps differ from the full council's."""
    flips = 0
    for screen, full, threshold in scripts:
        steps = behind_a_screen(council, Answers(screen, full), Script("a script", "fitness", threshold))
        score = final_score(council.members, convened(steps).ballot.scores)
        flips += verdict_of(score, threshold) != verdict_of(full, threshold)
    return flips


def flip_shares_of_smart(seed):
    """Return what `flip_share` does, for the product's own steps: 19 audits, then 10 scripts without one.

    Three rows, after the same audits: the margin that they teach, the broken margin on the same scripts, and
    the first again on scripts with twice the error.
    """
    card = ModelCard("m", target="x/m")
    seats = [Seat(CouncilMember("judge", 1.0, rubric="all", model="m"), card)]
    rng = np.random.default_rng(seed)
    shares = np.empty((3, REPETITIONS))
    for repetition in range(REPETITIONS):
        council = Council(seats, card, Audits(RATE), Draws(AUDITS))
        assert flips_of_smart(council, drawn_scripts(rng, AUDITS)) == 0
        broken = LargestOfTen(RATE)
        for audit in council.audits._audits:
            broken.add(audit)
        assert len(broken) == AUDITS
        fresh, shifted = drawn_scripts(rng, 10), drawn_scripts(rng, 10, scale=2.0)
        shares[:, repetition] = (
            flips_of_smart(council, fresh) / 10,
            flips_of_smart(Council(seats, card, broken), fresh) / 10,
            flips_of_smart(council, shifted) / 10,
        )
    return zip(shares.mean(axis=1), shares.std(axis=1, ddof=1) / np.sqrt(REPETITIONS), strict=True)


@pytest.mark.slow
@pytest.mark.no_cover
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_modes_own_steps_keep_the_promise_unless_the_margin_is_broken_or_scripts_shift(seed):
    (mean, error), *broken = flip_shares_of_smart(seed)
    assert mean <= RATE + 3 * error
    assert mean >= RATE - 6 * error
    assert len(broken) == 2
    for mean, error in broken:
        assert mean > RATE + 3 * error


def audited(rng, stages):
    """Return the audits of a life: (n, scale) after (n, scale), each drawn under the margin then in force."""
    audits = Audits(RATE)
    for n, scale in stages:
        for row in zip(*draw(rng, n, scale), strict=True):
            audits.add(Audit("fitness", *map(float, row), margin=audits.margin().points))
    return audits


def test_the_report_notices_a_shift():
    report = audited(np.random.default_rng(5), [(60, 1.0), (120, 4.0)]).report()
    assert report.kept is False
    assert report.interval.low > RATE
    assert "the promise is broken" in report.explain()


def test_the_report_seldom_reports_a_broken_promise_that_holds():
    """At a level of 95% at most one in forty reports may say so (one side of the interval)."""
    rng = np.random.default_rng(11)
    broken = sum(audited(rng, [(150, 1.0)]).report().kept is False for _ in range(100))
    assert broken <= 7  # P(Binomial(100, 0.025) > 7) is 0.4%


def test_the_report_counts_screened_verdicts_separately_and_by_niche():
    """By hand: margin 10. Four audits are believed, of them one flips; the fifth is in doubt."""
    audits = Audits(RATE)
    for niche, screen, full in [
        ("fitness", 60.0, 62.0),
        ("fitness", 99.0, 84.0),
        ("finance", 99.0, 95.0),
        ("finance", 70.0, 66.0),
        ("finance", 84.0, 86.0),
    ]:
        audits.add(Audit(niche, screen, full, threshold=85.0, margin=10.0))
    report = audits.report()
    assert (report.overall.flips, report.overall.n) == (1, 5)
    assert (report.screened.flips, report.screened.n) == (1, 4)
    assert [(f.population, f.flips, f.n) for f in report.by_niche] == [
        ("screened verdicts, finance", 0, 2),
        ("screened verdicts, fitness", 1, 2),
    ]
    # One-sided 95% bounds of 0 of 2 and 1 of 2 (Clopper and Pearson): 1 - 0.05**(1/2), and sqrt(0.95).
    assert report.by_niche[0].high == pytest.approx(1 - 0.05**0.5)
    assert report.by_niche[1].high == pytest.approx(0.95**0.5)
    assert report.kept is True
    text = report.explain()
    assert "averaged over calibration draws" in text and "the wide default" in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flip_rate": True}, "flip_rate must .*got True"),
        ({"flip_rate": 1}, "flip_rate must be below 1, got 1"),
        ({"flip_rate": 0}, "flip_rate must .*got 0"),
        ({"keep": 2.5}, "keep must be a whole number .*got 2.5"),
        ({"keep": "100"}, "keep must .*; pass a number, not text"),
        ({"wide_margin": float("nan")}, "wide_margin must .*got nan"),
    ],
)
def test_audits_refuse_settings_that_are_no_numbers_in_their_range(settings, message):
    with pytest.raises(ConfigError, match=message):
        Audits(**{"flip_rate": RATE, **settings})


def test_a_report_without_audits_says_so():
    report = Audits(RATE).report()
    assert report.kept is None
    assert "no audit yet" in report.explain()


def test_the_margin_is_the_wide_default_until_nineteen_audits():
    audits = Audits(RATE, wide_margin=25.0)
    for number in range(18):
        audits.add(Audit("fitness", 50.0, 50.0 + number, 85.0, 25.0))
        assert not audits.margin().learned and audits.margin().points == 25.0
    audits.add(Audit("fitness", 50.0, 50.0 + 18, 85.0, 25.0))
    assert audits.margin().learned and audits.margin().points == 18.0
    assert audits.margin().points == conformal_quantile([float(n) for n in range(19)], RATE)
