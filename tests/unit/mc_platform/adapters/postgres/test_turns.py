"""What is ready joins; whoever is alone, or in a crowd without end, goes on."""

from __future__ import annotations

import asyncio

import pytest

from mc_platform.adapters.postgres.turns import joined


@pytest.mark.parametrize(
    ("arrive", "most", "found"),
    [
        ([1], 100, 1),
        ([1, 0, 1], 100, 1),
        ([1, 1, 1, 1, 0, 1], 100, 4),
        ([1] * 100, 100, 9),
        ([5, 5, 5], 10, 10),
        ([0, 1], 100, 0),
    ],
)
async def test_it_waits_for_as_many_turns_as_bring_something(arrive, most, found):
    """In a turn of the event loop each; at most eight."""
    queue = list(range(arrive[0]))

    async def bring() -> None:
        for number in arrive[1:]:
            queue.extend(range(number))
            await asyncio.sleep(0)

    task = asyncio.create_task(bring())
    await joined(lambda: len(queue), most=most)
    assert len(queue) == found
    await task
