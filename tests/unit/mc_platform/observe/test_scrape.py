"""What rendering the metrics may cost, and that nobody gets old ones."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time

from mc_platform.observe.scrape import Scrape


async def test_who_asks_at_once_shares_one_rendering_that_began_afterwards():
    """A hundred while one is rendered: one more in all, and it is theirs."""
    count = itertools.count(1)
    begun, asked = threading.Event(), threading.Event()

    def render() -> bytes:
        begun.set()
        asked.wait(60)
        return b"%d" % next(count)

    scrape = Scrape(render)
    first = asyncio.create_task(scrape.text())
    await asyncio.to_thread(begun.wait, 60)
    others = [asyncio.create_task(scrape.text()) for _ in range(100)]
    await asyncio.sleep(0)  # all have asked
    asked.set()
    assert await first == b"1"
    assert set(await asyncio.gather(*others)) == {b"2"}


async def test_rendering_pauses_nine_times_as_long_as_it_takes():
    """One after the other, by a client that never rests."""
    spans = []

    def render() -> bytes:
        began = time.monotonic()
        time.sleep(0.02)
        spans.append((began, time.monotonic()))
        return b""

    scrape = Scrape(render)
    for _ in range(3):
        await scrape.text()
    for (began, ended), (after, _) in itertools.pairwise(spans):
        assert after - ended >= 8 * (ended - began) or after - ended >= 0.9


async def test_a_failure_is_told_and_the_next_is_rendered():
    """One who leaves takes nothing along either."""
    answers = iter([ValueError("no"), b"fine"])

    def render() -> bytes:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    scrape = Scrape(render)
    left = asyncio.create_task(scrape.text())
    failed = asyncio.create_task(scrape.text())
    await asyncio.sleep(0)
    left.cancel()
    [error] = await asyncio.gather(failed, return_exceptions=True)
    assert isinstance(error, ValueError)
    assert await scrape.text() == b"fine"
