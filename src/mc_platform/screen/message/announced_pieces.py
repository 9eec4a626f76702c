"""Values given piece by piece, with words in between: `it starts with 4111 1111`, `the rest is ...`.

A card is put together from pieces of digits only where words announce pieces or a card, or where
the messages hold hardly anything else; what is put together must be issued and pass Luhn's check.
Addresses, accounts and keys are put together from the tokens that look like parts of one, and then
meet the usual recognisers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from mc_platform.model.label import Label
from mc_platform.screen.detectors.payment_cards import is_card, is_issued
from mc_platform.screen.findings import EMAIL, IBAN, PAYMENT_CARD, SECRET_KEY, Budget
from mc_platform.screen.message.joined_strings import Chain, Piece
from mc_platform.screen.message.strings import Leaf
from mc_platform.screen.rules import rule_file
from mc_platform.screen.text.spelled_out import TOP_LEVELS

_TEXT_CHARS = 400
_MAX_PIECES, _MAX_JOINED = 48, 16
_CARD_DIGITS = range(12, 20)
_BARE_CHARS, _TOLD_DIGITS = 14, 3
# So many digits in all, and it is a list of figures: one in ten of what they make passes for a card.
_BARE_DIGITS, _LISTED = 24, 5
_DIGIT = re.compile(r"[0-9]")
_PIECE = re.compile(r"(?<![0-9.,])[0-9]{1,19}(?:[ \-.]{1,2}[0-9]{1,19}){0,18}")
_RULES = rule_file("announced_pieces")
_COUNTER = _RULES.re("counter")
ANNOUNCED = _RULES.pattern("announced")
_ANNOUNCED, _CARD = _RULES.re2("announced"), _RULES.re2("card")
_TOKEN = re.compile(r"[\w.+\-@/=]{1,80}")
_VALUE = re.compile(r"[0-9@_]|[a-z][A-Z]|\w\.\w|^[A-Z]{3,}")
# A part of an address: cut before or after the sign, or the domain with its sign.
_AT_EDGE = re.compile(rf"(?i)^@(?:[\w\-]+\.)+(?:{TOP_LEVELS})$|@$")
_QUOTED = re.compile(r"[\"'`«»“”]")
_AFTER = re.compile(r"(?i)(?:\b(?:is|are|ist|est|es|to|with|by|then|comes)|[:=])[ \"'`]*\Z")
_KINDS = frozenset({EMAIL, IBAN, SECRET_KEY})
_DETECTOR = "stdnum.luhn"
_REASON = "It is given in pieces, which together are a card's number."

_Digits = tuple[Leaf, int, int, str]
"""A string, where in it digits begin and end, and the digits."""


def _texts(before: Sequence[Leaf], seen: Sequence[Leaf]) -> list[Leaf]:
    return [
        *before,
        *(leaf for leaf in seen if leaf.path[1:] == ("text",) and not leaf.verdict),
    ]


def split_cards(
    before: Sequence[Leaf], seen: Sequence[Leaf], budget: Budget
) -> Iterator[list[Label]]:
    """The labels of each card whose digits stand in pieces; one label a piece."""
    texts = _texts(before, seen)
    found = [_pieces(leaf) for leaf in texts]
    if sum(map(len, found)) < 2:
        return
    told = _told(texts, found)
    if not told and not _bare(texts, found):
        return
    least = _TOLD_DIGITS if told else 1
    pieces = [piece for of_one in found for piece in of_one if len(piece[3]) >= least]
    pieces = pieces[-_MAX_PIECES:]
    at = 0
    while at < len(pieces):
        last = _card_from(pieces, at, budget)
        if last:
            yield [
                Label(PAYMENT_CARD, leaf.path, start, end, 0.75, _DETECTOR, _REASON)
                for leaf, start, end, _ in pieces[at:last]
            ]
        at = last or at + 1


def _told(texts: Sequence[Leaf], found: Sequence[Sequence[_Digits]]) -> bool:
    """Whether words speak of pieces, or of a card that is not in one text alone."""
    for leaf, of_one in zip(texts, found, strict=True):
        if of_one and (
            _ANNOUNCED.search(leaf.text) or (len(texts) > 1 and _CARD.search(leaf.text))
        ):
            return True
    return False


def _bare(texts: Sequence[Leaf], found: Sequence[Sequence[_Digits]]) -> bool:
    """Whether several texts hold digits, and those hardly anything else."""
    bare = sum(
        1
        for leaf, of_one in zip(texts, found, strict=True)
        if of_one and len(leaf.text) - sum(end - start for _, start, end, _ in of_one) < _BARE_CHARS
    )
    if bare < 2 or bare != sum(1 for of_one in found if of_one):
        return False
    pieces = [digits for of_one in found for *_, digits in of_one]
    return sum(map(len, pieces)) <= _BARE_DIGITS and not _is_list(texts, pieces)


def _is_list(texts: Sequence[Leaf], pieces: Sequence[str]) -> bool:
    """Whether the texts count (`item 1`, `item 2`), or say a figure each in the same words."""
    figures = list(map(int, pieces))
    if len(figures) >= _LISTED and all(one < other for one, other in pairwise(figures)):
        return True
    worded = {_DIGIT.sub("", leaf.text) for leaf in texts}
    return len(texts) >= _LISTED and len(worded) == 1 and any(map(str.isalpha, worded.pop()))


def _pieces(leaf: Leaf) -> list[_Digits]:
    text = leaf.text
    if len(text) > 2 * _TEXT_CHARS or _DIGIT.search(text) is None:
        return []
    plain = _COUNTER.sub(lambda match: " " * len(match[0]), text) if len(text) > 3 else text
    return [
        (leaf, *match.span(), "".join(_DIGIT.findall(match[0]))) for match in _PIECE.finditer(plain)
    ]


def _card_from(pieces: Sequence[_Digits], first: int, budget: Budget) -> int:
    """One past the last piece of the card that begins with a piece; 0 if none does."""
    digits, best = "", 0
    for at in range(first, min(len(pieces), first + _MAX_JOINED)):
        digits += pieces[at][3]
        if len(digits) >= _CARD_DIGITS.stop:
            break
        if at > first and len(digits) in _CARD_DIGITS and is_issued(digits):
            budget.spend()
            if is_card(digits):
                best = at + 1
    return best


def token_chains(before: Sequence[Leaf], seen: Sequence[Leaf]) -> Iterator[Chain]:
    """The tokens of announced pieces as one text, for addresses, accounts and keys."""
    texts = _texts(before, seen)
    if not any(_ANNOUNCED.search(leaf.text[-_TEXT_CHARS:]) for leaf in texts):
        return
    tokens = [token for leaf in texts for token in _tokens(leaf)][-_MAX_PIECES:]
    kinds = _KINDS if len(texts) > 1 else _KINDS - {SECRET_KEY}
    if not any(_AT_EDGE.search(shown) for *_, shown in tokens):
        kinds -= {EMAIL}
    if len(tokens) < 2:
        return
    for between in ("", " "):
        yield Chain.of(tokens, between, kinds)


def _tokens(leaf: Leaf) -> Iterator[Piece]:
    text = leaf.text
    if len(text) > 2 * _TEXT_CHARS:
        return
    for match in _TOKEN.finditer(text):
        start, shown = match.start(), match[0].rstrip(".-=")
        if not shown:
            continue
        quoted = start > 0 and _QUOTED.match(text, start - 1) and _QUOTED.match(text, match.end())
        if _VALUE.search(shown) or quoted or _AFTER.search(text[max(0, start - 12) : start]):
            yield leaf, start, shown
