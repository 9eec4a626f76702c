"""Numbers that are valid in their country's plan beyond doubt, told without parsing them.

`phonenumbers` parses and validates any notation in some fifty microseconds. A number in international
notation that begins with no prefix which the library might strip, and that the plan of its country code's
main region knows, is valid in the library's eyes, too; about all others it is asked.
"""

from __future__ import annotations

import re
from functools import lru_cache

from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneMetadata
from phonenumbers.phonemetadata import PhoneNumberDesc

_KINDS = (
    *("premium_rate", "toll_free", "shared_cost", "voip", "personal_number", "pager", "uan"),
    *("voicemail", "fixed_line", "mobile"),
)
_CODE_DIGITS = 3
_WORLDWIDE = "001"
_Form = tuple[frozenset[int], re.Pattern[str]]


def is_valid_beyond_doubt(digits: str) -> bool:
    """Whether `+` and these digits is a valid number; False: the library may know better."""
    for size in range(1, _CODE_DIGITS + 1):
        if digits[:size] in _CODES:
            plan = _plan(int(digits[:size]))
            return plan is not None and _fits(plan, digits[size:])
    return False


def is_country(digits: str) -> bool:
    """Whether digits begin with a country's code."""
    return any(digits[:size] in _CODES for size in range(1, _CODE_DIGITS + 1))


_CODES = frozenset(map(str, COUNTRY_CODE_TO_REGION_CODE))


def _fits(plan: tuple[re.Pattern[str] | None, list[_Form]], number: str) -> bool:
    stripped, (general, *kinds) = plan
    if number[:1] == "0" or (stripped is not None and stripped.match(number) is not None):
        return False
    return _matches(general, number) and any(_matches(kind, number) for kind in kinds)


def _matches(form: _Form, number: str) -> bool:
    lengths, pattern = form
    return (not lengths or len(number) in lengths) and pattern.fullmatch(number) is not None


@lru_cache(maxsize=512)
def _plan(code: int) -> tuple[re.Pattern[str] | None, list[_Form]] | None:
    """What may be stripped, the general form and those of each kind; None: it takes more to tell."""
    region = COUNTRY_CODE_TO_REGION_CODE[code][0]
    data = PhoneMetadata.metadata_for_region_or_calling_code(code, region)
    if data is None or region == _WORLDWIDE or data.leading_digits is not None:
        return None
    general = _form(data.general_desc)
    if general is None:
        return None
    kinds = [_form(getattr(data, kind)) for kind in _KINDS]
    prefix = data.national_prefix_for_parsing
    return re.compile(prefix) if prefix else None, [general, *filter(None, kinds)]


def _form(described: PhoneNumberDesc | None) -> _Form | None:
    if described is None or not described.national_number_pattern:
        return None
    return frozenset(described.possible_length), re.compile(described.national_number_pattern)
