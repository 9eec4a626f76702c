"""Context words: what a text near a value says of it. Looked for in a bounded window."""

from __future__ import annotations

import re2

from mc_platform.screen.rules import rule_file

_RULES = rule_file("common")
_WINDOW_CHARS = 240

_RECORD = _RULES.re2("record")


def in_record(text: str, start: int, end: int, *, chars: int = _WINDOW_CHARS) -> bool:
    """Whether something near a span belongs to somebody's record: an id, a contact, a context word."""
    return (
        _RECORD.search(text[end : end + chars]) is not None
        or _RECORD.search(text[max(0, start - chars) : start]) is not None
    )


_COMMON = _RULES.words("common")
_LETTERS = re2.compile(r"[\pL]+")


def is_common(phrase: str) -> bool:
    """Whether one of a phrase's words is a common one, so that its capitals make no name of it."""
    return any(word.lower() in _COMMON for word in _LETTERS.findall(phrase))
