"""Removing what is older than it is kept, by the database's own functions; see `0033_retention.sql`.

One replica of the region does it at a time: it holds the turn, a row, until it gives it back or
does not extend it. Two that do it at once, as after a pause, do no harm: they share the work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.model.ids import TenantId

# What is further ahead than anybody says was written while the clock was wrong
_BEGIN = """
UPDATE mc.retention_turn SET run = gen_random_uuid(), held_until = clock_timestamp() + $1::interval
WHERE NOT (held_until BETWEEN clock_timestamp() AND clock_timestamp() + $1::interval)
AND NOT (next_at > clock_timestamp() AND next_at <= clock_timestamp() + $2::interval) RETURNING run
"""
_EXTEND = """
UPDATE mc.retention_turn SET held_until = clock_timestamp() + $2::interval
WHERE run = $1 AND held_until > clock_timestamp() RETURNING true
"""
_LONGEST_PAUSE = timedelta(days=7)
_END = """
UPDATE mc.retention_turn SET held_until = '-infinity', next_at = clock_timestamp() + $2::interval
WHERE run = $1
"""
# One look for each tenant, by an index: most have nothing that is due
_DUE = """
SELECT asked.tenant FROM unnest($1::text[], $2::timestamptz[]) AS asked (tenant, before)
WHERE EXISTS (SELECT FROM mc.task WHERE task.tenant = asked.tenant
              AND task.updated_at < asked.before)
"""
# Of an operation whose task is not there any more nobody waits for anything
_NEEDED = """
SELECT asked.id, task.tenant, task.id IS NOT NULL AND (
    task.state IN ('TASK_STATE_SUBMITTED', 'TASK_STATE_WORKING') OR task.outcome = 'stuck'
    AND NOT EXISTS (SELECT FROM mc.operation_resolved AS known WHERE known.id = task.id)
) AS needed
FROM unnest($1::text[]) AS asked (id) LEFT JOIN mc.task ON task.id = asked.id
"""
_SETTLE = """
UPDATE mc.retention_removed SET id = gen_random_uuid(), removed = removed - $2
WHERE id = $1 AND removed > $2
"""


@dataclass(frozen=True, slots=True)
class Removed:
    """What a run removed of a tenant and kind, and of before when; `id` is this note's alone."""

    id: UUID
    run: UUID
    tenant: TenantId
    kind: str
    before: datetime
    removed: int


class PostgresRetention:
    """The turn, batches of each kind, and notes of what was removed."""

    def __init__(self, pools: Pools, *, held: timedelta = timedelta(minutes=2)) -> None:
        self._pools = pools
        self._held = held

    @wrapped("whose turn retention is cannot be told")
    async def begin(self) -> UUID | None:
        """Take the turn if it is due and nobody has it; the run's id."""
        run: UUID | None = await self._pools.record.fetchval(_BEGIN, self._held, _LONGEST_PAUSE)
        return run

    @wrapped("the turn of retention cannot be kept")
    async def extend(self, run: UUID) -> bool:
        """Keep the turn; False if it was lost."""
        return await self._pools.record.fetchval(_EXTEND, run, self._held) is True

    @wrapped("the turn of retention cannot be given back")
    async def end(self, run: UUID, pause: timedelta) -> None:
        """Give the turn back; it is due again after `pause`."""
        await self._pools.record.execute(_END, run, pause)

    @wrapped("the database's time cannot be told")
    async def now(self) -> datetime:
        """The time by the database's clock, to whose bounds its functions hold."""
        now: datetime = await self._pools.record.fetchval("SELECT clock_timestamp()")
        return now

    @wrapped("weeks of quotations cannot be kept")
    async def keep_quotable_weeks(self) -> list[str]:
        """Make the next week's partition and drop old ones; the names of both."""
        rows = await self._pools.record.fetch("SELECT * FROM mc.keep_quotable_weeks()")
        return [row[0] for row in rows]

    @wrapped("checkpoints cannot be thinned out")
    async def thin_checkpoints(self) -> int:
        """Remove a batch of checkpoints of what was archived, cosigned or not; how many they were."""
        count: int = await self._pools.record.fetchval(
            "SELECT mc.thin_checkpoints() + mc.thin_cosigned()"
        )
        return count

    @wrapped("old tasks cannot be looked for")
    async def due(self, before: Mapping[TenantId, datetime]) -> list[TenantId]:
        """Of these tenants those that have a task older than told."""
        rows = await self._pools.record.fetch(_DUE, list(before), list(before.values()))
        return [TenantId(row["tenant"]) for row in rows]

    @wrapped("old tasks cannot be removed")
    async def forget_tasks(self, tenant: TenantId, before: datetime, most: int) -> int:
        """Remove a batch of a tenant's ended tasks; how many they were."""
        count: int = await self._pools.record.fetchval(
            "SELECT mc.forget_tasks($1, $2, $3)", tenant, before, most
        )
        return count

    @wrapped("operations cannot be looked up")
    async def done_with(self, operation_ids: Sequence[str]) -> Mapping[str, TenantId | None]:
        """Those that nobody needs the engine for, with their tenants if they are known."""
        rows = await self._pools.record.fetch(_NEEDED, list(operation_ids))
        return {row["id"]: row["tenant"] for row in rows if not row["needed"]}

    @wrapped("what is removed cannot be noted")
    async def note(self, tenant: TenantId, kind: str, before: datetime, count: int) -> None:
        """Note what is about to be removed elsewhere than by the database's functions."""
        await self._pools.record.execute(
            "SELECT mc.note_removed($1, $2, $3, $4)", tenant, kind, before, count
        )

    @wrapped("what was removed cannot be read")
    async def untold(self, most: int) -> list[Removed]:
        """Notes of which the ledger has not been told."""
        rows = await self._pools.record.fetch(
            "SELECT id, run, tenant, kind, before, removed FROM mc.retention_removed LIMIT $1", most
        )
        return [Removed(**row) for row in rows]

    @wrapped("what was removed cannot be settled")
    async def settle(self, told: Removed) -> None:
        """End a note that the ledger was told; what came to it meanwhile stays, under another id."""
        await self._pools.record.execute(
            "DELETE FROM mc.retention_removed WHERE id = $1 AND removed = $2", told.id, told.removed
        )
        await self._pools.record.execute(_SETTLE, told.id, told.removed)
