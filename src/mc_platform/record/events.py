"""Events with stable ids, so that recording one twice records it once.

`EventFactory` makes those of tasks and operations; `AuditRecorder` makes and records those of what
a principal does or is refused, each under the decision that it comes from.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from mc_platform.model.event import Event, Kind, Recorded
from mc_platform.model.ids import EventId, TenantId
from mc_platform.model.made_ids import derived_id
from mc_platform.model.tenant import Principal
from mc_platform.model.verdict import Decision
from mc_platform.ports import Clock, Journal

_SUBJECTS = uuid.UUID("6f0a7a52-7b1e-5b57-9f5e-2a6d1c1b3a10").bytes
_ACTS = uuid.UUID("0a9d53c1-6a86-5d0e-9a0f-6f6a2a7a3b55").bytes


class EventFactory:
    """Makes events of this region at the clock's time."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    def event(self, kind: Kind, tenant: TenantId, subject: str, /, **detail: Any) -> Event:
        """One event about `subject` (a task or operation id).

        The id is derived from kind and subject: a request is accepted once, released once.
        """
        whole = {"subject": subject, **detail}
        return Event(subject_id(kind, subject), kind, tenant, self._clock(), whole)


def subject_id(kind: Kind, subject: str) -> EventId:
    """The id of the event of this kind about a subject."""
    return _id(_SUBJECTS, kind, subject)


def _id(namespace: bytes, kind: Kind, about: str) -> EventId:
    return EventId(derived_id(namespace, f"{kind}|{about}"))


def act_ids(decision: str) -> list[str]:
    """The ids that events of a decision's own have: of a refusal, and of what a principal does.

    A message's decision is told by events of its task, whose ids are the task's.
    """
    return [_id(_ACTS, kind, decision) for kind in Kind]


def decision_detail(decision: Decision) -> dict[str, Any]:
    """A decision as the ledger keeps it, with its question so that it can be asked again."""
    return {
        **({} if decision.asked is None else {"asked": decision.asked}),
        "decision": decision.id,
        "allowed": decision.allowed,
        "policies": list(decision.policy_ids),
        "policy_set": decision.policy_digest,
        "reason": decision.reason,
    }


class AuditRecorder:
    """Writes actions of principals, and refusals, to the ledger."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock

    async def record(
        self,
        kind: Kind,
        tenant: TenantId,
        principal: Principal,
        decision: Decision,
        detail: Mapping[str, Any],
    ) -> None:
        """Record what a principal does, and which decision permits it.

        Raises:
            Unavailable: it is not recorded, so it must not be done.
        """
        whole = self.detail(principal, decision, detail)
        await self._journal.record([self._event(kind, tenant, decision.id, whole)])

    async def record_once(
        self,
        kind: Kind,
        principal: Principal,
        decision: Decision,
        detail: Mapping[str, Any],
        *,
        about: str,
    ) -> Recorded:
        """Record what can be done once only to the thing that `about` names.

        Returns:
            Where the first such event stands; it is this one only if it is `fresh`.

        Raises:
            Unavailable: it is not recorded, so it must not be done.
        """
        whole = self.detail(principal, decision, detail)
        [recorded] = await self._journal.record([self._event(kind, principal.tenant, about, whole)])
        return recorded

    async def record_refusal(
        self,
        principal: Principal,
        decision: Decision,
        detail: Mapping[str, Any],
        kind: Kind,
    ) -> None:
        """Record that something is refused: the one form that all refusals have.

        Args:
            detail: What else is known; its `reason` goes before the decision's.

        Raises:
            Unavailable: it is not recorded.
        """
        whole = {
            "subject": decision.id,
            "principal": principal.id,
            "action": decision.action.value,
            **decision_detail(decision),
            **detail,
        }
        await self._journal.record([self._event(kind, principal.tenant, decision.id, whole)])

    @staticmethod
    def detail(
        principal: Principal, decision: Decision, detail: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The detail of an event that somebody else makes; a `reason` in it is the principal's."""
        decided = decision_detail(decision)
        del decided["reason"]
        return {**decided, **detail, "principal": principal.id}

    def _event(self, kind: Kind, tenant: TenantId, act: str, detail: Mapping[str, Any]) -> Event:
        # Each request is an act of its own, so its event's id is its decision's
        return Event(_id(_ACTS, kind, act), kind, tenant, self._clock(), detail)
