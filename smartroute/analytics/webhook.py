"""Deliver alerts to a web address: signed, retried, and never in the way of a request."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import queue
import threading
from dataclasses import asdict
from typing import TYPE_CHECKING

from smartroute.clock import Clock
from smartroute.errors import ConfigError, SinkError

if TYPE_CHECKING:
    from smartroute.analytics.alerts import Alert

_log = logging.getLogger("smartroute")
SIGNATURE = "X-SmartRoute-Signature"
"""The header that holds `t=<seconds>,v1=<HMAC-SHA256 in hex of "<seconds>.<body>" under the secret>`."""


class Webhook:
    """Posts each alert as JSON from a thread of its own; `Watch(deliver=[Webhook(...)])` uses it.

    An attempt that fails (no connection, a timeout, HTTP 429 or 5xx) is repeated up to `attempts` times,
    with waits that double from `wait_s`; then the alert is counted in `lost` and logged. At most `pending`
    alerts wait. Raises ConfigError for an address that is not http or https, or an empty secret.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        attempts: int = 4,
        wait_s: float = 1.0,
        timeout_s: float = 10.0,
        pending: int = 1_000,
        clock: Clock | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConfigError(f"a webhook's address must begin with http:// or https://, got {url!r:.60}")
        if not secret:
            raise ConfigError("a webhook needs a secret to sign with: any text that the receiver knows too")
        self._url = url
        self._secret = secret.encode()
        self._attempts = attempts
        self._wait_s = wait_s
        self._timeout_s = timeout_s
        self._clock = clock or Clock()
        self._queue: queue.Queue[Alert] = queue.Queue(pending)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self.lost = 0

    def __call__(self, alert: Alert) -> None:
        """Queue an alert. Returns at once."""
        try:
            self._queue.put_nowait(alert)
        except queue.Full:
            self._lose(alert, "too many are waiting")
            return
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._work, name="smartroute-webhook", daemon=True)
                self._thread.start()

    def flush(self, timeout_s: float = 30.0) -> None:
        """Wait until no alert is pending. Raises SinkError when that takes longer, or some were lost."""
        waiting = threading.Thread(target=self._queue.join, daemon=True)
        waiting.start()
        waiting.join(timeout_s)
        if waiting.is_alive():
            raise SinkError(f"alerts are still pending after {timeout_s:g} s")
        if self.lost:
            raise SinkError(f"{self.lost} alerts could not be delivered")

    def _work(self) -> None:
        while True:
            alert = self._queue.get()
            try:
                self._post(alert)
            except Exception as error:  # noqa: BLE001  the thread must outlive any one alert
                self._lose(alert, type(error).__name__)
            finally:
                self._queue.task_done()

    def _post(self, alert: Alert) -> None:
        import httpx
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

        body = json.dumps({**asdict(alert), "text": alert.explain()}).encode()
        retrying = Retrying(
            stop=stop_after_attempt(self._attempts),
            wait=wait_exponential(multiplier=self._wait_s),
            retry=retry_if_exception(_may_pass),
            sleep=self._clock.sleep,
            reraise=True,
        )
        for attempt in retrying:
            with attempt:
                headers = {"Content-Type": "application/json", SIGNATURE: self._signed(body)}
                httpx.post(
                    self._url, content=body, headers=headers, timeout=self._timeout_s
                ).raise_for_status()

    def _signed(self, body: bytes) -> str:
        at = str(int(self._clock.now()))
        return f"t={at},v1={signature(self._secret, at, body)}"

    def _lose(self, alert: Alert, why: str) -> None:
        self.lost += 1
        _log.warning("an alert was not delivered (%s): %s", why, alert.rule)

    def __repr__(self) -> str:
        return f"Webhook({self._url.partition('?')[0]!r})"


def signature(secret: bytes, at: str, body: bytes) -> str:
    """Return the signature of a body sent at a time, for a receiver to compare (with hmac.compare_digest)."""
    return hmac.new(secret, at.encode() + b"." + body, hashlib.sha256).hexdigest()


def _may_pass(error: BaseException) -> bool:
    import httpx

    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == 429 or error.response.status_code >= 500
    return isinstance(error, httpx.TransportError)
