"""What screening finds: labels, never verdicts. Only policy decides what a label means."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Part = dict[str, Any]
"""An A2A message part in its JSON form: `{"text": ..}`, `{"data": ..}`, `{"raw": ..}`, `{"url": ..}`."""

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
    """

    type: str
    path: Path
    start: int
    end: int
    confidence: float
    detector: str


@dataclass(frozen=True, slots=True)
class Screening:
    """The labels of one message; `types` is what policy sees."""

    labels: tuple[Label, ...] = ()

    @property
    def types(self) -> frozenset[str]:
        """The distinct label types."""
        return frozenset(label.type for label in self.labels)

    def counts(self) -> dict[str, int]:
        """How often each label type occurs; what the ledger stores instead of the text."""
        result: dict[str, int] = {}
        for label in self.labels:
            result[label.type] = result.get(label.type, 0) + 1
        return result
