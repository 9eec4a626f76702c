"""Reading tasks: each by itself, pages of them, conversations, and what a message quotes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

from mc_platform.adapters.postgres.pools import Pools, wrapped
from mc_platform.adapters.postgres.quotations import Quotations
from mc_platform.adapters.postgres.rows import task_from_row
from mc_platform.adapters.postgres.task_pages import BUT_PARTS, page_query, total_query
from mc_platform.model.ids import ContextId, PrincipalId, TaskId, TenantId
from mc_platform.model.task import Page, Task

R = TypeVar("R")

_LARGE_BYTES, _PAGE_BYTES = 65_536, 1_048_576
# As it is stored first, so a large one is not unpacked to be counted; what packs well is large, too
_WITHOUT_LARGE = f"""{BUT_PARTS}, CASE WHEN pg_column_size(parts) > 8192 THEN '[{{}}]'
    WHEN octet_length(parts::text) > {_LARGE_BYTES} THEN '[{{}}]' ELSE parts::text END AS parts"""

_ANSWERED = f"""
SELECT {_WITHOUT_LARGE} FROM mc.task
WHERE tenant = $1 AND context_id = $2 AND pg_column_size(parts) > 6 LIMIT 2
"""  # noqa: S608 - constants


def _tasks_from(rows: Sequence[Any]) -> list[Task]:
    return [task_from_row(row) for row in rows]


async def _apart_if_large(size_bytes: int, read: Callable[[Any], R], stored: Any) -> R:
    """Read what is stored; in a thread if that would hold the event loop."""
    if size_bytes > _LARGE_BYTES:
        return await asyncio.to_thread(read, stored)
    return read(stored)


class PostgresTasks:
    """Reading tasks; implements `ports.Tasks`."""

    def __init__(self, pools: Pools) -> None:
        self._pools = pools
        self._quotations = Quotations(pools.looking_up)

    @wrapped("tasks cannot be read")
    async def get(self, tenant: TenantId, task_id: TaskId) -> Task | None:
        async with self._pools.reading(tenant) as connection:
            row = await connection.fetchrow("SELECT * FROM mc.tasks_of($1, $2)", tenant, [task_id])
        return None if row is None else await _apart_if_large(len(row["parts"]), task_from_row, row)

    @wrapped("tasks cannot be read")
    async def of_message(self, tenant: TenantId, message_id: str) -> Task | None:
        async with self._pools.as_tenant(tenant) as connection:
            row = await connection.fetchrow(
                "SELECT * FROM mc.task WHERE tenant = $1 AND message_id = $2", tenant, message_id
            )
        return None if row is None else await _apart_if_large(len(row["parts"]), task_from_row, row)

    @wrapped("tasks cannot be read")
    async def page(
        self,
        tenant: TenantId,
        *,
        principal: PrincipalId | None,
        context_id: ContextId | None,
        state: str | None,
        limit: int,
        before: tuple[datetime, TaskId] | None,
        since: datetime | None,
        replies: bool,
    ) -> Page:
        statement, arguments = page_query(
            tenant,
            principal=principal,
            context_id=context_id,
            state=state,
            before=before,
            since=since,
            limit=limit + 1,
            most_bytes=_PAGE_BYTES,
            replies=replies,
        )
        async with self._pools.as_tenant(tenant) as connection:
            rows = await connection.fetch(statement, *arguments)
        shown = rows[:limit]
        size = sum(len(row["parts"]) for row in shown)
        more = bool(rows) and rows[0]["found"] > len(shown)
        return Page(await _apart_if_large(size, _tasks_from, shown), more)

    @wrapped("tasks cannot be counted")
    async def total(
        self,
        tenant: TenantId,
        *,
        principal: PrincipalId,
        context_id: ContextId | None,
        state: str | None,
        since: datetime | None,
        most: int,
    ) -> int:
        statement, arguments = total_query(
            tenant,
            principal=principal,
            context_id=context_id,
            state=state,
            since=since,
            most=most,
        )
        async with self._pools.as_tenant(tenant) as connection:
            return int(await connection.fetchval(statement, *arguments))

    @wrapped("the conversation cannot be read")
    async def conversation(
        self, tenant: TenantId, context_id: ContextId, *, limit: int
    ) -> list[Task]:
        source = "mc.conversation_of($1, $2, $3) ORDER BY created_at DESC, id DESC"
        return await self._without_large(tenant, source, context_id, limit)

    @wrapped("the conversation cannot be read")
    async def answered(self, tenant: TenantId, context_id: ContextId) -> list[Task]:
        async with self._pools.as_tenant(tenant) as connection:
            rows = await connection.fetch(_ANSWERED, tenant, context_id)
        return _tasks_from(rows)

    async def quoted(self, tenant: TenantId, digests: Sequence[int]) -> list[Task]:
        # Most messages quote nothing; what is found is read behind row-level security
        ids = await self._quotations.tasks(tenant, digests)
        return await self.with_ids(tenant, ids) if ids else []

    @wrapped("tasks cannot be read")
    async def with_ids(self, tenant: TenantId, ids: Sequence[str]) -> list[Task]:
        return await self._without_large(tenant, "mc.tasks_of($1, $2)", ids)

    async def _without_large(self, tenant: TenantId, source: str, *values: Any) -> list[Task]:
        query = f"SELECT {_WITHOUT_LARGE} FROM {source}"  # noqa: S608 - constants
        async with self._pools.reading(tenant) as connection:
            rows = await connection.fetch(query, tenant, *values)
        return _tasks_from(rows)

    @wrapped("open tasks cannot be read")
    async def accepted_elsewhere(self, task_id: TaskId) -> bool:
        return bool(
            await self._pools.record.fetchval(
                "SELECT true FROM mc.task_accepted WHERE id = $1", task_id
            )
        )

    @wrapped("tasks cannot be read")
    async def abandoned(
        self, older_than: datetime, limit: int, after: Task | None = None
    ) -> list[Task]:
        """Open tasks of all tenants not touched since `older_than`, oldest first.

        Of questions none while either region has no whole copy of the other's rows, and a minute longer: after a restore
        a question stands open that was answered since, and the peer gives the answer back.

        Args:
            after: The last task of the page before this one.
        """
        rows = await self._pools.record.fetch(
            "SELECT * FROM mc.task WHERE state IN ('TASK_STATE_SUBMITTED', 'TASK_STATE_WORKING')"
            " AND updated_at < $1 AND ($3::timestamptz IS NULL OR (updated_at, id) > ($3, $4))"
            " AND (operation IS NOT NULL OR NOT EXISTS (SELECT FROM mc.region_peer) OR 2 = ("
            "SELECT count(*) FROM mc.region_copy"
            " WHERE whole AND written_at < clock_timestamp() - interval '1 minute'))"
            " ORDER BY updated_at, id LIMIT $2",
            older_than,
            limit,
            None if after is None else after.updated_at,
            None if after is None else after.id,
        )
        return _tasks_from(rows)
