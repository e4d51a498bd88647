"""Decide who is asked, and carry the decision out: eligibility, strategies, retries, breaker, escalation."""
