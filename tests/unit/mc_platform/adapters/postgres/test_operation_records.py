"""Of what two regions recorded of an operation the later term's holds, whatever their clocks say."""

from __future__ import annotations

import uuid

import asyncpg

from mc_platform.adapters.postgres import migrate
from mc_platform.adapters.postgres.operation_records import PostgresOperationRecords

LATE, BEHIND = "now()", "now() - interval '1 hour'"


async def test_the_later_terms_record_holds_where_its_writers_clock_runs_an_hour_behind(
    database, pools
):
    operation = str(uuid.uuid4())
    owner = await asyncpg.connect(migrate.database_url(database.admin_url, "mc"))
    await owner.execute(
        "INSERT INTO mc.task (id, context_id, tenant, principal, message_id, request_digest, state,"
        " parts, status_text, governance, updated_at)"
        " VALUES ($1, 'c', 'T', 'p', $1, 'd', 'TASK_STATE_WORKING', '[]', '', '{}', now())",
        operation,
    )
    for region, term, at in (("a-1", 1, LATE), ("b-1", 2, BEHIND)):
        for step in ("input", "do:0:reserve-stock"):
            await owner.execute(
                "INSERT INTO mc.operation_record (region, tenant, operation_id, step, sealed, term, written_at)"
                f" VALUES ($1, 'T', $2, $3, $1 || ' sealed it', $4, {at})",
                region,
                operation,
                step,
                term,
            )
    await owner.close()
    records = PostgresOperationRecords(pools)
    kept = await records.of(operation)
    assert kept["do:0:reserve-stock"] == {"tenant": "T", "sealed": "b-1 sealed it"}
    [begun] = await records.open(["T"])
    assert begun.region == "a-1", "where it was begun first"
