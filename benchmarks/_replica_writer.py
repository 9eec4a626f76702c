"""One replica's ledger under load, for `replicas.py`: closed-loop clients that record audited requests.

    python benchmarks/_replica_writer.py CLIENTS SECONDS

It prints a line when it is ready. Then each line of its input, `{"url": ..., "region": ..., "measured":
...}`, is a round of SECONDS, and is answered by what was done.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

from _requests import Record, stock_of

from mc_platform.adapters.postgres.journal import PostgresJournal
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.model.event import Event
from mc_platform.model.task import Task

_MOST_PER_S = 3_000  # requests for which a round has stock; if it is used up, the round is shorter
_WARM_UP_SHARE = 0.2


async def _round(
    record: Record, stock: list[Any], clients: int, seconds: float
) -> dict[str, float]:
    latencies: list[float] = []
    began, cpu_before = time.perf_counter(), time.process_time()
    end = began + seconds

    async def client() -> None:
        while (now := time.perf_counter()) < end and stock:
            await stock.pop().audit(record)
            latencies.append((time.perf_counter() - now) / 2)

    await asyncio.gather(*(client() for _ in range(clients)))
    return {
        "events": 2 * len(latencies),
        "elapsed_s": time.perf_counter() - began,
        "cpu_s": time.process_time() - cpu_before,
        "p50_ms": sorted(latencies)[len(latencies) // 2] * 1000,
    }


async def _recorder(url: str, region: str) -> Record:
    pools = Pools(database_url=url, application_name="bench-replica")
    await pools.open()
    journal = PostgresJournal(pools, region=region)
    await journal.start()

    async def record(event: Event, task: Task) -> None:
        await journal.record([event], task)

    return record


async def _main(clients: int, seconds: float) -> None:
    recorders: dict[str, Record] = {}
    stock: list[Any] = []
    told: dict[str, float] = {}
    while True:
        # What the next round records is made before its clock runs, and that of the other replicas
        stock += stock_of(int(_MOST_PER_S * seconds) - len(stock))
        print(json.dumps(told), flush=True)
        if not (line := await asyncio.to_thread(sys.stdin.readline)):
            return
        wanted = json.loads(line)
        if wanted["region"] not in recorders:
            recorders[wanted["region"]] = await _recorder(wanted["url"], wanted["region"])
        share = 1.0 if wanted["measured"] else _WARM_UP_SHARE
        told = await _round(recorders[wanted["region"]], stock, clients, share * seconds)


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), float(sys.argv[2])))
