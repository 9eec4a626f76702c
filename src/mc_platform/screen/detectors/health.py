"""Health data: a medical term that the text ties to one person, or to a patient's record.

General medical prose, which speaks of patients and diseases at large, is left alone.
"""

from __future__ import annotations

from mc_platform.screen.detectors.recogniser import Prefiltered, is_common, recognisers
from mc_platform.screen.rules import rule_file

_RULES = rule_file("health")
_KNOWN = _RULES.re2("known")


def _of_nobody_known(text: str, start: int, end: int) -> bool:
    return _KNOWN.search(text[max(0, start - 160) : end + 80]) is None


def _of_somebody(text: str, start: int, end: int) -> bool:
    line = text[max(0, start - 90) : start]
    line = line[max(line.rfind("\n"), line.rfind(" of "), line.rfind(" for ")) + 1 :]
    return _of_nobody_known(text, start, end) and not is_common(line.split(":")[0])


_SUPPOSED = _RULES.re2("supposed")


def _not_supposed(text: str, start: int, end: int) -> bool:
    line = text[max(0, start - 120) : start]
    sentence = line[max(line.rfind(mark) for mark in ".!?\n") + 1 :]
    return _SUPPOSED.search(sentence) is None and _of_nobody_known(text, start, end)


RECOGNISERS: tuple[Prefiltered, ...] = (
    *recognisers(
        _RULES,
        {
            "not-supposed": _not_supposed,
            "of-nobody-known": _of_nobody_known,
            "of-somebody": _of_somebody,
        },
    ),
)

KEYS = _RULES.words("health-keys")
_PLAIN_KEYS = _RULES.words("plain-health-keys")
_VALUE, _ALLERGEN, _NOTHING = map(_RULES.re2, ("medical", "allergen", "nothing"))


def is_value(key: str, text: str) -> bool:
    """Whether what stands under a squashed key for health data is a medical term."""
    if _NOTHING.match(text) is not None:
        return False
    if key in _PLAIN_KEYS and len(text) <= 200:
        return True
    return _VALUE.search(text) is not None or (
        key.startswith(("allerg", "alerg")) and _ALLERGEN.search(text) is not None
    )
