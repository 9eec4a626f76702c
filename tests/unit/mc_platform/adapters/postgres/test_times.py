"""Times that PostgreSQL has and Python has not: their row is told as that, beside its neighbours."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.operations import PostgresOperations
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.postgres.tasks import PostgresTasks
from mc_platform.model.event import Event, Kind
from mc_platform.model.operation_view import OperationFilter
from mc_platform.model.task import Task, TaskState
from mc_platform.receive.handler import _from_token, _to_token

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
ODD = ["infinity", "-infinity", "0100-01-01 BC", "20000-01-01"]
WHY = "is infinite, or of no year from 1 to 9999"


@pytest.fixture
async def recorded(pools: Pools):
    """Five operations of a tenant of its own, a minute apart: the tenant, region, and their ids."""
    region, tenant = f"region-{uuid.uuid4().hex[:8]}", f"T-{uuid.uuid4()}"
    journal = PostgresJournal(pools, region=region)
    await journal.start()
    ids = [str(uuid.uuid4()) for _ in range(5)]
    for minute, task_id in enumerate(ids):
        task = Task(
            id=task_id,
            context_id=f"c-{tenant}",
            tenant=tenant,
            principal="p",
            message_id=task_id,
            request_digest="d",
            state=TaskState.working,
            updated_at=NOW + timedelta(minutes=minute),
            governance={"operation": "place-order"},
        )
        detail = {"subject": task_id}
        event = Event(str(uuid.uuid4()), Kind.request_accepted, tenant, NOW, detail)
        await journal.record([event], task)
    await journal.stop()
    return tenant, region, ids


async def spoil(pools: Pools, task_ids: list[str], column: str, at: str) -> None:
    await pools.record.execute(
        f"UPDATE mc.task SET {column} = '{at}' WHERE id = ANY($1)",
        task_ids,
    )


async def page(pools: Pools, tenant: str, **asked):
    wanted = {"limit": 50, "before": None, "principal": None, "context_id": None, "state": None}
    return await PostgresTasks(pools).page(tenant, **{**wanted, **asked}, since=None, replies=True)


@pytest.mark.parametrize("at", ODD)
async def test_one_odd_time_takes_no_neighbour_along(pools, recorded, at):
    """In a listing, by id, in its conversation, for whoever ends what was abandoned."""
    tenant, _, ids = recorded
    await spoil(pools, ids[2:3], "updated_at", at)
    read = PostgresTasks(pools)
    listed = (await page(pools, tenant)).tasks
    said = await read.conversation(tenant, f"c-{tenant}", limit=10)
    for tasks in (listed, said, [await read.get(tenant, one) for one in ids]):
        assert {task.id for task in tasks} == set(ids)
        assert [task.id for task in tasks if task.unreadable] == [ids[2]]
        [odd] = [task for task in tasks if task.unreadable]
        assert odd.status_text == f"the content cannot be shown: its time {WHY}"
        assert {task.updated_at for task in tasks if not task.unreadable} == {
            NOW + timedelta(minutes=minute) for minute in (0, 1, 3, 4)
        }
    open_ones = await read.abandoned(datetime.now(UTC), 10_000)
    assert {ids[0], ids[1], ids[3], ids[4]} <= {task.id for task in open_ones}


@pytest.mark.parametrize("at", ODD)
@pytest.mark.parametrize("column", ["created_at", "updated_at"])
async def test_one_odd_time_takes_no_operation_along(pools, recorded, at, column):
    """In an operator's list, and in its own story."""
    tenant, region, ids = recorded
    await spoil(pools, ids[2:3], column, at)
    operations = PostgresOperations(pools, region=region)
    views = await operations.page(OperationFilter(limit=50, tenant=tenant))
    story = await operations.story(ids[2])
    assert {view.id: view.said for view in [*views, story.operation]} == {
        **dict.fromkeys(ids, ""),
        ids[2]: "the content cannot be shown: "
        f"its {'start' if column == 'created_at' else 'time'} {WHY}",
    }
    assert [row.leaf["kind"] for row in story.timeline] == ["request.accepted"]


@pytest.mark.parametrize("at", ODD)
async def test_pages_go_on_behind_odd_times(pools, recorded, at):
    """One task a page: no page comes twice, and every other task is on one."""
    tenant, _, ids = recorded
    await spoil(pools, ids[1:3], "updated_at", at)
    shown, before, more = [], None, True
    while more:
        found = await page(pools, tenant, limit=1, before=before)
        if not found.tasks:  # of several such years at a page's end the first stands for all
            break
        [task] = found.tasks
        assert task.id not in shown
        shown.append(task.id)
        before, more = _from_token(_to_token(task)), found.more
    assert {ids[0], ids[3], ids[4]} <= set(shown)
    assert set(shown) & {ids[1], ids[2]}


async def test_an_unknown_outcome_takes_no_operation_along(pools, recorded):
    """Listed as failed, with the reason; and found among those that failed."""
    tenant, region, ids = recorded
    await pools.record.execute(
        """UPDATE mc.task SET governance = '{"operation": "x", "outcome": "lost"}' WHERE id = $1""",
        ids[0],
    )
    operations = PostgresOperations(pools, region=region)
    views = await operations.page(OperationFilter(limit=50, tenant=tenant))
    assert {view.id: view.state.value for view in views} == {
        **dict.fromkeys(ids, "running"),
        ids[0]: "failed",
    }
    failed = await operations.page(OperationFilter(limit=50, tenant=tenant, state=views[-1].state))
    assert [view.id for view in failed] == [ids[0]]
    assert failed[0].said.endswith("its outcome is none that an operation has")


async def test_other_times_are_read_and_written_to_the_microsecond(pools):
    """Single, none, and in lists."""
    first, last = datetime(1, 1, 1, 0, 0, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
    asked = [NOW, None, first, last, NOW + timedelta(microseconds=1)]
    rows = await pools.tenant.fetch("SELECT * FROM unnest($1::timestamptz[]) AS at", asked)
    assert [row["at"] for row in rows] == asked
    assert await pools.record.fetchval("SELECT $1::timestamptz", NOW) == NOW
    told = await pools.record.fetchval("SELECT $1::timestamptz::text", NOW)
    assert told.startswith("2026-01-02 03:04:05.678901")
