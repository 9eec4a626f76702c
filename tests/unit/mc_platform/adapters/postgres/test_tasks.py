"""A tenant's tasks are read in one round trip, behind row-level security."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import asyncpg
import pytest

from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.postgres.tasks import PostgresTasks
from mc_platform.administration import database_url, migrate_schema, service_database
from mc_platform.model.event import Event, Kind
from mc_platform.model.task import LEFT_OUT, Task, TaskState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
async def journal(pools: Pools) -> AsyncIterator[PostgresJournal]:
    made = PostgresJournal(pools, region=f"region-{uuid.uuid4().hex[:8]}")
    await made.start()
    yield made
    await made.stop()


async def _recorded(journal, tenant, text="x", context="c"):
    task = Task(
        id=str(uuid.uuid4()),
        context_id=context,
        tenant=tenant,
        principal="p",
        message_id=str(uuid.uuid4()),
        request_digest="d",
        state=TaskState.completed,
        updated_at=NOW,
        parts=({"text": text},),
    )
    await journal.record([Event(task.id, Kind.request_accepted, tenant, NOW, {})], task)
    return task.id


async def test_whatever_is_asked_for_a_tenant_is_told_its_own_tasks_only(journal, pools):
    """By id and by conversation; afterwards the connection is bound to nobody."""
    one, two = (f"T-{uuid.uuid4()}" for _ in range(2))
    mine, others = [await _recorded(journal, one) for _ in range(3)], await _recorded(journal, two)
    tasks = PostgresTasks(pools)
    assert (await tasks.get(one, mine[0])).id == mine[0]
    assert await tasks.get(one, others) is None
    assert await tasks.get(two, mine[0]) is None
    wanted = [*mine[:2], others, "none"]
    assert {task.id for task in await tasks.with_ids(one, wanted)} == set(mine[:2])
    assert [task.id for task in await tasks.with_ids(two, wanted)] == [others]
    assert [task.id for task in await tasks.conversation(one, "c", limit=2)] == mine[:0:-1]
    assert [task.id for task in await tasks.conversation(two, "c", limit=5)] == [others]
    async with pools.tenant.acquire() as connection:
        assert not await connection.fetchval("SELECT current_setting('mc.tenant', true)")
        assert await connection.fetchval("SELECT count(*) FROM mc.task") == 0


async def test_a_read_is_one_statement_without_a_transaction_of_its_own(journal, pools):
    """Four round trips were made of each."""
    tenant = f"T-{uuid.uuid4()}"
    task_id, tasks = await _recorded(journal, tenant), PostgresTasks(pools)
    statements = []
    async with pools.tenant.acquire() as connection:
        await connection.fetchval("SELECT 1")
    for holder in pools.tenant._holders:
        if holder._con is not None:
            holder._con.add_query_logger(lambda record: statements.append(record.query))
    await tasks.get(tenant, task_id)
    await tasks.conversation(tenant, "c", limit=20)
    await tasks.with_ids(tenant, [task_id])
    assert len(statements) == 3


async def test_large_replies_are_left_out_where_several_are_read(journal, pools):
    """Whether they pack well or not; by itself a task has all of its reply."""
    tenant, tasks = f"T-{uuid.uuid4()}", PostgresTasks(pools)
    task_id = await _recorded(journal, tenant, "word " * 20_000)
    assert [task.parts for task in await tasks.with_ids(tenant, [task_id])] == [LEFT_OUT]
    assert [task.parts for task in await tasks.conversation(tenant, "c", limit=1)] == [LEFT_OUT]
    assert len((await tasks.get(tenant, task_id)).parts[0]["text"]) == 100_000


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("mc.tasks_of($1, $2)", ("T-1", ["id-100"])),
        ("mc.conversation_of($1, $2, $3)", ("T-1", "c-100", 20)),
    ],
)
async def test_a_read_takes_its_index_though_it_was_planned_of_an_empty_table(
    database, call, arguments
):
    """Analysed while it was empty, it was read as a whole at each call, by each session of then."""
    name = f"{database.service_url}_{uuid.uuid4().hex[:6]}"
    await migrate_schema(admin_url=database.admin_url, service_url=name)
    owner = await asyncpg.connect(database_url(database.admin_url, service_database(name)))
    await owner.execute("ALTER TABLE mc.task SET (autovacuum_enabled = false)")
    await owner.execute("VACUUM ANALYZE mc.task")
    pools = Pools(database_url=name, application_name="test")
    await pools.open()
    async with pools.tenant.acquire() as connection:
        for _ in range(12):  # from the sixth on, a session's plan may be of no call in particular
            await connection.fetch(f"SELECT id FROM {call}", *arguments)
        await owner.execute(
            "INSERT INTO mc.task (id, context_id, tenant, principal, message_id, request_digest, state,"
            " parts, status_text, governance, created_at, updated_at)"
            " SELECT 'id-' || n, 'c-' || n, 'T-' || n % 3, 'p', 'm-' || n, 'd', 'TASK_STATE_COMPLETED',"
            " '[]', '', '{}', now(), now() FROM generate_series(1, 20000) n"
        )
        async with connection.transaction():
            found = await connection.fetch(f"SELECT id FROM {call}", *arguments)
            [read] = await connection.fetchrow(
                "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables"
                " WHERE relid = 'mc.task'::regclass"
            )
    await pools.close()
    await owner.close()
    assert [row["id"] for row in found] == ["id-100"]
    assert read < 10


@pytest.mark.parametrize("call", ["mc.tasks_of('T', '{}')", "mc.conversation_of('T', 'c', 1)"])
async def test_only_the_services_role_may_call_them(pools, call):
    """And what they read is what that role may read, not what their owner may."""
    async with pools.tenant.acquire() as connection:
        await connection.fetch(f"SELECT * FROM {call}")
        name = call.partition("(")[0]
        definer = "SELECT prosecdef FROM pg_proc WHERE oid = $1::regproc"
        assert await connection.fetchval(definer, name) is False
    async with pools.record.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(f"SELECT * FROM {call}")
