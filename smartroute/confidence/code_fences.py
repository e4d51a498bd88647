"""Strip the code fence around an answer: models put one around JSON, with and without being asked."""

from __future__ import annotations

import re

_OPENING = re.compile(r"`{3,16}|~{3,16}")
_LANGUAGE = re.compile(r"[A-Za-z][\w+#.-]*")
# What follows a language on its line: attributes such as title="x" or {1,3}, or already the content.
_CONTENT = re.compile(r"\{\s*(?:[\"}]|$)|\[\s*(?:[\[\]{\"\d-]|$)|[\"\d-]|(?:true|false|null)\s*$")
_ATTRIBUTES = re.compile(r"[{\[]|.*=")
_JSON = "json"


def unfenced(text: str) -> str:
    """Return the content of the fence that is all of the text, else the text. Takes linear time.

    The fence is of three or more backticks or tildes. Its first line may name a language, in any case and
    with attributes, or be the content's own, after the word "json" or without it. The closing fence may be
    missing.
    """
    opening = _OPENING.match(text)
    if opening is None:
        return text
    fence = opening.group()
    if text.endswith(fence) and len(text) >= 2 * len(fence):
        return _content(text[len(fence) : -len(fence)])
    if _closing(fence).search(text, len(fence)) is None:
        return _content(text[len(fence) :])
    return text  # other text follows the fence


def only_fenced(text: str) -> str | None:
    """Return the content of the one fence in a text; None without a fence or with several.

    Other text may surround it. A fence starts on a line of its own, and may lack its closing. Takes linear
    time.
    """
    content: list[str] | None = None
    fence: str | None = None
    for line in text.splitlines(keepends=True):
        bare = line.strip()
        if fence is not None and content is not None:
            if bare.startswith(fence) and not bare.strip(fence[0]):
                fence = None
            else:
                content.append(line)
        elif (opening := _OPENING.match(bare)) is not None:
            if content is not None:
                return None
            fence, content = opening.group(), [bare[opening.end() :] + "\n"]
    return None if content is None else _content("".join(content))


def _closing(fence: str) -> re.Pattern[str]:
    return re.compile(rf"^[ \t]*{fence}", re.MULTILINE)


def _content(inside: str) -> str:
    """Return the inside of a fence without its language and attributes."""
    first, newline, rest = inside.partition("\n")
    if newline and _is_info(first.strip()):
        return rest.strip()
    bare = inside.strip()
    return bare[len(_JSON) :].strip() if bare[: len(_JSON)].lower() == _JSON else bare


def _is_info(line: str) -> bool:
    """Return whether a fence's first line only describes it: "json", "JSON5", 'js title="x"', "{.json}"."""
    if not line or line.startswith(("{.", "{#")):
        return True
    language = _LANGUAGE.match(line)
    if language is None:
        return False
    attributes = line[language.end() :]
    if not attributes:
        return True
    if not attributes[0].isspace() and attributes[0] not in "{[":
        return False
    attributes = attributes.strip()
    return _CONTENT.match(attributes) is None and _ATTRIBUTES.match(attributes) is not None
