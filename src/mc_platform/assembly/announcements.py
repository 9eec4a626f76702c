"""What a replica itself tells the ledger: which rules are in force, and what its signer forgot."""

from __future__ import annotations

import uuid
from typing import Any

from mc_contract.ledger.checkpoint import Checkpoint
from mc_platform.adapters.postgres.rules import PostgresRules
from mc_platform.model.event import Kind
from mc_platform.model.tenant import PLATFORM
from mc_platform.ports import Journal
from mc_platform.record import EventFactory


class Announcements:
    """Records events that no request causes."""

    def __init__(
        self, *, replica: str, journal: Journal, events: EventFactory, rules: PostgresRules
    ) -> None:
        self._replica = replica
        self._journal = journal
        self._events = events
        self._rules = rules

    async def policy_set(self, digest: str, held: dict[str, dict[str, str]]) -> None:
        """Tell that a policy set is in force: once a region, by whoever is first."""
        await self._rules.note("policy_set", digest, held)

    async def catalogue(self, digest: str, held: dict[str, dict[str, str]]) -> None:
        """Tell that a catalogue is in force; likewise."""
        await self._rules.note("catalogue", digest, held)

    async def policy_refused(self, old: str, new: str, reason: str) -> None:
        """Tell that a policy set was kept out."""
        subject = f"{self._replica}:{new or 'unreadable'}:{uuid.uuid4()}"
        await self._record(Kind.policy_refused, subject, old=old, new=new, reason=reason)

    async def signer_rebuilt(self, known: Checkpoint) -> None:
        """Tell that the signer's memory was lost, and what stands for it now."""
        subject = f"{self._replica}:{uuid.uuid4()}"
        await self._record(
            Kind.signer_state_rebuilt, subject, size=known.size, root=known.root.hex()
        )

    async def _record(self, kind: Kind, subject: str, **detail: Any) -> None:
        event = self._events.event(kind, PLATFORM, subject, replica=self._replica, **detail)
        await self._journal.record([event])
