"""Turn token usage into dollars, at the rates of one model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass, fields
from datetime import date

from smartroute.errors import ConfigError, shown
from smartroute.number_checks import checked_number, checked_whole
from smartroute.records import Usage

PER_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class LongContext:
    """Rates in USD per million tokens of a call whose input exceeds `above_tokens`, for all its tokens.

    A rate left out is the ordinary one of the Price.
    """

    above_tokens: int
    input: float
    output: float
    cached_input: float | None = None
    _: KW_ONLY
    cache_write: float | None = None
    batch_input: float | None = None
    batch_output: float | None = None
    batch_cached_input: float | None = None
    batch_cache_write: float | None = None

    def __post_init__(self) -> None:
        checked_whole(self.above_tokens, "above_tokens", least=0)
        for name in _LONG_RATES:
            _check_rate(f"long_context.{name}", getattr(self, name), required=name in ("input", "output"))


_LONG_RATES = tuple(field.name for field in fields(LongContext) if field.name != "above_tokens")


@dataclass(frozen=True, slots=True)
class Price:
    """What a model charges, in USD per million tokens.

    A rate of None falls back: cached input and cache writes on input, reasoning on output, batch on
    the standard rates (no discount is invented), cached input and cache writes of a batch on the
    batch's input. `source` and `as_of` (an ISO date) say where the row comes from. `audio_apart` says that
    audio tokens have rates of their own, which are not among these: a call with audio has an unknown cost.
    Raises ConfigError for a rate that is negative, not finite, or not a number.
    """

    input: float
    output: float
    cached_input: float | None = None
    cache_write: float | None = None
    reasoning: float | None = None
    batch_input: float | None = None
    batch_output: float | None = None
    long_context: LongContext | None = None
    source: str = ""
    as_of: str = ""
    _: KW_ONLY
    batch_cached_input: float | None = None
    batch_cache_write: float | None = None
    audio_apart: bool = False

    def __post_init__(self) -> None:
        for name in _RATES:
            _check_rate(name, getattr(self, name), required=name in ("input", "output"))
        if not isinstance(self.audio_apart, bool):
            raise ConfigError(f"audio_apart must be true or false, got {shown(self.audio_apart)}")
        if self.long_context is not None and not isinstance(self.long_context, LongContext):
            raise ConfigError(
                "long_context must be a LongContext(above_tokens, input, output), "
                f"got {type(self.long_context).__name__}"
            )
        if not isinstance(self.source, str):
            raise ConfigError(f"a price's source must be text, got {shown(self.source)}")
        if self.as_of:
            _check_date("a price's as_of", self.as_of)

    def cost(self, usage: Usage, *, batch: bool = False) -> float:
        """Return what this usage costs in USD.

        Cached, cache-write and reasoning tokens are parts of their totals; a part that exceeds its
        total counts as the total. Never more than `ceiling` of the same totals.
        """
        tokens_in, tokens_out = usage.input_tokens, usage.output_tokens
        long = self._long(tokens_in)
        cached = min(usage.cached_tokens, tokens_in)
        written = min(usage.cache_write_tokens, tokens_in - cached)
        reasoned = min(usage.reasoning_tokens, tokens_out)
        if long is None and not (batch or cached or written or reasoned):
            return (tokens_in * self.input + tokens_out * self.output) / PER_MILLION
        rates = self._batch_rates(long) if batch else self._standard_rates(long)
        exact = math.fsum(
            (
                (tokens_in - cached - written) * rates[0],
                cached * rates[1],
                written * rates[2],
                (tokens_out - reasoned) * rates[3],
                reasoned * rates[4],
            )
        )
        # Rounding each part by itself may exceed the undivided product by a last digit.
        return min(exact / PER_MILLION, self.ceiling(tokens_in, tokens_out))

    def rates(self) -> tuple[float, float, float, float, float]:
        """Return USD per token of plain, cached and written input and of plain and reasoned output.

        Those of prompts below any long-context threshold.
        """
        plain, cached, written, answer, reasoned = self._standard_rates(None)
        return (
            plain / PER_MILLION,
            cached / PER_MILLION,
            written / PER_MILLION,
            answer / PER_MILLION,
            reasoned / PER_MILLION,
        )

    def plain_cost(self, input_tokens: int, output_tokens: int) -> float:
        """Return what so many tokens cost in USD when none is cached, written or reasoned: `cost`, faster."""
        long = self.long_context
        if long is None or input_tokens <= long.above_tokens:
            return (input_tokens * self.input + output_tokens * self.output) / PER_MILLION
        return (input_tokens * long.input + output_tokens * long.output) / PER_MILLION

    def ceiling(self, input_tokens: int, output_tokens: int) -> float:
        """Return the most USD that so many tokens can cost, however they were cached, written or reasoned.

        Grows with both counts, so a reservation at an upper bound of the tokens covers the call.
        """
        long = self._long(input_tokens)
        highest_in = max(rate for rate in self._input_rates(long) if rate is not None)
        highest_out = max(rate for rate in self._output_rates(long) if rate is not None)
        return (input_tokens * highest_in + output_tokens * highest_out) / PER_MILLION

    def _long(self, input_tokens: int) -> LongContext | None:
        long = self.long_context
        return long if long is not None and input_tokens > long.above_tokens else None

    def _standard_rates(self, long: LongContext | None) -> tuple[float, float, float, float, float]:
        """Return the rates of plain, cached and written input, and of plain and reasoned output."""
        if long is None:
            rate_in, rate_out = self.input, self.output
            cached, written = self.cached_input, self.cache_write
            reasoned = rate_out if self.reasoning is None else self.reasoning
        else:
            rate_in, rate_out = long.input, long.output
            cached = _first(long.cached_input, self.cached_input)
            written = _first(long.cache_write, self.cache_write)
            reasoned = max(rate_out, self.reasoning or 0.0)
        return (
            rate_in,
            rate_in if cached is None else cached,
            rate_in if written is None else written,
            rate_out,
            reasoned,
        )

    def _batch_rates(self, long: LongContext | None) -> tuple[float, float, float, float, float]:
        rate_in, cached, written, rate_out, reasoned = self._standard_rates(long)
        batch_in, batch_out = self.batch_input, self.batch_output
        batch_cached, batch_written = self.batch_cached_input, self.batch_cache_write
        if long is not None:
            batch_in, batch_out = _first(long.batch_input, batch_in), _first(long.batch_output, batch_out)
            batch_cached = _first(long.batch_cached_input, batch_cached)
            batch_written = _first(long.batch_cache_write, batch_written)
        if batch_in is not None:
            rate_in = batch_in
            cached = batch_in if batch_cached is None else batch_cached
            written = batch_in if batch_written is None else batch_written
        if batch_out is not None:
            rate_out = reasoned = batch_out
        return rate_in, cached, written, rate_out, reasoned

    def _input_rates(self, long: LongContext | None) -> Iterator[float | None]:
        for row in (self, long):
            if row is not None:
                yield from (row.input, row.cached_input, row.cache_write)
                yield from (row.batch_input, row.batch_cached_input, row.batch_cache_write)

    def _output_rates(self, long: LongContext | None) -> Iterator[float | None]:
        yield self.reasoning
        for row in (self, long):
            if row is not None:
                yield from (row.output, row.batch_output)


_NO_RATES = ("long_context", "source", "as_of", "audio_apart")
_RATES = tuple(field.name for field in fields(Price) if field.name not in _NO_RATES)


def _first(one: float | None, other: float | None) -> float | None:
    return other if one is None else one


def _check_rate(name: str, value: object, *, required: bool) -> None:
    if value is not None or required:
        checked_number(value, f"price {name} (USD per million tokens)", least=0)


def _check_date(name: str, value: object) -> None:
    try:
        date.fromisoformat(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise ConfigError(f"{name} must be a date such as 2026-11-23, got {shown(value)}") from None
