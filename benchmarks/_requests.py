"""Audited requests: the journal beside raw inserts of the same bytes.

A request is what the request path records for a forwarded question: `request.accepted` with the
open task, then `reply.released` with the task's end; each is committed before the next thing
happens. The peers store the same leaf bytes and the same task columns, but keep no Merkle tree, no
head, no rule that an event is recorded once, no row-level security, and one index a table. The
batched one gathers as the journal does: what queued during the last flush is the next. Whoever
records, the clients live in the same process, so its CPU holds theirs, which is the same for all.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import asyncpg
import psycopg
from _postgres import Database, cpu_between
from _rounds import Round, Side, beside, require
from _table import Row

from mc_contract.ledger.merkle import Frontier, leaf_hash
from mc_platform.adapters.postgres.journal import PostgresJournal, leaf_bytes
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import ContextId, PrincipalId, TaskId, TenantId
from mc_platform.model.task import Task, TaskState
from mc_platform.record import EventFactory

REGION = "bench-requests"
OURS, BATCHED, SINGLE = "journal", "raw batched", "raw single-row"
LEAST_OF_BATCHED = 0.8
_MOST_IN_A_FLUSH = 512
_WARM_UP_S = 0.3
_STOCK_PER_S = 500
_TENANTS = tuple(TenantId(f"TENANT_{number:03}") for number in range(1, 9))
_TASK_COLUMNS = (
    "id, context_id, tenant, principal, message_id, request_digest, state, updated_at, parts,"
    " status_text, governance"
)

_PEER_SCHEMA = """
CREATE SCHEMA peer;
CREATE TABLE peer.event (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, event_id text NOT NULL,
    tenant text NOT NULL, kind text NOT NULL, occurred_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT now(), leaf bytea NOT NULL
);
CREATE TABLE peer.task (
    id text PRIMARY KEY, context_id text NOT NULL, tenant text NOT NULL, principal text NOT NULL,
    message_id text NOT NULL, request_digest text NOT NULL, state text NOT NULL,
    updated_at timestamptz NOT NULL, parts json NOT NULL, status_text text NOT NULL,
    governance json NOT NULL
);
GRANT USAGE ON SCHEMA peer TO mc_service;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA peer TO mc_service;
"""

# One statement, so one round trip and one commit: the quickest form of both inserts together.
_PEER_WRITE = f"""
WITH events AS (
    INSERT INTO peer.event (event_id, tenant, kind, occurred_at, leaf)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bytea[])
)
INSERT INTO peer.task ({_TASK_COLUMNS})
SELECT id, context_id, tenant, principal, message_id, request_digest, state, updated_at,
       parts::json, status_text, governance::json
FROM unnest($6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[],
            $13::timestamptz[], $14::text[], $15::text[], $16::text[])
    AS new ({_TASK_COLUMNS})
ON CONFLICT (id) DO UPDATE SET
    state = excluded.state, updated_at = excluded.updated_at, parts = excluded.parts,
    status_text = excluded.status_text, governance = excluded.governance
"""
_PEER_WRITE_ONE = f"""
WITH events AS (
    INSERT INTO peer.event (event_id, tenant, kind, occurred_at, leaf) VALUES ($1, $2, $3, $4, $5)
)
INSERT INTO peer.task ({_TASK_COLUMNS})
VALUES ($6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
ON CONFLICT (id) DO UPDATE SET
    state = excluded.state, updated_at = excluded.updated_at, parts = excluded.parts,
    status_text = excluded.status_text, governance = excluded.governance
"""

Record = Callable[[Event, Task], Awaitable[None]]


def _now() -> datetime:
    return datetime.now(UTC)


_EVENTS = EventFactory(clock=_now)


def _decision() -> dict[str, Any]:
    return {
        "decision": str(uuid.uuid4()),
        "policies": ["send-message.same-residency", "send-message.purpose"],
        "policy_set": "sha256:" + "5f" * 32,
        "reason": "permitted",
    }


@dataclass(frozen=True, slots=True)
class _Request:
    """What one audited request records: two events, each with its task's state."""

    accepted: Event
    open: Task
    released: Event
    ended: Task

    async def audit(self, record: Record) -> None:
        """Two commits, the second one after the first."""
        await record(self.accepted, self.open)
        await record(self.released, self.ended)


def _made() -> _Request:
    tenant = random.choice(_TENANTS)
    task_id = TaskId(str(uuid.uuid4()))
    message_id = str(uuid.uuid4())
    digest = hashlib.sha256(message_id.encode()).hexdigest()
    decision = _decision()
    task = Task(
        id=task_id,
        context_id=ContextId(str(uuid.uuid4())),
        tenant=tenant,
        principal=PrincipalId(f"agent@{tenant.lower()}"),
        message_id=message_id,
        request_digest=digest,
        state=TaskState.submitted,
        updated_at=_now(),
        governance={
            "decision_id": decision["decision"],
            "purpose": "support",
            "residency": "eu",
        },
    )
    accepted = _EVENTS.event(
        Kind.request_accepted,
        tenant,
        task_id,
        principal=task.principal,
        agent="records",
        operation="",
        purpose="support",
        residency="eu",
        message=digest,
        request=digest,
        labels={"email": 1},
        **decision,
    )
    decision = _decision()
    ended = replace(
        task,
        state=TaskState.completed,
        updated_at=_now(),
        parts=({"text": "Order O-2001 is packed; it leaves the warehouse this afternoon."},),
        governance={
            **task.governance,
            "release_decision_id": decision["decision"],
            "redacted": False,
            "labels": [],
        },
    )
    released = _EVENTS.event(
        Kind.reply_released, tenant, task_id, labels={}, redacted=False, **decision
    )
    return _Request(accepted, task, released, ended)


def stock_of(size: int) -> list[_Request]:
    """Audited requests that were never recorded."""
    return [_made() for _ in range(size)]


_QUICKEST = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _raw_leaf(event: Event) -> bytes:
    """The journal's bytes for these events, by the quickest encoder that makes them."""
    leaf = {
        "v": 1,
        "region": REGION,
        "id": event.id,
        "kind": event.kind.value,
        "tenant": event.tenant,
        "occurred_at": event.occurred_at.isoformat(),
        "detail": event.detail,
    }
    return _QUICKEST.encode(leaf).encode()


def _event_row(event: Event) -> tuple[Any, ...]:
    return (event.id, event.tenant, event.kind.value, event.occurred_at, _raw_leaf(event))


def _task_row(task: Task) -> tuple[Any, ...]:
    return (
        task.id,
        task.context_id,
        task.tenant,
        task.principal,
        task.message_id,
        task.request_digest,
        task.state.value,
        task.updated_at,
        json.dumps(task.parts),
        task.status_text,
        json.dumps(dict(task.governance)),
    )


@dataclass(slots=True)
class _Waiting:
    event: Event
    task: Task
    done: asyncio.Future[None] = field(repr=False)


class _BatchedRows:
    """Multi-row inserts, gathered while the last one is under way."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._queue: list[_Waiting] = []
        self._wake = asyncio.Event()
        self._flusher = asyncio.create_task(self._flush_forever())

    async def record(self, event: Event, task: Task) -> None:
        """Return when both are committed."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(event, task, done))
        self._wake.set()
        await done

    async def stop(self) -> None:
        """Nothing is queued any more."""
        self._flusher.cancel()
        await asyncio.gather(self._flusher, return_exceptions=True)

    async def _flush_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = self._queue[:_MOST_IN_A_FLUSH]
                del self._queue[:_MOST_IN_A_FLUSH]
                await self._flush(batch)

    async def _flush(self, batch: Sequence[_Waiting]) -> None:
        rows = [(*_event_row(one.event), *_task_row(one.task)) for one in batch]
        try:
            await self._connection.execute(_PEER_WRITE, *map(list, zip(*rows, strict=True)))
        except Exception as error:
            for one in batch:
                one.done.set_exception(error)
            return
        for one in batch:
            one.done.set_result(None)


async def _round(
    record: Record, stock: list[_Request], clients: int, seconds: float, database: Database
) -> Round:
    latencies: list[float] = []
    database_before, cpu_before = database.cpu_s(), time.process_time()
    began = time.perf_counter()
    end = began + seconds

    async def loop() -> None:
        while (now := time.perf_counter()) < end:
            made = stock.pop() if stock else _made()
            await made.audit(record)
            latencies.append(time.perf_counter() - now)

    await asyncio.gather(*(loop() for _ in range(clients)))
    elapsed_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_before
    return Round(latencies, elapsed_s, cpu_s, cpu_between(database_before, database.cpu_s()))


async def measure(
    database: Database, *, clients: Sequence[int], rounds: int, seconds: float
) -> list[Row]:
    """All concurrencies, one after the other; checks at the end that all of it is there.

    Raises:
        CheckFailed: something acknowledged is missing, or something is there that was not asked.
    """
    sample = _made()
    for event in (sample.accepted, sample.released):
        require("the peers' bytes of an event", _raw_leaf(event), leaf_bytes(REGION, event))
    with psycopg.connect(database.owner_url, autocommit=True) as owner:
        owner.execute(_PEER_SCHEMA)
    pools = Pools(database_url=database.service_url, application_name="bench")
    await pools.open()
    journal = PostgresJournal(pools, region=REGION)
    await journal.start()
    connection = await asyncpg.connect(database.service_url)
    batched = _BatchedRows(connection)
    single = await asyncpg.create_pool(
        database.service_url, min_size=max(clients), max_size=max(clients)
    )

    async def by_journal(event: Event, task: Task) -> None:
        [recorded] = await journal.record([event], task)
        require("an event recorded for the first time is fresh", recorded.fresh, True)

    async def one_by_one(event: Event, task: Task) -> None:
        await single.execute(_PEER_WRITE_ONE, *_event_row(event), *_task_row(task))

    ways: dict[str, Record] = {OURS: by_journal, BATCHED: batched.record, SINGLE: one_by_one}
    acknowledged = dict.fromkeys(ways, 0)
    rows: list[Row] = []
    try:
        for crowd in clients:
            sides = {name: Side(name) for name in ways}
            # Made before the clock runs; what exceeds the stock is made within it
            stock_size = int(_STOCK_PER_S * seconds)
            for turn in range(rounds + 1):
                for name in random.sample(list(ways), k=len(ways)):
                    took_s = seconds if turn else min(seconds, _WARM_UP_S)
                    stock = stock_of(stock_size)
                    made = await _round(ways[name], stock, crowd, took_s, database)
                    stock_size = max(stock_size, int(made.rate * seconds * 1.2))
                    acknowledged[name] += len(made.latencies_s)
                    if turn:  # the first is the warm-up
                        sides[name].rounds.append(made)
            rows += beside(
                f"audited requests (two commits each), {crowd} clients",
                list(sides.values()),
                OURS,
                per="request",
                at_least={BATCHED: LEAST_OF_BATCHED},
            )
    finally:
        await batched.stop()
        await journal.stop()
        await connection.close()
        await single.close()
        await pools.close()
    _check(database, acknowledged)
    return rows


def _check(database: Database, acknowledged: dict[str, int]) -> None:
    """Every acknowledged request is in both tables, and the log's head is its leaves' root."""
    ours, peers = acknowledged[OURS], acknowledged[BATCHED] + acknowledged[SINGLE]
    with psycopg.connect(database.owner_url) as owner:

        def ask(text: str) -> tuple[Any, ...] | None:
            return owner.execute(text).fetchone()

        tenants = ", ".join(f"'{tenant}'" for tenant in _TENANTS)
        require(
            "completed tasks of the journal",
            ask(
                "SELECT count(*), count(*) FILTER (WHERE state = 'TASK_STATE_COMPLETED')"
                f" FROM mc.task WHERE tenant IN ({tenants})"
            ),
            (ours, ours),
        )
        require(
            "rows of the peers: events, tasks, completed tasks",
            ask(
                "SELECT (SELECT count(*) FROM peer.event), count(*),"
                " count(*) FILTER (WHERE state = 'TASK_STATE_COMPLETED') FROM peer.task"
            ),
            (2 * peers, peers, peers),
        )
        # A peer that stores less than the ledger does would be no peer
        ledger_bytes, peer_bytes = (
            owner.execute(f"SELECT avg(octet_length(leaf))::float FROM {table}").fetchone()
            for table in (f"mc.ledger_event WHERE region = '{REGION}'", "peer.event")
        )
        assert ledger_bytes is not None
        assert peer_bytes is not None
        same = abs(ledger_bytes[0] - peer_bytes[0]) < 1
        require(f"mean leaf of {ledger_bytes[0]} and {peer_bytes[0]} bytes is the same", same, True)
        stored = ask(f"SELECT frontier FROM mc.ledger_head WHERE region = '{REGION}'")
        frontier = Frontier()
        with owner.cursor("leaves", binary=True) as leaves:
            leaves.itersize = 5000
            leaves.execute(
                "SELECT index, leaf FROM mc.ledger_event WHERE region = %s ORDER BY index",
                (REGION,),
            )
            for index, leaf in leaves:
                require("the ledger has no gap", index, frontier.size)
                frontier = frontier.append(leaf_hash(leaf))
        require("events in the ledger", frontier.size, 2 * ours)
        require("the head is the root of the leaves", stored, (frontier.to_bytes(),))
