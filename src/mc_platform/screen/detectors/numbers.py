"""Runs of digits: payment cards, national identifiers, phone numbers.

A run is cut into its groups; windows of whole groups are then compared with known layouts, and
only what fits one meets a validator; a phone number must be valid in the plan of its country. Dates,
times, amounts, versions, addresses of hosts and order numbers fit none, or fail the checksum.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

import phonenumbers

from mc_platform.screen.detectors.alphanumeric_ids import ACCOUNT_LAYOUTS
from mc_platform.screen.detectors.digit_groups import (
    FOREIGN,
    USUAL,
    Window,
    digit_runs,
    fold_separators,
    in_digest,
    windows,
)
from mc_platform.screen.detectors.national_ids import BY_LAYOUT, CONTEXT, VALIDATORS
from mc_platform.screen.detectors.payment_cards import CARD_MIN_DIGITS, find_card
from mc_platform.screen.detectors.phone_plans import is_country, is_valid_beyond_doubt
from mc_platform.screen.findings import NATIONAL_ID, PHONE, Budget, Finding
from mc_platform.screen.prefilter import Prefilter
from mc_platform.screen.rules import rule_file, words_of

_RULES = rule_file("numbers")
_TAIL = re.compile(r"[\-/.][0-9]{1,4}(?![0-9])")
# What belongs to a phone number on either side: the country, the last group, an extension.
_BEFORE_PHONE = re.compile(
    r"(?:\+|(?<![0-9])00)?[ (]{0,2}[0-9]{1,3}[)]?[ .\-/]{0,2}(?:\(0\))?[ ]?\(?\Z|[+(]{1,2}\Z"
)
_BEFORE_CHARS = 14
_LAST_GROUP = re.compile(r"[)]?[ .\-/()]{1,3}([0-9]{1,4})(?![0-9]|[ .\-/()]{1,3}[0-9])")
_CALENDAR = frozenset({"4-2-2", "2-2-4", "4.2.2", "2.2.4", "4/2/2", "2/2/4", "4 2 2", "2 2 4"})
_EXTENSION = re.compile(
    r"[ ,;]{0,2}(?:[xX#]|[eE]xt(?:ension|n)?\.?|;ext=)[ :]{0,2}[0-9]{1,6}(?![0-9])"
)
_GROUP = re.compile(r"[0-9]+")
_TRIES = 3  # groups left out at the end, e.g. an extension or the next figure
_CONTEXT_CHARS = 48
_NANP_LAYOUTS = frozenset({"3-3-4", "3.3.4", "3) 3-4", "3)3-4", "1-3-3-4", "1 3-3-4", "1.3.3.4"})
_PHONE_DIGITS = range(7, 16)
_PHONE_CHARS = 40
_RATIO = re.compile(r"0[.,][0-9]+\Z")
# Countries whose national notation is tried where a word says that a phone number follows.
_WITH_TRUNK_ZERO = ("GB", "DE", "FR", "IT", "NL", "AU")
_WITHOUT = ("US", "ES", "PL", "IN", "RU")
_NATIONAL_COST = 2
_PLUS = re.compile(r"\+[( ]{0,2}[0-9]")
_DOUBLE_ZERO = re.compile(r"00[1-9][0-9]{0,4}[ \-/(]{1,2}[0-9]")
_NO_PREFIX = ".,:-/_"
_PLUS_CHARS = 3
_COUNTRY_CHARS = 2
_POSSIBLE_DIGITS = 8
_BY_WORD = "A word for phones stands beside it."
_DIALLED = re.compile(r"[0-9 .\-/()]+")
_DECIMALS = re.compile(r"\.[0-9]{1,6}(?![0-9]|\.[0-9])")
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
    account_end = _account_end(text, start, end)
    if "+" in text[max(0, start - _PLUS_CHARS) : end] or text.startswith("00", start):
        for phone in chain(
            _international(folded, start, end, context, budget),
            _by_double_zero(folded, start, end, context, budget),
        ):
            phone = _whole(folded, phone)  # noqa: PLW2901
            taken.update(range(phone.start, phone.end))
            yield phone
    if taken and taken.issuperset(at for at in range(start, end) if text[at].isdigit()):
        return
    cut = windows(text, start, end, budget, named=context.names_any)
    if not cut:
        return
    for find in (_card, _national_id, _phone):
        for window in cut:
            if find is not _phone and window.start < account_end:
                continue
            if not taken.isdisjoint(window.starts):
                continue
            finding = find(folded, window, context, budget)
            if finding is not None:
                finding = _whole(folded, finding)
                taken.update(range(finding.start, finding.end))
                yield finding


def _whole(text: str, found: Finding) -> Finding:
    """A phone number with its country, its last group and its extension: half of it would tell enough."""
    if found.type != PHONE:
        return found
    start, end = found.start, found.end
    before = _BEFORE_PHONE.search(text[max(0, start - _BEFORE_CHARS) : start])
    if before is not None and (before[0].lstrip()[:1] in "+(" or before[0].startswith("00")):
        start -= len(before[0])
    last = _LAST_GROUP.match(text, end)
    if last is not None and sum(map(str.isdigit, text[start : last.end()])) in _PHONE_DIGITS:
        end = last.end()
    extension = _EXTENSION.match(text, end)
    return replace(found, start=start, end=end if extension is None else extension.end())


def _account_end(text: str, start: int, end: int) -> int:
    """Where the digits of what has an account number's form end; the run's start if it has not.

    An account number that fails its check holds stretches that pass for cards by chance.
    """
    if start < _COUNTRY_CHARS or text[max(0, start - 3) : start - 2].isalnum():
        return start
    layout = ACCOUNT_LAYOUTS.get(text[start - 2 : start].upper())
    if layout is None:
        return start
    places = [at for at in range(start, end) if text[at].isdigit()]
    count = len(layout) - _COUNTRY_CHARS
    return places[count - 1] if len(places) >= count else start


def _international(
    text: str, start: int, end: int, context: _Context, budget: Budget
) -> Iterator[Finding]:
    done = 0
    for plus in _PLUS.finditer(text, max(0, start - _PLUS_CHARS), end):
        at = plus.start()
        dialled = _DIALLED.match(text, at + 1, min(end, at + _PHONE_CHARS))
        if at < done or dialled is None:
            continue
        budget.spend()
        phone = _longest_phone(text, at, dialled.end()) or (
            _possible(text, at, dialled.end()) if context.names("phone") else None
        )
        if phone is not None:
            done = phone.end
            yield phone


def _possible(text: str, start: int, end: int) -> Finding | None:
    """A number that no plan knows but that has a country and digits enough, behind a word for phones."""
    stop, digits = start, ""
    for group in _GROUP.finditer(text, start, end):
        if len(digits + group[0]) >= _PHONE_DIGITS.stop:
            break
        stop, digits = group.end(), digits + group[0]
    if len(digits) < _POSSIBLE_DIGITS or not is_country(digits):
        return None
    return Finding(PHONE, start, stop, 0.6, "context.phone", _BY_WORD)


def _by_double_zero(
    text: str, start: int, end: int, context: _Context, budget: Budget
) -> Iterator[Finding]:
    """A number in groups behind the prefix that is dialled for `+` in most countries."""
    if _DOUBLE_ZERO.match(text, start, end) is None or (start and text[start - 1] in _NO_PREFIX):
        return
    dialled = _DIALLED.match(text, start + 2, min(end, start + _PHONE_CHARS))
    if dialled is None or context.names("order"):
        return
    budget.spend()
    phone = _longest_phone(text, start + 2, dialled.end())
    if phone is not None:
        yield replace(phone, start=start)


class _Context:
    """Which words stand before a number, or in its key; looked up when first asked for."""

    __slots__ = ("_before", "_known")

    def __init__(self, text: str, start: int, key: str) -> None:
        named = words_of(key) + " " if key else ""
        self._before = named + text[max(0, start - _CONTEXT_CHARS) : start].replace("_", " ")
        self._known: frozenset[str] | None = None

    def names(self, kind: str) -> bool:
        """Whether a word says so: `card`, `id`, `phone`, `dialled` right behind it, `order`."""
        return kind in (self._found() if self._known is None else self._known)

    def names_any(self) -> bool:
        """Whether a word says what the number is, whichever of them."""
        known = self._found() if self._known is None else self._known
        return not known.isdisjoint(_NAMING)

    def _found(self) -> frozenset[str]:
        hits = _WORD_SET.hits(self._before)
        if len(hits) == len(_WORDS):  # or the Set was short of memory
            hits = [at for at in hits if _WORDS[_KINDS[at]].search(self._before)]
        self._known = frozenset([_KINDS[hit] for hit in hits])
        return self._known


_PHONE_VARIETY, _SURE_DIGITS = 3, 9
_BEHIND = _RULES.re("behind")
_WORDS = {
    "id": CONTEXT,
    **{kind: _RULES.re2(kind) for kind in ("card", "phone", "order", "dialled", "reached")},
}
_NAMING = ("card", "id", "phone", "dialled", "reached")
_KINDS = tuple(_WORDS)
_WORD_SET = Prefilter(([word.pattern for word in _WORDS.values()], frozenset(), 0))


def _card(text: str, window: Window, context: _Context, budget: Budget) -> Finding | None:
    if window.glued and in_digest(text, window.start, window.end):
        return None
    if len(window.digits) < CARD_MIN_DIGITS:
        return None
    return find_card(window, budget, named=context.names("card"), otherwise=context.names("order"))


def _national_id(text: str, window: Window, context: _Context, budget: Budget) -> Finding | None:
    if window.fraction or window.glued or window.separators == FOREIGN:
        return None
    if _is_decimal(text, window) and not context.names("id"):
        return None
    layout = window.layout
    if layout not in BY_LAYOUT and layout.count(".") >= _DOTTED_GROUPS:
        layout = layout.replace(".", "-")
    if layout not in BY_LAYOUT and context.names("id"):
        layout = str(len(window.digits))  # in groups of somebody's own
    for rule, needs_word in BY_LAYOUT.get(layout, ()):
        named = context.names("id")
        if not named and (needs_word or window.cut or window.separators != USUAL):
            continue
        budget.spend()
        digits = window.digits
        if VALIDATORS[rule.name](digits if "/" not in layout else f"{digits[:6]}/{digits[6:]}"):
            confidence = 0.9 if named else 0.7
            return Finding(NATIONAL_ID, window.start, window.end, confidence, f"stdnum.{rule.name}")
    return None


def _is_decimal(text: str, window: Window) -> bool:
    """Whether it is the whole part of a measure or of a time: `17210328307.274`."""
    return len(window.sizes) == 1 and _DECIMALS.match(text, window.end) is not None


def _phone(text: str, window: Window, context: _Context, budget: Budget) -> Finding | None:
    if len(window.digits) not in _PHONE_DIGITS or window.fraction:
        return None
    if window.glued and _EXTENSION.match(text, window.end) is None:
        return None
    if window.separators == FOREIGN:
        return None
    behind = _BEHIND.match(text, window.end) is not None and not window.cut
    named = behind or context.names("phone") or context.names("dialled")
    named = named or (window.digits.startswith("0") and context.names("reached"))
    if not named and window.layout not in _NANP_LAYOUTS:
        return None
    if _RATIO.match(text, window.start, window.end) and not context.names("dialled"):
        return None
    budget.spend(_NATIONAL_COST if named else 1)
    start = window.start
    if start > 0 and text[start - 1] == "(":
        start -= 1
    if not named:
        regions: tuple[str, ...] = ("US",)  # North America's notation is distinct
    else:
        regions = _WITH_TRUNK_ZERO if window.digits.startswith("0") else _WITHOUT
    found = _find_national(text, start, window.end, regions)
    if found is not None and found.end < window.end and context.names("dialled"):
        found = replace(found, end=_to_the_end(text, found.end, window.end))
    return found or _named_phone(window, start, context, behind=behind)


def _to_the_end(text: str, end: int, last: int) -> int:
    """Where a number ends that goes on in its own notation: `345-67` is none if `-89` follows."""
    while (tail := _TAIL.match(text, end, last)) is not None:
        end = tail.end()
    return end


def _named_phone(window: Window, start: int, context: _Context, *, behind: bool) -> Finding | None:
    """A number that no plan was found to know, directly behind a word for phones."""
    if window.layout in _CALENDAR or len(set(window.digits)) < _PHONE_VARIETY:
        return None
    reached = context.names("reached") and (
        len(window.sizes) > 1 or len(window.digits) >= _SURE_DIGITS
    )
    if not (behind or reached or context.names("dialled")):
        return None
    return Finding(PHONE, start, window.end, 0.6, "context.phone", _BY_WORD)


def _find_national(text: str, start: int, end: int, regions: tuple[str, ...]) -> Finding | None:
    """A number in the notation of one of some countries."""
    tried = (_longest_phone(text, start, end, region) for region in regions)
    return next((found for found in tried if found is not None), None)


def _longest_phone(text: str, start: int, end: int, region: str | None = None) -> Finding | None:
    """A number in the notation of a country; None: one that begins with `+`, anywhere."""
    for stop in _phone_ends(text, start, end):
        digits = "".join(_GROUP.findall(text, start, stop))
        if len(digits) not in _PHONE_DIGITS:
            continue
        if region is None and is_valid_beyond_doubt(digits):
            return Finding(PHONE, start, stop, 0.8, "phonenumbers")
        try:
            number = phonenumbers.parse(digits if region else f"+{digits}", region)
        except phonenumbers.NumberParseException:
            continue
        if phonenumbers.is_valid_number(number):
            return Finding(PHONE, start, stop, 0.8, "phonenumbers")
    return None


def _phone_ends(text: str, start: int, end: int) -> Iterator[int]:
    """Where the number may end: after the last group first, then after fewer."""
    yield from [group.end() for group in _GROUP.finditer(text, start, end)][: -_TRIES - 1 : -1]
