"""Secrets that no assignment holds: options of commands, attributes, cookies, codes, seed phrases.

The word that says what follows is a command's option, an attribute's name or a noun of its own; a
value counts if it looks drawn, as in `assigned`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mc_platform.screen.detectors.assigned_secrets import (
    UUID,
    bits_of,
    is_secret_value,
    kinds_of,
)
from mc_platform.screen.detectors.recogniser import Prefiltered, recognisers
from mc_platform.screen.findings import SECRET_KEY, Budget, Finding
from mc_platform.screen.rules import rule_file

_RULES = rule_file("unassigned_secrets")
_REASON = "A word for a secret announces it, and it looks drawn rather than written."
_DETECTOR = "context.handed"

_ATTRIBUTE = _RULES.re2("attribute")
_ATTRIBUTE_VALUE = _ATTRIBUTE.groupindex["value"]
_PROSE = _RULES.words("prose")
_SEQUENCES = "01234567890123456789 98765432109876543210"
_EXAMPLE, _PASSING = map(_RULES.re, ("example", "passing"))
_DRAWN = 6
_MNEMONIC = 3
# Of a name in camelCase two thirds are small letters together, of what is drawn a fifth.
_DRAWN_BITS, _NAME_SHARE, _SYLLABLES = 3.8, 0.38, re.compile("[a-z]{3,}")
_SHOWN, _APART = _RULES.words("shown"), re.compile(r"[_\-]")
_PIECES = re.compile(r"[\s{}:;,]+")


def _password(text: str, start: int, end: int) -> bool:
    value = text[start:end]
    return (
        _EXAMPLE.match(value) is None
        and kinds_of(value) >= _MNEMONIC
        and is_secret_value(value, password=True, strict=True)
    ) or _is_long(value)


def _network_key(text: str, start: int, end: int) -> bool:
    value = text[start:end]
    mixed = any(map(str.islower, value)) and any(map(str.isupper, value))
    return mixed and _password(text, start, end)


def _is_long(value: str) -> bool:
    return _EXAMPLE.search(value) is None and is_secret_value(value, password=False, strict=True)


def _token(text: str, start: int, end: int) -> bool:
    return is_secret_value(text[start:end], password=False)


def _drawn_figures(text: str, start: int, end: int) -> bool:
    digits = text[start:end].replace("-", "").replace(" ", "")
    return len(set(digits)) >= _MNEMONIC and digits not in _SEQUENCES


def _holds_drawn(text: str, start: int, end: int) -> bool:
    pieces = _PIECES.split(text[start:end])
    return any(
        is_secret_value(piece, password=False, strict=True) or UUID.match(piece) for piece in pieces
    )


def _base32(text: str, start: int, end: int) -> bool:
    value = text[start:end]
    return len(set(value)) >= _DRAWN and any(map(str.isdigit, value))


def _codes(text: str, start: int, end: int) -> bool:
    value = text[start:end]
    return (
        any(map(str.isdigit, value))
        and any(map(str.isalpha, value))
        and len(set(value)) >= _DRAWN
        and _EXAMPLE.search(value) is None
    )


def _mnemonic(text: str, start: int, end: int) -> bool:
    said = re.findall(r"[a-z]+", text[start:end])
    return len(said) % _MNEMONIC == 0 and _PROSE.isdisjoint(said)


def _prefixed(text: str, start: int, end: int) -> bool:
    *words, drawn = _APART.split(text[start:end])
    return (
        _SHOWN.isdisjoint(word.rstrip("0123456789") for word in words)
        and kinds_of(drawn) == _MNEMONIC
        and bits_of(drawn) >= _DRAWN_BITS
        and sum(map(len, _SYLLABLES.findall(drawn))) < len(drawn) * _NAME_SHARE
    )


def _attributes(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    for match in _ATTRIBUTE.finditer(text):
        budget.spend()
        start, end = match.span(_ATTRIBUTE_VALUE)
        if _PASSING.search(text, match.start(), start) is not None:
            continue
        if is_secret_value(text[start:end], password=match.group("login") is not None):
            yield Finding(SECRET_KEY, start, end, 0.85, _DETECTOR, _REASON)


RECOGNISERS: tuple[Prefiltered, ...] = (
    *recognisers(
        _RULES,
        {
            "base32": _base32,
            "codes": _codes,
            "holds-drawn": _holds_drawn,
            "drawn-figures": _drawn_figures,
            "mnemonic": _mnemonic,
            "network-key": _network_key,
            "password": _password,
            "prefixed": _prefixed,
            "token": _token,
        },
    ),
    (_RULES.pattern("attribute-shape"), _attributes),
)
