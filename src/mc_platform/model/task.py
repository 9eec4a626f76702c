"""A task as the gateway keeps it: owned by one tenant, independent of the downstream agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from mc_platform.model.flow import UNTAINTED, Flow
from mc_platform.model.ids import ContextId, PrincipalId, TaskId, TenantId
from mc_platform.model.label import Part


class TaskState(StrEnum):
    """States by their A2A 1.0 names."""

    submitted = "TASK_STATE_SUBMITTED"
    working = "TASK_STATE_WORKING"
    completed = "TASK_STATE_COMPLETED"
    failed = "TASK_STATE_FAILED"
    canceled = "TASK_STATE_CANCELED"
    rejected = "TASK_STATE_REJECTED"

    @property
    def terminal(self) -> bool:
        """Whether nothing can follow."""
        return self not in (TaskState.submitted, TaskState.working)


LEFT_OUT: tuple[Part, ...] = ({},)
"""Stands for a large reply where only whether there is one was asked for."""


@dataclass(frozen=True, slots=True)
class Page:
    """Tasks of a listing, and whether there are more behind them."""

    tasks: list[Task]
    more: bool


@dataclass(frozen=True, slots=True)
class Task:
    """One task of one tenant.

    Attributes:
        message_id: The client's id of the message that began it; unique for a tenant.
        request_digest: sha256 of the request's meaning: a repeat must bear the same.
        parts: The released reply, already screened and decided; empty until then.
        status_text: A sentence for the client, without content of others.
        governance: What the extension tells the client: decision, operation, steps, outcome.
        flow: The conversation's flow labels when this task began; not told to the client.
        quotable: Digests of what came from outside with it (`record.ContentFingerprints`); kept elsewhere, and
            never read back.
        unreadable: Whether its row holds what cannot be shown; `status_text` then says why.
    """

    id: TaskId
    context_id: ContextId
    tenant: TenantId
    principal: PrincipalId
    message_id: str
    request_digest: str
    state: TaskState
    updated_at: datetime
    parts: tuple[Part, ...] = ()
    status_text: str = ""
    governance: Mapping[str, Any] = field(default_factory=dict)
    flow: Flow = UNTAINTED
    quotable: tuple[int, ...] = ()
    unreadable: bool = False
