"""Answer for the models of a council from the bundled scripts' merits, with noise. A simulation."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from statistics import NormalDist
from typing import Any

from smartroute.errors import ProviderUnavailableError
from smartroute.evaluation.scripts import AdScript, load_scripts
from smartroute.records import Call, Reply, Usage

_CHARACTERS_PER_TOKEN = 4
_UNKNOWN_MERIT = NormalDist(70.0, 15.0)


class SimulatedCouncil:
    """A provider whose models think of a script what its merit says, give or take.

    `members` tells which member a model answers for, by the model's name. A member's score is the merit plus
    noise of `member_sd`; a screen's is the merit plus noise of `screen_sd` for each rubric, noise of
    `screen_shared_sd` common to all of them, and `drift`, by which it reads every script wrong. The models in
    `failing` are never there. Draws depend on seed, script and question alone, not on order.
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
        failing: Iterable[str] = (),
        scripts: Iterable[AdScript] | None = None,
    ) -> None:
        self._seed = seed
        self._member_sd = member_sd
        self._screen_sd = screen_sd
        self._screen_shared_sd = screen_shared_sd
        self._drift = drift
        self._members = dict(members)
        self._failing = frozenset(failing)
        self._scripts = tuple(load_scripts() if scripts is None else scripts)

    def send(self, call: Call) -> Reply:
        """Return the simulated answer. Raises ProviderUnavailableError for a model that is failing."""
        if call.model in self._failing:
            raise ProviderUnavailableError(f"{call.model} is down, by arrangement", model=call.model)
        text = "\n".join(str(message.get("content") or "") for message in call.messages)
        keys = [*_properties(call)]
        if call.purpose == "screen":
            answer: dict[str, Any] = {
                key: {"score": score} for key, score in self._screened(text, keys or self._keys()).items()
            }
        else:
            answer = {
                "score": self._scored(text, self._members.get(call.model, call.model)),
                "reason": "simulated",
            }
        said = json.dumps(answer)
        usage = Usage(_tokens(text), _tokens(said))
        raw = {
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
            ]
        }
        return Reply(said, usage=usage, finish_reason="stop", raw=raw, model=call.model)

    async def asend(self, call: Call) -> Reply:
        """Return what `send` does."""
        return self.send(call)

    def click_through(self, text: str) -> float:
        """Return the score that a click-through service would give a script, for a scorer of one's own."""
        script = self._script(text)
        rate = 0.02 if script is None else script.ctr
        return min(100.0, max(0.0, 50.0 + (rate - 0.01) * 1500.0))

    def _keys(self) -> list[str]:
        return [*self._members.values()]

    def _scored(self, text: str, key: str) -> float:
        return _clamped(self._merit(text, key) + self._member_sd * self._draw(text, "member", key))

    def _screened(self, text: str, keys: Iterable[str]) -> dict[str, float]:
        shared = self._drift + self._screen_shared_sd * self._draw(text, "screen")
        return {
            key: _clamped(self._merit(text, key) + shared + self._screen_sd * self._draw(text, "screen", key))
            for key in keys
        }

    def _merit(self, text: str, key: str) -> float:
        script = self._script(text)
        if script is not None and key in script.merit:
            return script.merit[key]
        return _UNKNOWN_MERIT.mean + _UNKNOWN_MERIT.stdev * self._draw(text, "merit", key)

    def _script(self, text: str) -> AdScript | None:
        return next((script for script in self._scripts if script.text in text), None)

    def _draw(self, text: str, *words: str) -> float:
        """Return a standard normal draw that belongs to this script and this question."""
        script = self._script(text)
        name = hashlib.blake2b(text.encode("utf-8", "replace")).hexdigest() if script is None else script.id
        told = "\0".join((str(self._seed), name, *words))
        bits = int.from_bytes(hashlib.blake2b(told.encode(), digest_size=8).digest(), "big")
        return NormalDist().inv_cdf((bits + 0.5) / 2**64) if 0 < bits < 2**64 - 1 else 0.0


def _properties(call: Call) -> Mapping[str, Any]:
    shape = call.params.get("response_format")
    described = shape.get("json_schema") if isinstance(shape, Mapping) else None
    schema = described.get("schema") if isinstance(described, Mapping) else None
    found = schema.get("properties") if isinstance(schema, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _clamped(score: float) -> float:
    return round(min(100.0, max(0.0, score)), 1)


def _tokens(text: str) -> int:
    return math.ceil(len(text) / _CHARACTERS_PER_TOKEN)
