"""What a tenant itself declares: its customer ids, its dictionary, and other tenants' ids."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

import re2

from mc_platform.errors import Misconfigured
from mc_platform.model.label import Scope
from mc_platform.screen.detectors.recogniser import Prefiltered, Recogniser
from mc_platform.screen.findings import (
    CROSS_TENANT_ID,
    CUSTOMER_ID,
    TENANT_TERM,
    Budget,
    Finding,
)
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


@lru_cache(maxsize=256)
def scope_recognisers(scope: Scope) -> tuple[Prefiltered, ...]:
    """Recognisers for what a scope declares; the same scope is compiled once.

    Raises:
        Misconfigured: a pattern cannot be used; the message names it.
    """
    problems = check_patterns((*scope.customer_ids, *scope.foreign_ids))
    if problems:
        raise Misconfigured(
            "; ".join(problems), hint="mend the tenant's customer_ids in the catalogue"
        )
    recognisers = [
        (pattern, _declared(kind, kind, re2.compile(pattern, _options())))
        for kind, declared in (
            (CUSTOMER_ID, scope.customer_ids),
            (CROSS_TENANT_ID, scope.foreign_ids),
        )
        for pattern in declared
    ]
    terms = [term for term in map(_term_pattern, scope.dictionary) if term]
    if terms:
        shape = "(?i)(?:" + "|".join(terms) + ")"
        recognisers.append((shape, _declared(TENANT_TERM, "dictionary", re2.compile(shape))))
    return tuple(recognisers)


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
    words = [_word_pattern(word) for word in _WORD_SPLIT.split(term.strip()) if word]
    return _TERM_GAP.join(words)


def _word_pattern(word: str) -> str:
    # Texts come without combining marks, so that none is asked for.
    folded = unicodedata.normalize("NFKC", word).lower()
    kept = (char for char in folded if unicodedata.combining(char) == 0)
    return "".join(_char_pattern(char) for char in kept)


def _char_pattern(char: str) -> str:
    plain = unicodedata.normalize("NFD", char)[0]
    variants = _VARIANTS.get(plain, "")
    # A mark that stands by itself follows its letter; both notations are the same word.
    return f"[{plain}{variants}]" if variants else re2.escape(char)
