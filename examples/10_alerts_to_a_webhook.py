"""Send alerts to a webhook, signed and retried, when requests fail or cost too much, and when that ends.

A receiver on this host stands in for your chat or pager. It is busy at first, so the first alert arrives at
the second attempt, and it accepts nothing whose signature is wrong.
"""

import contextlib
import http.client
import json
import os
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from smartroute import ModelRouter
from smartroute.analytics import DEFAULT_RULES, AlertSink, Watch, Webhook, budget_rule
from smartroute.analytics.alerts.webhook import KEY, SIGNATURE, verify
from smartroute.clock import Clock
from smartroute.errors import LedgerError, ProviderUnavailableError
from smartroute.records import Call, Reply
from smartroute.sinks import FanOut, MemorySink
from smartroute.testing import FrozenClock, ScriptedProvider, reply

SECRET = "known to both sides; in production, from a vault"


class Receiver(BaseHTTPRequestHandler):
    """What you would write: check the signature, take each id once, and show the text."""

    attempts = 0
    taken: set[str] = set()  # noqa: RUF012  http.server makes a handler for each request

    def do_POST(self) -> None:
        """Answer one delivery."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Receiver.attempts += 1
        if Receiver.attempts == 1:
            self._answer(503)
        elif not verify(SECRET, self.headers[SIGNATURE], body):
            self._answer(401)
        else:
            if self.headers[KEY] not in Receiver.taken:
                Receiver.taken.add(self.headers[KEY])
                print(f"  {json.loads(body)['text']}")
            self._answer(204)

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Log no requests, so that only the alerts are shown."""


def script(call: Call) -> Reply:
    """Stand in for the models, and for an outage of theirs."""
    if "outage" in str(call.messages[0]["content"]):
        raise ProviderUnavailableError("503")
    return reply("82", input_tokens=24, output_tokens=2)


def ask(router: ModelRouter, clock: Clock, prompt: str, times: int) -> None:
    """Ask the same thing several times, every twenty seconds where time is simulated."""
    for _ in range(times):
        with contextlib.suppress(LedgerError):  # no model answered: the alerts are what this is about
            router.run(prompt, kind="score", max_tokens=20)
        if isinstance(clock, FrozenClock):
            clock.advance(20)


def forged(port: int) -> int:
    """Send an alert signed without the secret, and return the receiver's status."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    header = {SIGNATURE: f"t={int(time.time())},v1={'0' * 64}"}
    connection.request("POST", "/alerts", b'{"text": "all is well"}', header)
    status = connection.getresponse().status
    connection.close()
    return status


keys = [key for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY") if os.environ.get(key)]
clock: Clock
if keys:
    print(f"Real models, by {', '.join(keys)}; at most $0.05.")
    clock = Clock()
else:
    print("No key is set, so a script stands in for the models: answers, figures and the time are simulated.")
    clock = FrozenClock(time.time() // 86_400 * 86_400)  # midnight, UTC

server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
hook = Webhook(f"http://127.0.0.1:{server.server_port}/alerts", SECRET, wait_s=0.1)

# The default rule needs 50 requests, too many for an example.
rules = [replace(rule, least_n=20) for rule in DEFAULT_RULES if rule.name == "errors"]
watch = Watch([*rules, budget_rule(0.0001)], deliver=[hook])
alerts = AlertSink(watch, window_s=3_600, every_s=60, clock=clock)
sink = FanOut(MemorySink(), alerts)
if keys:
    router = ModelRouter(sink=sink, max_usd=0.05)
else:
    router = ModelRouter(sink=sink, clock=clock, provider=ScriptedProvider(script))

with router:
    print("\nTen requests, too few for an alert about errors:")
    ask(router, clock, "Rate this hook from 0 to 100, the number only: 'Lose weight fast!'", 10)
    router.flush()
    if isinstance(clock, FrozenClock):
        print("\nAn outage:")
        ask(router, clock, "outage", 20)
        router.flush()
        print("\nAn hour later:")
        clock.advance(3_600)
        ask(router, clock, "Rate this hook from 0 to 100, the number only: 'Lose weight fast!'", 25)
        router.flush()
    stats = router.get_stats()
alerts.close()
active = ", ".join(sorted(watch.active)) or "nothing"
print(f"\n{Receiver.attempts} attempts, {len(Receiver.taken)} alerts taken, still active: {active}")
print(f"A forged alert is answered with {forged(server.server_port)}.")
server.shutdown()
server.server_close()
print(f"\nThe bill: ${stats['total_cost']:.6f}{'' if keys else ' (simulated)'}")
