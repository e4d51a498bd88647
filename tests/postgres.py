"""Start a PostgreSQL server of its own for the tests: on loopback, in a temporary folder, gone afterward."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path


class Server:
    """A throwaway server. `url(name)` makes an empty database and returns its address."""

    def __init__(self, binaries: Path, *, fsync: bool = False) -> None:
        self._fsync = "on" if fsync else "off"
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="smartroute-pg-"))
        # PostgreSQL refuses to run as root; its own user is made with its packages.
        self._as = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        if self._as:
            shutil.chown(self._folder, "postgres")
        self.port = _unused_port()
        self._data = self._folder / "data"
        self._run("initdb", "-D", self._data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync")
        self._made = 0
        self.start()

    def _run(self, program: str, *arguments: object) -> None:
        command = [*self._as, self._binaries / program, *arguments]
        subprocess.run(list(map(str, command)), check=True, capture_output=True, timeout=60, cwd=self._folder)

    def start(self) -> None:
        """Start it, and wait until it answers. Of one that was killed, parts may be there for a moment."""
        options = (
            f"-c listen_addresses=127.0.0.1 -c port={self.port} -c unix_socket_directories='' "
            f"-c fsync={self._fsync}"
        )
        log = self._folder / "log"
        # Its output must not hold our pipes open: pg_ctl hands them on to the server.
        command = [
            *self._as,
            self._binaries / "pg_ctl",
            "-D",
            self._data,
            "-l",
            log,
            "-w",
            "-o",
            options,
            "start",
        ]
        for left in reversed(range(20)):
            done = subprocess.run(
                list(map(str, command)), check=not left, timeout=60, cwd=self._folder,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            if done.returncode == 0:
                return
            time.sleep(0.5)

    def stop(self, mode: str = "immediate") -> None:
        """Stop it: "immediate" as a crash would, "fast" as an administrator does, "kill" by a kill -9."""
        if mode != "kill":
            self._run("pg_ctl", "-D", self._data, "-m", mode, "-w", "stop")
            return
        pid = int((self._data / "postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGKILL)

    def url(self) -> str:
        """Return the address of a new, empty database."""
        self._made += 1
        name = f"log{self._made}"
        self._run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "tester", name)
        return f"postgresql+psycopg://tester@127.0.0.1:{self.port}/{name}"

    def run(self, program: str, url: str, *arguments: str, stdin: str = "") -> str:
        """Run one of PostgreSQL's programs on a database, and return what it printed."""
        command = [str(self._binaries / program), url.replace("+psycopg", ""), *arguments]
        done = subprocess.run(command, check=True, capture_output=True, timeout=60, input=stdin, text=True)
        return done.stdout

    def remove(self) -> None:
        """Stop it and delete its folder."""
        with contextlib.suppress(subprocess.CalledProcessError):  # it is stopped already
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def _unused_port() -> int:
    """Return a port below those that systems give to connections: nobody gets it while the server is down."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("none of a hundred ports is free")


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs, None when they are not installed."""
    found = shutil.which("pg_ctl") or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), reverse=True)), None
    )
    return None if found is None else Path(found).resolve().parent
