"""Text as a reader would see it, with the way back to the characters that were sent.

Compatibility forms become plain ones (NFKC), invisible characters vanish, every script's digits
become ASCII digits, every dash a hyphen, every space a space. Look-alike letters of other
scripts are left as they are (a deeper screening is to fold them).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

_NON_ASCII = re.compile(r"[^\x00-\x7f]")
# Invisible without being of category Cf: joiners, fillers, variation selectors.
_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
_MINUS = "\u2212"


@dataclass(frozen=True, slots=True)
class Normalised:
    """A normalised string; `origin[i]` is where its character `i` came from, None: unmoved."""

    text: str
    origin: Sequence[int] | None = None

    def span(self, start: int, end: int) -> tuple[int, int]:
        """A span of the normalised string as a span of the original one."""
        if self.origin is None:
            return start, end
        return self.origin[start], self.origin[end - 1] + 1


def normalise(text: str) -> Normalised:
    """Fold a string; ASCII, the common case, is returned as it is."""
    if text.isascii():
        return Normalised(text)
    pieces: list[str] = []
    origin: list[int] = []
    position = 0
    for match in _NON_ASCII.finditer(text):
        at = match.start()
        if at > position:
            pieces.append(text[position:at])
            origin.extend(range(position, at))
        folded = _fold(match[0])
        pieces.append(folded)
        origin.extend([at] * len(folded))
        position = at + 1
    pieces.append(text[position:])
    origin.extend(range(position, len(text)))
    return Normalised("".join(pieces), origin)


@lru_cache(maxsize=8192)
def _fold(char: str) -> str:
    category = unicodedata.category(char)
    if category == "Cf" or char in _BLANKS or "\ufe00" <= char <= "\ufe0f" or char >= "\U000e0000":
        return ""
    if category == "Cs":
        return "\ufffd"  # a lone surrogate cannot be encoded for re2
    if category == "Nd":
        return str(unicodedata.decimal(char))
    if category == "Pd" or char == _MINUS:
        return "-"
    if category in ("Zl", "Zp"):
        return "\n"
    # NFKC of one character may hold what this function folds itself, e.g. a fraction slash.
    return " " if category == "Zs" else unicodedata.normalize("NFKC", char)
