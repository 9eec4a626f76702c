"""Every recogniser, with the prefilter pattern that must occur before it is asked, and what it may find.

A rule file of recognisers that no module of its name reads is read here: it needs no Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain

from mc_platform.screen.detectors import (
    announced_ids,
    assigned_secrets,
    exfiltration_links,
    financial,
    health,
    person_names,
    person_records,
    postal_addresses,
    prompt_injection,
    published_keys,
    unassigned_secrets,
)
from mc_platform.screen.detectors.alphanumeric_ids import (
    IBAN_PREFILTER,
    find_ibans,
    find_lettered_ids,
    widened_pattern,
)
from mc_platform.screen.detectors.digit_groups import RUN_PREFILTER
from mc_platform.screen.detectors.emails import find_emails
from mc_platform.screen.detectors.field_names import find_under_key
from mc_platform.screen.detectors.key_rules import KEY_RULES, find_keys
from mc_platform.screen.detectors.national_ids import LETTERED_RULES
from mc_platform.screen.detectors.numbers import find_numbers
from mc_platform.screen.detectors.payment_cards import SCIENTIFIC, find_scientific
from mc_platform.screen.detectors.recogniser import Prefiltered, Recogniser, recognisers
from mc_platform.screen.findings import (
    EMAIL,
    IBAN,
    NATIONAL_ID,
    PAYMENT_CARD,
    PHONE,
    SECRET_KEY,
    SIGNS,
)
from mc_platform.screen.rules import FOLDER, rule_file

Entry = tuple[str, Recogniser, frozenset[str]]
"""A prefilter pattern, its recogniser, and the labels that it may lead to; `""`: any."""

_ANY_STRING = r"(?s)\A."
_BY_CONTEXT = (
    person_names,
    postal_addresses,
    health,
    financial,
    assigned_secrets,
    unassigned_secrets,
    published_keys,
    announced_ids,
    person_records,
)
_OF_ATTACKS = (prompt_injection, exfiltration_links)
_NUMBERS = frozenset({PAYMENT_CARD, NATIONAL_ID, PHONE})


def of_files_alone() -> Iterator[Prefiltered]:
    """The recognisers of the rule files that no module reads.

    Raises:
        Misconfigured: a file cannot be used.
    """
    read = {module.__name__.rpartition(".")[2] for module in (*_BY_CONTEXT, *_OF_ATTACKS)}
    for name in sorted({path.stem for path in FOLDER.glob("*.toml")} - read):
        yield from recognisers(rule_file(name))


FORMED: tuple[Entry, ...] = (
    (r"[^\s@]@[^\s@]", find_emails, frozenset({EMAIL})),
    (RUN_PREFILTER, find_numbers, _NUMBERS),
    (IBAN_PREFILTER, find_ibans, frozenset({IBAN})),
    (SCIENTIFIC, find_scientific, _NUMBERS),
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
        *chain.from_iterable(module.RECOGNISERS for module in _BY_CONTEXT),
        *of_files_alone(),
    )
)
"""What only its context tells from honest text: words before it, or the key under which it stands."""

ATTACKS: tuple[Entry, ...] = tuple(
    (pattern, recognise, SIGNS)
    for module in _OF_ATTACKS
    for pattern, recognise in module.RECOGNISERS
)
"""Signs of an attack: wording, smuggled calls of tools, links that carry data away."""

RECOGNISERS: tuple[Entry, ...] = (*FORMED, *KEYS, *CONTEXTUAL, *ATTACKS)
