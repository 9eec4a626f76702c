"""What every act of a person on the platform needs: its event, its refusal told, its reason read."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

from mc_platform.errors import BadRequest, PolicyDenied
from mc_platform.model.event import Event, Kind, Recorded
from mc_platform.model.ids import EventId, TenantId
from mc_platform.model.tenant import Principal
from mc_platform.model.verdict import Action, Decision
from mc_platform.ports import Clock, Journal

_NAMESPACE = uuid.UUID("0a9d53c1-6a86-5d0e-9a0f-6f6a2a7a3b55")
_REASON_CHARS = 200
_LONGEST_LINE = 2000  # with spaces around


class Acts:
    """Records acts and refusals under the decision that they come from."""

    def __init__(self, journal: Journal, clock: Clock) -> None:
        self._journal = journal
        self._clock = clock

    def event(self, kind: Kind, tenant: TenantId, act: str, detail: Mapping[str, Any]) -> Event:
        """The event of one act: each request is an act of its own, so its id is its decision's."""
        return Event(
            id=EventId(str(uuid.uuid5(_NAMESPACE, f"{kind.value}|{act}"))),
            kind=kind,
            tenant=tenant,
            occurred_at=self._clock(),
            detail=detail,
        )

    async def record(
        self,
        kind: Kind,
        tenant: TenantId,
        principal: Principal,
        decision: Decision,
        detail: Mapping[str, Any],
    ) -> None:
        """Tell the ledger what a principal does, and which decision permits it.

        Raises:
            Unavailable: it is not recorded, so it must not be done.
        """
        told = _told(principal, decision, detail)
        await self._journal.record([self.event(kind, tenant, decision.id, told)])

    async def record_once(
        self,
        kind: Kind,
        principal: Principal,
        decision: Decision,
        detail: Mapping[str, Any],
        *,
        about: str,
    ) -> Recorded:
        """Tell the ledger of an act that can be done once only to the thing that `about` names.

        Returns:
            Where the first such act stands; it is this one only if it is `fresh`.

        Raises:
            Unavailable: it is not recorded, so it must not be done.
        """
        told = _told(principal, decision, detail)
        [recorded] = await self._journal.record([self.event(kind, principal.tenant, about, told)])
        return recorded

    @staticmethod
    def told(principal: Principal, decision: Decision, detail: Mapping[str, Any]) -> dict[str, Any]:
        """What is told of an act whose event somebody else makes."""
        return _told(principal, decision, detail)

    async def permitted(
        self,
        decide: Callable[..., Decision],
        principal: Principal,
        action: Action,
        *resource: str,
        **circumstances: Any,
    ) -> Decision:
        """The decision by which `decide` permits an action; a denial is recorded, then raised."""
        try:
            return decide(principal, action, *resource, **circumstances)
        except PolicyDenied as denied:
            await self.refused(principal, action, denied)
            raise

    async def refused(self, principal: Principal, action: Action, denied: PolicyDenied) -> None:
        """Tell the ledger that policy refused something; the caller raises it afterwards."""
        detail = {
            **denied.told,
            "subject": denied.decision_id,
            "principal": principal.id,
            "action": action.value,
            "decision": denied.decision_id,
            "reason": denied.reason,
        }
        await self._journal.record(
            [self.event(Kind.request_refused, principal.tenant, denied.decision_id, detail)]
        )


def _told(principal: Principal, decision: Decision, detail: Mapping[str, Any]) -> dict[str, Any]:
    asked = {} if decision.asked is None else {"asked": dict(decision.asked)}
    return {
        **asked,
        **detail,
        "principal": principal.id,
        "decision": decision.id,
        "allowed": decision.allowed,
        "policies": list(decision.policy_ids),
        "policy_set": decision.policy_digest,
    }


def reason_line(text: str) -> str:
    """A person's words as one short line; what screening finds in it is still to be replaced.

    Raises:
        BadRequest: empty, or longer than 200 characters.
    """
    if len(text) > _LONGEST_LINE:  # a large text is not looked through to be refused
        raise _no_reason(len(text))
    line = "".join(char if char.isprintable() else " " for char in text).strip()
    if not line or len(line) > _REASON_CHARS:
        raise _no_reason(len(line))
    return line


def _no_reason(chars: int) -> BadRequest:
    return BadRequest(
        f"a reason has 1 to {_REASON_CHARS} characters, got {chars}",
        hint="say why, in a sentence; it is recorded",
    )
