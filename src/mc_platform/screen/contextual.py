"""What only its context tells from honest text: a cue before it, or the key under which it stands.

Names, addresses, dates of birth, health, biometric and financial data, and identifiers that a word
must announce. Each finder comes with the shape that must occur before it is asked.
"""

from __future__ import annotations

from mc_platform.screen.addresses import ADDRESS_FINDERS
from mc_platform.screen.assigned import ASSIGNED_FINDERS
from mc_platform.screen.biometric import BIOMETRIC_FINDERS
from mc_platform.screen.births import BIRTH_FINDERS
from mc_platform.screen.detector import Shaped
from mc_platform.screen.finance import FINANCE_FINDERS
from mc_platform.screen.handed import HANDED_FINDERS
from mc_platform.screen.health import HEALTH_FINDERS
from mc_platform.screen.keyed import find_under_key
from mc_platform.screen.more_ids import MORE_ID_FINDERS
from mc_platform.screen.persons import NAME_FINDERS
from mc_platform.screen.records import RECORD_FINDERS

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
