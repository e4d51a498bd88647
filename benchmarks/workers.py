"""Run measured code in a separate process, one round at a time, over lines of JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

HERE = Path(__file__).resolve().parent


def environment(**more: str) -> dict[str, str]:
    """Return a measured process's environment: bytecode kept, nothing downloaded, no settings of the user."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ROUTER_", "ROUTING_")) and name != "ENABLE_SMART_ROUTING"
    }
    kept.pop("PYTHONDONTWRITEBYTECODE", None)
    kept.update(LITELLM_LOCAL_MODEL_COST_MAP="True", LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS="True")
    kept.update(dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY"), "sk-of-no-use"))
    return {**kept, **more}


class WorkerError(RuntimeError):
    """A worker that ended before it answered, by itself or because of its timeout."""


class Worker:
    """A script of this folder in another process, which answers each line of JSON with one."""

    def __init__(self, script: str, *arguments: str, python: str = sys.executable) -> None:
        self._name = " ".join((script, *arguments))
        self._process = subprocess.Popen(
            [python, str(HERE / script), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        try:
            self.greeting = self._read()
        except BaseException:
            self.close()
            raise

    def ask(self, within_s: float | None = None, **request: Any) -> Any:
        """Return the worker's answer. Raises WorkerError when there is none, or none in time."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        if within_s is None:
            return self._read()
        executioner = threading.Timer(within_s, self._process.kill)
        executioner.start()
        try:
            return self._read()
        finally:
            executioner.cancel()

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(f"{self._name} ended with code {self._process.wait()}; its error is above")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def serve(greeting: Mapping[str, Any], answer: Callable[[Mapping[str, Any]], Any]) -> None:
    """Run as a worker: print a greeting, then answer each line of the standard input until it ends.

    Whatever else the process prints goes to the standard error.
    """
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    print(json.dumps(greeting), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line))), file=out, flush=True)
