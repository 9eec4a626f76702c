"""A value whose pieces are all that a list or an object of the message holds.

`{"a": ["4111 1111", "1111 1111"]}`: no words announce pieces, but there is nothing else either. A
few bare values side by side are read as one; what is then found must stretch over several of them.
So are many short pieces of one length, a key with the only value it has, one field of a list of
small objects, and an address's two halves under keys that say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from mc_platform.model.label import Path
from mc_platform.screen.detectors.payment_cards import is_card, is_issued
from mc_platform.screen.findings import EMAIL, IBAN, PAYMENT_CARD, SECRET_KEY
from mc_platform.screen.message.joined_strings import Chain
from mc_platform.screen.message.strings import KEY, Leaf
from mc_platform.screen.rules import rule_file, squash

_MOST, _MOST_SHORT = 6, 20
_MOST_CHARACTERS = 128
_MOST_CHARS, _LEAST_CHARS = 64, 10
_SHORT = 4
_CARD_DIGITS = range(13, 20)
_ALIKE = 1.2
# Digits in groups, or one token: no words
_BARE = re.compile(
    r" ?(?:[A-Z]{0,2}[0-9](?:[0-9A-Z]|[ .\-/](?=[0-9A-Z])){0,40} ?|[\w@.+\-/=]{1,64})"
)
_DIGITS = re.compile(r"[0-9]{1,18}")
_VALUE = re.compile(r"[0-9@]")
_AT_EDGE = re.compile(r"\A@[\w.\-]+\.\w|@\Z")
_KINDS = frozenset({EMAIL, IBAN, PAYMENT_CARD, SECRET_KEY})
_LOCAL, _DOMAIN = map(rule_file("common").words, ("mailbox-keys", "mail-domain-keys"))


def sibling_chains(seen: Sequence[Leaf]) -> Iterator[Chain]:
    """The values of each small list or object that holds bare values and nothing else."""
    group: list[Leaf] = []
    for leaf in seen:
        if leaf.path[-1] == KEY:
            continue
        if group and leaf.path[:-1] != group[0].path[:-1]:
            yield from _chain(group)
            group = []
        group.append(leaf)
    yield from _chain(group)
    yield from _key_chains(seen)
    yield from _column_chains(seen)


def _chain(group: Sequence[Leaf]) -> Iterator[Chain]:
    if not group or len(group[0].path) <= 2 or not 2 <= len(group) <= _MOST_CHARACTERS:
        return
    group = _in_order(group)
    if len(group) > _MOST_SHORT or _are_characters(group):
        if _are_characters(group):
            yield _joined(group, "", _KINDS)
        return
    if any(leaf.verdict or leaf.is_number or len(leaf.text) > _MOST_CHARS for leaf in group):
        return
    if (halves := _halves(group)) is not None:
        yield _joined(halves, "@", frozenset({EMAIL}))
    if len(group) > _MOST:
        if _is_card_in_pieces([leaf.text for leaf in group]):
            yield _joined(group, "", frozenset({PAYMENT_CARD}))
        return
    if any(_BARE.fullmatch(leaf.text) is None for leaf in group):
        return
    joined = "".join(leaf.text for leaf in group)
    if len(joined) >= _LEAST_CHARS and _VALUE.search(joined) is not None:
        yield _joined(group, "", _KINDS)


def _in_order(group: Sequence[Leaf]) -> Sequence[Leaf]:
    """As the keys count, if they do: `{"1": "n", "0": "a"}`."""
    keys = [leaf.path[-1] for leaf in group]
    if all(isinstance(key, str) and key.isdecimal() and len(key) <= 4 for key in keys):
        return sorted(group, key=lambda leaf: int(leaf.path[-1]))
    return group


def _are_characters(group: Sequence[Leaf]) -> bool:
    """Whether each string of many is one character, or two."""
    return len(group) >= _LEAST_CHARS and all(
        0 < len(leaf.text) <= 2 and not leaf.verdict and not leaf.is_number for leaf in group
    )


def _halves(group: Sequence[Leaf]) -> tuple[Leaf, Leaf] | None:
    """The two halves of an address, if keys say that they are."""
    named = {squash(str(leaf.path[-1])): leaf for leaf in group}
    local = next((leaf for key, leaf in named.items() if key in _LOCAL), None)
    domain = next((leaf for key, leaf in named.items() if key in _DOMAIN), None)
    return None if local is None or domain is None else (local, domain)


def _is_card_in_pieces(pieces: Sequence[str]) -> bool:
    """Whether short pieces of one length are together an issued card, and no series of figures."""
    sizes = {len(piece) for piece in pieces[:-1]}
    if len(sizes) != 1 or max(sizes) > _SHORT or len(pieces[-1]) > max(sizes):
        return False
    digits = "".join(pieces)
    if len(digits) not in _CARD_DIGITS or any(_DIGITS.fullmatch(p) is None for p in pieces):
        return False
    figures = list(map(int, pieces))
    if all(one <= other for one, other in pairwise(figures)) or all(
        one >= other for one, other in pairwise(figures)
    ):
        return False
    if max(sizes) == _SHORT and max(figures) < _ALIKE * min(figures):
        return False
    return is_issued(digits) and is_card(digits)


def _key_chains(seen: Sequence[Leaf]) -> Iterator[Chain]:
    """A key with the one value of its object: halves of a card, or of an address."""
    for at, (key, value) in enumerate(pairwise(seen)):
        if key.path[-1] != KEY or value.path != key.path[:-1] or len(value.path) <= 2:
            continue
        if key.verdict or value.verdict or not 0 < len(value.text) <= _MOST_CHARS:
            continue
        if len(key.text) > _MOST_CHARS or not _VALUE.search(key.text + value.text):
            continue
        home = value.path[:-1]
        before, behind = seen[at - 1 : at], seen[at + 2 : at + 3]
        if any(
            other.path[: len(home)] == home
            for other in (*before, *behind)
            if other.path != (*home, KEY)
        ):
            continue
        if _DIGITS.fullmatch(key.text) and _DIGITS.fullmatch(value.text):
            digits = key.text + value.text
            if len(digits) in _CARD_DIGITS and is_issued(digits) and is_card(digits):
                yield _joined((key, value), "", frozenset({PAYMENT_CARD}))
        elif _AT_EDGE.search(value.text) or _AT_EDGE.search(key.text):
            yield _joined((key, value), "", frozenset({EMAIL}))


def _column_chains(seen: Sequence[Leaf]) -> Iterator[Chain]:
    """One field of a list of small objects: `[{"i": 0, "d": "4929"}, {"i": 1, "d": "0531"}]`."""
    columns: dict[Path, list[Leaf]] = {}
    for leaf in seen:
        path = leaf.path
        if len(path) > 3 and path[-1] != KEY and isinstance(path[-2], int):
            columns.setdefault((*path[:-2], path[-1]), []).append(leaf)
    numbers = {home[:-1]: column for home, column in columns.items() if _counts(column)}
    for home, column in columns.items():
        if not 2 <= len(column) <= _MOST_CHARACTERS:
            continue
        if any(leaf.is_number or leaf.verdict for leaf in column):
            continue
        counters = numbers.get(home[:-1], ())
        if len(counters) == len(column):
            order = {leaf.path[:-1]: int(leaf.text) for leaf in counters}
            column = sorted(column, key=lambda leaf: order.get(leaf.path[:-1], 0))  # noqa: PLW2901
        if _are_characters(column):
            yield _joined(column, "", _KINDS)
        elif _is_card_in_pieces([leaf.text for leaf in column]):
            yield _joined(column, "", frozenset({PAYMENT_CARD}))


def _counts(column: Sequence[Leaf]) -> bool:
    return all(leaf.is_number and leaf.text.isdigit() and len(leaf.text) <= 2 for leaf in column)


def _joined(group: Sequence[Leaf], between: str, kinds: frozenset[str]) -> Chain:
    return Chain.of([(leaf, 0, leaf.text) for leaf in group], between, kinds)
