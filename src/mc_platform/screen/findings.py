"""What the recognisers share: a finding in one normalised string, and the budget."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

BY_SEVERITY = (
    SCREENING_LIMIT := "screening-limit",
    OPAQUE_FILE := "opaque-file",
    UNSAFE_URL := "unsafe-url",
    SECRET_KEY := "secret-key",
    CROSS_TENANT_ID := "cross-tenant-id",
    PAYMENT_CARD := "payment-card",
    NATIONAL_ID := "national-id",
    IBAN := "iban",
    BIOMETRIC := "biometric",
    HEALTH := "health",
    FINANCIAL := "financial",
    EMAIL := "email",
    PHONE := "phone",
    DATE_OF_BIRTH := "date-of-birth",
    POSTAL_ADDRESS := "postal-address",
    PERSON_NAME := "person-name",
    CUSTOMER_ID := "customer-id",
    TENANT_TERM := "tenant-term",
    EXFILTRATION_LINK := "exfiltration-link",
    TOOL_CALL := "tool-call",
    PROMPT_EXTRACTION := "prompt-extraction",
    PROMPT_INJECTION := "prompt-injection",
)
"""The labels; where findings overlap, the placeholder names the first of these."""

SIGNS = frozenset({PROMPT_INJECTION, PROMPT_EXTRACTION, TOOL_CALL, EXFILTRATION_LINK})
"""Signs of an attack."""

CANDIDATE_WORK = 25
"""Work of a validation: libraries take 5 to 250 microseconds."""


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
    """A string, or the whole message, costs more than screening may spend."""


class Budget:
    """What may still be spent on one string and on the whole message; paid before the work is done.

    Two currencies. *Candidates* are validations and decodings. *Work* is CPU time, in units of a
    microsecond of the reference machine (see `cost`): strings, characters, decoded texts, recognisers
    and candidates all cost some. The amounts are fixed, so that the same message ends at the same
    place everywhere. What exceeds either is labelled, not passed.
    """

    __slots__ = ("_leaf", "_leaf_limit", "_message", "_more", "_work")

    def __init__(
        self,
        *,
        per_leaf: int,
        per_message: int,
        work: float = math.inf,
        more: Callable[[], float] | None = None,
    ) -> None:
        """Take the amounts; `more` tells what may be spent beside `work`, asked when that ends."""
        self._more = more
        self._leaf_limit = per_leaf
        self._leaf = per_leaf
        self._message = per_message
        self._work = work

    @property
    def exhausted(self) -> bool:
        """Whether nothing is left for the whole message."""
        return self._message < 0 or (self._work < 0 and self._is_short())

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
        self._work -= units * CANDIDATE_WORK
        if self._leaf < 0 or self._message < 0 or (self._work < 0 and self._is_short()):
            raise LimitReached

    def charge(self, units: float) -> None:
        """Account for work that is done in any case; `exhausted` tells if it was too much."""
        self._work -= units

    def work(self, units: float) -> None:
        """Account for work before it is done.

        Raises:
            LimitReached: nothing is left for the whole message.
        """
        self._work -= units
        if self._work < 0 and self._is_short():
            raise LimitReached

    def affords(self, units: float) -> bool:
        """Account for work that is done already, unless it is more than is left."""
        if self._work < units and self._more is not None:
            self._work += self._more()
            self._more = None
        if self._work < units:
            return False
        self._work -= units
        return True

    def _is_short(self) -> bool:
        if self._more is not None:
            self._work += self._more()
            self._more = None
        return self._work < 0
