"""Confidence from the log-probabilities of an answer's tokens."""

from __future__ import annotations

import math

from smartroute.records import Confidence, Probe, Reply, Task

_SOURCE = "logprob"
_FLOOR = math.log(1e-6)


class LogprobConfidence:
    """The length-normalized probability of the answer: exp of the mean log-probability of its tokens.

    The geometric mean of the token probabilities, so that a long answer is not doubted for its length
    (Malinin and Gales 2021, ICLR, "Uncertainty Estimation in Autoregressive Structured Prediction").
    No token counts for less than one in a million: providers write -9999 for "hardly ever", and one such
    token is not to decide alone. It is a score: how sure the model was of its words, not how likely these
    are to be right. Few providers return log-probabilities, so this is never the only signal.
    """

    def probes(self, task: Task, reply: Reply) -> tuple[Probe, ...]:
        """Return no probes."""
        return ()

    def estimate(self, task: Task, reply: Reply, replies: tuple[object, ...] = ()) -> Confidence:
        """Return the score, unknown without log-probabilities or when one of them is not a number."""
        logprobs = reply.logprobs
        if not logprobs:
            return Confidence(None, _SOURCE, "no log-probabilities in the reply")
        try:
            total = math.fsum(min(0.0, max(_FLOOR, logprob)) for logprob in logprobs)
        except TypeError:
            total = math.nan
        if math.isnan(total) or any(map(math.isnan, logprobs)):
            return Confidence(None, _SOURCE, "a log-probability is not a number")
        return Confidence(math.exp(total / len(logprobs)), _SOURCE, f"{len(logprobs)} tokens")
