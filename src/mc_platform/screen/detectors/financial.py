"""Financial data: accounts by their context words and checksum, wallets, and what somebody owns or earns."""

from __future__ import annotations

from stdnum import bic

from mc_platform.screen.detectors.recogniser import Prefiltered, in_record, is_common, recognisers
from mc_platform.screen.rules import rule_file

_RULES = rule_file("financial")
_PERSONAL = _RULES.re2("personal")


def _own_bic(text: str, start: int, end: int) -> bool:
    """Whether a bank's code is a field, or part of somebody's bank details: alone it names a bank."""
    field = text[max(0, start - 3) : start].rstrip().endswith((":", "="))
    near = text[max(0, start - 120) : start] + "\n" + text[end : end + 120]
    return bool(bic.is_valid(text[start:end])) and (field or _PERSONAL.search(near) is not None)


def _clabe(text: str, start: int, end: int) -> bool:
    # Banco de Mexico: 3, 7, 1 over seventeen digits, each product modulo ten.
    digits = [int(char) for char in text[start:end] if char.isdigit()]
    total = sum(digit * (3, 7, 1)[at % 3] % 10 for at, digit in enumerate(digits[:-1]))
    return -total % 10 == digits[-1]


def _own_record(text: str, start: int, end: int) -> bool:
    return in_record(text, start, end, chars=120)


_SEQUENCES = "01234567890 9876543210"


def _several(text: str, start: int, end: int) -> bool:
    return len(set(text[start:end])) > 2


def _drawn(text: str, start: int, end: int) -> bool:
    return _several(text, start, end) and text[start:end] not in _SEQUENCES


_PUBLIC_MONEY = _RULES.re2("public-money")
_EXPIRY = _RULES.re2("expiry")


def _of_no_celebrity(text: str, start: int, end: int) -> bool:
    near = text[max(0, start - 90) : start]
    return _PUBLIC_MONEY.search(near + text[start : end + 24]) is None and not is_common(
        near[near.rfind("\n") + 1 :].rpartition(" of ")[2]
    )


def _of_a_card(text: str, start: int, end: int) -> bool:
    return text[start:end] not in _SEQUENCES and (
        _EXPIRY.search(text[max(0, start - 60) : start] + "\n" + text[end : end + 40]) is not None
    )


RECOGNISERS: tuple[Prefiltered, ...] = (
    *recognisers(
        _RULES,
        {
            "clabe": _clabe,
            "drawn": _drawn,
            "of-a-card": _of_a_card,
            "of-no-celebrity": _of_no_celebrity,
            "own-bic": _own_bic,
            "own-record": _own_record,
            "several": _several,
        },
    ),
)

_NUMERIC_KEYS = _RULES.words("numeric-keys")
KEYS = _NUMERIC_KEYS | _RULES.words("account-keys")
_AMOUNT, _ACCOUNT = map(_RULES.re2, ("amount-value", "account-value"))


def is_value(key: str, text: str) -> bool:
    """Whether what stands under a squashed key for financial data is an amount or an account."""
    if key in _NUMERIC_KEYS:
        return _AMOUNT.match(text) is not None
    return _ACCOUNT.match(text) is not None
