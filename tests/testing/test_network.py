"""The guard lets loopback through and nothing else, in every thread, and does not forget."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress

import pytest

from smartroute.testing.network import NetworkAccessError, no_network

# TEST-NET-1 (RFC 5737): nobody is there, should the guard fail.
ELSEWHERE = "192.0.2.1"


def tcp() -> None:
    with socket.socket() as s:
        s.settimeout(0.1)
        s.connect((ELSEWHERE, 80))


def tcp_quiet() -> None:
    with socket.socket() as s:
        s.settimeout(0.1)
        s.connect_ex((ELSEWHERE, 80))


def tcp6() -> None:
    with socket.socket(socket.AF_INET6) as s:
        s.settimeout(0.1)
        s.connect(("2001:db8::1", 80))


def udp() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"x", (ELSEWHERE, 53))


def lookup() -> None:
    socket.getaddrinfo("api.openai.com", 443)


def old_lookup() -> None:
    socket.gethostbyname("api.openai.com")


def urlopen() -> None:
    urllib.request.urlopen(f"http://{ELSEWHERE}/", timeout=0.1)


def asyncio_connect() -> None:
    async def main() -> None:
        await asyncio.wait_for(asyncio.open_connection("api.openai.com", 443), 1)

    asyncio.run(main())


REACHES = [tcp, tcp_quiet, tcp6, udp, lookup, old_lookup, urlopen, asyncio_connect]


@pytest.mark.parametrize("reach", REACHES)
def test_reaching_out_is_refused_on_the_spot(reach: Callable[[], None]) -> None:
    # The guard of the test itself sees it too, so this is held away from it: see `unguarded`.
    with unguarded(), pytest.raises(NetworkAccessError), no_network():
        reach()


@pytest.mark.parametrize("reach", REACHES)
def test_a_swallowed_refusal_is_raised_again_at_the_end(reach: Callable[[], None]) -> None:
    with (
        unguarded(),
        pytest.raises(NetworkAccessError, match="refused"),
        no_network(),
        suppress(BaseException),
    ):
        reach()


def test_a_thread_that_dies_of_it_fails_the_block() -> None:
    def quietly() -> None:
        with suppress(BaseException):
            tcp()

    with unguarded(), pytest.raises(NetworkAccessError, match=ELSEWHERE), no_network():
        thread = threading.Thread(target=quietly)
        thread.start()
        thread.join()


def test_loopback_is_free() -> None:
    with no_network(), socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        socket.create_connection(("localhost", address[1])).close()
        socket.create_connection(("127.0.0.1", address[1])).close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.sendto(b"x", ("127.0.0.2", 9))
    with no_network():
        left, right = socket.socketpair()
        left.close()
        right.close()


def test_outside_the_block_nothing_is_refused() -> None:
    with unguarded():
        with no_network():
            pass
        sys.audit("socket.getaddrinfo", "api.openai.com", 443, 0, 0, 0)


def test_an_inner_blocks_end_does_not_open_the_outer_one() -> None:
    with unguarded(), pytest.raises(NetworkAccessError), no_network():
        with no_network():
            pass
        lookup()


def test_an_error_of_the_body_is_not_replaced() -> None:
    with unguarded(), pytest.raises(ZeroDivisionError) as caught, no_network():
        with suppress(NetworkAccessError):
            tcp()
        raise ZeroDivisionError
    assert ELSEWHERE in caught.value.__notes__[0]


class unguarded:  # noqa: N801
    """Lift the guard that stands around every test, for the tests of the guard."""

    def __enter__(self) -> None:
        from smartroute.testing import network

        self.outer = list(network._watching)
        network._watching.clear()

    def __exit__(self, *_: object) -> None:
        from smartroute.testing import network

        network._watching[:] = self.outer
