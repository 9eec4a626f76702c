"""The screener: one pass of a re2 Set over every string, validators only on what it hits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import re2

from mc_platform.model.label import Label, Part, Screening
from mc_platform.screen.contacts import find_emails
from mc_platform.screen.findings import SCREENING_LIMIT, Budget, Finding, LimitReached
from mc_platform.screen.keys import KEY_RULES, KeyRule, find_keys
from mc_platform.screen.leaves import Leaf, leaves
from mc_platform.screen.lettered import IBAN_SHAPE, find_ibans, find_lettered_ids
from mc_platform.screen.national_ids import LETTERED_RULES
from mc_platform.screen.normalise import normalise
from mc_platform.screen.numbers import RUN, find_numbers
from mc_platform.screen.redact import replace_spans

Finder = Callable[[str, str, Budget], Iterator[Finding]]

_SHORTEST_FINDING = 6  # a@b.cc
_ANYTHING = r"(?s)."
_REDACTION_ROUNDS = (False, False, False, True, True)  # whole strings at last
_SET_MEMORY_BYTES = 64 << 20


def _finders() -> list[tuple[str, Finder]]:
    """Each finder with the shape that must occur in a string before it is asked."""
    finders: list[tuple[str, Finder]] = [
        (r"[^\s@]@[^\s@]", lambda text, _, budget: find_emails(text, budget)),
        (RUN, find_numbers),
        (IBAN_SHAPE, lambda text, _, budget: find_ibans(text, budget)),
    ]
    finders += [(rule.shape, partial(find_lettered_ids, rule)) for rule in LETTERED_RULES]
    finders += [(rule.pattern, _key_finder(rule)) for rule in KEY_RULES]
    return finders


def _key_finder(rule: KeyRule) -> Finder:
    return lambda text, _, budget: find_keys(rule, text, budget)


class LibraryScreener:
    """A `ports.Screener` over validating libraries; without state, safe to share.

    Args:
        candidates_per_leaf: Validations spent on one string before it is labelled
            `screening-limit` instead.
        candidates_per_message: The same for a whole message.
    """

    def __init__(
        self, *, candidates_per_leaf: int = 1000, candidates_per_message: int = 4000
    ) -> None:
        self._per_leaf = candidates_per_leaf
        self._per_message = candidates_per_message
        shapes = _finders()
        self._finders = [finder for _, finder in shapes]
        # A Set has no slower engine to fall back to: short of memory it finds nothing, and does
        # not say so. Hence the memory, and a shape that every string has as a witness.
        options = re2.Options()
        options.max_mem = _SET_MEMORY_BYTES
        self._prefilter = re2.Set.SearchSet(options)
        self._witness = len(shapes)
        for shape, _ in shapes:
            self._prefilter.Add(shape)
        self._prefilter.Add(_ANYTHING)
        self._prefilter.Compile()

    def screen(self, parts: Sequence[Part]) -> Screening:
        """Label every string in the parts; bounded time on any input, no exception on any JSON.

        A string that cannot be examined within the bounds is labelled `screening-limit` as a
        whole, a file that is not text `opaque-file`.
        """
        budget = Budget(per_leaf=self._per_leaf, per_message=self._per_message)
        labels: list[Label] = []
        for leaf in leaves(parts):
            if leaf.verdict:
                labels.append(_whole(leaf, leaf.verdict, "structure"))
            elif len(leaf.text) >= _SHORTEST_FINDING:
                labels += self._look(leaf, budget)
        return Screening(tuple(labels))

    def redact(self, parts: Sequence[Part], screening: Screening) -> tuple[Part, ...]:
        """The parts with every labelled span replaced by a placeholder such as `[email]`.

        Screening the result again finds none of the types that `screening` holds: what a
        replacement uncovers is replaced in turn, and where that does not end soon, the whole
        string gives way.
        """
        types = screening.types
        labels = screening.labels
        result = tuple(parts)
        for whole_strings in _REDACTION_ROUNDS:
            if not labels:
                return result
            result = replace_spans(result, labels, whole_strings=whole_strings)
            labels = tuple(label for label in self.screen(result).labels if label.type in types)
        return result if not labels else ({"text": "[withheld]"},)

    def _look(self, leaf: Leaf, budget: Budget) -> list[Label]:
        seen = normalise(leaf.text)
        if not seen.text:
            return []
        hits: Sequence[int] = self._prefilter.Match(seen.text)
        if len(hits) == 1 and hits[0] == self._witness:
            return []
        if self._witness not in hits:
            hits = range(self._witness)  # the prefilter failed: ask every finder
        labels: list[Label] = []
        budget.next_leaf()
        try:
            for hit in hits:
                if hit == self._witness:
                    continue
                for finding in self._finders[hit](seen.text, leaf.context, budget):
                    start, end = seen.span(finding.start, finding.end)
                    labels.append(
                        Label(
                            type=finding.type,
                            path=leaf.path,
                            start=start,
                            end=end,
                            confidence=finding.confidence,
                            detector=finding.detector,
                        )
                    )
        except LimitReached:
            labels.append(_whole(leaf, SCREENING_LIMIT, "budget"))
        labels.sort(key=lambda label: (label.start, label.end))
        return labels


def _whole(leaf: Leaf, kind: str, detector: str) -> Label:
    return Label(kind, leaf.path, 0, len(leaf.text), 1.0, detector)
