"""Reading operations of all tenants; implements `enact.ended_operations.EndedRows`,
`query.operator.OperationReader` and `ports.Budgets`.

Reads as `mc_recorder`, which may see every tenant: whoever calls must have asked policy first.
Whether a stuck operation is resolved is told by the ledger; `stuck` notes what it finds there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.adapters.postgres.rows import ledger_row, operation_from_row
from mc_platform.enact.breaker import Count
from mc_platform.enact.ended_operations import Ends
from mc_platform.model.event import Kind
from mc_platform.model.ids import OperationId, TenantId
from mc_platform.model.operation_view import (
    OperationFilter,
    OperationState,
    OperationStory,
    OperationView,
)

# `model.operation.Ending`, as the rows tell it. The state is CANCELED only where nothing stands, so a
# stuck operation counts, whoever asked for its end (the column `compensated` leaves that one out).
_ENDED = """
SELECT asked.tenant, count(*) AS ended,
    count(*) FILTER (WHERE task.compensated OR task.outcome = 'stuck') AS compensated
FROM unnest($1::text[], $2::timestamptz[]) AS asked (tenant, since)
JOIN mc.task ON task.tenant = asked.tenant AND task.updated_at > asked.since
    AND task.outcome IS NOT NULL AND task.state <> 'TASK_STATE_CANCELED'
GROUP BY asked.tenant
"""
_ENDED_BETWEEN = """
SELECT tenant, array_agg(us ORDER BY us) AS ended,
    coalesce(array_agg(us ORDER BY us) FILTER (WHERE compensated), '{}') AS compensated
FROM (
    SELECT task.tenant, (extract(epoch FROM task.updated_at) * 1000000)::bigint AS us,
        task.compensated OR task.outcome = 'stuck' AS compensated
    FROM mc.task WHERE task.tenant = ANY($1::text[]) AND task.updated_at > $2
        AND task.updated_at <= $3
        AND task.outcome IS NOT NULL AND task.state <> 'TASK_STATE_CANCELED'
) AS task
GROUP BY tenant
"""
_TOLD_RESOLVED = f"""
EXISTS (SELECT FROM mc.ledger_event AS event WHERE event.tenant = task.tenant
        AND event.subject = task.id AND event.kind = '{Kind.operation_resolved.value}')
"""
_RESOLVED = f"""
(EXISTS (SELECT FROM mc.operation_resolved AS known WHERE known.id = task.id) OR {_TOLD_RESOLVED})
"""
_NOTE_RESOLVED = f"""
INSERT INTO mc.operation_resolved (id)
SELECT task.id FROM mc.task WHERE task.outcome = 'stuck' AND task.tenant = ANY($1::text[])
    AND NOT EXISTS (SELECT FROM mc.operation_resolved AS known WHERE known.id = task.id)
    AND {_TOLD_RESOLVED}
ON CONFLICT DO NOTHING
"""  # noqa: S608 - constants only
_STUCK = """
SELECT task.tenant, count(*) AS stuck FROM mc.task
WHERE task.outcome = 'stuck' AND task.tenant = ANY($1::text[])
    AND NOT EXISTS (SELECT FROM mc.operation_resolved AS known WHERE known.id = task.id)
GROUP BY task.tenant
"""
_OPEN = "task.state IN ('TASK_STATE_SUBMITTED', 'TASK_STATE_WORKING')"
_VIEW = f"""
SELECT task.id, task.tenant, task.principal, task.operation, task.created_at, task.updated_at,
    task.status_text, task.governance,
    CASE WHEN task.outcome = 'stuck' AND {_RESOLVED} THEN 'resolved'
         WHEN task.outcome IS NOT NULL THEN task.outcome
         WHEN {_OPEN} THEN 'running' ELSE 'failed' END AS standing
FROM mc.task WHERE task.operation IS NOT NULL
"""  # noqa: S608 - constants only
_WHERE_STATE = {
    OperationState.running: f"task.outcome IS NULL AND {_OPEN}",
    OperationState.completed: "task.outcome = 'completed'",
    OperationState.compensated: "task.outcome = 'compensated'",
    OperationState.stuck: f"task.outcome = 'stuck' AND NOT {_RESOLVED}",
    OperationState.resolved: f"task.outcome = 'stuck' AND {_RESOLVED}",
    # With those whose outcome somebody has changed to what is none
    OperationState.failed: f"(task.outcome IS NULL AND NOT {_OPEN}"
    " OR task.outcome NOT IN ('completed', 'compensated', 'stuck'))",
}
_TIMELINE = """
SELECT index, recorded_at, leaf FROM mc.ledger_event
WHERE tenant = $1 AND subject = $2 AND region = ANY($3::text[])
ORDER BY array_position($3::text[], region), index
"""


class PostgresOperations:
    """Operations of one region; `former` are its logs of earlier epochs, the oldest first."""

    def __init__(self, pools: Pools, *, region: str, former: Sequence[str] = ()) -> None:
        self._pools = pools
        self._logs = [*former, region]

    @wrapped("operations cannot be counted")
    async def ended(self, since_at: Mapping[TenantId, datetime]) -> Mapping[TenantId, Count]:
        rows = await self._pools.record.fetch(_ENDED, list(since_at), list(since_at.values()))
        return {TenantId(row["tenant"]): Count(row["ended"], row["compensated"]) for row in rows}

    @wrapped("operations cannot be counted")
    async def ended_between(
        self, tenants: Sequence[TenantId], after_at: datetime, until_at: datetime
    ) -> Mapping[TenantId, Ends]:
        rows = await self._pools.record.fetch(_ENDED_BETWEEN, list(tenants), after_at, until_at)
        return {TenantId(row["tenant"]): Ends(row["ended"], row["compensated"]) for row in rows}

    @wrapped("operations cannot be counted")
    async def operations_since(self, tenant: TenantId, since_at: datetime) -> int:
        count: int = await self._pools.record.fetchval(
            "SELECT count(*) FROM mc.task WHERE tenant = $1 AND operation IS NOT NULL"
            " AND created_at >= $2",
            tenant,
            since_at,
        )
        return count

    @wrapped("stuck operations cannot be counted")
    async def stuck(self, tenants: Sequence[TenantId]) -> Mapping[TenantId, int]:
        await self._pools.record.execute(_NOTE_RESOLVED, list(tenants))
        rows = await self._pools.record.fetch(_STUCK, list(tenants))
        return {TenantId(row["tenant"]): row["stuck"] for row in rows}

    @wrapped("operations cannot be read")
    async def page(self, wanted: OperationFilter) -> list[OperationView]:
        state = "" if wanted.state is None else f"AND {_WHERE_STATE[wanted.state]}"
        started_at, operation_id = wanted.before or (None, None)
        rows = await self._pools.record.fetch(
            f"{_VIEW} {state}"  # constants only: the state picks one of six
            " AND ($1::text IS NULL OR task.tenant = $1)"
            " AND ($2::timestamptz IS NULL OR task.created_at >= $2)"
            " AND ($3::timestamptz IS NULL OR (task.created_at, task.id) < ($3, $4))"
            " ORDER BY task.created_at DESC, task.id DESC LIMIT $5",
            wanted.tenant,
            wanted.since_at,
            started_at,
            operation_id,
            wanted.limit,
        )
        return [operation_from_row(row) for row in rows]

    @wrapped("the operation cannot be read")
    async def story(self, operation_id: OperationId) -> OperationStory | None:
        row = await self._pools.record.fetchrow(f"{_VIEW} AND task.id = $1", operation_id)
        if row is None:
            return None
        events = await self._pools.record.fetch(_TIMELINE, row["tenant"], operation_id, self._logs)
        return OperationStory(operation_from_row(row), [ledger_row(event) for event in events])
