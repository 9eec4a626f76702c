"""The bound on draining, and the waits after a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mc_platform.deliver.pace import Pace, backoff_s


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_a_backlog_drains_at_the_bound_and_the_steady_state_has_none(clock):
    """A backlog is what is beyond a batch and beyond two seconds of recording."""
    pace = Pace(drain_events_per_s=5000.0, clock=clock)
    pace.saw(100_000)
    assert pace.draining(0, 2000)
    assert pace.batch_limit(0, 2000) == 1250  # a quarter of a second
    assert not pace.draining(98_500, 2000)
    assert pace.batch_limit(98_500, 2000) == 2000


def test_a_busy_platform_without_backlog_is_not_bounded(clock):
    """Recording 10,000 events a second, the last second's events are no backlog."""
    pace = Pace(drain_events_per_s=5000.0, clock=clock)
    for size in (0, 10_000, 20_000):
        pace.saw(size)
        clock.now += 1
    assert not pace.draining(10_000, 2000)


@given(sizes=st.lists(st.integers(0, 100_000), min_size=2, max_size=20), least=st.floats(100, 1e5))
def test_the_bound_is_never_below_twice_the_rate_of_recording(sizes, least):
    """So the backlog always shrinks, whatever is recorded meanwhile."""
    clock = Clock()
    pace = Pace(drain_events_per_s=least, clock=clock)
    size = 0
    for grown in sizes:
        size += grown
        pace.saw(size)
        clock.now += 1
    assert pace.bound_per_s >= max(least, 2 * sizes[-1])


async def test_batches_of_a_backlog_keep_their_distance(monkeypatch):
    """1,000 events at 5,000 a second are a fifth of a second apart; without a backlog, nothing."""
    clock = Clock()
    waits = []

    async def sleep(seconds):
        waits.append(seconds)
        clock.now += seconds

    monkeypatch.setattr("mc_platform.deliver.pace.asyncio.sleep", sleep)
    pace = Pace(drain_events_per_s=5000.0, clock=clock)
    for _ in range(3):
        await pace.allow(1000, draining=True)
    assert waits == pytest.approx([0.2, 0.2])
    await pace.allow(1000, draining=False)
    await pace.allow(10**9, draining=False)
    await pace.allow(10**9, draining=False)
    assert len(waits) == 2


@given(failures=st.integers(1, 10_000))
def test_waits_double_up_to_a_limit_with_jitter(failures):
    """Between half and the whole of 0.2 s, 0.4 s, 0.8 s ... 10 s."""
    whole = min(10.0, 0.2 * 2.0 ** min(failures - 1, 20))
    assert whole / 2 <= backoff_s(failures, None) <= whole


def test_what_the_siem_asks_is_honoured_within_reason():
    """Retry-After counts if it is longer than our own wait, up to five minutes."""
    assert backoff_s(1, 2.5) == 2.5
    assert backoff_s(7, 86_400.0) == 300.0


@given(failures=st.integers(1, 10_000), asked=st.floats(-1e9, 0.0))
def test_no_answer_of_the_siem_makes_a_loop_without_a_wait(failures, asked):
    """`Retry-After: 0`, and a date that is past, leave our own backoff as it is."""
    whole = min(10.0, 0.2 * 2.0 ** min(failures - 1, 20))
    assert whole / 2 <= backoff_s(failures, asked) <= whole
