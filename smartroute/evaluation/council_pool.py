"""Simulate the models of a council: scores from the bundled scripts' merits plus noise.

Nothing here measures a real model: the merits and the errors around them are invented. A reply depends on
the seed, the script and the question, and not on the order of calls, threads, or the process's hash seed.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

from smartroute.errors import InvalidRequestError, ProviderUnavailableError
from smartroute.evaluation.scripts import AdScript, load_scripts
from smartroute.number_checks import checked_number, checked_whole
from smartroute.records import Call, Reply, Usage

CHARACTERS_PER_TOKEN = 4
MEMBER_OUTPUT_TOKENS = 40
SCREEN_OUTPUT_TOKENS = 60

UNKNOWN_MERIT = NormalDist(70.0, 15.0)
"""The distribution of the merits of texts that are not bundled scripts, in points."""

_UNKNOWN_CTR = 0.02
_NORMAL = NormalDist()


class SimulatedCouncil:
    """A provider whose models score a script by its merit plus noise.

    `members` maps a model's name to the member that it answers for. A member's score is the merit plus noise
    of standard deviation `member_sd`. A screen's scores are the merits plus `drift` (a constant error on
    every script), noise of `screen_shared_sd` that all members' scores share, and noise of `screen_sd` each.
    All are in points, and scores are limited to [0, 100]. The models in `failing` are never available.
    `scripts` replaces the bundled ones. Safe in any thread and event loop.

    Raises ConfigError for a negative standard deviation and for a number that is not finite.
    """

    simulated = True
    needs_keys = False

    def __init__(
        self,
        members: Mapping[str, str],
        *,
        seed: int = 0,
        member_sd: float = 3.0,
        screen_sd: float = 6.0,
        screen_shared_sd: float = 4.0,
        drift: float = 0.0,
        failing: Iterable[str] = frozenset(),
        scripts: Iterable[AdScript] | None = None,
    ) -> None:
        spreads = {"member_sd": member_sd, "screen_sd": screen_sd, "screen_shared_sd": screen_shared_sd}
        for name, value in spreads.items():
            checked_number(value, name, least=0)
        checked_number(drift, "drift")
        self._members = dict(members)
        self._seed = checked_whole(seed, "seed")
        self._member_sd = member_sd
        self._screen_sd = screen_sd
        self._screen_shared_sd = screen_shared_sd
        self._drift = drift
        self._failing = frozenset(failing)
        known = load_scripts() if scripts is None else tuple(scripts)
        # Where one script starts with the text of another, the longer one is the script in question.
        self._longest_first = sorted(known, key=lambda script: len(script.text), reverse=True)

    def send(self, call: Call) -> Reply:
        """Return the simulated answer.

        Raises ProviderUnavailableError for a model in `failing`, and InvalidRequestError when a member's
        score is requested from a model that answers for no member.
        """
        if call.model in self._failing:
            raise ProviderUnavailableError(
                f"{call.model} is in failing, so the simulation lets it fail; remove it from failing",
                model=call.model,
            )
        judged = self._judged(call.messages)
        properties = _properties(call)
        answer: dict[str, Any]
        if self._is_screen(call, properties):
            answer, output_tokens = self._screen(judged, call.number, properties), SCREEN_OUTPUT_TOKENS
        else:
            answer, output_tokens = self._member(judged, call), MEMBER_OUTPUT_TOKENS
        text = json.dumps(answer)
        message = {"role": "assistant", "content": text}
        characters = sum(len(_text(message)) for message in call.messages)
        return Reply(
            text,
            usage=Usage(math.ceil(characters / CHARACTERS_PER_TOKEN), output_tokens),
            finish_reason="stop",
            raw={
                "choices": [{"index": 0, "finish_reason": "stop", "message": message}],
                "simulated": True,
            },
            model=call.model,
        )

    async def asend(self, call: Call) -> Reply:
        """Return what `send` does."""
        return self.send(call)

    def click_through(self, text: str) -> float:
        """Return the score that a click-through service would give a script, for use in a custom scorer."""
        script = self._script(text)
        rate = _UNKNOWN_CTR if script is None else script.ctr
        return _clamped(50.0 + (rate - 0.01) * 1500.0)

    def _is_screen(self, call: Call, properties: Mapping[str, Any]) -> bool:
        if not properties.keys().isdisjoint(self._members.values()):
            return True
        # A model that takes no schema gets a prompt without one, so only the purpose identifies a screen.
        return "score" not in properties and call.purpose == "screen"

    def _member(self, judged: _Judged, call: Call) -> dict[str, Any]:
        key = self._members.get(call.model)
        if key is None:
            raise InvalidRequestError(
                f"{call.model} answers for no member of the simulated council; "
                f"those that do: {', '.join(self._members) or 'none'}; add it to members",
                model=call.model,
            )
        noise = self._member_sd * self._draw(judged, "member", key, call.number)
        return {"score": _rounded(self._merit(judged, key) + noise), "reason": "simulated"}

    def _screen(self, judged: _Judged, number: int, properties: Mapping[str, Any]) -> dict[str, Any]:
        shared = self._drift + self._screen_shared_sd * self._draw(judged, "screen", "", number)
        answer: dict[str, Any] = {}
        for key in properties or dict.fromkeys(self._members.values()):
            noise = self._screen_sd * self._draw(judged, "screen", key, number)
            score = _rounded(self._merit(judged, key) + shared + noise)
            answer[key] = score if _wants_number(properties.get(key)) else {"score": score}
        return answer

    def _merit(self, judged: _Judged, key: str) -> float:
        if judged.script is not None and key in judged.script.merit:
            return judged.script.merit[key]
        merit = UNKNOWN_MERIT.mean + UNKNOWN_MERIT.stdev * self._draw(judged, "merit", key, 1)
        return _clamped(merit)

    def _judged(self, messages: Sequence[Mapping[str, Any]]) -> _Judged:
        script = self._script("\n".join(_text(message) for message in messages))
        if script is not None:
            return _Judged(script.id, script)
        # Members and screens quote a script alike, but their rubrics differ: only the user message counts.
        quoted = next((_text(message) for message in messages if message.get("role") == "user"), "")
        return _Judged(hashlib.blake2b(quoted.encode("utf-8", "replace"), digest_size=16).hexdigest(), None)

    def _script(self, text: str) -> AdScript | None:
        return next((script for script in self._longest_first if script.text in text), None)

    def _draw(self, judged: _Judged, purpose: str, key: str, number: int) -> float:
        """Return a standard normal draw for a question. A repeated call has another `number`, and draw."""
        name = json.dumps((self._seed, judged.name, purpose, key, number)).encode("ascii")
        bits = int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big")
        # 52 bits plus a half are strictly between 0 and 1, without rounding.
        return _NORMAL.inv_cdf(((bits >> 12) + 0.5) / 2**52)


class _Judged(NamedTuple):
    name: str
    script: AdScript | None


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "\n".join(
            str(part["text"]) for part in content if isinstance(part, Mapping) and "text" in part
        )
    return ""


def _properties(call: Call) -> Mapping[str, Any]:
    schema: Any = call.params.get("response_format")
    for name in ("json_schema", "schema", "properties"):
        schema = schema.get(name) if isinstance(schema, Mapping) else None
    return schema if isinstance(schema, Mapping) else {}


def _wants_number(schema: object) -> bool:
    return isinstance(schema, Mapping) and schema.get("type") in ("number", "integer")


def _clamped(score: float) -> float:
    return min(100.0, max(0.0, score))


def _rounded(score: float) -> float:
    return round(_clamped(score), 1)
