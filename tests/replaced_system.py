"""What callers of the replaced system rely on, written down by hand."""

ANSWER_KEYS = {
    "result",
    "confidence",
    "model_used",
    "complexity",
    "cost",
    "escalated",
    "execution_time",
    "timestamp",
}
"""The keys of the dict that `execute` and `route_and_execute` return."""
