"""What a replica itself tells the ledger: which policy set it keeps out, and what its signer forgot."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from mc_contract.ledger.checkpoint import Checkpoint
from mc_platform.model.event import Kind
from mc_platform.model.tenant import PLATFORM
from mc_platform.ports import Journal
from mc_platform.record import EventFactory


@dataclass(frozen=True, slots=True)
class Announcements:
    """Records events that no request causes."""

    replica: str
    journal: Journal
    events: EventFactory

    async def policy_refused(self, old: str, new: str, reason: str) -> None:
        """Tell that a policy set was kept out."""
        subject = f"{self.replica}:{new or 'unreadable'}:{uuid.uuid4()}"
        await self._record(Kind.policy_refused, subject, old=old, new=new, reason=reason)

    async def signer_rebuilt(self, known: Checkpoint) -> None:
        """Tell that the signer's memory was lost, and what stands for it now."""
        subject = f"{self.replica}:{uuid.uuid4()}"
        await self._record(
            Kind.signer_state_rebuilt, subject, size=known.size, root=known.root.hex()
        )

    async def _record(self, kind: Kind, subject: str, **detail: Any) -> None:
        event = self.events.event(kind, PLATFORM, subject, replica=self.replica, **detail)
        await self.journal.record([event])
