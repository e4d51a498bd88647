"""A webhook over real HTTP on loopback: signed, retried, delivered once, with no secret in any log."""

import hmac
import json
import logging
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smartroute.analytics import Alert, Watch, Webhook
from smartroute.analytics.alerts.webhook import KEY, REPLAY_S, SIGNATURE, signature, verify
from smartroute.errors import ConfigError, SinkError
from smartroute.testing import FrozenClock

ALERT = Alert("errors", "critical", True, 0.5, 0.2, 100, "2026-11-23T08:00:00.000000Z", None, "Look.")


class Receiver:
    """A web server that keeps what it received, and answers with the (status, headers) given, then 204."""

    def __init__(self, *answers):
        self.requests, left = [], list(answers)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((dict(self.headers), body))
                status, headers = left.pop(0) if left else (204, {})
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *args):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/services/t0ken?key=hidden"

    def close(self):
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def receiver(request):
    made = Receiver(*getattr(request, "param", ()))
    yield made
    made.close()


def test_a_webhook_posts_the_alert_signed(receiver):
    hook = Webhook(receiver.url, "s3cret", clock=FrozenClock(1_800_000_000.0))
    Watch([], [hook]).notify(ALERT)
    hook.flush()
    ((headers, body),) = receiver.requests
    document = json.loads(body)
    assert (document["rule"], document["raised"], document["n"]) == ("errors", True, 100)
    assert document["text"] == ALERT.explain()
    assert headers["Content-Type"] == "application/json"
    parts = dict(part.split("=", 1) for part in headers[SIGNATURE].split(","))
    assert parts["t"] == "1800000000"
    expected = hmac.new(b"s3cret", b"1800000000." + body, "sha256").hexdigest()
    assert parts["v1"] == signature(b"s3cret", "1800000000", body) == expected
    assert verify("s3cret", headers[SIGNATURE], body, now_s=1_800_000_100.0)


def test_a_signature_by_hand():
    """HMAC-SHA256 as RFC 2104 writes it, of another implementation: the two hashes one by one."""
    from hashlib import sha256

    key = b"s3cret".ljust(64, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in key) + b"17.{}").digest()
    assert signature(b"s3cret", "17", b"{}") == sha256(bytes(b ^ 0x5C for b in key) + inner).hexdigest()


def signed(secret="s3cret", at="1800000000", body=b"{}"):
    return f"t={at},v1={signature(secret.encode(), at, body)}"


@pytest.mark.parametrize(
    ("header", "body", "now_s", "taken"),
    [
        (signed(), b"{}", 1_800_000_000.0, True),
        (signed(), b"{}", 1_800_000_000.0 + REPLAY_S, True),
        (signed(), b"{}", 1_800_000_001.0 + REPLAY_S, False),
        (signed(), b"{}", 1_799_999_999.0 - REPLAY_S, False),
        (signed(), b"{ }", 1_800_000_000.0, False),
        (signed(secret="other"), b"{}", 1_800_000_000.0, False),
        (signed().replace("t=1800000000", "t=1800000100"), b"{}", 1_800_000_100.0, False),
        (signed().upper(), b"{}", 1_800_000_000.0, False),
        (signed() + ",v1=00", b"{}", 1_800_000_000.0, False),
        ("v1=00", b"{}", 1_800_000_000.0, False),
        ("", b"{}", 1_800_000_000.0, False),
        (None, b"{}", 1_800_000_000.0, False),
    ],
)
def test_an_altered_or_old_body_is_not_verified(header, body, now_s, taken):
    assert verify("s3cret", header, body, now_s=now_s) is taken


@given(st.text(), st.binary())
def test_no_header_makes_the_receiver_raise(header, body):
    assert verify("s3cret", header, body) is False


@pytest.mark.parametrize("receiver", [[(503, {}), (429, {})]], indirect=True)
def test_a_receiver_that_is_down_for_a_while_gets_the_alert_later_and_once(receiver):
    """Each attempt has its own time and signature, and all have the alert's id."""
    clock = FrozenClock(1_800_000_000.0)
    hook = Webhook(receiver.url, "s", clock=clock)
    hook(ALERT)
    hook.flush()
    assert clock.slept == [1.0, 2.0]
    assert [headers[SIGNATURE][2:12] for headers, _ in receiver.requests] == [
        "1800000000",
        "1800000001",
        "1800000003",
    ]
    assert {headers[KEY] for headers, _ in receiver.requests} == {ALERT.id}
    for headers, body in receiver.requests:
        assert verify("s", headers[SIGNATURE], body, now_s=1_800_000_003.0)


@pytest.mark.parametrize(
    ("receiver", "slept"),
    [
        ([(429, {"Retry-After": "7"})], [7.0]),
        ([(503, {"Retry-After": "0.5"})], [1.0]),
        ([(503, {"Retry-After": "86400"})], [300.0]),
        ([(503, {"Retry-After": formatdate(1_800_000_020.0, usegmt=True), "Date": "x"})], [300.0]),
        ([(503, {"Retry-After": "soon"})], [1.0]),
        ([(503, {"Retry-After": "-3"})], [1.0]),
        ([(503, {"Retry-After": "inf"})], [1.0]),
    ],
    indirect=["receiver"],
)
def test_retry_after_is_waited_for_within_bounds(receiver, slept):
    clock = FrozenClock()
    hook = Webhook(receiver.url, "s", clock=clock)
    hook.post(ALERT)
    assert clock.slept == slept
    assert len(receiver.requests) == 2


def test_retry_after_as_a_date_counts_by_the_receivers_clock():
    from smartroute.analytics.alerts.webhook import _retry_after_s

    headers = {"Retry-After": "Mon, 23 Nov 2026 08:00:30 GMT", "Date": "Mon, 23 Nov 2026 08:00:00 GMT"}
    assert _retry_after_s(headers) == 30.0


@pytest.mark.parametrize("receiver", [[(400, {})], [(500, {})] * 9], indirect=True)
def test_an_alert_that_cannot_be_delivered_is_counted_and_logged_once(receiver, caplog):
    hook = Webhook(receiver.url, "s", clock=FrozenClock())
    hook(ALERT)
    with pytest.raises(SinkError, match="1 alerts could not be delivered"):
        hook.flush()
    hook.flush()
    assert hook.lost == 1
    assert len(receiver.requests) in (1, 4)
    assert "was not delivered (http://127.0.0.1" in caplog.text


@pytest.mark.parametrize("receiver", [[(302, {"Location": "http://127.0.0.1:9/"})]], indirect=True)
def test_a_redirect_is_not_followed(receiver):
    with pytest.raises(SinkError, match="HTTP 302"):
        Webhook(receiver.url, "s", clock=FrozenClock()).post(ALERT)
    assert len(receiver.requests) == 1


def test_a_proxy_is_not_asked_for_this_host(receiver, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9/")
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    Webhook(receiver.url, "s", clock=FrozenClock()).post(ALERT)
    assert len(receiver.requests) == 1


def test_an_https_address_is_reached_by_tls(receiver):
    hook = Webhook(receiver.url.replace("http:", "https:"), "s", attempts=1, clock=FrozenClock())
    with pytest.raises(SinkError, match="SSLError"):
        hook.post(ALERT)
    assert receiver.requests == []


def test_a_receiver_that_is_not_there_is_an_error_that_names_only_the_host():
    receiver = Receiver()
    receiver.close()
    clock = FrozenClock()
    with pytest.raises(SinkError, match="did not take an alert: ConnectionRefusedError") as caught:
        Webhook(receiver.url, "s", clock=clock).post(ALERT)
    assert clock.slept == [1.0, 2.0, 4.0]
    assert "t0ken" not in str(caught.value)


@pytest.mark.parametrize("receiver", [[(503, {}), (400, {})]], indirect=True)
def test_no_secret_is_logged_at_any_level(receiver, caplog):
    """Not the signing secret, nor the address: those of chat services hold one."""
    with caplog.at_level(logging.DEBUG):
        hook = Webhook(receiver.url, "s3cret", clock=FrozenClock())
        hook(ALERT)
        with pytest.raises(SinkError):
            hook.flush()
    for text in (caplog.text, repr(hook)):
        assert "s3cret" not in text and "t0ken" not in text and "hidden" not in text


def test_a_call_returns_while_the_receiver_is_slow():
    """The receiver answers only after the call has returned: waiting for it would never end."""
    go = threading.Event()

    class Slow(FrozenClock):
        def now(self):
            go.wait(10)
            return super().now()

    receiver = Receiver()
    hook = Webhook(receiver.url, "s", clock=Slow())
    hook(ALERT)
    assert receiver.requests == []
    go.set()
    hook.close()
    assert len(receiver.requests) == 1
    receiver.close()


def test_a_full_queue_loses_the_newest_and_does_not_wait(caplog):
    go = threading.Event()

    class Slow(FrozenClock):
        def now(self):
            go.wait(10)
            return super().now()

    receiver = Receiver()
    hook = Webhook(receiver.url, "s", pending=1, clock=Slow())
    for _ in range(5):
        hook(ALERT)
    assert hook.lost >= 3
    assert "1 others are waiting" in caplog.text
    go.set()
    with pytest.raises(SinkError, match="could not be delivered"):
        hook.close()
    assert len(receiver.requests) + hook.lost == 5
    receiver.close()


@pytest.mark.parametrize(
    ("url", "fields", "message"),
    [
        ("ftp://x", {}, "address"),
        ("http://", {}, "address"),
        ("http://x:port/", {}, "address"),
        ("http://x/\nHost: y", {}, "address"),
        (None, {}, "address"),
        ("https://user:pass@x/", {}, "at x must not hold a user or a password"),
        ("http://x", {"secret": ""}, "secret"),
        ("http://x", {"attempts": 0}, "attempts"),
        ("http://x", {"attempts": "4"}, "attempts must be a whole number of at least 1, got '4'"),
        ("http://x", {"wait_s": None}, "wait_s must be a finite number of at least 0, got None"),
        ("http://x", {"most_wait_s": float("inf")}, "most_wait_s must be a finite number"),
        ("http://x", {"timeout_s": 0}, "timeout_s"),
        ("http://x", {"pending": 0}, "pending"),
    ],
)
def test_an_invalid_webhook_is_refused_without_its_password(url, fields, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Webhook(url, **{"secret": "s", **fields})
    assert "pass@" not in str(caught.value)
