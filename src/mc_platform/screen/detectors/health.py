"""Health data: a medical term that the text ties to one person, or to a patient's record.

General medical prose, which speaks of patients and diseases at large, is left alone.
"""

from __future__ import annotations

import re2

from mc_platform.screen.detectors.context_words import is_common
from mc_platform.screen.detectors.recogniser import Prefiltered, recognisers
from mc_platform.screen.rules import rule_file

_RULES = rule_file("health")


_DISEASE = _RULES.pattern("disease")
_DRUG = _RULES.pattern("drug")
_DOSE = _RULES.pattern("dose")
_MEDICAL = _RULES.pattern("medical")

_KNOWN = _RULES.re2("known")


def _of_nobody_known(text: str, start: int, end: int) -> bool:
    return _KNOWN.search(text[max(0, start - 160) : end + 80]) is None


def _of_somebody(text: str, start: int, end: int) -> bool:
    line = text[max(0, start - 90) : start]
    line = line[max(line.rfind("\n"), line.rfind(" of "), line.rfind(" for ")) + 1 :]
    return _of_nobody_known(text, start, end) and not is_common(line.split(":")[0])


# Guidelines speak of a patient who may be anybody.
_SUPPOSED = re2.compile(
    r"(?i)\b(?:if|when|where|whether|unless|once|until|suppose|assum\w+|should|may|might|must|can|could|in case"
    r"|e\.g|for example|guideline\w*|protocol|\?)"
)


def _not_supposed(text: str, start: int, end: int) -> bool:
    line = text[max(0, start - 120) : start]
    sentence = line[max(line.rfind(mark) for mark in ".!?\n") + 1 :]
    return _SUPPOSED.search(sentence) is None and _of_nobody_known(text, start, end)


_REASON = "The text ties a medical term to one person."

HEALTH_RECOGNISERS: tuple[Prefiltered, ...] = (
    *recognisers(
        _RULES,
        {
            "not-supposed": _not_supposed,
            "of-nobody-known": _of_nobody_known,
            "of-somebody": _of_somebody,
        },
    ),
)

HEALTH_KEYS = _RULES.words("health-keys")
PLAIN_HEALTH_KEYS = _RULES.words("plain-health-keys")
_VALUE = re2.compile(_MEDICAL)
_ALLERGEN = re2.compile(
    r"(?i)\b(?:penicillin|peanuts?|latex|pollen|shellfish|sulfa|nuts|dust|gluten)\b"
)
_NOTHING = re2.compile(
    r"(?i)\A\W*(?:none|n/?a|null|unknown|string|true|false|no|text|nil|object)?\W*\z"
)


def is_health_value(key: str, text: str) -> bool:
    """Whether what stands under a squashed key for health data is a medical term."""
    if _NOTHING.match(text) is not None:
        return False
    if key in PLAIN_HEALTH_KEYS and len(text) <= 200:
        return True
    return _VALUE.search(text) is not None or (
        key.startswith(("allerg", "alerg")) and _ALLERGEN.search(text) is not None
    )
