"""A replica in a process of its own, to be killed: launches the engine and runs what it is told.

Arguments: a JSON object with `url`, `executor_id`, `catalogue` (TOML text) and `requests`; with
`version` it holds a lease under that code version. Prints `ready`, then one line of JSON for each
operation that ends here; runs until it is killed, and starts what else comes on standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tomllib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from tests.fake_saga import SEALER

from mc_platform.adapters.http import BlockingLanes
from mc_platform.adapters.postgres.leases import PostgresLeases
from mc_platform.enact import OperationEngine
from mc_platform.errors import Unavailable
from mc_platform.model.catalogue import parse_catalogue
from mc_platform.model.event import Event
from mc_platform.model.ids import ContextId, PrincipalId, TaskId, TenantId
from mc_platform.model.operation import OperationRequest
from mc_platform.model.task import Task, TaskState

TENANT = TenantId("TENANT_001")


def main(settings: dict[str, Any]) -> None:
    def record(events: Sequence[Event], task: Task | None) -> None:
        with psycopg.connect(settings["url"]) as connection:
            for event in events:
                connection.execute(
                    "INSERT INTO ledger (id, kind, detail) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                    (event.id, event.kind.value, json.dumps(event.detail)),
                )
            if task is not None:
                connection.execute(
                    "INSERT INTO task_states VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
                    (task.id, task.state.value, task.status_text),
                )

    engine = OperationEngine(
        database_url=settings["url"],
        executor_id=settings["executor_id"],
        application_version=settings.get("version", "test-1"),
        leases=PostgresLeases(settings["url"], engine_schema="dbos")
        if "version" in settings
        else None,
        catalogue=parse_catalogue(tomllib.loads(settings["catalogue"])),
        http=BlockingLanes(),
        record_blocking=record,
        load_task=_task,
        seals=SEALER,
        on_finished=lambda request, report: print(
            json.dumps({"id": request.id, "outcome": report.outcome.value}), flush=True
        ),
        pool_size=5,
    )

    async def serve() -> None:
        await engine.launch()
        for request in settings["requests"]:
            await engine.start(OperationRequest(**request))
        for operation_id in settings.get("cancel", ()):
            await engine.cancel(operation_id)
        print("ready", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            await _insist(engine, OperationRequest(**json.loads(line)))
        await asyncio.Event().wait()

    asyncio.run(serve())


async def _insist(engine: OperationEngine, request: OperationRequest) -> None:
    """As a client does: one that was paused has no lease until its next heartbeat."""
    while True:
        try:
            return await engine.start(request)
        except Unavailable:
            await asyncio.sleep(0.1)


def _task(tenant: TenantId, task_id: TaskId) -> Task:
    return Task(
        id=task_id,
        context_id=ContextId("context"),
        tenant=tenant,
        principal=PrincipalId("principal"),
        message_id="message",
        request_digest="digest",
        state=TaskState.working,
        updated_at=datetime.now(UTC),
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
