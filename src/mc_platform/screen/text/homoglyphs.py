"""Letters that look like Latin ones: Cyrillic, Greek, letter-like symbols, letters with marks.

The folded text has a character for each of the original ones, so that places stay. It is a second
text beside the original: nothing honest is lost by it, and what is found in it must be valid by
itself.
"""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Iterator

from confusable_homoglyphs import confusables

from mc_platform.screen.text.normalise import Normalised

# Letters and symbols beyond Latin ones and usual punctuation, as normalisation leaves them.
FOREIGN_LETTER = (
    r"[\x{b7}\x{0180}-\x{02ff}\x{0370}-\x{1dff}\x{1f00}-\x{1fff}\x{2070}-\x{20a0}\x{2100}-\x{218f}"
    r"\x{2200}-\x{24ff}\x{2c00}-\x{2dff}\x{3002}\x{a000}-\x{abff}\x{ff61}\x{10000}-\x{1f5ff}]"
)
MARKED_LETTER = r"[\x{c0}-\x{d6}\x{d8}-\x{f6}\x{f8}-\x{17f}\x{1e00}-\x{1eff}]"
_PLAIN = frozenset(string.ascii_letters + string.digits)
_LATIN_MARKED = range(0xC0, 0x250)
_LATIN_MORE = range(0x1E00, 0x1F00)
# Letters in squares and circles, and the halves of flags: the library has none of them.
_BOXED = (0x1F130, 0x1F150, 0x1F170, 0x1F1E6)
# Read as a full stop or an at sign by whoever types the address.
_SIGNS = {"\u3002": ".", "\uff61": ".", "\u2024": ".", "\u00b7": ".", "\u06d4": "."}
# What the library's data pairs with something else first.
_PREFERRED = {"\u0417": "3", "\u0437": "3", "\u0431": "6", "\u04cf": "l", "\u0406": "I"}


def _table() -> dict[int, str]:
    table: dict[int, str] = {}
    for char, likes in confusables.confusables_data.items():
        if len(char) != 1 or char.isascii():
            continue
        plain = [like["c"] for like in likes if like["c"] in _PLAIN]
        if plain:
            table[ord(char)] = plain[0]
    for code in (*_LATIN_MARKED, *_LATIN_MORE):
        base = unicodedata.normalize("NFD", chr(code))[0]
        if base in _PLAIN:
            table[code] = base
    for first in _BOXED:
        table.update(zip(range(first, first + 26), string.ascii_uppercase, strict=True))
    table.update({ord(char): plain for char, plain in {**_SIGNS, **_PREFERRED}.items()})
    return table


_TABLE = _table()


def decode_lookalikes(text: str) -> Iterator[Normalised]:
    """The string with every look-alike letter as the Latin letter or digit that it looks like."""
    folded = text.translate(_TABLE)
    if folded != text:
        yield Normalised(folded)
