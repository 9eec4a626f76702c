"""What the key above a value says that it is, and whether the value may be that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from mc_platform.screen.detectors import (
    assigned_secrets,
    financial,
    health,
    person_names,
    postal_addresses,
)
from mc_platform.screen.findings import (
    BIOMETRIC,
    DATE_OF_BIRTH,
    FINANCIAL,
    HEALTH,
    PERSON_NAME,
    POSTAL_ADDRESS,
    SECRET_KEY,
    Budget,
    Finding,
)
from mc_platform.screen.rules import rule_file, squash, words_of

_RULES = rule_file("common")
_BIRTH, _BODY = rule_file("birth_dates"), rule_file("biometric")
_BIRTH_VALUE, _BODY_VALUE = _BIRTH.re2("value"), _BODY.re2("key-value")
_KINDS: tuple[tuple[str, frozenset[str], Callable[[str, str], bool]], ...] = (
    (PERSON_NAME, person_names.KEYS, lambda _, text: person_names.is_name_value(text)),
    (POSTAL_ADDRESS, postal_addresses.KEYS, lambda _, text: postal_addresses.is_value(text)),
    (DATE_OF_BIRTH, _BIRTH.words("birth-keys"), lambda _, text: bool(_BIRTH_VALUE.match(text))),
    (HEALTH, health.KEYS, health.is_value),
    (BIOMETRIC, _BODY.words("biometric-keys"), lambda _, text: bool(_BODY_VALUE.search(text))),
    (FINANCIAL, financial.KEYS, financial.is_value),
    (SECRET_KEY, assigned_secrets.KEYS, assigned_secrets.is_value),
)
# `customer_first_name` and `patientDob` say the same as `first_name` and `dob`.
_WHOSE, _NO_KIND = _RULES.listed("whose"), _RULES.words("no-kind")
_MOST_WORDS = 6
_MAX_CHARS = 400
_KEY_WORK = 6


@lru_cache(maxsize=4096)
def kind_of(key: str) -> tuple[str, str] | None:
    """The label type of what stands under a key, and the key by which it is known."""
    words = words_of(key).split()
    if words and (words[-1].isdigit() or words[-1] in _NO_KIND):
        words.pop()
    squashed = squash(key)
    whose = next((word for word in _WHOSE if squashed.startswith(word)), "")
    # The whole says most: `account holder name` before `name`
    ends = ["".join(words[at:]) for at in range(max(0, len(words) - _MOST_WORDS), len(words))]
    for known in (squashed, squashed.removeprefix(whose), *ends):
        for kind, keys, _ in _KINDS:
            if known in keys:
                return kind, known
    return None


VALID = {kind: valid for kind, _, valid in _KINDS}


def find_under_key(text: str, key: str, budget: Budget) -> Iterator[Finding]:
    """The whole string, if its key names a kind of personal data and the value may be one."""
    if not key or len(text) > _MAX_CHARS:
        return
    budget.work(_KEY_WORK)
    known = kind_of(key)
    if known is None:
        return
    budget.spend()
    kind, squashed = known
    if VALID[kind](squashed, text):
        yield Finding(kind, 0, len(text), 0.9, "context.key", "The key above it says what it is.")
