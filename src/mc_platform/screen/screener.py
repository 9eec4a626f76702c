"""The screener: one pass of a re2 Set over every string, validators only on what it hits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import re2

from mc_platform.model.label import Label, Part, Path, Screening
from mc_platform.screen.cards import SCIENTIFIC, find_scientific
from mc_platform.screen.contacts import find_emails
from mc_platform.screen.findings import SCREENING_LIMIT, Budget, Finding, LimitReached
from mc_platform.screen.joins import digit_chains, text_chains
from mc_platform.screen.keys import KEY_RULES, KeyRule, find_keys
from mc_platform.screen.leaves import Leaf, leaves
from mc_platform.screen.lettered import (
    IBAN_SHAPE,
    find_ibans,
    find_lettered_ids,
    lettered_shape,
)
from mc_platform.screen.national_ids import LETTERED_RULES
from mc_platform.screen.normalise import Normalised, normalise
from mc_platform.screen.numbers import find_numbers
from mc_platform.screen.redact import replace_spans
from mc_platform.screen.views import VIEWS, normalised_view
from mc_platform.screen.windows import RUN_SHAPE

Finder = Callable[[str, str, Budget], Iterator[Finding]]

_SHORTEST_FINDING = 6  # a@b.cc
_ANYTHING = r"(?s)."
_REDACTION_ROUNDS = (False, False, False, True, True)  # whole strings at last
_SET_MEMORY_BYTES = 64 << 20


def _finders() -> list[tuple[str, Finder]]:
    """Each finder with the shape that must occur in a string before it is asked."""
    finders: list[tuple[str, Finder]] = [
        (r"[^\s@]@[^\s@]", lambda text, _, budget: find_emails(text, budget)),
        (RUN_SHAPE, find_numbers),
        (IBAN_SHAPE, lambda text, _, budget: find_ibans(text, budget)),
        (SCIENTIFIC, lambda text, _, budget: find_scientific(text, budget)),
    ]
    finders += [(lettered_shape(rule), partial(find_lettered_ids, rule)) for rule in LETTERED_RULES]
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
        self._views = [view for _, view in VIEWS]
        self._witness = len(shapes) + len(VIEWS)
        for shape, _ in (*shapes, *VIEWS):
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
        seen = list(leaves(parts))
        for leaf in seen:
            if leaf.verdict:
                labels.append(_whole(leaf, leaf.verdict, "structure"))
            elif len(leaf.text) >= _SHORTEST_FINDING:
                labels += self._look(leaf, budget)
        if len(seen) > 1:
            labels += self._look_across(seen, labels, budget)
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
        labels: list[Label] = []
        budget.next_leaf()
        try:
            for finding in self._find(leaf.text, leaf.context, budget):
                labels.append(_label(leaf, finding))  # noqa: PERF401 - kept if the budget ends
        except LimitReached:
            labels.append(_whole(leaf, SCREENING_LIMIT, "budget"))
        labels.sort(key=lambda label: (label.start, label.end))
        return labels

    def _find(self, text: str, context: str, budget: Budget) -> Iterator[Finding]:
        """Findings in a string as it is seen, then those that decoding adds."""
        seen = normalise(text)
        hits = self._hits(seen.text)
        known: list[Finding] = []
        for finding in self._ask(hits, seen, context, budget):
            known.append(finding)
            yield finding
        for hit in hits:
            if not len(self._finders) <= hit < self._witness:
                continue
            for view in self._views[hit - len(self._finders)](text):
                decoded = normalised_view(view)
                for finding in self._ask(self._hits(decoded.text), decoded, context, budget):
                    if not _covered(finding, known):
                        known.append(finding)
                        yield finding

    def _hits(self, text: str) -> Sequence[int]:
        """Which shapes occur, those of the finders first; none in a string without any."""
        if not text:
            return ()
        hits: list[int] = self._prefilter.Match(text)
        if self._witness not in hits:
            return range(self._witness)  # the prefilter failed: ask every finder
        return hits

    def _ask(
        self, hits: Sequence[int], seen: Normalised, context: str, budget: Budget
    ) -> Iterator[Finding]:
        for hit in hits:
            if hit >= len(self._finders):
                continue
            for found in self._finders[hit](seen.text, context, budget):
                start, end = seen.span(found.start, found.end)
                yield replace(found, start=start, end=end)

    def _look_across(
        self, seen: Sequence[Leaf], labels: Sequence[Label], budget: Budget
    ) -> list[Label]:
        """What only shows when neighbouring strings are read together."""
        found: list[Label] = []
        known: dict[Path, list[Label]] = {}
        for label in labels:
            known.setdefault(label.path, []).append(label)
        if any(label.type == SCREENING_LIMIT for label in labels):
            seen = [_unless_withheld(leaf, known.get(leaf.path, ())) for leaf in seen]
        for chain in (*text_chains(seen), *digit_chains(seen)):
            budget.next_leaf()
            try:
                for finding in self._find(chain.text, chain.context, budget):
                    across = chain.labels(finding)
                    if not any(_same(label, known.get(label.path, ())) for label in across):
                        found += across
                        for label in across:
                            known.setdefault(label.path, []).append(label)
            except LimitReached:
                found += chain.whole(SCREENING_LIMIT)
        return found


def _unless_withheld(leaf: Leaf, known: Sequence[Label]) -> Leaf:
    # What is labelled as a whole needs no second look.
    if any(label.type == SCREENING_LIMIT for label in known):
        return replace(leaf, verdict=SCREENING_LIMIT)
    return leaf


def _covered(finding: Finding, known: Sequence[Finding]) -> bool:
    return any(
        other.type == finding.type and other.start <= finding.start and finding.end <= other.end
        for other in known
    )


def _same(label: Label, known: Sequence[Label]) -> bool:
    return any(
        other.type == label.type and other.start < label.end and label.start < other.end
        for other in known
    )


def _label(leaf: Leaf, finding: Finding) -> Label:
    return Label(
        type=finding.type,
        path=leaf.path,
        start=finding.start,
        end=finding.end,
        confidence=finding.confidence,
        detector=finding.detector,
    )


def _whole(leaf: Leaf, kind: str, detector: str) -> Label:
    return Label(kind, leaf.path, 0, len(leaf.text), 1.0, detector)
