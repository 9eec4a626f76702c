"""Connections to the database are shared: one tenant's reads leave some for the others."""

from __future__ import annotations

import asyncio

from mc_platform.adapters.postgres import Pools, PostgresDirectory, PostgresTasks
from mc_platform.model.ids import TaskId, TenantId

ONE, TWO = TenantId("TENANT_001"), TenantId("TENANT_002")


async def test_one_tenants_slow_reads_leave_connections_for_the_others(pools: Pools):
    """Of 8 and 6 connections one tenant holds 5 and 4, however many of its reads wait."""
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
    while len(held) < 9:
        await asyncio.sleep(0.01)
    assert await PostgresTasks(pools).get(TWO, TaskId("none")) is None
    assert await PostgresTasks(pools).quoted(TWO, [1]) == []
    assert await PostgresDirectory(pools).find("0" * 12) is None
    assert await pools.alive()
    assert (held.count("read"), held.count("look-up")) == (5, 4)
    go.set()
    await asyncio.gather(*slow)
    assert len(held) == 40
