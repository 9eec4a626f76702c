"""How far a peer region is behind, beside PostgreSQL's logical replication of one plain table.

Two durable servers on this machine; requests are recorded at a fixed rate, each an event, a task and a
digest, as the journal writes them, and seen at the peer, where they are merged. The plain table gets one row of
an event's size for each request, in transactions of the same size: a fifth of what a request writes (its
event, its event's id, its task with ten indexes, its digest). Lag is from the commit's answer to when the
peer shows the row; the peer is asked without pause, so it includes one look (`look`, of either). `answer` is
the time of one transaction, and of `sync` until the peer has confirmed it: what a tenant waits.

    python benchmarks/replication.py [--seconds 10] [--rates 500,2000]
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import asyncpg
from _postgres import Database, cpu_between, durable_postgres

from mc_platform.adapters.postgres import replication
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.migrate import literal
from mc_platform.adapters.postgres.peer_position import PostgresPeerPosition
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.postgres.replication import Peering
from mc_platform.assembly.sync_tenants import SyncTenants
from mc_platform.model.event import Event, Kind
from mc_platform.model.ids import ContextId, EventId, PrincipalId, TaskId, TenantId
from mc_platform.model.task import Task, TaskState
from mc_platform.record import EventFactory

_BATCHES_PER_S = 50
_TENANT = TenantId("TENANT_001")
_TEXT = "x" * 600
_PASSWORD = "of-a-benchmark"
Write = Callable[[int], Awaitable[int]]


def _request() -> tuple[Event, Task]:
    name, now = str(uuid.uuid4()), datetime.now(UTC)
    event = Event(EventId(name), Kind.request_accepted, _TENANT, now, {"text": _TEXT})
    task = Task(
        id=TaskId(name),
        context_id=ContextId("c"),
        tenant=_TENANT,
        principal=PrincipalId("p"),
        message_id=name,
        request_digest="d",
        state=TaskState.completed,
        updated_at=now,
        quotable=(hash(name) >> 2,),
    )
    return event, task


async def _lags(
    write: Write, shown: Callable[[], Awaitable[int]], rate: int, seconds: float
) -> Any:
    """Of each batch, in ms, its last row's lag and its answer's time; the median look; rows/s reached."""
    size = max(1, rate // _BATCHES_PER_S)
    pending: list[tuple[int, float]] = []
    lags: list[float] = []
    looks: list[float] = []
    answers: list[float] = []
    writing = True

    async def watch() -> None:
        while writing or pending:
            began = time.perf_counter()
            there = await shown()
            now = time.perf_counter()
            looks.append(1000 * (now - began))
            while pending and pending[0][0] <= there:
                lags.append(1000 * max(0.0, now - pending.pop(0)[1]))

    watching = asyncio.create_task(watch())
    begun = time.perf_counter()
    for number in range(int(seconds * _BATCHES_PER_S)):
        await asyncio.sleep(max(0.0, begun + number / _BATCHES_PER_S - time.perf_counter()))
        asked = time.perf_counter()
        last = await write(size)
        answers.append(1000 * (time.perf_counter() - asked))
        pending.append((last, time.perf_counter()))
    took = time.perf_counter() - begun
    writing = False
    await asyncio.wait_for(watching, 60)
    return lags, answers, statistics.median(looks), int(seconds * _BATCHES_PER_S) * size / took


async def _set_up(one: Database, other: Database) -> None:
    names, databases = ("local-1", "local-2"), (one, other)
    for number in (0, 1, 0):
        peer = databases[1 - number].service_url.rpartition("@")[2]
        peering = Peering(
            names[number],
            names[1 - number],
            _PASSWORD,
            f"postgresql://{replication.ROLE}:{_PASSWORD}@{peer}",
        )
        mine = databases[number]
        report = await replication.set_up(
            admin_url=mine.owner_url, service_url=mine.service_url, peering=peering
        )
    if not report["subscribed"]:
        raise SystemExit(f"not replicating: {report['why']}")
    await asyncio.wait_for(_heard(one, other), 60)


async def _heard(one: Database, other: Database) -> None:
    """Beat for both until each has said that its copy is whole, as replicas do once a second."""
    whole = False
    while not whole:
        await asyncio.sleep(1)
        for mine in (one, other):
            connection = await asyncpg.connect(mine.owner_url)
            await connection.execute("SELECT mc.beat()")
            whole = await connection.fetchval(
                "SELECT bool_and(whole) AND count(*) = 2 FROM mc.region_copy"
            )
            await connection.close()


async def _bare(one: Any, other: Any, admin: Database) -> None:
    for connection in (one, other):
        await connection.execute("CREATE TABLE bare (id bigint PRIMARY KEY, leaf text)")
    await one.execute("CREATE PUBLICATION bare FOR TABLE bare WITH (publish = 'insert')")
    way = admin.owner_url.replace("postgresql://", "")
    login, _, place = way.rpartition("@")
    user, _, password = login.partition(":")
    host, _, database = place.partition("/")
    name, _, port = host.partition(":")
    words = f"host={name} port={port} user={user} password={password} dbname={database}"
    await other.execute(
        f"CREATE SUBSCRIPTION bare CONNECTION {literal(words)} PUBLICATION bare "
        "WITH (origin = none, synchronous_commit = 'on', streaming = on)"
    )


async def _measure(one: Database, other: Database, rates: list[int], seconds: float) -> None:
    await _set_up(one, other)
    here, there = await asyncpg.connect(one.owner_url), await asyncpg.connect(other.owner_url)
    await _bare(here, there, one)
    pools = Pools(database_url=one.service_url, application_name="bench")
    await pools.open()
    journal = PostgresJournal(pools, region="local-1")
    await journal.start()
    count = 0

    async def ours(size: int) -> int:
        wanted = [_request() for _ in range(size)]
        done = await asyncio.gather(*(journal.record([e], t) for e, t in wanted))
        return max(recorded.index for (recorded,) in done)

    tenants = SyncTenants(
        region="local-1",
        degrades={_TENANT: False},
        wait_s=30,
        look=PostgresPeerPosition(pools).look,
        journal=journal,
        events=EventFactory(clock=lambda: datetime.now(UTC)),
    )
    watching = asyncio.create_task(tenants.run())

    async def confirmed(size: int) -> int:
        last = await ours(size)
        await tenants.require(_TENANT)
        return last

    async def plain(size: int) -> int:
        nonlocal count
        await here.execute(
            "INSERT INTO bare SELECT n, $3 FROM generate_series($1::bigint, $2) AS n",
            count + 1,
            count + size,
            _TEXT,
        )
        count += size
        return count

    async def shown(query: str) -> int:
        return int(await there.fetchval(query) or 0)

    newest = "SELECT max(index) FROM mc.ledger_id WHERE region = 'local-1'"
    ways: dict[str, tuple[Write, str]] = {
        "bare": (plain, "SELECT max(id) FROM bare"),
        "regions": (ours, newest),
        "sync": (confirmed, newest),
    }
    for name, (write, query) in ways.items():  # what is planned and cached at first
        await _lags(write, partial(shown, query), 100, 2)
        sys.stderr.write(f"{name} works\n")
    print(
        "| rows/s | what | reached | lag p50 ms | p95 | p99 | answer p50 ms | p95 | look ms | peer's CPU s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for rate in rates:
        for name, (write, query) in ways.items():
            before = other.cpu_s()
            lags, answers, look, reached = await _lags(write, partial(shown, query), rate, seconds)
            spent = cpu_between(before, other.cpu_s())
            cuts = statistics.quantiles(lags, n=100)
            waits = statistics.quantiles(answers, n=100)
            told = [cuts[49], cuts[94], cuts[98], waits[49], waits[94]]
            figures = " | ".join(f"{one:.2f}" for one in told)
            print(f"| {rate} | {name} | {reached:.0f} | {figures} | {look:.2f} | {spent:.2f} |")
    watching.cancel()
    await journal.stop()
    await pools.close()
    await here.close()
    await there.close()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rates", default="500,2000")
    given = parser.parse_args()
    rates = [int(rate) for rate in given.rates.split(",")]
    with durable_postgres("peer_one") as one, durable_postgres("peer_two") as other:
        asyncio.run(_measure(one, other, rates, given.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
