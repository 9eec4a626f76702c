"""Look-ups of quotations share statements; what each is told is as if it had asked alone."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_platform.adapters.postgres import quotations
from mc_platform.adapters.postgres.pools import Pools
from mc_platform.adapters.postgres.quotations import Quotations
from mc_platform.errors import RateLimited, Unavailable
from mc_platform.model.ids import TenantId

ONE, TWO, THREE = (TenantId(f"TENANT_00{n}") for n in (1, 2, 3))
_ALONE = (
    "SELECT DISTINCT task_id FROM mc.quotable WHERE tenant = $1"
    " AND digest = ANY($2::bigint[]) LIMIT 20"
)


class Table:
    """Rows in memory, asked by the statements of `quotations`; keeps what each was asked with."""

    def __init__(self, rows: Sequence[tuple[str, int, str]] = ()) -> None:
        self.rows = list(rows)
        self.asked: list[tuple[str | list[str], Sequence[int]]] = []
        self.fails: Exception | None = None
        self.held: dict[int, asyncio.Event] = {}  # by a digest of the statement that waits
        self.holding = asyncio.Event()

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator[Table]:
        await asyncio.sleep(0)
        yield self

    async def fetch(self, statement: str, tenant: Any, digests: Sequence[int]) -> list[Any]:
        self.asked.append((tenant, digests))
        tenants = [tenant] if isinstance(tenant, str) else tenant
        rows = [row for row in self.rows if row[0] in tenants and row[1] in digests]
        for digest in digests:
            if digest in self.held:
                self.holding.set()
                await self.held[digest].wait()
        if self.fails:
            raise self.fails
        if any(not -(2**63) <= digest < 2**63 for digest in digests):
            raise asyncpg.DataError("value out of int64 range")
        await asyncio.sleep(0)
        if "DISTINCT" in statement:
            return [(task,) for task in list(dict.fromkeys(row[2] for row in rows))[:20]]
        return rows


_TENANTS = st.sampled_from([ONE, TWO, THREE])
_DIGESTS = st.integers(0, 5)
_ROWS = st.lists(st.tuples(_TENANTS, _DIGESTS, st.sampled_from("abcdef")), max_size=30)
_CALLERS = st.lists(
    st.tuples(
        _TENANTS,
        st.lists(_DIGESTS, min_size=1, max_size=6),
        st.sampled_from(["waits"] * 12 + ["leaves at once", "leaves later", "is odd"]),
        st.integers(0, 2),  # turns of the event loop before it asks
    ),
    max_size=12,
)


@given(rows=_ROWS, callers=_CALLERS)
def test_each_is_told_its_own_tenants_tasks_whoever_asks_leaves_or_fails_beside_it(rows, callers):
    """As the statement for one message tells; an odd one alone is refused, and nobody is kept."""
    table = Table(rows)

    async def ask(looked: Quotations, tenant, digests, does, turns):
        for _ in range(turns):
            await asyncio.sleep(0)
        return await looked.tasks(tenant, [*digests, 2**64] if does == "is odd" else digests)

    async def all_of_them():
        looked = Quotations(table.acquire)
        tasks = [asyncio.create_task(ask(looked, *caller)) for caller in callers]
        for task, (_, _, does, turns) in zip(tasks, callers, strict=True):
            if does.startswith("leaves"):
                for _ in range(turns if does == "leaves later" else 0):
                    await asyncio.sleep(0)
                task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    for (tenant, digests, does, _), told in zip(callers, asyncio.run(all_of_them()), strict=True):
        if does == "is odd":
            assert isinstance(told, Unavailable)
        elif isinstance(told, asyncio.CancelledError):
            assert does.startswith("leaves")
        else:
            expected = {
                task for whose, digest, task in rows if whose == tenant and digest in digests
            }
            assert (set(told), len(told)) == (expected, len(expected))


async def test_the_database_tells_each_what_it_tells_one_alone(pools: Pools):
    """Forty at once, of three tenants that have the same digests: in fewer statements, the same rows."""
    names = [TenantId(f"T-{uuid.uuid4()}") for _ in range(3)]
    for at, tenant in enumerate(names):
        await pools.record.execute(
            "INSERT INTO mc.quotable (tenant, digest, task_id)"
            " SELECT $1, n, $1 || '/' || n % 7 FROM generate_series(1, 60) AS n WHERE n % 3 >= $2",
            tenant,
            at,
        )
    statements = 0

    @asynccontextmanager
    async def counted() -> AsyncIterator[Any]:
        nonlocal statements
        statements += 1
        async with pools.looking_up() as connection:
            yield connection

    looked = Quotations(counted)
    asked = [(names[n % 3], list(range(n, n + 1 + n % 5))) for n in range(40)]
    told = await asyncio.gather(*(looked.tasks(*each) for each in asked))
    async with pools.looking_up() as connection:
        alone = [[row[0] for row in await connection.fetch(_ALONE, *each)] for each in asked]
    assert [sorted(ids) for ids in told] == [sorted(ids) for ids in alone]
    assert any(alone)
    assert statements < 10
    many = [*range(-(2**63), -(2**63) + 1000), 1, 2**63 - 1]
    assert await looked.tasks(names[0], many) == [f"{names[0]}/1"]


async def test_what_was_written_while_a_statement_was_under_way_is_seen_by_who_asked_afterwards():
    """Nobody joins a statement that has begun."""
    table = Table([(ONE, 1, "old")])
    looked = Quotations(table.acquire)
    table.held[1] = asyncio.Event()
    first = asyncio.create_task(looked.tasks(ONE, [1]))
    await table.holding.wait()
    table.rows.append((ONE, 2, "new"))
    second = asyncio.create_task(looked.tasks(ONE, [2]))
    await asyncio.sleep(0)
    table.held[1].set()
    assert (await first, await second) == (["old"], ["new"])


async def test_a_message_with_very_many_digests_delays_no_other():
    """It has a statement of its own, on another connection."""
    table = Table([(TWO, 1, "mine")])
    looked = Quotations(table.acquire)
    table.held[10_000] = asyncio.Event()
    huge = asyncio.create_task(looked.tasks(ONE, range(10_000, 10_300)))
    await table.holding.wait()
    assert await looked.tasks(TWO, [1]) == ["mine"]
    table.held[10_000].set()
    assert await huge == []


async def test_a_statement_that_hangs_holds_up_no_other_message(monkeypatch: pytest.MonkeyPatch):
    """What waits behind it, alone or joined later, is asked on one more connection, and on no third."""
    monkeypatch.setattr(quotations, "_SLOW_S", 0.01)
    table = Table([(TWO, 2, "mine")])
    looked = Quotations(table.acquire)
    table.held[1] = asyncio.Event()
    hangs = asyncio.create_task(looked.tasks(ONE, [1]))
    await table.holding.wait()
    async with asyncio.timeout(30):
        assert await looked.tasks(TWO, [2]) == ["mine"]
        told = await asyncio.gather(*(looked.tasks(TWO, [n]) for n in range(2, 9)))
    assert told == [["mine"], *([[]] * 6)]
    table.holding.clear()
    also = asyncio.create_task(looked.tasks(ONE, [1]))
    await table.holding.wait()
    asked = len(table.asked)
    waits = asyncio.create_task(looked.tasks(TWO, [2]))
    await asyncio.sleep(0.1)
    assert len(table.asked) == asked
    table.held[1].set()
    async with asyncio.timeout(30):
        assert await asyncio.gather(hangs, also, waits) == [[], [], ["mine"]]


async def test_a_tenant_with_a_crowd_leaves_the_next_turn_to_others():
    """Of a crowd that fills many statements the other tenant's is among the first to be answered."""
    table = Table()
    looked = Quotations(table.acquire)
    crowd = [
        asyncio.create_task(looked.tasks(ONE, range(100 * n, 100 * n + 100))) for n in range(50)
    ]
    await asyncio.sleep(0)
    await looked.tasks(TWO, [-1])
    assert len(table.asked) <= 2
    assert all(len(digests) <= 256 for _, digests in table.asked)
    await asyncio.gather(*crowd)


async def test_a_broken_connection_fails_its_callers_and_nobody_later():
    """Each is told to try again; the next statement has a connection of its own."""
    table = Table([(ONE, 1, "a")])
    looked = Quotations(table.acquire)
    table.fails = asyncpg.ConnectionDoesNotExistError("gone")
    told = await asyncio.gather(*(looked.tasks(ONE, [1]) for _ in range(3)), return_exceptions=True)
    assert [type(error) for error in told] == [Unavailable] * 3
    assert len({id(error) for error in told}) == 3
    table.fails = None
    assert await looked.tasks(ONE, [1]) == ["a"]


async def test_waiting_is_bounded_in_time_and_in_number(monkeypatch: pytest.MonkeyPatch):
    """Who has waited for too long is told 503 with the next turn, one too many 429 at once."""
    monkeypatch.setattr(quotations, "_MOST_WAITING", 2)
    table = Table()
    looked = Quotations(table.acquire)
    table.held[1] = asyncio.Event()
    first = asyncio.create_task(looked.tasks(ONE, [1]))
    await table.holding.wait()
    monkeypatch.setattr(quotations, "_WAIT_S", -1.0)
    waiting = [asyncio.create_task(looked.tasks(ONE, [2])) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimited) as refused:
        await looked.tasks(ONE, [3])
    assert refused.value.retry_after_s == 1.0
    table.held[1].set()
    assert await first == []
    for task in waiting:
        with pytest.raises(Unavailable, match="no connection to the database"):
            await task
