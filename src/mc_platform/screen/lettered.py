"""Identifiers of letters and digits: IBANs and the national ids that contain letters."""

from __future__ import annotations

import re
from collections.abc import Iterator

import re2
from stdnum import iban

from mc_platform.screen.findings import IBAN, NATIONAL_ID, Budget, Finding
from mc_platform.screen.national_ids import CONTEXT, LETTERED_RULES, VALIDATORS, LetteredRule

# Between groups: a space or hyphen, or what is put in its place to break the pattern.
_BETWEEN = r"[ \-\t\n\r\v\f_.]*"
IBAN_SHAPE = rf"(?i)[A-Z]{{2}}\d{{2}}(?:{_BETWEEN}[A-Z0-9]){{11}}"
_COUNTRY = re2.compile(r"(?i)[A-Z]{2}\d{2}")
_GROUPS = re.compile(r"[A-Za-z0-9]+(?:[ \-]{1,2}[A-Za-z0-9]+)*")
_GROUP_END = re.compile(r"[A-Za-z0-9](?![A-Za-z0-9])")
_IBAN_CHARS = range(15, 52)  # 34 at most, and separators after every fourth
_CONTEXT_CHARS = 48
_FOLDED = {ord(char): " " for char in "\t\n\r\v\f_."}


def lettered_shape(rule: LetteredRule) -> str:
    """A rule's shape, with every optional separator widened to all that may stand for it."""
    return re.sub(r"\[ \\-\]\?|\[ \]\?| \?", lambda _: _BETWEEN, rule.shape)


_COMPILED = {rule.shape: re2.compile(lettered_shape(rule)) for rule in LETTERED_RULES}


def find_ibans(text: str, budget: Budget) -> Iterator[Finding]:
    """Account numbers whose check digits and national structure hold."""
    done = 0
    text = text.translate(_FOLDED)
    for match in _COUNTRY.finditer(text):
        start = match.start()
        if start < done or not _begins(text, start):
            continue
        groups = _GROUPS.match(text, start, start + _IBAN_CHARS.stop)
        if groups is None or len(groups[0]) < _IBAN_CHARS.start:
            continue
        budget.spend()
        # The groups run on into the words that follow: cut at each group's end, longest first.
        # Only the country's own length validates, so no cut is taken for another.
        for cut in [end.end() for end in _GROUP_END.finditer(text, start, groups.end())][::-1]:
            if cut - start not in _IBAN_CHARS or text[cut : cut + 1].isalnum():
                continue
            if iban.is_valid(text[start:cut], check_country=False):
                yield Finding(IBAN, start, cut, 0.95, "stdnum.iban")
                done = cut
                break


def _begins(text: str, start: int) -> bool:
    return start == 0 or not text[start - 1].isalnum()


def find_lettered_ids(rule: LetteredRule, text: str, key: str, budget: Budget) -> Iterator[Finding]:
    """National identifiers of one shape, standing alone and passing their validator."""
    for match in _COMPILED[rule.shape].finditer(text):
        start, end = match.span()
        if not _begins(text, start) or (end < len(text) and text[end].isalnum()):
            continue
        named = f"{key} {text[max(0, start - _CONTEXT_CHARS) : start]}".replace("_", " ")
        if rule.named and CONTEXT.search(named) is None:
            continue
        budget.spend()
        if VALIDATORS[rule.name](match.group()) or VALIDATORS[rule.name](
            match.group().translate(_FOLDED).replace(" ", "")
        ):
            detector = "shape.gb.nino" if rule.name == "gb.nino" else f"stdnum.{rule.name}"
            yield Finding(NATIONAL_ID, start, end, 0.85, detector)
