"""Token counts of one call."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call.

    `input_tokens` counts the whole prompt, the `cached_tokens` read from and the
    `cache_write_tokens` written to a prompt cache included; `output_tokens` counts everything
    generated, `reasoning_tokens` included. `audio_tokens` counts the audio tokens among both.
    `surcharge` names what the provider reports to have charged beyond, or otherwise than, tokens at the
    plain rates (a service tier, a search, ...).
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    audio_tokens: int = 0
    surcharge: str | None = None
