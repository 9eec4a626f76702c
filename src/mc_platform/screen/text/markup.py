"""Values that markup cuts in pieces which a reader sees whole: `ann.<b>lee</b>@x.org`, `*ann*.lee@x.org`."""

from __future__ import annotations

import re
from collections.abc import Iterator

from mc_platform.screen.findings import LimitReached
from mc_platform.screen.text.normalise import Normalised, Replacement, rewrite

_INLINE = r"</?(?:b|i|u|s|q|em|strong|span|font|mark|wbr|small|big|sub|sup|a|code|tt|ins|del|abbr|bdi|bdo)(?:[ /][^<>]{0,80})?>"
INLINE_TAG = r"(?i)[\w.@+\-](?:</?(?:b|i|u|s|q|em|strong|span|font|mark|wbr|small|big|sub|sup|a|code|tt|ins|del|abbr|bdi|bdo)(?:[ /][^<>]*)?>){1,4}[\w.@+\-]"
"""A tag that changes how letters look, between two of one word."""
EMPHASIS = r"\*@|@\*|@[\w.\-]+\*|\*[\w.\-]+@"
"""Asterisks within an address."""
_TAGS = re.compile(rf"(?i)(?<=[\w.@+\-])(?:{_INLINE}){{1,4}}(?=[\w.@+\-])")
_WORD = re.compile(r"[\w.*+%\-]{1,96}")
_WORD_CHARS = 96
_MOST_ADDRESSES = 5000


def decode_tags(text: str) -> Iterator[Normalised]:
    """The string without the tags that stand within words."""
    found = [(match.start(), match.end(), "") for match in _TAGS.finditer(text)]
    if found:
        yield rewrite(text, found)


def decode_emphasis(text: str) -> Iterator[Normalised]:
    """The string without the asterisks within addresses.

    Raises:
        LimitReached: more addresses than are read.
    """
    if text.count("@") > _MOST_ADDRESSES:
        raise LimitReached
    found: list[Replacement] = []
    at, done = -1, 0
    while (at := text.find("@", at + 1)) >= 0:
        before = _WORD.match(text[max(done, at - _WORD_CHARS) : at][::-1])
        behind = _WORD.match(text, at + 1)
        if before is None or behind is None:
            continue
        start, end = at - before.end(), behind.end()
        found += [(star, star + 1, "") for star in range(start, end) if text[star] == "*"]
        done = end
    if found:
        yield rewrite(text, found)
