"""Measure the surface of a request in one pass: lengths, scripts, words that tell. Knows no complexity.

What it counts is what the event log stores: numbers, no text. Lengths count the whole conversation.
Content is read from the user's turns only (or from `Task.subject`), at most SCAN_CHARS characters from
either end, so the cost of a request of any length is bounded.
"""

from __future__ import annotations

import functools
import math
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from smartroute.classify.lexicon import (
    CODE_MARKERS,
    MATHS_MARKERS,
    MATHS_SYMBOLS,
    PHRASES,
    STEMS,
    WORDS,
)
from smartroute.records import Task

FEATURES_VERSION = 1
"""Rises whenever a feature is added, dropped or counted differently."""

SCAN_CHARS = 1_000
"""How many characters are read for content from either end of the user's turns."""


class Features(NamedTuple):
    """Numbers that describe a request without quoting it.

    `characters` is the length of the subject where there is one, else of the whole conversation;
    `input_tokens` is an estimate over all messages and tools. The fields from `scanned` on describe
    the scanned text: `han`, `kana`, `hangul`, `other_wide` and `accented` are shares of its characters,
    the rest are counts, those of the word categories counts of distinct words.
    """

    characters: int = 0
    input_tokens: int = 0
    user_characters: int = 0
    messages: int = 0
    user_turns: int = 0
    tools: int = 0
    images: int = 0
    attachments: int = 0
    scanned: int = 0
    weighted_length: int = 0
    han: float = 0.0
    kana: float = 0.0
    hangul: float = 0.0
    other_wide: float = 0.0
    accented: float = 0.0
    words: int = 0
    numbers: int = 0
    questions: int = 0
    items: int = 0
    code: int = 0
    maths: int = 0
    prove: int = 0
    reason: int = 0
    explain: int = 0
    debug: int = 0
    design: int = 0
    formal: int = 0
    claims: int = 0
    relations: int = 0
    constraints: int = 0
    light: int = 0


def measure(task: Task) -> Features:
    """Return the features of a task. The last task of each thread is remembered, so asking again is free."""
    if getattr(_last, "task", None) is task:
        found: Features = _last.features
        return found
    features = _measure(task)
    if features.characters <= _REMEMBER_CHARS:
        _last.task, _last.features = task, features
    return features


def estimate_tokens(task: Task) -> int:
    """Return about how many input tokens a task has, all messages and tools included, without a tokenizer."""
    return measure(task).input_tokens


def scanned_text(task: Task) -> str:
    """Return the text that content signals are read from: both ends of the subject or of the user's turns."""
    if task.subject is not None:
        return _ends([task.subject])
    return _ends(_collect(task).user)


# A remembered task keeps its text alive until the thread measures the next one; long ones are let go.
_REMEMBER_CHARS = 100_000
_last = threading.local()

_IMAGE_TOKENS, _LOW_IMAGE_TOKENS, _ATTACHMENT_TOKENS = 765, 85, 1_000
_MESSAGE_TOKENS, _REPLY_TOKENS, _TOOL_TOKENS = 4, 3, 8
_TOOLS_READ = 16


class _Collected:
    """The texts of a conversation, gathered without joining them."""

    __slots__ = ("all", "attachments", "characters", "images", "other_tokens", "user", "user_turns")

    def __init__(self) -> None:
        self.all: list[str] = []
        self.user: list[str] = []
        self.characters = self.user_turns = self.images = self.attachments = self.other_tokens = 0


def _collect(task: Task) -> _Collected:
    seen = _Collected()
    for message in task.messages:
        content = message.get("content")
        user = message.get("role") == "user"
        if user:
            seen.user_turns += 1
        if isinstance(content, str):
            seen.all.append(content)
            if user:
                seen.user.append(content)
        elif content:
            _collect_parts(seen, content, user)
        if (calls := message.get("tool_calls")) and isinstance(calls, Sequence):
            seen.all.extend(_call_texts(calls))
    seen.characters = sum(map(len, seen.all))
    return seen


def _collect_parts(seen: _Collected, parts: Iterable[Any], user: bool) -> None:
    for part in parts:
        if not isinstance(part, Mapping):
            continue
        text = part.get("text")
        if isinstance(text, str):
            seen.all.append(text)
            if user:
                seen.user.append(text)
        elif part.get("type") == "image_url":
            seen.images += 1
            image = part.get("image_url")
            low = isinstance(image, Mapping) and image.get("detail") == "low"
            seen.other_tokens += _LOW_IMAGE_TOKENS if low else _IMAGE_TOKENS
        elif part.get("type") in ("input_audio", "audio_url", "file", "video_url", "document"):
            seen.attachments += 1
            seen.other_tokens += _ATTACHMENT_TOKENS


def _call_texts(calls: Sequence[Any]) -> Iterable[str]:
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            yield from (part for key in ("name", "arguments") if isinstance(part := function.get(key), str))


def _ends(texts: Sequence[str]) -> str:
    """Return the texts joined by newlines, or SCAN_CHARS from both ends when they hold more than twice that."""
    if len(texts) == 1:
        text = texts[0]
        return text if len(text) <= 2 * SCAN_CHARS else f"{text[:SCAN_CHARS]}\n{text[-SCAN_CHARS:]}"
    if sum(map(len, texts)) <= 2 * SCAN_CHARS:
        return "\n".join(texts)
    head: list[str] = []
    left = SCAN_CHARS
    for text in texts:
        head.append(text[:left])
        left -= len(text)
        if left <= 0:
            break
    tail: list[str] = []
    left = SCAN_CHARS
    for text in reversed(texts):
        tail.append(text[-left:])
        left -= len(text)
        if left <= 0:
            break
    return "\n".join(head + tail[::-1])
