"""The screener: one pass of a re2 Set over every string, validators only on what it hits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any, TypeVar

import re2

from mc_platform.model.label import NO_SCOPE, Label, Part, Path, Scope, Screening
from mc_platform.screen.cards import SCIENTIFIC, find_scientific
from mc_platform.screen.contacts import find_emails
from mc_platform.screen.contextual import CONTEXT_FINDERS
from mc_platform.screen.declared import scope_finders
from mc_platform.screen.destinations import danger_of, is_file_url
from mc_platform.screen.detector import Detector, Finder
from mc_platform.screen.findings import (
    EMAIL,
    EXFILTRATION_LINK,
    IBAN,
    NATIONAL_ID,
    PAYMENT_CARD,
    PHONE,
    PROMPT_EXTRACTION,
    PROMPT_INJECTION,
    SCREENING_LIMIT,
    SECRET_KEY,
    TOOL_CALL,
    UNSAFE_URL,
    Budget,
    Finding,
    LimitReached,
)
from mc_platform.screen.joins import Chain, digit_chains, earlier, is_earlier, text_chains
from mc_platform.screen.keys import KEY_RULES, KeyRule, find_keys
from mc_platform.screen.layers import LAYERS, Reading, first_readings
from mc_platform.screen.leaves import Leaf, leaves
from mc_platform.screen.lettered import (
    IBAN_SHAPE,
    find_ibans,
    find_lettered_ids,
    lettered_shape,
)
from mc_platform.screen.national_ids import LETTERED_RULES
from mc_platform.screen.numbers import find_numbers
from mc_platform.screen.pieces import ANNOUNCED, split_cards, token_chains
from mc_platform.screen.redact import replace_spans
from mc_platform.screen.siblings import sibling_chains
from mc_platform.screen.signs import SIGN_FINDERS
from mc_platform.screen.spread import spread
from mc_platform.screen.windows import RUN_SHAPE

_SHORTEST_FINDING = 6  # a@b.cc
_ANYTHING = r"(?s)."
_REDACTION_ROUNDS = (False, False, False, True, True)  # whole strings at last
_SET_MEMORY_BYTES = 32 << 20
_WORDED_IN_SET, _LAYERS_IN_SET = 16, 9


_SIGNS = frozenset({PROMPT_INJECTION, PROMPT_EXTRACTION, TOOL_CALL, EXFILTRATION_LINK})
_NUMBERS = frozenset({PAYMENT_CARD, NATIONAL_ID, PHONE})
_UNKNOWN = frozenset({""})
_T = TypeVar("_T")


def _finders() -> list[tuple[str, Finder, frozenset[str]]]:
    """Each finder, the shape that must occur before it is asked, and what it may find.

    A reading in which only some labels count asks only those finders.
    """
    finders: list[tuple[str, Finder, frozenset[str]]] = [
        (r"[^\s@]@[^\s@]", lambda text, _, budget: find_emails(text, budget), frozenset({EMAIL})),
        (RUN_SHAPE, find_numbers, _NUMBERS),
        (IBAN_SHAPE, lambda text, _, budget: find_ibans(text, budget), frozenset({IBAN})),
        (SCIENTIFIC, lambda text, _, budget: find_scientific(text, budget), _NUMBERS),
    ]
    finders += [
        (lettered_shape(rule), partial(find_lettered_ids, rule), frozenset({NATIONAL_ID}))
        for rule in LETTERED_RULES
    ]
    finders += [(rule.pattern, _key_finder(rule), frozenset({SECRET_KEY})) for rule in KEY_RULES]
    finders += [(shape, finder, _UNKNOWN) for shape, finder in CONTEXT_FINDERS]
    finders += [(shape, finder, _SIGNS) for shape, finder in SIGN_FINDERS]
    return finders


def _key_finder(rule: KeyRule) -> Finder:
    return lambda text, _, budget: find_keys(rule, text, budget)


class _Prefilter:
    """Shapes in a few re2 Sets; which of them occur in a text.

    One automaton for all would have a state for each combination of half-read shapes: more than fit
    in memory, so that it would be built anew for every text (measured: 900 microseconds a message,
    against 15 for Sets of a few shapes each).

    A Set has no slower engine to fall back to: short of memory it finds nothing, and does not say
    so. Hence the memory, and in each Set a shape that every string has as a witness.
    """

    def __init__(self, *groups: tuple[Sequence[str], frozenset[str]]) -> None:
        """Take groups of shapes, each with the labels that it leads to; none: to further readings."""
        self._sets: list[tuple[re2.Set, int, int, frozenset[str]]] = []
        first = 0
        for shapes, kinds in groups:
            options = re2.Options()
            options.max_mem = _SET_MEMORY_BYTES
            compiled = re2.Set.SearchSet(options)
            for shape in (*shapes, _ANYTHING):
                compiled.Add(shape)
            compiled.Compile()
            self._sets.append((compiled, first, len(shapes), kinds))
            first += len(shapes)

    def hits(self, text: str, kinds: frozenset[str] = frozenset()) -> Sequence[int]:
        """The shapes' numbers in order; all of a Set's if it failed.

        Args:
            kinds: The labels that count; empty: all. Sets that lead to none of them are left out.
        """
        found: list[int] = []
        if not text:
            return found
        encoded = text.encode()  # once for all Sets
        for compiled, first, witness, leads_to in self._sets:
            if kinds and leads_to and kinds.isdisjoint(leads_to):
                continue
            hits: Sequence[int] = compiled.Match(encoded) or ()  # None: not even the witness
            if len(hits) == 1 and hits[0] == witness:
                continue
            if witness not in hits:
                found += range(first, first + witness)
            else:
                found += sorted([first + hit for hit in hits if hit != witness])
        return found


def _groups(shapes: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    for at in range(0, len(shapes), size):
        yield shapes[at : at + size]


def _group(
    finders: Sequence[tuple[str, Finder, frozenset[str]]],
) -> tuple[Sequence[str], frozenset[str]]:
    return (
        [shape for shape, _, _ in finders],
        frozenset[str]().union(*(kinds for _, _, kinds in finders)),
    )


class _Look:
    """What the looks into one message share."""

    __slots__ = ("announced", "budget", "scope")

    def __init__(self, scope: Scope, budget: Budget) -> None:
        self.scope = scope
        self.budget = budget
        self.announced = False  # whether words speak of a value in pieces


@lru_cache(maxsize=256)
def _scope_prefilter(shapes: tuple[str, ...]) -> _Prefilter:
    return _Prefilter((shapes, frozenset()))


class LibraryScreener:
    """A `ports.Screener` over validating libraries; without state, safe to share.

    Args:
        candidates_per_leaf: Validations and decodings spent on one string before it is labelled
            `screening-limit` instead.
        candidates_per_message: The same for a whole message.
        extra: Further detectors, such as a model; each is asked about every reading of a string.
    """

    def __init__(
        self,
        *,
        candidates_per_leaf: int = 1000,
        candidates_per_message: int = 4000,
        extra: Sequence[Detector] = (),
    ) -> None:
        self._per_leaf = candidates_per_leaf
        self._per_message = candidates_per_message
        self._extra = tuple(extra)
        shaped = _finders()
        self._finders = [(finder, kinds) for _, finder, kinds in shaped]
        self._pieces = len(shaped) + len(LAYERS)
        words = sum(not kinds.isdisjoint(_UNKNOWN | _SIGNS) for _, _, kinds in shaped)
        literal, worded = shaped[:-words], shaped[-words:]
        layers = [*(layer.shape for layer in LAYERS), ANNOUNCED]
        self._prefilter = _Prefilter(
            _group(literal[: -len(KEY_RULES)]),
            _group(literal[-len(KEY_RULES) :]),
            *map(_group, _groups(worded, _WORDED_IN_SET)),
            *((shapes, frozenset[str]()) for shapes in _groups(layers, _LAYERS_IN_SET)),
        )

    def __reduce__(self) -> tuple[Callable[..., LibraryScreener], tuple[int, int, tuple[Any, ...]]]:
        """Pickled as its settings, for another process; automata are built there."""
        return _made, (self._per_leaf, self._per_message, self._extra)

    def screen(
        self, parts: Sequence[Part], scope: Scope = NO_SCOPE, history: Sequence[str] = ()
    ) -> Screening:
        """Label every string in the parts; bounded time on any input, no exception on any JSON.

        A string that cannot be examined within the bounds is labelled `screening-limit` as a
        whole, a file that is not text `opaque-file`, a file's URL that must not be fetched
        `unsafe-url`.

        Args:
            parts: A2A parts in JSON form.
            scope: What the tenant declares.
            history: Earlier texts of the conversation, newest last: what only shows when their
                ends and these parts are read together is labelled here.
        """
        look = _Look(scope, Budget(per_leaf=self._per_leaf, per_message=self._per_message))
        labels: list[Label] = []
        seen = list(leaves(parts))
        for leaf in seen:
            if leaf.verdict:
                labels.append(_whole(leaf, leaf.verdict, "structure"))
            elif len(leaf.text) >= _SHORTEST_FINDING:
                labels += self._look(leaf, look)
            if not leaf.verdict and is_file_url(leaf.path) and (why := danger_of(leaf.text)):
                labels.append(replace(_whole(leaf, UNSAFE_URL, "destination"), reason=why))
        if len(seen) > 1 or history or look.announced:
            labels += self._look_across(seen, earlier(history), labels, look)
        return Screening(tuple(labels))

    def redact(
        self,
        parts: Sequence[Part],
        screening: Screening,
        scope: Scope = NO_SCOPE,
        replacer: Callable[[str, str], str] | None = None,
    ) -> tuple[Part, ...]:
        """The parts with every labelled span replaced by a placeholder such as `[email]`.

        Screening the result again finds none of the types that `screening` holds: what a
        replacement uncovers is replaced in turn, and where that does not end soon, the whole
        string gives way.

        Args:
            parts: What was screened; not changed.
            screening: What was found.
            scope: With what it was screened.
            replacer: Makes a span's replacement from label type and original; None: `[type]`.
        """
        types = screening.types
        labels = screening.labels
        result = tuple(parts)
        for whole_strings in _REDACTION_ROUNDS:
            if not labels:
                return result
            made = None if whole_strings else replacer
            result = replace_spans(result, labels, whole_strings=whole_strings, replacer=made)
            found = self.screen(result, scope).labels
            labels = tuple(label for label in found if label.type in types)
        return result if not labels else ({"text": "[withheld]"},)

    def _look(self, leaf: Leaf, look: _Look) -> list[Label]:
        labels: list[Label] = []
        look.budget.next_leaf()
        try:
            for finding in self._find(leaf.text, leaf.context, look):
                labels.append(_label(leaf, finding))  # noqa: PERF401 - kept if the budget ends
        except LimitReached:
            labels.append(_whole(leaf, SCREENING_LIMIT, "budget"))
        for finding in spread(leaf.text, labels):
            if not _covered(finding, labels):
                labels.append(_label(leaf, finding))
        if len(labels) > 1:
            labels.sort(key=lambda label: (label.start, label.end))
        return labels

    def _find(self, text: str, context: str, look: _Look) -> Iterator[Finding]:
        """Findings in a string as it is seen, then those that looking through layers adds.

        Raises:
            LimitReached: the budget ends, or something is encoded once more than is looked
                through; what the layers above it hold is told before.
        """
        known: list[Finding] = []
        too_deep = False
        readings = first_readings(text)
        read: set[tuple[str, frozenset[str]]] = set()
        for reading in readings:  # grows while it is walked
            hits = self._prefilter.hits(reading.text, reading.kinds)
            for finding in self._ask(hits, reading, context, look):
                if not reading.names or not _covered(finding, known):
                    known.append(finding)
                    yield finding
            for hit in hits:
                if hit == self._pieces:
                    look.announced = True
                elif hit >= len(self._finders):
                    layer = LAYERS[hit - len(self._finders)]
                    for deeper in reading.through(layer, look.budget):
                        if deeper.is_too_deep:
                            too_deep = too_deep or deeper.is_encoded
                        elif (deeper.text, deeper.kinds) not in read:
                            read.add((deeper.text, deeper.kinds))
                            readings.append(deeper)
        if too_deep:
            raise LimitReached

    def _ask(
        self, hits: Sequence[int], reading: Reading, context: str, look: _Look
    ) -> Iterator[Finding]:
        for find in self._asked(hits, reading, look.scope):
            for found in find(reading.text, context, look.budget):
                if reading.kinds and found.type not in reading.kinds:
                    continue
                if not reading.steps and not reading.names:
                    yield found
                    continue
                start, end = reading.span(found.start, found.end)
                yield replace(found, start=start, end=end, reason=found.reason or reading.reason)

    def _asked(self, hits: Sequence[int], reading: Reading, scope: Scope) -> Iterator[Finder]:
        for hit in hits:
            if hit >= len(self._finders):
                break
            finder, kinds = self._finders[hit]
            if not reading.kinds or not kinds.isdisjoint(reading.kinds):
                yield finder
        if scope != NO_SCOPE and (declared := scope_finders(scope)):
            for hit in _scope_prefilter(tuple([shape for shape, _ in declared])).hits(reading.text):
                yield declared[hit][1]
        for detector in self._extra:
            yield _as_finder(detector)

    def _look_across(
        self,
        seen: Sequence[Leaf],
        before: Sequence[Leaf],
        labels: Sequence[Label],
        look: _Look,
    ) -> list[Label]:
        """What only shows when neighbouring strings, or earlier ones, are read together."""
        found: list[Label] = []
        known: dict[Path, list[Label]] = {}
        for label in labels:
            known.setdefault(label.path, []).append(label)
        if any(label.type == SCREENING_LIMIT for label in labels):
            seen = [_unless_withheld(leaf, known.get(leaf.path, ())) for leaf in seen]

        def add(across: Sequence[Label]) -> None:
            here = [label for label in across if not is_earlier(label.path)]
            if here and not any(_same(label, known.get(label.path, ())) for label in across):
                found.extend(here)
                for label in here:
                    known.setdefault(label.path, []).append(label)

        # A value that ends with an earlier message is none of this one's.
        for leaf in before:
            known[leaf.path] = []
        chains: list[Chain] = [*text_chains([*before, *seen]), *digit_chains([*before, *seen])]
        chains += token_chains(before, seen)
        chains += sibling_chains(seen)
        if before and chains:
            for leaf in before:
                known[leaf.path] = self._look(leaf, look)
        for chain in chains:
            look.budget.next_leaf()
            try:
                for finding in self._find(chain.text, chain.context, look):
                    add(chain.labels(finding))
            except LimitReached:
                found += [
                    label for label in chain.whole(SCREENING_LIMIT) if not is_earlier(label.path)
                ]
        for across in split_cards(before, seen, look.budget):
            add(across)
        return found


def _made(per_leaf: int, per_message: int, extra: tuple[Detector, ...]) -> LibraryScreener:
    return LibraryScreener(
        candidates_per_leaf=per_leaf, candidates_per_message=per_message, extra=extra
    )


def _as_finder(detector: Detector) -> Finder:
    return lambda text, _context, _budget: detector.find(text)


def _unless_withheld(leaf: Leaf, known: Sequence[Label]) -> Leaf:
    # What is labelled as a whole needs no second look.
    if any(label.type == SCREENING_LIMIT for label in known):
        return replace(leaf, verdict=SCREENING_LIMIT)
    return leaf


def _covered(finding: Finding, known: Sequence[Finding] | Sequence[Label]) -> bool:
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
        reason=finding.reason,
    )


def _whole(leaf: Leaf, kind: str, detector: str) -> Label:
    return Label(kind, leaf.path, 0, len(leaf.text), 1.0, detector)
