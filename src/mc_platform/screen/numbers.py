"""Runs of digits: payment cards, national identifiers, phone numbers.

A run is cut into its groups; windows of whole groups are then compared with known layouts, and
only what fits one meets a validator. Dates, times, amounts, versions, addresses of hosts and
order numbers fit none, or fail the checksum.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import re2

from mc_platform.screen.cards import find_card
from mc_platform.screen.contacts import (
    NATIONAL_PHONE_COST,
    find_international_phone,
    find_national_phone,
)
from mc_platform.screen.findings import NATIONAL_ID, Budget, Finding
from mc_platform.screen.national_ids import BY_LAYOUT, CONTEXT, VALIDATORS
from mc_platform.screen.windows import (
    FOREIGN,
    USUAL,
    Window,
    digit_runs,
    fold_separators,
    in_digest,
    windows,
)

_CARD_WORD = re2.compile(
    r"(?i)\b(?:card|cards|visa|master ?card|maestro|amex|american express|discover|diners|jcb"
    r"|unionpay|credit|debit|pan|cc|kredit ?karte|karte|carte|tarjeta|carta|cart[aã]o)"
)
_PHONE_WORD = re2.compile(
    r"(?i)\b(?:phone|telephone|tel|mobile|mob|cell|call|fax|whatsapp|sms|handy|telefon\w*"
    r"|t[eé]l[eé]phone|tel[eé]fono|telefono|portable|m[oó]vil)\b"
)
_CONTEXT_CHARS = 48
_NANP_LAYOUTS = frozenset({"3-3-4", "3.3.4", "3) 3-4", "3)3-4", "1-3-3-4", "1 3-3-4", "1.3.3.4"})
_PHONE_DIGITS = range(7, 16)
_PHONE_CHARS = 40
_PLUS = re.compile(r"\+[( ]{0,2}[0-9]")
_PLUS_CHARS = 3
_DIALLED = re.compile(r"[0-9 .\-/()]+")
_DOTTED_GROUPS = 2  # `123456.7891` is a fraction, `536.90.4399` none


def find_numbers(text: str, key: str, budget: Budget) -> Iterator[Finding]:
    """The findings in a normalised string.

    Args:
        text: The string.
        key: The key under which it stands, which may say what the number is.
        budget: What validation may still cost.
    """
    folded = fold_separators(text)
    for start, end in digit_runs(text):
        yield from _in_run(text, folded, start, end, key, budget)


def _in_run(
    text: str, folded: str, start: int, end: int, key: str, budget: Budget
) -> Iterator[Finding]:
    context = _Context(text, start, key)
    taken: set[int] = set()
    for phone in _international(folded, start, end, budget):
        taken.update(range(phone.start, phone.end))
        yield phone
    cut = windows(text, start, end, budget, named=context.names_any)
    for find in (_card, _national_id, _phone):
        for window in cut:
            if not taken.isdisjoint(window.starts):
                continue
            finding = find(folded, window, context, budget)
            if finding is not None:
                taken.update(range(finding.start, finding.end))
                yield finding


def _international(text: str, start: int, end: int, budget: Budget) -> Iterator[Finding]:
    done = 0
    for plus in _PLUS.finditer(text, max(0, start - _PLUS_CHARS), end):
        at = plus.start()
        dialled = _DIALLED.match(text, at + 1, min(end, at + _PHONE_CHARS))
        if at < done or dialled is None:
            continue
        budget.spend()
        phone = find_international_phone(text, at, dialled.end())
        if phone is not None:
            done = phone.end
            yield phone


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

    def names_any(self) -> bool:
        """Whether a word says what the number is, whichever of them."""
        return any(self.names(kind) for kind in _WORDS)


_WORDS = {"card": _CARD_WORD, "id": CONTEXT, "phone": _PHONE_WORD}


def _card(text: str, window: Window, context: _Context, budget: Budget) -> Finding | None:
    if window.glued and in_digest(text, window.start, window.end):
        return None
    return find_card(window, budget, named=context.names("card"))


def _national_id(_: str, window: Window, context: _Context, budget: Budget) -> Finding | None:
    if window.fraction or window.glued or window.separators == FOREIGN:
        return None
    layout = window.layout
    if layout not in BY_LAYOUT and layout.count(".") >= _DOTTED_GROUPS:
        layout = layout.replace(".", "-")
    for rule, needs_word in BY_LAYOUT.get(layout, ()):
        named = context.names("id")
        if not named and (needs_word or window.separators != USUAL):
            continue
        budget.spend()
        if VALIDATORS[rule.name](window.digits if "/" not in layout else _cz(window)):
            confidence = 0.9 if named else 0.7
            return Finding(NATIONAL_ID, window.start, window.end, confidence, f"stdnum.{rule.name}")
    return None


def _cz(window: Window) -> str:
    return f"{window.digits[:6]}/{window.digits[6:]}"


def _phone(text: str, window: Window, context: _Context, budget: Budget) -> Finding | None:
    if len(window.digits) not in _PHONE_DIGITS or window.fraction or window.glued:
        return None
    if window.separators == FOREIGN:
        return None
    named = context.names("phone")
    if not named and window.layout not in _NANP_LAYOUTS:
        return None
    budget.spend(NATIONAL_PHONE_COST if named else 1)
    start = window.start
    if start > 0 and text[start - 1] == "(":
        start -= 1
    return find_national_phone(text, start, window.end, named=named)
