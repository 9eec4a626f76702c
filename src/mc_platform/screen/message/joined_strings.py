"""Values that are split over neighbouring strings: parts of text, items of a list.

Only the ends of the strings are put together, so that the work is linear in their number.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from mc_platform.model.label import Label, Path
from mc_platform.screen.findings import NATIONAL_ID, PAYMENT_CARD, Finding
from mc_platform.screen.message.strings import KEY, Leaf

EARLIER = "earlier"  # a part's index is a number
_EARLIER_TEXTS, _EARLIER_CHARS = 8, 400
_EDGE_CHARS = 96
_MIN_DIGITS = 9
# A long list is looked at in blocks, so that its length alone does not exceed the budget of one
# string; they overlap by the longest identifier, spelled digit by digit.
_BLOCK, _OVERLAP = 512, 20
_DIGIT_TAIL = re.compile(r"\d[^\w]{0,2}\Z")
_DIGIT_HEAD = re.compile(r"[^\w]{0,2}\d")
_DIGIT = re.compile(r"\d")

Piece = tuple[Leaf, int, str]
"""A string, where in it a piece begins, and the piece."""


@dataclass(frozen=True, slots=True)
class Chain:
    """Ends of neighbouring strings, put together.

    Attributes:
        leaves: The strings, in order.
        text: Their ends, joined.
        context: The key above the first.
        starts: Where in `text` each string's piece begins.
        offsets: Where in its string each piece begins.
        lengths: How long each piece is.
        kinds: The labels that count here; empty: all.
    """

    leaves: tuple[Leaf, ...]
    text: str
    context: str
    starts: tuple[int, ...]
    offsets: tuple[int, ...]
    lengths: tuple[int, ...]
    kinds: frozenset[str]

    @classmethod
    def of(cls, pieces: Sequence[Piece], between: str, kinds: frozenset[str]) -> Chain:
        """Pieces put together with something between them."""
        sizes = [len(text) for _, _, text in pieces]
        return cls(
            leaves=tuple([leaf for leaf, _, _ in pieces]),
            text=between.join([text for _, _, text in pieces]),
            context=pieces[0][0].context,
            starts=tuple(accumulate([size + len(between) for size in sizes[:-1]], initial=0)),
            offsets=tuple([offset for _, offset, _ in pieces]),
            lengths=tuple(sizes),
            kinds=kinds,
        )

    def labels(self, finding: Finding) -> list[Label]:
        """A finding as labels of the strings over which it stretches; none if it is in one."""
        if self.kinds and finding.type not in self.kinds:
            return []
        first = bisect_right(self.starts, finding.start) - 1
        found = []
        for at in range(first, len(self.leaves)):
            start, length = self.starts[at], self.lengths[at]
            if start >= finding.end:
                break
            low, high = max(finding.start - start, 0), min(finding.end - start, length)
            if low < high:
                offset = self.offsets[at]
                found.append(
                    Label(
                        finding.type,
                        self.leaves[at].path,
                        offset + low,
                        offset + high,
                        finding.confidence,
                        finding.detector,
                        finding.reason or "It is split over neighbouring strings.",
                    )
                )
        return found if len(found) > 1 else []

    def whole(self, kind: str) -> list[Label]:
        """Every string of the chain labelled as a whole; in an empty one there is nothing."""
        return [
            Label(kind, leaf.path, 0, len(leaf.text), 1.0, "budget")
            for leaf in self.leaves
            if leaf.text
        ]


def earlier(history: Sequence[str]) -> list[Leaf]:
    """The ends of a conversation's earlier texts as strings before the message's own."""
    return [
        Leaf((EARLIER, at), text[-_EARLIER_CHARS:])
        for at, text in enumerate(history[-_EARLIER_TEXTS:])
        if text
    ]


def is_earlier(path: Path) -> bool:
    """Whether a path leads to an earlier text, not into the message."""
    return bool(path) and path[0] == EARLIER


def text_chains(seen: Sequence[Leaf]) -> Iterator[Chain]:
    """Consecutive text parts, as a reader sees them one after the other."""
    texts = [
        leaf
        for leaf in seen
        if (leaf.path[1:] == ("text",) and not leaf.verdict) or is_earlier(leaf.path)
    ]
    group: list[Leaf] = []
    for leaf in texts:
        if group and not _follows(leaf, group[-1]):
            yield from _chains(group, "", frozenset())
            group = []
        group.append(leaf)
    yield from _chains(group, "", frozenset())


def _follows(leaf: Leaf, before: Leaf) -> bool:
    if is_earlier(before.path):
        return is_earlier(leaf.path) or leaf.path[0] == 0
    return leaf.path[0] == int(before.path[0]) + 1


def digit_chains(seen: Sequence[Leaf]) -> Iterator[Chain]:
    """Neighbouring strings and numbers (not keys) where digits meet across the border."""
    if sum(1 for leaf in seen if leaf.path[-1] != KEY) < 2:
        return
    kinds = frozenset({PAYMENT_CARD, NATIONAL_ID})
    group: list[Leaf] = []
    open_end = False
    for leaf in seen:
        if leaf.path[-1] == KEY or not leaf.text:
            continue
        if leaf.verdict or not (open_end and _DIGIT_HEAD.match(leaf.text)):
            yield from _digit_chains(group, kinds)
            group = []
        open_end = not leaf.verdict and _DIGIT_TAIL.search(leaf.text[-3:]) is not None
        if not leaf.verdict and (open_end or group):
            group.append(leaf)
    yield from _digit_chains(group, kinds)


def _digit_chains(group: list[Leaf], kinds: frozenset[str]) -> Iterator[Chain]:
    for chain in _chains(group, "\n", kinds):
        if len(_DIGIT.findall(chain.text)) >= _MIN_DIGITS:
            yield chain


def _chains(group: Sequence[Leaf], between: str, kinds: frozenset[str]) -> Iterator[Chain]:
    """Cut where a string is long: its beginning ends one chain, its end begins the next."""
    if len(group) < 2:
        return
    pending: list[Piece] = []
    for index, leaf in enumerate(group):
        text = leaf.text
        if len(pending) == _BLOCK:
            yield from _chain(pending, between, kinds)
            pending = pending[-_OVERLAP:]
        if len(text) <= 2 * _EDGE_CHARS:
            pending.append((leaf, 0, text))
            continue
        if index:
            pending.append((leaf, 0, text[:_EDGE_CHARS]))
            yield from _chain(pending, between, kinds)
        offset = len(text) - _EDGE_CHARS
        pending = [(leaf, offset, text[offset:])]
    yield from _chain(pending, between, kinds)


def _chain(pieces: Sequence[Piece], between: str, kinds: frozenset[str]) -> Iterator[Chain]:
    if len(pieces) > 1:
        yield Chain.of(pieces, between, kinds)
