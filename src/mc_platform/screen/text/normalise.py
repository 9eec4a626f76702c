"""Text as a reader would see it, with the way back to the characters that were sent.

Compatibility forms become plain ones (NFKC), invisible characters, control characters other than
white space, and combining marks vanish, every script's digits become ASCII digits, every dash a
hyphen, every space a space. Look-alike letters of other scripts are left as they are: folding them
would damage honest words, so a decoder of its own does that (`lookalikes`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f]")
_TO_FOLD = re.compile(r"[^\x09-\x0d\x20-\x7e]")
# Categories of what is not seen by itself: format characters, controls, combining marks.
_UNSEEN = frozenset({"Cf", "Cc", "Mn", "Me"})
# Invisible without being of category Cf: joiners, fillers, variation selectors.
_BLANKS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u3164\uffa0")
_MINUS = "\u2212"


@dataclass(frozen=True, slots=True)
class Normalised:
    """A normalised or decoded string, with the way back.

    Attributes:
        text: As a reader would see it.
        origin: Where each character came from; None: unmoved.
        ends: Where what became each character ended; None: one character further.
        backwards: Whether it is read from the end.
    """

    text: str
    origin: Sequence[int] | None = None
    ends: Sequence[int] | None = None
    backwards: bool = False

    def span(self, start: int, end: int) -> tuple[int, int]:
        """A span of the normalised string as a span of the original one."""
        if self.origin is None:
            return start, end
        if self.backwards:
            start, end = len(self.text) - end, len(self.text) - start
            return start, end
        stop = self.origin[end - 1] + 1 if self.ends is None else self.ends[end - 1]
        return self.origin[start], stop


def normalise(text: str) -> Normalised:
    """Fold a string; ASCII, the common case, is returned as it is."""
    if text.isascii() and (text.isprintable() or _CONTROL.search(text) is None):
        return Normalised(text)
    folded = text.translate(_FOLDS)
    sizes = {char: len(_FOLDS[ord(char)]) for char in set(text)}
    _FOLDS.bound()
    if all(size == 1 for size in sizes.values()):
        return Normalised(folded)  # each character has kept its place
    origin = [at for at, char in enumerate(text) for _ in range(sizes[char])]
    return Normalised(folded, origin)


class _Folds(dict[int, str]):
    """What each character becomes, told when it first occurs."""

    _MOST = 16384

    def __missing__(self, code: int) -> str:
        char = chr(code)
        folded = char if _TO_FOLD.match(char) is None else _fold(char)
        self[code] = folded
        return folded

    def bound(self) -> None:
        """Forget all if a stranger has filled it."""
        if len(self) > self._MOST:
            self.clear()


_FOLDS = _Folds()


def _fold(char: str) -> str:
    category = unicodedata.category(char)
    if char == "\x85":
        return "\n"
    if category in _UNSEEN or char in _BLANKS or char >= "\U000e0000":
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
    if category == "Zs":
        return " "
    if category == "No" and (digit := unicodedata.digit(char, None)) is not None:
        return str(digit)  # circled digits have no compatibility form in some blocks
    return unicodedata.normalize("NFKC", char)


Replacement = tuple[int, int, str]
"""Where a piece begins and ends in a string, and what it says."""


def rewrite(text: str, replacements: Iterable[Replacement]) -> Normalised:
    """The string with pieces replaced; a piece of equal length keeps each character's place.

    Args:
        text: The string.
        replacements: In order, disjoint.
    """
    pieces: list[str] = []
    origin: list[int] = []
    ends: list[int] = []
    done = 0
    for start, end, shown in replacements:
        pieces += (text[done:start], shown)
        origin.extend(range(done, start))
        ends.extend(range(done + 1, start + 1))
        width, rest = divmod(end - start, len(shown) or 1)
        if rest or shown == "" or not shown.isascii():
            origin.extend([start] * len(shown))
            ends.extend([end] * len(shown))
        else:
            origin.extend(range(start, end, width))
            ends.extend(range(start + width, end + 1, width))
        done = end
    pieces.append(text[done:])
    origin.extend(range(done, len(text)))
    ends.extend(range(done + 1, len(text) + 1))
    return Normalised("".join(pieces), origin, ends)


def standing_for(shown: str, start: int, end: int) -> Normalised:
    """A text of which every character stands for one whole piece of the string."""
    return Normalised(shown, [start] * len(shown), [end] * len(shown))
