"""What a forked child resets: one registry, which keeps nothing alive."""

import gc
import os
import random
import weakref

import pytest

from smartroute.concurrency import forks
from smartroute.concurrency.forks import after_fork
from smartroute.concurrency.locks import fork_safe_lock
from smartroute.events.event import Event
from smartroute.integration.council.answer_cache import SharedAnswers
from smartroute.providers.recording import RecordingProvider
from smartroute.records import Call
from smartroute.router import ids
from smartroute.sinks import JsonlSink, JsonlSource, SqlSink
from smartroute.testing import ScriptedProvider

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def passes_in_a_child(check):
    """Return whether a check raises nothing in a forked child."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            check()
            status = 0
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Owner:
    def __init__(self):
        self.resets = []

    def __eq__(self, other):  # an object with it has no hash
        return True

    def reset(self):
        self.resets.append(os.getpid())


def test_each_owner_is_reset_once_in_a_child_and_never_in_the_parent():
    owners = [Owner(), Owner()]
    for owner in owners:
        after_fork(owner, Owner.reset)

    def check():
        assert [owner.resets for owner in owners] == [[os.getpid()]] * 2

    assert passes_in_a_child(check)
    assert [owner.resets for owner in owners] == [[], []]


def test_resets_run_in_the_order_of_their_registration():
    calls = []
    owners = [Owner() for _ in range(5)]
    for number, owner in enumerate(owners):
        after_fork(owner, lambda owner, number=number: calls.append(number))

    def check():
        assert calls == [0, 1, 2, 3, 4]

    assert passes_in_a_child(check)


def test_a_reset_that_raises_is_logged_and_does_not_stop_the_others(caplog):
    def broken(owner):
        raise ValueError("a secret")

    first, second = Owner(), Owner()
    after_fork(first, broken)
    after_fork(second, Owner.reset)

    def check():
        assert second.resets == [os.getpid()]
        assert "a Owner was not reset after a fork: ValueError at test_forks.py" in caplog.text
        assert "secret" not in caplog.text

    assert passes_in_a_child(check)


def test_the_registry_keeps_no_owner_alive_and_forgets_it():
    owners = [Owner() for _ in range(100)]
    for owner in owners:
        after_fork(owner, Owner.reset)
    registered = {key for key, (reference, _) in forks._resets.items() if isinstance(reference(), Owner)}
    assert len(registered) >= 100
    references = [weakref.ref(owner) for owner in owners]
    del owners, owner
    gc.collect()
    assert [reference() for reference in references] == [None] * 100
    assert not [key for key in registered if key in forks._resets]


@pytest.mark.parametrize("name", ["lock", "jsonl", "sql", "answers", "recording"])
def test_what_the_library_registers_is_not_kept_alive(name, tmp_path):
    thing = {
        "lock": fork_safe_lock,
        "jsonl": lambda: JsonlSink(tmp_path / "log"),
        "sql": lambda: SqlSink(f"sqlite:///{tmp_path / 'x.sqlite'}"),
        "answers": lambda: SharedAnswers(60.0),
        "recording": lambda: RecordingProvider(ScriptedProvider(["x"]), tmp_path / "calls.jsonl"),
    }[name]()
    reference = weakref.ref(thing)
    del thing
    gc.collect()
    assert reference() is None


def test_a_lock_that_the_parent_holds_is_free_in_a_child():
    lock = fork_safe_lock()
    with lock:
        assert passes_in_a_child(lambda: lock.acquire(timeout=5) or pytest.fail("still held"))
        assert lock.locked()


def test_ids_of_a_child_are_not_those_of_its_parent():
    state = ids._ids.getstate()

    def check():
        assert ids._ids.getstate() != state

    assert passes_in_a_child(check)
    assert ids._ids.getstate() == state


def test_a_segment_of_a_child_is_its_own(tmp_path):
    sink = JsonlSink(tmp_path)
    names = iter("abc")

    def emit():
        name = next(names)
        sink.emit(Event(2, "outcome", name, name, "2026-11-23T12:00:00.000000Z", False))

    emit()
    assert passes_in_a_child(emit)
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert len(list(JsonlSource(tmp_path).events())) == 2


def test_an_answer_that_the_parent_is_getting_is_got_by_the_child_itself():
    answers = SharedAnswers(60.0)
    assert answers.claim("question", 0.0).lead

    def check():
        assert answers.claim("question", 0.0).lead

    assert passes_in_a_child(check)
    assert not answers.claim("question", 0.0).lead


def test_a_child_records_a_run_of_its_own_and_counts_from_one(tmp_path):
    provider = RecordingProvider(ScriptedProvider(lambda call: "4"), tmp_path / "calls.jsonl")
    call = Call("mini", "x/mini", ({"role": "user", "content": "2 + 2"},), "answer")
    provider.send(call)
    assert passes_in_a_child(lambda: provider.send(call))
    provider.send(call)
    text = (tmp_path / "calls.jsonl").read_text()
    assert [text.count(f'"occurrence":{n}') for n in (1, 2, 3)] == [2, 1, 0]
    provider.close()


def test_a_child_of_a_child_is_reset_again():
    owner = Owner()
    after_fork(owner, Owner.reset)

    def check():
        assert passes_in_a_child(lambda: len(owner.resets) == 2 or pytest.fail("not reset"))

    assert passes_in_a_child(check)


def test_a_generator_given_to_the_registry_is_seeded_again_in_each_child():
    generator = random.Random(1)
    after_fork(generator, random.Random.seed)
    state = generator.getstate()
    assert passes_in_a_child(lambda: generator.getstate() != state or pytest.fail("same"))
