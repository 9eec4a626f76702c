"""Phone numbers, judged by phonenumbers: the plan of the country must know the number as valid."""

from __future__ import annotations

import re
from collections.abc import Iterator

import phonenumbers

from mc_platform.screen.findings import PHONE, Finding

_GROUP = re.compile(r"[0-9]+")
_TRIES = 3  # groups left out at the end, e.g. an extension or the next figure
_DIGITS = range(7, 16)


def find_international(text: str, start: int, end: int) -> Finding | None:
    """A number that begins with `+` at `start`, anywhere in the world."""
    return _longest(text, start, end, None)


def find_national(text: str, start: int, end: int, regions: tuple[str, ...]) -> Finding | None:
    """A number in the notation of one of some countries."""
    for region in regions:
        found = _longest(text, start, end, region)
        if found is not None:
            return found
    return None


def _longest(text: str, start: int, end: int, region: str | None) -> Finding | None:
    for stop in _stops(text, start, end):
        digits = "".join(_GROUP.findall(text, start, stop))
        if len(digits) not in _DIGITS:
            continue
        try:
            number = phonenumbers.parse(digits if region else f"+{digits}", region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return Finding(PHONE, start, stop, 0.8, "phonenumbers")
    return None


def _stops(text: str, start: int, end: int) -> Iterator[int]:
    """Where the number may end: after the last group first, then after fewer."""
    yield from [group.end() for group in _GROUP.finditer(text, start, end)][: -_TRIES - 1 : -1]
