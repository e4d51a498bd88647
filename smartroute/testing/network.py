"""Block network access in tests: only loopback is allowed. The only module that watches sockets.

Python raises an audit event before every connection and every look-up of a name, in whatever code and
thread, so one audit hook sees them all. Audit hooks cannot be taken out again; outside a `no_network` block
ours returns at once. Child processes, and event loops that bypass Python's sockets (uvloop), are not seen.

With an audit hook and a tracer (coverage, a debugger) in one process, Python 3.11 may, rarely, kill a new
thread ("Cannot install a trace function while another trace function is being installed").
"""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class NetworkAccessError(AssertionError):
    """Something inside a `no_network` block reached for another host."""


_LOOKUPS = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})
_SENDS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_lock = threading.Lock()
_watching: list[list[str]] = []
_installed = False


@contextmanager
def no_network() -> Iterator[None]:
    """Refuse every connection and every name look-up beyond loopback, in all threads, while the block runs.

    The offending call raises NetworkAccessError on the spot; where code swallows that (a client that
    falls back to a cached file, a background thread), it is raised again when the block ends.
    """
    global _installed
    seen: list[str] = []
    with _lock:
        if not _installed:
            sys.addaudithook(_watch)
            _installed = True
        _watching.append(seen)
    try:
        yield
    except BaseException as error:
        for line in seen:
            error.add_note(f"no_network refused {line}")
        raise
    finally:
        with _lock:
            # By identity: two lists of the same lines are equal.
            _watching[:] = [other for other in _watching if other is not seen]
    if seen:
        raise NetworkAccessError(f"{len(seen)} reach(es) beyond loopback were refused: {', '.join(seen)}")


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if not _watching or not event.startswith("socket."):
        return
    if event in _LOOKUPS:
        host = args[0]
        if _is_this_host(host):
            return
        line = f"the look-up of {_words(host)!r}"
    elif event in _SENDS:
        address = args[1]
        # An unconnected send names no address; a path, a netlink or a packet address is not the internet.
        if getattr(args[0], "family", None) not in (socket.AF_INET, socket.AF_INET6) or address is None:
            return
        if _is_this_host(address[0]):
            return
        line = f"{event.removeprefix('socket.')} to {_words(address[0])}:{address[1]}"
    else:
        return
    for seen in list(_watching):
        seen.append(line)
    raise NetworkAccessError(
        f"{line} was refused: inside no_network() only loopback may be reached; "
        "point the client at a server on 127.0.0.1"
    )


def _words(host: object) -> str:
    return host.decode("ascii", "replace") if isinstance(host, bytes | bytearray) else str(host)


def _is_this_host(host: object) -> bool:
    if host is None:
        return True
    name = _words(host).strip("[]").rstrip(".").lower()
    if name in ("", "localhost", "localhost.localdomain") or name.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return name == socket.gethostname().lower()
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)
