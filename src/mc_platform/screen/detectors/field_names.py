"""What the key above a value says that it is, and whether the value may be that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

from mc_platform.screen.detectors.assigned_secrets import (
    SECRET_KEYS,
    TOKEN_KEYS,
    is_secret_value,
)
from mc_platform.screen.detectors.biometric import BIOMETRIC_KEYS, is_biometric_value
from mc_platform.screen.detectors.birth_dates import BIRTH_KEYS, is_birth_value
from mc_platform.screen.detectors.financial import (
    ACCOUNT_KEYS,
    NUMERIC_KEYS,
    is_financial_value,
)
from mc_platform.screen.detectors.health import HEALTH_KEYS, is_health_value
from mc_platform.screen.detectors.person_names import PERSON_KEYS, is_name_value
from mc_platform.screen.detectors.postal_addresses import ADDRESS_KEYS, is_address_value
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
from mc_platform.screen.rules import rule_file, squash

_RULES = rule_file("common")
_KINDS: tuple[tuple[str, frozenset[str], Callable[[str, str], bool]], ...] = (
    (PERSON_NAME, PERSON_KEYS, lambda _, text: is_name_value(text)),
    (POSTAL_ADDRESS, ADDRESS_KEYS, lambda _, text: is_address_value(text)),
    (DATE_OF_BIRTH, BIRTH_KEYS, lambda _, text: is_birth_value(text)),
    (HEALTH, HEALTH_KEYS, is_health_value),
    (BIOMETRIC, BIOMETRIC_KEYS, lambda _, text: is_biometric_value(text)),
    (FINANCIAL, NUMERIC_KEYS | ACCOUNT_KEYS, is_financial_value),
    (
        SECRET_KEY,
        SECRET_KEYS | TOKEN_KEYS,
        lambda key, text: is_secret_value(text, password=key in SECRET_KEYS),
    ),
)
# `customer_first_name` and `patientDob` say the same as `first_name` and `dob`.
_WHOSE = _RULES.listed("whose")
_MAX_CHARS = 400
_KEY_WORK = 6


@lru_cache(maxsize=4096)
def kind_of(key: str) -> tuple[str, str] | None:
    """The label type of what stands under a key, and the key by which it is known."""
    squashed = squash(key)
    whose = next((word for word in _WHOSE if squashed.startswith(word)), "")
    for known in (squashed, squashed.removeprefix(whose)):
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
