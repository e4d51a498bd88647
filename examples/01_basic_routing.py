"""Route four prompts, from easy to hard, and read the bill.

Routing need not be cheaper than one model for everything: here a premium model is called for the proof.
"""

import os

from smartroute import ModelRouter
from smartroute.records import Call, Reply
from smartroute.sinks import MemorySink
from smartroute.testing import ScriptedProvider, reply

PROMPTS = (
    ("score", "Rate this hook from 0 to 100, the number only: 'Lose weight fast!'"),
    ("extract", "Which invoice number is in 'Invoice 4711 is due on 1 May'? The number only."),
    ("general", "Explain in two sentences why the sky is blue."),
    ("reasoning", "Prove in three sentences that there are infinitely many primes."),
)

ANSWERS = (
    "41",
    "4711",
    "Air scatters short waves of light far more than long ones. So blue light reaches us from everywhere.",
    "Take any finite list of primes, multiply them, and add one. No prime of the list divides the result, "
    "for each leaves a remainder of one. So a prime is missing from every finite list.",
)


def script(call: Call) -> Reply:
    """Stand in for the models: right answers, but the cheap model refuses the invoice first."""
    question = str(call.messages[-1]["content"])
    answer = next(a for (_, prompt), a in zip(PROMPTS, ANSWERS, strict=True) if prompt == question)
    if answer == "4711" and call.rung == 0:
        answer = "I'm sorry, but I can't help with that."
    return reply(answer, input_tokens=len(question) // 4, output_tokens=len(answer) // 4)


def words(confidence: float | None) -> str:
    """Return a confidence as text. None means that it is unknown."""
    return "confidence unknown" if confidence is None else f"confidence {confidence:.2f}"


log = MemorySink()  # the default log is for traffic of your own
keys = [key for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY") if os.environ.get(key)]
if keys:
    print(f"Real models, by {', '.join(keys)}; at most $0.25.")
    router = ModelRouter(sink=log, max_usd=0.25)
else:
    print("No key is set, so a script stands in for the models: answers and figures are simulated.")
    router = ModelRouter(sink=log, provider=ScriptedProvider(script))

outcomes = []
with router:
    for kind, prompt in PROMPTS:
        outcome = router.run(prompt, kind=kind, max_tokens=2_000)
        outcomes.append(outcome)
        print(f"\n{prompt}\n  {outcome.text}")
        print(f"  {outcome.complexity}, answered by {outcome.model}")
        for attempt in outcome.attempts:
            cost = "unknown" if attempt.cost_usd is None else f"${attempt.cost_usd:.6f}"
            print(f"    {attempt.model:24} {cost}  {words(attempt.confidence)}")

stats = router.get_stats()
simulated = "" if keys else " (simulated)"
print(f"\nThe bill: ${stats['total_cost']:.6f}{simulated} for {stats['total_requests']} requests,")
print(f"{stats['escalations']} escalated, {stats['unpriced_attempts']} calls of unknown cost.")
baseline_usd = sum(outcome.baseline_cost_usd or 0.0 for outcome in outcomes)
print(f"The answers' tokens at the price of {outcome.baseline_model} alone: ${baseline_usd:.6f}{simulated}.")
