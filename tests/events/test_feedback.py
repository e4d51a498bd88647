"""A user's feedback on an answer becomes an event of its own, checked where it is given."""

import pytest

from smartroute import Catalog, ModelCard, ModelRouter, Price, TaskError
from smartroute.sinks import JsonlSource
from smartroute.testing import CapturingSink, FrozenClock, ScriptedProvider

CATALOG = Catalog.of([ModelCard("mini", tier="mini", target="x/mini", price=Price(1.0, 2.0))])


def router_of(**settings):
    settings.setdefault("sink", CapturingSink())
    return ModelRouter(
        catalog=CATALOG,
        provider=ScriptedProvider(lambda call: "ok"),
        clock=FrozenClock(1_800_000_000.0),
        **settings,
    )


def test_feedback_about_an_outcome_is_logged_under_its_id():
    router = router_of()
    outcome = router.run("hi")
    given = router.feedback(outcome.id, 0.5, label="too long", source="judge", comment="two words too many")
    _, event = router.config.sink.captured
    assert (event.type, event.id, event.outcome_id) == ("feedback", given, outcome.id)
    assert (event.quality, event.label, event.source) == (0.5, "too long", "judge")
    assert (event.comment, event.time) == ("two words too many", "2027-01-15T08:00:00.000000Z")
    assert event.simulated is True
    assert router.get_stats()["total_requests"] == 1


def test_a_comment_is_stored_as_redact_leaves_it():
    router = router_of(redact=lambda text: text.replace("Ann", "[name]"))
    router.feedback("x", 1.0, comment="Ann likes it")
    router.feedback_for("talk", 1.0, comment="so does Ann")
    assert [event.comment for event in router.config.sink.captured] == ["[name] likes it", "so does [name]"]


def test_a_comment_that_redact_cannot_take_stays_out():
    router = router_of(redact=lambda text: 1 / 0)
    router.feedback("x", 1.0, comment="Ann likes it")
    (event,) = router.config.sink.captured
    assert (event.quality, event.comment) == (1.0, None)


def test_feedback_about_a_conversation_names_it():
    router = router_of()
    router.feedback_for("talk-1", 1)
    (event,) = router.config.sink.captured
    assert (event.outcome_id, event.conversation_id, event.quality, event.source) == (
        "",
        "talk-1",
        1.0,
        "user",
    )


def test_each_word_of_feedback_is_kept():
    router = router_of()
    first, second = router.feedback("x", 0.0), router.feedback("x", 1.0)
    assert first != second
    assert [event.quality for event in router.config.sink.captured] == [0.0, 1.0]


def test_feedback_reaches_the_log_on_disk(tmp_path):
    with router_of(sink=None, log_path=tmp_path / "log") as router:
        outcome = router.run("hi")
        router.feedback(outcome.id, 1.0)
    answered, judged = JsonlSource(tmp_path / "log").events()
    assert judged.outcome_id == answered.id


def test_feedback_that_cannot_be_logged_is_counted_and_breaks_nothing():
    class Broken:
        def emit(self, event):
            raise OSError("full")

    router = router_of(sink=Broken())
    router.feedback("x", 1.0)
    assert router.lost_events == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", 1.0), "outcome_id"),
        ((None, 1.0), "outcome_id.*None"),
        (("x",), "needs a quality"),
        (("x", 1.1), "quality.*1.1"),
        (("x", float("nan")), "quality.*nan"),
        (("x", True), "quality.*True"),
        (("x", "good"), "quality.*good"),
    ],
)
def test_what_is_no_feedback_is_refused_by_name_and_value(arguments, message):
    with pytest.raises(TaskError, match=message):
        router_of().feedback(*arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"source": "crowd"}, "source.*crowd"), ({"label": ""}, "label"), ({"comment": 5}, "comment.*int")],
)
def test_an_option_that_is_none_is_refused(options, message):
    with pytest.raises(TaskError, match=message):
        router_of().feedback_for("talk", 1.0, **options)


def test_a_conversation_needs_a_name():
    with pytest.raises(TaskError, match="conversation_id"):
        router_of().feedback_for(" ", 1.0)


def test_an_outcome_in_place_of_its_id_is_told_with_the_cure():
    router = ModelRouter(provider=ScriptedProvider(["5"]), sink=CapturingSink())
    with pytest.raises(TaskError, match=r"pass outcome\.id"):
        router.feedback(router.run("Rate it.", kind="score"), quality=1.0)
