"""Postal addresses: a street with a number, and a postcode or context words that say that somebody lives there.

Organisations' addresses are public: licences and imprints hold them. An address counts where a
context word says whose it is, or where it is whole and no organisation stands beside it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import re2

from mc_platform.screen.detectors.recogniser import Prefiltered, in_record, recognisers
from mc_platform.screen.findings import POSTAL_ADDRESS, Budget, Finding
from mc_platform.screen.rules import Street, compiled, rule_file

_RULES = rule_file("postal_addresses")
_POSTCODE = _RULES.re2("postcode")
_BEFORE_CHARS, _BEHIND_CHARS = 90, 80
_OWNER = _RULES.re2("owner")
_PUBLIC = _RULES.re2("public")
_STOP, _MACHINE, _EVIDENCE = map(_RULES.re2, ("stop", "machine", "evidence"))
_CLAUSE_CHARS = 130


def _find_addresses(form: re2._Regexp, text: str, budget: Budget) -> Iterator[Finding]:
    group = form.groupindex.get("value", 0)
    for match in form.finditer(text):
        budget.spend()
        start, end = match.span(group)
        before = text[max(0, start - _BEFORE_CHARS) : start]
        tail = _POSTCODE.search(text[end : end + 90])
        owned = _OWNER.search(before) is not None
        public = _PUBLIC.search(before + "\n" + text[end : end + _BEHIND_CHARS]) is not None
        whole = tail is not None
        if not (owned or in_record(text, start, end) or (whole and not public)):
            continue
        if public and not owned:
            continue
        if not whole and not owned and not in_record(text, start, end, chars=90):
            continue
        stop = end + len(tail.group()) if tail is not None else end
        yield Finding(
            POSTAL_ADDRESS,
            start,
            stop,
            0.85 if whole else 0.8,
            "context.address",
            "A street with its number, and a postcode or context words that a person is to be found there.",
        )


_CAPITAL = compiled(r"[A-ZÀ-Þ][a-zà-ž'’]{2}")
_DIGIT = re.compile("[0-9]")


def _capital_and_digit(text: str, start: int, end: int) -> bool:
    value = text[start:end]
    return _CAPITAL.search(value) is not None and _DIGIT.search(value) is not None


def read_address(text: str, at: int) -> tuple[int, int] | None:
    """What stands from a place on, up to where an address within a sentence ends; it has a digit."""
    if _DIGIT.search(text, at, at + _CLAUSE_CHARS) is None:
        return None
    clause = text[at : at + _CLAUSE_CHARS]
    stop = _STOP.search(clause)
    end = len(clause) if stop is None else stop.start()
    if stop is not None and stop.group() == ":":  # the name of the next line's field
        end = max(clause.rfind("\n", 0, end), 0)
    value = clause[:end].rstrip(" \n\t,.>")
    return (at, at + len(value)) if value else None


def _placed(text: str, start: int, end: int) -> bool:
    """Whether it has a number and a word, and is no host, amount or the like."""
    value = text[start:end]
    return (
        _DIGIT.search(value) is not None
        and _HAS_LETTERS.search(value) is not None
        and _MACHINE.search(value) is None
    )


def _evident(text: str, start: int, end: int) -> bool:
    """As `_placed`, and something in it is of an address and seldom of other text."""
    return _placed(text, start, end) and _EVIDENCE.search(text[start:end]) is not None


def _street(row: Street) -> Prefiltered:
    form = compiled(_RULES.expand(row.pattern))
    return _RULES.expand(row.prefilter), lambda text, _, budget: _find_addresses(form, text, budget)


RECOGNISERS: tuple[Prefiltered, ...] = (
    *map(_street, _RULES.table.street),  # the surer ones first: of joined strings the first counts
    *recognisers(
        _RULES,
        {"capital-and-digit": _capital_and_digit, "evident": _evident, "placed": _placed},
        {"read-address": read_address},
    ),
)

KEYS = _RULES.words("address-keys")
_VALUE = compiled(r"\A[^@{}<>=\[\]\n]{0,120}\z")
_HAS_LETTERS = compiled(r"\pL{3}|\p{Han}{2}")
_HAS_NUMBER = compiled(r"(?:\A|[\s,./#-])\d{1,5}[A-Za-z]?(?:[\s,./-]|\z)")


def is_value(text: str) -> bool:
    """Whether what stands under a key for addresses may be one: words and a number, no host."""
    return (
        _VALUE.match(text) is not None
        and _HAS_LETTERS.search(text) is not None
        and _HAS_NUMBER.search(text) is not None
        and "://" not in text
    )
