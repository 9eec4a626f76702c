"""Runs of digits: payment cards, national identifiers, phone numbers.

A run is cut into its groups; windows of whole groups are then compared with known layouts, and
only what fits one meets a validator. Dates, times, amounts, versions, addresses of hosts and
order numbers fit none, or fail the checksum.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import re2
from stdnum import luhn

from mc_platform.screen.contacts import (
    NATIONAL_PHONE_COST,
    find_international_phone,
    find_national_phone,
)
from mc_platform.screen.findings import NATIONAL_ID, PAYMENT_CARD, Budget, Finding
from mc_platform.screen.national_ids import BY_LAYOUT, CONTEXT, VALIDATORS

RUN = r"\d(?:[ .\-/()]{0,3}\d){6,}"
_RUN = re2.compile(RUN)
_GROUP = re.compile(r"\d+")
_UUID = re2.compile(r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID_DASHES = 4
_CARD_WORD = re2.compile(
    r"(?i)\b(?:card|cards|visa|master ?card|maestro|amex|american express|discover|diners|jcb"
    r"|unionpay|credit|debit|pan|cc|kredit ?karte|karte|carte|tarjeta|carta|cart[aã]o)"
)
_PHONE_WORD = re2.compile(
    r"(?i)\b(?:phone|telephone|tel|mobile|mob|cell|call|fax|whatsapp|sms|handy|telefon\w*"
    r"|t[eé]l[eé]phone|tel[eé]fono|telefono|portable|m[oó]vil)\b"
)
_CONTEXT_CHARS = 48
_MAX_GROUPS = 8
_GROUPS_PER_UNIT = 8  # a run of very many groups costs even where nothing is validated

CARD_MIN_DIGITS, CARD_MAX_DIGITS = 12, 19
_CARD_LAYOUTS = frozenset(
    {
        (4, 4, 4, 4),
        (4, 4, 4, 4, 3),
        (4, 4, 4, 4, 2),
        (4, 4, 4, 4, 1),
        (4, 4, 4),
        (4, 4, 4, 1),
        (4, 4, 4, 3),
        (4, 6, 5),
        (4, 6, 4),
        (4, 5, 6),
        (8, 8),
        (6, 13),
    }
)
# Prefixes as issued (ISO/IEC 7812), with the lengths in which they occur.
_ISSUERS = (
    (re.compile(r"4"), frozenset({13, 16, 18, 19})),
    (re.compile(r"5[1-5]|222[1-9]|22[3-9]|2[3-6]|27[01]|2720"), frozenset({16})),
    (re.compile(r"3[47]"), frozenset({15})),
    (re.compile(r"30[0-5]|3095|3[689]"), frozenset(range(14, 20))),
    (re.compile(r"35(?:2[89]|[3-8])"), frozenset(range(16, 20))),
    (re.compile(r"2131|1800"), frozenset({15})),
    (re.compile(r"6011|64[4-9]|65|62|81|60|82|508|63[6-9]"), frozenset(range(16, 20))),
    (re.compile(r"220[0-4]|9792"), frozenset(range(16, 20))),
    (re.compile(r"50|5[6-8]|63|67"), frozenset(range(12, 20))),
)
_NANP_LAYOUTS = frozenset({"3-3-4", "3.3.4", "3) 3-4", "3)3-4", "1-3-3-4", "1 3-3-4", "1.3.3.4"})
_PHONE_DIGITS = range(7, 16)


@dataclass(frozen=True, slots=True)
class _Window:
    """Consecutive groups of one run: their place, digits, lengths and layout."""

    start: int
    end: int
    starts: tuple[int, ...]
    digits: str
    sizes: tuple[int, ...]
    layout: str
    fraction: bool


def find_numbers(text: str, key: str, budget: Budget) -> Iterator[Finding]:
    """The findings in a normalised string.

    Args:
        text: The string.
        key: The key under which it stands, which may say what the number is.
        budget: What validation may still cost.
    """
    uuids = (
        [match.span() for match in _UUID.finditer(text)] if text.count("-") >= _UUID_DASHES else []
    )
    ahead = 0
    for run in _RUN.finditer(text):
        start, end = run.span()
        while ahead < len(uuids) and uuids[ahead][1] <= start:
            ahead += 1
        if ahead < len(uuids) and uuids[ahead][0] < end:
            continue
        yield from _in_run(text, start, end, key, budget)


def _in_run(text: str, start: int, end: int, key: str, budget: Budget) -> Iterator[Finding]:
    context = _Context(text, start, key)
    taken: set[int] = set()
    plus = _plus_before(text, start)
    if plus is not None:
        budget.spend()
        phone = find_international_phone(text, plus, min(end, plus + 40))
        if phone is not None:
            taken.update(range(phone.start, phone.end))
            yield phone
    windows = _windows(text, start, end, budget)
    for find in (_card, _national_id, _phone):
        for window in windows:
            if not taken.isdisjoint(window.starts):
                continue
            finding = find(text, window, context, budget)
            if finding is not None:
                taken.update(range(finding.start, finding.end))
                yield finding


class _Context:
    """Which words stand before a number, or in its key; looked up when first asked for."""

    __slots__ = ("_before", "_known")

    def __init__(self, text: str, start: int, key: str) -> None:
        named = key.replace("_", " ") + " " if key else ""
        self._before = named + text[max(0, start - _CONTEXT_CHARS) : start].replace("_", " ")
        self._known: dict[str, bool] = {}

    def names(self, kind: str) -> bool:
        """Whether a word says that a card, an id or a phone number follows."""
        if kind not in self._known:
            self._known[kind] = _WORDS[kind].search(self._before) is not None
        return self._known[kind]


_WORDS = {"card": _CARD_WORD, "id": CONTEXT, "phone": _PHONE_WORD}


def _plus_before(text: str, start: int) -> int | None:
    at = start - 1
    while at >= 0 and start - at <= 3 and text[at] in "( ":
        at -= 1
    return at if at >= 0 and text[at] == "+" else None


def _windows(text: str, start: int, end: int, budget: Budget) -> list[_Window]:
    """Windows of whole groups, longest first from each group, and the run as a whole."""
    groups = [match.span() for match in _GROUP.finditer(text, start, end)]
    # A group that a letter touches belongs to a word: O2001, 4111x.
    if start > 0 and text[start - 1].isalnum():
        groups = groups[1:]
    if groups and end < len(text) and text[end].isalnum():
        groups = groups[:-1]
    budget.spend(len(groups) // _GROUPS_PER_UNIT)
    windows = []
    for first in range(len(groups)):
        for last in range(min(len(groups), first + _MAX_GROUPS), first, -1):
            window = _window(text, groups[first:last], first > 0)
            if window is not None:
                windows.append(window)
    if len(groups) > _MAX_GROUPS:
        whole = _window(text, groups, after_group=False)
        if whole is not None:
            windows.insert(0, whole)
    return windows


def _window(text: str, groups: list[tuple[int, int]], after_group: bool) -> _Window | None:
    sizes = tuple(stop - begin for begin, stop in groups)
    if not _PHONE_DIGITS.start <= sum(sizes) <= CARD_MAX_DIGITS:
        return None
    start, end = groups[0][0], groups[-1][1]
    layout = [str(sizes[0])]
    for (_, before), (begin, stop) in pairwise(groups):
        layout += (text[before:begin], str(stop - begin))
    return _Window(
        start=start,
        end=end,
        starts=tuple(begin for begin, _ in groups),
        digits="".join(text[begin:stop] for begin, stop in groups),
        sizes=sizes,
        layout="".join(layout),
        fraction=after_group and len(groups) == 1 and text[start - 1] == ".",
    )


def _card(_: str, window: _Window, context: _Context, budget: Budget) -> Finding | None:
    length = len(window.digits)
    if length < CARD_MIN_DIGITS:
        return None
    named = context.names("card")
    spelled = len(window.sizes) == length
    usual = len(window.sizes) == 1 or window.sizes in _CARD_LAYOUTS or spelled
    if not named and (window.fraction or not usual or not _issued(window.digits)):
        return None
    budget.spend()
    if len(set(window.digits)) == 1 or not luhn.is_valid(window.digits):
        return None
    return Finding(PAYMENT_CARD, window.start, window.end, 0.95 if named else 0.85, "stdnum.luhn")


def _issued(digits: str) -> bool:
    return any(len(digits) in lengths and prefix.match(digits) for prefix, lengths in _ISSUERS)


def _national_id(_: str, window: _Window, context: _Context, budget: Budget) -> Finding | None:
    if window.fraction:
        return None
    for rule, needs_word in BY_LAYOUT.get(window.layout, ()):
        named = context.names("id")
        if needs_word and not named:
            continue
        budget.spend()
        if VALIDATORS[rule.name](window.digits if "/" not in window.layout else _cz(window)):
            confidence = 0.9 if named else 0.7
            return Finding(NATIONAL_ID, window.start, window.end, confidence, f"stdnum.{rule.name}")
    return None


def _cz(window: _Window) -> str:
    return f"{window.digits[:6]}/{window.digits[6:]}"


def _phone(text: str, window: _Window, context: _Context, budget: Budget) -> Finding | None:
    if len(window.digits) not in _PHONE_DIGITS or window.fraction:
        return None
    named = context.names("phone")
    if not named and window.layout not in _NANP_LAYOUTS:
        return None
    budget.spend(NATIONAL_PHONE_COST if named else 1)
    start = window.start
    if start > 0 and text[start - 1] == "(":
        start -= 1
    return find_national_phone(text, start, window.end, named=named)
