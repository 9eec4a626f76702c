"""A busy loop is told by its CPU time; a waiting one is not."""

from __future__ import annotations

import asyncio
import time

import pytest

from mc_platform.observe import metrics
from mc_platform.observe.stalls import watch_loop


class Observed:
    """Stands for the histogram."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def observe(self, value: float) -> None:
        self.values.append(value)


@pytest.fixture
def observed(monkeypatch: pytest.MonkeyPatch) -> Observed:
    kept = Observed()
    monkeypatch.setattr(metrics, "event_loop_stall", kept)
    return kept


async def _watched(block: object, observed: Observed) -> None:
    watching = asyncio.create_task(watch_loop(0.001))
    while len(observed.values) < 3:
        await asyncio.sleep(0.001)
    block()  # type: ignore[operator]
    at = len(observed.values)
    while len(observed.values) < at + 2:
        await asyncio.sleep(0.001)
    watching.cancel()


async def test_work_on_the_loop_is_observed_with_its_cpu_time(observed: Observed) -> None:
    """Whoever works for 0.2 s of CPU is seen with about as much."""

    def work() -> None:
        began = time.thread_time()
        while time.thread_time() - began < 0.2:
            pass

    await _watched(work, observed)
    assert max(observed.values) >= 0.19


async def test_a_loop_that_does_not_run_is_no_busy_one(observed: Observed) -> None:
    """A blocking call, or a machine that has no time for us, uses no CPU."""
    await _watched(lambda: time.sleep(0.3), observed)
    assert max(observed.values) < 0.15
