"""Payment cards: issuers' prefixes, cards' groupings and Luhn's checksum (stdnum)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal

from mc_platform.screen.detectors.digit_groups import (
    CARD_LAYOUTS,
    CARD_LAYOUTS_OF_TWO,
    FOREIGN,
    LIGHT,
    USUAL,
    Window,
)
from mc_platform.screen.findings import PAYMENT_CARD, Budget, Finding
from mc_platform.screen.rules import rule_file

CARD_MIN_DIGITS = 12
_GLUED_MIN_DIGITS = 13
# `4.111111111111111e15`: a spreadsheet's way to write a card's number.
SCIENTIFIC = r"\d\.\d{8,18}[eE]\+?1[1-8]"
_SCIENTIFIC = re.compile(r"(?<![0-9.])" + SCIENTIFIC + r"(?!\d)", re.ASCII)
_INDUSTRIES = frozenset("3456")  # ISO/IEC 7812's major industries that issue payment cards
_RULES = rule_file("payment_cards")
_MAJOR, _BRAND = map(_RULES.re, ("major", "brand"))
_ALIKE = 1.2
_COUNTED = frozenset({13, 17, 18, 19})
_DATED = re.compile(r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])")
_DOUBLED = str.maketrans("0123456789", "0246813579")  # the sum of the digits of twice the digit
_BRAND_DIGITS = 16
_BRAND_LENGTHS = frozenset({15, 16})
_DETECTOR = "stdnum.luhn"
_ISSUERS = [
    (re.compile(_RULES.expand(row.pattern)), frozenset(row.digits)) for row in _RULES.table.issuer
]


def find_card(
    window: Window, budget: Budget, *, named: bool, otherwise: bool = False
) -> Finding | None:
    """The card in a window, if it is one.

    Args:
        window: Digits and their grouping.
        budget: What validation may still cost.
        named: Whether a word says that it is a card: then any grouping and issuer will do,
            unless letters or foreign separators make it doubtful.
        otherwise: Whether a word says that it is something else, such as an order's number.
    """
    length = len(window.digits)
    if length < CARD_MIN_DIGITS or (not named and _is_other(window)):
        return None
    usual = (
        len(window.sizes) == 1
        or window.sizes in CARD_LAYOUTS
        or len(window.sizes) == length
        or (window.sizes in CARD_LAYOUTS_OF_TWO and (named or window.separators == USUAL))
    )
    strict = window.glued or window.separators != USUAL
    if (strict or not named) and window.fraction:
        return None
    if not named and ((window.separators != USUAL and _figures(window)) or _is_rest(window)):
        return None
    short = length < _BRAND_DIGITS  # figures of so many digits are common
    issued = (
        _is_brand if otherwise else is_issued if strict or short or window.cut else _is_plausible
    )
    if (strict or not named) and not issued(window.digits):
        return None
    if not usual and (not named or window.glued or window.separators == FOREIGN):
        return None
    if window.glued and length < _GLUED_MIN_DIGITS:
        return None
    budget.spend()
    if not is_card(window.digits):
        return None
    # One in ten of a table's figures would do: there a card must stand next to another.
    lone = not any(is_issued(digits) and is_card(digits) for digits in window.beside)
    if window.column and not named and (lone or _listed(window)):
        return None
    sure = 0.95 if named else 0.75 if window.glued or window.separators >= LIGHT else 0.85
    return Finding(PAYMENT_CARD, window.start, window.end, sure, _DETECTOR)


def find_scientific(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    """Cards written with an exponent."""
    for match in _SCIENTIFIC.finditer(text):
        budget.spend()
        digits = str(int(Decimal(match[0])))
        if is_issued(digits) and is_card(digits):
            yield Finding(PAYMENT_CARD, match.start(), match.end(), 0.75, _DETECTOR)


def _is_other(window: Window) -> bool:
    """Whether it has the form of another number, which only a word for cards outweighs.

    One group of thirteen digits, as goods and milliseconds have, or of seventeen to nineteen, as databases and
    file systems count; what begins with a date; what underscores join.
    """
    digits, alone = window.digits, len(window.sizes) == 1
    if alone and len(digits) in _COUNTED:
        return True
    if _DATED.match(digits) is not None and not is_issued(digits):
        return True
    return window.joined and window.sizes not in CARD_LAYOUTS


def is_rare_card(text: str) -> bool:
    """Whether a text is an issued card of a length that bare numbers of other kinds have, too."""
    return len(text) in _COUNTED and text.isdecimal() and is_issued(text) and is_card(text)


def _is_rest(window: Window) -> bool:
    """Whether it is cut from a longer number in a card's notation, which is no card itself."""
    return window.cut and len(window.digits) < _BRAND_DIGITS and len(set(window.sizes[:3])) == 1


def _is_brand(digits: str) -> bool:
    """Whether it is one of the most usual cards: what is said to be another number must be."""
    return len(digits) in _BRAND_LENGTHS and bool(_BRAND.match(digits)) and is_issued(digits)


def _figures(window: Window) -> bool:
    """Whether four figures of four digits are more likely a list than a card cut in pieces."""
    if window.sizes != (4, 4, 4, 4):
        return False
    figures = [int(window.digits[at : at + 4]) for at in range(0, 16, 4)]
    return _MAJOR.match(window.digits) is None or max(figures) < _ALIKE * min(figures)


def _listed(window: Window) -> bool:
    """Whether it stands in a list with commas or the like, and not all around it are cards."""
    return window.separators == FOREIGN and not all(
        _MAJOR.match(digits) and is_card(digits) for digits in (window.digits, *window.beside)
    )


def _is_plausible(digits: str) -> bool:
    """Whether it begins like the cards of travel, banking and merchandising, in any length."""
    return digits[0] in _INDUSTRIES or is_issued(digits)


def is_issued(digits: str) -> bool:
    """Whether an issuer has numbers of this beginning and length."""
    return any(len(digits) in lengths and prefix.match(digits) for prefix, lengths in _ISSUERS)


def is_card(digits: str) -> bool:
    """Whether digits pass Luhn's check, and are not all the same."""
    # As `stdnum.luhn`, ten times as fast.
    doubled = digits[-2::-2].translate(_DOUBLED)
    return len(set(digits)) > 1 and sum(map(int, digits[-1::-2] + doubled)) % 10 == 0
