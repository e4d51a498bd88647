"""Convert the times of events to integers that sort as the times do, and back, many at once.

An instant is a number of microseconds, counted as if every month had 31 days. So an hour, a day, a month and
a year each have a constant length, and an instant divided by it is the number of its bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from smartroute.analytics.rollup.cells import DAY, HOUR, MONTH, YEAR

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Instants = npt.NDArray[np.int64]

_SHAPE = b"0000-00-00T00:00:00.000000Z"
_SECOND = 1_000_000
_HOUR = 3_600 * _SECOND
LENGTHS = {HOUR: _HOUR, DAY: 24 * _HOUR, MONTH: 31 * 24 * _HOUR, YEAR: 12 * 31 * 24 * _HOUR}
"""The length of an hour, a day, a month and a year in microseconds, by grain."""

_FIELDS = (
    (0, 4, 0, LENGTHS[YEAR], 10_000),
    (5, 2, 1, LENGTHS[MONTH], 12),
    (8, 2, 1, LENGTHS[DAY], 31),
    (11, 2, 0, _HOUR, 24),
    (14, 2, 0, 60 * _SECOND, 60),
    (17, 2, 0, _SECOND, 60),
    (20, 6, 0, 1, _SECOND),
)
"""Of each number in a time: its index in the text, how many digits, the least value, the length of one in
microseconds, and how many values it has."""


def instants_of(times: Sequence[str]) -> Instants:
    """Return the instants of times that are written as events write them. Raises ValueError for others."""
    import numpy as np

    digits = np.frombuffer("".join(times).encode(), dtype=np.uint8).reshape(len(times), len(_SHAPE))
    instants = np.zeros(len(times), dtype=np.int64)
    for start, width, least, length, _ in _FIELDS:
        value = np.zeros(len(times), dtype=np.int64)
        for column in range(start, start + width):
            value = value * 10 + digits[:, column]
        # The digits are still characters: subtract what "0" adds at each power of ten.
        zeros = sum(ord("0") * 10**power for power in range(width))
        instants += (value - (zeros + least)) * length
    return instants


def texts_of(instants: Instants) -> list[str]:
    """Return instants as times, written as events write them."""
    import numpy as np

    letters = np.tile(np.frombuffer(_SHAPE, dtype=np.uint8), (len(instants), 1))
    for start, width, least, length, most in _FIELDS:
        value = instants // length % most + least
        for power in range(width):
            letters[:, start + width - 1 - power] += (value // 10**power % 10).astype(np.uint8)
    text, size = letters.tobytes().decode(), len(_SHAPE)
    return [text[start : start + size] for start in range(0, len(text), size)]
