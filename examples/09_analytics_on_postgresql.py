"""Keep the log in a database, and read figures and a report from the rollup in the same database.

Name an empty database to see it on PostgreSQL, for which `pip install 'smartroute[sql]'` is needed:

    SMARTROUTE_DATABASE_URL=postgresql://user@host/base python examples/09_analytics_on_postgresql.py

Without one a SQLite file in a temporary folder replaces it: the tables are the same.
"""

import os
import sys
import tempfile
from pathlib import Path

from smartroute import ModelRouter, RouterConfig
from smartroute.analytics import Analytics, compose
from smartroute.catalog import Catalog
from smartroute.dashboard.report_formats import markdown
from smartroute.errors import ConfigError, SinkError
from smartroute.records import Call, Reply
from smartroute.sinks import SqlSource
from smartroute.testing import ScriptedProvider, reply

HOOKS = ("Lose weight fast!", "Your feet deserve better.", "Sleep on a cloud.", "Coffee without regret.")
TENANTS = ("acme", "bolt")


def script(call: Call) -> Reply:
    """Stand in for the models: the cheap one refuses claims about health."""
    asked = str(call.messages[-1]["content"])
    shy = "weight" in asked and call.rung == 0
    return reply("I'm sorry, but I can't help with that." if shy else "64", input_tokens=40, output_tokens=8)


def route(router: ModelRouter) -> None:
    """Send every hook once for each tenant, and record feedback on each answer."""
    for tenant in TENANTS:
        for hook in HOOKS:
            outcome = router.run(f"Rate this hook from 0 to 100: '{hook}'", kind="score", tenant=tenant)
            router.feedback(outcome.id, quality=0.5 if "Coffee" in hook else 1.0)
    router.flush()  # waits until all of it is committed


def read_on(analytics: Analytics) -> None:
    """Bring the rollup up to date, and say how much of the log that read. Any question does so by itself."""
    read = 0

    def note(so_far: int, new: int) -> None:
        nonlocal read
        read = so_far

    if not analytics.catch_up(note):
        print("  no rollup can be kept here: questions read the log in full")
        return
    events = sum(1 for _ in analytics.source.events())
    print(f"  the log has {events} events, {read} of them new to the rollup")


keys = [key for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY") if os.environ.get(key)]
if keys:
    print(f"Real models, by {', '.join(keys)}; at most $0.25.")
    provider = None
else:
    print("No key is set, so a script stands in for the models: answers and figures are simulated.")
    provider = ScriptedProvider(script)

with tempfile.TemporaryDirectory() as folder:
    url = os.environ.get("SMARTROUTE_DATABASE_URL")
    if url is None:
        url = f"sqlite:///{Path(folder) / 'events.sqlite'}"
        print("SMARTROUTE_DATABASE_URL is not set, so a SQLite file replaces PostgreSQL.")
    try:
        log = SqlSource(url)
    except ImportError as error:
        print(f"This example needs one thing more: {error}")
        sys.exit(0)
    except ConfigError as error:
        sys.exit(f"SMARTROUTE_DATABASE_URL cannot be used: {error}")
    analytics = Analytics(log)

    router = ModelRouter(config=RouterConfig(provider=provider, log_path=url, max_usd=0.25))
    try:
        with router:
            for title in ("Eight requests, each with feedback", "Eight more"):
                print(f"\n{title}")
                route(router)
                read_on(analytics)
            print("\nAsked once more")
            read_on(analytics)
    except SinkError as error:
        sys.exit(f"The log cannot be used: {error}")

    print("\nBy model and tenant")
    for (model, tenant), figures in analytics.several([("model", "tenant")])["model", "tenant"].items():
        quality = figures.labels["user"].quality.mean or 0.0
        requests = f"{figures.requests} requests, ${figures.cost_usd:.6f}"
        print(f"  {model:17} {tenant}  {requests}, quality {quality:.0%}")

    report = compose(analytics, prices=Catalog.default().prices(), group_by=("model", "tenant"))
    print(f"\n{markdown(report)}")
    log.close()

stats = router.get_stats()
print(f"The bill: ${stats['total_cost']:.6f}{'' if keys else ' (simulated)'}")
