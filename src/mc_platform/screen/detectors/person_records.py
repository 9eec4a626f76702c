"""Records of persons in a notation of their own: vCards, tables with a header, elements.

The name of a column, a property or an element says what stands in it, as a key of `data` does. A
name that anything may have (`name`) counts where the others are a person's.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator, Sequence

import re2

from mc_platform.screen.detectors.field_names import VALID, kind_of
from mc_platform.screen.detectors.person_names import is_name_value
from mc_platform.screen.detectors.recogniser import Prefiltered
from mc_platform.screen.findings import (
    DATE_OF_BIRTH,
    HEALTH,
    PERSON_NAME,
    POSTAL_ADDRESS,
    Budget,
    Finding,
)
from mc_platform.screen.rules import rule_file, squash

_RULES = rule_file("person_records")
_DETECTOR = "context.record"
_REASON = "The record in which it stands says what it is."
_CONFIDENCE = 0.85

_CARD_PREFILTER = r"(?i)BEGIN:VCARD"
_PROPERTY = re2.compile(
    r"(?im)^(?:item\d{1,2}\.)?(?P<name>FN|N|ADR|BDAY|NICKNAME)(?:;[^:\n]{0,80})?:(?P<value>[^\n\r]{2,200})"
)
_PROPERTIES = {
    "fn": PERSON_NAME,
    "n": PERSON_NAME,
    "nickname": PERSON_NAME,
    "adr": POSTAL_ADDRESS,
    "bday": DATE_OF_BIRTH,
}
_LETTER_OR_DIGIT = re.compile(r"[^\W_]")

_TABLE_PREFILTER = _RULES.pattern("table-shape")
_HEADER = re2.compile(
    r"(?m)^[ ]?\|?[ ]?[\"']?[A-Za-zÀ-ž][\w .\-]{0,31}[\"']?(?:[ ]?[,;|\t][ ]?[\"']?[A-Za-zÀ-ž][\w .\-]{0,31}[\"']?)+[ ]?\|?\r?\n"
)
_RULE = re.compile(r"[|\-: +]+\Z")
_ROWS, _HEADERS, _LINE_CHARS = 200, 20, 1000
_NAMES = _RULES.words("names")
_STREETS = _RULES.words("streets")
_TRIMMED = " \"'|\r"

_ELEMENT = re2.compile(r"<([A-Za-z][\w.:\-]{1,40})(?:[ ][^<>]{0,80})?>([^<>]{2,200})</")
_ELEMENT_PREFILTER = _RULES.pattern("element-shape")
_PERSON_ELEMENT = _RULES.re2("person-element")
_ELEMENT_WINDOW = 400
_OF_ANYBODY = _RULES.words("of-anybody")


def _cell(kind: str, start: int, end: int) -> Finding:
    return Finding(kind, start, end, _CONFIDENCE, _DETECTOR, _REASON)


def _vcards(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    for match in _PROPERTY.finditer(text):
        budget.spend()
        start, end = match.span(2)
        kind = _PROPERTIES[match.group(1).lower()]
        value = text[start:end]
        shown = _LETTER_OR_DIGIT.search(value)
        if shown is None or (kind == DATE_OF_BIRTH and not any(map(str.isdigit, value))):
            continue
        yield _cell(kind, start + shown.start(), start + len(value.rstrip("; \t")))


def _tables(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    done = 0
    for tried, header in enumerate(_HEADER.finditer(text)):
        if tried == _HEADERS:
            return
        if header.start() < done:
            continue
        budget.spend()
        line = header[0]
        mark = max(",;|\t", key=line.count)
        columns = line.rstrip("\r\n").split(mark)
        kinds = _kinds([squash(column) for column in columns])
        if any(kinds):
            done = yield from _rows(text, header.end(), mark, kinds, budget)


def _kinds(columns: Sequence[str]) -> list[tuple[str, str] | None]:
    """What stands in each column; none if the table is not of persons."""
    known = [kind_of(column) if column else None for column in columns]
    shown = {kind for kind, _ in filter(None, known)}
    named = any(column in _NAMES for column in columns) or PERSON_NAME in shown
    personal = bool(shown & {DATE_OF_BIRTH, HEALTH}) or not _STREETS.isdisjoint(columns)
    if not named or not (personal or PERSON_NAME in shown):
        return []
    return [
        (PERSON_NAME, column) if column in _NAMES and personal else kind
        for column, kind in zip(columns, known, strict=True)
    ]


def _rows(
    text: str, at: int, mark: str, kinds: Sequence[tuple[str, str] | None], budget: Budget
) -> Generator[Finding, None, int]:
    for _ in range(_ROWS):
        stop = text.find("\n", at, at + _LINE_CHARS)
        stop = min(len(text), at + _LINE_CHARS) if stop < 0 else stop
        line = text[at:stop]
        cells = line.split(mark)
        if len(cells) != len(kinds):
            return at
        budget.spend()
        place = at
        for cell, kind in zip(cells, kinds, strict=True):
            value = cell.strip(_TRIMMED)
            if (
                kind is not None
                and len(value) > 1
                and _RULE.match(line) is None
                and _may_be(kind, value)
            ):
                start = place + cell.index(value)
                yield _cell(kind[0], start, start + len(value))
            place += len(cell) + 1
        at = stop + 1
    return at


def _may_be(kind: tuple[str, str], value: str) -> bool:
    if kind[0] == PERSON_NAME:
        return is_name_value(value) and value[0].isupper()
    return VALID[kind[0]](kind[1], value)


def _elements(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    for match in _ELEMENT.finditer(text):
        key = squash(match.group(1).rpartition(":")[2])
        if key in _OF_ANYBODY:
            continue
        known = kind_of(key)
        if known is None and key not in _NAMES:
            continue
        budget.spend()
        start, end = match.span(2)
        value = text[start:end].strip()
        if known is None:
            near = text[max(0, start - _ELEMENT_WINDOW) : start]
            if _PERSON_ELEMENT.search(near) is None or not value[:1].isupper() or " " not in value:
                continue
            known = PERSON_NAME, key
        if value and _may_be(known, value):
            start += text[start:end].index(value)
            yield _cell(known[0], start, start + len(value))


RECOGNISERS: tuple[Prefiltered, ...] = (
    (_CARD_PREFILTER, _vcards),
    (_TABLE_PREFILTER, _tables),
    (_ELEMENT_PREFILTER, _elements),
)
