"""Measure the surface of a request in one pass: lengths, scripts, signal words. Knows no complexity.

What it counts is what the event log stores: numbers, no text. Lengths count the whole conversation.
Content is read from the user's turns only (or from `Task.subject`), at most SCAN_CHARS characters from
either end, so the cost of a request of any length is bounded.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from operator import mul
from typing import Any, NamedTuple

from smartroute.classify.lexicon import (
    CODE_MARKS,
    MATHS_MARKS,
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
    the scanned text: `han`, `kana`, `hangul`, `other_wide`, `other_narrow` (Cyrillic, Greek, Arabic, Hebrew)
    and `accented` are shares of its characters; the rest are counts, those from `code` on of distinct
    words and marks (`weighted_length` is in Latin characters and scaled to all the user's words).
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
    other_narrow: float = 0.0
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
    technical: int = 0
    formal: int = 0
    claims: int = 0
    relations: int = 0
    constraints: int = 0
    light: int = 0


def measure(task: Task) -> Features:
    """Return the features of a task. Each thread keeps those of its last task."""
    if getattr(_last, "task", None) is task:
        features: Features = _last.features
        return features
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
_MESSAGE_TOKENS, _REPLY_TOKENS = 4, 3
# Providers write schemas out more tersely than JSON: fitted to recorded counts of 982 requests with tools.
_TOOLS_READ, _TOKENS_PER_SCHEMA_CHAR = 16, 0.18
_MOST_READ, _OTHER_CHARS = 20_000, 4


class _Collected:
    """The texts of a conversation, gathered without joining them; `user` from `last_turn` on are the last."""

    __slots__ = (
        "all",
        "attachments",
        "characters",
        "images",
        "last_turn",
        "other_tokens",
        "user",
        "user_turns",
    )

    def __init__(self) -> None:
        self.all: list[str] = []
        self.user: list[str] = []
        self.characters = self.user_turns = self.images = self.attachments = self.other_tokens = 0
        self.last_turn = 0


def _collect(task: Task) -> _Collected:
    collected = _Collected()
    everything, spoken = collected.all, collected.user
    for message in task.messages:
        content = message.get("content")
        user = message.get("role") == "user"
        if user:
            collected.user_turns += 1
            collected.last_turn = len(spoken)
        if isinstance(content, str):
            everything.append(content)
            if user:
                spoken.append(content)
        elif content:
            _collect_parts(collected, content, user)
        if (calls := message.get("tool_calls")) and isinstance(calls, Sequence):
            everything.extend(_call_texts(calls))
    collected.characters = sum(map(len, everything))
    return collected


def _collect_parts(collected: _Collected, parts: Iterable[Any], user: bool) -> None:
    for part in parts:
        if not isinstance(part, Mapping):
            continue
        text = part.get("text")
        if isinstance(text, str):
            collected.all.append(text)
            if user:
                collected.user.append(text)
        elif part.get("type") == "image_url":
            collected.images += 1
            image = part.get("image_url")
            low = isinstance(image, Mapping) and image.get("detail") == "low"
            collected.other_tokens += _LOW_IMAGE_TOKENS if low else _IMAGE_TOKENS
        elif part.get("type") in ("input_audio", "audio_url", "file", "video_url", "document"):
            collected.attachments += 1
            collected.other_tokens += _ATTACHMENT_TOKENS


def _call_texts(calls: Sequence[Any]) -> Iterable[str]:
    for call in calls:
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            yield from (part for key in ("name", "arguments") if isinstance(part := function.get(key), str))


def _ends(texts: Sequence[str]) -> str:
    """Return the texts joined by newlines, or SCAN_CHARS from either end of more than twice that."""
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


# Latin letters, digits, white space, and the rest of ASCII, as byte sets to delete or blank out.
_LETTERS = bytes(range(65, 91)) + bytes(range(97, 123))
_DIGITS = b"0123456789"
_SPACES = b" \t\n\r\x0b\x0c"
_WORD_BYTES = frozenset(_LETTERS + _DIGITS) | frozenset(range(128, 256))
_SPACED = bytes(byte if byte in _WORD_BYTES else 32 for byte in range(256))
_ASCII_ONLY = bytes(byte if byte < 128 else 32 for byte in range(256))
_HAN_BLOCKS = bytes([*range(0x34, 0xA0), 0xF9, 0xFA])
_HANGUL_BLOCKS = bytes([0x11, 0x31, *range(0xAC, 0xD8)])
_NARROW_BLOCKS = bytes(range(8))
_CJK_MARKS = "。、「」\u3000"
_CLOSE_MARKS = "\u00a0\u202f¿¡«»“”„‘’–—…"
_PROSE = _LETTERS + _DIGITS + _SPACES + b".,?!'\"%"
_DIGITS_ONLY = bytes(byte if byte in _DIGITS else 32 for byte in range(256))


# Tokens per word and per character of each class: a non-negative least-squares fit to the mean of the
# cl100k_base and o200k_base counts of English prompts, Python code and program messages in 19 languages.
# Emoji and other astral characters were too rare to fit; two tokens each is an assumption.
_TOKENS_PER = (0.0, 0.38, 0.145, 0.63, 0.10, 0.81, 1.77, 0.52, 1.09, 0.83, 0.94, 0.75, 2.0)
"""In the order of the fields of Surface."""

# How many Latin characters say about as much as one character of these scripts.
_HAN_WEIGHT, _KANA_WEIGHT, _HANGUL_WEIGHT = 3, 2, 2


class Surface(NamedTuple):
    """Counts of the characters of a text, by what they cost to tokenize."""

    length: int
    words: int
    letters: int
    digits: int
    spaces: int
    punctuation: int
    accented: int = 0
    other_narrow: int = 0
    han: int = 0
    kana: int = 0
    hangul: int = 0
    other_wide: int = 0
    astral: int = 0


def surface(text: str, words: int | None = None) -> Surface:
    """Return the counts of a text, from the lengths of its encodings rather than character by character.

    `words` saves counting them again: runs of letters, digits and characters beyond ASCII.
    """
    ascii_bytes = text.encode("ascii", "ignore")
    ascii_length = len(ascii_bytes)
    if words is None:
        words = len(_spaced(text).split())
    letters = ascii_length - len(ascii_bytes.translate(None, _LETTERS))
    digits = ascii_length - len(ascii_bytes.translate(None, _DIGITS))
    spaces = ascii_length - len(ascii_bytes.translate(None, _SPACES))
    punctuation = ascii_length - letters - digits - spaces
    length = len(text)
    if ascii_length == length:
        return Surface(length, words, letters, digits, spaces, punctuation)
    accented = len(text.encode("latin-1", "ignore")) - ascii_length
    # The high bytes of UTF-16 name the block of every character; deleting some counts them at C speed.
    blocks = text.encode("utf-16-be", "surrogatepass")[::2]
    units = len(blocks)
    astral = units - len(text)
    han = units - len(blocks.translate(None, _HAN_BLOCKS))
    hangul = units - len(blocks.translate(None, _HANGUL_BLOCKS))
    kana = blocks.count(b"\x30")
    if kana:
        kana -= sum([text.count(mark) for mark in _CJK_MARKS])
    other_narrow = units - len(blocks.translate(None, _NARROW_BLOCKS)) - ascii_length - accented
    other_wide = length - ascii_length - accented - other_narrow - han - kana - hangul - astral
    return Surface(
        length,
        words,
        letters,
        digits,
        spaces,
        punctuation,
        accented,
        other_narrow,
        han,
        kana,
        hangul,
        other_wide,
        astral,
    )


class _Patterns(NamedTuple):
    heads: re.Pattern[str]
    items: re.Pattern[str]
    symbols: re.Pattern[str]
    maths: re.Pattern[str]


@functools.cache
def _patterns() -> _Patterns:
    """Compile at first use: compiling costs milliseconds, and importing must not."""
    pairs = {stem[:2] for stems in _stems().values() for stem, _ in stems}
    return _Patterns(
        heads=re.compile(
            "[{}](?=[{}])".format(*("".join(sorted(set(chars))) for chars in zip(*pairs, strict=True)))
        ),
        items=re.compile(r"\n[ \t]{0,8}(?:[-*•]|\d{1,3}[.)])[ \t]"),
        symbols=re.compile(r"[A-Z]{1,5}(?![A-Za-z0-9_'])(?![.):][ \t])"),
        maths=re.compile(f"[{MATHS_SYMBOLS}]"),
    )


_WORDS: dict[bytes, tuple[str, ...]] = {}
for _category, _listed in WORDS.items():
    for _word in _listed.split():
        _WORDS[_word.encode()] = (*_WORDS.get(_word.encode(), ()), _category)
_PHRASES = {
    word.encode(): tuple((phrase.encode(), category) for phrase, category in phrases)
    for word, phrases in PHRASES.items()
}
_KNOWN = frozenset(_WORDS) | frozenset(_PHRASES)
_NO_COUNTS = dict.fromkeys(WORDS, 0)
_LIGHT = frozenset(word.encode() for word in WORDS["light"].split())
_LIGHT_STEMS = tuple(stem.replace("_", " ") for stem in STEMS["light"].split())
_LEADING_WORDS, _EDGE_CHARS, _MOST_CODE_OF_PROSE = 6, 80, 1
_CODE_MARKS = tuple(mark.encode() for mark in CODE_MARKS)
_MATHS_MARKS = tuple(mark.encode() for mark in MATHS_MARKS)
_MOST_SYMBOLS, _RELATION_CHARS = 6, 400


def _measure(task: Task) -> Features:
    collected = _collect(task)
    texts = collected.user if task.subject is None else [task.subject]
    text = _ends(texts)
    only_user = task.subject is None and len(collected.all) == len(collected.user)
    spaced = _spaced(text)
    words = spaced.split()
    look = surface(text, len(words))
    tokens = _tokens(look if only_user else surface(_ends(collected.all)), collected.characters)
    tools, tool_tokens = _tools(task.params)
    user_characters = collected.characters if only_user else sum(map(len, texts))
    questions = text.count("?")
    length = look.length or 1
    weighted = length
    counts = _count_signals(text, spaced, words, look)
    if not text.isascii():
        questions += text.count("？") + text.count("؟") + text.count("か。")
        weighted += (
            (_HAN_WEIGHT - 1) * look.han + (_KANA_WEIGHT - 1) * look.kana + (_HANGUL_WEIGHT - 1) * look.hangul
        )
    if counts["light"]:
        last_turn = texts if task.subject is not None else collected.user[collected.last_turn :]
        counts["light"] = _lightness(counts, last_turn)
    # By position, in the order of the fields: thirty keywords would cost as much as reading a short text.
    return Features(
        collected.characters if task.subject is None else user_characters,
        tokens + tool_tokens + collected.other_tokens + _MESSAGE_TOKENS * len(task.messages) + _REPLY_TOKENS,
        user_characters,
        len(task.messages),
        collected.user_turns,
        tools,
        collected.images,
        collected.attachments,
        look.length,
        round(weighted * user_characters / length),
        look.han / length,
        look.kana / length,
        look.hangul / length,
        look.other_wide / length,
        look.other_narrow / length,
        look.accented / length,
        look.words,
        len(spaced.translate(_DIGITS_ONLY).split()) if look.digits else 0,
        questions,
        len(_patterns().items.findall(text)) if "\n" in text else 0,
        counts["code"],
        counts["maths"],
        counts["prove"],
        counts["reason"],
        counts["explain"],
        counts["debug"],
        counts["design"],
        counts["technical"],
        counts["formal"],
        min(counts["quantifier"], counts["object"]),
        _relations(text, counts) if look.length <= _RELATION_CHARS else 0,
        counts["constraint"],
        counts["light"],
    )


def _count_signals(text: str, spaced: bytes, words: list[bytes], look: Surface) -> dict[str, int]:
    """Return how many distinct words and marks of each category the text has. Appends to the words."""
    if look.letters and (look.han or look.kana or look.hangul):
        # Their own script is written without spaces around a Latin word.
        words += spaced.translate(_ASCII_ONLY).split()
    counts = _count_words(words, spaced)
    if look.punctuation:
        marks = text.encode("ascii", "ignore").translate(None, _PROSE)
        if marks:
            counts["code"] += sum([mark in marks for mark in _CODE_MARKS])
            counts["maths"] += sum([mark in marks for mark in _MATHS_MARKS])
    # ASCII text is most of what is asked, and has none of these scripts.
    if not text.isascii() and (look.other_narrow or look.han or look.kana or look.hangul or look.other_wide):
        _add_stems(counts, text.lower())
        counts["maths"] += len(set(_patterns().maths.findall(text)))
    return counts


def _spaced(text: str) -> bytes:
    """Return the text in lower case and UTF-8, with spaces for what separates words.

    That is all ASCII that is neither letter nor digit, and the marks that European typography sets
    close to a word: a quotation mark or a no-break space would make another word of it.
    """
    low = text.lower()
    if not low.isascii():
        for mark in _CLOSE_MARKS:
            low = low.replace(mark, " ")
    return low.encode("utf-8", "surrogatepass").translate(_SPACED)


def _count_words(words: Sequence[bytes], spaced: bytes) -> dict[str, int]:
    """Return how many distinct words of each category there are, phrases included."""
    counts = _NO_COUNTS.copy()
    for word in _KNOWN.intersection(words):
        for category in _WORDS.get(word, ()):
            counts[category] += 1
        for phrase, category in _PHRASES.get(word, ()):
            if phrase in spaced:
                counts[category] += 1
    return counts


def _lightness(counts: Mapping[str, int], turn: Sequence[str]) -> int:
    """Return the count of form-changing verbs where the last turn asks for one, else 0.

    It does when it, or its last line, starts with the verb. Stems, whose languages may put the verb last,
    count near either end, unless something is to be built as well. Code is not changed in form alone.
    """
    if not turn or counts["code"] > _MOST_CODE_OF_PROSE:
        return 0
    last_line = turn[-1][-SCAN_CHARS:].rstrip().rpartition("\n")[2]
    for start in (turn[0][: 2 * _EDGE_CHARS], last_line[: 2 * _EDGE_CHARS]):
        if not _LIGHT.isdisjoint(_spaced(start).split()[:_LEADING_WORDS]):
            return counts["light"]
    edges = f"{turn[0][:_EDGE_CHARS]}\n{last_line[:_EDGE_CHARS]}\n{last_line[-_EDGE_CHARS:]}".lower()
    asked = not counts["design"] and any(stem in edges for stem in _LIGHT_STEMS)
    return counts["light"] if asked else 0


def _add_stems(counts: dict[str, int], low: str) -> None:
    """Count the stems that occur in the text.

    First which of their first characters do, followed by any of their second ones: far cheaper than a
    pattern of two hundred alternatives.
    """
    stems = _stems()
    for first in set(_patterns().heads.findall(low)):
        for stem, category in stems[first]:
            if stem in low:
                counts[category] += 1
    if "왜" in low:
        counts["explain"] += 1


@functools.cache
def _stems() -> dict[str, list[tuple[str, str]]]:
    """Return stems with their categories by their first character."""
    by_first: dict[str, list[tuple[str, str]]] = {}
    for category, listed in STEMS.items():
        for stem in listed.split():
            by_first.setdefault(stem[0], []).append((stem.replace("_", " "), category))
    return by_first


def _relations(text: str, counts: Mapping[str, int]) -> int:
    """Return how many capital symbols a relation or property applies to, two in `Is P equal to NP?`."""
    if counts["code"] or not (counts["relation"] or counts["property"] or "=" in text):
        return 0
    symbols = sum([symbol not in "AI" for symbol in _patterns().symbols.findall(text)])
    fewest = 1 if counts["property"] else 2
    return symbols if fewest <= symbols <= _MOST_SYMBOLS else 0


def _tokens(look: Surface, characters: int) -> int:
    """Return the token estimate of the sample that was looked at, scaled to the length of the whole."""
    if not look.length:
        return 0
    sampled: float = sum(map(mul, _TOKENS_PER, look))
    return math.ceil(sampled * characters / look.length)


def _tools(params: Mapping[str, Any]) -> tuple[int, int]:
    """Return the number of tools and the tokens of their schemas and of a response schema."""
    tools = params.get("tools") or params.get("functions") or ()
    schema = params.get("response_format")
    tokens = _schema_tokens(schema) if isinstance(schema, Mapping) else 0
    if not isinstance(tools, Sequence) or not tools:
        return 0, tokens
    read = tools[:_TOOLS_READ]
    return len(tools), tokens + sum(map(_schema_tokens, read)) * len(tools) // len(read)


def _schema_tokens(schema: object) -> int:
    try:
        characters = len(str(schema))
    except Exception:  # noqa: BLE001  too deep for str, or a foreign __repr__
        characters = _written_length(schema)
    return math.ceil(characters * _TOKENS_PER_SCHEMA_CHAR)


def _written_length(value: object) -> int:
    """Return about how long str would make a value of any depth; of a very large one a part counts."""
    length = 0
    pending = [value]
    for _ in range(_MOST_READ):
        if not pending:
            break
        item = pending.pop()
        limit = max(_MOST_READ - len(pending), 0)
        if isinstance(item, str):
            length += len(item) + 2
        elif isinstance(item, Mapping):
            taken = [*itertools.islice(item.items(), limit)]
            length += 2 + 4 * len(taken) - 2 * bool(taken)
            pending.extend(itertools.chain.from_iterable(taken))
        elif isinstance(item, list | tuple):
            length += 2 + 2 * len(item[:limit]) - 2 * bool(item)
            pending.extend(item[:limit])
        else:
            length += _OTHER_CHARS
    return length
