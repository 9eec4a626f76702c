"""What is known of a message while it is examined: what was found, and what it cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from mc_platform.model.label import NO_SCOPE, Scope
from mc_platform.screen.detectors.digit_groups import MIN_DIGITS
from mc_platform.screen.detectors.field_names import kind_of
from mc_platform.screen.findings import Budget, Finding
from mc_platform.screen.message.strings import Leaf
from mc_platform.screen.text.decoded_text import DecodedText

_TEXT_WORK, _TEXT_CHAR_WORK = 8, 0.08
_FEW_CHARS = 4096  # of a message, for which its sequences are not counted
_GRAM, _GRAM_EVERY, _NEW_GRAM_WORK = 4, 16, 24
_PLACE, _LONG_SPAN = 64, 4096


@dataclass(slots=True)
class Examination:
    """What is known of one message while it is examined.

    Attributes:
        announced: Whether words speak of a value in pieces.
        known: What a string, under its key, was found to hold, and whether that is all.
        redacted: Whether what is looked at was examined before, and replaced in part.
        clean: Strings and chains of strings that are known to hold nothing.
        sets: For short strings, which Sets of the prefilter may hit.
        trace: Every finding in the text in which it was found; None: not kept.
        fields: Of the keys above values, whether they announce anything.
        hits: Of some texts, which decoders' prefilter patterns occur in them.
        scoped: Whether the scope declares anything.
        names: Where an entity recogniser sees persons' names in a string.
    """

    scope: Scope
    budget: Budget
    announced: bool = False
    redacted: bool = False
    known: dict[tuple[str, str], tuple[Sequence[Finding], bool]] = field(default_factory=dict)
    clean: set[tuple[Any, ...]] = field(default_factory=set)
    sets: dict[str, frozenset[int]] = field(default_factory=dict)
    trace: list[tuple[DecodedText, Finding]] | None = None
    fields: dict[str, bool] = field(default_factory=dict)
    hits: dict[str, Sequence[int]] = field(default_factory=dict)
    scoped: bool = False
    names: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    _grams: set[str] = field(default_factory=set)
    _few: int = _FEW_CHARS

    def __post_init__(self) -> None:
        """Compare scopes once."""
        self.scoped = self.scope is not NO_SCOPE and self.scope != NO_SCOPE

    def price(self, text: str) -> float:
        """Work of one decoded text: automata build a state for each sequence that they never met."""
        if self._few > 0:
            self._few -= len(text)
            return _TEXT_WORK + len(text)
        known = len(self._grams)
        grams = [text[at : at + _GRAM] for at in range(0, len(text), _GRAM_EVERY)]
        self._grams.update(grams)
        new = len(self._grams) - known
        return _TEXT_WORK + len(text) * _TEXT_CHAR_WORK + new * _NEW_GRAM_WORK


class Spans:
    """Spans of findings by type, such that those around another one are found at once."""

    __slots__ = ("_long", "_near")

    def __init__(self, findings: Sequence[Finding] = ()) -> None:
        self._near: dict[tuple[str, int], set[tuple[int, int]]] = {}
        self._long: dict[str, set[tuple[int, int]]] = {}
        for finding in findings:
            self.add(finding)

    def add(self, finding: Finding) -> bool:
        """Remember a finding's span; always true."""
        span = (finding.start, finding.end)
        if finding.end - finding.start > _LONG_SPAN:
            self._long.setdefault(finding.type, set()).add(span)
            return True
        for place in range(finding.start // _PLACE, (finding.end - 1) // _PLACE + 1):
            self._near.setdefault((finding.type, place), set()).add(span)
        return True

    def cover(self, finding: Finding) -> bool:
        """Whether a span of the same type holds all of this one."""
        near = self._near.get((finding.type, finding.start // _PLACE), ())
        return any(
            start <= finding.start and finding.end <= end
            for start, end in (*near, *self._long.get(finding.type, ()))
        )


def rest_of(
    spans: Iterable[tuple[int, int]], taken: Iterable[tuple[int, int]]
) -> Iterator[tuple[int, int]]:
    """What is left of spans without those that are taken; both are many in hostile texts only."""
    blocked = sorted(taken)
    at = 0
    for start, end in sorted(spans):
        while at < len(blocked) and blocked[at][1] <= start:
            at += 1
        low = start
        for begin, stop in islice(blocked, at, None):
            if begin >= end:
                break
            if low < begin:
                yield low, begin
            low = max(low, stop)
        if low < end:
            yield low, end


def is_figure(leaf: Leaf, *, scoped: bool) -> bool:
    """Whether it is a number of too few digits for anything but what its key or the tenant says."""
    return (
        leaf.is_number
        and not scoped
        and len(leaf.text) < MIN_DIGITS
        and (not leaf.context or kind_of(leaf.context) is None)
    )
