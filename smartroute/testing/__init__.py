"""Test an application that uses smartroute: scripted replies, captured events, a frozen clock, no network."""

from smartroute.testing.doubles import (
    CapturingSink,
    FrozenClock,
    Scripted,
    ScriptedProvider,
    ScriptExhaustedError,
    reply,
)
from smartroute.testing.network import NetworkAccessError, no_network

__all__ = [
    "CapturingSink",
    "FrozenClock",
    "NetworkAccessError",
    "ScriptExhaustedError",
    "Scripted",
    "ScriptedProvider",
    "no_network",
    "reply",
]
