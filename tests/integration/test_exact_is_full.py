"""Stopping early never changes a verdict: any members, weights, scores, failures and thresholds."""

import asyncio
import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from smartroute import Catalog, ModelCard, Price
from smartroute.errors import InvalidRequestError
from smartroute.integration import CouncilMember, SmartEnsembleEvaluator
from smartroute.integration.council.verdict import final_score, settled, verdict_of
from smartroute.testing import CapturingSink, FrozenClock, ScriptedProvider

FAILS = "fails"
scores = st.one_of(
    st.floats(0, 100).map(lambda score: round(score, 2)), st.sampled_from([0.0, 70.0, 85.0, 100.0, FAILS])
)
voices = st.lists(
    st.tuples(st.floats(0.01, 1.0), scores, st.sampled_from([None, 0.0, 0.5, 5.0, 40.0]), st.booleans()),
    min_size=1,
    max_size=6,
)
thresholds = st.one_of(st.floats(0, 100), st.sampled_from([0.0, 70.0, 85.0, 100.0]))


class Fixed:
    """A scoring service that always says the same, or fails."""

    def __init__(self, score):
        self._score = score

    def score(self, script, niche):
        if self._score == FAILS:
            raise ConnectionError
        return self._score


def council_of(drawn, threshold, mode):
    """Return a council of the drawn (weight, score, price, is a service) and the provider it asks."""
    total = sum(weight for weight, *_ in drawn)
    members, cards, answers = [], [], {}
    for place, (weight, score, usd, service) in enumerate(drawn):
        key = f"m{place}"
        if service:
            members.append(CouncilMember(key, weight / total, scorer=Fixed(score)))
            continue
        members.append(CouncilMember(key, weight / total, rubric="all of it", model=key))
        cards.append(ModelCard(key, target=f"x/{key}", price=None if usd is None else Price(usd, usd)))
        answers[key] = score
    cards.append(ModelCard("spare", target="x/spare", price=Price(1.0, 1.0)))

    def answer(call):
        if call.purpose == "screen":
            return "it is hard to say"
        score = answers[call.model]
        if score == FAILS:
            raise InvalidRequestError("no")
        return json.dumps({"score": score, "reason": "because"})

    provider = ScriptedProvider(answer)
    council = SmartEnsembleEvaluator(
        members,
        mode=mode,
        thresholds={"niche": threshold},
        catalog=Catalog.of(cards),
        provider=provider,
        sink=CapturingSink(),
        clock=FrozenClock(),
    )
    return council, provider


def judged(drawn, threshold, mode):
    council, provider = council_of(drawn, threshold, mode)
    answer = asyncio.run(council.evaluate_script("a script", "niche"))
    (event,) = council.router.config.sink.captured
    assert len([a for a in event.attempts if a["provider"] != "scorer"]) == len(provider.calls)
    return answer, len(event.attempts), council.members


@settings(max_examples=150, deadline=None)
@given(voices, thresholds)
@example([(0.4, 85.0, 1.0, False), (0.3, 85.0, 1.0, False), (0.3, 85.0, 1.0, False)], 85.0)
@example([(0.5, 100.0, 1.0, False), (0.5, FAILS, 1.0, False)], 85.0)
def test_the_verdict_of_exact_is_that_of_full_and_costs_no_more(drawn, threshold):
    full, calls_of_full, _ = judged(drawn, threshold, "full")
    exact, calls_of_exact, members = judged(drawn, threshold, "exact")
    assert exact["verdict"] == full["verdict"]
    assert calls_of_exact <= calls_of_full
    imputed = exact["_routing_metadata"]["imputed"]
    asked = {key: score for key, score in exact["breakdown"].items() if key not in imputed}
    assert all(full["breakdown"][key] == score for key, score in asked.items())
    assert final_score(members, asked, 0.0) <= exact["final_score"] <= final_score(members, asked, 100.0)
    assert exact["verdict"] == verdict_of(exact["final_score"], threshold)


@settings(max_examples=75, deadline=None)
@given(voices, thresholds)
def test_behind_a_screen_without_scores_the_verdict_is_that_of_full(drawn, threshold):
    full, calls_of_full, _ = judged(drawn, threshold, "full")
    smart, calls_of_smart, _ = judged(drawn, threshold, "smart")
    assert smart["verdict"] == full["verdict"]
    assert calls_of_smart <= calls_of_full + 1
    assert smart["_routing_metadata"]["screen_score"] is None


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0.001, 1.0), st.floats(0, 100), st.booleans()), min_size=1, max_size=8),
    thresholds,
)
def test_a_settled_verdict_holds_whatever_the_other_scores_are(drawn, threshold):
    """The bounds against the missing members' actual votes, with the weights as floats leave them."""
    total = sum(weight for weight, *_ in drawn)
    members = [CouncilMember(f"m{i}", w / total, scorer=Fixed(1)) for i, (w, *_) in enumerate(drawn)]
    votes = {f"m{i}": score for i, (_, score, _) in enumerate(drawn)}
    asked = {f"m{i}": votes[f"m{i}"] for i, (*_, known) in enumerate(drawn) if known}
    found = settled(members, asked, threshold)
    if found is not None:
        assert verdict_of(final_score(members, votes), threshold) == found


@pytest.mark.parametrize(
    ("scores", "final"),
    [((74.16, 95.31, 95.99, 70.0), 84.46), ((96.43, 70.71, 93.85, 70.0), 85.55)],
)
def test_a_score_is_the_same_on_every_version_of_python(scores, final):
    """Both lie on half a hundredth (84.455, 85.555), where a compensated sum rounds to the other side.

    Doubles added in the order of the members: 29.664 + 28.593 + 19.198 + 7 is 84.45500000000001, and
    38.572 + 21.213 + 18.77 + 7 is 85.55499999999999.
    """
    weights = (0.4, 0.3, 0.2, 0.1)
    members = [CouncilMember(f"m{i}", w, scorer=Fixed(1)) for i, w in enumerate(weights)]
    assert final_score(members, {f"m{i}": score for i, score in enumerate(scores)}) == final


def settled_by_a_narrow_bound(members, votes, threshold):
    """A plausible mistake: the assumption that no member scores under 10 or over 90."""
    low = verdict_of(final_score(members, votes, 10.0), threshold)
    high = verdict_of(final_score(members, votes, 90.0), threshold)
    return low if low == high else None


def test_the_property_catches_a_bound_that_is_too_narrow():
    members = [CouncilMember(f"m{i}", 0.5, scorer=Fixed(1)) for i in range(2)]
    asked, votes, threshold = {"m0": 80.0}, {"m0": 80.0, "m1": 100.0}, 88.0
    assert settled(members, asked, threshold) is None
    assert settled_by_a_narrow_bound(members, asked, threshold) == "NEEDS_REVISION"
    assert verdict_of(final_score(members, votes), threshold) == "APPROVED"


def test_members_are_asked_by_weight_per_dollar_and_free_ones_first():
    drawn = [
        (0.4, 90.0, 8.0, False),
        (0.3, 90.0, 1.0, False),
        (0.2, 90.0, None, False),
        (0.1, 90.0, 1.0, True),
    ]
    council, provider = council_of(drawn, 89.0, "exact")
    answer = asyncio.run(council.evaluate_script("a script", "niche"))
    assert [call.model for call in provider.calls] == ["m1", "m0", "m2"]
    assert answer["verdict"] == "APPROVED"
    (event,) = council.router.config.sink.captured
    assert event.attempts[0]["model"] == "m3"


@pytest.mark.parametrize(
    ("votes", "asked"),
    [((62.0, 100.0, 100.0), 1), ((63.0, 49.0, 100.0), 2), ((95.0, 95.0, 20.0), 3)],
)
def test_asking_stops_as_soon_as_the_verdict_is_certain(votes, asked):
    """Weights .4 .3 .3, 85 to reach. 62 leaves 84.8 at most; 63 and 49 leave 69.9; 95, 95, 20 needs all."""
    drawn = [(w, v, 1.0, False) for w, v in zip((0.4, 0.3, 0.3), votes, strict=True)]
    council, provider = council_of(drawn, 85.0, "exact")
    answer = asyncio.run(council.evaluate_script("a script", "niche"))
    assert len(provider.calls) == asked
    assert answer["verdict"] == "NEEDS_REVISION"
    assert answer["confidence"] == pytest.approx({1: 0.4, 2: 0.7, 3: 1.0}[asked])
