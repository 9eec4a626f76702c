"""Sealed records of operations, this region's and the peer's; see `0050_operation_records.sql`.

Reads as `mc_recorder`, which may see every tenant.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.enact.sealed import INPUT, Begun
from mc_platform.model.event import Kind
from mc_platform.model.ids import OperationId, TenantId

_CANCELS = (Kind.task_cancel_requested.value, Kind.operation_cancel_requested.value)
# Of several inputs of one operation, which differ by nothing but their seal, the first term's: clocks of two
# regions tell nothing of which was earlier
_OPEN = """
SELECT DISTINCT ON (task.id) task.id, task.tenant, record.region, record.sealed,
    EXISTS (SELECT FROM mc.ledger_event AS event WHERE event.tenant = task.tenant
            AND event.subject = task.id AND event.kind = ANY($3)) AS canceled
FROM mc.task CROSS JOIN LATERAL (
    SELECT r.region, r.sealed, r.term, r.written_at FROM mc.operation_record AS r
    WHERE r.operation_id = task.id AND r.step = $2 AND r.tenant = task.tenant OFFSET 0
) AS record
WHERE task.tenant = ANY($1) AND task.state IN ('TASK_STATE_SUBMITTED', 'TASK_STATE_WORKING')
ORDER BY task.id, record.term, record.written_at LIMIT 1000
"""


class PostgresOperationRecords:
    """Records of both regions."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools

    @wrapped("records of operations cannot be read")
    async def open(self, tenants: Collection[TenantId]) -> list[Begun]:
        """Operations of these tenants whose input is here, and whose task is open."""
        rows = await self._pools.record.fetch(_OPEN, list(tenants), INPUT, list(_CANCELS))
        return [
            Begun(
                OperationId(row["id"]),
                TenantId(row["tenant"]),
                row["region"],
                row["sealed"],
                row["canceled"],
            )
            for row in rows
        ]

    @wrapped("records of an operation cannot be read")
    async def of(self, operation_id: OperationId) -> dict[str, dict[str, Any]]:
        """What is kept by step, as the engine keeps it; of several terms' the latest."""
        rows = await self._pools.record.fetch(
            "SELECT step, tenant, sealed FROM mc.operation_record WHERE operation_id = $1"
            " ORDER BY term, written_at",
            operation_id,
        )
        return {row["step"]: {"tenant": row["tenant"], "sealed": row["sealed"]} for row in rows}

    @wrapped("records of operations cannot be read")
    async def known(self, operation_ids: Collection[str]) -> set[OperationId]:
        """Of these operations those whose input is here."""
        rows = await self._pools.record.fetch(
            "SELECT DISTINCT operation_id FROM mc.operation_record"
            " WHERE operation_id = ANY($1) AND step = $2",
            list(operation_ids),
            INPUT,
        )
        return {OperationId(row["operation_id"]) for row in rows}
