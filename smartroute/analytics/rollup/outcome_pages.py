"""Store where outcomes count, to be looked up by id: many outcomes in a row, which takes a fifth of the time.

A page is outcomes in the order of their ids. A row of the rollup's table holds one page under its `start_id`.
All ids from that one on, and before the start of the next page, belong to the page.
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

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

ID_BYTES = 16
PAGE_OUTCOMES = 256
"""How many outcomes a page holds at most. A longer one is split."""

HELD, ROUTED = 1, 2
"""What is stored of a holdback: held, or routed beside one. 0 where there was none."""

_IDS = f"S{ID_BYTES}"
_TYPES = {"instants": "<i8", "keys": "<i4", "confidences": "<f8", "holdbacks": "i1"}


class StoredOutcome(NamedTuple):
    """What is stored of an outcome: the hour and key of its cell, and what counting its feedback needs."""

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
    """Return ids as a sorted array."""
    import numpy as np

    return np.sort(np.frombuffer(b"".join(ids), dtype=_IDS), kind="stable")


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Outcomes, in columns of equal length. An unknown confidence is NaN."""

    ids: Any
    instants: Ints
    keys: Ints
    confidences: Floats
    holdbacks: Ints
    conversations: Sequence[str | None]

    @classmethod
    def of(
        cls,
        ids: Sequence[bytes],
        instants: Ints,
        keys: Ints,
        confidences: Floats,
        holdbacks: Ints,
        conversations: Sequence[str | None],
    ) -> Outcomes:
        """Return outcomes in the order of their ids."""
        import numpy as np

        column = np.frombuffer(b"".join(ids), dtype=_IDS)
        return cls(column, instants, keys, confidences, holdbacks, conversations).in_order()

    @classmethod
    def unpacked(cls, row: Sequence[Any]) -> Outcomes:
        """Return the page of a row that `packed` made. Raises ValueError for damaged values."""
        import numpy as np

        ids = np.frombuffer(bytes(row[0]), dtype=_IDS)
        instants, keys, confidences, holdbacks = (
            np.frombuffer(bytes(blob), dtype=kind)
            for blob, kind in zip(row[1:-1], _TYPES.values(), strict=True)
        )
        conversations = json.loads(row[-1]) if row[-1] else [None] * len(ids)
        columns = (instants, keys, confidences, holdbacks, conversations)
        if {len(ids)} != {len(column) for column in columns}:
            raise ValueError("the columns of a page are not equally long")
        return cls(ids, instants, keys, confidences, holdbacks, conversations)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def first_id(self) -> bytes:
        """Return the first id."""
        return bytes(self.ids[:1].tobytes())

    def at(self, indexes: Any) -> Outcomes:
        """Return the outcomes at some indexes, in the order of these."""
        if self.without_conversations:
            conversations: list[str | None] = [None] * len(indexes)
        else:
            conversations = [self.conversations[index] for index in indexes.tolist()]
        return Outcomes(
            *(self.ids[indexes], self.instants[indexes], self.keys[indexes]),
            *(self.confidences[indexes], self.holdbacks[indexes], conversations),
        )

    @property
    def without_conversations(self) -> bool:
        """Return whether none of them belongs to a conversation."""
        return self.conversations.count(None) == len(self.conversations)

    def between(self, start: int, end: int) -> Outcomes:
        """Return the outcomes from an index on and before another."""
        return Outcomes(
            *(self.ids[start:end], self.instants[start:end], self.keys[start:end]),
            *(self.confidences[start:end], self.holdbacks[start:end], self.conversations[start:end]),
        )

    @classmethod
    def joined(cls, batches: Sequence[Outcomes]) -> Outcomes:
        """Return the outcomes of all batches, in the order of these."""
        import numpy as np

        return cls(
            np.concatenate([batch.ids for batch in batches]),
            np.concatenate([batch.instants for batch in batches]),
            np.concatenate([batch.keys for batch in batches]),
            np.concatenate([batch.confidences for batch in batches]),
            np.concatenate([batch.holdbacks for batch in batches]),
            [conversation for batch in batches for conversation in batch.conversations],
        )

    def in_order(self) -> Outcomes:
        """Return the outcomes in the order of their ids."""
        return self.at(self.ids.argsort(kind="stable"))

    def pages(self) -> Iterator[Outcomes]:
        """Yield pages of about equal length."""
        n = -(-len(self) // PAGE_OUTCOMES)
        for page in range(n):
            yield self.between(page * len(self) // n, (page + 1) * len(self) // n)

    def packed(self) -> tuple[Any, ...]:
        """Return the values of a row, in the order of COLUMNS."""
        columns = (getattr(self, name).astype(kind).tobytes() for name, kind in _TYPES.items())
        conversations = "" if self.without_conversations else json.dumps(self.conversations)
        return self.ids.tobytes(), *columns, conversations

    def by_conversation(self) -> list[tuple[int, str, bytes]]:
        """Return rows of month, conversation and outcome id, for the outcomes that have a conversation."""
        months = (self.instants // LENGTHS[MONTH]).tolist()
        rows = zip(months, self.conversations, self.id_list(), strict=True)
        return [(month, name, outcome_id) for month, name, outcome_id in rows if name is not None]

    def indexes_of(self, ids: Any) -> Any:
        """Return the indexes of the outcomes that have one of these sorted ids."""
        import numpy as np

        if not len(self):
            return np.zeros(0, dtype=np.int64)
        indexes = np.searchsorted(self.ids, ids)
        indexes[indexes == len(self)] = 0  # beyond the last id: any index will do, as the ids differ
        return indexes[self.ids[indexes] == ids]

    def id_list(self) -> list[bytes]:
        """Return the ids as a list. Unlike numpy's own, its items keep zeros at their ends."""
        ids = self.ids.tobytes()
        return [ids[start : start + ID_BYTES] for start in range(0, len(ids), ID_BYTES)]

    def by_id(self) -> dict[bytes, StoredOutcome]:
        """Return the outcomes by id."""
        import numpy as np

        unknown = np.isnan(self.confidences).tolist()
        confidences = [
            None if no else yes for no, yes in zip(unknown, self.confidences.tolist(), strict=True)
        ]
        columns = (texts_of(self.instants), self.keys.tolist(), confidences, self.conversations)
        outcomes = map(StoredOutcome, *columns, self.holdbacks.tolist())
        return dict(zip(self.id_list(), outcomes, strict=True))


COLUMNS = ("ids", *_TYPES, "conversations")
"""The columns of a row, besides `start_id`."""
