"""A recorded decision, found among ledger entries by its id."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

_CHANGED = "policy.changed"
_DENYING = frozenset({"request.refused", "reply.withheld"})


@dataclass(frozen=True, slots=True)
class FoundDecision:
    """A decision as the ledger has it.

    Attributes:
        event: Id of the event that tells it.
        kind: The event's kind.
        allowed: Whether policy permitted it; the platform may have refused it for another reason.
        policies: Those that determined it.
        digest: Of the set that answered.
        asked: The recorded question; None in events that are older than such records.
    """

    decision: str
    event: str
    kind: str
    tenant: str
    occurred_at: str
    allowed: bool
    policies: tuple[str, ...]
    digest: str
    reason: str
    asked: Mapping[str, Any] | None


def find_decision(
    decision: str, leaves: Iterable[bytes | Mapping[str, Any]]
) -> FoundDecision | None:
    """The first event that tells the decision; None if no leaf does.

    Args:
        decision: Its id, `dec_...`.
        leaves: Leaves of the log, as bytes or decoded; what is no event is passed over.
    """
    for said in _events(leaves, decision):
        try:
            detail = said["detail"]
            if detail.get("decision") != decision:
                continue
            asked = detail.get("asked")
            return FoundDecision(
                decision=decision,
                event=str(said["id"]),
                kind=str(said["kind"]),
                tenant=str(said["tenant"]),
                occurred_at=str(said["occurred_at"]),
                # Events of old do not say it themselves
                allowed=bool(detail.get("allowed", said["kind"] not in _DENYING)),
                policies=tuple(detail.get("policies", ())),
                digest=str(detail.get("policy_set", "")),
                reason=str(detail.get("reason", "")),
                asked=asked if isinstance(asked, Mapping) else None,
            )
        except (KeyError, TypeError, AttributeError):
            continue
    return None


def denial(index: int, leaf: bytes) -> dict[str, Any] | None:
    """What an entry tells of a decision that policy denied; None: it tells no such thing."""
    try:
        event = json.loads(leaf)
        detail = event["detail"]
        found = find_decision(str(detail["decision"]), [event])
        if found is None or found.allowed:
            return None
        asked = found.asked or {}
        resource = asked.get("resource") or {}
        return {
            "index": index,
            "decision": found.decision,
            "occurred_at": found.occurred_at,
            "tenant": found.tenant,
            "kind": found.kind,
            "principal": str(asked.get("principal") or detail.get("principal", "")),
            "action": str(asked.get("action") or detail.get("action", "")),
            "resource": str(resource.get("id") or detail.get("agent", "")),
            "policies": list(found.policies),
            "reason": found.reason,
        }
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def changes_in(leaves: Iterable[bytes | Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every change of the policy set, as the ledger tells it, the oldest first."""
    for said in _events(leaves, _CHANGED):
        with suppress(KeyError, TypeError, AttributeError):
            if said["kind"] != _CHANGED:
                continue
            detail = said["detail"]
            change = {
                "occurred_at": str(said["occurred_at"]),
                "old": str(detail["old"]),
                "new": str(detail["new"]),
                "principal": str(detail.get("principal", "")),
                "reason": str(detail.get("reason", "")),
                "changes": [str(change) for change in detail.get("changes", ())],
            }
            yield change


def _events(leaves: Iterable[bytes | Mapping[str, Any]], naming: str) -> Iterator[Any]:
    """The leaves that may be events which name something, decoded."""
    wanted = naming.encode()
    for leaf in leaves:
        if not isinstance(leaf, bytes):
            yield leaf
        elif wanted in leaf:
            with suppress(ValueError):
                yield json.loads(leaf)
