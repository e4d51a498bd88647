"""Add up and write many cells at once, in columns of numpy, which takes a tenth of the time."""

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
    CellId,
    StoredCell,
)
from smartroute.analytics.rollup.instants import instants_of, texts_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

_SLOTS = 1 << 16
_CODES = _SLOTS * len(HISTOGRAMS)
_ENTRY = [("which", "u1"), ("slot", "<i2"), ("count", "<u4")]  # as ENTRY


@dataclass(slots=True)
class Slots:
    """How many values are in each slot of each cell's histograms, in the order of the codes.

    A code is (cell * len(HISTOGRAMS) + histogram) * _SLOTS + slot - ZEROS.
    """

    codes: Ints
    counts: Ints

    @classmethod
    def counted(cls, cells: Ints, values: Sequence[Ints], unknown: int) -> Slots:
        """Return counts of `values`, which are one column of slots for each histogram.

        `cells` has the cell of each row. The slot `unknown` is not counted.
        """
        import numpy as np

        codes = [
            (cells * len(HISTOGRAMS) + which) * _SLOTS + (slots - ZEROS) for which, slots in enumerate(values)
        ]
        known = [code[slots != unknown] for code, slots in zip(codes, values, strict=True)]
        return cls(*np.unique(np.concatenate(known), return_counts=True))

    def within(self, cells: Ints) -> Slots:
        """Return the counts of coarser cells. `cells` has the coarser cell of each cell."""
        import numpy as np

        codes, indexes = np.unique(
            cells[self.codes // _CODES] * _CODES + self.codes % _CODES, return_inverse=True
        )
        return Slots(codes, np.bincount(indexes, weights=self.counts).astype(np.int64))

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
        """Return the counts in packed histograms, one blob for each cell. Raises ValueError for damage."""
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
    """Cells, in columns. `numbers` has a row for each cell, and the columns of NUMBERS."""

    numbers: Floats
    first: Ints
    last: Ints
    slots: Slots
    overhead_usd: Mapping[int, Mapping[str, float]]

    @classmethod
    def unpacked(cls, cells: Sequence[StoredCell]) -> Columns:
        """Return the columns of stored cells. Raises ValueError for damaged values."""
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
            {index: json.loads(text) for index, text in enumerate(overheads) if text != NO_OVERHEAD},
        )

    def within(self, cells: Ints, n: int) -> Columns:
        """Return the sums of the cells in n coarser cells. `cells` has the coarser cell of each cell."""
        import numpy as np

        first, last = np.full(n, self.first.max(initial=0)), np.zeros(n, dtype=np.int64)
        np.minimum.at(first, cells, self.first)
        np.maximum.at(last, cells, self.last)
        overheads: defaultdict[int, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))
        for index, overhead_usd in self.overhead_usd.items():
            known = overheads[int(cells[index])]
            for purpose, usd in overhead_usd.items():
                known[purpose] += usd
        return Columns(summed(self.numbers.T, cells, n), first, last, self.slots.within(cells), overheads)

    def joined(self, *others: Columns) -> Columns:
        """Return these cells, followed by others."""
        import numpy as np

        every = (self, *others)
        starts = np.cumsum([0, *(len(columns.first) for columns in every)]).tolist()
        return Columns(
            np.concatenate([columns.numbers for columns in every]),
            np.concatenate([columns.first for columns in every]),
            np.concatenate([columns.last for columns in every]),
            Slots(
                np.concatenate([c.slots.codes + s * _CODES for c, s in zip(every, starts, strict=False)]),
                np.concatenate([columns.slots.counts for columns in every]),
            ),
            {s + n: usd for c, s in zip(every, starts, strict=False) for n, usd in c.overhead_usd.items()},
        )

    def packed(self, *ids: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
        """Return rows of the table: the columns of `ids`, followed by the fields of StoredCell."""
        import numpy as np

        shown = self.numbers[:, : len(SHOWN)].T.tolist()
        rest = np.zeros((len(self.first), MASK_BYTES * 8))
        rest[:, : len(PACKED)] = self.numbers[:, len(SHOWN) :]
        present = rest != 0
        masks = _cut(
            np.packbits(present, axis=1, bitorder="little").tobytes(), range(MASK_BYTES, len(rest) * 8 + 1, 8)
        )
        values = _cut(rest[present].astype("<f8").tobytes(), np.cumsum(present.sum(axis=1)) * 8)
        overheads = [NO_OVERHEAD] * len(rest)
        for index, overhead_usd in self.overhead_usd.items():
            overheads[index] = json.dumps(overhead_usd)
        return zip(
            *ids,
            texts_of(self.first),
            texts_of(self.last),
            *shown,
            map(bytes.__add__, masks, values),
            self.slots.packed(len(rest)),
            overheads,
            strict=True,
        )


class Cells:
    """Cells with their ids."""

    def __init__(self, ids: Sequence[CellId], columns: Columns) -> None:
        self._ids = ids
        self._columns = columns

    @property
    def ids(self) -> Sequence[CellId]:
        """Return the id of each cell."""
        return self._ids

    def with_stored(self, stored: Mapping[CellId, StoredCell]) -> Iterator[tuple[Any, ...]]:
        """Return rows of CellId and StoredCell, with the cells added that are stored under the same ids."""
        import numpy as np

        columns = self._columns
        n = len(self._ids)
        if stored:
            indexes = {cell_id: index for index, cell_id in enumerate(self._ids)}
            cells = np.concatenate((np.arange(n), [indexes[cell_id] for cell_id in stored]))
            columns = columns.joined(Columns.unpacked([*stored.values()])).within(cells, n)
        return columns.packed(*zip(*self._ids, strict=True))


def summed(numbers: Iterable[Floats], cells: Ints, n: int) -> Floats:
    """Return the sum of each column in each of n cells, in an array of shape (cells, columns).

    `cells` has the cell of each row. The columns are read one after the other.
    """
    import numpy as np

    return np.stack([np.bincount(cells, weights=column, minlength=n) for column in numbers], axis=1)


def _cut(blob: bytes, ends: Iterable[int]) -> list[bytes]:
    """Return the pieces of a blob, given the end of each."""
    ends = [int(end) for end in ends]
    return [blob[start:end] for start, end in zip([0, *ends], ends, strict=False)]
