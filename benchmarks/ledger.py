"""What recording and reading an event costs, by how many the ledger holds already.

One journal fills a PostgreSQL of this run's own. At each size it records a thousand events five times,
in batches of 250, and reads a thousand back five times as delivery does, from the log's end. CPU is of
this process and of the database.

    python benchmarks/ledger.py [--rows FILE] [--full]      --full: a million events as well
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial

from _postgres import Database, cpu_between, durable_postgres
from _table import Figure, Series, add_option, finish
from delivery import event

from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.outbox import PostgresOutbox
from mc_platform.adapters.postgres.pools import Pools

REGION = "bench-ledger"
SIZES, MORE = (10_000, 40_000), (100_000, 1_000_000)
_ROUNDS, _A_ROUND, _BATCH, _FILL = 5, 1000, 250, 500
# A log that is larger by two powers of ten: the tree's frontier and the indexes are a little deeper
_MOST_GROWTH = 1.2


async def _cost_us(database: Database, work: Callable[[], Awaitable[object]]) -> float:
    """CPU microseconds of one of the thousand events that `work` is about."""
    before, began = database.cpu_s(), time.process_time()
    await work()
    own_s = time.process_time() - began
    return (own_s + cpu_between(before, database.cpu_s())) / _A_ROUND * 1e6


async def _measure(database: Database, sizes: tuple[int, ...]) -> list[Figure]:
    pools = Pools(database_url=database.service_url, application_name="bench")
    await pools.open()
    journal = PostgresJournal(pools, region=REGION)
    await journal.start()
    recorded = 0

    async def record(count: int, batch: int) -> None:
        nonlocal recorded
        for _ in range(0, count, batch):
            await journal.record([event(recorded + n) for n in range(batch)], None)
            recorded += batch

    points: dict[str, list[tuple[float, tuple[float, ...]]]] = {"record": [], "read": []}
    for size in sizes:
        await record(size - recorded, _FILL)
        costs: dict[str, list[float]] = {"record": [], "read": []}
        for _ in range(_ROUNDS):
            costs["record"].append(await _cost_us(database, partial(record, _A_ROUND, _BATCH)))
            async with PostgresOutbox(pools, region=REGION).claim("siem") as claim:
                assert claim is not None
                costs["read"].append(
                    await _cost_us(database, partial(claim.read, recorded - _A_ROUND, _A_ROUND))
                )
        print(f"  {recorded:,} events", flush=True)
        for what, values in costs.items():
            points[what].append((float(size), tuple(values)))
    await journal.stop()
    await pools.close()
    last = float(sizes[-1])
    return [
        Series(
            what=f"{what} an event",
            size="events in the ledger",
            unit="CPU us",
            points=tuple(found),
            at_most=((last, _MOST_GROWTH),),
        )
        for what, found in points.items()
    ]


def main() -> int:
    """Fill and measure; 1 if an event costs more in a large ledger."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--full", action="store_true", help="a million events as well")
    add_option(options)
    given = options.parse_args()
    with durable_postgres("bench_peer") as database:
        sizes = (*SIZES, *MORE) if given.full else SIZES
        return finish(asyncio.run(_measure(database, sizes)), given.rows)


if __name__ == "__main__":
    sys.exit(main())
