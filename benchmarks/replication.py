"""How far a peer region is behind, beside PostgreSQL's own logical replication.

Two durable servers on this machine; requests are recorded at a fixed rate, each an event, a task and a
digest, as the journal writes them, and seen at the peer, where they are merged. Beside it, in turn:

- `rows`: the same requests, recorded by the same journal in databases that have no peer, whose tables are
  replicated as they are: the same rows into the same tables, without our triggers. The honest comparison;
- `bare`: one plain table gets one row of an event's size for each request, in transactions of the same size: a
  fifth of what a request writes (its event, its event's id, its task with ten indexes, its digest).

Lag is from the commit's answer to when the peer shows the row. A process of its own asks the peer, with a pause of
0.2 ms, so that the asking takes no processor from what it measures; a lag includes one pause and one look (`look`). `answer` is the time of one transaction, and of `sync` until the peer has confirmed it: what
a tenant waits. Each is measured for a while, in turn, and again, `--rounds` times; the ratios are of all rounds.

    python benchmarks/replication.py [--seconds 10] [--rates 500,2000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import bisect
import multiprocessing
import statistics
import sys
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any, Self
from urllib.parse import urlsplit

import asyncpg
import psutil
import psycopg
from _postgres import Database, durable_postgres

from mc_platform.adapters.postgres import replication
from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.migrate import database_url, literal, migrate_schema
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
_PAUSE_S = 0.0002
_SPAWN = multiprocessing.get_context("spawn")
_PASSWORD = "of-a-benchmark"
_SAME = "mc.ledger_event, mc.ledger_id, mc.task, mc.quotable"
Write = Callable[[int], Awaitable[int]]
# Where, and by which query, the peer tells the newest row
Shown = tuple[str, str]
Way = tuple[Write, Shown]


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


def _watch(url: str, newest: str, pipe: Connection) -> None:
    """In a process of its own: when each newer row was seen; until the one that the pipe asks for is."""
    seen: list[tuple[int, float]] = [(-1, 0.0)]
    looks: list[float] = []
    until: int | None = None
    with psycopg.connect(url, autocommit=True) as peer:
        pipe.send("watching")
        while until is None or seen[-1][0] < until:
            began = time.perf_counter()
            there = int(peer.execute(newest.encode()).fetchall()[0][0] or 0)
            now = time.perf_counter()
            looks.append(1000 * (now - began))
            if there > seen[-1][0]:
                seen.append((there, now))
            if pipe.poll():
                until = pipe.recv()
            time.sleep(_PAUSE_S)
    pipe.send((seen, statistics.median(looks)))


async def _lags(write: Write, shown: Shown, rate: int, seconds: float) -> Any:
    """Of each batch, in ms, its last row's lag and its answer's time; the median look; rows/s reached."""
    size = max(1, rate // _BATCHES_PER_S)
    answers: list[float] = []
    written: list[tuple[int, float]] = []
    pipe, of_watch = _SPAWN.Pipe()
    watching = _SPAWN.Process(target=_watch, args=(*shown, of_watch), daemon=True)
    watching.start()
    await asyncio.to_thread(pipe.recv)
    begun = time.perf_counter()
    for number in range(int(seconds * _BATCHES_PER_S)):
        await asyncio.sleep(max(0.0, begun + number / _BATCHES_PER_S - time.perf_counter()))
        asked = time.perf_counter()
        last = await write(size)
        written.append((last, time.perf_counter()))
        answers.append(1000 * (written[-1][1] - asked))
    took = time.perf_counter() - begun
    pipe.send(written[-1][0])
    seen, look = await asyncio.wait_for(asyncio.to_thread(pipe.recv), 60)
    watching.join()
    there = [index for index, _ in seen]
    lags = [1000 * max(0.0, seen[bisect.bisect_left(there, last)][1] - at) for last, at in written]
    return lags, answers, look, len(written) * size / took


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


async def _replicate_plainly(one: Database, other: Database, name: str, tables: str) -> None:
    """As PostgreSQL does it by itself, of tables that both databases have."""
    here, there = await asyncpg.connect(one.owner_url), await asyncpg.connect(other.owner_url)
    await here.execute(
        f"CREATE PUBLICATION {name} FOR TABLE {tables} WITH (publish_via_partition_root = true)"
    )
    at = urlsplit(one.owner_url)
    words = f"host={at.hostname} port={at.port} user={at.username} password={at.password} "
    words += f"dbname={at.path[1:]}"
    await there.execute(
        f"CREATE SUBSCRIPTION {name} CONNECTION {literal(words)} PUBLICATION {name} "
        "WITH (origin = none, synchronous_commit = 'on', streaming = on)"
    )
    await here.close()
    await there.close()


async def _without_a_peer(region: Database) -> Database:
    """Another database of the same server, with the same schema."""
    service_url = database_url(region.service_url, "rows")
    await migrate_schema(
        admin_url=database_url(region.owner_url, "postgres"), service_url=service_url
    )
    return replace(
        region, owner_url=database_url(region.owner_url, "rows"), service_url=service_url
    )


class Journal:
    """A region's journal, started."""

    def __init__(self, region: Database) -> None:
        self.pools = Pools(database_url=region.service_url, application_name="bench")
        self.journal = PostgresJournal(self.pools, region="local-1")

    async def __aenter__(self) -> Self:
        await self.pools.open()
        await self.journal.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.journal.stop()
        await self.pools.close()

    async def write(self, size: int) -> int:
        """Record requests; the index of the last one's event."""
        wanted = [_request() for _ in range(size)]
        done = await asyncio.gather(*(self.journal.record([e], t) for e, t in wanted))
        return max(recorded.index for (recorded,) in done)


async def _measure(
    one: Database, other: Database, rates: list[int], seconds: float, rounds: int
) -> None:
    await _set_up(one, other)
    for region in (one, other):
        connection = await asyncpg.connect(region.owner_url)
        await connection.execute("CREATE TABLE bare (id bigint PRIMARY KEY, leaf text)")
        await connection.close()
    await _replicate_plainly(one, other, "bare", "bare")
    plain_one, plain_other = await _without_a_peer(one), await _without_a_peer(other)
    await _replicate_plainly(plain_one, plain_other, "same_rows", _SAME)
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(Journal(one))
        rows = await stack.enter_async_context(Journal(plain_one))
        here, there = [await asyncpg.connect(each.owner_url) for each in (one, other)]
        for connection in (here, there):
            stack.push_async_callback(connection.close)
        tenants = SyncTenants(
            region="local-1",
            degrades={_TENANT: False},
            wait_s=30,
            look=PostgresPeerPosition(journal.pools).look,
            journal=journal.journal,
            events=EventFactory(clock=lambda: datetime.now(UTC)),
        )
        watching = asyncio.create_task(tenants.run())
        stack.callback(watching.cancel)
        count = 0

        async def confirmed(size: int) -> int:
            last = await journal.write(size)
            await tenants.require(_TENANT)
            return last

        async def bare(size: int) -> int:
            nonlocal count
            await here.execute(
                "INSERT INTO bare SELECT n, $3 FROM generate_series($1::bigint, $2) AS n",
                count + 1,
                count + size,
                _TEXT,
            )
            count += size
            return count

        newest = "SELECT max(index) FROM mc.ledger_id WHERE region = 'local-1'"
        ways: dict[str, Way] = {
            "bare": (bare, (other.owner_url, "SELECT max(id) FROM bare")),
            "rows": (rows.write, (plain_other.owner_url, newest)),
            "regions": (journal.write, (other.owner_url, newest)),
            "sync": (confirmed, (other.owner_url, newest)),
        }
        for name, way in ways.items():  # what is planned and cached at first
            await _lags(*way, 100, 2)
            sys.stderr.write(f"{name} works\n")
        for rate in rates:
            await _print_rate(ways, there, rate, seconds, rounds)


async def _applying_s(there: Any) -> float:
    """CPU seconds so far of the peer's workers that apply what comes, of all its databases."""
    workers = await there.fetch("SELECT pid FROM pg_stat_subscription WHERE pid IS NOT NULL")
    return sum(sum(psutil.Process(each["pid"]).cpu_times()[:2]) for each in workers)


async def _print_rate(
    ways: dict[str, Way], there: Any, rate: int, seconds: float, rounds: int
) -> None:
    told: dict[str, list[Any]] = {name: [] for name in ways}
    spent = dict.fromkeys(ways, 0.0)
    for _ in range(rounds):
        for name, way in ways.items():
            before = await _applying_s(there)
            told[name].append(await _lags(*way, rate, seconds))
            spent[name] += await _applying_s(there) - before
    print(
        "| rows/s | what | reached | lag p50 ms | p95 | p99 | answer p50 ms | p95 | look ms | apply CPU us/row |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    lags = {}
    for name, rounds_of in told.items():
        cuts = statistics.quantiles([lag for one in rounds_of for lag in one[0]], n=100)
        waits = statistics.quantiles([wait for one in rounds_of for wait in one[1]], n=100)
        lags[name] = [cuts[49], cuts[94], cuts[98]]
        figures = " | ".join(f"{one:.2f}" for one in [*lags[name], waits[49], waits[94]])
        look, reached = (statistics.mean(one[at] for one in rounds_of) for at in (2, 3))
        cpu_us = 1e6 * spent[name] / (rounds * seconds * rate)
        print(f"| {rate} | {name} | {reached:.0f} | {figures} | {look:.2f} | {cpu_us:.0f} |")
    for peer, what in (("rows", "the same rows without our triggers"), ("bare", "one plain row")):
        ratios = ", ".join(f"{a / b:.2f}" for a, b in zip(lags["regions"], lags[peer], strict=True))
        print(f"\nlag of regions beside {what}, p50, p95, p99: {ratios}")
    print()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rates", default="500,2000")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rates = [int(rate) for rate in given.rates.split(",")]
    with durable_postgres("peer_one") as one, durable_postgres("peer_two") as other:
        asyncio.run(_measure(one, other, rates, given.seconds, given.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
