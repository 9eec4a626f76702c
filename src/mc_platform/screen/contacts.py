"""E-mail addresses (email-validator) and phone numbers (phonenumbers)."""

from __future__ import annotations

import re
from collections.abc import Iterator

import phonenumbers
import re2
from email_validator import EmailNotValidError, validate_email

from mc_platform.screen.findings import EMAIL, PHONE, Budget, Finding

# Candidates only, read to the left and to the right of an `@`. The bound keeps a local part of
# 65 characters from hiding an address, and a long string from being read again for each `@`.
_LOCAL_REVERSED = re.compile(r"""[^\s@<>()\[\]{},;:"'\\]{1,64}""")
_DOMAIN = re.compile(r"[\w.\-]{1,253}")
_LOCAL_CHARS = 64
_CORE = re2.compile(r"[A-Za-z0-9][A-Za-z0-9._%+\-]*@[A-Za-z0-9.\-]+\.[A-Za-z]{2,24}")
_EDGES = ".-!?*_=|/#~`"

# Countries whose national notation is tried where a word says that a phone number follows.
_REGIONS_WITH_TRUNK_ZERO = ("GB", "DE", "FR", "IT", "NL", "AU")
_REGIONS_WITHOUT = ("US", "ES", "PL", "IN")
NATIONAL_PHONE_COST = 4


def find_emails(text: str, budget: Budget) -> Iterator[Finding]:
    """Addresses that are well-formed; whether they exist is never asked."""
    at = -1
    while (at := text.find("@", at + 1)) >= 0:
        local = _LOCAL_REVERSED.match(text[max(0, at - _LOCAL_CHARS) : at][::-1])
        domain = _DOMAIN.match(text, at + 1)
        if local is None or domain is None:
            continue
        budget.spend()
        start, end = at - local.end(), domain.end()
        while end > start and text[end - 1] in ".-":
            end -= 1
        while start < end and text[start] in _EDGES:
            start += 1
        if _is_email(text[start:end]):
            yield Finding(EMAIL, start, end, 0.95, "email-validator")
            continue
        core = _CORE.search(text[start:end])
        if core is not None and _is_email(core.group()):
            yield Finding(EMAIL, start + core.start(), start + core.end(), 0.9, "email-validator")


def _is_email(candidate: str) -> bool:
    try:
        validate_email(candidate, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return False
    return True


def find_international_phone(text: str, start: int, end: int) -> Finding | None:
    """A number that begins with `+` at `start`, anywhere in the world."""
    return _first_phone(text, start, end, None)


def find_national_phone(text: str, start: int, end: int, *, named: bool) -> Finding | None:
    """A number in national notation.

    Args:
        text: The normalised string.
        start: First digit (or bracket).
        end: One past the last digit.
        named: Whether a word says that it is a phone number; else only North America's
            notation, which is distinct, is tried.
    """
    if not named:
        return _first_phone(text, start, end, "US")
    trunk = text[start:end].lstrip("( ").startswith("0")
    for region in _REGIONS_WITH_TRUNK_ZERO if trunk else _REGIONS_WITHOUT:
        found = _first_phone(text, start, end, region)
        if found is not None:
            return found
    return None


def _first_phone(text: str, start: int, end: int, region: str | None) -> Finding | None:
    for match in phonenumbers.PhoneNumberMatcher(text[start:end], region):
        return Finding(PHONE, start + match.start, start + match.end, 0.8, "phonenumbers")
    return None
