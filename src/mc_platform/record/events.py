"""Builds events with stable ids, so that recording one twice records it once."""

from __future__ import annotations

import uuid
from typing import Any

from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import EventId, TenantId
from mc_platform.ports import Clock

_NAMESPACE = uuid.UUID("6f0a7a52-7b1e-5b57-9f5e-2a6d1c1b3a10")


class EventFactory:
    """Makes events of this region at the clock's time."""

    def __init__(self, *, clock: Clock) -> None:
        self._clock = clock

    def event(self, kind: Kind, tenant: TenantId, subject: str, /, **detail: Any) -> Event:
        """One event about `subject` (a task or operation id).

        The id is derived from kind and subject: a request is accepted once, released once.
        """
        return Event(
            id=EventId(str(uuid.uuid5(_NAMESPACE, f"{kind.value}|{subject}"))),
            kind=kind,
            tenant=tenant,
            occurred_at=self._clock(),
            detail={"subject": subject, **detail},
        )
