"""Hold many cells in columns, to add to them and to write them with numpy, in a tenth of the time."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from smartroute.analytics.rollup.cells import (
    ENTRY,
    HISTOGRAMS,
    MASK_BYTES,
    NO_OVERHEAD,
    NUMBERS,
    PACKED,
    SHOWN,
    ZEROS,
    Place,
    StoredCell,
)
from smartroute.analytics.rollup.instants import instants_of, texts_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
    Places = npt.NDArray[np.int64]

_SLOTS = 1 << 16
_CODES = _SLOTS * len(HISTOGRAMS)
_ENTRY = [("which", "u1"), ("slot", "<i2"), ("count", "<u4")]  # as ENTRY


@dataclass(slots=True)
class Slots:
    """How many values lie in each slot of each cell's histograms, in order.

    Codes are (cell * len(HISTOGRAMS) + histogram) * _SLOTS + slot - ZEROS.
    """

    codes: Places
    counts: Places

    @classmethod
    def counted(cls, cells: Places, values: Sequence[Places], unknown: int) -> Slots:
        """Return the counts of slots, by the cell of each; without those that are unknown."""
        import numpy as np

        codes = [
            (cells * len(HISTOGRAMS) + which) * _SLOTS + (slots - ZEROS) for which, slots in enumerate(values)
        ]
        known = [each[slots != unknown] for each, slots in zip(codes, values, strict=True)]
        return cls(*np.unique(np.concatenate(known), return_counts=True))

    def within(self, cells: Places) -> Slots:
        """Return the counts by the cell that each of ours is put into."""
        import numpy as np

        codes, place = np.unique(
            cells[self.codes // _CODES] * _CODES + self.codes % _CODES, return_inverse=True
        )
        return Slots(codes, np.bincount(place, weights=self.counts).astype(np.int64))

    def packed(self, n: int) -> list[bytes]:
        """Return the packed histograms of each of n cells."""
        import numpy as np

        entries = np.empty(len(self.codes), dtype=_ENTRY)
        entries["which"] = self.codes // _SLOTS % len(HISTOGRAMS)
        entries["slot"] = self.codes % _SLOTS + ZEROS
        entries["count"] = self.counts
        ends = np.searchsorted(self.codes, np.arange(1, n + 1) * _CODES) * ENTRY.size
        return _cut(entries.tobytes(), ends)

    @classmethod
    def unpacked(cls, blobs: Sequence[bytes]) -> Slots:
        """Return what is packed. Raises ValueError for rubbish."""
        import numpy as np

        entries = np.frombuffer(b"".join(blobs), dtype=_ENTRY)
        which = entries["which"].astype(np.int64)
        if which.max(initial=0) >= len(HISTOGRAMS):
            raise ValueError("there is no such histogram")
        cells = np.repeat(np.arange(len(blobs)), [len(blob) // ENTRY.size for blob in blobs])
        codes = (cells * len(HISTOGRAMS) + which) * _SLOTS + (entries["slot"].astype(np.int64) - ZEROS)
        return cls(codes, entries["count"].astype(np.int64))


@dataclass(slots=True)
class Columns:
    """Cells, in columns: NUMBERS have one row for each cell."""

    numbers: Array
    first: Places
    last: Places
    slots: Slots
    overhead_usd: Mapping[int, Mapping[str, float]]

    @classmethod
    def unpacked(cls, cells: Sequence[StoredCell]) -> Columns:
        """Return cells of the tables. Raises ValueError for rubbish."""
        import numpy as np

        firsts, lasts, requests, cost_usd, blobs, histograms, overheads = zip(*cells, strict=True)
        masks = np.frombuffer(b"".join(blob[:MASK_BYTES] for blob in blobs), dtype=np.uint8)
        bits = np.unpackbits(masks.reshape(len(cells), MASK_BYTES), axis=1, bitorder="little").astype(bool)
        numbers = np.zeros((len(cells), len(SHOWN) + bits.shape[1]))
        numbers[:, 0], numbers[:, 1] = requests, cost_usd
        numbers[:, len(SHOWN) :][bits] = np.frombuffer(
            b"".join(blob[MASK_BYTES:] for blob in blobs), dtype="<f8"
        )
        return cls(
            numbers[:, : len(NUMBERS)],
            instants_of(firsts),
            instants_of(lasts),
            Slots.unpacked(histograms),
            {place: json.loads(text) for place, text in enumerate(overheads) if text != NO_OVERHEAD},
        )

    def within(self, cells: Places, n: int) -> Columns:
        """Return n cells that add ours up, by the one that each is put into."""
        import numpy as np

        first, last = np.full(n, self.first.max(initial=0)), np.zeros(n, dtype=np.int64)
        np.minimum.at(first, cells, self.first)
        np.maximum.at(last, cells, self.last)
        overheads: defaultdict[int, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
        for place, overhead_usd in self.overhead_usd.items():
            known = overheads[int(cells[place])]
            for purpose, usd in overhead_usd.items():
                known[purpose] += usd
        return Columns(summed(self.numbers.T, cells, n), first, last, self.slots.within(cells), overheads)

    def joined(self, *others: Columns) -> Columns:
        """Return these cells, and behind them others."""
        import numpy as np

        every = (self, *others)
        starts = np.cumsum([0, *(len(each.first) for each in every)]).tolist()
        return Columns(
            np.concatenate([each.numbers for each in every]),
            np.concatenate([each.first for each in every]),
            np.concatenate([each.last for each in every]),
            Slots(
                np.concatenate([e.slots.codes + s * _CODES for e, s in zip(every, starts, strict=False)]),
                np.concatenate([each.slots.counts for each in every]),
            ),
            {s + n: usd for e, s in zip(every, starts, strict=False) for n, usd in e.overhead_usd.items()},
        )

    def packed(self, *places: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        """Return rows of the tables: columns of places, and behind them the fields of StoredCell."""
        import numpy as np

        shown = self.numbers[:, : len(SHOWN)].T.tolist()
        rest = np.zeros((len(self.first), MASK_BYTES * 8))
        rest[:, : len(PACKED)] = self.numbers[:, len(SHOWN) :]
        there = rest != 0
        masks = _cut(
            np.packbits(there, axis=1, bitorder="little").tobytes(), range(MASK_BYTES, len(rest) * 8 + 1, 8)
        )
        values = _cut(rest[there].astype("<f8").tobytes(), np.cumsum(there.sum(axis=1)) * 8)
        overheads = [NO_OVERHEAD] * len(rest)
        for place, overhead_usd in self.overhead_usd.items():
            overheads[place] = json.dumps(overhead_usd)
        return zip(
            *places,
            texts_of(self.first),
            texts_of(self.last),
            *shown,
            map(bytes.__add__, masks, values),
            self.slots.packed(len(rest)),
            overheads,
            strict=True,
        )


class Cells:
    """Cells by their places."""

    def __init__(self, places: Sequence[Place], columns: Columns) -> None:
        self._places = places
        self._columns = columns

    @property
    def places(self) -> Sequence[Place]:
        """Return where each cell belongs."""
        return self._places

    def with_stored(self, known: Mapping[Place, StoredCell]) -> Iterator[tuple[Any, ...]]:
        """Return rows of place and cell, with those cells added that were stored at the same places."""
        import numpy as np

        columns = self._columns
        n = len(self._places)
        if known:
            own = {place: number for number, place in enumerate(self._places)}
            cells = np.concatenate((np.arange(n), [own[place] for place in known]))
            columns = columns.joined(Columns.unpacked([*known.values()])).within(cells, n)
        return columns.packed(*zip(*self._places, strict=True))


def summed(numbers: Iterable[Array], cells: Places, n: int) -> Array:
    """Return the sums by cell of columns, one after the other: shape (cells, columns)."""
    import numpy as np

    return np.stack([np.bincount(cells, weights=column, minlength=n) for column in numbers], axis=1)


def _cut(blob: bytes, ends: Iterable[int]) -> list[bytes]:
    """Return the pieces of a blob, by where each ends."""
    ends = [int(end) for end in ends]
    return [blob[start:end] for start, end in zip([0, *ends], ends, strict=False)]
