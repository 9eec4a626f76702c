"""The rate is lowered until the baseline keeps up with it, and for no other reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from mc_ops.canary.pace import settle

PAIRS = 3000


@dataclass
class _Queue:
    """A driver whose baseline serves `serves` pairs a second one after another, never faster."""

    rate: float
    serves: float
    alone_s: float = 0.01
    fails: bool = False
    stopped: bool = False
    asked: list[tuple[float, int]] = field(default_factory=list)

    async def ask_alone(self, count: int) -> Any:
        return np.full(count, np.nan if self.fails else self.alone_s)

    async def warm_up(self, pairs: int) -> Any:
        self.asked.append((self.rate, pairs))
        grows = max(0.0, 1 / self.serves - 1 / self.rate)
        latency_s = self.alone_s + np.arange(pairs) * grows
        latency_s[latency_s > 5] = np.inf
        return np.full(pairs, np.nan) if self.fails else latency_s


async def _settled(queue: _Queue, pairs: int = PAIRS) -> bool:
    return await settle(cast("Any", queue), pairs)


@pytest.mark.parametrize(
    ("serves", "settled"), [(200, 50.0), (51, 50.0), (40, 25.0), (13, 12.5), (3.5, 3.125)]
)
async def test_rate_is_halved_until_the_queue_no_longer_grows(serves, settled):
    """The asked rate where it is kept up with, else the first half of it that is."""
    queue = _Queue(rate=50.0, serves=serves)
    assert await _settled(queue)
    assert queue.rate == settled


async def test_a_baseline_too_slow_for_every_rate_is_told():
    """After four halvings there is nothing left to try."""
    queue = _Queue(rate=50.0, serves=1.0)
    assert not await _settled(queue)
    assert [rate for rate, _ in queue.asked] == [50.0, 25.0, 12.5, 6.25, 3.125]


async def test_a_slow_service_is_not_a_full_one():
    """A second for every answer, alone or not: the rate stays."""
    queue = _Queue(rate=50.0, serves=200.0, alone_s=1.0)
    assert await _settled(queue)
    assert queue.rate == 50.0


async def test_failures_are_left_to_the_measurement():
    """A baseline that fails for another reason than time is not given less to do."""
    queue = _Queue(rate=50.0, serves=200.0, fails=True)
    assert await _settled(queue)
    assert queue.rate == 50.0


async def test_warm_up_is_five_seconds_and_at_most_a_tenth_of_the_pairs():
    """250 pairs at 50/s, 100 when 1,000 are planned, and one at least."""
    for planned, expected in ((30_000, 250), (1_000, 100), (3, 1)):
        queue = _Queue(rate=50.0, serves=200.0)
        await _settled(queue, planned)
        assert queue.asked == [(50.0, expected)]


async def test_a_driver_that_was_stopped_tries_no_other_rate():
    """Ctrl-C in the warm-up ends it there."""
    queue = _Queue(rate=50.0, serves=1.0, stopped=True)
    assert await _settled(queue)
    assert len(queue.asked) == 1
