"""Judge ad scripts with a council that calls no more members than the verdict needs.

The same three scripts in the modes full, exact and smart. The verdicts are equal; the calls differ.
"""

import asyncio
import json
import os

from smartroute.integration import SmartEnsembleEvaluator
from smartroute.records import Call, Reply
from smartroute.sinks import MemorySink
from smartroute.testing import ScriptedProvider, reply

SCRIPTS = {
    "You stretch, you ice, and your knee still hurts on stairs. Twelve minutes a day with our physio plan, "
    "and 8 of 10 in our 2025 trial climbed without pain after six weeks. Try the first week free today.": 91,
    "Our shake is good. It has vanilla in it. You can buy it if you want to. It is a shake.": 28,
    "Tired by noon? Meet the app that plans your training around your sleep. Thousands train with it. "
    "Download it now.": 79,
}
"""About the score that the simulated members give each script."""


def script(call: Call) -> Reply:
    """Stand in for the models: members score near the script's merit, the screen a little further away."""
    asked = str(call.messages[-1]["content"])
    merit = next(merit for text, merit in SCRIPTS.items() if text in asked)
    if call.purpose == "screen":
        names = ("gemini_3_pro", "claude_3_5", "gpt_4o")
        answer = json.dumps({name: {"score": merit - 4} for name in names})
    else:
        leaning = {"gemini-4-argon": 2, "claude-sonnet-5-5": -1, "gpt-4o": 0}[call.model]
        answer = json.dumps({"score": merit + leaning, "reason": "simulated"})
    return reply(answer, input_tokens=len(asked) // 4 + 150, output_tokens=40)


async def main() -> None:
    """Print each script's verdict in the three modes, and the bill."""
    keys = [key for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY") if os.environ.get(key)]
    if keys:
        print(f"Real models, by {', '.join(keys)}; at most $0.25 per mode.")
    else:
        print("No key is set, so a script stands in for the models: answers and figures are simulated.")
    bill_usd = {}
    for mode in ("full", "exact", "smart"):
        settings = {"max_usd": 0.25} if keys else {"provider": ScriptedProvider(script)}
        log = MemorySink()  # the default log is for traffic of your own
        async with SmartEnsembleEvaluator(mode=mode, seed=0, sink=log, **settings) as council:
            print(f"\nmode {mode}")
            for text in SCRIPTS:
                verdict = await council.evaluate_script(text, "fitness")
                how = verdict["_routing_metadata"]
                print(f"  {verdict['verdict']:15} {verdict['final_score']:6.2f}  {text[:44]}...")
                print(f"    decided by {how['decided_by']}, ${how['cost']:.6f}, {how['model_used']}")
            bill_usd[mode] = council.get_stats()["total_cost"]
    simulated = "" if keys else " (simulated)"
    print(f"\nThe bill: ${bill_usd['smart']:.6f}{simulated} in mode smart,")
    print(f"${bill_usd['exact']:.6f} in exact, and ${bill_usd['full']:.6f} in full.")


asyncio.run(main())
