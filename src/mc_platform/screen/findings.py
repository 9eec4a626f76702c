"""What the finders of this room share: a finding in one normalised string, and the budget."""

from __future__ import annotations

from dataclasses import dataclass

EMAIL = "email"
PAYMENT_CARD = "payment-card"
NATIONAL_ID = "national-id"
IBAN = "iban"
PHONE = "phone"
SECRET_KEY = "secret-key"  # noqa: S105 - the name of a label
PERSON_NAME = "person-name"
POSTAL_ADDRESS = "postal-address"
DATE_OF_BIRTH = "date-of-birth"
HEALTH = "health"
BIOMETRIC = "biometric"
FINANCIAL = "financial"
CUSTOMER_ID = "customer-id"
TENANT_TERM = "tenant-term"
CROSS_TENANT_ID = "cross-tenant-id"
PROMPT_INJECTION = "prompt-injection"
PROMPT_EXTRACTION = "prompt-extraction"
TOOL_CALL = "tool-call"
EXFILTRATION_LINK = "exfiltration-link"
OPAQUE_FILE = "opaque-file"
UNSAFE_URL = "unsafe-url"
SCREENING_LIMIT = "screening-limit"

# Where findings overlap, the placeholder names the first of these.
BY_SEVERITY = (
    SCREENING_LIMIT,
    OPAQUE_FILE,
    UNSAFE_URL,
    SECRET_KEY,
    CROSS_TENANT_ID,
    PAYMENT_CARD,
    NATIONAL_ID,
    IBAN,
    BIOMETRIC,
    HEALTH,
    FINANCIAL,
    EMAIL,
    PHONE,
    DATE_OF_BIRTH,
    POSTAL_ADDRESS,
    PERSON_NAME,
    CUSTOMER_ID,
    TENANT_TERM,
    EXFILTRATION_LINK,
    TOOL_CALL,
    PROMPT_EXTRACTION,
    PROMPT_INJECTION,
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One span of a normalised string, with who said so, how surely (0 to 1), and why."""

    type: str
    start: int
    end: int
    confidence: float
    detector: str
    reason: str = ""


class LimitReached(Exception):
    """A string, or the whole message, holds more candidates than may be validated."""


class Budget:
    """How many candidates may still be validated, in one string and in the whole message.

    Validators cost 5 to 250 microseconds each; without a bound, a message made of candidates
    would hold the event loop. What exceeds the bound is labelled, not passed.
    """

    __slots__ = ("_leaf", "_leaf_limit", "_message")

    def __init__(self, *, per_leaf: int, per_message: int) -> None:
        self._leaf_limit = per_leaf
        self._leaf = per_leaf
        self._message = per_message

    def next_leaf(self) -> None:
        """Begin another string."""
        self._leaf = self._leaf_limit

    def spend(self, units: int = 1) -> None:
        """Account for a validation before it is made.

        Raises:
            LimitReached: nothing is left.
        """
        self._leaf -= units
        self._message -= units
        if self._leaf < 0 or self._message < 0:
            raise LimitReached
