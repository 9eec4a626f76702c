"""One side of the operations' benchmark, in a process of its own: DBOS is a singleton.

The first line of standard input is the settings (they hold a password, so they are no argument),
each further line is a job; each is answered by a line. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Any, Protocol

from dbos import DBOS, DBOSConfig, SetWorkflowID, StepOptions

from mc_contract.keyring import Purpose, new_keyring
from mc_platform.adapters.http import BlockingLanes
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.leases import PostgresLeases
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.postgres.tasks import PostgresTasks
from mc_platform.enact import ENGINE_SCHEMA, OperationEngine
from mc_platform.enact.engine_database import quiet_engine_logs
from mc_platform.model.catalogue import parse_catalogue
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import ContextId, OperationId, PrincipalId, TaskId, TenantId
from mc_platform.model.label import Part
from mc_platform.model.operation import OperationRequest
from mc_platform.model.task import Task, TaskState
from mc_platform.record import EventFactory, Sealer

_ACTIONS = ("first", "second", "third")
_TENANTS = tuple(TenantId(f"BENCH_{number}") for number in range(4))
_AT_MOST = 32  # operations at once in a process: the service's default, and the peer's threads
_POOL_SIZE = 8
_WAIT_S = 60.0
_INPUT = {"item": "kettle", "quantity": 2, "customer": "c-77", "amount_cents": 4500}


class Engine(Protocol):
    """A side: runs so many operations and returns the latency of each in seconds."""

    async def run(self, *, operations: int, at_once: int, refuse: bool) -> list[float]:
        """All of them, `at_once` at a time."""
        ...

    async def close(self) -> None:
        """Leave the database."""
        ...


class Governed:
    """The operation engine with leases, and the journal; recorded from acceptance to release.

    Policy and screening are not here: `gateway.py` measures them.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._events = EventFactory(clock=_now)
        url = settings["database_url"]
        self._pools = Pools(database_url=url, application_name="bench-operations")
        self._tasks = PostgresTasks(self._pools)
        self._journal = PostgresJournal(self._pools, region=settings["region"])
        self._engine = OperationEngine(
            database_url=url,
            executor_id="bench-1",
            application_version="bench",
            catalogue=parse_catalogue(_catalogue(settings["receiver_url"])),
            http=BlockingLanes(),
            record_blocking=self._record_blocking,
            load_task=lambda tenant, task_id: self._blocking(self._tasks.get(tenant, task_id)),
            seals=Sealer(new_keyring(_now()).of(Purpose.sealing)),
            leases=PostgresLeases(url, engine_schema=ENGINE_SCHEMA),
            release=self._release,
            max_concurrent=_AT_MOST,
        )

    async def open(self) -> None:
        """Connect, and take the lease."""
        await self._pools.open()
        await self._journal.start()
        await self._engine.launch()

    async def close(self) -> None:
        """In reverse."""
        await self._engine.shutdown(drain_s=5)
        await self._journal.stop()
        await self._pools.close()

    async def run(self, *, operations: int, at_once: int, refuse: bool) -> list[float]:
        """See `Engine`."""
        expected = "compensated" if refuse else "completed"

        async def one(number: int) -> None:
            ended = await self._operate(_TENANTS[number % len(_TENANTS)], refuse=refuse)
            if ended != expected:
                raise RuntimeError(f"an operation ended {ended}, expected {expected}")

        return await _closed_loops(one, operations, at_once)

    async def _operate(self, tenant: TenantId, *, refuse: bool) -> str:
        task = _task(tenant)
        accepted = self._events.event(
            Kind.request_accepted,
            tenant,
            task.id,
            principal=task.principal,
            agent="bench",
            operation="bench",
            decision=task.governance["decision_id"],
        )
        await self._journal.record([accepted], task)
        operation = OperationId(task.id)
        request = OperationRequest(
            id=operation,
            tenant=tenant,
            principal=task.principal,
            task_id=task.id,
            operation="bench",
            input={**_INPUT, "refuse": refuse},
            decision_id=task.governance["decision_id"],
        )
        await self._engine.start(request)
        report = await self._engine.wait(operation, _WAIT_S)
        return "not at all" if report is None else report.outcome.value

    def _blocking(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_WAIT_S)

    def _record_blocking(self, events: Sequence[Event], task: Task | None) -> None:
        self._blocking(self._journal.record(events, task))

    def _release(
        self, request: OperationRequest, parts: tuple[Part, ...]
    ) -> tuple[tuple[Part, ...], Sequence[Event]]:
        event = self._events.event(
            Kind.reply_released, request.tenant, request.task_id, labels={}, redacted=False
        )
        return parts, [event]


class Raw:
    """A DBOS workflow as one would write it by hand: each call a step, compensations in line.

    The HTTP client and the keys are the engine's own. It has four times the engine's connections.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        quiet_engine_logs()
        self._url = settings["receiver_url"]
        self._http = BlockingLanes()
        config = DBOSConfig(
            name="bench-raw",
            system_database_url=settings["database_url"],
            dbos_system_schema=settings["peer_engine_schema"],
            executor_id="raw-1",
            application_version="bench",
            run_migrations=False,
            sys_db_pool_size=_POOL_SIZE,
            max_executor_threads=_AT_MOST,
            log_level="WARNING",
            enable_otlp=False,
            notification_coalesce_sec=0.2,
            scheduler_polling_interval_sec=3600.0,
        )
        DBOS(config=config)

        def operation(body: dict[str, Any]) -> str:
            return self._operation(body)

        self._workflow = DBOS.workflow(name="bench.operation")(operation)

    async def open(self) -> None:
        """Connect."""
        await asyncio.to_thread(DBOS.launch)

    async def close(self) -> None:
        """Leave."""
        await asyncio.to_thread(partial(DBOS.destroy, destroy_registry=True))
        self._http.close()

    async def run(self, *, operations: int, at_once: int, refuse: bool) -> list[float]:
        """See `Engine`."""
        expected = "compensated" if refuse else "completed"
        body = {**_INPUT, "refuse": refuse}

        def one(_number: int) -> None:
            with SetWorkflowID(str(uuid.uuid4())):
                handle = DBOS.start_workflow(self._workflow, body)
            ended = handle.get_result()
            if ended != expected:
                raise RuntimeError(f"a workflow ended {ended}, expected {expected}")

        # Threads, because that is how DBOS waits for a workflow of its own process most cheaply
        return await asyncio.to_thread(_closed_threads, one, operations, at_once)

    def _operation(self, body: dict[str, Any]) -> str:
        done: list[int] = []
        for index in range(len(_ACTIONS)):
            key = f"{DBOS.workflow_id}:{index}:do"
            options = _step(f"do:{index}")
            reply = DBOS.run_step(options, self._call, f"do/{index}", key, body)
            if reply["status"] == HTTPStatus.CONFLICT:
                break
            done.append(index)
        if len(done) == len(_ACTIONS):
            return "completed"
        for index in reversed(done):
            key = f"{DBOS.workflow_id}:{index}:undo"
            DBOS.run_step(_step(f"undo:{index}"), self._call, f"undo/{index}", key, body)
        return "compensated"

    def _call(self, path: str, key: str, body: dict[str, Any]) -> dict[str, Any]:
        reply = self._http.exchange(
            "bench",
            "POST",
            f"{self._url}/{path}",
            body=json.dumps(body).encode(),
            headers={"Idempotency-Key": key, "Content-Type": "application/json"},
            timeout_s=10.0,
            most_bytes=65_536,
        )
        if not reply.ok and reply.status != HTTPStatus.CONFLICT:
            raise RuntimeError(f"the receiver answered {reply.status}")
        return {"status": reply.status, "result": reply.json(most_depth=64)}


def _step(name: str) -> StepOptions:
    """The engine's default retries, as DBOS has them: both sides get over a lost connection."""
    return {"name": name, "retries_allowed": True, "max_attempts": 4, "interval_seconds": 0.2}


def _now() -> datetime:
    return datetime.now(UTC)


def _task(tenant: TenantId) -> Task:
    task_id = TaskId(str(uuid.uuid4()))
    return Task(
        id=task_id,
        context_id=ContextId(str(uuid.uuid4())),
        tenant=tenant,
        principal=PrincipalId("bench"),
        message_id=str(uuid.uuid4()),
        request_digest="5f" * 32,
        state=TaskState.working,
        updated_at=_now(),
        governance={
            "decision_id": str(uuid.uuid4()),
            "purpose": "support",
            "residency": "eu",
            "operation_id": task_id,
            "operation": "bench",
        },
    )


def _catalogue(receiver_url: str) -> dict[str, Any]:
    body = {name: f"{{input.{name}}}" for name in (*_INPUT, "refuse")}
    return {
        "agents": {"bench": {"url": receiver_url, "residency": "eu"}},
        "actions": {
            action: {
                phase: {"method": "POST", "url": f"{receiver_url}/{phase}/{index}", "body": body}
                for phase in ("do", "undo")
            }
            for index, action in enumerate(_ACTIONS)
        },
        "operations": {"bench": {"agent": "bench", "steps": list(_ACTIONS), "autonomy_tier": 0}},
    }


async def _closed_loops(
    one: Callable[[int], Awaitable[None]], operations: int, at_once: int
) -> list[float]:
    latencies: list[float] = []
    numbers = iter(range(operations))

    async def loop() -> None:
        for number in numbers:
            began = time.perf_counter()
            await one(number)
            latencies.append(time.perf_counter() - began)

    await asyncio.gather(*(loop() for _ in range(at_once)))
    return latencies


def _closed_threads(one: Callable[[int], None], operations: int, at_once: int) -> list[float]:
    latencies: list[float] = []
    numbers: Iterator[int] = iter(range(operations))

    def loop() -> None:
        for number in numbers:
            began = time.perf_counter()
            one(number)
            latencies.append(time.perf_counter() - began)

    with ThreadPoolExecutor(at_once) as pool:
        for running in [pool.submit(loop) for _ in range(at_once)]:
            running.result()
    return latencies


async def _serve() -> None:
    settings = json.loads(sys.stdin.readline())
    side = Governed(settings) if settings["side"] == "governed" else Raw(settings)
    await side.open()
    print(json.dumps({"ready": True}), flush=True)
    while line := await asyncio.to_thread(sys.stdin.readline):
        began, cpu_before = time.perf_counter(), time.process_time()
        latencies = await side.run(**json.loads(line))
        answer = {
            "latencies_s": latencies,
            "elapsed_s": time.perf_counter() - began,
            "cpu_s": time.process_time() - cpu_before,
        }
        print(json.dumps(answer), flush=True)
    await side.close()


if __name__ == "__main__":
    asyncio.run(_serve())
