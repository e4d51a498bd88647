"""Hold where outcomes count, to be looked up by their ids: many to a row, at a fifth of the work.

A page is outcomes in the order of their ids. A row of the rollup's tables holds one, under the id at which
it begins, and all that come before the next page belong into it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from smartroute.analytics.rollup.cells import HOUR, MONTH
from smartroute.analytics.rollup.instants import LENGTHS, texts_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float64]
    Places = npt.NDArray[np.int64]

ID_BYTES = 16
MOST = 256
"""How many outcomes a page holds. One that has more becomes several."""

HELD, ROUTED = 1, 2
"""What is noted of a holdback: held, or routed beside one. 0 where there was none."""

_IDS = f"S{ID_BYTES}"
_KINDS = {"instants": "<i8", "keys": "<i4", "confidences": "<f8", "holdbacks": "i1"}


class Counted(NamedTuple):
    """Where an outcome counts."""

    time: str
    key: int
    confidence: float | None
    conversation: str | None
    holdback: int

    @property
    def hour(self) -> str:
        """Return the hour that it counts in."""
        return self.time[:HOUR]


def sorted_ids(ids: Collection[bytes]) -> Any:
    """Return ids as a column, in order."""
    import numpy as np

    return np.sort(np.frombuffer(b"".join(ids), dtype=_IDS), kind="stable")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcomes, in columns. An unknown confidence is NaN."""

    ids: Any
    instants: Places
    keys: Places
    confidences: Array
    holdbacks: Places
    talks: Sequence[str | None]

    @classmethod
    def of(
        cls,
        ids: Sequence[bytes],
        instants: Places,
        keys: Places,
        confidences: Array,
        holdbacks: Places,
        talks: Sequence[str | None],
    ) -> Outcomes:
        """Return outcomes in the order of their ids."""
        import numpy as np

        column = np.frombuffer(b"".join(ids), dtype=_IDS)
        return cls(column, instants, keys, confidences, holdbacks, talks).in_order()

    @classmethod
    def unpacked(cls, row: Sequence[Any]) -> Outcomes:
        """Return the page of a row: what `packed` gave. Raises ValueError for rubbish."""
        import numpy as np

        ids = np.frombuffer(bytes(row[0]), dtype=_IDS)
        instants, keys, confidences, holdbacks = (
            np.frombuffer(bytes(blob), dtype=kind)
            for blob, kind in zip(row[1:-1], _KINDS.values(), strict=True)
        )
        talks = json.loads(row[-1]) if row[-1] else [None] * len(ids)
        if {len(ids)} != {len(each) for each in (instants, keys, confidences, holdbacks, talks)}:
            raise ValueError("the columns of a page are not equally long")
        return cls(ids, instants, keys, confidences, holdbacks, talks)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def first_id(self) -> bytes:
        """Return the first id."""
        return bytes(self.ids[:1].tobytes())

    def taken(self, places: Any) -> Outcomes:
        """Return those at some places, in the order of these."""
        talks = [None] * len(places) if self.silent else [self.talks[place] for place in places.tolist()]
        return Outcomes(
            *(self.ids[places], self.instants[places], self.keys[places]),
            *(self.confidences[places], self.holdbacks[places], talks),
        )

    @property
    def silent(self) -> bool:
        """Return whether none belongs to a conversation."""
        return self.talks.count(None) == len(self.talks)

    def between(self, start: int, end: int) -> Outcomes:
        """Return those from one place on and before another."""
        return Outcomes(
            *(self.ids[start:end], self.instants[start:end], self.keys[start:end]),
            *(self.confidences[start:end], self.holdbacks[start:end], self.talks[start:end]),
        )

    @classmethod
    def joined(cls, parts: Sequence[Outcomes]) -> Outcomes:
        """Return outcomes one behind the other."""
        import numpy as np

        return cls(
            np.concatenate([part.ids for part in parts]),
            np.concatenate([part.instants for part in parts]),
            np.concatenate([part.keys for part in parts]),
            np.concatenate([part.confidences for part in parts]),
            np.concatenate([part.holdbacks for part in parts]),
            [talk for part in parts for talk in part.talks],
        )

    def in_order(self) -> Outcomes:
        """Return them in the order of their ids."""
        return self.taken(self.ids.argsort(kind="stable"))

    def pages(self) -> Iterator[Outcomes]:
        """Yield pieces of about equal length, none longer than a page."""
        pieces = -(-len(self) // MOST)
        for piece in range(pieces):
            yield self.between(piece * len(self) // pieces, (piece + 1) * len(self) // pieces)

    def packed(self) -> tuple[Any, ...]:
        """Return COLUMNS of a row: the ids, and what is known of each."""
        columns = (getattr(self, name).astype(kind).tobytes() for name, kind in _KINDS.items())
        talks = "" if self.silent else json.dumps(self.talks)
        return self.ids.tobytes(), *columns, talks

    def members(self) -> list[tuple[int, str, bytes]]:
        """Return rows of month, conversation, and the id of an outcome of it."""
        months = (self.instants // LENGTHS[MONTH]).tolist()
        rows = zip(months, self.talks, self.each_id(), strict=True)
        return [(month, talk, each) for month, talk, each in rows if talk is not None]

    def places_of(self, ids: Any) -> Any:
        """Return the places of those of some ids in order that are here."""
        import numpy as np

        if not len(self):
            return np.zeros(0, dtype=np.int64)
        places = np.searchsorted(self.ids, ids)
        places[places == len(self)] = 0
        return places[self.ids[places] == ids]

    def each_id(self) -> list[bytes]:
        """Return the ids."""
        ids = self.ids.tobytes()
        return [ids[start : start + ID_BYTES] for start in range(0, len(ids), ID_BYTES)]

    def counted(self) -> dict[bytes, Counted]:
        """Return where each counts, by id."""
        import numpy as np

        unknown = np.isnan(self.confidences).tolist()
        confidences = [
            None if no else yes for no, yes in zip(unknown, self.confidences.tolist(), strict=True)
        ]
        columns = (texts_of(self.instants), self.keys.tolist(), confidences, self.talks)
        each = map(Counted, *columns, self.holdbacks.tolist())
        return dict(zip(self.each_id(), each, strict=True))


COLUMNS = ("ids", *_KINDS, "talks")
"""The columns of a row, behind the id at which it begins."""
