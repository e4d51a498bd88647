"""Show what the router would do, and why, before it does it."""

import os
from typing import Any

from smartroute import ModelRouter
from smartroute.sinks import MemorySink
from smartroute.testing import ScriptedProvider, reply

LOOK_UP = {
    "type": "function",
    "function": {
        "name": "look_up_order",
        "parameters": {"type": "object", "properties": {"order": {"type": "string"}}},
    },
}

log = MemorySink()  # the default log is for traffic of your own
keys = [key for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY") if os.environ.get(key)]
if keys:
    print(f"Real models, by {', '.join(keys)}; at most $0.25.")
    router = ModelRouter(sink=log, max_usd=0.25)
else:
    print("No key is set, so a script stands in for the models: answers and figures are simulated.")
    provider = ScriptedProvider(lambda call: reply("Bonjour.", input_tokens=12))
    router = ModelRouter(sink=log, provider=provider)


def explain(title: str, prompt: str, **options: Any) -> None:
    """Print a decision. Nothing is called and nothing is spent."""
    print(f"\n--- {title}: {prompt}\n{router.decide(prompt, **options).explain()}")


explain("short, but hard", "Is P equal to NP?")
explain("needs tools and a long answer", "Where is order 4711?", tools=[LOOK_UP], max_tokens=50_000)
explain("an override wins", "Where is order 4711?", complexity_override="complex")

with router:
    outcome = router.run("Translate 'good morning' into French.", max_tokens=2_000)

decision = outcome.decision
print(f"\nDone as decided: {decision.ladder[0]} was called first; {outcome.model} answered: {outcome.text}")
print(f"Reasons are data too. Why: {'; '.join(decision.reasons)}.")
print(f"Not asked: {', '.join(out.model for out in decision.ruled_out)}.")
calls = "1 call" if len(outcome.attempts) == 1 else f"{len(outcome.attempts)} calls"
print(f"The bill: {outcome.bill}{'' if keys else ' (simulated)'} for {calls}.")
