"""National identifiers: which validator of python-stdnum judges which shape.

A rule is trusted without context where a random string of its shape passes at most about two
times in a hundred (measured over 20,000 random strings each), or where its notation is distinct;
other shapes count only when a word nearby says what they are. Without that, one in eleven
nine-digit order numbers would be a Dutch citizen.

A *layout* writes a run of digits by its groups: `3-2-4` is `123-45-6789`, `11` eleven digits.
"""

from __future__ import annotations

from collections.abc import Callable

from mc_platform.screen.detectors.recogniser import LIBRARY, library_check
from mc_platform.screen.rules import Digits, rule_file

_RULES = rule_file("national_ids")
CONTEXT = _RULES.re2("context")
DIGIT_RULES, LETTERED_RULES = _RULES.table.digits, _RULES.table.lettered
_NINO_NEVER_ISSUED = frozenset({"BG", "GB", "NK", "KN", "TN", "NT", "ZZ"})


def _nino(value: str) -> bool:
    return value[:2].upper() not in _NINO_NEVER_ISSUED


def _nir(value: str) -> bool:
    # INSEE: the sex (with the codes for the time before a number is given), then year and month.
    return value.lstrip()[:1] in _NIR_BEGINS and _library_nir(value)


_NIR_BEGINS = frozenset("123478")
_library_nir = library_check(_RULES, "fr.nir", f"{LIBRARY}fr.nir")
_OWN = {"gb.nino": _nino, "fr.nir": _nir}

VALIDATORS: dict[str, Callable[[str], bool]] = {
    rule.name: _OWN.get(rule.name) or library_check(_RULES, rule.name, LIBRARY + rule.name)
    for rule in (*DIGIT_RULES, *LETTERED_RULES)
}

BY_LAYOUT: dict[str, list[tuple[Digits, bool]]] = {}
"""Layout to the rules that know it, each with whether a word must name it."""
for _rule in DIGIT_RULES:
    for _layout in _rule.free:
        BY_LAYOUT.setdefault(_layout, []).append((_rule, False))
    for _layout in _rule.named:
        BY_LAYOUT.setdefault(_layout, []).append((_rule, True))
