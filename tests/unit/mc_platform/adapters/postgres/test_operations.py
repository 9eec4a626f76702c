"""Operations of all tenants as PostgreSQL tells them: pages, stories, and the breaker's counts."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.migrate import database_url
from mc_platform.adapters.postgres.operations import PostgresOperations
from mc_platform.enact.breaker import Count
from mc_platform.enact.ended_operations import Ends
from mc_platform.model.event import Event, Kind
from mc_platform.model.operation_view import OperationFilter, OperationState
from mc_platform.model.task import Task, TaskState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BEFORE = NOW - timedelta(hours=1)


@pytest.fixture
def region():
    return f"region-{uuid.uuid4().hex[:8]}"


@pytest.fixture
async def journal(pools, region):
    opened = PostgresJournal(pools, region=region)
    await opened.start()
    yield opened
    await opened.stop()


@pytest.fixture
def operations(pools, region):
    return PostgresOperations(pools, region=region)


@pytest.fixture
def tenant():
    """A tenant that no other test knows."""
    return f"T_{uuid.uuid4().hex[:8]}"


def _state(outcome, canceled):
    if outcome == "completed":
        return TaskState.completed
    return TaskState.canceled if canceled and outcome == "compensated" else TaskState.failed


def _event(kind, task, **detail):
    told = {"operation_id": task.id, **detail}
    return Event(str(uuid.uuid4()), kind, task.tenant, NOW, told)


@pytest.fixture
def begin(journal, tenant):
    """Begins an operation (or, with `operation=None`, a question)."""

    async def begun(operation="place-order", tenant=tenant):
        task = Task(
            id=str(uuid.uuid4()),
            context_id="c",
            tenant=tenant,
            principal="agent@x",
            message_id=str(uuid.uuid4()),
            request_digest="d",
            state=TaskState.working,
            updated_at=NOW,
            governance={"operation": operation, "purpose": "p"} if operation else {},
        )
        await journal.record([_event(Kind.request_accepted, task)], task)
        return task

    return begun


@pytest.fixture
def end(begin, journal):
    """Begins an operation and ends it."""

    async def ended(outcome, *, at=NOW, undone=0, canceled=False, **more):
        task = await begin(**more)
        governance = {
            **task.governance,
            "outcome": outcome,
            "effects": 2,
            "effects_undone": undone,
            "canceled": canceled,
            "steps": [{"action": "reserve", "state": "done", "attempts": 1, "reason": "a\u0001b"}],
        }
        done = replace(
            task,
            state=_state(outcome, canceled),
            updated_at=at,
            status_text=f"it {outcome}",
            governance=governance,
        )
        kind = Kind(f"operation.{outcome}")
        await journal.record([_event(kind, task)], done)
        return done

    return ended


async def _page(operations, tenant, **more):
    fields = {"limit": 50, "tenant": tenant}
    return await operations.page(OperationFilter(**{**fields, **more}))


async def test_operations_come_newest_first_and_questions_do_not(operations, begin, end, tenant):
    """A page holds operations only, of one tenant or of all."""
    first = await end("completed")
    await begin(operation=None)
    second = await begin()
    found = await _page(operations, tenant)
    assert [view.id for view in found] == [second.id, first.id]
    assert [view.state for view in found] == [OperationState.running, OperationState.completed]
    assert found[1].said == "it completed"
    assert found[1].governance["steps"][0]["action"] == "reserve"
    everybody = await _page(operations, None)
    assert {first.id, second.id} <= {view.id for view in everybody}


async def test_pages_follow_each_other_without_gap_or_repeat(operations, end, tenant):
    """Also when operations end meanwhile: the order is by start, which does not change."""
    begun = [(await end("completed")).id for _ in range(5)]
    seen, before = [], None
    while page := await _page(operations, tenant, limit=2, before=before):
        seen += [view.id for view in page]
        before = (page[-1].started_at, page[-1].id)
    assert seen == begun[::-1]


async def test_states_are_told_apart(operations, begin, end, journal, tenant):
    """Every state finds its operations and no others."""
    tasks = {
        OperationState.running: await begin(),
        OperationState.completed: await end("completed"),
        OperationState.compensated: await end("compensated", undone=1),
        OperationState.stuck: await end("stuck"),
        OperationState.resolved: await end("stuck"),
    }
    await journal.record([_event(Kind.operation_still_stuck, tasks[OperationState.stuck])])
    await journal.record([_event(Kind.operation_resolved, tasks[OperationState.resolved])])
    never = await begin()
    failed = replace(never, state=TaskState.failed)
    await journal.record([_event(Kind.request_failed, never)], failed)
    tasks[OperationState.failed] = failed
    for state in OperationState:
        found = await _page(operations, tenant, state=state)
        assert [(view.id, view.state) for view in found] == [(tasks[state].id, state)]


async def test_since_is_the_start(operations, end, tenant):
    """What started earlier is left out."""
    task = await end("completed")
    [view] = await _page(operations, tenant, since_at=NOW)
    assert view.id == task.id
    late = view.started_at + timedelta(microseconds=1)
    assert await _page(operations, tenant, since_at=late) == []


async def test_a_story_has_every_event_in_the_logs_order(operations, end, journal):
    """And nothing of another operation; an unknown one is None."""
    task = await end("compensated", undone=1)
    await end("completed")
    story = await operations.story(task.id)
    assert [row.leaf["kind"] for row in story.timeline] == [
        "request.accepted",
        "operation.compensated",
    ]
    assert story.operation.id == task.id
    assert await operations.story("no-such") is None
    assert await operations.story((await end("completed")).id) is not None


async def test_what_counts_as_compensated(operations, end, begin, tenant):
    """Undone effects that nobody had asked to cancel, and standing ones; running ones do not count."""
    await begin()
    await end("completed")
    await end("compensated", undone=0)  # its first step was refused: nothing was undone
    await end("compensated", undone=1)
    await end("compensated", undone=1, canceled=True)
    await end("stuck")
    await end("stuck", canceled=True)
    assert await operations.ended({tenant: BEFORE}) == {tenant: Count(ended=5, compensated=3)}


async def test_only_what_ended_after_its_tenants_time_counts(operations, end, tenant):
    """Each tenant has a time of its own; one without operations has no entry."""
    other = f"{tenant}_B"
    await end("stuck", at=NOW)
    await end("stuck", at=NOW, tenant=other)
    await end("completed", at=NOW + timedelta(hours=2), tenant=other)
    found = await operations.ended({tenant: BEFORE, other: NOW, f"{tenant}_C": BEFORE})
    assert found == {tenant: Count(1, 1), other: Count(1, 0)}
    assert await operations.ended({}) == {}


async def test_what_ended_between_two_times_has_its_times(operations, end, begin, tenant):
    """After the first and not after the second, to the microsecond, and counted as `ended` counts."""
    other = f"{tenant}_B"
    step = timedelta(microseconds=1)
    await begin()
    for outcome, more in (
        ("completed", {}),
        ("stuck", {"canceled": True}),
        ("compensated", {"undone": 1}),
        ("compensated", {"undone": 1, "canceled": True}),
        ("compensated", {"undone": 0}),
    ):
        for at in (NOW, NOW + step):
            await end(outcome, at=at, **more)
    await end("completed", at=NOW, tenant=other)
    us = 1_767_323_045_000_000
    found = await operations.ended_between([tenant, other, f"{tenant}_C"], NOW - step, NOW)
    assert found == {tenant: Ends([us] * 4, [us] * 2), other: Ends([us], [])}
    later = await operations.ended_between([tenant, other], NOW, NOW + timedelta(days=1))
    assert later == {tenant: Ends([us + 1] * 4, [us + 1] * 2)}
    both = await operations.ended({tenant: NOW - step})
    assert both == {tenant: Count(8, 4)}


async def test_a_resolved_operation_is_stuck_no_more_even_when_its_events_have_left(
    operations, end, journal, tenant, database
):
    """What the ledger told once is kept: its old partitions may leave as files."""
    stays, goes = await end("stuck"), await end("stuck")
    assert await operations.stuck([tenant, "NOBODY"]) == {tenant: 2}
    await journal.record([_event(Kind.operation_resolved, goes)])
    assert await operations.stuck([tenant]) == {tenant: 1}
    owner = await asyncpg.connect(database_url(database.admin_url, "mc"))
    await owner.execute("DELETE FROM mc.ledger_event WHERE tenant = $1", tenant)
    await owner.close()
    assert await operations.stuck([tenant]) == {tenant: 1}
    assert [view.id for view in await _page(operations, tenant, state=OperationState.stuck)] == [
        stays.id
    ]


async def test_counting_reads_the_index_alone(database, operations, end, tenant):
    """The breaker's question touches no task row, however large the tasks are."""
    await end("completed")
    owner = await asyncpg.connect(database_url(database.admin_url, "mc"))
    await owner.execute("VACUUM ANALYZE mc.task")
    await owner.execute("SET enable_seqscan = off; SET enable_bitmapscan = off")
    plan = await owner.fetch(
        "EXPLAIN SELECT count(*), count(*) FILTER (WHERE compensated OR outcome = 'stuck') "
        "FROM mc.task WHERE tenant = $1 AND updated_at > $2 AND outcome IS NOT NULL "
        "AND state <> 'TASK_STATE_CANCELED'",
        tenant,
        BEFORE,
    )
    await owner.close()
    assert any("Index Only Scan using task_ended" in row[0] for row in plan), plan
