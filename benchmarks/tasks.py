"""What listing and removing tasks cost, by how many there are; and digests of quotations, how fast they leave.

One tenant has all tasks: of three principals, in conversations of 40, one in 50 failed; the twenty oldest
are another principal's, and cancelled, which is the dearest to find by what is newest. A page is 50 tasks, as ListTasks asks, through row-level security; CPU is that of the one server process which answers,
from /proc, in rounds that alternate between the filters. Digests are written as the journal writes them, 48 a
reply; what removes a week of them is the function that the service calls; a message's are looked up beside one
table, as it was before they were kept by week.

    python benchmarks/tasks.py [--full]          10,000 and 100,000 tasks; with --full a million as well
"""

from __future__ import annotations

import argparse
import asyncio
import random
from typing import Any

import asyncpg
import psutil
from _postgres import Database, durable_postgres
from _table import Figure, Row, Series, add_option, finish

from mc_platform.adapters.postgres.task_pages import page_query
from mc_platform.model.ids import TenantId

TENANT, PRINCIPALS, A_CONTEXT = TenantId("TENANT_001"), 3, 40
ROUNDS, CALLS, PAGE = 5, 200, 50
FILTERS: dict[str, dict[str, Any]] = {
    "all": {},
    "by principal": {"principal": "agent-1"},
    "by principal and state": {"principal": "agent-1", "state": "TASK_STATE_FAILED"},
    "by state": {"state": "TASK_STATE_FAILED"},
    "by context": {"context_id": "c-7"},
    "by a rare principal": {"principal": "agent-rare"},
    "by a rare state": {"state": "TASK_STATE_CANCELED"},
}
_ADD = f"""
INSERT INTO mc.task (id, context_id, tenant, principal, message_id, request_digest, state, parts,
                     status_text, governance, created_at, updated_at)
SELECT gen_random_uuid()::text, 'c-' || n / {A_CONTEXT}, $1,
    CASE WHEN n <= 20 THEN 'agent-rare' ELSE 'agent-' || n % {PRINCIPALS} END, n::text,
    repeat('d', 64), CASE WHEN n <= 20 THEN 'TASK_STATE_CANCELED' WHEN n % 50 = 0 THEN 'TASK_STATE_FAILED' ELSE 'TASK_STATE_COMPLETED' END,
    json_build_array(json_build_object('text', repeat('word ', 40))), '', '{{"purpose": "support"}}', at, at
FROM (SELECT n, now() - interval '30 days' + n * interval '1 s' AS at
      FROM generate_series($2::int, $3::int) AS n) AS made
"""
_DIGESTS_A_REPLY, _REPLIES = 48, 2000
_QUOTE = """
INSERT INTO mc.quotable (tenant, digest, task_id, week)
SELECT $1, ('x' || substr(md5($2 || n::text), 1, 16))::bit(64)::bigint, $2, $3
FROM generate_series(1, $4::int) AS n ON CONFLICT DO NOTHING
"""

_FILLED, _LOOKED_FOR = 400_000, 200
_FILL = """
INSERT INTO mc.quotable (tenant, digest, task_id, week)
SELECT $1, hashtextextended(n::text, 7), gen_random_uuid()::text, $2::date - 7 * (n % 2)
FROM generate_series(1, $3::int) AS n
"""
_FLAT = """
CREATE TABLE public.flat AS SELECT tenant, digest, task_id, told_at FROM mc.quotable;
ALTER TABLE public.flat ADD PRIMARY KEY (tenant, digest)
"""
_LOOK_UP = """
SELECT DISTINCT task_id FROM {} WHERE tenant = $1 AND digest = ANY($2::bigint[]) LIMIT 20
"""


def _spent_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def _cpu_ms_of_pages(service: Any, pid: int, wanted: dict[str, Any]) -> float:
    statement, arguments = page_query(
        TENANT, **wanted, limit=PAGE + 1, most_bytes=1 << 20, replies=False
    )
    began = _spent_s(pid)
    for _ in range(CALLS):
        async with service.transaction(readonly=True):
            await service.execute("SELECT set_config('mc.tenant', $1, true)", TENANT)
            await service.fetch(statement, *arguments)
    return max(_spent_s(pid) - began, 0.001) * 1000 / CALLS


async def _listings(database: Database, sizes: list[int]) -> list[Figure]:
    owner = await asyncpg.connect(database.owner_url)
    service = await asyncpg.connect(database.service_url)
    pid = await service.fetchval("SELECT pg_backend_pid()")
    points: dict[str, list[tuple[float, tuple[float, ...]]]] = {name: [] for name in FILTERS}
    done = 0
    for size in sizes:
        for begin in range(done, size, 10_000):
            await owner.execute(_ADD, TENANT, begin + 1, min(begin + 10_000, size))
        done = size
        await owner.execute("VACUUM ANALYZE mc.task")
        spent: dict[str, list[float]] = {name: [] for name in FILTERS}
        for turn in range(ROUNDS + 1):
            for name, wanted in FILTERS.items():
                cost = await _cpu_ms_of_pages(service, pid, wanted)
                if turn:  # the first warms up
                    spent[name].append(cost)
        for name, values in spent.items():
            points[name].append((size, tuple(values)))
    await service.close()
    await owner.close()
    return [
        Series(
            what=f"ListTasks {name}, {PAGE} of them",
            size="tasks",
            unit="CPU ms of the server a page",
            points=tuple(found),
            at_most=((found[-1][0], 2.0),),
        )
        for name, found in points.items()
    ]


async def _removals(database: Database) -> list[Figure]:
    owner = await asyncpg.connect(database.owner_url)
    recorder = await asyncpg.connect(database.service_url)
    await recorder.execute("SET ROLE mc_recorder")
    pid = await recorder.fetchval("SELECT pg_backend_pid()")
    monday = await owner.fetchval("SELECT date_trunc('week', now())::date - 21")
    arrive, leave = [], []
    for turn in range(3):
        await owner.execute("SELECT mc.make_quotable_week($1)", monday)
        began, count = _spent_s(pid), _DIGESTS_A_REPLY * _REPLIES
        for reply in range(_REPLIES):
            await recorder.execute(_QUOTE, TENANT, f"{turn}-{reply}", monday, _DIGESTS_A_REPLY)
        arrive.append((_spent_s(pid) - began) / count * 1e6)
        began = _spent_s(pid)
        await recorder.execute("SELECT mc.keep_quotable_weeks()")
        leave.append(max(_spent_s(pid) - began, 0.01) / count * 1e6)
    forget = []
    before = await owner.fetchval("SELECT now() - interval '16 days'")
    for _ in range(3):
        began = _spent_s(pid)
        gone = await recorder.fetchval("SELECT mc.forget_tasks($1, $2, 2000)", TENANT, before)
        forget.append((_spent_s(pid) - began) / max(gone, 1) * 1e6)
    await recorder.close()
    await owner.close()
    return [
        Row(
            what=f"a week of {_DIGESTS_A_REPLY * _REPLIES} digests dropped",
            beside="their arrival",
            values=tuple(out / into for out, into in zip(leave, arrive, strict=True)),
            at_most=0.1,
            cpu_us=tuple(leave),
            peer_cpu_us=tuple(arrive),
            per="digest",
            note="below a clock tick counts as one; the cost of a drop is that of its files, not of rows",
        ),
        Row(
            what="ended tasks removed, 2,000 at once",
            beside="(none)",
            values=tuple(forget),
            unit="CPU us of the server a task",
        ),
    ]


async def _lookups(database: Database) -> list[Figure]:
    """A message's digests looked up in two weeks' partitions, and in one table of the same rows."""
    owner = await asyncpg.connect(database.owner_url)
    pid = await owner.fetchval("SELECT pg_backend_pid()")
    monday = await owner.fetchval("SELECT date_trunc('week', now() AT TIME ZONE 'UTC')::date")
    await owner.execute("SELECT mc.make_quotable_week($1::date - 7)", monday)
    await owner.execute(_FILL, TENANT, monday, _FILLED)
    await owner.execute(_FLAT)
    await owner.execute("VACUUM ANALYZE mc.quotable")
    await owner.execute("VACUUM ANALYZE public.flat")
    sets = [[random.getrandbits(63) for _ in range(_LOOKED_FOR)] for _ in range(CALLS)]
    spent: dict[str, list[float]] = {"mc.quotable": [], "public.flat": []}
    for turn in range(ROUNDS + 1):
        for table, values in spent.items():
            began = _spent_s(pid)
            for digests in sets:
                await owner.fetch(_LOOK_UP.format(table), TENANT, digests)
            if turn:
                values.append((_spent_s(pid) - began) / CALLS * 1e6)
    await owner.close()
    weeks, flat = spent.values()
    return [
        Row(
            what=f"look-up of {_LOOKED_FOR} digests among {_FILLED:,}",
            beside="one table by tenant and digest",
            values=tuple(ours / theirs for ours, theirs in zip(weeks, flat, strict=True)),
            cpu_us=tuple(weeks),
            peer_cpu_us=tuple(flat),
            per="message",
        )
    ]


async def _measure(database: Database, sizes: list[int]) -> list[Figure]:
    return [
        *await _listings(database, sizes),
        *await _removals(database),
        *await _lookups(database),
    ]


def main() -> int:
    """Measure; 1 if the page of the most tasks costs more than twice that of the fewest."""
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--full", action="store_true", help="a million tasks as well")
    add_option(options)
    given = options.parse_args()
    sizes = [10_000, 100_000, *([1_000_000] if given.full else [])]
    with durable_postgres("peer") as database:
        return finish(asyncio.run(_measure(database, sizes)), given.rows)


if __name__ == "__main__":
    raise SystemExit(main())
