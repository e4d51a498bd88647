"""Parse lines of the log into records with only the fields that figures need, and pack ids into 16 bytes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from smartroute.analytics.rollup.outcome_pages import ID_BYTES
from smartroute.events.event import attempt_names_for, line_reader, names_for, rename_values
from smartroute.sinks.jsonl_source import recover

_ID_CHARACTERS = 2 * ID_BYTES


def records(lines: Iterable[bytes]) -> tuple[list[dict[str, Any]], int]:
    """Return the records of lines, and how many lines are not whole events.

    Each record has all of the fields that figures need, where unknown values are None, but those in RARE.
    A line that was damaged yields the whole events that can be recovered from it.
    """
    from pydantic import ValidationError

    validate = line_reader(_NAMES, _ATTEMPT_NAMES, RARE).validator.validate_json
    lines = list(lines)
    try:
        valid: list[dict[str, Any]] = list(map(validate, lines))
        rename_values(valid)
        return valid, 0
    except ValidationError:
        pass  # some line is damaged, which is rare: validate them one by one
    valid = []
    bad = 0
    for line in lines:
        try:
            valid.append(validate(line))
        except ValidationError:
            if line.strip():
                bad += 1
                valid += [_UNKNOWN | event.__dict__ for event in recover(line)]
    rename_values(valid)
    return valid, bad


_NAMES = frozenset(names_for("figures"))
RARE = frozenset(names_for("rare"))
"""The fields that a record has only where the line has them."""

_ATTEMPT_NAMES = frozenset(attempt_names_for("figures"))
_UNKNOWN: dict[str, Any] = dict.fromkeys(_NAMES)


def compact_all(event_ids: Sequence[str]) -> list[bytes]:
    """Return `compact` of each id. Takes a third of the time where all ids are smartroute's own."""
    together = "".join(event_ids)
    if set(map(len, event_ids)) == {_ID_CHARACTERS}:
        with contextlib.suppress(ValueError):
            packed = bytes.fromhex(together)
            # fromhex also reads capital letters and spaces, which other programs' ids may have.
            if packed.hex() == together:
                return [packed[start : start + ID_BYTES] for start in range(0, len(packed), ID_BYTES)]
    return list(map(compact, event_ids))


def compact(event_id: str) -> bytes:
    """Return an id as 16 bytes: smartroute's own are 32 hexadecimal digits, any other is hashed."""
    if len(event_id) == _ID_CHARACTERS:
        try:
            packed = bytes.fromhex(event_id)
        except ValueError:
            pass
        else:
            if packed.hex() == event_id:
                return packed
    return hashlib.blake2b(event_id.encode(), digest_size=ID_BYTES).digest()
