"""Connections to the database are shared: one tenant's reads leave some for the others."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from datetime import UTC, datetime

from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.outbox import PostgresOutbox
from mc_platform.adapters.postgres.pools import Pools, PostgresDirectory, PostgresTasks
from mc_platform.model.event import Kind
from mc_platform.model.ids import TaskId, TenantId
from mc_platform.record import EventFactory

ONE, TWO = TenantId("TENANT_001"), TenantId("TENANT_002")


async def test_one_tenants_slow_reads_leave_connections_for_the_others(pools: Pools):
    """Of 8 and 8 connections one tenant holds 5 and 3, however many of its reads wait."""
    go = asyncio.Event()
    held: list[str] = []

    async def read() -> None:
        async with pools.as_tenant(ONE):
            held.append("read")
            await go.wait()

    async def look_up() -> None:
        async with pools.looking_up(ONE):
            held.append("look-up")
            await go.wait()

    slow = [asyncio.create_task(work()) for work in (read, look_up) for _ in range(20)]
    while len(held) < 8:
        await asyncio.sleep(0.01)
    assert await PostgresTasks(pools).get(TWO, TaskId("none")) is None
    assert await PostgresTasks(pools).quoted(TWO, [1]) == []
    assert await PostgresDirectory(pools).find("0" * 12) is None
    assert await pools.alive()
    assert (held.count("read"), held.count("look-up")) == (5, 3)
    go.set()
    await asyncio.gather(*slow)
    assert len(held) == 40


async def test_slow_look_ups_leave_the_ledgers_writer_a_connection_while_both_sinks_are_shipped_to(
    pools: Pools,
):
    """Delivery holds one connection for the SIEM, and in an outage one more for the backup file."""
    region = f"r-{uuid.uuid4().hex[:8]}"
    journal, outbox = PostgresJournal(pools, region=region), PostgresOutbox(pools, region=region)
    await journal.start()
    go = asyncio.Event()

    async def look_up(tenant: TenantId) -> None:
        async with pools.looking_up(tenant):
            await go.wait()

    async with AsyncExitStack() as delivery:
        for sink in ("siem", "file"):
            assert await delivery.enter_async_context(outbox.claim(sink)) is not None
        slow = [asyncio.create_task(look_up(tenant)) for tenant in (ONE, TWO) for _ in range(20)]
        try:
            while pools._looking_up.waiting(ONE) + pools._looking_up.waiting(TWO) < 36:
                await asyncio.sleep(0.01)
            event = EventFactory(clock=lambda: datetime.now(UTC)).event(
                Kind.request_failed, ONE, "one", reason="x"
            )
            async with asyncio.timeout(60):
                [recorded] = await journal.record([event])
            assert recorded.fresh
        finally:
            go.set()
            await asyncio.gather(*slow, return_exceptions=True)
    await journal.stop()
