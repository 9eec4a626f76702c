"""The operation of which the tests of sagas tell, its task while it works, and what seals it."""

from __future__ import annotations

from datetime import UTC, datetime

from mc_contract.keyring import FIRST, Key, KeySet
from mc_platform.model.ids import ContextId, OperationId, PrincipalId, TaskId, TenantId
from mc_platform.model.operation import OperationRequest
from mc_platform.model.task import Task, TaskState
from mc_platform.record import Sealer

START = datetime(2026, 1, 1, tzinfo=UTC)
SEALER = Sealer(KeySet(Key(FIRST, b"the same in each process of them", START)))
REQUEST = OperationRequest(
    id=OperationId("op"),
    tenant=TenantId("TENANT_001"),
    principal=PrincipalId("p"),
    task_id=TaskId("t"),
    operation="place-order",
    input={},
    decision_id="d",
)


def working_task(at: datetime = START) -> Task:
    """The request's task, not ended."""
    return Task(
        id=REQUEST.task_id,
        context_id=ContextId("c"),
        tenant=REQUEST.tenant,
        principal=REQUEST.principal,
        message_id="m",
        request_digest="r",
        state=TaskState.working,
        updated_at=at,
    )
