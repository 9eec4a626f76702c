"""Biometric data: values by which a body is recognised, with the context words that says so.

A key's or certificate's fingerprint is none: templates, codes, embeddings and prints of a voice
or face are, with a value of some length behind them.
"""

from __future__ import annotations

from mc_platform.screen.detectors.recogniser import Prefiltered, recognisers
from mc_platform.screen.rules import rule_file

_RULES = rule_file("biometric")


BIOMETRIC_RECOGNISERS: tuple[Prefiltered, ...] = (*recognisers(_RULES, {}),)

BIOMETRIC_KEYS = _RULES.words("biometric-keys")
_KEY_VALUE = _RULES.re2("key-value")


def is_biometric_value(text: str) -> bool:
    """Whether what stands under a key for biometric data is encoded, or a number of a vector."""
    return _KEY_VALUE.search(text) is not None
