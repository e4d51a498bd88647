"""Check a user's feedback on an answer before it becomes an event."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, get_args

from smartroute.errors import TaskError, shown
from smartroute.number_checks import checked_share
from smartroute.records import Outcome

FeedbackSource: TypeAlias = Literal["user", "judge", "test"]
_SOURCES = get_args(FeedbackSource)


def feedback_about(
    outcome_id: object,
    conversation_id: object,
    quality: object,
    label: object,
    source: object,
    comment: object,
) -> dict[str, Any]:
    """Return the fields of a feedback event. Raises TaskError naming the field, the value and the cure.

    Without a `conversation_id` it is about one outcome, and `outcome_id` must not be empty.
    """
    if conversation_id is None:
        _check_text(outcome_id, "outcome_id")
    else:
        _check_text(conversation_id, "conversation_id")
    if quality is None and label is None:
        raise TaskError("feedback needs a quality from 0 to 1, or a label")
    share = None if quality is None else checked_share(quality, "quality", error=TaskError)
    if label is not None:
        _check_text(label, "label")
    if source not in _SOURCES:
        raise TaskError(f"source must be one of {', '.join(_SOURCES)}, got {shown(source)}")
    if comment is not None and not isinstance(comment, str):
        raise TaskError(f"comment must be text, got {type(comment).__name__}")
    return {
        "outcome_id": outcome_id,
        "conversation_id": conversation_id,
        "quality": share,
        "label": label,
        "source": source,
        "comment": comment,
    }


def _check_text(value: object, name: str) -> None:
    if isinstance(value, Outcome):
        raise TaskError(f"{name} must be text, got an Outcome; pass outcome.id")
    if not isinstance(value, str) or not value.strip():
        raise TaskError(f"{name} must be text and not empty, got {shown(value)}")
