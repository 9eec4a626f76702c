"""Which patterns occur in a text: one pass for many of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import TypeVar

import re2

_T = TypeVar("_T")
_ANYTHING = r"(?s)."
# What holds at the beginning or end of a text only; `[^` and `\\^` are no such thing.
_ANCHOR = re.compile(r"(?<![\[\\])\^|(?<!\\)\$|\\[Az]")
_SET_MEMORY_BYTES = 32 << 20
_TRIED_ONE_BY_ONE = 16
# A pattern that begins with so many characters of a class begins everywhere: an automaton has a state for
# each combination of what it has read of it and of its neighbours.
_COUNTING = re.compile(
    r"(?:\A(?:\(\?\w+\))?(?:\(\?:)?|\|)\[[^\]]+\](?:[^()|]*\))?\{(?:[89]|\d\d)\}"
)
_COUNTING_IN_SET = 3
# A count, if it stands in no class and behind no backslash.
_UP_TO = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\{(\d+),(\d+)\}")
_FEW = 8
_WITHOUT_END = {"0": "*", "1": "+"}


def groups(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    """The items in order, as many at a time as one Set holds well."""
    for at in range(0, len(items), size):
        yield items[at : at + size]


def _added(patterns: Sequence[str]) -> re2.Set:
    """A Set of some patterns and, as the last of them, the witness that every string has.

    Raises:
        re2.error: a pattern is no RE2.
    """
    options = re2.Options()
    options.max_mem = _SET_MEMORY_BYTES
    options.log_errors = False
    added = re2.Set.SearchSet(options)
    for pattern in (*patterns, _ANYTHING):
        added.Add(pattern)
    return added


class ManyPatterns:
    """Thousands of patterns of one kind, of which a text has one or none.

    They begin alike or with different letters, so that one Set holds them all (measured: 10,000 customer
    ids in 20 MiB, 3 microseconds for 500 characters). Where it is short of memory, for its patterns or
    for one text, its halves are asked, down to a few patterns, which `re2.search` tries one by one.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        """Compile at once, and the halves as well if all together take too much memory.

        Raises:
            re2.error: a pattern is no RE2.
        """
        self._patterns = patterns
        self._halves: tuple[ManyPatterns, ManyPatterns] | None = None
        self._set: re2.Set | None = _added(patterns)
        try:
            self._set.Compile()
        except re2.error:
            self._set = None  # too large; asking it would end the process
            if not self._are_few:
                self._halves = self._halved()  # now, and not on the event loop at the first text

    @property
    def _are_few(self) -> bool:
        return len(self._patterns) <= _TRIED_ONE_BY_ONE

    def hits(self, encoded: bytes) -> Sequence[str]:
        """Those patterns that occur in a text, given as UTF-8, in order."""
        if not encoded:
            return ()
        if self._set is not None:
            hits: Sequence[int] = self._set._set.Match(encoded) or ()  # as in `Prefilter`
            witness = len(self._patterns)
            if hits == [witness]:
                return ()
            if witness in hits:
                return [self._patterns[hit] for hit in sorted(hits) if hit != witness]
        if self._are_few:
            return [
                pattern
                for pattern in self._patterns
                if _compiled_alone(pattern).search(encoded) is not None
            ]
        if self._halves is None:
            self._halves = self._halved()
        return [*self._halves[0].hits(encoded), *self._halves[1].hits(encoded)]

    def _halved(self) -> tuple[ManyPatterns, ManyPatterns]:
        middle = len(self._patterns) // 2
        return ManyPatterns(self._patterns[:middle]), ManyPatterns(self._patterns[middle:])


@lru_cache(maxsize=1024)
def _compiled_alone(pattern: str) -> re2._Regexp:
    return re2.compile(pattern)


class Prefilter:
    """Prefilter patterns in a few re2 Sets; which of them occur in a text.

    One automaton for all would have a state for each combination of half-read patterns: more than fit
    in memory, so that it would be built anew for every text (measured: 900 microseconds a message,
    against 15 for Sets of a few patterns each).

    A Set has no slower engine to fall back to: short of memory it finds nothing, and does not say
    so. Hence the memory, and in each Set a pattern that every string has as a witness.
    """

    def __init__(self, *groups: tuple[Sequence[str], frozenset[str], int]) -> None:
        """Compile the patterns of some groups, which are numbered one after the other.

        Args:
            groups: Patterns, the labels that they lead to (none: to further decoders), and how many
                of them one Set holds well; 0: all, even those that count.
        """
        self._sets: list[_Compiled] = []
        self._anchored: set[int] = set()
        first = 0
        for patterns, kinds, size in groups:
            for numbers in _parted(patterns, size):
                chosen = [without_end(patterns[number]) for number in numbers]
                compiled = _added(chosen)
                compiled.Compile()
                if any(map(_ANCHOR.search, chosen)):
                    self._anchored.add(len(self._sets))
                # Its own method: the wrapper's would look at each text's type again
                match = compiled._set.Match
                told = [first + number for number in numbers]
                self._sets.append((match, told, [len(numbers)], kinds))
            first += len(patterns)

    def hits(
        self,
        text: str,
        kinds: frozenset[str] = frozenset(),
        only: frozenset[int] | None = None,
    ) -> Sequence[int]:
        """The numbers, in order, of the patterns that may occur (`without_end`); all of a Set's if it failed.

        Args:
            text: The text.
            kinds: The labels that count; empty: all. Sets that lead to none of them are left out.
            only: The Sets that may hit, as `may_hit` tells; None: all may.
        """
        found: list[int] = []
        if not text:
            return found
        encoded = text.encode()  # once for all Sets
        sets = self._sets if only is None else [self._sets[at] for at in only]
        for match, numbers, nothing, leads_to in sets:
            if kinds and leads_to and kinds.isdisjoint(leads_to):
                continue
            hits = match(encoded)
            if hits == nothing:
                continue
            witness = nothing[0]
            if witness in hits:
                found += [numbers[hit] for hit in hits if hit != witness]
            else:
                found += numbers
        found.sort()
        return found

    def may_hit(self, texts: Sequence[str]) -> frozenset[int]:
        """The Sets that hit in any of some texts, and some that do not.

        One pass over many short strings, where a pass over each costs more than its characters. A
        line break stands for the beginning and the end of each; Sets whose patterns ask for those
        are always among the answer.
        """
        encoded = "\n".join(texts).encode()
        return frozenset(
            [
                at
                for at, (match, _, nothing, _) in enumerate(self._sets)
                if at in self._anchored or match(encoded) != nothing
            ]
        )


_Compiled = tuple[Callable[[bytes], list[int]], Sequence[int], list[int], frozenset[str]]
"""A Set's method, its patterns' numbers, what it answers if none of them occurs, and their labels."""


def without_end(pattern: str) -> str:
    """A pattern that occurs wherever the given one does, without its counts up to more than a few.

    An automaton has a state for each place in `[a-z ]{1,40}`, and for each combination of places from
    several beginnings; in `[a-z ]+` it has one (measured: 37 microseconds for 500 characters, and 4).
    """

    def open_count(found: re.Match[str]) -> str:
        least, most = found.groups()
        if most is None or int(most) <= _FEW:
            return found[0]
        return _WITHOUT_END.get(least, f"{{{least},}}")

    return _UP_TO.sub(open_count, pattern)


def _parted(patterns: Sequence[str], size: int) -> Iterator[Sequence[int]]:
    """Which patterns share a Set: so many as one holds well, or a few of those that count."""
    numbers = range(len(patterns))
    if not size:
        return iter([numbers])
    counting = [number for number in numbers if _COUNTING.search(patterns[number])]
    others = [number for number in numbers if number not in counting]
    return chain(groups(others, size), groups(counting, _COUNTING_IN_SET))
