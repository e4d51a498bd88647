"""Deliver alerts to a webhook: signed, retried, and without delaying a request."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import json
import logging
import math
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from smartroute.clock import Clock
from smartroute.concurrency.background import Background, one_by_one
from smartroute.errors import ConfigError, SinkError
from smartroute.number_checks import checked_number, checked_whole

if TYPE_CHECKING:
    from smartroute.analytics.alerts.watch import Alert

_log = logging.getLogger("smartroute")

SIGNATURE = "X-Smartroute-Signature"
"""The header that holds `t=<seconds>,v1=<HMAC-SHA256 in hex of "<seconds>.<body>" under the secret>`."""

KEY = "Idempotency-Key"
"""The header that holds the alert's id, which is the same for every attempt to deliver it."""

REPLAY_S = 300.0
"""How old, or how far ahead of the receiver's clock, a signature may be, in seconds."""

_RETRIED = frozenset({408, 425, 429})


class Webhook:
    """Posts each alert as JSON, on its own thread. Pass it as `Watch(deliver=[Webhook(...)])`.

    An attempt that fails for a passing reason (no connection, a timeout, HTTP 408, 425, 429 or 5xx) is
    retried, with `attempts` in all. The waits double from `wait_s`, or last as long as Retry-After asks, but
    never more than `most_wait_s`. Then the alert is counted in `lost` and logged. At most `pending` alerts
    wait. Redirects are not followed. Each attempt has its own signature, and carries the alert's id.

    Any address is allowed, also on this host or a private network: the choice is yours. The address, the
    secret and the body are never logged. Raises ConfigError for an address that is not http or https or holds
    a user or a password, for an empty secret, and for a number out of its range.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        attempts: int = 4,
        wait_s: float = 1.0,
        most_wait_s: float = 300.0,
        timeout_s: float = 10.0,
        pending: int = 1_000,
        clock: Clock | None = None,
    ) -> None:
        self._url, self._host = _checked_url(url)
        if not isinstance(secret, str) or not secret:
            raise ConfigError("a webhook needs a secret to sign with: any text that the receiver knows too")
        checked_whole(attempts, "attempts", least=1)
        checked_number(wait_s, "wait_s", least=0)
        checked_number(most_wait_s, "most_wait_s", least=0)
        checked_number(timeout_s, "timeout_s", above=0)
        self._secret = secret.encode()
        self._attempts = attempts
        self._wait_s = wait_s
        self._most_wait_s = most_wait_s
        self._timeout_s = timeout_s
        self._clock = clock or Clock()
        self._opener: urllib.request.OpenerDirector | None = None
        self._queue = Background(
            one_by_one(self.post), self._lose, name="smartroute-webhook", pending=pending
        )

    def __call__(self, alert: Alert) -> None:
        """Queue an alert. Returns at once."""
        self._queue.put(alert)

    @property
    def lost(self) -> int:
        """Return how many queued alerts could not be delivered."""
        return self._queue.lost

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until no alert is pending. Raises SinkError when that takes longer, or some were lost."""
        self._queue.flush(timeout_s)
        if lost := self._queue.newly_lost():
            raise SinkError(f"{lost} alerts could not be delivered")

    def close(self, timeout_s: float = 30.0) -> None:
        """Flush as `flush` does, and end the thread. The next alert starts another."""
        try:
            self.flush(timeout_s)
        finally:
            self._queue.close(0.0)

    def post(self, alert: Alert) -> None:
        """Deliver an alert now, and wait for it. Raises SinkError when no attempt succeeds."""
        body = json.dumps(alert.as_dict()).encode()
        for number in range(self._attempts):
            failure = self._send(body, alert.id)
            if failure is None:
                return
            if not failure.retry or number + 1 == self._attempts:
                raise SinkError(f"{self._host} did not take an alert: {failure.why}")
            pause_s = max(self._wait_s * 2.0**number, failure.retry_after_s)
            self._clock.sleep(min(pause_s, self._most_wait_s))

    def _send(self, body: bytes, key: str) -> _Failure | None:
        """Make one attempt. Return its failure, None when it succeeded."""
        headers = {"Content-Type": "application/json", KEY: key, SIGNATURE: self._signed(body)}
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")
        if self._opener is None:
            self._opener = _opener(self._url)
        try:
            self._opener.open(request, timeout=self._timeout_s).close()
        except urllib.error.HTTPError as error:
            with error:
                retry = error.code in _RETRIED or error.code >= 500
                return _Failure(f"HTTP {error.code}", retry, _retry_after_s(error.headers))
        except (OSError, http.client.HTTPException) as error:
            # urllib wraps the cause, a timeout say, in `reason`; the class names it without the address.
            reason = getattr(error, "reason", error)
            return _Failure(type(reason if isinstance(reason, Exception) else error).__name__)
        return None

    def _signed(self, body: bytes) -> str:
        at = str(int(self._clock.now()))
        return f"t={at},v1={signature(self._secret, at, body)}"

    def _lose(self, alert: Alert, why: str) -> None:
        _log.warning("an alert was not delivered (%s): %s", why, alert.rule)

    def __repr__(self) -> str:
        return f"Webhook({self._host!r})"


def signature(secret: bytes, at: str, body: bytes) -> str:
    """Return the signature, in hex, of a body sent at `at`, which is whole seconds since the epoch as text.

    A receiver compares it with hmac.compare_digest, or calls `verify`.
    """
    return hmac.new(secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()


def verify(
    secret: str, header: str | None, body: bytes, *, now_s: float | None = None, within_s: float = REPLAY_S
) -> bool:
    """Return whether the sender of a body knows the secret, and signed it within `within_s` of now.

    `header` is the value of the header SIGNATURE, `body` the bytes as they arrived. Compares in constant
    time. A recorded request can be sent again within `within_s`: keep the ids (KEY) that arrived for as long,
    and take each once.
    """
    match = re.fullmatch(r"t=([0-9]{1,12}),v1=([0-9a-f]{64})", header or "")
    if match is None:
        return False
    expected = signature(secret.encode(), match[1], body)
    fresh = abs((time.time() if now_s is None else now_s) - int(match[1])) <= within_s
    return hmac.compare_digest(expected, match[2]) and fresh


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why an attempt failed, whether to retry, and how long the receiver asks to wait."""

    why: str
    retry: bool = True
    retry_after_s: float = 0.0


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: a body signed for one receiver is not sent to another."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _opener(url: str) -> urllib.request.OpenerDirector:
    # Not httpx, which logs whole addresses: those of many services contain a secret.
    handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
    if _is_loopback(urllib.parse.urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))  # a proxy cannot reach this host's loopback
    if url.startswith("https:"):
        import httpx

        handlers.append(urllib.request.HTTPSHandler(context=httpx.create_ssl_context()))
    return urllib.request.build_opener(*handlers)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _checked_url(url: str) -> tuple[str, str]:
    """Return an address, and the part of it that may be shown: scheme, host and port."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port  # reading the port raises for one that is no number
    except (ValueError, AttributeError, TypeError):
        parts, host = urllib.parse.urlsplit(""), None
    if parts.scheme not in ("http", "https") or not host or not url.isascii() or re.search(r"\s", url):
        raise ConfigError("a webhook's address must be http://host/... or https://host/..., in ASCII")
    if parts.username is not None or parts.password is not None:
        raise ConfigError(f"the address of the webhook at {host} must not hold a user or a password")
    return url, f"{parts.scheme}://{parts.netloc}"


def _retry_after_s(headers: Any) -> float:
    """Return how many seconds the receiver asks to wait, by seconds or a date; 0 without a valid header."""
    value = headers.get("Retry-After") or ""
    try:
        seconds = float(value)
    except ValueError:
        try:
            # A date is compared with the receiver's own clock where it sends that.
            sent = headers.get("Date")
            now_s = parsedate_to_datetime(sent).timestamp() if sent else time.time()
            seconds = parsedate_to_datetime(value).timestamp() - now_s
        except (TypeError, ValueError):
            return 0.0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0.0
