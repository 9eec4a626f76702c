"""Break-glass: an operator's way into one tenant's data, opened by two people for a bounded time."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from mc_platform.model.ids import PrincipalId, TenantId

LONGEST_MINUTES = 240
LAPSES_AFTER_MINUTES = 30


class GrantState(StrEnum):
    """Where a grant stands, by the database's clock."""

    pending = "pending"
    active = "active"
    expired = "expired"
    ended = "ended"
    lapsed = "lapsed"


@dataclass(frozen=True, slots=True)
class Grant:
    """One grant; it is of use to who asked for it, and to nobody else.

    Attributes:
        minutes: How long it holds from its approval.
        state: When it was read.
        expires_at: None until it is approved.
    """

    id: uuid.UUID
    tenant: TenantId
    reason: str
    minutes: int
    asked_by: PrincipalId
    asked_at: datetime
    approved_by: PrincipalId | None
    approved_at: datetime | None
    expires_at: datetime | None
    ended_by: PrincipalId | None
    ended_at: datetime | None
    state: GrantState
