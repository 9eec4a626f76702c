"""CPU time of a request is its own: waiting and neighbours are not in it."""

from __future__ import annotations

import asyncio
import time

import pytest

from mc_platform.observe.cost import Metered


def _burn(seconds):
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


async def test_a_neighbours_work_is_not_counted():
    """One coroutine burns, the other waits: each is told its own."""

    async def burning():
        for _ in range(5):
            _burn(0.01)
            await asyncio.sleep(0)

    async def waiting():
        await asyncio.sleep(0.02)
        return "done"

    burner, waiter = Metered(burning()), Metered(waiting())

    async def run(metered):
        return await metered

    _, result = await asyncio.gather(run(burner), run(waiter))
    assert result == "done"
    assert burner.cpu_s >= 0.05
    assert waiter.cpu_s < burner.cpu_s / 2


@pytest.mark.parametrize("error", [None, ValueError("no"), asyncio.CancelledError()])
async def test_the_cost_is_told_once_however_it_ends(error):
    """After the last step, which counts as well."""
    costs = []

    async def work():
        await asyncio.sleep(0)
        _burn(0.01)
        if error is not None:
            raise error

    metered = Metered(work(), costs.append)
    assert costs == []
    [result] = await asyncio.gather(asyncio.create_task(_awaited(metered)), return_exceptions=True)
    assert type(result) is type(error)
    assert costs == [metered.cpu_s]
    assert metered.cpu_s >= 0.01


async def _awaited(metered):
    return await metered


async def test_errors_and_cancellation_go_through():
    """A metered coroutine fails and is cancelled like any other."""

    async def failing():
        await asyncio.sleep(0)
        raise ValueError("no")

    async def run(metered):
        return await metered

    with pytest.raises(ValueError, match="no"):
        await run(Metered(failing()))
    cleaned = []

    async def long():
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.append(True)

    task = asyncio.create_task(run(Metered(long())))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cleaned == [True]
