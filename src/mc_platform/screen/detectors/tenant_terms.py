"""What a tenant itself declares: its customer ids, its dictionary, and other tenants' ids."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

import re2

from mc_platform.errors import Misconfigured
from mc_platform.model.customer_ids import CustomerIds, remember
from mc_platform.model.label import Scope
from mc_platform.screen.detectors.recogniser import Recogniser
from mc_platform.screen.findings import (
    CROSS_TENANT_ID,
    CUSTOMER_ID,
    TENANT_TERM,
    Budget,
    Finding,
)
from mc_platform.screen.prefilter import ManyPatterns
from mc_platform.screen.rules import why_no_re2

PATTERN_MAX_CHARS = 512
_PATTERN_MEMORY_BYTES = 1 << 20
_REASONS = {
    CUSTOMER_ID: "It has the form that the tenant declares for its customer ids.",
    CROSS_TENANT_ID: "It has the form of another tenant's customer ids.",
    TENANT_TERM: "The tenant's dictionary declares this term confidential.",
}
_WORD_SPLIT = re.compile(r"[\s\-_.]+")
_TERM_GAP = r"[\s\-_.]{0,3}"
_SEPARATORS = b" \t\n\v\f\r-_."
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_SKELETON_CHARS = 4096
_VARIANTS: dict[str, str] = {}
for _code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):
    _plain = unicodedata.normalize("NFD", chr(_code))[0].lower()
    if _plain.isascii() and _plain.isalpha() and chr(_code).isalpha():
        _VARIANTS[_plain] = _VARIANTS.get(_plain, "") + chr(_code)


def check_patterns(patterns: Sequence[str]) -> list[str]:
    """Each pattern's problem, in a sentence that names it; empty: all can be used.

    A pattern must be RE2, short, small when compiled, and must not match the empty string:
    it would label every text.
    """
    problems = []
    for pattern in patterns:
        problem = _problem(pattern)
        if problem:
            problems.append(f"pattern {pattern[:60]!r} {problem}")
    return problems


def _problem(pattern: str) -> str:
    if not pattern or len(pattern) > PATTERN_MAX_CHARS:
        return f"has {len(pattern)} characters; between 1 and {PATTERN_MAX_CHARS} can be used"
    try:
        compiled = re2.compile(pattern, _options())
    except re2.error as error:
        return why_no_re2(error)
    if compiled.search("") is not None:
        return "matches the empty string; let it demand at least one character"
    return ""


def _options() -> re2.Options:
    options = re2.Options()
    options.max_mem = _PATTERN_MEMORY_BYTES
    options.log_errors = False
    return options


def know_customer_ids(patterns: Sequence[str]) -> None:
    """Compile a catalogue's customer ids before the first message; in a worker, know them at all.

    Raises:
        Misconfigured: a pattern is no RE2.
    """
    _catalogue(remember(patterns))


def declared_in(text: str, scope: Scope) -> Iterator[Recogniser]:
    """The recognisers of what a scope declares, as far as a text may have something for them.

    One automaton of all tenants' customer ids is asked; whether a pattern is the tenant's own is decided
    when it hits. So a message costs the same whatever the number of tenants, and in whatever order they
    send.

    Raises:
        Misconfigured: a pattern cannot be used; the message names it.
    """
    catalogue, known = _catalogue(scope.all_ids)
    hits = catalogue.hits(text.encode())
    for pattern in scope.customer_ids:
        if pattern in hits:
            yield _customer_id(CUSTOMER_ID, pattern)
        elif pattern not in known:  # of no catalogue
            if problems := check_patterns([pattern]):
                raise _unusable(problems)
            yield _customer_id(CUSTOMER_ID, pattern)
    for pattern in hits:
        if pattern not in scope.customer_ids:
            yield _customer_id(CROSS_TENANT_ID, pattern)
    if scope.dictionary and _may_hold(text, _skeletons(scope.dictionary)):
        yield _terms(scope.dictionary)


@lru_cache(maxsize=8)
def _catalogue(ids: CustomerIds) -> tuple[ManyPatterns, frozenset[str]]:
    try:
        return ManyPatterns(ids.patterns), frozenset(ids.patterns)
    except re2.error:
        raise _unusable(check_patterns(ids.patterns)) from None


@lru_cache(maxsize=1024)
def _customer_id(kind: str, pattern: str) -> Recogniser:
    return _declared(kind, kind, re2.compile(pattern, _options()))


def _unusable(problems: Sequence[str]) -> Misconfigured:
    return Misconfigured(
        "; ".join(problems), hint="mend the tenant's customer_ids in the catalogue"
    )


@lru_cache(maxsize=256)
def _terms(dictionary: tuple[str, ...]) -> Recogniser:
    """A recogniser of a tenant's words; hundreds of microseconds to compile."""
    terms = [term for term in map(_term_pattern, dictionary) if term]
    shape = "(?i)(?:" + "|".join(terms) + ")"
    return _declared(TENANT_TERM, "dictionary", re2.compile(shape))


@lru_cache(maxsize=16_384)
def _skeletons(dictionary: tuple[str, ...]) -> tuple[bytes, ...]:
    """Of each term what every spelling of it has: letters without case, marks and separators."""
    # Word by word, as its pattern is made: some separators, such as U+2028, are none in a text
    words = [_words_of(term) for term in dictionary]
    return tuple([_skeleton("".join(map(_plain_word, of_term))) for of_term in words if of_term])


def _may_hold(text: str, skeletons: Sequence[bytes]) -> bool:
    """Whether one of the terms may occur: a look that costs less than to compile them."""
    if not skeletons:
        return False
    if len(text) > _SKELETON_CHARS and not text.isascii():
        return True
    skeleton = _skeleton(text)
    return any(term in skeleton for term in skeletons)


def _skeleton(text: str) -> bytes:
    plain = text if text.isascii() else _NOT_ASCII.sub(lambda match: _bare(match[0]), text)
    return plain.encode().translate(None, _SEPARATORS).lower()


@lru_cache(maxsize=4096)
def _bare(char: str) -> str:
    return unicodedata.normalize("NFD", char)[0].casefold()


def _declared(kind: str, detector: str, pattern: re2._Regexp) -> Recogniser:
    def find(text: str, _: str, budget: Budget) -> Iterator[Finding]:
        for match in pattern.finditer(text):
            start, end = match.span()
            if start < end and _stands_alone(text, start, end):
                budget.spend()
                yield Finding(kind, start, end, 0.95, f"declared.{detector}", _REASONS[kind])

    return find


def _stands_alone(text: str, start: int, end: int) -> bool:
    # Where a span's edge is no letter or digit, the pattern itself says where it ends.
    before = start > 0 and text[start].isalnum() and text[start - 1].isalnum()
    after = end < len(text) and text[end - 1].isalnum() and text[end].isalnum()
    return not before and not after


def _term_pattern(term: str) -> str:
    """A term in any case, with any diacritics, its words with any usual separator or none."""
    return _TERM_GAP.join(map(_word_pattern, _words_of(term)))


def _words_of(term: str) -> list[str]:
    return [word for word in _WORD_SPLIT.split(term.strip()) if word]


def _word_pattern(word: str) -> str:
    return "".join(map(_char_pattern, _plain_word(word)))


def _plain_word(word: str) -> str:
    # Texts come without combining marks, so that none is asked for.
    folded = unicodedata.normalize("NFKC", word).lower()
    if folded.isascii():
        return folded
    return "".join([char for char in folded if unicodedata.combining(char) == 0])


def _char_pattern(char: str) -> str:
    plain = unicodedata.normalize("NFD", char)[0]
    variants = _VARIANTS.get(plain, "")
    # A mark that stands by itself follows its letter; both notations are the same word.
    return f"[{plain}{variants}]" if variants else re2.escape(char)
