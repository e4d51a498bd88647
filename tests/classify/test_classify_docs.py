"""Run the page on classification: its snippets, its decision endpoint on loopback, its figures."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from smartroute.classify import LLMClassifier, as_classifier
from smartroute.errors import ProviderUnavailableError
from smartroute.records import Call, Reply, Task, TaskComplexity

PAGE = Path(__file__).parents[2] / "docs" / "classification.md"


class Endpoint:
    """An HTTP server that answers /v1/decisions as litellm's proxy does."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.choice = "complex"
        self.status = 200
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                endpoint.requests.append(
                    {"path": self.path, "key": self.headers["Authorization"], "body": body}
                )
                answer = json.dumps(endpoint.answer(body)).encode()
                self.send_response(endpoint.status)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        values = [choice["value"] for choice in body["questions"][0]["choices"]]
        probabilities = [{"value": value, "probability": float(value == self.choice)} for value in values]
        return {
            "model": body["model"],
            "answers": [
                {
                    "type": "choice",
                    "name": body["questions"][0]["name"],
                    "choice": self.choice,
                    "probabilities": probabilities,
                    "confidence": 1.0,
                }
            ],
            "usage": {"input_tokens": 21, "output_tokens": 2, "total_tokens": 23},
        }


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    served = Endpoint()
    thread = threading.Thread(target=served.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("LITELLM_PROXY_URL", served.url)
    monkeypatch.setenv("LITELLM_PROXY_KEY", "sk-test")
    yield served
    served.server.shutdown()
    thread.join()
    served.server.server_close()


@pytest.fixture
def page(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """Return the names that the page's snippets define, run from top to bottom."""
    names: dict[str, Any] = {"__name__": "page"}
    for snippet in re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.MULTILINE):
        exec(compile(snippet, str(PAGE), "exec"), names)
    assert capsys.readouterr().out
    return names


def test_every_snippet_of_the_page_runs(page: dict[str, Any]) -> None:
    assert page["classification"].complexity is TaskComplexity.COMPLEX


def test_the_decision_function_sends_the_request_and_returns_the_choice(
    page: dict[str, Any], endpoint: Endpoint
) -> None:
    endpoint.requests.clear()
    endpoint.choice = "medium"
    found = as_classifier(page["by_decision"]).classify(Task.of("Find the race condition."))
    assert found.complexity is TaskComplexity.MEDIUM
    (request,) = endpoint.requests
    assert request["path"] == "/v1/decisions"
    assert request["key"] == "Bearer sk-test"
    assert request["body"]["input"] == "Find the race condition."


def test_through_a_provider_the_decision_becomes_a_reply_with_usage(
    page: dict[str, Any], endpoint: Endpoint
) -> None:
    provider = page["DecidingProvider"](inner=None)
    asking = LLMClassifier("decider").classify(Task.of("Find the race condition."))
    (probe,) = next(asking)
    reply = provider.send(Call("decider", "decider", "litellm_proxy", probe.messages, purpose=probe.purpose))
    assert isinstance(reply, Reply)
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (21, 2)
    with pytest.raises(StopIteration) as done:
        asking.send((reply,))
    assert done.value.value.complexity is TaskComplexity.COMPLEX
    assert done.value.value.by == "llm:decider"


def test_a_failing_endpoint_is_a_provider_error(page: dict[str, Any], endpoint: Endpoint) -> None:
    endpoint.status = 500
    with pytest.raises(ProviderUnavailableError, match="500"):
        page["DecidingProvider"](inner=None).send(
            Call("decider", "decider", "x", ({"role": "user", "content": "x"},), purpose="classify")
        )


@pytest.mark.wire
def test_request_and_answer_are_of_the_shape_litellm_declares(
    page: dict[str, Any], endpoint: Endpoint
) -> None:
    shapes = pytest.importorskip("litellm.types.decisions", reason="this litellm has no decisions endpoint")
    body = endpoint.requests[-1]["body"]
    assert shapes.OpenAIDecisionRequest.model_validate(body).questions[0].type == "choice"
    assert shapes.OpenAIDecisionResponse.model_validate(endpoint.answer(body)).answers[0].choice == "complex"
    with pytest.raises(ValueError, match="choices"):
        shapes.OpenAIDecisionRequest.model_validate(
            {**body, "questions": [{"type": "choice", "instructions": "?"}]}
        )


def test_the_page_states_the_weights_that_the_code_uses() -> None:
    from smartroute.classify import rules

    text = PAGE.read_text("utf-8")
    for weight in rules._WEIGHTS:
        (row,) = re.findall(rf"^\| `{weight.signal}` \|[^|]*\| (.*) \|$", text, re.MULTILINE)
        numbers = [float(number) for number in re.findall(r"-?\d\.\d+", row)]
        stated = {weight.first, weight.most} | ({weight.further} if weight.further else set())
        assert set(numbers) == stated, weight.signal
