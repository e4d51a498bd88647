"""Use the executor in an existing application: triage support tickets, one dict per answer.

The first answer to the second ticket violates the schema: its own model repairs it, which costs less than the
next model.
"""

import json
import os

from smartroute.integration import SmartSingleModelExecutor
from smartroute.records import Call, Reply
from smartroute.sinks import MemorySink
from smartroute.testing import ScriptedProvider, reply

TICKETS = (
    "I was charged twice for order 1184. Please refund one.",
    "The app crashes {every time} I open the camera on my phone.",
)
TEMPLATE = "File this ticket.\n\nTicket: {text}\n\nAnswer with JSON: queue and urgency (1 to 3)."
SHAPE = {
    "type": "json_schema",
    "json_schema": {
        "name": "triage",
        "schema": {
            "type": "object",
            "properties": {
                "queue": {"type": "string", "enum": ["billing", "bugs", "other"]},
                "urgency": {"type": "integer", "minimum": 1, "maximum": 3},
            },
            "required": ["queue", "urgency"],
            "additionalProperties": False,
        },
    },
}


def script(call: Call) -> Reply:
    """Stand in for the models: the first answer to the second ticket violates the schema."""
    asked = str(call.messages[0]["content"])
    answer = {"queue": "billing", "urgency": 2} if "charged" in asked else {"queue": "bugs", "urgency": 3}
    if "crashes" in asked and call.purpose == "answer":
        answer["urgency"] = 9
    return reply(json.dumps(answer), input_tokens=len(asked) // 4, output_tokens=12)


def triage(executor: SmartSingleModelExecutor, ticket: str) -> dict[str, object]:
    """Return the queue and the urgency of a ticket, as the application always did."""
    answer = executor.execute_sync(ticket, "classify", prompt_template=TEMPLATE, response_format=SHAPE)
    print(f"\n{ticket}\n  {answer['result']}")
    print(f"  {answer['complexity']}, answered by {answer['model_used']}, ${answer['cost']:.6f}")
    filed = json.loads(answer["result"])
    # When no model keeps to the schema, the last answer comes back as it is: look before you use it.
    return filed if isinstance(filed, dict) else {"queue": "other", "urgency": 1}


log = MemorySink()  # the default log is for traffic of your own
keys = [key for key in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY") if os.environ.get(key)]
if keys:
    print(f"Real models, by {', '.join(keys)}; at most $0.25.")
    executor = SmartSingleModelExecutor(sink=log, max_usd=0.25)
else:
    print("No key is set, so a script stands in for the models: answers and figures are simulated.")
    executor = SmartSingleModelExecutor(sink=log, provider=ScriptedProvider(script))

with executor:
    queues = [triage(executor, ticket)["queue"] for ticket in TICKETS]
    stats = executor.get_stats()
repaired = sum(attempt["purpose"] == "repair" for event in log.events() for attempt in event.attempts)
print(f"\n{len(queues)} tickets filed, answers repaired: {repaired}, escalated: {stats['escalations']}")
print(f"\nThe bill: ${stats['total_cost']:.6f}{'' if keys else ' (simulated)'}")
