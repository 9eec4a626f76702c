"""Extend labels to neighbouring values of the same record.

A text that ties one medical term to a person ties the others of the same record to that person, too:
half a diagnosis that is left tells all of it. A full name right before an address is whose it is, and
what is earned or owed right behind a name is that person's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mc_platform.model.label import Label
from mc_platform.screen.detectors.person_names import read_full_name
from mc_platform.screen.findings import (
    FINANCIAL,
    HEALTH,
    PERSON_NAME,
    POSTAL_ADDRESS,
    Finding,
)
from mc_platform.screen.rules import rule_file

_NEAR_CHARS = 200
_TERM = rule_file("health").re2("beside")
_SUM = rule_file("financial").re2("beside-name")
_SUM_CHARS = 90
_BEFORE_CHARS = 60
_LINE_START = re.compile(r"(?:\A|[\n;|:=>])[ \t\"']*")


def spread(text: str, found: Sequence[Finding | Label]) -> Iterator[Finding]:
    """Further findings in a string of which some are known; what is near several is read once."""
    for begin, end in _near([one for one in found if one.type == HEALTH], len(text)):
        yield from _terms(text, begin, end)
    for one in found:
        if one.type == POSTAL_ADDRESS:
            yield from _whose(text, one.start)
        elif one.type == PERSON_NAME:
            yield from _owned(text, one.end)


def _near(labels: Sequence[Finding | Label], length: int) -> Iterator[tuple[int, int]]:
    """The stretches of text around labels, put together where they touch."""
    begin = end = -1
    for label in sorted(labels, key=lambda each: each.start):
        if end < 0 or label.start - _NEAR_CHARS > end:
            if end >= 0:
                yield begin, end
            begin = max(0, label.start - _NEAR_CHARS)
        end = min(length, max(end, label.end + _NEAR_CHARS))
    if end >= 0:
        yield begin, end


def _terms(text: str, begin: int, end: int) -> Iterator[Finding]:
    # A slice, for re2 would encode the whole string each time
    for match in _TERM.finditer(text[begin:end]):
        start, stop = begin + match.start(), begin + match.end()
        if match.start() == 0 and begin and text[begin - 1].isalnum():
            continue  # the end of a word
        reason = "It stands beside a medical term that is tied to one person."
        yield Finding(HEALTH, start, stop, 0.8, "context.health-beside", reason)


def _owned(text: str, end: int) -> Iterator[Finding]:
    """A sum in the field that follows a name: `Ann Lee, salary: 40,000 EUR`."""
    match = _SUM.match(text[end : end + _SUM_CHARS])
    if match is not None:
        start, stop = (end + at for at in match.span(_SUM.groupindex["value"]))
        reason = "It is a sum beside the name of a person."
        yield Finding(FINANCIAL, start, stop, 0.8, "context.wealth-beside", reason)


def _whose(text: str, start: int) -> Iterator[Finding]:
    """A full name that fills what is before an address, from a line's or a field's beginning."""
    before = text[max(0, start - _BEFORE_CHARS) : start].rstrip(" ,\n\t")
    offset = max(0, start - _BEFORE_CHARS)
    for line in _LINE_START.finditer(before):
        at = line.end()
        if before[at : at + 1].isupper():
            span = read_full_name(text, offset + at)
            if span is not None and span[1] >= offset + len(before) - 1:
                reason = "It stands before an address."
                yield Finding(PERSON_NAME, span[0], span[1], 0.8, "context.name-address", reason)
                return
