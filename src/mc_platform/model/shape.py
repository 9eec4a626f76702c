"""How much a JSON text holds, counted without decoding it: values, nesting, the longest number.

Parsers and converters cost by the value and not by the byte: half a million empty lists fit in a
mebibyte, and decoding them alone takes a tenth of a second. So what is to be parsed is counted
first, by a few linear passes of `bytes` methods over it.

What is counted agrees with a parser up to the first error of syntax; behind that it does not
matter, for no parser gets there.
"""

from __future__ import annotations

from dataclasses import dataclass

_LONGEST_NUMBER = 1000
_AS_ZERO = bytes.maketrans(b"123456789-+.eE", b"0" * 14)
_LONG_NUMBER = b"0" * (_LONGEST_NUMBER + 1)
_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_OPENING = frozenset(b"[{")


@dataclass(frozen=True, slots=True)
class ShapeLimits:
    """What one JSON text may hold.

    Attributes:
        values: Strings, numbers, literals, lists and objects; an empty list or object counts twice.
        depth: Lists and objects inside each other.
    """

    values: int = 5000
    depth: int = 64


def shape_problem(text: bytes, limits: ShapeLimits) -> str:
    """What of the text exceeds which limit, with both figures; empty if nothing does."""
    openings = text.count(b"[") + text.count(b"{")
    most = openings + text.count(b",") + 1
    if (
        most <= limits.values
        and openings <= limits.depth
        and (len(text) <= _LONGEST_NUMBER or _LONG_NUMBER not in text.translate(_AS_ZERO))
    ):
        return ""  # even if no bracket and no comma stood in a string
    plain = text
    if b"\\" in text:
        plain = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    strings = plain.count(b'"') // 2
    if strings > 2 * limits.values:  # a key and a value each
        return f"more than {limits.values} JSON values: {strings} strings"
    outside = b"".join(plain.split(b'"')[::2])
    values = outside.count(b",") + outside.count(b"[") + outside.count(b"{") + 1
    if values > limits.values:
        return f"{values} JSON values, the limit is {limits.values}"
    deepest = _deepest(outside)
    if deepest > limits.depth:
        return f"lists and objects nested {deepest} deep, the limit is {limits.depth}"
    if _LONG_NUMBER in outside.translate(_AS_ZERO):
        return f"a number of more than {_LONGEST_NUMBER} characters"
    return ""


def _deepest(outside: bytes) -> int:
    depth = deepest = 0
    for bracket in outside.translate(None, _BUT_BRACKETS):
        depth += 1 if bracket in _OPENING else -1
        deepest = max(deepest, depth)
    return deepest
