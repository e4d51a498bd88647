"""Record every call that a provider makes, and read it back for a replay.

A transcript is a file of JSON lines, one per call. A line holds a hash of what was asked, and in full what
came of it, the answer's text included: record only what may be stored on your disk. The prompt is not
written, but the hash of a short prompt can be guessed. `occurrence` counts equal calls in the order in which
they started.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from smartroute.concurrency.forks import after_fork
from smartroute.concurrency.locks import fork_safe_lock
from smartroute.errors import SmartRouteError
from smartroute.records import Call, Failure, Reply, Timed, Usage

if TYPE_CHECKING:
    from smartroute.protocols import Provider

_log = logging.getLogger("smartroute")
_VERSION = 1


class UnrecordedCallError(SmartRouteError, LookupError):
    """A replay asks for a call that the transcript does not hold, or not so often. `call` is that call."""

    def __init__(self, message: str, *, call: Call) -> None:
        super().__init__(message)
        self.call = call


def call_key(call: Call) -> str:
    """Return what identifies a call: the SHA-256 of its model, effort, purpose, messages and params.

    Address, time limit and attempt number do not count: the same question asked again has the same key.
    """
    asked = [call.model, call.effort, call.purpose, list(call.messages), call.params]
    try:
        text = json.dumps(asked, sort_keys=True, separators=(",", ":"), default=_plain)
    except TypeError:
        # Keys of several types have no order (a logit_bias of numbers and words); as written, then.
        text = json.dumps(asked, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _plain(value: object) -> object:
    """Return a JSON form, the same in every process, of what the caller put among the parameters."""
    convert = getattr(value, "model_json_schema" if isinstance(value, type) else "model_dump", None)
    if callable(convert):
        return convert()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(map(str, value))
    kind = value if isinstance(value, type) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"


class _Started(NamedTuple):
    key: str
    run: str
    occurrence: int
    at_s: float


class RecordingProvider:
    """A provider that passes every call on to `inner` and appends its result to the file at `path`.

    Failures are recorded too. A disk that fails is logged once and counted in `lost`; the reply, paid for
    already, is still returned. Thread-safe; several processes may append to one file.
    """

    def __init__(self, inner: Provider, path: str | os.PathLike[str]) -> None:
        self.inner = inner
        self.path = Path(path)
        self.simulated = bool(getattr(inner, "simulated", False))
        self.needs_keys = bool(getattr(inner, "needs_keys", False))
        self.lost = 0
        self._lock = fork_safe_lock()
        self._file: IO[bytes] | None = None
        self._torn = False
        self._run = secrets.token_hex(8)
        self._counts: Counter[str] = Counter()
        after_fork(self, RecordingProvider._reset)

    def _reset(self) -> None:
        """Start a run of a forked child: it opens the file and counts its calls for itself."""
        self._run, self._file = secrets.token_hex(8), None
        self._counts.clear()

    def send(self, call: Call) -> Reply:
        """Return what the inner provider returns, or raise what it raises, and write it down."""
        started = self._start(call)
        with self._failures_written(call, started):
            reply = self.inner.send(call)
        self._write(call, started, reply)
        return reply

    async def asend(self, call: Call) -> Reply:
        """Do what `send` does, without blocking the event loop but for the write."""
        started = self._start(call)
        with self._failures_written(call, started):
            reply = await self.inner.asend(call)
        self._write(call, started, reply)
        return reply

    def warmup(self) -> None:
        """Warm the inner provider up."""
        if callable(warmup := getattr(self.inner, "warmup", None)):
            warmup()

    def close(self) -> None:
        """Close the file and the inner provider. The next call opens them again."""
        self._close_file()
        if callable(close := getattr(self.inner, "close", None)):
            close()

    async def aclose(self) -> None:
        """Close the file and the inner provider's connections of this event loop."""
        self._close_file()
        if callable(aclose := getattr(self.inner, "aclose", None)):
            await aclose()

    def _close_file(self) -> None:
        with self._lock:
            file, self._file = self._file, None
            if file is not None:
                file.close()

    @contextlib.contextmanager
    def _failures_written(self, call: Call, started: _Started) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._write(call, started, Failure.of(error))
            raise
        except BaseException:
            self._write(call, started, Failure.cancelled())
            raise

    def _start(self, call: Call) -> _Started:
        key = call_key(call)
        with self._lock:
            self._counts[key] += 1
            return _Started(key, self._run, self._counts[key], time.perf_counter())

    def _write(self, call: Call, started: _Started, result: Reply | Failure) -> None:
        latency_s = time.perf_counter() - started.at_s
        record: dict[str, Any] = {
            "v": _VERSION,
            "key": started.key,
            "run": started.run,
            "occurrence": started.occurrence,
            "model": call.model,
            "effort": call.effort,
            "purpose": call.purpose,
            "latency_s": latency_s,
            "simulated": self.simulated,
        }
        try:
            record["reply" if isinstance(result, Reply) else "failure"] = _document(result)
            line = json.dumps(record, separators=(",", ":"), default=_plain).encode("ascii") + b"\n"
            with self._lock:
                self._append(line)
        except (OSError, ValueError, TypeError) as error:
            self.lost += 1
            if self.lost == 1:
                _log.warning(
                    "cannot record to %s (%s: %s); further losses are only counted",
                    self.path,
                    type(error).__name__,
                    error,
                )

    def _append(self, line: bytes) -> None:
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("ab", buffering=0)
            self._torn = _ends_torn(self.path)
        if self._torn:
            line = b"\n" + line
        # Until the write is known to be whole, the next one starts on a line of its own.
        self._torn = True
        self._torn = self._file.write(line) < len(line)
        if self._torn:
            raise OSError(f"only a part of a line was written to {self.path}")


def _ends_torn(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _document(result: Reply | Failure) -> dict[str, Any]:
    if isinstance(result, Reply):
        usage = None if result.usage is None else asdict(result.usage)
        return {
            "text": result.text,
            "usage": usage,
            "finish_reason": result.finish_reason,
            "logprobs": result.logprobs,
            "tool_calls": result.tool_calls,
            "raw": result.raw,
            "model": result.model,
        }
    return {
        "kind": result.kind,
        "message": result.message,
        "transient": result.transient,
        "generated": result.generated,
        "status": result.status,
        "retry_after_s": result.retry_after_s,
        "usage": None if result.usage is None else asdict(result.usage),
    }


class Transcript:
    """Recorded calls, to be looked up in the order in which they were made.

    `bad_lines` counts lines that could not be read: torn by a crash, or not ours. `simulated` says
    whether any call was made up. Thread-safe.
    """

    def __init__(self, recorded: Mapping[str, tuple[Timed, ...]], *, bad_lines: int, simulated: bool) -> None:
        self.bad_lines = bad_lines
        self.simulated = simulated
        self._recorded = recorded
        self._used: Counter[str] = Counter()
        self._lock = fork_safe_lock()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Transcript:
        """Return the transcript in a file. Lines that cannot be read are skipped and counted."""
        calls_by_key: dict[str, list[tuple[int, int, Timed]]] = {}
        runs: dict[str, int] = {}
        bad_lines, simulated = 0, False
        with Path(path).open("rb") as file:
            for line in file:
                if not line.strip():
                    continue
                try:
                    record = json.loads(line)
                    position = runs.setdefault(record["run"], len(runs)), int(record["occurrence"])
                    timed = Timed(_result(record), float(record["latency_s"]))
                    calls_by_key.setdefault(record["key"], []).append((*position, timed))
                    simulated = simulated or bool(record["simulated"])
                except (ValueError, KeyError, TypeError):
                    bad_lines += 1
        ordered = {
            key: tuple(timed for _, _, timed in sorted(calls, key=lambda entry: entry[:2]))
            for key, calls in calls_by_key.items()
        }
        return cls(ordered, bad_lines=bad_lines, simulated=simulated)

    def lookup(self, call: Call) -> Timed:
        """Return what came of this call when it was recorded; of its next occurrence, when asked again.

        Raises UnrecordedCallError for a call that was not recorded, or not that often.
        """
        key = call_key(call)
        timeds = self._recorded.get(key, ())
        with self._lock:
            index = self._used[key]
            if index < len(timeds):
                self._used[key] = index + 1
                return timeds[index]
        effort = "" if call.effort is None else f" at effort {call.effort}"
        often = (
            "was not recorded" if not timeds else f"was recorded {len(timeds)} time(s) and asked once more"
        )
        raise UnrecordedCallError(
            f"the {call.purpose} call to {call.model}{effort} (key {key[:12]}) {often}; "
            "record a run that makes it, or replay what was recorded",
            call=call,
        )

    def rewind(self) -> None:
        """Start again with the first occurrence of every call."""
        with self._lock:
            self._used.clear()

    def __len__(self) -> int:
        return sum(map(len, self._recorded.values()))


def _result(record: Mapping[str, Any]) -> Reply | Failure:
    if "reply" in record:
        fields = dict(record["reply"])
        logprobs = fields["logprobs"]
        fields["logprobs"] = None if logprobs is None else tuple(logprobs)
        fields["tool_calls"] = tuple(fields["tool_calls"])
        fields["usage"] = _counted(fields["usage"])
        return Reply(**fields)
    fields = dict(record["failure"])
    fields["usage"] = _counted(fields["usage"])
    return Failure(**fields)


def _counted(usage: Mapping[str, Any] | None) -> Usage | None:
    return None if usage is None else Usage(**usage)
