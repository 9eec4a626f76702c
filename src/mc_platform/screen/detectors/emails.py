"""E-mail addresses, judged by email-validator."""

from __future__ import annotations

import re
from collections.abc import Iterator

from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from mc_platform.screen.findings import EMAIL, Budget, Finding
from mc_platform.screen.rules import compiled, rule_file

# Candidates only, read to the left and to the right of an `@`. The bound keeps a local part of
# 65 characters from hiding an address, and a long string from being read again for each `@`.
_LOCAL_REVERSED = re.compile(r"""[^\s@<>()\[\]{},;:"'\\]{1,64}""")
_DOMAIN = re.compile(r"[\w.\-]{1,253}")
_LOCAL_CHARS = 64
_LIBRARY_WORK = 60
_CORE = compiled(r"[A-Za-z0-9][A-Za-z0-9._%+\-]*@[A-Za-z0-9.\-]+\.[A-Za-z]{2,24}")
_EDGES = ".-!?*_=|/#~`"
_RULES = rule_file("emails")
_FILE = re.compile(rf"(?i)\.(?:{'|'.join(_RULES.listed('file-endings'))})\Z")
# Addresses in their usual form; the library is asked about all others.
_PLAIN = re.compile(
    r"[A-Za-z0-9_]+(?:[.+\-][A-Za-z0-9_]+){0,5}@(?:[A-Za-z0-9](?:[A-Za-z0-9]{0,40}|-?[A-Za-z0-9]{1,30})\.){1,4}([A-Za-z]{2,12})"
)
_MACHINE_USERS = _RULES.words("machine-users")
_PATH = re.compile(r":(?!//)[~./\w][\w./~\-]*")
_SPECIAL_TOPS = frozenset(name.rsplit(".", 1)[-1] for name in SPECIAL_USE_DOMAIN_NAMES)


def find_emails(text: str, _: str, budget: Budget) -> Iterator[Finding]:
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
        if (named := _FILE.search(text, start, end)) is not None:
            end = named.start()  # a file that is called by an address, or no address
        if _is_remote(text, start, at, domain.end()):
            continue
        if _is_email(text[start:end], budget):
            yield Finding(EMAIL, start, end, 0.95, "email-validator")
            continue
        core = _CORE.search(text[start:end])
        if core is not None and _is_email(core.group(), budget):
            yield Finding(EMAIL, start + core.start(), start + core.end(), 0.9, "email-validator")


def _is_remote(text: str, start: int, at: int, end: int) -> bool:
    """Whether it is where a program logs in, not where a person reads mail: `git@host:path`."""
    if text[start:at].lower() not in _MACHINE_USERS:
        return False
    return _PATH.match(text, end) is not None or text[max(0, start - 6) : start] == "ssh://"


def _is_email(candidate: str, budget: Budget) -> bool:
    plain = _PLAIN.fullmatch(candidate)
    if plain is not None and plain[1].lower() not in _SPECIAL_TOPS:
        return True  # the library would say the same, twenty times as slowly
    budget.work(_LIBRARY_WORK)
    try:
        validate_email(candidate, check_deliverability=False, test_environment=True)
    except EmailNotValidError:
        return False
    return True
