"""Connections to the database are shared: one tenant's reads leave some for the others."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from mc_contract import connections
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.outbox import PostgresOutbox
from mc_platform.adapters.postgres.pools import Pools, PostgresDirectory
from mc_platform.adapters.postgres.tasks import PostgresTasks
from mc_platform.errors import RateLimited, Unavailable
from mc_platform.model.event import Kind
from mc_platform.model.ids import TaskId, TenantId
from mc_platform.record import EventFactory

ONE, TWO = TenantId("TENANT_001"), TenantId("TENANT_002")


async def test_one_tenants_slow_reads_leave_connections_for_the_others(pools: Pools):
    """Of 3 connections one tenant holds 1, however many of its reads wait."""
    go = asyncio.Event()
    held: list[str] = []

    async def read() -> None:
        async with pools.as_tenant(ONE):
            held.append("read")
            await go.wait()

    slow = [asyncio.create_task(read()) for _ in range(20)]
    while not held:
        await asyncio.sleep(0.01)
    assert await PostgresTasks(pools).get(TWO, TaskId("none")) is None
    assert await PostgresTasks(pools).quoted(TWO, [1]) == []
    assert await PostgresDirectory(pools).find("0" * 12) is None
    assert await pools.alive()
    assert len(held) == 1
    go.set()
    await asyncio.gather(*slow)
    assert len(held) == 20


async def test_slow_look_ups_leave_the_ledgers_writer_a_connection_while_both_sinks_are_shipped_to(
    pools: Pools,
):
    """Delivery holds one connection for the SIEM, and in an outage one more for the backup file."""
    region = f"r-{uuid.uuid4().hex[:8]}"
    journal, outbox = PostgresJournal(pools, region=region), PostgresOutbox(pools, region=region)
    await journal.start()
    go = asyncio.Event()
    held: list[str] = []

    async def look_up() -> None:
        async with pools.looking_up():
            held.append("look-up")
            await go.wait()

    async with AsyncExitStack() as delivery:
        for sink in ("siem", "file"):
            assert await delivery.enter_async_context(outbox.claim(sink)) is not None
        slow = [asyncio.create_task(look_up()) for _ in range(20)]
        try:
            while not held:
                await asyncio.sleep(0.01)
            event = EventFactory(clock=lambda: datetime.now(UTC)).event(
                Kind.request_failed, ONE, "one", reason="x"
            )
            async with asyncio.timeout(60):
                [recorded] = await journal.record([event])
            assert recorded.fresh
            assert len(held) == 1
        finally:
            go.set()
            await asyncio.gather(*slow, return_exceptions=True)
    await journal.stop()


async def test_who_finds_no_connection_is_told_to_try_again(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
):
    """503 for a tenant that has none itself, 429 for one that has its share, each after its time."""
    monkeypatch.setattr(pools._reading, "_wait_s", 0.05)
    async with pools.reading(ONE), pools.reading(TWO):
        with pytest.raises(Unavailable, match="no connection to the database") as caught:
            async with pools.reading(TenantId("TENANT_003")):
                pass
        assert (caught.value.http_status, caught.value.retry_after_s) == (503, 1.0)
        with pytest.raises(RateLimited) as refused:
            async with pools.reading(ONE):
                pass
        assert (refused.value.http_status, refused.value.retry_after_s) == (429, 1.0)
    async with pools.reading(TenantId("TENANT_003")) as connection:
        assert await connection.fetchval("SELECT true")


async def test_nothing_waits_for_a_connection_without_end(
    pools: Pools, monkeypatch: pytest.MonkeyPatch
):
    """Statements on the pool itself are bounded as well."""
    journal = PostgresJournal(pools, region=f"r-{uuid.uuid4().hex[:8]}")
    async with AsyncExitStack() as held:
        for _ in range(connections.RECORD - 1):
            await held.enter_async_context(pools.record.acquire())
        with monkeypatch.context() as brief:  # to connect anew may take longer
            brief.setattr("mc_platform.adapters.postgres.pools._ACQUIRE_TIMEOUT_S", 0.05)
            async with asyncio.timeout(30):
                with pytest.raises(Unavailable):
                    await journal.start()
    await journal.start()
    await journal.stop()


async def test_no_slow_statement_of_others_keeps_the_writer_waiting(pools: Pools):
    """Whoever it is that asks: not only those who take shares."""
    journal = PostgresJournal(pools, region=f"r-{uuid.uuid4().hex[:8]}")
    await journal.start()
    event = EventFactory(clock=lambda: datetime.now(UTC)).event(
        Kind.request_failed, ONE, "one", reason="x"
    )
    async with AsyncExitStack() as held:
        for _ in range(connections.RECORD - 1):
            await held.enter_async_context(pools.record.acquire())
        slow = asyncio.create_task(pools.record.execute("SELECT 1"))
        await asyncio.sleep(0.1)
        [recorded] = await journal.record([event])
        assert recorded.fresh
        assert not slow.done()
    await slow
    await journal.stop()


async def test_a_burst_takes_no_more_than_the_budget_and_gives_it_back(
    database: Any, monkeypatch: pytest.MonkeyPatch
):
    """By the server's own count, under load and a moment after it."""
    monkeypatch.setattr("mc_platform.adapters.postgres.pools._IDLE_S", 0.2)
    pools = Pools(database_url=database.service_url, application_name="counted")
    await pools.open()

    async def counted() -> int:
        async with pools.record.acquire() as connection:
            found: int = await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'counted'"
            )
        return found

    async def read(number: int) -> None:
        async with pools.reading(TenantId(f"TENANT_{number}")) as connection:
            await connection.execute("SELECT pg_sleep(0.05)")

    work = [read(number) for number in range(20)]
    loaded = asyncio.gather(*work, *(pools.record.execute("SELECT pg_sleep(0.05)") for _ in work))
    seen = []
    while not loaded.done():
        seen.append(await counted())
    await loaded
    assert max(seen) <= connections.TENANT + connections.RECORD
    async with asyncio.timeout(30):
        while await counted() > 2:
            await asyncio.sleep(0.3)
    await pools.close()
