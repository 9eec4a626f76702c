"""Large bodies and answers that are ready together: one at a time, and everybody else in between."""

from __future__ import annotations

import asyncio
from collections import Counter
from itertools import pairwise

import pytest

from mc_platform.errors import RateLimited
from mc_platform.model.ids import TenantId
from mc_platform.receive.turns import Arrivals, Turns

ONE, TWO = TenantId("TENANT_001"), TenantId("TENANT_002")
LARGE = 1_048_576


async def test_the_loop_serves_others_between_two_large_ones():
    """Twenty at once: no two of them in one round of the loop, which goes round many times more."""
    turns, rounds, taken = Turns("bodies"), 0, []

    async def others() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0.001)

    async def large() -> None:
        await turns.take(ONE, LARGE)
        taken.append(rounds)

    watching = asyncio.create_task(others())
    await asyncio.gather(*(large() for _ in range(20)))
    watching.cancel()
    between = [after - before for before, after in pairwise(taken)]
    assert min(between) >= 1


async def test_a_small_one_never_waits():
    """Though large ones do, of its own tenant."""
    turns = Turns("bodies")
    waiting = [asyncio.create_task(turns.take(ONE, LARGE)) for _ in range(5)]
    await asyncio.sleep(0)
    await turns.take(ONE, 65_536)
    assert not any(task.done() for task in waiting)
    await asyncio.gather(*waiting)


async def test_tenants_take_turns():
    """Another tenant's large one is among the first three, however many wait before it."""
    turns, order = Turns("bodies"), []

    async def large(tenant: TenantId) -> None:
        await turns.take(tenant, LARGE)
        order.append(tenant)

    many = [asyncio.create_task(large(ONE)) for _ in range(10)]
    await asyncio.sleep(0)
    await large(TWO)
    assert order.index(TWO) <= 2
    await asyncio.gather(*many)


async def test_too_many_are_refused_but_never_the_answer_to_what_was_accepted():
    """One is at work and 64 wait; the 66th is told to come back, one that may not be refused waits."""
    turns = Turns("bodies")
    waiting = [asyncio.create_task(turns.take(ONE, 70_000)) for _ in range(65)]
    await asyncio.sleep(0)
    with pytest.raises(RateLimited, match="bodies under way") as refused:
        await turns.take(ONE, 70_000)
    assert refused.value.retry_after_s > 0
    await turns.take(ONE, 70_000, patient=True)
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert Counter(map(type, results)) == {type(None): 65}


async def test_a_burst_begins_a_few_requests_a_round_and_another_tenant_does_not_wait():
    """Of 300 that come together two begin in a round; who comes after them begins in the next."""
    arrivals, rounds, begun = Arrivals(), 0, []

    async def others() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    async def arrive(tenant: TenantId) -> None:
        await arrivals.begin(tenant)
        begun.append((tenant, rounds))

    watching = asyncio.create_task(others())
    burst = [asyncio.create_task(arrive(ONE)) for _ in range(300)]
    await asyncio.sleep(0)
    came = rounds
    await arrive(TWO)
    await asyncio.gather(*burst)
    watching.cancel()
    assert max(Counter(at for tenant, at in begun if tenant == ONE).values()) <= 2
    [at] = [at for tenant, at in begun if tenant == TWO]
    assert at - came <= 2
