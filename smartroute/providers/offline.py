"""Simulate a pool of three models, to try smartroute without keys.

Nothing here measures a real model: every number below is an assumption, stated so that a reader can judge
what follows from it. The bundled demo tasks are answered rightly or wrongly by the rule of `chance_right`;
any other prompt gets a plain note that the reply is simulated. A reply depends on the seed and the call
alone: not on the order of calls, threads, the hash seed of the process or the time.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import pkgutil
import random
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

from smartroute.catalog import Catalog, ModelCard
from smartroute.errors import ConfigError, InvalidRequestError
from smartroute.number_checks import checked_whole
from smartroute.pricing import Price
from smartroute.records import Call, Reply, Tier, Usage


class Skill(NamedTuple):
    """A model's assumed skill: its chance of a right answer is 1 / (1 + exp(slope * difficulty - level))."""

    level: float
    slope: float


class Beta(NamedTuple):
    """The two shape parameters of a beta distribution; its mean is a / (a + b)."""

    a: float
    b: float


SKILL: Mapping[str, Skill] = {
    "sim-mini": Skill(3.0, 5.0),
    "sim-standard": Skill(4.2, 4.8),
    "sim-premium": Skill(5.2, 4.6),
}
"""At difficulty 0.1, 0.5, 0.9: mini 0.92, 0.62, 0.18; standard 0.98, 0.86, 0.47; premium 0.99, 0.95, 0.74."""

PRICE_USD_PER_MILLION: Mapping[str, tuple[float, float]] = {
    "sim-mini": (0.1, 0.5),
    "sim-standard": (1.0, 5.0),
    "sim-premium": (4.0, 20.0),
}
"""Input and output rates, in about the proportion of real tiers."""

SHARED_BY_MODELS = 0.3
"""Share of the variance of the luck on one task that all models have in common: a trick fools them all."""

SHARED_BY_DRAWS = 0.4
"""Share that a model's answer and its further samples have in common; the rest is each draw's own."""

FAVORITE_WRONG = 0.6
"""Chance that a wrong answer is the task's tempting one, the same for all models; else any, evenly."""

SURE_WHEN_RIGHT = Beta(8.0, 2.0)
"""Length-normalized probability (exp of the mean log-probability) of a right answer: mean 0.80."""

SURE_WHEN_WRONG = Beta(4.0, 2.5)
"""The same of a wrong answer: mean 0.62. The two overlap much, as they do for real models."""

SURE_OTHERWISE = Beta(5.0, 2.5)
"""The same of a text that is neither right nor wrong: mean 0.67."""

GRADE_OF_RIGHT: Mapping[str, Beta] = {
    "sim-mini": Beta(4.0, 2.0),
    "sim-standard": Beta(6.0, 2.0),
    "sim-premium": Beta(8.0, 1.6),
}
"""A judge's grade, over 100, of a right answer: means 0.67, 0.75, 0.83."""

GRADE_OF_WRONG: Mapping[str, Beta] = {
    "sim-mini": Beta(3.0, 3.0),
    "sim-standard": Beta(2.5, 4.0),
    "sim-premium": Beta(2.0, 5.0),
}
"""A judge's grade, over 100, of a wrong answer: means 0.50, 0.38, 0.29."""

GRADE_OTHERWISE = Beta(2.0, 2.0)
"""A judge's grade, over 100, of an answer that the pool does not know: it says nothing."""

VERDICT_NOISE = 0.15
"""Standard deviation of a model's guess at a task's difficulty, when asked how hard it is."""

BILLED_PER_VISIBLE_TOKEN: Mapping[str, float] = {"sim-mini": 1.0, "sim-standard": 1.15, "sim-premium": 1.4}
"""Abler models think before they answer: the surplus, rounded up, is billed as reasoning tokens."""

CHARS_PER_TOKEN = 4
"""Length of a token in scripts with letters; in Chinese, Japanese and Korean each character is one."""

TOKENS_PER_MESSAGE = 3
"""Tokens that each message costs beyond its text."""

_TIERS = {"sim-mini": Tier.MINI, "sim-standard": Tier.STANDARD, "sim-premium": Tier.PREMIUM}
_CONTEXT_TOKENS = 128_000
_MAX_OUTPUT_TOKENS = 4_096
_SOURCE = "simulated, stated in docs/the-demo.md"
_DATA = "data/demo_tasks.json"
_NORMAL = NormalDist()


def chance_right(model: str, difficulty: float, skill: Mapping[str, Skill] = SKILL) -> float:
    """Return the probability that a simulated model answers a task of this difficulty rightly."""
    level, slope = skill[model]
    return 1.0 / (1.0 + math.exp(slope * difficulty - level))


class OfflineProvider:
    """A provider that simulates the models of `OfflineProvider.catalog()` and says so in every reply.

    Equal seeds and calls give equal replies; further samples of one prompt differ by their number.
    Log-probabilities come when asked for. Tools are accepted and never called; an instruction to
    state a confidence is not followed. Safe in any thread and event loop.
    """

    simulated = True
    needs_keys = False

    def __init__(self, seed: int = 0, *, skill: Mapping[str, Skill] = SKILL) -> None:
        if missing := sorted(set(SKILL) - set(skill)):
            raise ConfigError(f"skill must name every simulated model, {', '.join(missing)} is missing")
        self.seed = checked_whole(seed, "seed")
        self._skill = dict(skill)

    @staticmethod
    def catalog() -> Catalog:
        """Return the simulated models: sim-mini, sim-standard and sim-premium, of the provider sim."""
        return Catalog.of(
            ModelCard(
                name,
                f"sim/{name}",
                provider="sim",
                tier=tier,
                price=Price(*PRICE_USD_PER_MILLION[name], source=_SOURCE),
                context_tokens=_CONTEXT_TOKENS,
                max_output_tokens=_MAX_OUTPUT_TOKENS,
                abilities=("logprobs", "tools", "json_schema"),
                source=_SOURCE,
            )
            for name, tier in _TIERS.items()
        )

    def send(self, call: Call) -> Reply:
        """Return the simulated reply. Raises InvalidRequestError for a model that is not of the pool."""
        model = call.target.rpartition("/")[2]
        if model not in _TIERS:
            raise InvalidRequestError(
                f"the simulated pool has no model {call.target!r}, only {', '.join(_TIERS)}; "
                "use OfflineProvider with catalog=OfflineProvider.catalog()",
                model=call.model,
            )
        return self._reply(model, call, self._content(model, call))

    async def asend(self, call: Call) -> Reply:
        """Return what `send` does."""
        return self.send(call)

    def _content(self, model: str, call: Call) -> _Content:
        prompt = _last_user_text(call.messages)
        if call.purpose == "judge":
            return self._judge(model, call, prompt)
        if call.purpose == "classify":
            return self._classify(model, call, prompt)
        task = _tasks().get(prompt.strip())
        schema = _wanted_schema(call.params)
        if task is None:
            return _Content(_note(model) if schema is None else _json_note(model, schema), SURE_OTHERWISE)
        right = self._is_right(model, call, task)
        text = task.answer if right else self._wrong(model, call, task)
        if schema is not None and not _is_object(text):
            text = json.dumps({"answer": text, "simulated": True}, ensure_ascii=False)
        return _Content(text, SURE_WHEN_RIGHT if right else SURE_WHEN_WRONG)

    def _is_right(self, model: str, call: Call, task: _Task) -> bool:
        # A sum of normal parts with variances that add up to 1 is standard normal, so that each draw is
        # right with exactly the stated chance while the draws depend on each other.
        luck = (
            math.sqrt(SHARED_BY_MODELS) * _normal(self.seed, "task", task.prompt)
            + math.sqrt(SHARED_BY_DRAWS) * _normal(self.seed, "model", task.prompt, model, call.effort)
            + math.sqrt(1.0 - SHARED_BY_MODELS - SHARED_BY_DRAWS)
            * _normal(self.seed, "draw", task.prompt, *_draw(model, call))
        )
        return _NORMAL.cdf(luck) < chance_right(model, task.difficulty, self._skill)

    def _wrong(self, model: str, call: Call, task: _Task) -> str:
        rng = _rng(self.seed, "wrong", task.prompt, *_draw(model, call))
        if rng.random() < FAVORITE_WRONG:
            # The spelling is part of the seed: another one would draw other answers.
            rng = _rng(self.seed, "favourite", task.prompt)
        return rng.choice(task.wrong)

    def _judge(self, model: str, call: Call, prompt: str) -> _Content:
        material = _object(prompt)
        request, answer = str(material.get("request", "")), str(material.get("answer", "")).strip()
        task = next((task for text, task in _tasks().items() if text in request), None)
        if task is None or answer not in (task.answer, *task.wrong):
            beta, comment = GRADE_OTHERWISE, "a simulated grade of an answer that the pool does not know"
        else:
            beta = (GRADE_OF_RIGHT if answer == task.answer else GRADE_OF_WRONG)[model]
            comment = "a simulated grade"
        grade = round(100 * _rng(self.seed, "grade", prompt, *_draw(model, call)).betavariate(*beta))
        return _Content(json.dumps({"score": grade, "reason": comment}), SURE_OTHERWISE)

    def _classify(self, model: str, call: Call, prompt: str) -> _Content:
        request = str(_object(prompt).get("request", prompt))
        task = next((task for text, task in _tasks().items() if text in request), None)
        if task is None:
            return _Content(_note(model), SURE_OTHERWISE)
        guess = task.difficulty + VERDICT_NOISE * _normal(
            self.seed, "verdict", task.prompt, *_draw(model, call)
        )
        word = "simple" if guess < 1 / 3 else "medium" if guess < 2 / 3 else "complex"
        return _Content(word, SURE_OTHERWISE)

    def _reply(self, model: str, call: Call, content: _Content) -> Reply:
        tokens = _tokens(content.text)
        cap = _cap(call.params)
        finish_reason = "stop"
        if cap is not None and len(tokens) > cap:
            tokens, finish_reason = tokens[:cap], "length"
        text = "".join(tokens)
        visible = max(1, len(tokens))
        billed = math.ceil(visible * BILLED_PER_VISIBLE_TOKEN[model])
        if cap is not None:
            billed = min(billed, cap)
        usage = Usage(_input_tokens(call.messages), billed, reasoning_tokens=billed - visible)
        identity = (content.text, *_draw(model, call), _texts(call.messages))
        logprobs: tuple[float, ...] | None = None
        if call.params.get("logprobs"):
            logprobs = _logprobs(_rng(self.seed, "logprobs", *identity), content.sureness, len(tokens))
        choice: dict[str, Any] = {
            "index": 0,
            "finish_reason": finish_reason,
            "message": {"role": "assistant", "content": text},
            "logprobs": None
            if logprobs is None
            else {
                "content": [
                    {"token": token, "logprob": logprob, "top_logprobs": []}
                    for token, logprob in zip(tokens, logprobs, strict=True)
                ]
            },
        }
        raw = {
            "id": f"sim-{_digest(self.seed, 'id', *identity).hex()}",
            "object": "chat.completion",
            "created": 0,
            "model": model,
            "choices": [choice],
            "usage": {
                "prompt_tokens": usage.input_tokens,
                "completion_tokens": usage.output_tokens,
                "total_tokens": usage.input_tokens + usage.output_tokens,
                "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
            },
            "simulated": True,
        }
        return Reply(text, usage, finish_reason, logprobs, raw=raw, model=model)


class _Task(NamedTuple):
    prompt: str
    answer: str
    wrong: tuple[str, ...]
    difficulty: float


class _Content(NamedTuple):
    text: str
    sureness: Beta


@functools.cache
def _tasks() -> Mapping[str, _Task]:
    data = pkgutil.get_data("smartroute", _DATA)
    if data is None:
        raise ConfigError(f"the file {_DATA} is missing; reinstall smartroute")
    return {
        row["prompt"].strip(): _Task(row["prompt"], row["answer"], tuple(row["wrong"]), row["difficulty"])
        for row in json.loads(data)["tasks"]
    }


def _draw(model: str, call: Call) -> tuple[object, ...]:
    """Return what distinguishes draws: a repeated answer call is the same draw, a sample is not."""
    return (model, call.effort, call.purpose, call.number if call.purpose == "sample" else 1)


def _digest(*parts: object) -> bytes:
    return hashlib.blake2b(json.dumps(parts).encode("ascii"), digest_size=8).digest()


def _rng(*parts: object) -> random.Random:
    return random.Random(int.from_bytes(_digest(*parts)))


def _normal(*parts: object) -> float:
    # 52 bits and a half are strictly between 0 and 1 without rounding.
    return _NORMAL.inv_cdf(((int.from_bytes(_digest(*parts)) >> 12) + 0.5) / 2**52)


def _logprobs(rng: random.Random, sureness: Beta, count: int) -> tuple[float, ...]:
    """Return negative numbers whose mean is the logarithm of one draw of the distribution."""
    mean = math.log(max(rng.betavariate(*sureness), 1e-9))
    weights = [rng.expovariate(1.0) + 1e-9 for _ in range(count)]
    scale = mean * count / math.fsum(weights) if weights else 0.0
    return tuple(scale * weight for weight in weights)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "\n".join(str(part["text"]) for part in content if part.get("text"))
    return ""


def _texts(messages: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(_text(message) for message in messages)


def _last_user_text(messages: Sequence[Mapping[str, Any]]) -> str:
    return next((_text(message) for message in reversed(messages) if message.get("role") == "user"), "")


def _input_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    return sum(len(_tokens(text)) + TOKENS_PER_MESSAGE for text in _texts(messages))


def _tokens(text: str) -> list[str]:
    """Return the text in pieces: single wide characters, and runs of at most CHARS_PER_TOKEN others."""
    pieces: list[str] = []
    run = ""
    for character in text:
        # Jamo, kana, ideographs, hangul and full-width forms; what is in between is rare.
        if "\u2e80" <= character <= "\uffef":
            pieces += [run, character] if run else [character]
            run = ""
            continue
        run += character
        if len(run) == CHARS_PER_TOKEN:
            pieces.append(run)
            run = ""
    return [*pieces, run] if run else pieces


def _cap(params: Mapping[str, Any]) -> int | None:
    caps = [params[name] for name in ("max_tokens", "max_completion_tokens") if params.get(name) is not None]
    return max(1, int(min(caps))) if caps else None


def _note(model: str) -> str:
    return (
        f"[simulated reply of {model}] No model was called. The simulated pool answers only the bundled "
        "demo tasks; set a provider's key for real answers."
    )


def _object(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _is_object(text: str) -> bool:
    return bool(_object(text))


def _wanted_schema(params: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the JSON schema that a reply must have, empty for any JSON object, None for text."""
    wanted = params.get("response_format")
    describe = getattr(wanted, "model_json_schema", None)
    if describe is not None:
        schema: Mapping[str, Any] = describe()
        return schema
    if not isinstance(wanted, Mapping) or wanted.get("type") not in ("json_object", "json_schema"):
        return None
    return (wanted.get("json_schema") or {}).get("schema") or {}


def _json_note(model: str, schema: Mapping[str, Any]) -> str:
    note = _note(model)
    if not schema:
        return json.dumps({"simulated": True, "note": note})
    return json.dumps(_instance(schema, schema, f"[simulated reply of {model}]", 0), ensure_ascii=False)


_DEEPEST = 12


def _instance(schema: object, root: Mapping[str, Any], note: str, depth: int) -> Any:
    """Return a small value of the schema, its texts saying that it is simulated. Patterns are not met."""
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return None
    if isinstance(ref := schema.get("$ref"), str):
        target: Any = root
        for key in ref.removeprefix("#").strip("/").split("/"):
            target = target.get(key) if isinstance(target, Mapping) and key else target
        return _instance(target, root, note, depth + 1)
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key):
            return _instance(schema[key][0], root, note, depth + 1)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    kind = schema.get("type") or ("object" if "properties" in schema else "string")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        fields = schema.get("properties") or {}
        names = [name for name in fields if name in schema.get("required", fields)]
        return {name: _instance(fields[name], root, note, depth + 1) for name in names}
    if kind == "array":
        return [
            _instance(schema.get("items"), root, note, depth + 1) for _ in range(schema.get("minItems", 0))
        ]
    if kind in ("integer", "number"):
        return _smallest(schema)
    if kind == "boolean":
        return False
    return None if kind == "null" else note[: schema.get("maxLength", len(note))]


def _smallest(schema: Mapping[str, Any]) -> float:
    low: float = schema.get("minimum", 0)
    if "exclusiveMinimum" in schema:
        low = math.floor(schema["exclusiveMinimum"]) + 1
    top: float = schema.get("maximum", low)
    return min(low, top)
