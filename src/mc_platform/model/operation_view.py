"""Operations as those who run the platform see them: of all tenants, without input or results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from mc_platform.model.event import LedgerRow
from mc_platform.model.ids import OperationId, PrincipalId, TenantId


class OperationState(StrEnum):
    """How an operation stands: its outcome, and what there is besides an outcome."""

    running = "running"
    completed = "completed"
    compensated = "compensated"
    stuck = "stuck"
    resolved = "resolved"
    """Was stuck, and somebody has resolved it."""
    failed = "failed"
    """Never began: its gateway died before the engine had it."""


@dataclass(frozen=True, slots=True)
class OperationView:
    """One operation.

    Attributes:
        principal: Who asked for it.
        operation: Its name in the catalogue.
        said: The sentence that the client was told; empty while it runs.
        governance: What the client's metadata tells: steps, effects, decision.
    """

    id: OperationId
    tenant: TenantId
    principal: PrincipalId
    operation: str
    state: OperationState
    started_at: datetime
    updated_at: datetime
    said: str
    governance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def running(self) -> bool:
        """Whether something can follow."""
        return self.state is OperationState.running


@dataclass(frozen=True, slots=True)
class OperationFilter:
    """Which operations: all conditions hold at once; None is no condition.

    Attributes:
        since_at: Started at this time or later.
        before: Where a page ended: start and id of its last operation.
    """

    limit: int
    tenant: TenantId | None = None
    state: OperationState | None = None
    since_at: datetime | None = None
    before: tuple[datetime, OperationId] | None = None


@dataclass(frozen=True, slots=True)
class OperationStory:
    """One operation with all that the ledger tells of it, in the log's order."""

    operation: OperationView
    timeline: Sequence[LedgerRow]
