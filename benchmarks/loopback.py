"""Answer every chat completion at once with the same reply: an OpenAI server that costs next to nothing."""

from __future__ import annotations

import asyncio
import json
import sys

REPLY = {
    "id": "chatcmpl-loopback",
    "object": "chat.completion",
    "created": 1_790_000_000,
    "model": "gpt-4o-mini-2024-07-18",
    "choices": [
        {
            "index": 0,
            "finish_reason": "stop",
            "message": {
                "role": "assistant",
                "content": "I would rate this hook 72 out of 100.",
                "refusal": None,
            },
        }
    ],
    "usage": {
        "prompt_tokens": 31,
        "completion_tokens": 12,
        "total_tokens": 43,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
    },
    "system_fingerprint": "fp_loopback",
}


def document(logprobs: bool) -> bytes:
    """Return the reply as an HTTP response, with log-probabilities where they were asked for."""
    reply = json.loads(json.dumps(REPLY))
    if logprobs:
        tokens = reply["choices"][0]["message"]["content"].split()
        reply["choices"][0]["logprobs"] = {
            "content": [
                {"token": token, "logprob": -0.01, "bytes": list(token.encode()), "top_logprobs": []}
                for token in tokens
            ],
            "refusal": None,
        }
    body = json.dumps(reply).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


PLAIN, WITH_LOGPROBS = document(False), document(True)


class Loopback(asyncio.Protocol):
    """One connection, kept alive. Requests must state their length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to write to."""
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            length = 0
            for line in self._received[:end].split(b"\r\n"):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            whole = end + 4 + length
            if len(self._received) < whole:
                return
            body, self._received = self._received[end + 4 : whole], self._received[whole:]
            asked = json.loads(body).get("logprobs") if body else None
            self._transport.write(WITH_LOGPROBS if asked else PLAIN)  # type: ignore[attr-defined]


async def serve() -> None:
    """Listen on a free port of loopback, print it, and serve until the standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Loopback, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve())
