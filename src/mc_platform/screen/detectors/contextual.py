"""What only its context tells from honest text: a cue before it, or the key under which it stands.

Names, addresses, dates of birth, health, biometric and financial data, and identifiers that a word
must announce. Each finder comes with the shape that must occur before it is asked.
"""

from __future__ import annotations

from mc_platform.screen.detectors.announced_ids import MORE_ID_FINDERS
from mc_platform.screen.detectors.assigned_secrets import ASSIGNED_FINDERS
from mc_platform.screen.detectors.biometric import BIOMETRIC_FINDERS
from mc_platform.screen.detectors.birth_dates import BIRTH_FINDERS
from mc_platform.screen.detectors.field_names import find_under_key
from mc_platform.screen.detectors.financial import FINANCE_FINDERS
from mc_platform.screen.detectors.health import HEALTH_FINDERS
from mc_platform.screen.detectors.person_names import NAME_FINDERS
from mc_platform.screen.detectors.person_records import RECORD_FINDERS
from mc_platform.screen.detectors.postal_addresses import ADDRESS_FINDERS
from mc_platform.screen.detectors.recogniser import Shaped
from mc_platform.screen.detectors.unassigned_secrets import HANDED_FINDERS

_ANY_STRING = r"(?s)\A."

CONTEXT_FINDERS: tuple[Shaped, ...] = (
    (_ANY_STRING, find_under_key),
    *NAME_FINDERS,
    *ADDRESS_FINDERS,
    *BIRTH_FINDERS,
    *HEALTH_FINDERS,
    *BIOMETRIC_FINDERS,
    *FINANCE_FINDERS,
    *ASSIGNED_FINDERS,
    *HANDED_FINDERS,
    *MORE_ID_FINDERS,
    *RECORD_FINDERS,
)
"""Each finder, with the shape that must occur in a string before it is asked."""
