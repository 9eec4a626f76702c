"""A recorded decision beside what the set in force says of it today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mc_ops.policies.ledger import FoundDecision


def explanation(found: FoundDecision, in_force: Mapping[str, Any]) -> dict[str, Any]:
    """What `mcctl policy explain` shows, as it appears in JSON.

    Args:
        found: The decision, out of the ledger.
        in_force: The report of `policy explain-set`.
    """
    same_set = found.digest == in_force["digest"]
    now = in_force.get("now")
    why_not = "the event does not hold the question" if found.asked is None else ""
    holds = None
    if now is not None and "not_restorable" in now:
        why_not = str(now["not_restorable"])
    elif now is not None:
        # A reply refused raw and released redacted is one recorded decision: the second one
        holds = (now["allowed"], now["policies"]) == (found.allowed, list(found.policies))
    return {
        "decision": found.decision,
        "event": found.event,
        "kind": found.kind,
        "tenant": found.tenant,
        "occurred_at": found.occurred_at,
        "asked": found.asked,
        "allowed": found.allowed,
        "reason": found.reason,
        "policy_set": found.digest,
        "same_set_today": same_set,
        # Of another set the same id may mean another thing: its text is not shown as this one's
        "policies": [
            in_force["policies"].get(name, {"id": name}) if same_set else {"id": name}
            for name in found.policies
        ],
        "now": now,
        "holds_today": holds,
        "why_not": why_not,
    }
