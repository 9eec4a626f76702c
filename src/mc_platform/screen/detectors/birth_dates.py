"""Dates of birth: a date that context words announce, of somebody who may be alive."""

from __future__ import annotations

from mc_platform.screen.detectors.context_words import in_record
from mc_platform.screen.detectors.recogniser import Prefiltered, recognisers
from mc_platform.screen.rules import rule_file

_RULES = rule_file("birth_dates")


BIRTH_RECOGNISERS: tuple[Prefiltered, ...] = (*recognisers(_RULES, {"in-record": in_record}),)

BIRTH_KEYS = _RULES.words("birth-keys")
_VALUE = _RULES.re2("value")


def is_birth_value(text: str) -> bool:
    """Whether what stands under a key for dates of birth is a date."""
    return _VALUE.match(text) is not None
