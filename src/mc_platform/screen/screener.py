"""The screener: one pass of a re2 Set over every string, validators only on what it hits."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from mc_platform.model.label import NO_SCOPE, Label, Part, Path, Scope, Screening
from mc_platform.ports import EntityRecogniser
from mc_platform.screen.content import Content
from mc_platform.screen.cost import LEAST_WORK, model_work, more_work
from mc_platform.screen.destinations import danger_of, is_file_url
from mc_platform.screen.detectors.field_names import find_under_key
from mc_platform.screen.detectors.payment_cards import is_rare_card
from mc_platform.screen.detectors.person_names import is_name_value
from mc_platform.screen.detectors.recogniser import Recogniser
from mc_platform.screen.detectors.registry import (
    ATTACKS,
    CONTEXTUAL,
    FORMED,
    KEYS,
    RECOGNISERS,
    Entry,
)
from mc_platform.screen.detectors.tenant_terms import declared_in
from mc_platform.screen.examination import Examination, Spans, is_figure, rest_of
from mc_platform.screen.findings import (
    CROSS_TENANT_ID,
    CUSTOMER_ID,
    PAYMENT_CARD,
    PERSON_NAME,
    PHONE,
    POSTAL_ADDRESS,
    SCREENING_LIMIT,
    SIGNS,
    TENANT_TERM,
    UNSAFE_URL,
    Budget,
    Finding,
    LimitReached,
)
from mc_platform.screen.message.announced_pieces import ANNOUNCED, split_cards, token_chains
from mc_platform.screen.message.joined_strings import (
    Chain,
    digit_chains,
    earlier,
    is_earlier,
    text_chains,
)
from mc_platform.screen.message.neighbours import spread
from mc_platform.screen.message.sibling_strings import sibling_chains
from mc_platform.screen.message.strings import Leaf, leaves
from mc_platform.screen.prefilter import Prefilter, groups
from mc_platform.screen.redact import PLACEHOLDER, replace_spans
from mc_platform.screen.rules import words_of
from mc_platform.screen.text.decoded_text import (
    DECODERS,
    DECODERS_IN_SET,
    LONG,
    DecodedText,
    excerpts,
    first_texts,
)
from mc_platform.screen.text.normalise import normalise

_SHORTEST_FINDING = 6  # a@b.cc
# Up to so long a value is read behind its key; what is tried to see if a key announces anything.
_FIELD_CHARS, _FIELD_WORK, _ANY_VALUE = 400, 30, "X1 Xx 1"
_REDACTION_ROUNDS = (False, False, False, True, True)  # whole strings at last
# Work, in the budget's units.
SCREENING_WORK, REDACTION_WORK = 1_150_000, 450_000
_RECOGNISER_WORK, _RECOGNISER_CHAR_WORK = 4, 0.015
_SPREAD_WORK, _SAME_WORK = 10, 0.1
_SHORT_CHARS, _SORTED_OUT = 64, 32
_LABEL_WORK, _REPLACED_WORK, _CHAINED_WORK = 3, 8, 1
_MOST_WITHHELD = 1000
_WITHHELD: tuple[Part, ...] = ({"text": "[withheld]"},)
_WORDED_IN_SET = 30
_MOST_REMEMBERED = 8
_MODEL, _POSSIBLE, _BY_MODEL = "ner.", 0.6, "A language model takes it for a person's name."
# From the first letter to the last, or to the dot of an initial
_NAME = re.compile(r"[^\W\d_](?:[\s\S]*[^\W_](?:(?<=[ .][^\W\d_])\.)?)?")
# Tenants' patterns say themselves where they end; signs are no values; numbers consist of whole groups.
_AS_FOUND = SIGNS | {CUSTOMER_ID, CROSS_TENANT_ID, TENANT_TERM, PAYMENT_CARD, PHONE}
# In scripts with spaces between words.
_TAIL = re.compile(r"[0-9A-Za-z\u00c0-\u024f]{1,64}")


def _group(entries: Sequence[Entry], in_set: int) -> tuple[Sequence[str], frozenset[str], int]:
    return (
        [pattern for pattern, _, _ in entries],
        frozenset[str]().union(*(kinds for _, _, kinds in entries)),
        in_set,
    )


class LibraryScreener:
    """A `ports.Screener` over validating libraries; without state, safe to share.

    Args:
        candidates_per_leaf: Validations and decodings spent on one string before it is labelled
            `screening-limit` instead.
        candidates_per_message: The same for a whole message.
        entities: Finds names beside the rules; None: nothing does.
    """

    def __init__(
        self,
        *,
        candidates_per_leaf: int = 20_000,
        candidates_per_message: int = 20_000,
        entities: EntityRecogniser | None = None,
    ) -> None:
        self._entities = entities
        self._per_leaf = candidates_per_leaf
        self._per_message = candidates_per_message
        self._recognisers = [(recognise, kinds) for _, recognise, kinds in RECOGNISERS]
        self._recogniser_count = len(RECOGNISERS)
        decoders = [*(decoder.prefilter for decoder in DECODERS), ANNOUNCED]
        self._prefilter = Prefilter(
            _group(FORMED, 0),
            _group(KEYS, 0),
            _group(CONTEXTUAL, _WORDED_IN_SET),
            _group(ATTACKS, _WORDED_IN_SET),
            (decoders, frozenset(), DECODERS_IN_SET),
        )

        self._of_context = range(len(FORMED) + len(KEYS), len(RECOGNISERS) - len(ATTACKS))
        self._of_any = frozenset(self._prefilter.hits(f": {_ANY_VALUE}"))

    def __reduce__(self) -> tuple[Callable[[], LibraryScreener], tuple[()]]:
        """Pickled as its settings, for another process; automata are built there."""
        return partial(
            LibraryScreener,
            candidates_per_leaf=self._per_leaf,
            candidates_per_message=self._per_message,
            entities=self._entities,
        ), ()

    def screen(
        self, parts: Sequence[Part], scope: Scope = NO_SCOPE, history: Sequence[str] = ()
    ) -> Screening:
        """Label every string in the parts; bounded CPU time on any input, no exception on any JSON.

        A string that cannot be examined within the bounds is labelled `screening-limit` as a
        whole, a file that is not text `opaque-file`, a file's URL that must not be fetched
        `unsafe-url`. If the bounds of the whole message are reached, all of it is labelled
        `screening-limit` beside what was found.

        Args:
            parts: A2A parts in JSON form.
            scope: What the tenant declares.
            history: Earlier texts of the conversation, newest last: what only shows when their
                ends and these parts are read together is labelled here.
        """
        content = Content.of(parts)
        look = Examination(scope, self._budget(content, SCREENING_WORK), hits=content.hits)
        seen = content.leaves_within(look.budget)
        return Screening(tuple(self._labels(seen, history, look)))

    def trace(
        self, parts: Sequence[Part], scope: Scope = NO_SCOPE
    ) -> tuple[Screening, Sequence[tuple[DecodedText, Finding]]]:
        """As `screen`, and every finding in the text in which it was found."""
        look = Examination(scope, self._budget(parts, SCREENING_WORK))
        look.trace = []
        return Screening(tuple(self._labels(leaves(parts, look.budget), (), look))), look.trace

    def _budget(self, parts: Sequence[Part], most: float) -> Budget:
        return Budget(
            per_leaf=self._per_leaf,
            per_message=self._per_message,
            work=LEAST_WORK,
            more=more_work(parts, most, modelled=self._entities is not None),
        )

    def _labels(
        self, seen: Sequence[Leaf], history: Sequence[str], look: Examination
    ) -> list[Label]:
        labels: list[Label] = []
        self._sort_out(seen, look)
        self._ask_model(seen, look)
        for leaf in seen:
            if leaf.verdict:
                labels.append(_whole(leaf, leaf.verdict, "structure"))
            elif self._may_hold(leaf, look):
                if look.budget.exhausted:
                    break
                labels += self._look(leaf, look)
            if not leaf.verdict and is_file_url(leaf.path) and (why := danger_of(leaf.text)):
                labels.append(replace(_whole(leaf, UNSAFE_URL, "destination"), reason=why))
        if not look.budget.exhausted and (len(seen) > 1 or history or look.announced):
            labels += self._look_across(seen, earlier(history), labels, look)
        if look.budget.exhausted:
            labels += _withheld(seen, labels)
        return labels

    def _may_hold(self, leaf: Leaf, look: Examination) -> bool:
        """Whether a string is long enough, and a number has digits enough; or its key announces it."""
        if len(leaf.text) >= _SHORTEST_FINDING and not is_figure(leaf, scoped=look.scoped):
            return True
        return bool(leaf.context and leaf.text) and self._announces(leaf.context, look)

    def _sort_out(self, seen: Sequence[Leaf], look: Examination) -> None:
        """Find out for many short strings at once what they cannot hold."""
        if len(seen) < _SORTED_OUT:
            return
        short = {
            leaf.text: None
            for leaf in seen
            if _SHORTEST_FINDING <= len(leaf.text) <= _SHORT_CHARS
            and not leaf.verdict
            and leaf.text.isascii()
            and leaf.text.isprintable()
            and (leaf.text, leaf.context) not in look.clean
        }
        if len(short) < _SORTED_OUT:
            return
        for block in groups(list(short), _SORTED_OUT):
            if look.budget.exhausted:
                return
            may_hit = self._prefilter.may_hit(block)
            look.sets.update(dict.fromkeys(block, may_hit))

    def _ask_model(self, seen: Sequence[Leaf], look: Examination) -> None:
        """Have the entity recogniser read the prose of a message, all of it in one call."""
        if self._entities is None:
            return
        prose = {
            leaf.text: normalise(leaf.text)
            for leaf in seen
            if " " in leaf.text and not (leaf.verdict or (leaf.text, leaf.context) in look.clean)
        }
        texts = [read.text for read in prose.values()]
        look.budget.charge(model_work(texts) if texts else 0)
        if not texts or look.budget.exhausted:
            return
        for (text, read), spans in zip(prose.items(), self._entities.persons(texts), strict=True):
            if spans:
                look.names[text] = [read.span(start, end) for start, end in spans]

    def _names(self, leaf: Leaf, look: Examination, found: Sequence[Finding]) -> Iterator[Finding]:
        """What the entity recogniser takes for names and no rule has found, nor a replacement left."""
        assert self._entities is not None
        taken = [(finding.start, finding.end) for finding in found if finding.type not in SIGNS]
        taken += [match.span() for match in PLACEHOLDER.finditer(leaf.text)]
        detector = f"{_MODEL}{self._entities.name}"
        for start, end in rest_of(look.names[leaf.text], taken):
            name = _NAME.search(leaf.text, start, end)
            # Models take figures, code and common words for names
            if name is not None and is_name_value(name[0]):
                at = name.start(), _word_end(leaf.text, name.end())
                yield Finding(PERSON_NAME, *at, _POSSIBLE, detector, _BY_MODEL)

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
        string gives way, and at last the whole message.

        Args:
            parts: What was screened; not changed.
            screening: What was found.
            scope: With what it was screened.
            replacer: Makes a span's replacement from label type and original; None: `[type]`.
        """
        types = screening.types
        labels = screening.labels
        result = tuple(parts)
        if not labels:
            return result
        look = Examination(scope, self._budget(parts, REDACTION_WORK))
        self._know(leaves(parts, look.budget), labels, look)
        look.budget.charge(len(labels) * _REPLACED_WORK)
        if look.budget.exhausted or any(len(label.path) == 1 for label in labels):
            return _WITHHELD  # nobody knows all of what is to be replaced
        look.redacted = True
        # No recogniser reads a pseudonym: plain placeholders are the same, and cheap
        plain = replace_spans(result, labels)
        if not self._left(plain, types, look):
            return plain if replacer is None else replace_spans(result, labels, replacer=replacer)
        for whole_strings in _REDACTION_ROUNDS:
            made = None if whole_strings else replacer
            result = replace_spans(result, labels, whole_strings=whole_strings, replacer=made)
            labels = self._left(result, types, look)
            if look.budget.exhausted:
                break
            if not labels:
                return result
        return _WITHHELD

    def _left(
        self, parts: Sequence[Part], types: frozenset[str], look: Examination
    ) -> tuple[Label, ...]:
        """What is still found of some types; anything at all if the budget ends."""
        seen = leaves(parts, look.budget)
        found = self._labels(seen, (), look)
        if not look.budget.exhausted:
            self._know(seen, found, look)
            found = [label for label in found if label.type in types]
        return tuple(found)

    def _know(self, seen: Sequence[Leaf], labels: Sequence[Label], look: Examination) -> None:
        """Remember which strings, and which of them together, hold nothing."""
        labelled = {label.path for label in labels}
        clean = [leaf for leaf in seen if leaf.path not in labelled]
        look.clean.update((leaf.text, leaf.context) for leaf in clean)
        look.clean.update(
            _chain_key(chain)
            for chain in _chains(seen, ())
            if labelled.isdisjoint([leaf.path for leaf in chain.leaves])
        )

    def _look(self, leaf: Leaf, look: Examination) -> list[Label]:
        key = (leaf.text, leaf.context)
        if key in look.clean:
            return []
        if key not in look.known:
            look.known[key] = self._examined(leaf, look)
        findings, all_of_it = look.known[key]
        look.budget.charge(len(findings) * _LABEL_WORK)
        labels = [_label(leaf, finding) for finding in findings]
        if not all_of_it:
            labels.append(_whole(leaf, SCREENING_LIMIT, "budget"))
        if len(labels) > 1:
            labels.sort(key=lambda label: (label.start, label.end))
        return labels

    def _examined(self, leaf: Leaf, look: Examination) -> tuple[Sequence[Finding], bool]:
        """What a string holds, and whether that is all that it may hold."""
        findings: list[Finding] = []
        look.budget.next_leaf()
        try:
            whole = not look.redacted or len(leaf.text) <= LONG
            for finding in (
                self._find(leaf.text, leaf.context, look) if whole else self._found(leaf, look)
            ):
                findings.append(finding)  # noqa: PERF402 - kept if the budget ends
            if findings:
                look.budget.work(len(findings) * _SPREAD_WORK)
                known = Spans(findings)
                findings += [
                    finding
                    for finding in spread(leaf.text, findings)
                    if not known.cover(finding) and known.add(finding)
                ]
            if leaf.text in look.names:
                findings += list(self._names(leaf, look, findings))
        except LimitReached:
            return findings, False
        return findings, True

    def _found(self, leaf: Leaf, look: Examination) -> Iterator[Finding]:
        """Findings in a long string of which all but what is around a replacement was examined before."""
        cut = excerpts(leaf.text, (match.span() for match in PLACEHOLDER.finditer(leaf.text)))
        for finding in self._find(cut.text or leaf.text, leaf.context, look):
            start, end = cut.span(finding.start, finding.end)
            yield replace(finding, start=start, end=end)

    def _find(
        self, text: str, context: str, look: Examination, kinds: frozenset[str] = frozenset()
    ) -> Iterator[Finding]:
        """Findings in a string as it is seen, then those that decoders add.

        Args:
            text: The string.
            context: The key above it.
            look: What the looks share.
            kinds: The labels that count; empty: all.

        Raises:
            LimitReached: the budget ends, or something is encoded once more than is looked
                through; what the texts above it hold is told before.
        """
        known = Spans()
        too_deep = told = False
        texts = first_texts(text, look.budget, kinds)
        read: set[tuple[str, frozenset[str]]] = set()
        only = look.sets.get(text)
        for decoded in texts:  # grows while it is walked
            look.budget.work(look.price(decoded.text))
            hits, decoders = self._hits(decoded, only, look)
            only = None
            if asked := self._asked(hits, decoded, context, look):
                for finding in self._ask(asked, decoded, context, look):
                    if not decoded.names or not known.cover(finding):
                        known.add(finding)
                        told = told or finding.end - finding.start >= len(text)
                        yield finding
            for finding in () if told else self._under_key(decoded, context, look):
                if not known.cover(finding):
                    known.add(finding)
                    yield finding
            for hit in decoders:
                if hit == len(DECODERS):
                    look.announced = True
                else:
                    for deeper in decoded.through(DECODERS[hit], look.budget):
                        if deeper.is_too_deep:
                            too_deep = too_deep or deeper.is_encoded
                        elif (deeper.text, deeper.kinds) not in read:
                            read.add((deeper.text, deeper.kinds))
                            texts.append(deeper)
        if too_deep:
            raise LimitReached

    def _under_key(
        self, decoded: DecodedText, context: str, look: Examination
    ) -> Iterator[Finding]:
        """Findings in a value whose key announces it, as it would in prose: `key: value`."""
        if not context or decoded.kinds or len(decoded.text) > _FIELD_CHARS:
            return
        if not self._announces(context, look):
            return
        read = decoded.behind(words_of(context))
        look.budget.work(look.price(read.text))
        hits, _ = self._hits(read, None, look)
        yield from self._ask(self._asked(hits, read, "", look), read, "", look)

    def _announces(self, context: str, look: Examination) -> bool:
        """Whether a recogniser that reads context knows a word of the keys above a value."""
        announced = look.fields.get(context)
        if announced is None:
            look.budget.charge(_FIELD_WORK)
            hits = self._prefilter.hits(f"{words_of(context)}: {_ANY_VALUE}")
            announced = any(hit in self._of_context and hit not in self._of_any for hit in hits)
            look.fields[context] = announced
        return announced

    def _hits(
        self, decoded: DecodedText, only: frozenset[int] | None, look: Examination
    ) -> tuple[Sequence[int], Sequence[int]]:
        """Which prefilter patterns occur: of recognisers, and of decoders and announced pieces."""
        hits, count = (
            self._prefilter.hits(decoded.text, decoded.kinds, only),
            self._recogniser_count,
        )
        decoders: Sequence[int] = ()
        if hits and hits[-1] >= count:
            first = bisect_left(hits, count)
            hits, decoders = hits[:first], [hit - count for hit in hits[first:]]
        if only is None and len(look.hits) < _MOST_REMEMBERED:
            look.hits[decoded.text] = decoders
        return hits, decoders

    @staticmethod
    def _ask(
        asked: Sequence[Recogniser], decoded: DecodedText, context: str, look: Examination
    ) -> Iterator[Finding]:
        # Encoded, or cut in pieces that are read as one: what is hidden is no count
        hidden = decoded.is_encoded if decoded.names else PAYMENT_CARD in decoded.kinds
        if hidden and is_rare_card(decoded.text):
            context = f"{context} card"
        for find in asked:
            look.budget.work(_RECOGNISER_WORK + len(decoded.text) * _RECOGNISER_CHAR_WORK)
            for found in find(decoded.text, context, look.budget):
                if decoded.kinds and found.type not in decoded.kinds:
                    continue
                if decoded.led:
                    if found.end <= decoded.led:
                        continue
                    found = replace(found, start=max(found.start, decoded.led))  # noqa: PLW2901
                if found.type not in _AS_FOUND:
                    end = _word_end(decoded.text, found.end)
                    found = found if end == found.end else replace(found, end=end)  # noqa: PLW2901
                if look.trace is not None:
                    look.trace.append((decoded, found))
                if not decoded.steps and not decoded.names:
                    yield found
                    continue
                start, end = decoded.span(found.start, found.end)
                yield replace(found, start=start, end=end, reason=found.reason or decoded.reason)

    def _asked(
        self, hits: Sequence[int], decoded: DecodedText, context: str, look: Examination
    ) -> list[Recogniser]:
        asked = []
        for hit in hits:
            recogniser, kinds = self._recognisers[hit]
            if recogniser is find_under_key and not context:
                continue
            if not decoded.kinds or not kinds.isdisjoint(decoded.kinds):
                asked.append(recogniser)
        if decoded.text and look.scoped:
            asked += declared_in(decoded.text, look.scope)
        return asked

    def _look_across(
        self,
        seen: Sequence[Leaf],
        before: Sequence[Leaf],
        labels: Sequence[Label],
        look: Examination,
    ) -> list[Label]:
        """What only shows when neighbouring strings, or earlier ones, are read together."""
        found: list[Label] = []
        known: dict[Path, list[Label]] = {}
        for label in labels:
            known.setdefault(label.path, []).append(label)
        # What is labelled as a whole needs no second look.
        if withheld := {label.path for label in labels if label.type == SCREENING_LIMIT}:
            seen = [
                replace(leaf, verdict=SCREENING_LIMIT) if leaf.path in withheld else leaf
                for leaf in seen
            ]

        def add(across: Sequence[Label]) -> None:
            here = [label for label in across if not is_earlier(label.path)]
            look.budget.work(sum(len(known.get(label.path, ())) for label in here) * _SAME_WORK)
            fresh = [label for label in across if not _same(label, known.get(label.path, ()))]
            # Of an address whose beginning is known the rest counts; of digits it would be chance.
            if len(fresh) < len(across) and across[0].type != POSTAL_ADDRESS:
                return
            for label in fresh:
                if not is_earlier(label.path):
                    found.append(label)
                    known.setdefault(label.path, []).append(label)

        # A value that ends with an earlier message is none of this one's.
        for leaf in before:
            known[leaf.path] = []
        chains = [chain for chain in _chains(seen, before) if _chain_key(chain) not in look.clean]
        if before and chains:
            for leaf in before:
                known[leaf.path] = self._look(leaf, look)
        for chain in chains:
            look.budget.next_leaf()
            look.budget.charge(len(chain.leaves) * _CHAINED_WORK)
            try:
                for finding in self._find(chain.text, chain.context, look, chain.kinds):
                    add(chain.labels(finding))
            except LimitReached:
                if look.budget.exhausted:
                    return found
                found += [
                    label for label in chain.whole(SCREENING_LIMIT) if not is_earlier(label.path)
                ]
        look.budget.next_leaf()
        with suppress(LimitReached):  # what is exhausted is labelled as a whole
            for across in split_cards(before, seen, look.budget):
                add(across)
        return found


def _word_end(text: str, end: int) -> int:
    """Where the word or number ends in which a span does: its tail is part of the value."""
    tail = _TAIL.match(text, end) if end < len(text) and text[end - 1].isalnum() else None
    return end if tail is None else tail.end()


def _chains(seen: Sequence[Leaf], before: Sequence[Leaf]) -> Iterator[Chain]:
    """Strings that are read together."""
    yield from text_chains([*before, *seen])
    yield from digit_chains([*before, *seen])
    yield from token_chains(before, seen)
    yield from sibling_chains(seen)


def _chain_key(chain: Chain) -> tuple[Any, ...]:
    return chain.text, chain.context, chain.starts, chain.kinds


def _withheld(seen: Sequence[Leaf], labels: Sequence[Label]) -> list[Label]:
    """Labels for all of a message that could not be examined as a whole.

    Of very many strings none is named, but the part in which they stand.
    """
    if len(seen) > _MOST_WITHHELD:
        parts = dict.fromkeys(leaf.path[:1] for leaf in seen)
        return [Label(SCREENING_LIMIT, path, 0, 0, 1.0, "budget") for path in parts]
    known = {label.path for label in labels if label.type == SCREENING_LIMIT}
    return [
        _whole(leaf, SCREENING_LIMIT, "budget")
        for leaf in seen
        if leaf.path not in known and (leaf.text or leaf.verdict)
    ]


def _same(label: Label, known: Sequence[Label]) -> bool:
    return any(
        other.type == label.type and other.start < label.end and label.start < other.end
        for other in known
    )


def _label(leaf: Leaf, found: Finding) -> Label:
    how = found.confidence, found.detector, found.reason
    return Label(found.type, leaf.path, found.start, found.end, *how)


def _whole(leaf: Leaf, kind: str, detector: str) -> Label:
    return Label(kind, leaf.path, 0, len(leaf.text), 1.0, detector)
