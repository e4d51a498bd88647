"""A queue with its thread: callers never wait, no loss is silent, a forked child starts empty."""

import os
import subprocess
import sys
import threading
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from smartroute.concurrency.background import Background, Retry, one_by_one
from smartroute.errors import ConfigError, SinkError


def made(act, *, pending=100, lost=None):
    def on_loss(item, why):
        if lost is not None:
            lost.append((item, why))

    return Background(one_by_one(act), on_loss, name="a test", pending=pending)


def test_items_are_done_in_order_and_waited_for():
    done = []
    queue = made(done.append)
    for number in range(50):
        queue.put(number)
    queue.flush()
    assert done == list(range(50))
    assert queue.idle


def test_whoever_puts_never_waits_for_the_act():
    """The act waits for what only the putting thread does afterward: waiting for it would never end."""
    go, done = threading.Event(), []
    queue = made(lambda item: (go.wait(10), done.append(item)))
    for number in range(3):
        queue.put(number)
    assert done == []
    go.set()
    queue.flush()
    assert done == [0, 1, 2]


def test_what_does_not_fit_is_lost_and_told():
    go, done, lost, started = threading.Event(), [], [], threading.Event()

    def act(item):
        started.set()
        go.wait(10)
        done.append(item)

    queue = made(act, pending=2, lost=lost)
    queue.put(0)
    assert started.wait(10)
    for number in (1, 2, 3, 4):
        queue.put(number)
    assert lost == [(3, "2 others are waiting"), (4, "2 others are waiting")]
    go.set()
    queue.flush()
    assert (done, queue.lost) == ([0, 1, 2], 2)


def test_an_act_that_raises_loses_that_item_only():
    lost, done = [], []
    queue = made(lambda item: done.append(1 // item), lost=lost)
    for number in (1, 0, 1):
        queue.put(number)
    queue.flush()
    assert (done, lost, queue.lost) == ([1, 1], [(0, "ZeroDivisionError")], 1)
    assert (queue.newly_lost(), queue.newly_lost()) == (1, 0)


def test_an_item_that_need_not_wake_waits_for_one_that_does():
    done = []
    queue = made(done.append, pending=10)
    for number in range(4):
        queue.put(number, wake=False)
    assert queue._thread is None
    queue.put(4, wake=False)  # half full
    queue.flush()
    assert done == [0, 1, 2, 3, 4]


def test_a_flush_that_takes_too_long_says_how_many_wait():
    go = threading.Event()
    queue = made(lambda item: go.wait(10))
    queue.put(1)
    with pytest.raises(SinkError, match="1 still wait for a test"):
        queue.flush(0.01)
    go.set()
    queue.flush()


@pytest.fixture
def no_threads(monkeypatch):
    """As when the interpreter of Python 3.12 is ending."""

    def refuse(thread):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    monkeypatch.setattr(threading.Thread, "start", refuse)


@pytest.mark.usefixtures("no_threads")
def test_where_no_thread_can_begin_a_flush_does_what_waits(caplog):
    done, lost = [], []
    queue = made(lambda item: (queue.flush(600), done.append(1 // item)), lost=lost)
    for number in (1, 0, 1):
        queue.put(number)
    assert "a test has no thread, and works at a flush or at exit: can't create new thread" in caplog.text
    assert done == []
    queue.flush(600)
    assert (done, lost, queue.idle) == ([1, 1], [(0, "ZeroDivisionError")], True)


def test_two_that_flush_without_a_thread_do_each_item_once_and_the_next_item_begins_one(monkeypatch):
    done, go = [], threading.Event()
    queue = made(lambda item: (go.wait(10), done.append(item)))
    with monkeypatch.context() as patch:
        patch.setattr(
            "smartroute.concurrency.background.start_thread", Mock(side_effect=RuntimeError("no more"))
        )
        for number in range(20):
            queue.put(number)
        flushing = [threading.Thread(target=queue.flush) for _ in range(2)]
        for thread in flushing:
            thread.start()
        go.set()
        for thread in flushing:
            thread.join(30)
        assert sorted(done) == list(range(20))
    queue.put(20)
    queue.flush()
    assert done[-1] == 20


@pytest.mark.usefixtures("no_threads")
def test_a_flush_without_a_thread_begins_no_item_when_time_is_up(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("smartroute.concurrency.background.time", SimpleNamespace(monotonic=lambda: now[0]))
    queue = made(lambda item: now.append(now.pop() + 10.0))
    for number in range(3):
        queue.put(number)
    with pytest.raises(SinkError, match="1 still wait for a test, which has had 15 s"):
        queue.flush(15.0)
    queue.flush()
    assert (queue.idle, now) == (True, [30.0])


@pytest.mark.usefixtures("no_threads")
def test_a_flush_in_ones_own_thread_can_be_interrupted_and_loses_one_item(caplog):
    def interrupted(item):
        if item == 1:
            raise KeyboardInterrupt

    lost = []
    queue = made(interrupted, lost=lost)
    for number in range(3):
        queue.put(number)
    assert caplog.text.count("has no thread") == 1
    with pytest.raises(KeyboardInterrupt):
        queue.flush()
    queue.flush()
    assert (lost, queue.idle) == ([(1, "KeyboardInterrupt")], True)


def test_a_thread_outlives_an_item_that_is_interrupted():
    def interrupted(item):
        raise KeyboardInterrupt

    lost = []
    queue = made(interrupted, lost=lost)
    for number in range(2):
        queue.put(number)
        queue.flush()
    assert lost == [(0, "KeyboardInterrupt"), (1, "KeyboardInterrupt")]
    assert queue._thread.is_alive()


def test_a_flush_from_within_does_not_wait_for_itself():
    queue = made(lambda item: queue.flush())
    queue.put(1)
    queue.flush(10)
    assert queue.lost == 0


def test_closing_ends_the_thread_and_the_next_item_begins_another():
    done = []
    queue = made(done.append)
    queue.put(1)
    queue.close()
    first = queue._thread
    first.join(10)
    assert not first.is_alive()
    queue.put(2)
    queue.flush()
    assert done == [1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_begins_with_an_empty_queue_even_if_it_was_locked():
    go, done = threading.Event(), []
    queue = made(lambda item: (go.wait(10), done.append(item)))
    for number in range(3):
        queue.put(number)
    with queue._changed:  # as if another thread held it when this one forks
        child = os.fork()
        if child == 0:
            go.set()
            queue.put(7)
            queue.flush(10)
            os._exit(0 if done == [7] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    go.set()
    queue.flush()
    assert done == [0, 1, 2]


def test_what_waits_at_exit_is_done_first():
    code = (
        "import time\n"
        "from smartroute.concurrency.background import Background, one_by_one\n"
        "show = lambda item: (time.sleep(0.2), print(item, flush=True))\n"
        "second = Background(one_by_one(show), None, name='2', pending=9)\n"
        "fill = one_by_one(lambda item: (time.sleep(0.2), second.put(item)))\n"
        "first = Background(fill, None, name='1', pending=9)\n"
        "first.put('once'); first.put('again')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == ["once", "again"]


@pytest.mark.parametrize("pending", [0, -1, True, 2.0])
def test_a_queue_for_nothing_is_refused(pending):
    with pytest.raises(ConfigError, match="pending"):
        made(print, pending=pending)


def test_many_threads_lose_nothing():
    done = []
    queue = made(done.append, pending=10_000)
    threads = [threading.Thread(target=lambda: [queue.put(n) for n in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    queue.flush()
    assert sorted(done) == sorted(list(range(500)) * 8)


def batches_of(act, **settings):
    return Background(act, lambda item, why: None, name="a test", **{"pending": 100, **settings})


def test_items_that_wait_come_in_batches_as_soon_as_one_is_full():
    """With a linger of an hour only a full batch, or a flush, is due."""
    batches = []
    queue = batches_of(batches.append, batch=3, linger_s=3_600.0)
    for number in range(7):
        queue.put(number)
    with queue._changed:
        assert queue._changed.wait_for(lambda: len(queue._waiting) == 1, timeout=30)
    assert batches == [[0, 1, 2], [3, 4, 5]]
    queue.flush()
    assert batches[2:] == [[6]]


def test_a_batch_that_is_not_full_is_due_after_its_linger():
    batches = []
    queue = batches_of(batches.append, batch=100, linger_s=0.01)
    queue.put(1)
    with queue._changed:
        assert queue._changed.wait_for(lambda: queue.idle, timeout=30)
    assert batches == [[1]]


class Outage:
    """An act that fails until it is repaired."""

    def __init__(self):
        self.away = True
        self.tries = 0
        self.done = []

    def __call__(self, batch):
        self.tries += 1
        if self.away:
            raise ConnectionError("with a password")
        self.done += batch


def test_with_retry_what_fails_is_kept_in_order_and_tried_again():
    outage = Outage()
    queue = batches_of(outage, batch=2, retry=Retry(0.001, 0.002))
    for number in range(5):
        queue.put(number)
    with pytest.raises(SinkError, match=r"^5 still wait for a test: ConnectionError$"):
        queue.flush(0.1)
    assert outage.tries > 1
    outage.away = False
    queue.flush()
    assert (outage.done, queue.lost) == ([0, 1, 2, 3, 4], 0)


def test_a_flush_does_not_wait_for_the_end_of_a_pause():
    outage = Outage()
    queue = batches_of(outage, retry=Retry(3_600.0, 3_600.0))
    queue.put(1)
    with queue._changed:
        assert queue._changed.wait_for(lambda: outage.tries == 1 and not queue._busy, timeout=30)
    outage.away = False
    queue.flush(30)
    assert outage.done == [1]


def test_pauses_double_up_to_the_longest_and_start_again_after_a_success():
    outage = Outage()
    queue = batches_of(outage, retry=Retry(0.2, 1.0))
    pauses = []
    for _ in range(4):
        queue._do(queue._take())
        pauses.append(queue._pause_s)
    outage.away = False
    queue._do(queue._take())
    assert (pauses, queue._pause_s) == ([0.2, 0.4, 0.8, 1.0], 0.0)


def test_new_items_do_not_cut_a_pause_short():
    outage = Outage()
    queue = batches_of(outage, batch=2, retry=Retry(3_600.0, 3_600.0))
    for number in range(20):
        queue.put(number)
    with queue._changed:
        assert queue._changed.wait_for(lambda: outage.tries >= 1 and not queue._busy, timeout=30)
    for number in range(20, 40):
        queue.put(number)
    assert outage.tries == 1
    outage.away = False
    queue.flush()


def test_with_retry_what_is_being_tried_counts_as_waiting():
    outage, lost = Outage(), []
    queue = Background(
        outage,
        lambda item, why: lost.append((item, why)),
        name="a test",
        pending=3,
        retry=Retry(3_600.0, 3_600.0),
    )
    for number in range(5):
        queue.put(number)
    assert lost == [(3, "3 others are waiting"), (4, "3 others are waiting")]
    outage.away = False
    queue.flush()
    assert outage.done == [0, 1, 2]


def test_a_stop_leaves_what_waits_for_the_next_thread():
    outage = Outage()
    queue = batches_of(outage, retry=Retry(3_600.0, 3_600.0))
    queue.put(1)
    with queue._changed:
        assert queue._changed.wait_for(lambda: outage.tries == 1 and not queue._busy, timeout=30)
    queue.stop(30)
    assert not queue._thread.is_alive()
    outage.away = False
    queue.put(2)
    queue.flush()
    assert outage.done == [1, 2]


def test_a_thread_that_takes_over_waits_for_the_batch_of_the_one_that_leaves():
    go, running, done = threading.Event(), threading.Event(), []

    def act(batch):
        running.set()
        go.wait(10)
        done.extend(batch)

    queue = batches_of(act)
    queue.put(1)
    assert running.wait(10)
    queue.stop()
    queue.put(2)  # a second thread starts
    go.set()
    queue.flush()
    assert done == [1, 2]


@pytest.mark.usefixtures("no_threads")
def test_without_a_thread_a_batch_that_fails_and_is_kept_is_an_error_at_once():
    queue = batches_of(Outage(), retry=Retry(0.1, 1.0))
    queue.put(1)
    with pytest.raises(SinkError, match="1 still wait for a test: ConnectionError"):
        queue.flush(600)


def test_a_queue_that_fails_at_exit_is_tried_once_and_reported_once():
    code = (
        "import threading\n"
        "from smartroute.concurrency.background import Background, Retry\n"
        "def act(batch): raise ConnectionError\n"
        "def refuse(thread): raise RuntimeError('no more threads')\n"
        "threading.Thread.start = refuse\n"
        "queue = Background(act, None, name='1', pending=9, retry=Retry(0.1, 1.0), wording='events wait')\n"
        "queue.put(1)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr.count("at exit: 1 events wait: ConnectionError") == 1


@pytest.mark.parametrize("setting", [{"batch": 0}, {"batch": "5"}, {"linger_s": float("nan")}])
def test_a_batch_or_linger_that_cannot_be_is_refused(setting):
    (name,) = setting
    with pytest.raises(ConfigError, match=name):
        batches_of(print, **setting)
