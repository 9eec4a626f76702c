"""What screening finds: labels, never verdicts. Only policy decides what a label means."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mc_platform.model.customer_ids import NO_IDS, CustomerIds

Part = dict[str, Any]
"""An A2A message part in its JSON form: `{"text": ..}`, `{"data": ..}`, `{"raw": ..}`, `{"url": ..}`."""

_CONTENTS = ("text", "raw", "url")


def without_nulls(part: Part) -> Part:
    """The part without the members that a serialiser wrote as null although they are not there.

    `data` may be null itself: it is the part's content then if nothing else is.
    """
    other = any(part.get(name) is not None for name in _CONTENTS)
    return {
        name: value
        for name, value in part.items()
        if value is not None or (name == "data" and not other)
    }


Path = tuple[str | int, ...]
"""Where in a list of parts a string stands: part index, then JSON keys and list indices."""


@dataclass(frozen=True, slots=True)
class Label:
    """One finding in one string of a message.

    Attributes:
        type: `email`, `payment-card`, `national-id`, `iban`, `phone`, `secret-key`, `opaque-file` ...
        path: The string in which it stands.
        start: First character, counted in the original string.
        end: One past the last character.
        confidence: 0 to 1.
        detector: The library (and rule) that said so, e.g. `stdnum.luhn`.
        reason: One sentence for a reader, without content; empty: the detector says enough.
    """

    type: str
    path: Path
    start: int
    end: int
    confidence: float
    detector: str
    reason: str = ""

    @property
    def data_class(self) -> str:
        """What policies call it; see `CLASSES`."""
        return CLASSES.get(self.type, "unreadable")


CLASSES: Mapping[str, str] = {
    "email": "personal",
    "phone": "personal",
    "person-name": "personal",
    "postal-address": "personal",
    "date-of-birth": "personal",
    "national-id": "personal",
    "payment-card": "financial",
    "iban": "financial",
    "financial": "financial",
    "health": "special",
    "biometric": "special",
    "secret-key": "credential",
    "customer-id": "tenant",
    "tenant-term": "tenant",
    "cross-tenant-id": "foreign",
    "prompt-injection": "sign",
    "prompt-extraction": "sign",
    "tool-call": "sign",
    "exfiltration-link": "sign",
    "opaque-file": "file",
    "unsafe-url": "network",
    "screening-limit": "unreadable",
}
"""Each label type's data class, as policies speak of it: `personal`, `financial`, `special` (health
and biometric categories), `credential`, `tenant` (what the tenant itself declares), `foreign`
(another tenant's), `sign` (of an attack, no data), `file` (not looked into), `network` (a
file's URL that may lead its reader into a network of its own), `unreadable` (could not
be screened within its bounds). An unknown type is `unreadable`."""


@dataclass(frozen=True, slots=True)
class Scope:
    """What screening is told about the tenant in whose name it looks.

    Attributes:
        customer_ids: RE2 patterns of the tenant's own customer ids.
        dictionary: Words of the tenant that are confidential.
        all_ids: The patterns of all tenants; those that are not the tenant's own are foreign.
        hosts: Hosts to which links may carry data: the tenant's, and those that the request names.
    """

    customer_ids: tuple[str, ...] = ()
    dictionary: tuple[str, ...] = ()
    all_ids: CustomerIds = NO_IDS
    hosts: frozenset[str] = field(default_factory=frozenset)


NO_SCOPE = Scope()


_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Screening:
    """The labels of one message; `types` and `classes` are what policy sees."""

    labels: tuple[Label, ...] = ()

    @property
    def types(self) -> frozenset[str]:
        """The distinct label types."""
        return frozenset(label.type for label in self.labels) if self.labels else _NONE

    @property
    def classes(self) -> frozenset[str]:
        """The data classes of the labels; see `CLASSES`."""
        return frozenset(label.data_class for label in self.labels) if self.labels else _NONE

    def counts(self) -> dict[str, int]:
        """How often each label type occurs; what the ledger stores instead of the text."""
        result: dict[str, int] = {}
        for label in self.labels:
            result[label.type] = result.get(label.type, 0) + 1
        return result
