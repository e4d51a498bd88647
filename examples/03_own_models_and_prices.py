"""Bring your own models and prices: from a file, from code, and as a table that wins over both."""

import os
from pathlib import Path

from smartroute import Catalog, ModelCard, ModelRouter, Price, PriceTable
from smartroute.sinks import MemorySink
from smartroute.testing import ScriptedProvider, reply

keys = [key for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY") if os.environ.get(key)]
if keys:
    print(f"Real models, by {', '.join(keys)}; at most $0.25.")
else:
    print("No key is set, so a script stands in for the models: answers and figures are simulated.")
provider = None if keys else ScriptedProvider(lambda call: reply("82", input_tokens=30, output_tokens=1))

own = Catalog.from_file(Path(__file__).with_name("models.toml"))
catalog = Catalog.default().with_cards(
    *own,
    ModelCard(
        "laptop-qwen",
        target="ollama/qwen3",
        api_base="http://localhost:11434",
        tier="mini",
        price=Price(0, 0, source="our own machine"),
        default=False,
    ),
)
contract = PriceTable({"gpt-6-luna": Price(0.08, 0.4, source="our contract", as_of="2026-11-01")})

log = MemorySink()  # the default log is for traffic of your own
with ModelRouter(catalog=catalog, prices=contract, provider=provider, sink=log, max_usd=0.25) as router:
    print("\nUSD per million tokens in and out, and where the figure is from:")
    for name in ("gpt-4o", "team-llama", "laptop-qwen", "gpt-6-luna", "claude-haiku-5-5"):
        price = router.prices.price(name)
        if price is not None:
            print(f"  {name:18} {price.input:5g} {price.output:5g}  {price.source}")

    hook = "Rate this hook from 0 to 100, the number only: 'Lose weight fast!'"
    by_default = router.decide(hook, kind="score")
    by_name = router.decide(hook, kind="score", preferred_model="team-llama")
    print(f"\nBy default first: {by_default.ladder[0]}, about ${by_default.ladder[0].expected_usd:.8f}")
    print(f"Asked for by name: {by_name.ladder[0]}, then {', '.join(map(str, by_name.ladder[1:]))}")

    outcome = router.run(hook, kind="score", max_tokens=2_000)

print(f"\n{outcome.model} answered {outcome.text}.")
print(f"The bill: {outcome.bill}{'' if keys else ' (simulated)'}, at your prices.")
