"""Identifiers that only a word announces: passports, licences, and further countries' numbers.

Where python-stdnum knows a number, it judges it; a passport's machine-readable lines carry their
own check digits. Addresses of machines count only where they are said to be a person's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mc_platform.screen.detectors.recogniser import (
    LIBRARY,
    PatternRule,
    Prefiltered,
    RuleGroup,
    library_validator,
    recognisers,
)
from mc_platform.screen.findings import NATIONAL_ID, Budget, Finding
from mc_platform.screen.prefilter import Prefilter
from mc_platform.screen.rules import Announced, compiled, rule_file

_RULES = rule_file("announced_ids")
_IS = _RULES.pattern("is")
_IN_SET = 64
_CHECKED = "A word names it, and its own checksum or structure holds."
_REASON = "A word names it, and it is formed accordingly."


def _mixed(text: str, start: int, end: int) -> bool:
    value = text[start:end]
    return sum(char.isdigit() for char in value) >= 4 and len(set(value)) > 2


def _medicare(text: str, start: int, end: int) -> bool:
    # Services Australia: eight digits, weighed 1, 3, 7, 9, then their sum modulo ten, then the issue.
    digits = [int(char) for char in text[start:end] if char.isdigit()]
    weights = (1, 3, 7, 9, 1, 3, 7, 9)
    return (
        len(digits) in (10, 11)
        and digits[0] in range(2, 7)
        and sum(w * d for w, d in zip(weights, digits, strict=False)) % 10 == digits[8]
    )


def _announced(number: int, row: Announced) -> PatternRule:
    library = row.name.startswith(LIBRARY)
    return PatternRule(
        NATIONAL_ID,
        row.name,
        compiled(
            rf"(?i:{_RULES.expand(row.words)}){_IS}(?P<value>(?i:{_RULES.expand(row.pattern)}))\b"
        ),
        _CHECKED if library else _REASON,
        0.9 if library else 0.8,
        _RULES.source("announced", number, row.name),
        validator=library_validator(_RULES, row.name, row.name) if library else _mixed,
        validated=row.name if library else "mixed",
    )


def _any_of(*, library: bool) -> Prefiltered:
    """One prefilter pattern for many: the words that name one of them."""
    rows = [
        (number, row)
        for number, row in enumerate(_RULES.table.announced, 1)
        if row.name.startswith(LIBRARY) is library
    ]
    words = [_RULES.expand(row.words) for _, row in rows]
    anchors = Prefilter(([f"(?i:{one})" for one in words], frozenset(), _IN_SET))
    group = RuleGroup([_announced(*row) for row in rows], anchors=anchors)
    return "(?i)" + "|".join(dict.fromkeys(words)), group.find


_MRZ_PREFILTER = "[A-Z]<+[A-Z]|[A-Z0-9]<<"
_MRZ_LINE = re.compile(r"(?<![A-Z0-9<])[A-Z0-9<]{30,44}(?![A-Z0-9<])")
_WEIGHTS = (7, 3, 1)


def _check_digit(field: str) -> str:
    """ICAO 9303, part 3: 7-3-1 over digits, letters (A is 10) and fillers (0)."""
    total = 0
    for at, char in enumerate(field):
        value = 0 if char == "<" else int(char, 36)
        total += value * _WEIGHTS[at % 3]
    return str(total % 10)


def find_mrz(text: str, _: str, budget: Budget) -> Iterator[Finding]:
    """The lines of a passport or identity card that are made for machines."""
    lines = list(_MRZ_LINE.finditer(text))
    for at, line in enumerate(lines):
        budget.spend()
        row = line[0]
        if (
            len(row) in (44, 36)
            and row[9] == _check_digit(row[:9])
            and row[19] == _check_digit(row[13:19])
        ):
            first = lines[at - 1] if at and lines[at - 1][0][:1] in "PIACV" else line
            near = line.start() - first.end() <= 4
            yield Finding(
                NATIONAL_ID,
                first.start() if near else line.start(),
                line.end(),
                0.95,
                "icao.mrz",
                "The check digits of a travel document's machine-readable lines hold.",
            )
        elif len(row) == 30 and row[14] == _check_digit(row[5:14]) and "<" in row:
            yield Finding(
                NATIONAL_ID,
                *line.span(),
                0.9,
                "icao.mrz",
                "The check digit of an identity card's machine-readable line holds.",
            )


_DRIVER = _RULES.re2("driver")


def _driven(text: str, start: int, end: int) -> bool:
    near = text[max(0, start - 60) : start] + "\n" + text[end : end + 40]
    return any(map(str.isdigit, text[start:end])) and _DRIVER.search(near) is not None


def _public_ip(text: str, start: int, end: int) -> bool:
    parts = text[start:end].split(".")
    return len(parts) != 4 or all(int(part) < 256 for part in parts)


RECOGNISERS: tuple[Prefiltered, ...] = (
    *recognisers(
        _RULES,
        {
            "driven": _driven,
            "medicare": _medicare,
            "mixed": _mixed,
            "public-ip": _public_ip,
        },
    ),
    (_MRZ_PREFILTER, find_mrz),
    _any_of(library=True),
    _any_of(library=False),
)
