"""One entry of the ledger as it is exchanged: the leaf's bytes, and the row that held them.

The log commits to the leaf's bytes alone. The row's columns repeat what the leaf says, so that a
database can look it up; `disagreements` tells where they do not. `recorded_at` is in the row only:
it is the database's word, and no signature covers it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mc_contract.canonical import NotCanonical, decode_base64, encode_base64
from mc_contract.errors import McError
from mc_contract.ledger.merkle import HASH_BYTES, leaf_hash

MAX_LINE_BYTES = 4 * 1024 * 1024


HEAD_DAMAGED = "the ledger's head is damaged"
"""What the service says, and an auditor's tool understands, when the head row does not hold."""
SIGNER_REFUSES = "the ledger's signer refuses"
"""Likewise, when the log is not a continuation of what the service has signed of it."""


class EntryError(McError):
    """What should be a ledger entry is not one."""

    code = "ledger-entry"


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the log.

    Attributes:
        index: The leaf index that the row claims.
        leaf: The bytes that the log commits to.
        recorded_hash: The leaf hash that the row holds, 32 bytes.
        registered_id: The event id that the register of ids has at this index; None when the
            source does not tell (a file), empty when the register has none.
    """

    index: int
    leaf: bytes
    recorded_hash: bytes
    event_id: str
    tenant: str
    kind: str
    subject: str
    occurred_at: datetime
    recorded_at: datetime
    registered_id: str | None = None

    def leaf_hash(self) -> bytes:
        """The hash of the leaf's bytes, computed now."""
        return leaf_hash(self.leaf)

    def disagreements(self, region: str) -> list[str]:
        """The columns that say other than the leaf; `leaf` if it is no event at all."""
        try:
            said = json.loads(self.leaf)
            detail = said["detail"]
            told = {
                "region": (region, said["region"]),
                "event_id": (self.event_id, said["id"]),
                "tenant": (self.tenant, said["tenant"]),
                "kind": (self.kind, said["kind"]),
                "subject": (self.subject, subject_of(detail)),
                "occurred_at": (self.occurred_at, datetime.fromisoformat(said["occurred_at"])),
            }
        except (ValueError, KeyError, TypeError, AttributeError):
            return ["leaf"]
        wrong = [name for name, (column, leaf) in told.items() if column != leaf]
        if self.registered_id is not None and self.registered_id != self.event_id:
            wrong.append("ledger_id")
        return wrong

    def as_dict(self) -> dict[str, Any]:
        """The entry as JSON."""
        value: dict[str, Any] = {
            "index": self.index,
            "leaf": encode_base64(self.leaf),
            "leaf_hash": encode_base64(self.recorded_hash),
            "event_id": self.event_id,
            "tenant": self.tenant,
            "kind": self.kind,
            "subject": self.subject,
            "occurred_at": self.occurred_at.astimezone(UTC).isoformat(),
            "recorded_at": self.recorded_at.astimezone(UTC).isoformat(),
        }
        return (
            value if self.registered_id is None else {**value, "registered_id": self.registered_id}
        )

    @classmethod
    def from_dict(cls, value: object) -> Entry:
        """What `as_dict` gave.

        Raises:
            EntryError: it is malformed; whether leaf and columns agree is not looked at.
        """
        if not isinstance(value, dict):
            raise EntryError(f"an entry is a JSON object, got {type(value).__name__}")
        try:
            index = value["index"]
            if type(index) is not int or index < 0:
                raise EntryError("an entry's index is a number from 0")
            registered = value.get("registered_id")
            return cls(
                index=index,
                leaf=strict_base64(value["leaf"]),
                recorded_hash=_hash(value["leaf_hash"]),
                event_id=_text(value, "event_id"),
                tenant=_text(value, "tenant"),
                kind=_text(value, "kind"),
                subject=_text(value, "subject"),
                occurred_at=_time(value["occurred_at"]),
                recorded_at=_time(value["recorded_at"]),
                registered_id=None if registered is None else _text(value, "registered_id"),
            )
        except KeyError as error:
            raise EntryError(f"an entry has no {error}") from error
        except (ValueError, TypeError) as error:
            raise EntryError("an entry's fields are malformed") from error


def strict_base64(text: object) -> bytes:
    """Decode base64 in its one canonical spelling.

    Raises:
        EntryError: it is not.
    """
    if not isinstance(text, str):
        raise EntryError("expected base64 text")
    try:
        return decode_base64(text)
    except NotCanonical as error:
        raise EntryError(error.message) from error


def subject_of(detail: Mapping[str, Any]) -> str:
    """What an event is about, an operation's or a task's id, or empty."""
    return str(detail.get("operation_id") or detail.get("subject") or "")


def _hash(text: object) -> bytes:
    value = strict_base64(text)
    if len(value) != HASH_BYTES:
        raise EntryError(f"a hash has {HASH_BYTES} bytes, got {len(value)}")
    return value


def _text(value: Mapping[str, Any], name: str) -> str:
    if not isinstance(value[name], str):
        raise EntryError(f"an entry's {name} is text")
    return str(value[name])


def _time(text: object) -> datetime:
    at = datetime.fromisoformat(str(text))
    if at.tzinfo is None:
        raise EntryError("an entry's times have a zone")
    return at
