"""A thread that was started runs, even where a tracer kills threads before their first line."""

import json
import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest

from smartroute.concurrency.threads import run_in_thread, start_thread

TRACED = """
import json, sys, threading, time
from smartroute.concurrency.threads import run_in_thread

def hook(event, args):
    if event == "sys.settrace":
        time.sleep(0.001)  # lets another thread run in the middle of it

def together(start):
    ran = []
    gate = threading.Barrier(4)
    def one():
        gate.wait()
        start(lambda: ran.append(1))
    for starter in (starters := [threading.Thread(target=one) for _ in range(4)]):
        starter.start()
    threading.settrace(lambda frame, event, arg: None)
    for starter in starters:
        starter.join()
    time.sleep(0.1)
    threading.settrace(None)
    return len(ran)

sys.unraisablehook = lambda error: None
sys.addaudithook(hook)
plain = sum(together(lambda work: threading.Thread(target=work).start()) for _ in range(10))
ours = sum(together(lambda work: run_in_thread(work).result(30.0)) for _ in range(10))
print(json.dumps({"plain": plain, "ours": ours}))
"""


def test_every_thread_runs_under_a_tracer_and_an_audit_hook():
    process = subprocess.run([sys.executable, "-c", TRACED], capture_output=True, text=True, timeout=120)
    ran = json.loads(process.stdout)
    assert ran["ours"] == 40, process.stderr
    if sys.version_info < (3, 12):
        assert ran["plain"] < 40, "this interpreter kills no thread, so nothing was tested"


class Stillborn(threading.Thread):
    """Ends before it begins, the first `left` times."""

    left = 0

    def run(self) -> None:
        if Stillborn.left > 0:
            Stillborn.left -= 1
            return
        super().run()


def test_a_thread_that_ends_before_it_begins_is_replaced(monkeypatch):
    monkeypatch.setattr(threading, "Thread", Stillborn)
    monkeypatch.setattr(Stillborn, "left", 3)
    assert run_in_thread(lambda: 7).result(10.0) == 7
    assert Stillborn.left == 0


def test_threads_that_never_begin_are_an_error(monkeypatch):
    monkeypatch.setattr(threading, "Thread", Stillborn)
    monkeypatch.setattr(Stillborn, "left", 1_000)
    ran = []
    with pytest.raises(RuntimeError, match="20 threads in a row"):
        start_thread(lambda: ran.append(1), "never")
    assert ran == []


def test_a_thread_has_its_name_keeps_no_process_alive_and_has_the_callers_context():
    asking = ContextVar("asking", default="none")
    asking.set("me")
    result = run_in_thread(lambda: (threading.current_thread(), asking.get()), "of-its-own").result(10.0)
    assert (result[0].name, result[0].daemon, result[1]) == ("of-its-own", True, "me")


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(), KeyboardInterrupt(), GeneratorExit()])
def test_what_is_no_error_of_the_work_comes_as_one_that_a_loop_survives(error):
    def leave():
        raise error

    with pytest.raises(RuntimeError, match=type(error).__name__) as caught:
        run_in_thread(leave).result(10.0)
    assert caught.value.__cause__ is error


def test_an_error_of_the_work_is_what_whoever_waits_gets():
    with pytest.raises(ZeroDivisionError):
        run_in_thread(lambda: 1 / 0).result(10.0)
