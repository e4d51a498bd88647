"""Write events as lines of JSON, one write each.

A log is a folder of segments, one per process and UTC day, so that writers never share a file; the file
`holds.txt` in it says whether its traffic is real or simulated. A path to a file means that one file, which
processes share by appending; its first whole line says what it holds.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import socket
import stat
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Self

from smartroute.clock import Clock
from smartroute.concurrency.forks import after_fork
from smartroute.errors import ConfigError
from smartroute.events.event import Event
from smartroute.sinks.jsonl_source import MARKER, first_traffic, marked_traffic, traffic_at
from smartroute.sinks.locations import (
    default_log_path,
    is_same_file,
    is_single_file,
    log_place,
    settle,
    simulated_beside,
)
from smartroute.sinks.losses import Losses
from smartroute.sinks.segments import COMPRESSED, share

_DAY_S = 86_400
_EPOCH = date(1970, 1, 1).toordinal()
_FIRST_DAY, _LAST_DAY = date.min.toordinal() - _EPOCH, date.max.toordinal() - _EPOCH
_GLANCE_S = 1.0
_FLAGS = (
    os.O_APPEND
    | os.O_CREAT
    | os.O_WRONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe without a reader must not block a request
)


class JsonlSink:
    """A log on a local file system. Safe for threads, many processes, signals, after fork, and after close.

    An event is acknowledged when `emit` returned without counting it as lost: its write had returned. `emit`
    never raises, but for Ctrl-C: what cannot be written is counted in `lost` and logged once per outage, and
    the next event tries again. `simulated` declares what the log is for; None leaves it to the first event.
    With `fsync` every event survives a power failure too, at the cost of one disk flush per event.
    """

    def __init__(
        self,
        path: str | Path | None = None,
        *,
        simulated: bool | None = None,
        clock: Clock | None = None,
        fsync: bool = False,
    ) -> None:
        self.path = log_place(default_log_path(bool(simulated)) if path is None else path)
        self._simulated = simulated
        self._clock = clock or Clock()
        self._fsync = fsync
        # Reentrant, for the handler of a signal may emit or close while its own thread is writing.
        self._lock = threading.RLock()
        self._writing = self._close_due = False
        self._losses = Losses()
        self._handle: int | None = None
        self._file = self.path
        self._day: int | None = None
        self._torn = False
        self._holds: bool | None = None
        self._glanced = self._glance_due = 0.0
        after_fork(self, JsonlSink._after_fork)

    def emit(self, event: Event) -> None:
        """Append the event to the log."""
        line = event.to_line()
        with self._lock:
            if self._writing:
                self._emit_separately(event)
                return
            self._writing = True
            try:
                self._write(line, event.simulated)
            finally:
                self._writing = False
                if self._close_due:
                    self.close()

    def _write(self, line: bytes, simulated: bool) -> None:
        try:
            now = self._clock.now()
            handle = self._handle
            if handle is None or not self._glanced <= now < self._glance_due:
                handle = self._prepare(now, simulated)
            if self._holds is not simulated:
                self._admit(simulated)
            data = b"\n" + line if self._torn else line
            written = os.write(handle, data)
            if written != len(data) or self._torn or self._fsync or self._holds is None:
                self._acknowledge(handle, len(data) - written, simulated)
        except Exception as error:  # noqa: BLE001  the user's own clock may raise anything
            self._close_handle()
            reason = f"{self._file} cannot be written: {error}" if isinstance(error, OSError) else str(error)
            self._losses.add(reason or type(error).__name__)
            return
        except BaseException:
            # Ctrl-C may have come between opening and locking, or after half a line: start afresh.
            self._close_handle()
            raise
        if self._losses.spell:
            self._losses.end_spell()

    def _emit_separately(self, event: Event) -> None:
        """Write an event that a signal handler emits while another is being written.

        The state belongs to the other event, so this one gets a sink of its own.
        """
        with JsonlSink(self.path, simulated=self._simulated, clock=self._clock, fsync=self._fsync) as sink:
            sink._losses = self._losses
            sink.emit(event)

    def check(self) -> None:
        """Raise ConfigError when the log holds the other kind of traffic than declared, or cannot be read."""
        if self._simulated is None:
            return
        try:
            holds = traffic_at(self.path)
        except OSError as error:
            raise ConfigError(f"the log at {self.path} cannot be read: {error}") from error
        if holds is not None:
            _refuse_mixture(self.path, holds, self._simulated)

    @property
    def lost(self) -> int:
        """Return how many events this process could not write."""
        return self._losses.count

    def flush(self) -> None:
        """Raise SinkError when events were lost since the last flush. There is nothing to wait for."""
        with self._lock:
            self._losses.report()

    def close(self) -> None:
        """Close the file, after the event that is being written. The next event opens it again."""
        with self._lock:
            self._close_due = self._writing
            if not self._writing:
                self._close_handle()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        handle, self._handle = getattr(self, "_handle", None), None
        if handle is not None:
            # When the interpreter ends, the names of this module may be gone before this object is.
            try:  # noqa: SIM105
                close(handle)
            except OSError:
                pass

    def _prepare(self, now: float, simulated: bool) -> int:
        """Return the handle of the right file. The disk is checked at most once a second."""
        # A wrong clock costs no event: times beyond the first or last day count as that day.
        day = int(max(_FIRST_DAY, min(now // _DAY_S, _LAST_DAY)))
        folder = not is_single_file(self.path)
        if not folder:
            self._file, self._day = self.path, None
        # A clock that goes back over midnight keeps the newer segment, or each jump would open another.
        elif self._day is None or not self._day - 1 <= day <= self._day:
            self._file, self._day = self.path / _segment_name(day), day
        handle = self._handle
        if handle is not None and not is_same_file(handle, self._file):
            self._close_handle()
            handle = None
        if handle is None:
            self._check_declared(simulated)
            self._holds = _settle_traffic(self.path, simulated) if folder else first_traffic(self._file)
            self._admit(simulated)
            handle = self._open()
        self._glanced, self._glance_due = now, min(now + _GLANCE_S, (day + 1) * _DAY_S)
        return handle

    def _open(self) -> int:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._handle = handle = os.open(self._file, _FLAGS, 0o600)
        # A segment that is being compressed, or was since it was closed here, is left alone for a new one.
        while self._day is not None and not self._is_ours(handle):
            self._close_handle()
            self._file = self.path / _segment_name(self._day)
            self._handle = handle = os.open(self._file, _FLAGS, 0o600)
        state = os.fstat(handle)
        self._torn = stat.S_ISREG(state.st_mode) and state.st_size > 0 and not _ends_whole(self._file)
        return handle

    def _is_ours(self, handle: int) -> bool:
        """Return whether no other process is compressing or removing the open segment."""
        if not share(handle):
            return False
        packed = self._file.with_name(self._file.name + COMPRESSED)
        if packed.exists():
            with contextlib.suppress(OSError):
                if os.fstat(handle).st_size == 0:
                    self._file.unlink()  # opening it has created it again
            return False
        return is_same_file(handle, self._file)

    def _check_declared(self, simulated: bool) -> None:
        if self._simulated is not None and self._simulated is not simulated:
            raise ConfigError(
                f"this sink is declared for {_word(self._simulated)} events and this one is "
                f"{_word(simulated)}; use another sink for it"
            )

    def _admit(self, simulated: bool) -> None:
        """Raise ConfigError when an event of this kind does not belong in the log."""
        self._check_declared(simulated)
        if self._holds is not None:
            _refuse_mixture(self.path, self._holds, simulated)

    def _acknowledge(self, handle: int, missing_bytes: int, simulated: bool) -> None:
        """Finish an unusual write. Raises when the event is lost after all."""
        if missing_bytes:
            raise OSError(errno.ENOSPC, f"{missing_bytes} bytes of an event were not taken", str(self._file))
        self._torn = False
        if self._fsync:
            os.fsync(handle)
        if self._holds is None:
            # The first line of a shared file decides, and another process may have been first.
            first = first_traffic(self._file)
            self._holds = simulated if first is None else first
            _refuse_mixture(self.path, self._holds, simulated)

    def _close_handle(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with contextlib.suppress(OSError):
                os.close(handle)

    def _after_fork(self) -> None:
        """Start afresh in a forked child: its own lock, its own segment, its own count of losses."""
        self._lock = threading.RLock()
        self._writing = self._close_due = False
        self._losses = Losses()
        self._close_handle()
        self._day = None


def _segment_name(day: int) -> str:
    host = re.sub(r"[^A-Za-z0-9.]+", "_", socket.gethostname())[:40] or "host"
    return f"{date.fromordinal(_EPOCH + day)}-{host}-{os.getpid()}-{secrets.token_hex(8)}.jsonl"


def _ends_whole(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            return stream.read(1) == b"\n"
    except PermissionError:
        return False


def _word(simulated: bool) -> str:
    return "simulated" if simulated else "real"


def _refuse_mixture(path: Path, holds: bool, simulated: bool) -> None:
    if holds is not simulated:
        elsewhere = (
            f"log it elsewhere, say at {simulated_beside(path)}" if simulated else "choose another path"
        )
        raise ConfigError(
            f"{path} holds {_word(holds)} events and this one is {_word(simulated)}; {elsewhere}"
        )


def _settle_traffic(folder: Path, simulated: bool) -> bool:
    """Return what the folder holds; the first writer decides."""
    marked = marked_traffic(folder)
    if marked is not None:
        return marked
    present = traffic_at(folder)
    holds = simulated if present is None else present
    settle(folder / MARKER, f"{_word(holds)}\n".encode())
    marked = marked_traffic(folder)
    return holds if marked is None else marked
