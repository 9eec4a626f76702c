"""Every recogniser, with the prefilter pattern that must occur before it is asked, and what it may find."""

from __future__ import annotations

from functools import partial

from mc_platform.screen.detectors.alphanumeric_ids import (
    IBAN_PREFILTER,
    find_ibans,
    find_lettered_ids,
    widened_pattern,
)
from mc_platform.screen.detectors.announced_ids import MORE_ID_RECOGNISERS
from mc_platform.screen.detectors.assigned_secrets import ASSIGNED_RECOGNISERS
from mc_platform.screen.detectors.biometric import BIOMETRIC_RECOGNISERS
from mc_platform.screen.detectors.birth_dates import BIRTH_RECOGNISERS
from mc_platform.screen.detectors.digit_groups import RUN_PREFILTER
from mc_platform.screen.detectors.emails import find_emails
from mc_platform.screen.detectors.exfiltration_links import LINK_RECOGNISERS
from mc_platform.screen.detectors.field_names import find_under_key
from mc_platform.screen.detectors.financial import FINANCE_RECOGNISERS
from mc_platform.screen.detectors.health import HEALTH_RECOGNISERS
from mc_platform.screen.detectors.key_rules import KEY_RULES, find_keys
from mc_platform.screen.detectors.national_ids import LETTERED_RULES
from mc_platform.screen.detectors.numbers import find_numbers
from mc_platform.screen.detectors.payment_cards import SCIENTIFIC, find_scientific
from mc_platform.screen.detectors.person_names import NAME_RECOGNISERS
from mc_platform.screen.detectors.person_records import RECORD_RECOGNISERS
from mc_platform.screen.detectors.postal_addresses import ADDRESS_RECOGNISERS
from mc_platform.screen.detectors.prompt_injection import INJECTION_RECOGNISERS
from mc_platform.screen.detectors.recogniser import Recogniser
from mc_platform.screen.detectors.unassigned_secrets import HANDED_RECOGNISERS
from mc_platform.screen.findings import (
    EMAIL,
    EXFILTRATION_LINK,
    IBAN,
    NATIONAL_ID,
    PAYMENT_CARD,
    PHONE,
    PROMPT_EXTRACTION,
    PROMPT_INJECTION,
    SECRET_KEY,
    TOOL_CALL,
)

Entry = tuple[str, Recogniser, frozenset[str]]
"""A prefilter pattern, its recogniser, and the labels that it may lead to; `""`: any."""

_ANY_STRING = r"(?s)\A."
_NUMBERS = frozenset({PAYMENT_CARD, NATIONAL_ID, PHONE})
_SIGNS = frozenset({PROMPT_INJECTION, PROMPT_EXTRACTION, TOOL_CALL, EXFILTRATION_LINK})

FORMED: tuple[Entry, ...] = (
    (r"[^\s@]@[^\s@]", lambda text, _, budget: find_emails(text, budget), frozenset({EMAIL})),
    (RUN_PREFILTER, find_numbers, _NUMBERS),
    (IBAN_PREFILTER, lambda text, _, budget: find_ibans(text, budget), frozenset({IBAN})),
    (SCIENTIFIC, lambda text, _, budget: find_scientific(text, budget), _NUMBERS),
    *(
        (widened_pattern(rule), partial(find_lettered_ids, rule), frozenset({NATIONAL_ID}))
        for rule in LETTERED_RULES
    ),
)
"""What its own form tells: addresses, numbers, identifiers."""

KEYS: tuple[Entry, ...] = tuple(
    (rule.pattern, partial(find_keys, rule), frozenset({SECRET_KEY})) for rule in KEY_RULES
)

CONTEXTUAL: tuple[Entry, ...] = tuple(
    (pattern, recognise, frozenset({""}))
    for pattern, recognise in (
        (_ANY_STRING, find_under_key),
        *NAME_RECOGNISERS,
        *ADDRESS_RECOGNISERS,
        *BIRTH_RECOGNISERS,
        *HEALTH_RECOGNISERS,
        *BIOMETRIC_RECOGNISERS,
        *FINANCE_RECOGNISERS,
        *ASSIGNED_RECOGNISERS,
        *HANDED_RECOGNISERS,
        *MORE_ID_RECOGNISERS,
        *RECORD_RECOGNISERS,
    )
)
"""What only its context tells from honest text: words before it, or the key under which it stands."""

ATTACKS: tuple[Entry, ...] = tuple(
    (pattern, recognise, _SIGNS)
    for pattern, recognise in (*INJECTION_RECOGNISERS, *LINK_RECOGNISERS)
)
"""Signs of an attack: wording, smuggled calls of tools, links that carry data away."""

RECOGNISERS: tuple[Entry, ...] = (*FORMED, *KEYS, *CONTEXTUAL, *ATTACKS)
