"""Confidence from agreement with further samples (self-consistency)."""

from __future__ import annotations

from collections.abc import Callable

from smartroute.confidence.answers import Answer, answer_of, extract_answer
from smartroute.errors import ConfigError
from smartroute.number_checks import checked_number, checked_whole
from smartroute.records import Confidence, Failure, Probe, Reply, Task

_SOURCE = "agreement"
_NOT_SAMPLED = frozenset({"seed", "n", "logprobs", "top_logprobs"})


class AgreementConfidence:
    """Ask again, and count the answers that agree: `samples` more of the same model, or one of another.

    `model` names a second, cheap model of the catalog; without it the model that answered is sampled
    again at `temperature`. Answers are compared after `extract`; where the first answer has nothing
    to compare (long free text), no call is made and the confidence is unknown. A failed call is left
    out, as are a sample without an answer and code that is only written differently; tool calls agree
    when their names and arguments do. The value is the share of the answers obtained that agree:
    a score, not a probability (self-consistency, Wang et al. 2023, ICLR).
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        samples: int | None = None,
        temperature: float = 0.7,
        extract: Callable[[str], Answer | None] = extract_answer,
    ) -> None:
        self._model = model
        if samples is None:
            samples = 2 if model is None else 1
        self._samples = checked_whole(samples, "samples", least=1)
        self._temperature = checked_number(temperature, "temperature", least=0, most=2)
        if model is None and temperature == 0.0:
            raise ConfigError("samples of one model at temperature 0 are all the same; raise temperature")
        self._extract = extract

    @property
    def models(self) -> tuple[str, ...]:
        """Return the names of the models that are asked, besides the one that answered."""
        return () if self._model is None else (self._model,)

    def probes(self, task: Task, reply: Reply) -> tuple[Probe, ...]:
        """Return the samples to draw; none when the answer could not be compared."""
        if self._answer(reply) is None:
            return ()
        params = {name: value for name, value in task.params.items() if name not in _NOT_SAMPLED}
        if self._model is None:
            params["temperature"] = self._temperature
        return (Probe(task.messages, "sample", self._model, params),) * self._samples

    def estimate(self, task: Task, reply: Reply, replies: tuple[Reply | Failure, ...] = ()) -> Confidence:
        """Return the share of the samples that agree with the answer."""
        own = self._answer(reply)
        if own is None:
            return Confidence(None, _SOURCE, "the answer cannot be compared with another")
        others = [self._answer(other) for other in replies if isinstance(other, Reply)]
        verdicts = [
            agrees for other in others if other is not None and (agrees := own.agrees(other)) is not None
        ]
        if not verdicts:
            return Confidence(None, _SOURCE, "no sample was obtained that could be compared")
        agreeing = sum(verdicts)
        detail = f"{agreeing} of {len(verdicts)} agree on a {own.kind}"
        return Confidence(agreeing / len(verdicts), _SOURCE, detail)

    def _answer(self, reply: Reply) -> Answer | None:
        return answer_of(reply, self._extract)
