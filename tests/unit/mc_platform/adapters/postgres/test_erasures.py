"""A tenant's content is erased on request: all of it that has ended, told by counts, and no one else's."""

from __future__ import annotations

import json
import uuid

import asyncpg
import pytest

from mc_platform.adapters.postgres import migrate
from mc_platform.adapters.postgres.ledger import PostgresRecords
from mc_platform.administration import erase

CANARY = "canary-of-a-customer"


@pytest.fixture
async def owner(database):
    connection = await asyncpg.connect(migrate.database_url(database.admin_url, "mc"))
    yield connection
    await connection.close()


async def _operation(owner, tenant, state, outcome=None):
    """A task with all that stands beside it, the engine's rows among them; its id."""
    task_id = str(uuid.uuid4())
    governance = {"operation": "x"} | ({} if outcome is None else {"outcome": outcome})
    await owner.execute(
        "INSERT INTO mc.task (id, context_id, tenant, principal, message_id, request_digest, state,"
        " parts, status_text, governance, updated_at)"
        " VALUES ($1, 'c', $2, 'p', $1, 'd', $3, $4, '', $5, now())",
        task_id,
        tenant,
        f"TASK_STATE_{state}",
        json.dumps([{"text": CANARY}]),
        json.dumps(governance),
    )
    await owner.execute(
        "INSERT INTO mc.operation_record (region, tenant, operation_id, step, sealed)"
        " VALUES ('local-1', $2, $1, 'input', $3)",
        task_id,
        tenant,
        CANARY,
    )
    await owner.execute(
        "INSERT INTO mc.quotable (tenant, digest, task_id) VALUES ($2, hashtext($1), $1)",
        task_id,
        tenant,
    )
    await owner.execute(
        "INSERT INTO mc.region_change (region, kind, tenant, key, body)"
        " VALUES ('local-1', 'task', $2, $1, $3)",
        task_id,
        tenant,
        json.dumps({"parts": CANARY}),
    )
    for workflow in (task_id, f"{task_id}:resolve:1"):
        await owner.execute(
            "INSERT INTO dbos.workflow_status (workflow_uuid, status, name)"
            " VALUES ($1, 'SUCCESS', 'mc.operation')",
            workflow,
        )
        await owner.execute(
            "INSERT INTO dbos.workflow_input (workflow_uuid, inputs) VALUES ($1, $2)",
            workflow,
            CANARY,
        )
    return task_id


async def _left(owner, tenant, task_id):
    """In which tables something of a task is."""
    counts = await owner.fetchrow(
        """SELECT (SELECT count(*) FROM mc.task WHERE id = $1) AS task,
            (SELECT count(*) FROM mc.operation_record WHERE operation_id = $1) AS record,
            (SELECT count(*) FROM mc.region_change WHERE key = $1 AND tenant = $2) AS change,
            (SELECT count(*) FROM dbos.workflow_status WHERE workflow_uuid LIKE $1 || '%') AS engine,
            (SELECT count(*) FROM dbos.workflow_input WHERE workflow_uuid LIKE $1 || '%') AS input""",
        task_id,
        tenant,
    )
    return {name: count for name, count in counts.items() if count}


async def test_all_that_has_ended_of_a_tenant_is_erased_and_recorded(owner, database, pools):
    """What is open or stuck stays, and is counted; other tenants keep theirs; a rehearsal removes nothing."""
    tenant, region = f"T-{uuid.uuid4().hex[:8]}", f"region-{uuid.uuid4().hex[:8]}"
    done = await _operation(owner, tenant, "COMPLETED", "completed")
    under_way = await _operation(owner, tenant, "WORKING")
    stuck = await _operation(owner, tenant, "FAILED", "stuck")
    anothers = await _operation(owner, "TENANT_001", "COMPLETED", "completed")
    whole = {"task": 1, "record": 1, "change": 1, "engine": 2, "input": 2}
    asked = {
        "admin_url": database.admin_url,
        "service_url": database.service_url,
        "region": region,
        "tenant": tenant,
        "by": "os-user:x",
        "reason": "contract ended",
    }
    counts = {
        "tasks": 1,
        "operation_records": 1,
        "quotations": 3,
        "changes": 1,
        "engine": 2,
        "left_open": 2,
    }
    rehearsed = await erase(**asked, dry_run=True)
    assert rehearsed["erased"] == counts
    assert await _left(owner, tenant, done) == whole

    assert (await erase(**asked, dry_run=False))["erased"] == counts
    assert await _left(owner, tenant, done) == {}
    assert await _left(owner, tenant, under_way) == whole
    assert await _left(owner, tenant, stuck) == whole
    assert await _left(owner, "TENANT_001", anothers) == whole
    [row] = await PostgresRecords(pools, region=region).newest(tenant, limit=5, before=None)
    assert row.leaf["kind"] == "tenant.erased"
    detail = row.leaf["detail"]
    assert (detail["principal"], detail["reason"]) == ("os-user:x", "contract ended")
    assert detail["erased"] == counts


async def test_what_a_run_could_not_record_the_next_one_records(owner, database, pools):
    """The note is of the same transaction as the removal, so none leaves without an entry."""
    tenant, region = f"T-{uuid.uuid4().hex[:8]}", f"region-{uuid.uuid4().hex[:8]}"
    await owner.execute("SELECT mc.erase_tenant($1, 'os-user:x', 'then it died')", tenant)
    await erase(
        admin_url=database.admin_url,
        service_url=database.service_url,
        region=region,
        tenant=tenant,
        by="os-user:x",
        reason="again",
        dry_run=False,
    )
    rows = await PostgresRecords(pools, region=region).newest(tenant, limit=5, before=None)
    assert {row.leaf["detail"]["reason"] for row in rows} == {"then it died", "again"}


async def test_the_service_erases_no_tenant(pools):
    """Its roles may not call what the owner calls."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await pools.record.fetch("SELECT mc.erase_tenant('TENANT_001', 'x', 'y')")
