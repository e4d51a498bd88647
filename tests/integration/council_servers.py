"""Fake servers of the council's three providers and its click-through service, on loopback."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from servers import Answer, AnthropicServer, GeminiServer, OpenAIServer, Received, WireServer, closed_port

from smartroute.catalog import Catalog
from smartroute.events.event import AttemptRecord

MEMBERS = ("gemini_3_pro", "claude_3_5", "gpt_4o")
BREAKDOWN = (*MEMBERS, "deep_ctr")
SEATS = {"gemini": "gemini_3_pro", "anthropic": "claude_3_5", "openai": "gpt_4o"}
"""The member that each provider answers for."""

TOKENS = {"gemini_3_pro": (1000, 30), "claude_3_5": (2000, 40), "gpt_4o": (3000, 50), "screen": (4000, 60)}
"""Input and output tokens of each answer: all different, so that two swapped costs are noticed."""

DOWN = Answer(status=500)


def votes(gemini: Any, claude: Any, gpt: Any) -> dict[str, Any]:
    """Return the answers of the three members, by key."""
    return dict(zip(MEMBERS, (gemini, claude, gpt), strict=True))


@dataclass
class Desk:
    """The answers by member. A number is wrapped in the JSON asked for; a string is sent as it is.

    A function is given the request's body. `screen` is "agree" (the members' own numbers, or an
    HTTP 500 when one of them is not a number), or the answer to send instead.
    """

    says: dict[str, Any] = field(default_factory=lambda: votes(80, 80, 80))
    screen: Any = "agree"

    def answer(self, dialect: str, body: Mapping[str, Any]) -> Answer:
        """Return the answer to a request."""
        if is_screen(body):
            return self._answered("screen", self._agreeing() if self.screen == "agree" else self.screen)
        return self._answered(SEATS[dialect], self.says[SEATS[dialect]], body)

    def _answered(self, who: str, value: Any, body: Mapping[str, Any] | None = None) -> Answer:
        if callable(value):
            value = value(body)
        if isinstance(value, Answer):
            return value
        given, generated = TOKENS[who]
        text = (
            value if isinstance(value, str) else json.dumps({"score": value, "reason": "as the rubric says"})
        )
        return Answer(text, input_tokens=given, output_tokens=generated)

    def _agreeing(self) -> Answer | str:
        numbers = [value for value in self.says.values() if isinstance(value, int | float)]
        if len(numbers) < len(MEMBERS):
            return DOWN
        return json.dumps({key: {"score": self.says[key]} for key in MEMBERS})


def is_screen(body: Any) -> bool:
    """Return whether a request's JSON schema has a property for each of the three members."""
    if isinstance(body, Mapping):
        return set(MEMBERS) <= set(body) or any(is_screen(value) for value in body.values())
    return isinstance(body, list) and any(is_screen(value) for value in body)


class _Seated(WireServer):
    """Answers from a desk, or as an ordinary server from its script when there is none."""

    def __init__(self) -> None:
        super().__init__()
        self._desk: Desk | None = None
        self._one_at_a_time = threading.Lock()

    def seat(self, desk: Desk | None) -> None:
        """Start again, with nothing recorded and nothing queued."""
        self._desk = desk
        self.default = Answer()
        self.received.clear()
        self._script.clear()
        self._by_model.clear()

    def receive(self, path: str, headers: Mapping[str, str], raw: bytes) -> Received:
        if self._desk is None:
            return super().receive(path, headers, raw)
        answer = self._desk.answer(self.dialect, json.loads(raw))
        with self._one_at_a_time:
            self.default = answer
            return super().receive(path, headers, raw)


class SeatedGemini(_Seated, GeminiServer):
    """The Gemini API."""


class SeatedAnthropic(_Seated, AnthropicServer):
    """The Anthropic API."""


class SeatedOpenAI(_Seated, OpenAIServer):
    """The OpenAI API."""


class Panel:
    """The three servers around one desk. Use as a context manager.

    One panel serves many tests in turn, for litellm keeps a client of every address that it has seen.
    """

    def __init__(self) -> None:
        self.gemini = SeatedGemini()
        self.anthropic = SeatedAnthropic()
        self.openai = SeatedOpenAI()
        self.servers: tuple[_Seated, ...] = (self.gemini, self.anthropic, self.openai)

    def __enter__(self) -> Self:
        for server in self.servers:
            server.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers:
            server.close()

    def seat(self, desk: Desk | None) -> None:
        """Start again; without a desk the servers answer from their scripts."""
        for server in self.servers:
            server.seat(desk)

    @property
    def received(self) -> list[tuple[str, Received]]:
        """Return every request with its provider, in order of arrival."""
        found = [(server.dialect, request) for server in self.servers for request in server.received]
        return sorted(found, key=lambda pair: pair[1].arrival)

    @property
    def screens(self) -> list[Received]:
        return [request for _, request in self.received if is_screen(request.body)]

    @property
    def asked(self) -> Counter[str]:
        """Return how many requests each member received, screens aside."""
        return Counter(SEATS[dialect] for dialect, request in self.received if not is_screen(request.body))

    def forget(self) -> None:
        """Drop what was recorded."""
        for server in self.servers:
            server.received.clear()


def assert_every_request_is_an_attempt(panel: Panel, attempts: Sequence[AttemptRecord]) -> None:
    """Assert that the attempts of an event are the requests on the wire: provider, model, kind, tokens."""
    cards = {card.name: card for card in Catalog.default()}

    def on_the_wire() -> Iterator[tuple[Any, ...]]:
        for dialect, request in panel.received:
            good = request.answer.status == 200
            yield (
                dialect,
                request.model,
                is_screen(request.body),
                request.answer.input_tokens if good else None,
                request.answer.output_tokens if good else None,
            )

    def in_the_ledger() -> Iterator[tuple[Any, ...]]:
        for attempt in attempts:
            target = cards[attempt["model"]].target.partition("/")[2]
            yield (
                attempt["provider"],
                target,
                attempt["purpose"] == "screen",
                attempt.get("input_tokens"),
                attempt.get("output_tokens"),
            )

    assert Counter(on_the_wire()) == Counter(in_the_ledger())


def dollars(attempts: Iterable[AttemptRecord]) -> float:
    """Return the bill by hand: tokens times the list price, for each call that was answered."""
    cards = {card.name: card for card in Catalog.default()}
    total = 0.0
    for attempt in attempts:
        price = cards[attempt["model"]].price
        assert price is not None
        given, generated = attempt.get("input_tokens") or 0, attempt.get("output_tokens") or 0
        total += given * price.input / 1e6 + generated * price.output / 1e6
    return total


def texts_by_role(dialect: str, body: Mapping[str, Any]) -> dict[str, str]:
    """Return all text of a request under "user" and under "system" (everything that is not the user's)."""
    spoken: dict[str, list[str]] = {"user": [], "system": []}
    if dialect == "gemini":
        instruction = body.get("systemInstruction") or body.get("system_instruction") or {}
        spoken["system"] += _strings(instruction)
        for content in body["contents"]:
            spoken["user" if content.get("role") == "user" else "system"] += _strings(content["parts"])
    else:
        spoken["system"] += _strings(body.get("system", []))
        for message in body["messages"]:
            spoken["user" if message["role"] == "user" else "system"] += _strings(message["content"])
    rest = {key: value for key, value in body.items() if key not in _CONVERSATION}
    spoken["system"] += _strings(rest)
    return {role: "\n".join(parts) for role, parts in spoken.items()}


_CONVERSATION = {"messages", "system", "contents", "systemInstruction", "system_instruction"}


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        return [text for item in value.values() for text in _strings(item)]
    return [text for item in value for text in _strings(item)] if isinstance(value, list) else []


@dataclass(frozen=True)
class Posted:
    """One request to the click-through service."""

    method: str
    path: str
    body: Any


class ClickService:
    """The click-through service. `says` is a rate, or a whole document; `raw` replaces the bytes.

    `hold_s` passes before the answer, `drip_s` before each of its bytes.
    """

    def __init__(self) -> None:
        self.says: Any = 0.01
        self.status = 200
        self.raw: bytes | None = None
        self.hold_s = 0.0
        self.drip_s = 0.0
        self.posted: list[Posted] = []
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _click_handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def document(self) -> bytes:
        """Return the body of an answer, after the pause that was asked for."""
        if self.hold_s:
            self._closing.wait(self.hold_s)
        if self.raw is not None:
            return self.raw
        says = self.says if isinstance(self.says, dict | list) else {"predicted_ctr": self.says}
        return json.dumps(says).encode()

    def parts(self, body: bytes) -> Iterator[bytes]:
        """Yield the body: whole, or drop by drop."""
        if not self.drip_s:
            yield body
            return
        for byte in body:
            self._closing.wait(self.drip_s)
            yield bytes([byte])


def _click_handler(service: ClickService) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            service.posted.append(Posted("POST", self.path, json.loads(raw)))
            body = service.document()
            try:
                self.send_response(service.status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                for part in service.parts(body):
                    self.wfile.write(part)
                    self.wfile.flush()
            except OSError:  # the client's patience ended first
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    return Handler


__all__ = [
    "BREAKDOWN",
    "DOWN",
    "MEMBERS",
    "SEATS",
    "TOKENS",
    "Answer",
    "ClickService",
    "Desk",
    "Panel",
    "Posted",
    "assert_every_request_is_an_attempt",
    "closed_port",
    "dollars",
    "is_screen",
    "texts_by_role",
    "votes",
]
